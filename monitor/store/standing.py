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


#: The destination that every event is owed to. Others have names of their own, each with acknowledgements of its own.
MQTT = "mqtt"


@dataclass(frozen=True, slots=True)
class Addressed:
    """An event that is owed to more destinations than MQTT.

    Attributes:
        event: The event.
        also: Names of those destinations, without repeats.
    """

    event: AlertEvent
    also: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Delivered:
    """A destination has acknowledged an event, or will never be owed it again."""

    key: EventKey
    destination: str = MQTT


#: What is written into a ledger; a bare event is owed to MQTT alone.
Entry = AlertEvent | Addressed | Delivered


def key_of(event: AlertEvent) -> EventKey:
    """The event's identity."""
    return EventKey(event.stream, event.seq, event.id)


@dataclass(slots=True)
class Standing:
    """The part of a ledger that is not history.

    Attributes:
        active: Raises without a clear, by alert id, in the order of recording.
        undelivered: Events that MQTT has not acknowledged, in the order of recording.
        next_seq: Number of the next event, by stream.
        owed: Events that other destinations have not acknowledged, by destination, in the order of recording.
    """

    active: dict[str, AlertEvent] = field(default_factory=dict)
    undelivered: dict[EventKey, AlertEvent] = field(default_factory=dict)
    next_seq: dict[StreamId, int] = field(default_factory=dict)
    owed: dict[str, dict[EventKey, AlertEvent]] = field(default_factory=dict)

    def copy(self) -> Standing:
        """An independent one."""
        owed = {destination: dict(events) for destination, events in self.owed.items()}
        return Standing(dict(self.active), dict(self.undelivered), dict(self.next_seq), owed)

    def take(self, entry: Entry) -> None:
        """Takes in what was written."""
        if isinstance(entry, Delivered):
            self._settle(entry)
            return
        event, also = (entry.event, entry.also) if isinstance(entry, Addressed) else (entry, ())
        self.undelivered[key_of(event)] = event
        for destination in also:
            self.owed.setdefault(destination, {})[key_of(event)] = event
        self.next_seq[event.stream] = max(self.next_seq.get(event.stream, 1), event.seq + 1)
        if event.status == RAISED:
            self.active[event.id] = event
        elif event.status == CLEARED:
            self.active.pop(event.id, None)

    def _settle(self, entry: Delivered) -> None:
        if entry.destination == MQTT:
            self.undelivered.pop(entry.key, None)
            return
        owed = self.owed.get(entry.destination, {})
        owed.pop(entry.key, None)
        if not owed:
            self.owed.pop(entry.destination, None)

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
