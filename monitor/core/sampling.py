"""A fixed-fps grid in media time: what a viewer would see at each tick."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Generic, TypeVar

from monitor.core.timestamps import MAX_STEP_90K, StepWindow
from monitor.types import TIME_BASE_HZ

T = TypeVar("T")

#: A frame up to this much after a tick is shown at the tick (0.83 ms). Containers with millisecond time
#: stamps move a frame against the first by up to 2/3 ms = 60 where the frame duration is a multiple of 1/3 ms
#: (24, 25, 30, 50, 60 fps); and at 24 -> 25 the nearest frame that must not count lies 150 after its tick.
#: Halfway between 0 and 150 both keep a margin of 75, so every container gives the same frame for every tick.
LATE_90K = 75

#: A tick that would advance less than the one before takes the next frame if it is at most this late (2.5
#: ms). A source of the grid's own rate, but another clock, drifts through the boundary for minutes, and
#: rounding would make it alternate between holds and skips; 150 of hysteresis exceeds the 2 x 60 of rounding,
#: and 225 keeps the margin of 75 to the frame distances of 24, 30 and 60 fps (multiples of 150, 600 and 300).
LATE_SAME_ADVANCE_90K = 225


@dataclass(frozen=True, slots=True)
class Tick(Generic[T]):
    """The picture shown at one tick.

    Attributes:
        index: Tick number in the epoch, from 0.
        time_90k: Media time of the tick, on the clock of the frames.
        payload: The frame shown.
        frame_time_90k: That frame's own time.
        shown_step_90k: Media time from the previous tick's picture to this one; 0 where it is held and at
            tick 0.
        passed: Source frames between the two pictures that were never shown.
        held: Shows the previous tick's frame again.
        gap: Held because the source itself left a gap of more than 1.5 of its usual frame durations, as
            against a source slower than the grid.
    """

    index: int
    time_90k: int
    payload: T
    frame_time_90k: int
    shown_step_90k: int
    passed: int
    held: bool
    gap: bool


@dataclass(slots=True)
class GridCounts:
    """What a grid has done; ``frames`` = frames shown + ``skipped`` + at most a few still undecided.

    Attributes:
        frames: Frames in.
        ticks: Ticks out.
        held: Ticks that show their predecessor's frame.
        skipped: Frames never shown.
        gaps: Source gaps of more than 1.5 usual frame durations.
    """

    frames: int = 0
    ticks: int = 0
    held: int = 0
    skipped: int = 0
    gaps: int = 0


@dataclass(frozen=True, slots=True)
class _Pending(Generic[T]):
    time_90k: int
    payload: T
    ordinal: int
    after_gap: bool


class SampleGrid(Generic[T]):
    """Samples one epoch's frames on a fixed grid that starts at its first frame, holding the last picture.

    Tick k stands k/fps after the first frame. It is emitted once a later frame proves what was shown then, so
    output trails input by one frame. Keeps three frames at most (more only above 600 fps).

    Args:
        fps: Ticks per second of media time, in (0, 120].
    """

    def __init__(self, fps: Fraction | float) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        if not 0 < rate <= 120:
            raise ValueError(f"fps must be in (0, 120], got {float(fps)}")
        self.fps = rate
        self._steps = StepWindow()
        self._origin_90k = 0
        self._newest_90k: int | None = None
        self._next = 0
        self._shown: _Pending[T] | None = None
        self._due: _Pending[T] | None = None  # newest frame that the next tick may show without hysteresis
        self._ahead: deque[_Pending[T]] = deque()  # frames later than that
        self._last_advance = 1
        self._ended = False
        self.counts = GridCounts()

    @property
    def frame_step_90k(self) -> int | None:
        """The source's usual frame duration; None before three steps."""
        return self._steps.median_90k

    def push(self, frame_time_90k: int, payload: T) -> list[Tick[T]]:
        """Adds the next frame.

        Args:
            frame_time_90k: Media time, 1/90000 s, after its predecessor's by at most one second.
            payload: Handed back in the ticks that show this frame.

        Returns:
            The ticks now certain, in order; none to a second's worth.

        Raises:
            ValueError: Time does not advance or leaps by more than a second (a discontinuity, which is the
                caller's to end the epoch on), or the grid was flushed.
        """
        if self._ended:
            raise ValueError("the grid was flushed: an epoch has its own grid")
        after_gap = False
        ticks: list[Tick[T]] = []
        if self._newest_90k is None:
            self._origin_90k = frame_time_90k
        else:
            after_gap = self._check_step(self._newest_90k, frame_time_90k)
            while self._tick_time(self._next) + LATE_SAME_ADVANCE_90K < frame_time_90k:
                ticks.append(self._decide(after_gap))
            self._steps.push(frame_time_90k - self._newest_90k)
            self.counts.gaps += after_gap
        self._ahead.append(_Pending(frame_time_90k, payload, self.counts.frames, after_gap))
        self.counts.frames += 1
        self._newest_90k = frame_time_90k
        self._settle()
        return ticks

    def flush(self, end_time_90k: int) -> list[Tick[T]]:
        """Ends the epoch: the last frame is shown until ``end_time_90k`` (its duration later, usually).

        Raises:
            ValueError: The end is not after the last frame or more than a second after it.
        """
        if self._ended:
            raise ValueError("the grid was flushed before")
        ticks: list[Tick[T]] = []
        if self._newest_90k is not None:
            after_gap = self._check_step(self._newest_90k, end_time_90k)
            while self._tick_time(self._next) + LATE_90K < end_time_90k:
                ticks.append(self._decide(after_gap))
            self.counts.gaps += after_gap
        self.counts.skipped += len(self._ahead) + (self._due is not None)
        self._shown = self._due = None
        self._ahead.clear()
        self._ended = True
        return ticks

    def _check_step(self, last_90k: int, time_90k: int) -> bool:
        """Whether the step is a gap in the source; raises where it is none that one epoch can have."""
        step = time_90k - last_90k
        if not 0 < step <= MAX_STEP_90K:
            raise ValueError(f"frames must be 1 to {MAX_STEP_90K} apart in 1/90000 s, got a step of {step}")
        usual = self._steps.median_90k
        return usual is not None and 2 * step > 3 * usual

    def _tick_time(self, index: int) -> int:
        numerator = index * TIME_BASE_HZ * self.fps.denominator
        return self._origin_90k + (2 * numerator + self.fps.numerator) // (2 * self.fps.numerator)

    def _settle(self) -> None:
        limit = self._tick_time(self._next) + LATE_90K
        while self._ahead and self._ahead[0].time_90k <= limit:
            if self._due is not None:
                self.counts.skipped += 1
            self._due = self._ahead.popleft()

    def _decide(self, gap_after_newest: bool) -> Tick[T]:
        before, chosen = self._shown, self._due
        shown_ordinal = -1 if before is None else before.ordinal
        advance = 0 if chosen is None else chosen.ordinal - shown_ordinal
        # Whatever is ahead came before the frame that made this tick certain: within LATE_SAME_ADVANCE_90K.
        if advance < self._last_advance and self._ahead:
            if chosen is not None:
                self.counts.skipped += 1
            chosen = self._ahead.popleft()
            advance = chosen.ordinal - shown_ordinal
        held = chosen is None
        gap = held and (self._ahead[0].after_gap if self._ahead else gap_after_newest)
        if chosen is None:
            # Tick 0 is due with the first frame, so something has been shown by now.
            assert before is not None
            chosen = before
        tick = Tick(
            index=self._next,
            time_90k=self._tick_time(self._next),
            payload=chosen.payload,
            frame_time_90k=chosen.time_90k,
            shown_step_90k=0 if before is None else chosen.time_90k - before.time_90k,
            passed=max(0, advance - 1),
            held=held,
            gap=gap,
        )
        self._shown, self._due, self._last_advance = chosen, None, advance
        self._next += 1
        self.counts.ticks += 1
        self.counts.held += held
        self._settle()
        return tick
