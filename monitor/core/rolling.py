"""Rolling scores of one stream over 1, 10 and 60 seconds of ticks."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

#: Values are kept as integers of 2**-40: sums of integers are exact for ever, and a score of 100 is off by at
#: most 5e-13.
_SCALE = 1 << 40

_WINDOWS_S = (1, 10, 60)


@dataclass(frozen=True, slots=True)
class RollingView:
    """Scores at the newest tick, in the unit that was pushed; None where too few ticks are there to say.

    Attributes:
        score: Mean over the last second of ticks.
        score_10s: Mean over the last 10 s.
        score_60s: Mean over the last 60 s.
        score_min_60s: Lowest one-second mean that ended within the last 60 s, whole seconds only.
        coverage: Ticks present / ticks due in the last second, 0-1.
        newest_tick: The newest tick with a value; None before the first.
    """

    score: float | None = None
    score_10s: float | None = None
    score_60s: float | None = None
    score_min_60s: float | None = None
    coverage: float = 0.0
    newest_tick: int | None = None


@dataclass(frozen=True, slots=True)
class RollingSnapshot:
    """State of :class:`RollingScores`; ``values`` end at tick ``end``, None is a missing tick.

    ``before`` of them, at most, were taken over from another rate and have no tick.
    """

    fps: Fraction
    warmup: int
    min_coverage: float
    end: int
    newest_tick: int | None
    values: tuple[int | None, ...]
    seconds: tuple[tuple[int, int, int], ...]
    before: int = 0


class _Window:
    """Sum and number of the values of the last ``ticks`` ticks."""

    def __init__(self, ticks: int) -> None:
        self.ticks = ticks
        self.total = 0
        self.present = 0

    def add(self, value: int | None, sign: int) -> None:
        if value is not None:
            self.total += sign * value
            self.present += sign


class RollingScores:
    """Means over the last seconds of one epoch's ticks.

    A tick that never comes is due and not present: a window with coverage below ``min_coverage`` has no
    score, since missing data is not bad quality. Ticks before the epoch's first (or its warm-up's end) were
    never due, so a young stream has scores over what there is. A window of s seconds holds the ticks less
    than s before the newest: ceil(s * fps). O(1) a tick; memory is 60 s of ticks.

    Args:
        fps: Ticks per second.
        warmup: Ticks at the epoch's start that are neither due nor counted.
        min_coverage: Least share of due ticks for a score, (0, 1].
    """

    def __init__(self, fps: Fraction | float, warmup: int = 0, min_coverage: float = 0.5) -> None:
        rate = Fraction(fps).limit_denominator(1001)
        if rate <= 0 or warmup < 0 or not 0 < min_coverage <= 1:
            raise ValueError(
                f"fps must be > 0, warmup >= 0, min_coverage in (0, 1]; got {fps}, {warmup}, {min_coverage}"
            )
        self._fps = rate
        self._warmup = warmup
        self._min_coverage = min_coverage
        self._windows = [_Window(math.ceil(seconds * rate)) for seconds in _WINDOWS_S]
        self._values: deque[int | None] = deque()
        self._end = warmup - 1  # newest tick that is due
        self._before = 0  # values taken over from another rate, in front of the first tick
        self._newest: int | None = None
        # One-second means as (tick, sum, number), increasing from the lowest: the front is the minimum.
        self._seconds: deque[tuple[int, int, int]] = deque()

    def push(self, tick: int, value: float) -> None:
        """Adds a tick's value; ticks between the last and this one are missing.

        Raises:
            ValueError: Ticks go backwards or the value is not finite.
        """
        if not math.isfinite(value):
            raise ValueError(f"value must be finite, got {value}")
        if self._newest is not None and tick <= self._newest:
            raise ValueError(f"ticks must increase, got {tick} after {self._newest}")
        if tick < self._warmup:
            return
        if tick <= self._end:
            raise ValueError(f"tick {tick} was given up as missing")
        self.advance(tick - 1)
        self._append(round(value * _SCALE))
        self._newest = tick
        second = self._windows[0]
        if tick - self._warmup + 1 + self._before >= second.ticks and self._covered(second):
            # total/present compared crosswise: exact, where a quotient would round.
            while self._seconds and self._seconds[-1][1] * second.present >= second.total * self._seconds[-1][2]:
                self._seconds.pop()
            self._seconds.append((tick, second.total, second.present))
        self._expire()

    def advance(self, tick: int) -> None:
        """Says that ticks up to and including ``tick`` are due and have no value; earlier ones are ignored."""
        missing = tick - self._end
        if missing <= 0:
            return
        if missing >= self._windows[-1].ticks:
            self._values.clear()
            self._seconds.clear()
            for window in self._windows:
                window.total = window.present = 0
            self._end = tick
            return
        for _ in range(missing):
            self._append(None)
        self._expire()

    def view(self) -> RollingView:
        """Scores now."""
        second, ten, sixty = self._windows
        lowest = self._seconds[0] if self._seconds else None
        return RollingView(
            score=self._mean(second),
            score_10s=self._mean(ten),
            score_60s=self._mean(sixty),
            score_min_60s=None if lowest is None else lowest[1] / (lowest[2] * _SCALE),
            coverage=self._coverage(second),
            newest_tick=self._newest,
        )

    def snapshot(self) -> RollingSnapshot:
        """State as plain numbers; later pushes do not change it."""
        return RollingSnapshot(
            fps=self._fps,
            warmup=self._warmup,
            min_coverage=self._min_coverage,
            end=self._end,
            newest_tick=self._newest,
            values=tuple(self._values),
            seconds=tuple(self._seconds),
            before=self._before,
        )

    @classmethod
    def restore(cls, snapshot: RollingSnapshot) -> RollingScores:
        """Scores that go on exactly where the snapshot was taken."""
        scores = cls(snapshot.fps, snapshot.warmup, snapshot.min_coverage)
        scores._end = snapshot.end - len(snapshot.values)
        for value in snapshot.values:
            scores._append(value)
        scores._newest = snapshot.newest_tick
        scores._seconds = deque(snapshot.seconds)
        scores._before = snapshot.before
        return scores

    def at_rate(self, fps: Fraction | float, warmup: int = 0) -> RollingScores:
        """Scores that go on with ticks of another rate, counted from 0, behind the values so far.

        Each window keeps what it holds: a value stands for the ticks of the new rate that lie nearest. Ticks of the
        warm-up take no time from it.
        """
        scores = RollingScores(fps, warmup, self._min_coverage)
        ratio = scores._fps / self._fps
        values = list(self._values)
        count = min(math.floor(len(values) * ratio), scores._windows[-1].ticks)
        scores._end -= count
        for age in range(count - 1, -1, -1):
            scores._append(values[len(values) - 1 - math.floor(age / ratio)])
        scores._before = count
        for tick, total, present in self._seconds:
            scores._seconds.append((scores._end - math.floor((self._end - tick) * ratio), total, present))
        return scores

    def _append(self, value: int | None) -> None:
        values = self._values
        for window in self._windows:
            if len(values) >= window.ticks:
                window.add(values[-window.ticks], -1)
            window.add(value, 1)
        values.append(value)
        if len(values) > self._windows[-1].ticks:
            values.popleft()
        self._end += 1

    def _expire(self) -> None:
        oldest = self._end - self._windows[-1].ticks
        while self._seconds and self._seconds[0][0] <= oldest:
            self._seconds.popleft()

    def _coverage(self, window: _Window) -> float:
        due = min(window.ticks, self._end - self._warmup + 1 + self._before)
        return window.present / due if due > 0 else 0.0

    def _covered(self, window: _Window) -> bool:
        return window.present > 0 and self._coverage(window) >= self._min_coverage

    def _mean(self, window: _Window) -> float | None:
        # One true division of integers is correctly rounded.
        return window.total / (window.present * _SCALE) if self._covered(window) else None
