"""Media time from container time stamps.

Raw time stamps wrap, repeat, go missing, start below zero and are rounded differently by every container;
everything after this module sees one integer clock in 1/90000 s that only moves forward.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from monitor.types import TIME_BASE_HZ

#: A step forward beyond this ends the epoch: a viewer no longer sees a hold but another piece of programme.
MAX_STEP_90K = TIME_BASE_HZ

#: A step back up to this is a muxer's reordering slip, not a new timeline. Four B pictures at 25 fps are 160
#: ms; the frames lost to a real splice this small are fewer than six.
REORDER_90K = TIME_BASE_HZ // 5

#: MPEG systems count in 33 bits; RTP in 32 bits of 90 kHz, FLV in 32 bits of milliseconds.
_WRAPS = (0, 1 << 33, 1 << 32, -(1 << 33), -(1 << 32))

#: Two seconds at 25 fps: long enough that bursts of loss stay a minority, short enough to follow a format
#: change.
_WINDOW = 50

#: Fewer steps than this say too little about a rate.
_MIN_STEPS = 3


class StepWindow:
    """Usual distance of a source's frames, over its most recent steps.

    Args:
        size: Steps remembered.
    """

    def __init__(self, size: int = _WINDOW) -> None:
        self._recent: deque[int] = deque(maxlen=size)
        self._sorted: list[int] = []

    def push(self, step_90k: int) -> None:
        """Adds one step between neighbouring frames, 1/90000 s."""
        if len(self._recent) == self._recent.maxlen:
            del self._sorted[bisect_left(self._sorted, self._recent[0])]
        self._recent.append(step_90k)
        insort(self._sorted, step_90k)

    @property
    def median_90k(self) -> int | None:
        """Median step, or None before three steps."""
        if len(self._sorted) < _MIN_STEPS:
            return None
        return self._sorted[len(self._sorted) // 2]

    @property
    def mean_90k(self) -> Fraction | None:
        """Mean of the steps near the median, or None before three steps.

        The median alone would call 30 fps in milliseconds (33, 33, 34) 30.3 fps; the plain mean would let one
        gap pull the rate down.
        """
        median = self.median_90k
        if median is None:
            return None
        near = [step for step in self._sorted if median <= 2 * step <= 3 * median]
        return Fraction(sum(near), len(near))


class Verdict(StrEnum):
    """What to do with a frame."""

    ACCEPT = "accept"
    SKIP = "skip"
    DISCONTINUITY = "discontinuity"


@dataclass(frozen=True, slots=True)
class Stamp:
    """One frame's place in time.

    Attributes:
        verdict: Whether the frame is next, to be left out, or the first of a new epoch.
        time_90k: Media time, 1/90000 s; of the last accepted frame where the verdict is SKIP, and this
            frame's own time on the old timeline (meaningless on the new one) where it is DISCONTINUITY.
        step_90k: From the last accepted frame to this one where it was accepted and both have time stamps.
    """

    verdict: Verdict
    time_90k: int
    step_90k: int | None = None


@dataclass(slots=True)
class ClockCounts:
    """What a clock has seen.

    Attributes:
        accepted: Frames that moved time forward.
        missing: Frames without a time stamp.
        backwards: Frames at or before their predecessor's time, constant ones not included.
        constant: Frames that repeat their predecessor's time stamp.
        wraps: Wraps of the source's counter.
    """

    accepted: int = 0
    missing: int = 0
    backwards: int = 0
    constant: int = 0
    wraps: int = 0


class MediaClock:
    """Unwrapped media time of one epoch; strictly increasing over accepted frames.

    After a DISCONTINUITY the clock is spent: the caller ends the epoch and asks a new clock about the same
    frame. Times are rounded from the raw stamp each time, never summed, so they do not drift and copies of a
    clip in containers of different resolution agree to half a unit of the coarser one.

    Args:
        nominal_step_s: Frame duration assumed until three steps have been seen, seconds.
    """

    def __init__(self, nominal_step_s: Fraction | float = Fraction(1, 25)) -> None:
        nominal_90k = round(Fraction(nominal_step_s) * TIME_BASE_HZ)
        if not 0 < nominal_90k <= MAX_STEP_90K:
            raise ValueError(f"nominal_step_s must be in (0, 1], got {float(nominal_step_s)}")
        self._nominal_90k = nominal_90k
        self._steps = StepWindow()
        self._offset_90k = 0
        self._last_90k: int | None = None
        self._last_raw_90k: int | None = None  # None while the newest accepted time was derived
        self._anchored = False  # a real time stamp has fixed the offset
        self.counts = ClockCounts()

    @property
    def step_90k(self) -> int:
        """Estimated frame duration, 1/90000 s; the nominal one until three steps have been seen."""
        mean = self._steps.mean_90k
        return self._nominal_90k if mean is None else round(mean)

    @property
    def fps(self) -> float | None:
        """Source frame rate over the last two seconds or so; None before three steps."""
        mean = self._steps.mean_90k
        return None if mean is None else float(TIME_BASE_HZ / mean)

    def place(self, pts: int | None, time_base: Fraction) -> Stamp:
        """Places one decoded frame, in decoder output order.

        Args:
            pts: Raw presentation time stamp, or None where the container gives none.
            time_base: Seconds per unit of ``pts``.

        Raises:
            ValueError: ``time_base`` is not positive.
        """
        if pts is None:
            return self._derive()
        if time_base <= 0:
            raise ValueError(f"time_base must be positive, got {time_base}")
        raw_90k = _to_90k(pts, time_base)
        last = self._last_90k
        if last is None:
            return self._accept(raw_90k, raw_90k)
        if not self._anchored:
            # Frames so far had no stamp (an RTSP session's first, typically): go on from where they led.
            self._offset_90k = last + self.step_90k - raw_90k
            return self._accept(last + self.step_90k, raw_90k)
        if raw_90k == self._last_raw_90k:
            self.counts.constant += 1
            return Stamp(Verdict.SKIP, last)
        return self._place_relative(raw_90k, time_base, last)

    def _place_relative(self, raw_90k: int, time_base: Fraction, last: int) -> Stamp:
        for wrap in _WRAPS:
            wrap_90k = _to_90k(wrap, time_base)
            step = raw_90k + self._offset_90k + wrap_90k - last
            if -REORDER_90K <= step <= 0:
                # The offset stays: the next frame finds its own side of the wrap.
                self.counts.backwards += 1
                return Stamp(Verdict.SKIP, last)
            if 0 < step <= MAX_STEP_90K:
                if wrap:
                    self._offset_90k += wrap_90k
                    self.counts.wraps += 1
                return self._accept(last + step, raw_90k)
        return Stamp(Verdict.DISCONTINUITY, raw_90k + self._offset_90k)

    def _derive(self) -> Stamp:
        self.counts.missing += 1
        time_90k = 0 if self._last_90k is None else self._last_90k + self.step_90k
        self.counts.accepted += 1
        self._last_90k, self._last_raw_90k = time_90k, None
        return Stamp(Verdict.ACCEPT, time_90k)

    def _accept(self, time_90k: int, raw_90k: int) -> Stamp:
        step: int | None = None
        if self._last_90k is not None and self._last_raw_90k is not None:
            step = time_90k - self._last_90k
            self._steps.push(step)
        self.counts.accepted += 1
        self._last_90k, self._last_raw_90k, self._anchored = time_90k, raw_90k, True
        return Stamp(Verdict.ACCEPT, time_90k, step)


def _to_90k(pts: int, time_base: Fraction) -> int:
    """``pts * time_base`` to the nearest 1/90000 s, halves up, in integers."""
    numerator = pts * TIME_BASE_HZ * time_base.numerator
    return (2 * numerator + time_base.denominator) // (2 * time_base.denominator)
