"""The reference's timing on a tiny clip."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra")

from benchmarks.reference import Reference, compare, main, time_reference  # noqa: E402
from engines import Precision, open_engine  # noqa: E402
from monitor.pipeline.bundle_scoring import BundleScoring  # noqa: E402

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


@pytest.mark.timeout(180)
def test_the_references_own_network_in_int8_gives_its_score(
    tmp_path: Path, clip_maker: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("nncf", reason="quantisation needs nncf")
    clip = clip_maker(tmp_path / "clip.mp4", seconds=1.0, size=(160, 96))
    assert main([str(clip), "--json", "--resnet50"]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    bundled, fragments, full = map(json.loads, lines)
    assert [one["model"] for one in (bundled, fragments, full)] == [
        "vqwatch-base",
        "resnet50-fragments",
        "resnet50-full",
    ]
    assert (full["precision"], full["pictures"], full["reference_pictures"]) == ("int8", 25, 25)
    # int8's gate; that the exact network is the same one is shown by how near it comes.
    assert full["score"] == pytest.approx(full["reference_score"], abs=1.0)


def test_the_reference_in_a_bundle_is_the_reference_to_the_digit(
    tmp_path: Path, clip_maker: Callable[..., Path]
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.6, size=(64, 64))
    reference = Reference(18)
    bundle = reference.bundle(tmp_path / "bundle", "full", 25.0)
    taken = time_reference(reference, clip, None)
    found = compare(clip, taken, BundleScoring.of(bundle), open_engine(bundle, "openvino", Precision.F32))
    # Both turn YUV into RGB by FFmpeg's scaler, each with settings of its own.
    assert found.score == pytest.approx(found.reference_score, abs=0.05)


def test_a_clip_that_is_not_there_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["/nowhere/clip.mp4"]) == 2
    assert "no such file" in capsys.readouterr().err
