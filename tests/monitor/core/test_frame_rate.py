"""The source's rate from its time stamps, and what the grid makes of each rate."""

from __future__ import annotations

from fractions import Fraction
from itertools import accumulate
from math import ceil, floor
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.frame_rate import FrameRateMeter
from monitor.core.sampling import SampleGrid
from monitor.core.timestamps import MediaClock, Verdict

TS, FLV = Fraction(1, 90_000), Fraction(1, 1_000)
RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "50": Fraction(50),
    "59.94": Fraction(60000, 1001),
}


def measured(stamps: list[int | None], time_base: Fraction = TS) -> FrameRateMeter:
    clock, meter = MediaClock(), FrameRateMeter()
    for pts in stamps:
        stamp = clock.place(pts, time_base)
        if stamp.step_90k is not None:
            meter.push(stamp.step_90k)
    return meter


def stamps_of(rate: Fraction, count: int, time_base: Fraction = TS) -> list[int | None]:
    return [round(n / rate / time_base) for n in range(count)]


@pytest.mark.parametrize("time_base", [TS, FLV])
@pytest.mark.parametrize("rate", RATES.values(), ids=list(RATES))
def test_rate_is_exact_after_ten_seconds_whatever_the_container(rate: Fraction, time_base: Fraction) -> None:
    meter = measured(stamps_of(rate, 11 * round(rate), time_base), time_base)
    assert meter.settled
    assert meter.fps == pytest.approx(float(rate), rel=1e-9)


@pytest.mark.parametrize("rate", RATES.values(), ids=list(RATES))
def test_rate_survives_the_loss_of_a_tenth_of_the_frames(rate: Fraction) -> None:
    rng = Random(1)
    kept = [pts for pts in stamps_of(rate, 12 * round(rate)) if rng.random() > 0.1]
    assert measured(kept).fps == pytest.approx(float(rate), rel=1e-9)


def test_jitter_of_the_stamps_does_not_hide_a_rate() -> None:
    rng = Random(2)
    stamps = [n * 3600 + rng.randint(-80, 80) for n in range(300)]
    assert measured(list(stamps)).fps == 25.0


def test_variable_rate_is_what_came_a_second() -> None:
    rng = Random(3)
    stamps, now = [], 0
    for _ in range(300):
        stamps.append(now)
        now += rng.randint(1500, 9000)
    fps = measured(list(stamps)).fps
    assert fps is not None
    window = [s for s in stamps if s >= stamps[-1] - 10 * 90_000]
    assert fps == pytest.approx((len(window) - 1) * 90_000 / (window[-1] - window[0]), rel=0.02)


@given(st.lists(st.integers(1, 80_000), min_size=8, max_size=40))
def test_any_steps_have_a_rate(steps: list[int]) -> None:
    """As damage leaves them: the middle of the steps may lie between two of them and near to none."""
    fps = measured(list(accumulate(steps, initial=0))).fps
    assert fps is not None
    assert 90_000 / max(steps) * 0.98 <= fps <= 90_000 / min(steps) * 1.02


def test_film_told_by_fields_has_the_rate_of_the_film() -> None:
    """Soft telecine: frames last two and three fields in turn."""
    stamps, now = [], 0
    for n in range(250):
        stamps.append(now)
        now += (3003, 4505)[n % 2] if n % 4 < 2 else (3003, 4504)[n % 2]
    assert measured(list(stamps)).fps == pytest.approx(24000 / 1001, rel=0.001)


def test_rate_of_an_unusual_source_is_not_bent_to_a_usual_one() -> None:
    assert measured(stamps_of(Fraction(2502, 100), 300)).fps == pytest.approx(25.02, rel=1e-4)
    assert measured(stamps_of(Fraction(17), 200)).fps == pytest.approx(17, rel=1e-4)


def test_rate_follows_a_change_within_ten_seconds_and_needs_eight_steps() -> None:
    assert measured(stamps_of(Fraction(25), 8)).fps is None
    assert measured(stamps_of(Fraction(25), 9)).fps == 25.0
    stamps = stamps_of(Fraction(25), 250)
    stamps += [249 * 3600 + 1800 * n for n in range(1, 505)]
    assert measured(stamps).fps == 50.0


def test_stream_without_stamps_has_no_rate() -> None:
    assert measured([None] * 100).fps is None


@settings(max_examples=40)
@given(
    rate=st.sampled_from(list(RATES.values())),
    start=st.integers(0, 1 << 33),
    time_base=st.sampled_from([TS, FLV]),
    seconds=st.integers(2, 12),
)
def test_grid_never_counts_its_own_repeats_as_gaps_of_the_source(
    rate: Fraction, start: int, time_base: Fraction, seconds: int
) -> None:
    clock = MediaClock()
    grid: SampleGrid[int] = SampleGrid(25)
    ticks = []
    for n in range(int(rate * seconds)):
        stamp = clock.place(start + round(n / rate / time_base), time_base)
        assert stamp.verdict is Verdict.ACCEPT
        ticks += grid.push(stamp.time_90k, n)
    assert not any(tick.gap for tick in ticks)
    assert grid.counts.gaps == 0


@settings(max_examples=40)
@given(rate=st.sampled_from(list(RATES.values())), at=st.integers(10, 60), lost=st.integers(3, 10))
def test_gap_of_the_source_is_counted_at_every_rate(rate: Fraction, at: int, lost: int) -> None:
    grid: SampleGrid[int] = SampleGrid(25)
    ticks = []
    for n in range(120):
        if not at <= n < at + lost:
            ticks += grid.push(round(n * 90_000 / rate), n)
    assert grid.counts.gaps == 1
    between = (lost + 1) * 25 / rate
    # The first of the ticks between two pictures shows the former anew; there are as many as fit, or one more.
    assert floor(between) - 1 <= sum(tick.gap for tick in ticks) <= ceil(between) - 1
