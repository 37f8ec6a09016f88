"""The reference's timing on a tiny clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from benchmarks.reference import Reference, main  # noqa: E402

pytestmark = pytest.mark.train


def test_the_reference_takes_the_whole_clip_at_its_native_size(tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.6, size=(64, 64))
    reference = Reference(18, batch=4)
    score, taken = reference.score(clip)
    assert taken == 15
    assert np.isfinite(score)
    # Batches change nothing; fewer pictures are another clip.
    assert Reference(18, batch=15).score(clip)[0] == pytest.approx(score, abs=1e-4)
    assert reference.score(clip, 5)[1] == 5


def test_both_are_timed_on_the_same_clip(
    tmp_path: Path, clip_maker: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=1.0, size=(160, 96))
    assert main([str(clip), "--json", "--pictures", "2"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["width"], found["height"], found["pictures"], found["reference_pictures"]) == (160, 96, 25, 2)
    rates = found["pictures"] / found["vqwatch_s"], found["reference_pictures"] / found["reference_s"]
    assert found["ratio"] == pytest.approx(rates[0] / rates[1], rel=0.02)


def test_a_clip_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere/clip.mp4"]) == 2
    assert "no such file" in capsys.readouterr().err
