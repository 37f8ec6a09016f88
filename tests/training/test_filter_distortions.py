"""The second code of the impairments: as strong as the first, level by level, and nothing of it shared."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training needs scipy")

from tests.fixtures.counted import Counted
from tests.training.test_distortions import CLEAN, LONG, TALL
from training import filter_distortions
from training.distortion_levels import LEVELS, NOISE_SIGMA
from training.distortion_measures import MEASURES
from training.filter_distortions import FILTER_DISTORTIONS, distort_by_filters
from training.pictures import Picture
from training.synthesis import DISTORTED

pytestmark = [pytest.mark.timeout(120), pytest.mark.train]

#: With these every coder of compression and both kinds of blur and of noise come up.
SEEDS = (1, 2, 3, 4, 5)


def test_every_cause_has_a_second_code() -> None:
    assert set(FILTER_DISTORTIONS) == set(DISTORTED)
    text = Path(filter_distortions.__file__).read_text()
    assert "from training.distortions" not in text
    assert "from training.distortion_levels" not in text


@pytest.mark.parametrize("kind", FILTER_DISTORTIONS)
def test_each_level_is_worse_in_a_property_of_its_own_with_every_seed(kind: str) -> None:
    if kind == "flicker":
        # Its measure counts coded runs, too; a swing of brightness shows in the mean luma.
        def value(_: list[Picture], shown: list[Picture]) -> float:
            return float(np.std([picture.y.mean() for picture in shown]))
    else:
        value = MEASURES[kind].value
    clean = CLEAN[:50] if kind == "compression" else TALL[: LONG if kind == "frame_drop" else 30]
    for seed in SEEDS:
        values = [value(clean, clean)]
        for level in LEVELS:
            shown = list(distort_by_filters(iter(clean), kind, level, seed=seed))
            assert len(clean) - 20 <= len(shown) <= len(clean) + 1
            values.append(value(clean[: len(shown)], shown[: len(clean)]))
        assert all(b > a for a, b in itertools.pairwise(values)), (seed, values)


@pytest.mark.parametrize("level", LEVELS)
def test_noise_is_as_strong_as_the_first_code_makes_it(level: int) -> None:
    grey = Picture(*(np.full(shape, 128, np.uint8) for shape in ((180, 320), (90, 160), (90, 160))))
    for seed in SEEDS:
        shown = list(distort_by_filters([grey] * 3, "noise", level, seed=seed))
        assert shown[1].y.std() == pytest.approx(NOISE_SIGMA.at(level), rel=0.12)
        assert (shown[0].y != shown[1].y).mean() > 0.5


def test_fields_are_mixed_of_two_pictures_and_no_line_is_made_up() -> None:
    shown = list(distort_by_filters(iter(TALL[:20]), "interlacing", 5, seed=1))
    for index, picture in enumerate(shown[:15]):
        fields = [np.array_equal(picture.y[p::2], TALL[index + a].y[p::2]) for p in (0, 1) for a in (0, 3)]
        assert fields in ([True, False, False, True], [False, True, True, False])


@pytest.mark.parametrize("kind", FILTER_DISTORTIONS)
def test_the_same_seed_gives_the_same_pictures(kind: str) -> None:
    first, second = (list(distort_by_filters(iter(CLEAN[:20]), kind, 3, seed=7)) for _ in range(2))
    assert all(np.array_equal(a.y, b.y) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("kind", FILTER_DISTORTIONS)
def test_pictures_stream_through_with_a_bounded_number_held(kind: str) -> None:
    source = Counted(CLEAN)
    stream = distort_by_filters(source, kind, 3, seed=1)
    for given in range(1, 40):
        next(stream)
        assert source.taken - given <= 70


def test_what_it_cannot_make_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="no filter makes 'banding'; one of compression, aliasing"):
        distort_by_filters(iter(CLEAN), "banding", 3, seed=1)
    with pytest.raises(ValueError, match="levels are 1 to 5, got 6"):
        distort_by_filters(iter(CLEAN), "blur", 6, seed=1)
