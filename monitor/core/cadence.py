"""Whether a source's pictures come evenly: its own repeats and gaps, told when they begin and when they end."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

#: What is looked at: this many seconds.
WINDOW_S = 10
#: So many repeats or gaps in it are a course of them; a single lost picture is no event.
LEAST = 3
#: A source that shows this share of its pictures again stands still, which the freeze detector tells of.
MOST_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Cadence:
    """A change that is worth telling.

    Attributes:
        even: It has become even again.
        repeats: Samples in the last ten seconds at which the source showed its picture again or nothing new; since
            the course began where it is over.
        gaps: Of the source's frames in the same time, each longer than 1.5 usual frame durations.
    """

    even: bool
    repeats: int
    gaps: int


@dataclass(frozen=True, slots=True)
class _Counts:
    ticks: int
    repeats: int
    gaps: int


class CadenceWatch:
    """Repeats and gaps of one stream, second by second; pure, bounded state, one thread."""

    def __init__(self) -> None:
        self._history: deque[_Counts] = deque(maxlen=WINDOW_S + 1)
        self._since: _Counts | None = None

    def second(self, ticks: int, repeats: int, gaps: int) -> Cadence | None:
        """Adds a second.

        Args:
            ticks: Samples that fell due so far.
            repeats: Samples so far at which the source showed its picture again or nothing new.
            gaps: Gaps of the source so far.

        Returns:
            What has changed; None where nothing has.
        """
        now = _Counts(ticks, repeats, gaps)
        self._history.append(now)
        first = self._history[0]
        new = _Counts(now.ticks - first.ticks, now.repeats - first.repeats, now.gaps - first.gaps)
        if self._since is None:
            if max(new.repeats, new.gaps) < LEAST or new.repeats > MOST_SHARE * new.ticks:
                return None
            self._since = first
            return Cadence(False, new.repeats, new.gaps)
        if new.repeats or new.gaps or len(self._history) <= WINDOW_S:
            return None
        since, self._since = self._since, None
        return Cadence(True, now.repeats - since.repeats, now.gaps - since.gaps)
