"""What waits for one receiver, whose turn it is, and when to try again."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from random import Random

from monitor.core.backoff import Backoff
from monitor.types import AlertEvent, StreamId


@dataclass(slots=True)
class _Lane:
    """The events of one stream; the head alone is ever sent."""

    waiting: deque[tuple[int, AlertEvent]] = field(default_factory=deque)
    backoff: Backoff | None = None
    not_before_s: float = 0.0


class DeliveryQueue:
    """Events for one receiver: in order per stream, one at a time, each tried until it is settled.

    A failure makes the receiver wait, and the stream whose event failed: the next attempt is another stream's, where
    there is one. So an event that the receiver can never digest costs the others a short pause, not their turn. Where
    several streams fail one after the other it is the receiver that is ill: their waits are forgotten as soon as it
    takes anything.

    Args:
        initial_s: Bound of the first wait, seconds; each wait is uniform between 0 and its bound, which doubles.
        cap_s: Bound of every wait.
        longest_asked_s: A receiver that asks for more time than this does not get it.
        max_waiting: Most events that wait; beyond it the oldest go.
        rng: Source of the jitter.
    """

    def __init__(
        self,
        *,
        initial_s: float = 1.0,
        cap_s: float = 60.0,
        longest_asked_s: float = 3600.0,
        max_waiting: int = 10_000,
        rng: Random | None = None,
    ) -> None:
        if max_waiting < 1:
            raise ValueError(f"need max_waiting >= 1, got {max_waiting}")
        self._initial_s, self._cap_s = initial_s, cap_s
        self._longest_asked_s = longest_asked_s
        self._max_waiting = max_waiting
        self._rng = Random() if rng is None else rng
        self._lanes: dict[StreamId, _Lane] = {}
        self._backoff = self._fresh()
        self._not_before_s = 0.0
        # Streams that failed since the receiver last took anything.
        self._failed: set[StreamId] = set()
        self._number = 0
        self._count = 0

    def __len__(self) -> int:
        """Events that wait, the one under way included."""
        return self._count

    @property
    def failures(self) -> int:
        """Attempts that failed since the last event was settled."""
        return self._backoff.attempts

    def add(self, event: AlertEvent) -> AlertEvent | None:
        """Takes an event; the one that went for it where there was no room."""
        lost = self._drop_oldest() if self._count >= self._max_waiting else None
        self._number += 1
        self._lanes.setdefault(event.stream, _Lane()).waiting.append((self._number, event))
        self._count += 1
        return lost

    def waiting(self) -> list[AlertEvent]:
        """Everything that waits, in the order in which it came."""
        numbered = [entry for lane in self._lanes.values() for entry in lane.waiting]
        return [event for _, event in sorted(numbered, key=lambda entry: entry[0])]

    def due_s(self) -> float | None:
        """When the next attempt is due (monotonic, 0 for at once); None where nothing waits."""
        if not self._lanes:
            return None
        return max(self._not_before_s, min(lane.not_before_s for lane in self._lanes.values()))

    def next(self, now_s: float) -> AlertEvent | None:
        """The event to send now, which stays until it is settled or has failed; None where none is due."""
        if now_s < self._not_before_s:
            return None
        ready = [(lane.not_before_s, *lane.waiting[0]) for lane in self._lanes.values() if lane.not_before_s <= now_s]
        if not ready:
            return None
        # After a failure someone else's turn, the longest ready first; otherwise the oldest, one that failed included.
        return min(ready, key=lambda entry: entry[:2] if self._failed else entry[1:2])[2]

    def settled(self, event: AlertEvent) -> None:
        """The receiver has taken the event, or refused it for good."""
        self._remove(event)
        self._backoff, self._not_before_s = self._fresh(), 0.0
        if len(self._failed) > 1:
            for stream in self._failed & self._lanes.keys():
                self._lanes[stream].not_before_s, self._lanes[stream].backoff = 0.0, None
        self._failed.clear()

    def failed(self, event: AlertEvent, now_s: float, asked_s: float = 0.0) -> None:
        """The event was not taken, and may be later; ``asked_s`` is the time that the receiver asks for."""
        asked_s = min(asked_s, self._longest_asked_s)
        self._not_before_s = now_s + max(asked_s, self._backoff.delay())
        self._failed.add(event.stream)
        lane = self._lanes.get(event.stream)
        if lane is not None:
            lane.backoff = lane.backoff or self._fresh()
            lane.not_before_s = now_s + max(asked_s, lane.backoff.delay())

    def _fresh(self) -> Backoff:
        return Backoff(self._initial_s, self._cap_s, rng=self._rng)

    def _remove(self, event: AlertEvent) -> None:
        lane = self._lanes.get(event.stream)
        # It may have gone for want of room while it was under way.
        if lane is None or lane.waiting[0][1] is not event:
            return
        lane.waiting.popleft()
        lane.backoff, lane.not_before_s = None, 0.0
        self._forget(event.stream)

    def _drop_oldest(self) -> AlertEvent:
        stream, lane = min(self._lanes.items(), key=lambda item: item[1].waiting[0][0])
        _, event = lane.waiting.popleft()
        self._forget(stream)
        return event

    def _forget(self, stream: StreamId) -> None:
        self._count -= 1
        if not self._lanes[stream].waiting:
            del self._lanes[stream]
