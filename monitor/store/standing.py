"""What of a ledger a running monitor must know: what is up, what is owed, and the next numbers. Pure."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from monitor.core.alerts import CLEARED, RAISED
from monitor.types import AlertEvent, StreamId


class EventKey(NamedTuple):
    """Identity of one event. The number alone does not do: numbers start over where a ledger was lost."""

    stream: StreamId
    seq: int
    alert: str


@dataclass(frozen=True, slots=True)
class Delivered:
    """A receiver has acknowledged an event."""

    key: EventKey


#: What is written into a ledger.
Entry = AlertEvent | Delivered


def key_of(event: AlertEvent) -> EventKey:
    """The event's identity."""
    return EventKey(event.stream, event.seq, event.id)


@dataclass(slots=True)
class Standing:
    """The part of a ledger that is not history.

    Attributes:
        active: Raises without a clear, by alert id, in the order of recording.
        undelivered: Events that no receiver has acknowledged, in the order of recording.
        next_seq: Number of the next event, by stream.
    """

    active: dict[str, AlertEvent] = field(default_factory=dict)
    undelivered: dict[EventKey, AlertEvent] = field(default_factory=dict)
    next_seq: dict[StreamId, int] = field(default_factory=dict)

    def copy(self) -> Standing:
        """An independent one."""
        return Standing(dict(self.active), dict(self.undelivered), dict(self.next_seq))

    def take(self, entry: Entry) -> None:
        """Takes in what was written."""
        if isinstance(entry, Delivered):
            self.undelivered.pop(entry.key, None)
            return
        self.undelivered[key_of(entry)] = entry
        self.next_seq[entry.stream] = max(self.next_seq.get(entry.stream, 1), entry.seq + 1)
        if entry.status == RAISED:
            self.active[entry.id] = entry
        elif entry.status == CLEARED:
            self.active.pop(entry.id, None)

    def active_on(self, stream: StreamId) -> tuple[AlertEvent, ...]:
        """Alerts of one stream that are up."""
        return tuple(event for event in self.active.values() if event.stream == stream)

    def close_orphans(self, watched: Container[tuple[StreamId, str]], utc_s: float) -> list[AlertEvent]:
        """Clears what nobody would ever clear.

        That is an alert of a stream or rule that is gone, and the older of two of one rule on one stream, which
        a monitor leaves behind that could not read its ledger when it started.

        Args:
            watched: (stream, rule) of everything that is watched now.
            utc_s: Unix seconds, for the events.

        Returns:
            The clears, numbered, already taken in; they are still to be recorded and sent.
        """
        newest = {(event.stream, event.rule): event.id for event in self.active.values()}
        orphans = [
            event
            for event in self.active.values()
            if (event.stream, event.rule) not in watched or newest[event.stream, event.rule] != event.id
        ]
        clears = []
        for event in orphans:
            seq = self.next_seq.get(event.stream, 1)
            clears.append(replace(event, seq=seq, status=CLEARED, cleared_at=utc_s))
            self.take(clears[-1])
        return clears
