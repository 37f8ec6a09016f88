"""The fixed-fps grid."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.sampling import LATE_90K, LATE_SAME_ADVANCE_90K, SampleGrid, Tick
from monitor.core.timestamps import MediaClock, Verdict

MP4, TS, FLV = Fraction(1, 12_800), Fraction(1, 90_000), Fraction(1, 1_000)
GRIDS = (25, 20, 12.5, 5)


def times_of(rate: Fraction, count: int, time_base: Fraction = TS, start_s: Fraction = Fraction(0)) -> list[int]:
    clock = MediaClock()
    stamps = [clock.place(round((start_s + n / rate) / time_base), time_base) for n in range(count)]
    assert all(stamp.verdict is Verdict.ACCEPT for stamp in stamps)
    return [stamp.time_90k for stamp in stamps]


def sample(times: list[int], fps: float, duration: int = 3600) -> tuple[SampleGrid[int], list[Tick[int]]]:
    grid: SampleGrid[int] = SampleGrid(fps)
    ticks = [tick for n, time in enumerate(times) for tick in grid.push(time, n)]
    return grid, ticks + grid.flush(times[-1] + duration)


def shown_by_definition(times: list[int], fps: Fraction, end: int) -> list[int]:
    """The rule in full, over the whole list: newest frame not late, one more where the advance would fall."""
    shown, advance, index, out = -1, 1, 0, []
    while True:
        tick = times[0] + int(index * 90_000 / fps + Fraction(1, 2))
        if tick + LATE_90K >= end:
            return out
        candidate = max(n for n, t in enumerate(times) if t <= tick + LATE_90K)
        following = candidate + 1
        if (
            max(candidate, shown) - shown < advance
            and following < len(times)
            and times[following] <= tick + LATE_SAME_ADVANCE_90K
        ):
            candidate = following
        candidate = max(candidate, shown)
        shown, advance = candidate, candidate - shown
        out.append(shown)
        index += 1


irregular = st.lists(st.integers(1, 90_000), min_size=0, max_size=30) | st.lists(
    st.integers(100, 7_000), min_size=0, max_size=120
)


@given(steps=irregular, start=st.integers(-(10**9), 10**9), fps=st.sampled_from(GRIDS))
def test_every_tick_appears_once_in_order_and_shows_what_the_definition_says(
    steps: list[int], start: int, fps: float
) -> None:
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    grid, ticks = sample(times, fps)
    assert [tick.index for tick in ticks] == list(range(len(ticks)))
    assert [tick.payload for tick in ticks] == shown_by_definition(times, Fraction(fps), times[-1] + 3600)
    for before, after in pairwise(ticks):
        assert after.held == (after.payload == before.payload)
        assert after.shown_step_90k == times[after.payload] - times[before.payload]
        assert after.passed == max(0, after.payload - before.payload - 1)
    shown = {tick.payload for tick in ticks}
    assert grid.counts.frames == len(times) == len(shown) + grid.counts.skipped
    assert grid.counts.ticks == len(ticks)
    assert grid.counts.held == sum(tick.held for tick in ticks)


@given(steps=irregular, fps=st.sampled_from(GRIDS))
def test_ticks_come_one_frame_late_at_most(steps: list[int], fps: float) -> None:
    grid: SampleGrid[int] = SampleGrid(fps)
    time = 0
    due = 0
    for n, step in enumerate([0, *steps]):
        time += step
        due += len(grid.push(time, n))
        # All ticks that a frame at this time leaves behind are out.
        assert due * 90_000 / Fraction(fps) + LATE_SAME_ADVANCE_90K + 1 >= time


@pytest.mark.parametrize("time_base", [MP4, TS, FLV])
@pytest.mark.parametrize("fps", [25, 12.5, 5])
def test_grid_rate_source_gives_one_tick_a_frame(time_base: Fraction, fps: float) -> None:
    times = times_of(Fraction(fps), 100, time_base, Fraction(1, 3))
    grid, ticks = sample(times, fps, round(90_000 / fps))
    assert [tick.payload for tick in ticks] == list(range(100))
    assert grid.counts.held == grid.counts.skipped == grid.counts.gaps == 0


@settings(max_examples=50)
@given(
    rate=st.sampled_from([24, 25, 30, 50, 60]),
    fps=st.sampled_from(GRIDS),
    start_s=st.fractions(0, 2, max_denominator=997),
    count=st.integers(1, 200),
)
def test_containers_give_the_same_frame_for_every_tick(rate: int, fps: float, start_s: Fraction, count: int) -> None:
    shown = [
        [tick.payload for tick in sample(times_of(Fraction(rate), count, base, start_s), fps, round(90_000 / rate))[1]]
        for base in (TS, MP4, FLV)
    ]
    assert shown[0] == shown[1] == shown[2]


@pytest.mark.parametrize(
    ("rate", "held", "skipped"),
    [
        (Fraction(50), 0, 500),
        (Fraction(24), 20, 0),
        (Fraction(30), 0, 100),
        (Fraction(24000, 1001), 20, 0),
        (Fraction(30000, 1001), 0, 99),
        (Fraction(60000, 1001), 0, 698),
        (Fraction(25), 0, 0),
    ],
)
def test_twenty_seconds_of_each_rate(rate: Fraction, held: int, skipped: int) -> None:
    count = int(rate * 20)
    grid, ticks = sample(times_of(rate, count), 25, round(90_000 / rate))
    assert len(ticks) in (499, 500)
    assert abs(grid.counts.held - held) <= 1
    assert abs(grid.counts.skipped - skipped) <= 2
    assert grid.counts.gaps == 0
    assert not any(tick.gap for tick in ticks)


def test_shown_steps_tell_the_media_time_between_pictures() -> None:
    _, halved = sample(times_of(Fraction(50), 100), 25, 1800)
    assert {tick.shown_step_90k for tick in halved[1:]} == {3600}
    _, thinned = sample(times_of(Fraction(30), 120), 25, 3000)
    steps = [tick.shown_step_90k for tick in thinned[1:]]
    assert sorted(set(steps)) == [3000, 6000]
    assert steps.count(6000) == 20 - 1  # one in six frames passed over, the first after the first picture
    assert all(tick.passed == (tick.shown_step_90k == 6000) for tick in thinned[1:])


def test_gap_in_the_source_is_told_from_the_grids_own_repeats() -> None:
    times = [n * 3750 for n in range(96) if n not in (50, 51, 52)]
    grid, ticks = sample(times, 25, 3750)
    gaps = [tick for tick in ticks if tick.gap]
    assert 3 <= len(gaps) <= 4
    assert {tick.payload for tick in gaps} == {49}
    assert sum(tick.held and not tick.gap for tick in ticks) in (3, 4)
    assert grid.counts.gaps == 1


def test_frame_just_after_a_held_tick_ends_the_gap_with_the_next_tick() -> None:
    _, ticks = sample([0, 3600, 7200, 10_800, 14_400, 25_200 + 150, 28_950, 32_550], 25)
    assert [tick.index for tick in ticks if tick.gap] == [5, 6, 7]
    assert [tick.payload for tick in ticks][4:9] == [4, 4, 4, 4, 5]


def test_slow_source_on_a_fast_grid_has_no_gaps() -> None:
    grid, ticks = sample(times_of(Fraction(5), 20), 25, 18_000)
    assert len(ticks) == 100
    assert grid.counts.held == 80
    assert grid.counts.gaps == 0
    assert grid.frame_step_90k == 18_000


def test_last_frame_counts_for_its_duration() -> None:
    _, ticks = sample([0, 3600, 7200], 25, 3600)
    assert [tick.payload for tick in ticks] == [0, 1, 2]
    _, longer = sample([0, 3600, 7200], 25, 36_000)
    assert [tick.payload for tick in longer] == [0, 1] + [2] * 10


@pytest.mark.parametrize("seed", range(5))
def test_clock_drift_with_jitter_of_rounding_does_not_flap(seed: int) -> None:
    rng = Random(seed)
    # 500 ppm off for 80 s: the phase drifts through the 25 fps grid once, a passage of 50 frames, and 2 or 3
    # times through every other frame of the 50 fps source.
    slow = [time + rng.randint(-60, 60) for time in times_of(Fraction(25) * Fraction(1999, 2000), 2_000)]
    grid, _ = sample(slow, 25)
    assert grid.counts.held <= 1
    assert grid.counts.skipped == 0
    fast = [time + rng.randint(-60, 60) for time in times_of(Fraction(50) * Fraction(2001, 2000), 4_000)]
    _, ticks = sample(fast, 25, 1800)
    assert sum(tick.passed != 1 for tick in ticks[1:]) <= 3


@given(st.integers(2, 120), st.sampled_from(GRIDS))
def test_few_frames_are_kept(rate: int, fps: float) -> None:
    grid: SampleGrid[int] = SampleGrid(fps)
    for n in range(4 * rate):
        grid.push(n * 90_000 // rate, n)
        undecided = grid.counts.frames - grid.counts.skipped - (grid.counts.ticks - grid.counts.held)
        assert 0 <= undecided <= 2


def test_misuse_is_refused() -> None:
    grid: SampleGrid[int] = SampleGrid(25)
    grid.push(0, 0)
    for bad in (0, -1, 90_001):
        with pytest.raises(ValueError, match="apart"):
            grid.push(bad, 1)
    with pytest.raises(ValueError, match="apart"):
        grid.flush(90_001)
    grid.flush(3600)
    with pytest.raises(ValueError, match="flushed"):
        grid.push(7200, 2)
    with pytest.raises(ValueError, match="flushed"):
        grid.flush(7200)
    with pytest.raises(ValueError, match="fps"):
        SampleGrid(0)


def test_grid_without_frames_flushes_to_nothing() -> None:
    assert SampleGrid[int](25).flush(0) == []
