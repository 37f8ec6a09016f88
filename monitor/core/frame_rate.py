"""The source's own frame rate, from the time stamps of its frames."""

from __future__ import annotations

from collections import deque
from statistics import median_low

from monitor.types import TIME_BASE_HZ

#: Media time looked at. Stamps in whole milliseconds (FLV, Matroska) are off by up to 1 ms between two ends: over 10 s
#: that is 0.01 %, while 23.976 and 24 differ by 0.1 %.
WINDOW_90K = 10 * TIME_BASE_HZ
#: Frames remembered: ten seconds of 120 fps.
_MOST_STEPS = 1200
#: Fewer steps than this say too little.
_MIN_STEPS = 8
#: A step is n frame durations if it is this near to them: a share of the duration, and the rounding of millisecond
#: stamps at both of its ends.
_NEAR_SHARE = 0.04
_NEAR_90K = 95
#: Share of steps that must be whole frame durations, and single ones, for the rate to be a constant one.
_CONSTANT_SHARE = 0.9
_SINGLE_SHARE = 0.5
#: Rates in use; a measured one this near (a share) is that rate. Half of what parts 23.976 from 24.
NOMINAL = (
    *(float(rate) for rate in (5, 10, 12, 15, 20, 24, 25, 30, 48, 50, 60, 100, 120)),
    *(rate * 1000 / 1001 for rate in (12, 15, 24, 30, 48, 60, 120)),
)
_NOMINAL_SHARE = 0.0003


class FrameRateMeter:
    """Frame rate of one stream over its last ten seconds of media time.

    A source of a constant rate keeps it when frames are lost: a gap counts as the frames that would have stood there.
    A variable one has the rate at which its frames came. Belongs to one thread.
    """

    def __init__(self) -> None:
        self._steps: deque[int] = deque()
        self._span_90k = 0

    def push(self, step_90k: int) -> None:
        """Adds the step between two neighbouring frames of one epoch, 1/90000 s, > 0."""
        self._steps.append(step_90k)
        self._span_90k += step_90k
        while len(self._steps) > _MOST_STEPS or (self._span_90k > WINDOW_90K and len(self._steps) > _MIN_STEPS):
            self._span_90k -= self._steps.popleft()

    def reset(self) -> None:
        """Forgets everything: another connection, which may be another source."""
        self._steps.clear()
        self._span_90k = 0

    @property
    def fps(self) -> float | None:
        """Frames a second; None before eight steps."""
        steps = list(self._steps)
        if len(steps) < _MIN_STEPS:
            return None
        rate = _constant_rate(steps)
        if rate is None:
            return len(steps) * TIME_BASE_HZ / sum(steps)
        nearest = min(NOMINAL, key=lambda nominal: abs(nominal - rate))
        return nearest if abs(nearest - rate) <= _NOMINAL_SHARE * nearest else rate

    @property
    def settled(self) -> bool:
        """Whether the window is full enough for the rate to be told to a hundredth of a percent."""
        return 2 * self._span_90k >= WINDOW_90K


def _constant_rate(steps: list[int]) -> float | None:
    """The rate whose frame durations the steps are, gaps included; None where there is none such."""
    typical = median_low(steps)  # One of the steps: the middle between two may be near to none.
    near = [step for step in steps if abs(step - typical) <= max(_NEAR_90K, _NEAR_SHARE * typical)]
    duration = sum(near) / len(near)
    frames = [max(1, round(step / duration)) for step in steps]
    whole = sum(
        abs(step - n * duration) <= max(_NEAR_90K, _NEAR_SHARE * duration)
        for step, n in zip(steps, frames, strict=True)
    )
    single = frames.count(1)
    if whole < _CONSTANT_SHARE * len(steps) or single < _SINGLE_SHARE * len(steps):
        return None
    return sum(frames) * TIME_BASE_HZ / sum(steps)
