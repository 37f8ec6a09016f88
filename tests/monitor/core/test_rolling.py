"""Rolling scores."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.rolling import RollingScores, RollingView

RATES = [25, 20, 12.5, 5]


class PlainScores:
    """Every number by going through all values again."""

    def __init__(self, fps: float, warmup: int, min_coverage: float) -> None:
        self.fps, self.warmup, self.min_coverage = fps, warmup, min_coverage
        self.values: dict[int, float] = {}
        self.end = warmup - 1

    def window(self, tick: int, seconds: int) -> tuple[list[float], int]:
        ticks = math.ceil(seconds * self.fps)
        span = range(max(self.warmup, tick - ticks + 1), tick + 1)
        return [self.values[k] for k in span if k in self.values], len(span)

    def mean(self, tick: int, seconds: int) -> float | None:
        present, due = self.window(tick, seconds)
        return math.fsum(present) / len(present) if present and len(present) >= self.min_coverage * due else None

    def view(self) -> RollingView:
        second, minute = math.ceil(self.fps), math.ceil(60 * self.fps)
        seconds = [
            mean
            for k in self.values
            if k > self.end - minute and k - self.warmup + 1 >= second
            for mean in [self.mean(k, 1)]
            if mean is not None
        ]
        present, due = self.window(self.end, 1)
        return RollingView(
            score=self.mean(self.end, 1),
            score_10s=self.mean(self.end, 10),
            score_60s=self.mean(self.end, 60),
            score_min_60s=min(seconds, default=None),
            coverage=len(present) / due if due else 0.0,
            newest_tick=max(self.values, default=None),
        )


def same(a: RollingView, b: RollingView) -> None:
    assert a.newest_tick == b.newest_tick
    for name in ("score", "score_10s", "score_60s", "score_min_60s", "coverage"):
        left, right = getattr(a, name), getattr(b, name)
        assert (left is None) == (right is None), name
        if left is not None:
            assert left == pytest.approx(right, abs=1e-9), name


steps = st.lists(st.tuples(st.integers(1, 40), st.floats(0, 100)), max_size=60) | st.lists(
    st.tuples(st.sampled_from([1, 1, 1, 1, 2]), st.floats(0, 100)), max_size=200
)


@given(
    steps=steps,
    fps=st.sampled_from(RATES),
    warmup=st.integers(0, 15),
    min_coverage=st.sampled_from([0.1, 0.5, 1.0]),
    given_up=st.integers(0, 30),
)
def test_views_equal_plain_sums(
    steps: list[tuple[int, float]], fps: float, warmup: int, min_coverage: float, given_up: int
) -> None:
    rolling, plain = RollingScores(fps, warmup, min_coverage), PlainScores(fps, warmup, min_coverage)
    tick = -1
    for step, value in steps:
        tick += step
        rolling.push(tick, value)
        if tick >= warmup:
            plain.values[tick] = value
            plain.end = tick
    same(rolling.view(), plain.view())
    rolling.advance(tick + given_up)
    plain.end = max(plain.end, tick + given_up)
    same(rolling.view(), plain.view())


@given(steps=steps, fps=st.sampled_from(RATES), data=st.data())
def test_snapshot_goes_on_to_the_bit(steps: list[tuple[int, float]], fps: float, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(steps)))
    rolling = RollingScores(fps, 3)
    copy = rolling
    tick = -1
    for n, (step, value) in enumerate(steps):
        if n == cut:
            copy = RollingScores.restore(rolling.snapshot())
        tick += step
        rolling.push(tick, value)
        if copy is not rolling:
            copy.push(tick, value)
    assert copy.view() == rolling.view()


def test_long_runs_do_not_drift() -> None:
    """VQWATCH_SAMPLES sets their length."""
    count = int(os.environ.get("VQWATCH_SAMPLES", "100000"))
    values = np.random.default_rng(1).random(count) * 100
    rolling = RollingScores(25)
    for tick, value in enumerate(values.tolist()):
        rolling.push(tick, value)
    view = rolling.view()
    for score, ticks in ((view.score, 25), (view.score_10s, 250), (view.score_60s, 1500)):
        assert score == pytest.approx(math.fsum(values[-ticks:]) / ticks, abs=1e-9)
    seconds = np.convolve(values[-1524:], np.ones(25) / 25, mode="valid")
    assert view.score_min_60s == pytest.approx(float(seconds.min()), abs=1e-9)


@pytest.mark.parametrize(("fps", "ticks"), [(25, 25), (20, 20), (12.5, 13), (5, 5), (Fraction(30000, 1001), 30)])
def test_second_holds_the_ticks_less_than_one_second_old(fps: float, ticks: int) -> None:
    rolling = RollingScores(fps)
    for tick in range(100):
        rolling.push(tick, 0.0 if tick < 100 - ticks else 1.0)
    assert rolling.view().score == 1.0
    assert rolling.view().coverage == 1.0


def test_low_coverage_is_no_data_and_not_bad_quality() -> None:
    rolling = RollingScores(25)
    for tick in range(300):
        rolling.push(tick, 80.0)
    rolling.advance(311)
    assert rolling.view().score == 80.0
    rolling.advance(312)
    view = rolling.view()
    assert view.score is None
    assert view.coverage == pytest.approx(0.48)
    assert view.score_10s == 80.0
    assert view.newest_tick == 299


def test_lowest_second_stays_for_a_minute() -> None:
    rolling = RollingScores(5)
    for tick in range(5 * 20):
        rolling.push(tick, 30.0 if 40 <= tick < 45 else 90.0)
    for tick in range(100, 44 + 300):
        rolling.push(tick, 90.0)
    assert rolling.view().score_min_60s == 30.0
    rolling.push(344, 90.0)
    assert rolling.view().score_min_60s == pytest.approx(42.0)  # the window one tick on: four of five low


def test_young_stream_has_scores_but_no_lowest_second_yet() -> None:
    rolling = RollingScores(25, warmup=12)
    for tick in range(12):
        rolling.push(tick, 5.0)
    assert rolling.view() == RollingView()
    for tick in range(12, 36):
        rolling.push(tick, 70.0)
    assert rolling.view() == RollingView(70.0, 70.0, 70.0, None, 1.0, 35)
    rolling.push(36, 70.0)
    assert rolling.view().score_min_60s == 70.0


def test_misuse_is_refused() -> None:
    rolling = RollingScores(25)
    rolling.push(5, 1.0)
    with pytest.raises(ValueError, match="increase"):
        rolling.push(5, 1.0)
    with pytest.raises(ValueError, match="finite"):
        rolling.push(6, math.inf)
    rolling.advance(9)
    with pytest.raises(ValueError, match="given up"):
        rolling.push(9, 1.0)
    with pytest.raises(ValueError, match="fps"):
        RollingScores(0)


@settings(max_examples=25)
@given(
    before=st.sampled_from(RATES),
    after=st.sampled_from(RATES),
    values=st.lists(st.one_of(st.none(), st.floats(0, 1)), min_size=1, max_size=300),
    warmup=st.integers(0, 5),
)
def test_another_rate_keeps_every_window_and_its_score(
    before: float, after: float, values: list[float | None], warmup: int
) -> None:
    scores = RollingScores(before)
    for tick, value in enumerate(values):
        if value is not None:
            scores.push(tick, value)
    scores.advance(len(values) - 1)
    scaled = scores.at_rate(after, warmup)
    old, new = scores.view(), scaled.view()
    assert new.newest_tick is None
    known = [value for value in values if value is not None]
    for score in (new.score, new.score_10s, new.score_60s):
        assert score is None or min(known) - 1e-9 <= score <= max(known) + 1e-9
    if None not in values:
        # Full windows stay full; with one value throughout nothing changes.
        assert new.coverage == 1.0 or len(values) / before * after < 1
    assert new.score_min_60s == old.score_min_60s
    restored = RollingScores.restore(scaled.snapshot())
    for other in (scaled, restored):
        for tick in range(warmup + math.ceil(61 * after)):
            other.push(tick, 0.5)
        view = other.view()
        assert (view.score, view.score_10s, view.score_60s, view.score_min_60s) == (0.5, 0.5, 0.5, 0.5)
        assert view.coverage == 1.0


def test_the_first_values_of_another_rate_share_the_second_with_those_before() -> None:
    scores = RollingScores(25)
    for tick in range(100):
        scores.push(tick, 1.0)
    low = scores.at_rate(5, warmup=2)
    for tick in range(4):  # two of them are the warm-up's
        low.push(tick, 0.0)
    assert low.view().score == pytest.approx(3 / 5)
    assert low.view().coverage == 1.0
