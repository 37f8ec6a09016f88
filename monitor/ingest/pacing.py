"""Files, and feeds that come in pieces, played at the speed of their own clock."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable

# A step of media time outside this is a cut, not a pause: playing on at once is what a live feed would do.
_LONGEST_STEP_S = 1.0


class Pacer:
    """Holds each picture back until its presentation time, on the local clock.

    One thread. When the consumer is slow it does not wait until it has caught up, as a live feed would not.

    Args:
        period_s: Assumed distance of pictures without a presentation time, seconds, > 0.
        patience_s: A picture that comes later than this is shown at once and those behind it at their distance from it,
            as a player does whose buffer ran dry; without it those behind it hurry until they have caught up.
        clock: Monotonic seconds.
        wait: Sleeps up to so many seconds, or until the event is set.
    """

    def __init__(
        self,
        period_s: float,
        clock: Callable[[], float],
        wait: Callable[[threading.Event, float], object],
        patience_s: float = math.inf,
    ) -> None:
        self._period_s = period_s
        self._patience_s = patience_s
        self._clock = clock
        self._wait = wait
        self._last_s: float | None = None
        self._offset_s = 0.0

    def hold(self, media_s: float | None, stop: threading.Event) -> None:
        """Return when the picture of media time ``media_s`` (None: one period after the last) is due."""
        if self._last_s is None:
            media_s = media_s or 0.0
            self._offset_s = self._clock() - media_s
        else:
            media_s = self._last_s + self._period_s if media_s is None else media_s
            if not 0.0 <= media_s - self._last_s <= _LONGEST_STEP_S:
                self._offset_s += self._last_s + self._period_s - media_s
        self._last_s = media_s
        remaining_s = media_s + self._offset_s - self._clock()
        if remaining_s < -self._patience_s:
            self._offset_s -= remaining_s
        if remaining_s > 0.0 and not stop.is_set():
            self._wait(stop, remaining_s)
