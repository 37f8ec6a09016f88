"""What waits for the broker: the newest of what conflates, all of what does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice

from monitor.types import Message


class Outbox:
    """Bounded store between the monitor, which never waits, and a broker, which may be away.

    Messages that conflate: the newest of each topic waits, an older one it replaces is counted. Retained ones
    are also kept after they were sent, so that ``restore`` can send them to a broker that lost its memory.
    Messages that do not conflate wait in line, and leave only after delivery. Not thread-safe.

    Args:
        max_queued: Most messages in line; a newer one is refused, since dropping an older one would hide a
            gap between two that arrive.
        max_topics: Most topics that conflate; a message on one more is refused.
        on_delivered: Told of each message of the line that the broker acknowledged.

    Attributes:
        sent: Messages delivered, repeats included.
        superseded: Messages that never went out since a newer one took their place.
        refused: Messages not accepted because a bound was reached.
    """

    def __init__(
        self,
        max_queued: int = 10_000,
        max_topics: int = 10_000,
        on_delivered: Callable[[Message], None] | None = None,
    ) -> None:
        self._max_queued = max_queued
        self._max_topics = max_topics
        self._on_delivered = on_delivered
        self._line: deque[Message] = deque()
        self._kept: dict[str, Message] = {}
        self._waiting: dict[str, Message] = {}
        self._flying = 0
        self.sent = 0
        self.superseded = 0
        self.refused = 0

    @property
    def pending(self) -> int:
        """Messages accepted and not yet delivered."""
        return len(self._line) + len(self._waiting) + self._flying

    def offer(self, message: Message) -> bool:
        """Accept a message; False where a bound is reached, and the message stays the caller's."""
        if not message.conflate:
            if len(self._line) >= self._max_queued:
                self.refused += 1
                return False
            self._line.append(message)
            return True
        topic = message.topic
        known = topic in self._waiting or topic in self._kept
        if not known and max(len(self._waiting), len(self._kept)) >= self._max_topics:
            self.refused += 1
            return False
        self.superseded += topic in self._waiting
        self._waiting[topic] = message
        if message.retain:
            self._kept[topic] = message
        return True

    def restore(self) -> int:
        """Let everything retained wait again; returns how many messages that conflate wait then."""
        self._waiting = self._kept | self._waiting
        return len(self._waiting)

    def take(self, limit: int, *, in_line: bool = True) -> list[Message]:
        """Messages to send now: up to ``limit`` in line, then up to ``limit`` that conflate.

        Each batch goes to ``settle`` before the next is taken.
        """
        queued = list(islice(self._line, limit)) if in_line else []
        topics = list(islice(self._waiting, limit))
        self._flying = len(topics)
        return queued + [self._waiting.pop(topic) for topic in topics]

    def settle(self, batch: Sequence[Message], delivered: Sequence[bool]) -> None:
        """Account for a batch: what was not delivered waits again.

        Of those in line, only the unbroken run at the head leaves: one delivered after one in doubt is sent
        again, so that a subscriber always has them in order.
        """
        self._flying = 0
        self.sent += sum(delivered)
        unbroken = True
        for message, done in zip(batch, delivered, strict=True):
            if not message.conflate:
                unbroken = unbroken and done
                if unbroken:
                    self._line.popleft()
                    if self._on_delivered is not None:
                        self._on_delivered(message)
            elif not done:
                self.superseded += message.topic in self._waiting
                self._waiting.setdefault(message.topic, message)
            elif not message.payload and self._kept.get(message.topic) is message:
                # The broker forgot the topic, and so do we.
                del self._kept[message.topic]
