"""Media time from raw time stamps."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.timestamps import MediaClock, StepWindow, Verdict

TS = Fraction(1, 90_000)
MP4 = Fraction(1, 12_800)
FLV = Fraction(1, 1_000)

RATES = st.sampled_from([Fraction(r) for r in (24, 25, 30, 50, 60)] + [Fraction(30000, 1001)])


def accepted(clock: MediaClock, stamps: list[int | None], time_base: Fraction = TS) -> list[int]:
    times = []
    for pts in stamps:
        stamp = clock.place(pts, time_base)
        assert stamp.verdict is Verdict.ACCEPT, (pts, stamp)
        times.append(stamp.time_90k)
    return times


@settings(max_examples=30)
@given(
    bits=st.sampled_from([32, 33]),
    before=st.integers(1, 200),
    rate=RATES,
    time_base=st.sampled_from([TS, FLV]),
)
def test_wrap_gives_the_times_of_the_unwrapped_clip(
    bits: int, before: int, rate: Fraction, time_base: Fraction
) -> None:
    plain = [round(n / rate / time_base) for n in range(2 * before)]
    start = (1 << bits) - plain[before]
    wrapped = [(start + p) % (1 << bits) for p in plain]
    straight, clock = MediaClock(), MediaClock()
    base = accepted(straight, [start + p for p in plain], time_base)
    assert accepted(clock, list(wrapped), time_base) == base
    assert clock.counts.wraps == 1
    assert straight.counts.wraps == 0


def test_reordered_frame_after_a_wrap_is_skipped_and_the_wrap_counts_once() -> None:
    clock = MediaClock()
    top = 1 << 33
    verdicts = [clock.place(p % top, TS).verdict for p in (top - 3600, top, top - 1800, top + 3600, top + 7200)]
    assert verdicts == [Verdict.ACCEPT, Verdict.ACCEPT, Verdict.SKIP, Verdict.ACCEPT, Verdict.ACCEPT]
    assert clock.counts.wraps == 1
    assert clock.counts.backwards == 1


def test_start_below_zero_is_time_like_any_other() -> None:
    assert accepted(MediaClock(), [-478_592, -474_992, -471_392]) == [-478_592, -474_992, -471_392]


@settings(max_examples=30)
@given(rate=RATES, seconds=st.integers(1, 4), start_ms=st.integers(0, 10_000))
def test_containers_agree_to_the_coarsest_rounding(rate: Fraction, seconds: int, start_ms: int) -> None:
    def times(time_base: Fraction) -> list[int]:
        stamps = [round((Fraction(start_ms, 1000) + n / rate) / time_base) for n in range(int(rate * seconds))]
        return accepted(MediaClock(), list(stamps), time_base)

    ts, mp4, flv = times(TS), times(MP4), times(FLV)
    assert max(abs(a - b) for a, b in zip(ts, mp4, strict=True)) <= 5  # half of 7.03, and half of 1
    assert max(abs(a - b) for a, b in zip(ts, flv, strict=True)) <= 46


def test_rounding_does_not_add_up() -> None:
    clock = MediaClock()
    stamps = [round(n * Fraction(1001, 30000) / MP4) for n in range(10_000)]
    last = accepted(clock, list(stamps), MP4)[-1]
    assert abs(last - 9_999 * 3003) <= 4


def test_missing_stamps_are_filled_with_the_usual_step() -> None:
    clock = MediaClock()
    times = accepted(clock, [0, 3000, 6000, 9000, None, None, 18_000])
    assert times == [0, 3000, 6000, 9000, 12_000, 15_000, 18_000]
    assert clock.counts.missing == 2


def test_stream_without_any_stamp_runs_at_the_nominal_rate() -> None:
    assert accepted(MediaClock(Fraction(1, 50)), [None] * 4) == [0, 1800, 3600, 5400]


def test_first_frame_without_stamp_does_not_end_the_epoch() -> None:
    clock = MediaClock()
    times = accepted(clock, [None, 5_000_000, 5_003_600, 5_007_200])
    assert [b - a for a, b in pairwise(times)] == [3600] * 3


def test_constant_stamps_are_skipped_and_counted() -> None:
    clock = MediaClock()
    accepted(clock, [900])
    assert {clock.place(900, TS).verdict for _ in range(50)} == {Verdict.SKIP}
    assert clock.counts.constant == 50
    assert clock.place(4500, TS).verdict is Verdict.ACCEPT


@pytest.mark.parametrize(
    ("step", "verdict"),
    [
        (90_000, Verdict.ACCEPT),
        (90_001, Verdict.DISCONTINUITY),
        (-18_000, Verdict.SKIP),
        (-18_001, Verdict.DISCONTINUITY),
        (-900_000_000, Verdict.DISCONTINUITY),
        (900_000_000, Verdict.DISCONTINUITY),
    ],
)
def test_step_decides_between_frame_slip_and_new_epoch(step: int, verdict: Verdict) -> None:
    clock = MediaClock()
    accepted(clock, [10_000_000])
    assert clock.place(10_000_000 + step, TS).verdict is verdict


def test_new_clock_accepts_the_frame_that_ended_the_epoch() -> None:
    clock = MediaClock()
    accepted(clock, [10_000_000])
    assert clock.place(0, TS).verdict is Verdict.DISCONTINUITY
    assert MediaClock().place(0, TS).verdict is Verdict.ACCEPT


@given(st.lists(st.one_of(st.none(), st.integers(-(1 << 34), 1 << 34), st.integers(0, 400_000)), max_size=80))
def test_accepted_times_always_increase(stamps: list[int | None]) -> None:
    clock = MediaClock()
    last: int | None = None
    for pts in stamps:
        stamp = clock.place(pts, TS)
        if stamp.verdict is Verdict.ACCEPT:
            assert last is None or 0 < stamp.time_90k - last <= 90_000
            last = stamp.time_90k
        elif stamp.verdict is Verdict.SKIP:
            assert stamp.time_90k == last
    counts = clock.counts
    assert counts.accepted + counts.constant + counts.backwards <= len(stamps)


@pytest.mark.parametrize("rate", [24, 25, 30, 50, 60, Fraction(24000, 1001), Fraction(30000, 1001)])
def test_rate_is_right_with_millisecond_stamps(rate: Fraction) -> None:
    clock = MediaClock()
    accepted(clock, [round(n * 1000 / rate) for n in range(200)], FLV)
    assert clock.fps == pytest.approx(float(rate), rel=0.004)


def test_rate_ignores_gaps_and_follows_a_change() -> None:
    clock = MediaClock()
    stamps = [n * 3600 for n in range(100) if n % 10]  # one frame in ten lost
    accepted(clock, list(stamps))
    assert clock.fps == pytest.approx(25)
    accepted(clock, [stamps[-1] + 1800 * n for n in range(1, 60)])
    assert clock.fps == pytest.approx(50)


def test_rate_is_unknown_before_three_steps() -> None:
    clock = MediaClock()
    accepted(clock, [0, 3600, 7200])
    assert clock.fps is None
    accepted(clock, [10_800])
    assert clock.fps == 25


@given(st.lists(st.integers(1, 9000), min_size=3, max_size=40), st.integers(3, 7))
def test_window_holds_the_newest_steps_only(steps: list[int], size: int) -> None:
    window = StepWindow(size)
    for step in steps:
        window.push(step)
    newest = sorted(steps[-size:])
    assert window.median_90k == newest[len(newest) // 2]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="nominal_step_s"):
        MediaClock(0)
    with pytest.raises(ValueError, match="time_base"):
        MediaClock().place(0, Fraction(0))
