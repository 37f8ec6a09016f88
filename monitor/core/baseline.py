"""A stream's own usual score, and how far it is below it."""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import deque

#: Healthy seconds needed before the baseline says anything: the head's transient and one scene are over.
MIN_SECONDS = 8


class Baseline:
    """Median of a stream's one-second scores of the last minutes while it was healthy.

    Contents differ more in absolute score than one content's versions do, so alerts watch the drop below
    this. Faults do not enter it: seconds that are not healthy, or further than ``freeze_below`` under it,
    leave it as it is. A change that stays is learned in the end, or as soon as an operator accepts it. A
    decline slower than ``freeze_below`` in half a window is followed, not seen; the absolute score is there for
    that.

    Args:
        window_s: Healthy seconds remembered (five minutes: longer than a commercial break).
        freeze_below: Points under the baseline from which a score is taken for a fault.
        relearn_s: Seconds of healthy but low scores after which they are the new normal.
    """

    def __init__(self, window_s: int = 300, freeze_below: float = 5.0, relearn_s: int = 900) -> None:
        if window_s < MIN_SECONDS or freeze_below <= 0 or relearn_s < MIN_SECONDS:
            raise ValueError(
                f"window_s and relearn_s must be >= {MIN_SECONDS} and freeze_below > 0, "
                f"got {window_s}, {relearn_s} and {freeze_below}"
            )
        self._window_s = window_s
        self._freeze_below = freeze_below
        self._relearn_s = relearn_s
        self._scores: deque[float] = deque()
        self._sorted: list[float] = []
        # Low ones too: the new normal, if it is one.
        self._recent: deque[float] = deque(maxlen=min(window_s, 60))
        self._low_s = 0
        self._newest: float | None = None

    @property
    def value(self) -> float | None:
        """The baseline in points; None until eight healthy seconds are known."""
        count = len(self._sorted)
        if count < MIN_SECONDS:
            return None
        middle = count // 2
        return self._sorted[middle] if count % 2 else (self._sorted[middle - 1] + self._sorted[middle]) / 2

    @property
    def drop(self) -> float | None:
        """Points by which the newest score is below the baseline, >= 0; None while either is unknown."""
        value = self.value
        return None if value is None or self._newest is None else max(0.0, value - self._newest)

    def push(self, score: float | None, healthy: bool) -> float | None:
        """Adds one second's score.

        Args:
            score: 0-100, None where unknown.
            healthy: Nothing else is known to be wrong with the stream in this second.

        Returns:
            The drop after it.

        Raises:
            ValueError: The score is not finite.
        """
        if score is not None and not math.isfinite(score):
            raise ValueError(f"score must be finite, got {score}")
        self._newest = score
        if score is None or not healthy:
            return self.drop
        self._recent.append(score)
        value = self.value
        if value is None or score >= value - self._freeze_below:
            self._learn(score)
            # Good moments in a long change undo as much as they last, not all of it.
            self._low_s = max(0, self._low_s - 1)
        else:
            self._low_s += 1
            if self._low_s >= self._relearn_s:
                self.accept()
        return self.drop

    def accept(self, newest_s: int | None = None) -> bool:
        """Takes the newest healthy scores, low ones included, for the new normal.

        Args:
            newest_s: How many of them; all of the last minute without it.

        Returns:
            False where fewer than eight are known; then nothing has changed.
        """
        accepted = list(self._recent)[-(newest_s or len(self._recent)) :]
        if len(accepted) < MIN_SECONDS:
            return False
        self._scores.clear()
        self._sorted.clear()
        self._low_s = 0
        for score in accepted:
            self._learn(score)
        return True

    def _learn(self, score: float) -> None:
        if len(self._scores) == self._window_s:
            del self._sorted[bisect_left(self._sorted, self._scores.popleft())]
        self._scores.append(score)
        insort(self._sorted, score)
