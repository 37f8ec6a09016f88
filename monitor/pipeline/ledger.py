"""The tick ledger: every tick that fell due is scored, dropped for one cause, or still in flight."""

from __future__ import annotations

import threading
from dataclasses import dataclass

from monitor.types import DropCause


@dataclass(frozen=True, slots=True)
class TickBalance:
    """One reading of a ledger.

    Attributes:
        due: Ticks of the grid that fell due.
        scored: Ticks with a frame quality.
        dropped: Ticks without one, by cause.
    """

    due: int
    scored: int
    dropped: dict[DropCause, int]

    @property
    def dropped_total(self) -> int:
        """Ticks dropped for any cause."""
        return sum(self.dropped.values())

    @property
    def in_flight(self) -> int:
        """Ticks whose fate is open; never negative."""
        return self.due - self.scored - self.dropped_total


class TickLedger:
    """Counts one stream's ticks over all of its epochs. Thread-safe: the decode thread and the loop write to it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._due = 0
        self._scored = 0
        self._dropped = dict.fromkeys(DropCause, 0)

    def due(self, count: int = 1) -> None:
        """Ticks fell due; called before anything else can happen to them."""
        with self._lock:
            self._due += count

    def scored(self, count: int = 1) -> None:
        """Ticks got their frame quality."""
        with self._lock:
            self._scored += count

    def dropped(self, count: int, cause: DropCause) -> None:
        """Ticks will never get one."""
        with self._lock:
            self._dropped[cause] += count

    def balance(self) -> TickBalance:
        """A consistent reading."""
        with self._lock:
            return TickBalance(self._due, self._scored, dict(self._dropped))
