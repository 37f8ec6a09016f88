"""Bootstrap by content and paired differences against scipy and what they claim."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

stats = pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")

from training import metrics  # noqa: E402
from training.intervals import bootstrap_interval, paired_difference  # noqa: E402

pytestmark = pytest.mark.train


def tied(seed: int, n: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    x = rng.integers(0, 12, n).astype(float)
    return x, np.round(x * 0.5 + rng.normal(0, 2, n))


def test_bootstrap_repeats_by_seed_and_holds_the_estimate() -> None:
    x, y = tied(2, 63)
    groups = [i // 7 for i in range(63)]
    first = bootstrap_interval(x, y, groups, resamples=300, seed=4)
    assert first == bootstrap_interval(x, y, groups, resamples=300, seed=4)
    assert first != bootstrap_interval(x, y, groups, resamples=300, seed=5)
    assert first.low < first.estimate < first.high
    assert first.estimate == metrics.srocc(x, y)


def test_bootstrap_by_content_is_wider_when_contents_differ() -> None:
    rng = np.random.default_rng(8)
    content = np.repeat(np.arange(9), 7)
    x = rng.normal(size=63)
    y = x + np.repeat(rng.normal(0, 2, 9), 7)

    def width(groups: list[int]) -> float:
        interval = bootstrap_interval(x, y, groups, metrics.rmse, resamples=400)
        return interval.high - interval.low

    assert width(list(content)) > 1.3 * width(list(range(63)))


def test_bootstrap_of_nothing_is_nan() -> None:
    found = bootstrap_interval([], [], [], resamples=10)
    assert math.isnan(found.low)
    assert math.isnan(found.estimate)
    assert found.resamples == 0


def test_paired_difference_takes_out_what_both_runs_share() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 0.06, 10)
    b = 0.75 + hard
    a = b + 0.02 + rng.normal(0, 0.005, 10)
    found = paired_difference(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-12)
    assert found.low > 0
    assert found.wins == 10


def test_overlapping_training_sets_widen_the_interval() -> None:
    a, b = np.array([0.8, 0.82, 0.79, 0.81, 0.85]), np.array([0.78, 0.81, 0.8, 0.78, 0.8])
    plain, widened = paired_difference(a, b), paired_difference(a, b, test_to_train=1 / 3)
    factor = (widened.high - widened.low) / (plain.high - plain.low)
    assert factor == pytest.approx(math.sqrt((1 / 5 + 1 / 3) * 5))


def test_runs_without_a_number_are_left_out_in_pairs() -> None:
    found = paired_difference([0.8, math.nan, 0.7], [0.7, 0.7, math.nan])
    assert found.runs == 1
    assert found.mean == pytest.approx(0.1)
    assert math.isnan(found.low)
    assert paired_difference([], []).runs == 0
