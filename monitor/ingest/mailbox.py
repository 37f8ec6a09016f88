"""The bounded hand-over between one decode thread and the event loop."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Generic, NamedTuple, Protocol, TypeVar

from monitor.types import DropCause


class OverflowPolicy(StrEnum):
    """What ``put`` does when the mailbox is full."""

    #: Live: the oldest item makes room, put never blocks, the decoder never waits for the machine.
    DROP_OLDEST = "drop_oldest"
    #: Replay: put blocks until there is room; nothing is dropped.
    WAIT = "wait"


class MailboxClosed(Exception):
    """The mailbox was closed; nothing more will be taken from it."""


class Received(Protocol):
    """What a mailbox holds: anything that knows when it arrived (monotonic seconds)."""

    @property
    def received_s(self) -> float:
        """Local monotonic time of arrival."""


class MailboxStatistics(NamedTuple):
    """Counters since the mailbox was made; ``put == taken + sum(dropped.values()) + depth``, always."""

    put: int
    taken: int
    dropped: Mapping[DropCause, int]
    depth: int
    high_water: int


ItemT = TypeVar("ItemT", bound=Received)


class Mailbox(Generic[ItemT]):
    """Bounded first-in first-out store of one stream's samples.

    Threads: ``put`` is called by one decode thread; ``take`` by one consumer (the event loop; it never
    blocks); ``close``, ``depth`` and ``statistics`` by any thread, at any time. One lock guards all state,
    is held for a few operations only, and is never held while ``on_item`` runs.

    Args:
        capacity: Most items held, >= 1.
        policy: What ``put`` does when it is full.
        max_staleness_s: Items that arrived longer ago than this are dropped by ``take`` instead of returned;
            None keeps everything.
        clock: Monotonic seconds, the clock of the items' ``received_s``.
        on_item: Called from the putting thread after a put that may have found the consumer asleep: at most
            once between two takes, so that a burst does not flood the event loop. Typically ``lambda:
            loop.call_soon_threadsafe(wake)``; the consumer then takes until it gets fewer than it asked.
        on_drop: Called with (item, cause) for each item dropped, from the thread that dropped it.
    """

    def __init__(
        self,
        capacity: int,
        policy: OverflowPolicy,
        max_staleness_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
        *,
        on_item: Callable[[], None] | None = None,
        on_drop: Callable[[ItemT, DropCause], None] | None = None,
    ) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self._capacity = capacity
        self._policy = policy
        self._max_staleness_s = max_staleness_s
        self._clock = clock
        self._on_item = on_item
        self._on_drop = on_drop
        self._changed = threading.Condition()
        self._items: deque[ItemT] = deque()
        self._closed = False
        self._woken = False
        self._put = 0
        self._taken = 0
        self._high_water = 0
        self._dropped: dict[DropCause, int] = {
            DropCause.MAILBOX_FULL: 0,
            DropCause.STALE: 0,
            DropCause.SHUTDOWN: 0,
            DropCause.SHED: 0,
        }

    def limit(self, capacity: int, max_staleness_s: float | None) -> None:
        """Other limits from here on, as of the constructor; what waits beyond them goes as it would have gone."""
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        with self._changed:
            self._capacity, self._max_staleness_s = capacity, max_staleness_s

    def put(self, item: ItemT) -> None:
        """Add an item; under WAIT, block until there is room.

        Raises:
            MailboxClosed: It was closed, before or during the wait. The item is not counted.
        """
        evicted: ItemT | None = None
        with self._changed:
            if self._policy is OverflowPolicy.WAIT:
                self._changed.wait_for(lambda: self._closed or len(self._items) < self._capacity)
            if self._closed:
                raise MailboxClosed
            if len(self._items) >= self._capacity:
                evicted = self._items.popleft()
                self._dropped[DropCause.MAILBOX_FULL] += 1
            self._items.append(item)
            self._put += 1
            self._high_water = max(self._high_water, len(self._items))
            wake = not self._woken
            self._woken = True
        if evicted is not None and self._on_drop is not None:
            self._on_drop(evicted, DropCause.MAILBOX_FULL)
        if wake and self._on_item is not None:
            self._on_item()

    def take(self, max_n: int) -> list[ItemT]:
        """Remove up to ``max_n`` items, oldest first; never blocks.

        Items older than ``max_staleness_s`` are dropped on the way and not returned. The next put after a
        take wakes the consumer again. What is left after ``close`` is already counted as dropped, so this
        is empty.
        """
        taken: list[ItemT] = []
        stale: list[ItemT] = []
        with self._changed:
            oldest_s = None if self._max_staleness_s is None else self._clock() - self._max_staleness_s
            while self._items and len(taken) < max_n:
                item = self._items.popleft()
                if oldest_s is not None and item.received_s < oldest_s:
                    stale.append(item)
                else:
                    taken.append(item)
            self._taken += len(taken)
            self._dropped[DropCause.STALE] += len(stale)
            self._woken = False
            self._changed.notify_all()
        self._report(stale, DropCause.STALE)
        return taken

    def discard(self, cause: DropCause) -> None:
        """Drop all that waits, for the given cause; what comes later is not concerned."""
        with self._changed:
            left = list(self._items)
            self._items.clear()
            self._dropped[cause] += len(left)
            self._changed.notify_all()
        self._report(left, cause)

    def close(self) -> None:
        """Refuse further items, wake a blocked put, count what is left as dropped by shutdown."""
        with self._changed:
            self._closed = True
            left = list(self._items)
            self._items.clear()
            self._dropped[DropCause.SHUTDOWN] += len(left)
            self._changed.notify_all()
        self._report(left, DropCause.SHUTDOWN)

    def _report(self, items: list[ItemT], cause: DropCause) -> None:
        if self._on_drop is not None:
            for item in items:
                self._on_drop(item, cause)

    @property
    def closed(self) -> bool:
        """Whether ``close`` was called."""
        return self._closed

    @property
    def depth(self) -> int:
        """Items waiting now."""
        return len(self._items)

    @property
    def max_staleness_s(self) -> float | None:
        """Items that arrived longer ago are dropped by ``take``. To be set where ``take`` is called."""
        return self._max_staleness_s

    @max_staleness_s.setter
    def max_staleness_s(self, limit_s: float | None) -> None:
        self._max_staleness_s = limit_s

    def waiting_s(self) -> float:
        """How long the oldest item has been waiting since it arrived; 0 without one."""
        with self._changed:
            return max(0.0, self._clock() - self._items[0].received_s) if self._items else 0.0

    def statistics(self) -> MailboxStatistics:
        """Counters at one moment, consistent with each other."""
        with self._changed:
            return MailboxStatistics(
                put=self._put,
                taken=self._taken,
                dropped=MappingProxyType(dict(self._dropped)),
                depth=len(self._items),
                high_water=self._high_water,
            )
