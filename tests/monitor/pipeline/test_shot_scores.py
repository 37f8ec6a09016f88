"""What was before a cut is not held against the pictures behind it, through decoder, shots and head."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.demo.scenes import render
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.offline import ClipResult
from monitor.types import U8
from tests.fixtures.clip_scoring import clip_scorer
from tests.fixtures.pictures import write

SHOT_S, FPS = 4.0, 25.0


def noisy(picture: U8, rng: np.random.Generator) -> U8:
    return np.clip(picture + rng.normal(0, 14, picture.shape), 0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def score() -> Iterator[Callable[..., ClipResult]]:
    with clip_scorer() as scorer:
        yield scorer


@pytest.mark.timeout(120)
def test_two_seconds_behind_a_cut_a_shot_scores_as_alone(score: Callable[..., ClipResult], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    bad = [noisy(picture, rng) for picture in render("city", 5, 640, 360, FPS, SHOT_S)]
    good = list(render("mountains", 5, 640, 360, FPS, SHOT_S))
    cut, alone = write(tmp_path / "cut.mkv", bad + good), write(tmp_path / "alone.mkv", good)
    spec = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED)).scoring
    expected, kept, forgotten = (
        np.array([value for _, value in score(path, scoring=replace(spec, settle=settle)).seconds])
        for path, settle in ((alone, None), (cut, None), (cut, 12))
    )
    np.testing.assert_allclose(forgotten[6:], expected[2:], atol=2)
    # The states' lives are all that differs, from where the new shot has settled on.
    np.testing.assert_array_equal(forgotten[:4], kept[:4])
    assert (forgotten[5:] != kept[5:]).all()
