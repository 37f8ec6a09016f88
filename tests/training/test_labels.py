"""Pseudo-labels, and what they say of themselves."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="needs the train extra (scipy)")

from training.distortions import DISTORTIONS, LEVELS
from training.labels import (
    ANCHORS,
    CLEAN,
    PUBLISHED,
    TEMPORAL,
    Reference,
    label,
    labels,
    provenance,
    spatial_scales,
)
from training.synthesis import ClipFacts

pytestmark = pytest.mark.train


def facts(
    kind: str, level: int, *, motion: float = 6.0, ssim_db: float = 12.0, xpsnr_db: float | None = None
) -> ClipFacts:
    return ClipFacts("c", "c", kind, level, "", 640, 360, motion, ssim_db, xpsnr_db)


def test_every_distortion_has_an_anchor_and_says_whose() -> None:
    assert set(ANCHORS) == set(DISTORTIONS)
    for kind in DISTORTIONS:
        found = provenance(facts(kind, 3))
        assert found.anchor == ANCHORS[kind]
        assert found.anchor_source == ("LIVE-APV group mean (Shang et al.)" if kind in PUBLISHED else "ours")
        assert found.source == {True: "rank"}.get(kind in TEMPORAL, found.source)
    sources = {kind: provenance(facts(kind, 3)).source for kind in DISTORTIONS}
    assert sources["compression"] == "full-reference"
    assert sources["noise"] == sources["aliasing"] == "full-reference + rank"
    assert provenance(facts("clean", 0)) == ("clean", None, "")
    assert not any("mos" in str(provenance(facts(kind, 3))).lower().split() for kind in DISTORTIONS)


@pytest.mark.parametrize("kind", TEMPORAL)
@given(motion=st.floats(0, 100), ssim_db=st.floats(0, 40))
def test_temporal_labels_fall_with_every_level(kind: str, motion: float, ssim_db: float) -> None:
    found = labels([facts(kind, level, motion=motion, ssim_db=ssim_db) for level in (0, *LEVELS)], {})
    assert found[0] == CLEAN
    assert (np.diff(found) < 0).all()


@given(
    kind=st.sampled_from(sorted(DISTORTIONS)),
    level=st.sampled_from(LEVELS),
    motion=st.floats(0, 1e3),
    ssim_db=st.floats(-10, 100),
)
def test_no_label_leaves_its_range_or_exceeds_the_clean_one(
    kind: str, level: int, motion: float, ssim_db: float
) -> None:
    clip = facts(kind, level, motion=motion, ssim_db=ssim_db)
    assert 0.02 <= label(clip, spatial_scales([clip])) <= CLEAN


def test_the_mean_of_level_three_meets_the_anchor_of_its_type() -> None:
    values = [9.0, 12.0, 15.0]
    for kind in sorted(set(ANCHORS) - set(TEMPORAL)):
        clips = [facts(kind, 3, ssim_db=value) for value in values]
        assert np.mean(CLEAN - labels(clips, spatial_scales(clips))) == pytest.approx(ANCHORS[kind])


def test_a_set_without_level_three_is_placed_by_the_levels_it_has() -> None:
    all_levels = [facts("compression", level, ssim_db=19.0 - 2 * level) for level in LEVELS]
    some = [clip for clip in all_levels if clip.level != 3]
    placed = labels(some, spatial_scales(some))
    assert (np.diff(placed) < 0).all()
    assert abs(np.mean(CLEAN - placed) - ANCHORS["compression"]) < 0.05


def test_xpsnr_grades_spatial_types_alone_and_says_so() -> None:
    for kind in DISTORTIONS:
        by_xpsnr = [facts(kind, level, xpsnr_db=36.0 - 3 * level) for level in LEVELS]
        scales = spatial_scales(by_xpsnr, "xpsnr")
        found = labels(by_xpsnr, scales, "xpsnr")
        assert (np.diff(found) < 0).all()
        source = provenance(by_xpsnr[0], "xpsnr").source
        if kind in TEMPORAL:
            assert source == "rank"
            assert found.tolist() == labels(by_xpsnr, {}).tolist()
        else:
            assert source == "full-reference (XPSNR)"
            assert np.mean(CLEAN - found[2:3]) == pytest.approx(ANCHORS[kind])
    assert provenance(facts("clean", 0), "xpsnr") == ("clean", None, "")


@pytest.mark.parametrize("kind", ["aliasing", "noise"])
def test_xpsnr_grades_aliasing_and_noise_alone_and_ssim_with_the_level(kind: str) -> None:
    """How far two contents at one level lie apart, against a blur's: as far, or half as far."""

    def apart(of: str, reference: Reference) -> float:
        clips = [facts(of, 3, ssim_db=value, xpsnr_db=value + 13) for value in (10.0, 16.0)]
        shown, hidden = labels(clips, spatial_scales(clips, reference), reference)
        return float(hidden - shown) / ANCHORS[of]

    assert apart(kind, "xpsnr") == pytest.approx(apart("blur", "xpsnr"))
    assert apart(kind, "ssim") == pytest.approx(apart("blur", "ssim") / 2)


def test_by_night_the_level_grades_with_the_value() -> None:
    """Every error is small where the picture is dark; a blur of level 5 is not clean for that."""
    by_day = facts("blur", 5, xpsnr_db=37.0)
    by_night = replace(by_day, look="dark")
    scales = {"blur": 1.0}
    assert label(by_day, scales, "xpsnr") == pytest.approx(CLEAN)
    assert label(by_night, scales, "xpsnr") == pytest.approx(CLEAN - 0.4 * 1.6 / 2)
    assert provenance(by_night, "xpsnr").source == "full-reference (XPSNR) + rank"
    assert spatial_scales([facts("blur", 3, xpsnr_db=30.0)] * 2, "xpsnr") == spatial_scales(
        [facts("blur", 3, xpsnr_db=30.0), replace(facts("blur", 3, xpsnr_db=36.0), look="dark")], "xpsnr"
    )


def test_a_value_that_was_not_taken_is_not_made_up() -> None:
    with pytest.raises(ValueError, match="XPSNR was not taken"):
        label(facts("blur", 3), {"blur": 1.0}, "xpsnr")
