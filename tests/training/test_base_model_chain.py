"""From sources to a bundle that the monitor runs: the documented command chain, very small."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs torch")
import torch
from PIL import Image

from engines import load_bundle
from training.errors import TrainingError
from training.trunk import _of_bundle, load

pytestmark = [pytest.mark.train, pytest.mark.slow, pytest.mark.timeout(400)]


def run(*arguments: object) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *map(str, arguments)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def still(path: Path, seed: int) -> None:
    """A picture with a natural spectrum and edges."""
    rng = np.random.default_rng(seed)
    spectrum = rng.normal(size=(420, 720)) + 1j * rng.normal(size=(420, 720))
    fy, fx = np.fft.fftfreq(420)[:, None], np.fft.fftfreq(720)[None]
    field = np.real(np.fft.ifft2(spectrum / (np.hypot(fy, fx) + 1e-3) ** 1.2))
    field = (field - field.min()) / np.ptp(field)
    field[100:300, 200 + 20 * seed : 400] *= 0.5
    colours = np.stack([field, np.roll(field, 40, 1), 1 - field], axis=-1)
    Image.fromarray((colours * 220 + 18).astype(np.uint8)).save(path)


def test_the_command_chain_makes_a_bundle_that_scores(tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    sources, data = tmp_path / "sources", tmp_path / "data"
    sources.mkdir()
    for seed in range(8):
        still(sources / f"still{'abcdefgh'[seed]}.png", seed)
    run(
        "training", "synthesise", "--sources", sources, "--out", data, "--pictures", 3, "--groups", 1,
        "--holdout-groups", 1, "--controls", 1, "--jobs", 2, "--seed", 3,
    )  # fmt: skip
    trunk, head = tmp_path / "trunk.pt", tmp_path / "head.pt"
    run("training", "trunk", "--data", data, "--out", trunk, "--width", 0.125, "--epochs", 0.3, "--batch", 16)
    assert json.loads(trunk.with_suffix(".json").read_text())["steps"] >= 1
    run("training", "head", "--data", data, "--trunk", trunk, "--out", head, "--epochs", 1, "--seeds", 1)
    bundle = tmp_path / "tiny"
    identity = run("training", "bundle", "--trunk", trunk, "--head", head, "--out", bundle).strip()
    assert identity.startswith("tiny@")
    # Training goes on from a bundle as from the file that it was made of.
    pictures = torch.randint(0, 256, (3, 3, 128, 128), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        torch.testing.assert_close(load(bundle)(pictures), load(trunk)(pictures))
    with pytest.raises(TrainingError, match="no outputs of the trunk"):
        _of_bundle(replace(load_bundle(bundle), head_arrays={}))

    clip = clip_maker(tmp_path / "clip.mp4", seconds=2.0, size=(640, 360))
    result = json.loads(run("monitor", "score", "--json", "--model", bundle, clip))
    assert result["model"] == identity
    assert 0 <= result["score"] <= 100

    report = tmp_path / "report"
    recordings = tmp_path / "recordings"
    recordings.mkdir()
    clip.rename(recordings / "clip.mp4")
    (recordings / "broken.ts").write_bytes(b"no video at all")
    run(
        "training", "report", "--bundle", bundle, "--data", data, "--out", report, "--loop-seconds", 130,
        "--streams", recordings, "--slate-heights", 180,
    )  # fmt: skip
    figures = json.loads((report / "report.json").read_text())
    assert figures["about"]["bundle"] == identity
    assert 0 <= figures["clips"]["pairs"]["value"] <= 1
    assert set(figures["controls"]) >= {"p90 fall 24to25", "mean fall shuffled", "called clean ticker", "p90 fall dark"}
    assert 0 <= figures["long running"]["largest change in 130 s of a looped clip"]["value"] < 100
    assert identity in (report / "report.md").read_text()
    listed = {
        line.split("|")[1].strip(): line for line in (report / "report.md").read_text().splitlines() if "|" in line
    }
    assert listed["clip.mp4"].split("|")[2].strip() != "none"
    assert listed["broken.ts"].split("|")[2].strip() == "none"
