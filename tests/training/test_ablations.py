"""The ablations' table and rows."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs torch")

from training import ablations
from training.ablations import ROWS, ablation_table
from training.trunk import TrunkModel

pytestmark = pytest.mark.train


def test_the_table_gives_mean_and_spread_over_seeds() -> None:
    table = ablation_table(
        {"whole": [{"pairs": 0.8, "cause": 0.5}, {"pairs": 0.9, "cause": 0.5}], "less": [{"pairs": 0.6}]}
    )
    whole, less = table.splitlines()[2:]
    assert "0.850 ± 0.071" in whole
    assert "0.500 ± 0.000" in whole
    assert less.split("|")[3].strip() == "0.600"


def test_what_an_untrained_trunk_gives_is_never_read_through_its_untrained_outputs() -> None:
    assert {row.trunk for row in ROWS if "untrained" in row.name} == {"random"}
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_a_run_that_is_cut_short_keeps_the_rows_it_has_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = 0

    def train(*_: object) -> list[int]:
        nonlocal trained
        trained += 1
        if trained == 3:
            raise KeyboardInterrupt
        return [trained]

    monkeypatch.setattr(ablations.trunk_training, "load", lambda _: TrunkModel(0.125, 18))
    monkeypatch.setattr(ablations.trunk_training, "WideReader", lambda *_: None)
    monkeypatch.setattr(ablations.trunk_training, "OutputReader", lambda *_: None)
    monkeypatch.setattr(ablations, "load_clips", lambda *_: (None, {}))
    monkeypatch.setattr(ablations, "train_members", train)
    monkeypatch.setattr(ablations, "predict", lambda heads, _: (heads[0], None))
    monkeypatch.setattr(ablations, "figures", lambda head, *_: {"pairs": head / 10})
    arguments = argparse.Namespace(data=tmp_path, trunk=tmp_path, out=tmp_path / "out", seeds=[1], epochs=1, jobs=1)
    with pytest.raises(KeyboardInterrupt):
        ablations.run(arguments)
    kept = json.loads((tmp_path / "out/ablations.json").read_text())["rows"]
    assert [(name, runs[0]["pairs"]) for name, runs in kept.items()] == [(ROWS[0].name, 0.1), (ROWS[1].name, 0.2)]
    assert len((tmp_path / "out/ablations.md").read_text().splitlines()) == 4
