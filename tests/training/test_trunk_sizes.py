"""What the trunk's size costs and is worth."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
import torch

from training.__main__ import main
from training.synthesis import SPEC, TRUNK_CLASSES
from training.trunk import Pictures
from training.trunk_sizes import Row, Size, size_table

pytestmark = pytest.mark.train


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Pictures whose class is their brightness."""
    side = SPEC.grid * SPEC.patch
    rng = np.random.default_rng(0)
    for name in ("pictures", "pictures-holdout"):
        kinds = np.arange(24) % len(TRUNK_CLASSES)
        y = (40 * kinds[:, None, None] + rng.integers(0, 8, (24, side, side))).astype(np.uint8)
        uv = np.full((24, 2, side // 2, side // 2), 128, np.uint8)
        labels = np.stack([kinds, np.where(kinds, 3.0, 0.0), rng.uniform(5, 20, 24)], axis=1).astype(np.float32)
        (tmp_path / name).mkdir()
        np.savez(tmp_path / name / "one.npz", y=y, uv=uv, label=labels)
    return tmp_path


def test_fewer_patches_are_some_of_all(data: Path) -> None:
    pictures, rows = Pictures(data / "pictures"), torch.arange(3)
    fewer = pictures.showing(2)
    assert len(fewer) == len(pictures) == 24
    pixels, labels = fewer.batch(rows, None)
    whole, same = pictures.batch(rows, None)
    assert torch.equal(pixels, whole[:, :, : 2 * SPEC.patch, : 2 * SPEC.patch])
    assert torch.equal(labels, same)


def test_the_command_trains_each_size_and_writes_what_it_costs(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = data / "out"
    arguments = ["sizes", "--data", data, "--out", out, "--widths", 0.0625, 0.125, "--grids", 2, "--batch", 8]
    assert main([*map(str, arguments), "--seeds", "1", "2"]) == 0
    kept = json.loads((out / "sizes.json").read_text())
    assert kept["samples"] == 24
    assert [row["size"] for row in kept["rows"]] == [
        {"width": 0.0625, "grid": 4},
        {"width": 0.125, "grid": 4},
        {"width": 0.25, "grid": 2},
    ]
    narrow, wide, _ = kept["rows"]
    assert narrow["parameters"] < wide["parameters"] / 3
    for row in kept["rows"]:
        assert row["core_ms"] > 0
        assert 0 <= row["balanced_accuracy"] <= 1
        assert row["spread"] is not None
    assert capsys.readouterr().out == (out / "sizes.md").read_text()


def test_the_table_names_size_cost_and_worth() -> None:
    row = Row(Size(0.25, 3), 700_000, 0.514, 0.7511, 0.8, 0.66, 0.0123)
    assert size_table([row]).splitlines()[-1] == "| 0.25 | 3 x 3 | 0.70 M | 0.51 | 0.751 ± 0.012 | 0.800 | 0.660 |"
