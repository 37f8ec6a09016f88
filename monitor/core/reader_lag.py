"""Whether a feed comes faster than its reader decodes it, told from the reader's own times."""

from __future__ import annotations

from collections import deque

#: What is judged is this long.
_WINDOW_S = 1.0
#: A reader that waits for its feed for this share of the time has time to spare. One of five that a machine of two
#: cores holds waits for 60 %; one that is too slow, for what its demuxer takes, 2 to 5 %.
_SPARE = 0.2
#: A backlog that shrinks by this much a second is being worked off, as after a pause of the network.
_WORKED_OFF = 0.1
#: The feed's clock may be slower than ours by so much; ten times what quartz is.
_DRIFT = 2e-4


class ReaderLag:
    """How far a reader has fallen behind its feed. One epoch's; for the reader's thread, read from any.

    A picture that comes late says nothing by itself: the feed or the network may be late. A reader that finds the next
    packet waiting, picture after picture, and does not catch up, is too slow.
    """

    def __init__(self) -> None:
        self._recent: deque[tuple[float, float, float]] = deque()  # when, behind media time, waited in all
        self._least_s: float | None = None
        #: Seconds of the feed that wait to be decoded; 0 as long as the reader keeps up or catches up.
        self.behind_s = 0.0
        #: Share of the last second that the reader waited for its feed, 0-1.
        self.spare = 1.0

    def push(self, now_s: float, media_s: float, waited_s: float) -> None:
        """Takes the times of the newest picture.

        Args:
            now_s: Monotonic time at which it came out of the decoder.
            media_s: Its media time.
            waited_s: How long the reader has waited for packets in all.
        """
        lag_s = now_s - media_s
        if self._least_s is None:
            self._least_s = lag_s
        else:
            self._least_s = min(lag_s, self._least_s + _DRIFT * (now_s - self._recent[-1][0]))
        self._recent.append((now_s, lag_s, waited_s))
        while len(self._recent) > 1 and self._recent[1][0] <= now_s - _WINDOW_S:
            self._recent.popleft()
        then_s, lag_then_s, waited_then_s = self._recent[0]
        took_s = now_s - then_s
        if took_s > 0:
            self.spare = min(1.0, (waited_s - waited_then_s) / took_s)
        too_slow = took_s >= _WINDOW_S and self.spare < _SPARE and lag_s > lag_then_s - _WORKED_OFF * took_s
        self.behind_s = lag_s - self._least_s if too_slow else 0.0
