"""Time stamps that wrap, jump, stand, run or are missing: no frame is lost, nothing reads as a fault."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import groupby

import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.preprocess import Cut, InputMode, InputSpec
from monitor.core.detectors import Detectors
from monitor.ingest.pyav_source import Decoded
from monitor.pipeline.sampler import StreamSampler
from monitor.types import Sample, StreamId

TS, FLV = Fraction(1, 90_000), Fraction(1, 1_000)
_rng = np.random.default_rng(0)
LUMAS = [_rng.integers(0, 255, (88, 160), dtype=np.uint8) for _ in range(701)]
STRIPS = np.zeros((1, 8, 8), np.uint8)
PIXELS = np.zeros((3, 2, 2), np.uint8)


class NumberedCutter:
    """Stands in for the cut, whose cost these tests do not need: the n-th picture gives the n-th luma."""

    def __init__(self) -> None:
        self.shown: list[int] = []

    def cut(self, picture: VideoFrame) -> Cut:
        number = picture.pts or 0
        self.shown.append(number)
        return Cut(PIXELS, LUMAS[number % len(LUMAS)], STRIPS, STRIPS)


class Run:
    """A sampler fed by time stamps alone; which frame each sample shows."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.numbers: list[int] = []
        self.cutter = NumberedCutter()
        self.sampler = StreamSampler(
            StreamId("cam"),
            InputSpec(InputMode.FRAGMENTS, grid=2, patch=16),
            Fraction(25),
            with_side_channel=False,
            emit=self._take,
            on_drop=lambda *_: None,
            detectors=Detectors(25, longest_loop_s=0),
        )
        self.sampler._cutter = self.cutter  # type: ignore[assignment]
        self._frame = 0

    def _take(self, sample: Sample) -> None:
        self.samples.append(sample)
        self.numbers.append(self.cutter.shown[-1])

    def play(self, stamps: list[int | None], time_base: Fraction = TS) -> Run:
        for pts in stamps:
            picture = VideoFrame(16, 16)
            picture.pts = self._frame
            self.sampler.push(Decoded(picture, pts, time_base, float(self._frame), False))
            self._frame += 1
        self.sampler.end_epoch()
        return self

    def ticks_by_epoch(self) -> list[int]:
        return [len(list(group)) for _, group in groupby(sample.epoch for sample in self.samples)]


def clean(count: int, rate: Fraction = Fraction(25), start: int = 0, time_base: Fraction = TS) -> list[int]:
    return [start + round(n / rate / time_base) for n in range(count)]


RATES = st.sampled_from(
    [Fraction(24000, 1001), Fraction(25), Fraction(30000, 1001), Fraction(50), Fraction(60000, 1001)]
)


@settings(max_examples=8)
@given(bits=st.sampled_from([32, 33]), rate=RATES, before=st.integers(1, 150), time_base=st.sampled_from([TS, FLV]))
def test_wrap_shows_what_the_unwrapped_clip_shows(bits: int, rate: Fraction, before: int, time_base: Fraction) -> None:
    stamps = clean(200, rate, (1 << bits) - round(before / rate / time_base), time_base)
    straight = Run().play(list(stamps), time_base)
    wrapped = Run().play([pts % (1 << bits) for pts in stamps], time_base)
    assert wrapped.numbers == straight.numbers
    assert [s.tick for s in wrapped.samples] == [s.tick for s in straight.samples]
    assert wrapped.sampler.counts.epochs == 1
    assert wrapped.sampler.counts.repeated == straight.sampler.counts.repeated == 0


@settings(max_examples=8)
@given(jump_s=st.integers(-100_000, -1) | st.integers(2, 100_000), at=st.integers(5, 95))
def test_jump_loses_no_frame_and_is_no_repeat(jump_s: int, at: int) -> None:
    stamps = [pts + (jump_s * 90_000 if n >= at else 0) for n, pts in enumerate(clean(100, start=1 << 34))]
    run = Run().play(list(stamps))
    assert run.numbers == list(range(100))
    assert run.ticks_by_epoch() == [at, 100 - at]
    assert run.sampler.counts.repeated == 0
    assert max(sample.facts.still_s for sample in run.samples) == 0


def test_gap_of_ten_seconds_is_a_new_epoch_and_nothing_is_shown_for_it() -> None:
    run = Run().play([*clean(50), *clean(50, start=12 * 90_000)])
    assert run.numbers == list(range(100))
    assert run.ticks_by_epoch() == [50, 50]


@settings(max_examples=6)
@given(lost=st.integers(1, 24))
def test_gap_within_a_second_holds_the_picture_and_counts(lost: int) -> None:
    run = Run().play([*clean(40), *clean(40, start=(40 + lost) * 3600)])
    assert run.ticks_by_epoch() == [80 + lost]
    assert run.sampler.counts.repeated == lost


@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_clock_at_another_speed_loses_no_tick_and_is_no_freeze(factor: float) -> None:
    first = clean(100)
    stamps = first + [first[-1] + round(3600 * factor * n) for n in range(1, 201)]
    run = Run().play(list(stamps))
    assert run.sampler.counts.epochs == 1
    assert [s.tick for s in run.samples] == list(range(len(run.samples)))
    assert len(run.samples) == pytest.approx(100 + 200 * factor, abs=2)
    assert max(sample.facts.still_s for sample in run.samples) < 0.2
    if factor == 2.0:
        assert sorted(set(run.numbers)) == list(range(300))


@settings(max_examples=6)
@given(stands=st.integers(1, 20))
def test_time_that_stands_for_a_moment_holds_the_picture_and_goes_on(stands: int) -> None:
    stamps = clean(40) + [39 * 3600] * stands + clean(40, start=(40 + stands) * 3600)
    run = Run().play(list(stamps))
    assert run.sampler.counts.epochs == 1
    assert len(run.samples) == 80 + stands
    assert run.sampler.advanced == 79


@settings(max_examples=8)
@given(data=st.data(), rate=RATES)
def test_missing_stamps_show_what_the_whole_clip_shows(data: st.DataObject, rate: Fraction) -> None:
    stamps: list[int | None] = list(clean(120, rate))
    whole = Run().play(list(stamps))
    for n in data.draw(st.sets(st.integers(8, 118), max_size=60)):
        stamps[n] = None
    holed = Run().play(stamps)
    assert holed.sampler.counts.epochs == 1
    different = sum(a != b for a, b in zip(holed.numbers, whole.numbers, strict=True))
    assert different <= len(whole.numbers) // 20  # a rounded time may fall on the other side of a tick
    assert holed.sampler.counts.repeated == 0


def test_stream_without_any_stamp_loses_nothing() -> None:
    assert Run().play([None] * 100).numbers == list(range(100))


#: What a source may do next, from the stamp before.
faults: list[Callable[[int, int], int | None]] = [
    lambda last, n: last + 3600,
    lambda last, n: last,
    lambda last, n: last - n,
    lambda last, n: last + n,
    lambda last, n: last + 90_000 * n,
    lambda last, n: (last + 3600) % (1 << 32),
    lambda last, n: (last + 3600) % (1 << 33),
    lambda last, n: last + 7200,
    lambda last, n: None,
]


@settings(max_examples=25)
@given(
    start=st.integers(-(1 << 20), 1 << 34),
    course=st.lists(
        st.tuples(st.integers(0, len(faults) - 1), st.integers(0, 200_000), st.integers(1, 12)), max_size=25
    ),
)
def test_whatever_time_does_ticks_run_without_a_hole_and_every_epoch_from_its_first_frame(
    start: int, course: list[tuple[int, int, int]]
) -> None:
    stamps: list[int | None] = [start]
    last = start
    for fault, number, times in course:
        for _ in range(times):
            pts = faults[fault](last, number)
            stamps.append(pts)
            last = last if pts is None else pts
    run = Run().play(stamps)
    by_epoch: dict[int, list[int]] = {}
    for sample in run.samples:
        by_epoch.setdefault(sample.epoch, []).append(sample.tick)
        assert sample.facts.still_s >= 0
    # An epoch that ends before half a tick shows nothing: it may be missing.
    assert list(by_epoch) == sorted(by_epoch)
    assert set(by_epoch) <= set(range(1, run.sampler.counts.epochs + 1))
    for ticks in by_epoch.values():
        assert ticks == list(range(len(ticks)))
    assert run.numbers == sorted(run.numbers)
    assert run.sampler.pictures == len(stamps)
    assert run.sampler.advanced <= len(stamps) - run.sampler.counts.epochs
