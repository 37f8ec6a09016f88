"""Recorded seconds through alert rules, on the clock of the recording. The rules run in the monitor's own machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count

from monitor.core.alert_book import AlertBook
from monitor.core.alerts import RAISED, AlertRule
from monitor.core.record import Record
from monitor.core.schedule import Schedule
from monitor.types import AlertEvent, StreamId

#: A longer pause between two seconds is a time of which nothing is known.
GAP_S = 3.0


@dataclass(frozen=True, slots=True)
class Incident:
    """One alert from its raise to its clear.

    Attributes:
        event: Its newest event, with the worst value.
        end_s: Unix seconds of its clear or, where it is still up, of the last second replayed.
    """

    event: AlertEvent
    end_s: float

    @property
    def cleared(self) -> bool:
        """Whether it was cleared within the recording."""
        return self.event.cleared_at is not None

    @property
    def duration_s(self) -> float:
        """How long it was up."""
        return max(0.0, self.end_s - self.event.raised_at)

    def overlaps(self, other: Incident) -> bool:
        """Whether the other was up at a moment at which this one was."""
        return self.event.raised_at <= other.end_s and other.event.raised_at <= self.end_s


class Replay:
    """One stream's seconds through one set of rules.

    Args:
        stream: Whose seconds.
        rules: See ``AlertBook``.
        maintenance: See ``AlertBook``.
    """

    def __init__(self, stream: StreamId, rules: Sequence[AlertRule], maintenance: Sequence[Schedule] = ()) -> None:
        numbers = count(1)
        self._book = AlertBook(stream, rules, lambda: str(next(numbers)), maintenance=maintenance)
        self._last_ms: int | None = None
        self._incidents: dict[str, Incident] = {}

    @property
    def incidents(self) -> tuple[Incident, ...]:
        """All alerts so far, in the order of their raises; those that are up end with the last second."""
        end_s = 0.0 if self._last_ms is None else self._last_ms / 1000
        return tuple(one if one.cleared else replace(one, end_s=end_s) for one in self._incidents.values())

    def push(self, record: Record) -> None:
        """Takes in the next second.

        Raises:
            ValueError: It lies before the last one.
        """
        last = self._last_ms
        if last is not None and record.ts < last:
            raise ValueError("time runs backwards")
        if last is not None and record.ts - last > GAP_S * 1000:
            self._step(last + 1000, {})
        self._last_ms = record.ts
        self._step(record.ts, record.metrics, record.cause, record.cause_p)

    def _step(
        self, ts: int, metrics: Mapping[str, float | None], cause: str | None = None, cause_p: float | None = None
    ) -> None:
        for event in self._book.step(ts / 1000, ts / 1000, metrics, cause, cause_p):
            end_s = event.raised_at if event.status == RAISED else event.cleared_at
            assert end_s is not None
            self._incidents[event.id] = Incident(event, end_s)
