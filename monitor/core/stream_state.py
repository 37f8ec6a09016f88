"""What state a stream is in: connection, condition and status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.core.progress import Limits, ProgressClocks, Stall
from monitor.types import Condition, PictureFacts, Status


class Link(StrEnum):
    """State of the connection."""

    CONNECTING = "connecting"  # never seen a picture
    WAITING = "waiting"  # open for the first time, no picture yet
    LIVE = "live"
    STALLED = "stalled"  # open, bytes come, pictures do not go on
    SILENT = "silent"  # open, nothing comes
    NO_VIDEO = "no_video"  # over: what came had no video in it
    LOST = "lost"
    RETRYING = "retrying"  # lost or without video, and trying again
    REOPENED = "reopened"  # open again, time does not go on yet: still what it was to a viewer


class Event(StrEnum):
    """What can happen to a connection."""

    OPENING = "opening"  # an attempt begins
    OPENED = "opened"  # the source gave a first picture
    FRAME = "frame"  # a picture was decoded whose time goes on
    STALLED = "stalled"  # no such picture for stall_s, while bytes come
    SILENT = "silent"  # nothing for no_bytes_s
    NO_VIDEO = "no_video"  # the source has, or goes on with, nothing that can be decoded
    ENDED = "ended"  # the source said that it is over
    FAILED = "failed"  # opening or reading failed


_OPEN = (Link.WAITING, Link.LIVE, Link.STALLED, Link.SILENT, Link.REOPENED)
_ATTEMPTS = (Link.CONNECTING, Link.RETRYING)
_OVER = (Link.NO_VIDEO, Link.LOST)
_ENDINGS = {Event.NO_VIDEO: Link.NO_VIDEO, Event.ENDED: Link.LOST, Event.FAILED: Link.LOST}

#: Every pair that can happen. An attempt to reconnect does not end a loss; pictures that go on do.
_TRANSITIONS: dict[tuple[Link, Event], Link] = {
    **{(link, Event.FRAME): Link.LIVE for link in _OPEN},
    **{(link, Event.STALLED): Link.STALLED for link in _OPEN},
    **{(link, Event.SILENT): Link.SILENT for link in _OPEN},
    **{(link, event): over for link in (*_OPEN, *_ATTEMPTS, *_OVER) for event, over in _ENDINGS.items()},
    (Link.CONNECTING, Event.OPENING): Link.CONNECTING,
    (Link.RETRYING, Event.OPENING): Link.RETRYING,
    (Link.CONNECTING, Event.OPENED): Link.WAITING,
    (Link.RETRYING, Event.OPENED): Link.REOPENED,
    **{(link, Event.OPENING): Link.RETRYING for link in _OVER},
}

#: What a viewer has of a connection in which nothing goes on; the attempts in between show what was before them.
_BLIND: dict[Link, Condition] = {
    Link.CONNECTING: Condition.CONNECTING,
    Link.WAITING: Condition.CONNECTING,
    Link.STALLED: Condition.NO_VIDEO,
    Link.SILENT: Condition.LOST,
    Link.NO_VIDEO: Condition.NO_VIDEO,
    Link.LOST: Condition.LOST,
}


def next_link(link: Link, event: Event) -> Link:
    """The state after an event.

    Raises:
        ValueError: The event cannot happen in this state: the caller's order of events is wrong.
    """
    try:
        return _TRANSITIONS[link, event]
    except KeyError:
        raise ValueError(f"event {event} cannot happen to a {link} stream") from None


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a stream's samples at one moment.

    Attributes:
        facts: Detectors' results after the newest sample.
        sample_age_s: Age of the newest sample in the score; None before the first of this connection.
        facts_age_s: Age of the picture that ``facts`` are about; None where there is none on this connection.
        corrupt_share: Share of corrupt samples in the last 10 s, 0-1; None where there were none.
        coverage: Ticks scored / ticks due in the last second, 0-1.
        warming_up: The head is within its transient.
        shed: The monitor analyses fewer pictures than configured because the machine is too small.
    """

    facts: PictureFacts
    sample_age_s: float | None
    corrupt_share: float | None = None
    coverage: float = 1.0
    warming_up: bool = False
    shed: bool = False
    facts_age_s: float | None = 0.0


@dataclass(frozen=True, slots=True)
class Judgement:
    """A stream's state at one moment.

    Attributes:
        status: Whether its score can be trusted.
        condition: What is the matter, worst first.
        code: Class of the failure while the stream is lost, as the source named it.
        link: State of the connection.
        stall: Which clock stands, where one does.
    """

    status: Status
    condition: Condition
    code: str | None
    link: Link
    stall: Stall | None = None


class StreamStateMachine:
    """State of one stream; time is an argument everywhere (monotonic seconds). Not for several threads.

    Args:
        now_s: Time of the start.
        limits: How long each of the three clocks may stand; black becomes a condition as late as a still picture.
        stale_s: A score whose newest sample is older than this cannot be trusted, nor are facts that old told.
        corrupt_share: Share of corrupt samples from which decode errors are the condition; one damaged GOP of
            half a second in 10 s stays below.
        min_coverage: Coverage below which the status is degraded: one lost tick in five.
    """

    def __init__(
        self,
        now_s: float,
        *,
        limits: Limits | None = None,
        stale_s: float = 3.0,
        corrupt_share: float = 0.1,
        min_coverage: float = 0.8,
    ) -> None:
        self._limits = limits or Limits()
        self._stale_s = stale_s
        self._corrupt_share = corrupt_share
        self._min_coverage = min_coverage
        self._link = Link.CONNECTING
        self._code: str | None = None
        self._blind = Condition.LOST  # what an attempt to reconnect shows
        self._stall: Stall | None = None
        self.clocks = ProgressClocks(now_s, self._limits)

    @property
    def link(self) -> Link:
        """State of the connection after the events so far."""
        return self._link

    def on(self, event: Event, now_s: float, code: str | None = None) -> Link:
        """Takes in an event.

        Args:
            event: What happened.
            now_s: When.
            code: Class of a failure (ENDED, FAILED).

        Raises:
            ValueError: The event cannot happen in this state.
        """
        link = next_link(self._link, event)
        match event:
            case Event.OPENING:
                self.clocks.attempt(now_s)
            case Event.OPENED:
                self.clocks.opened(now_s)
            case Event.FRAME:
                self.clocks.advanced(now_s)
                self._stall = None
        if event in (Event.FAILED, Event.ENDED):
            self._code = code
        elif link is Link.LIVE:
            self._code = None
        self._link = link
        if link in (Link.STALLED, Link.SILENT, *_OVER):
            self._blind = _BLIND[link]
        return link

    def judge(self, now_s: float, seen: Observation) -> Judgement:
        """State now; looks at the clocks by itself, so call it at least once a second."""
        self._look_at_clocks(now_s)
        condition, stall = self._condition(seen)
        return Judgement(self._status(condition, seen), condition, self._code, self._link, stall)

    def _look_at_clocks(self, now_s: float) -> None:
        if self._link in _OPEN:
            self._stall = self.clocks.blind(now_s)
            if self._stall is not None:
                self.on(Event.SILENT if self._stall is Stall.NO_BYTES else Event.STALLED, now_s)
        elif self._link is Link.RETRYING and self.clocks.arriving(now_s):
            # The server is back, its video is not.
            self._blind, self._stall = Condition.NO_VIDEO, Stall.NO_PICTURES

    def _condition(self, seen: Observation) -> tuple[Condition, Stall | None]:
        if self._link in (Link.RETRYING, Link.REOPENED):
            return self._blind, self._stall
        blind = _BLIND.get(self._link)
        if blind is not None:
            return blind, self._stall
        fresh = seen.facts_age_s is not None and seen.facts_age_s <= self._stale_s
        if fresh and seen.facts.black_s >= self._limits.still_s:
            return Condition.BLACK, None
        stall = self.clocks.unchanging(seen.facts) if fresh else None
        if stall is not None:
            return Condition.FROZEN, stall
        if seen.corrupt_share is not None and seen.corrupt_share > self._corrupt_share:
            return Condition.DECODE_ERRORS, None
        if seen.warming_up or seen.sample_age_s is None:
            return Condition.WARMING_UP, None
        return Condition.OK, None

    def _status(self, condition: Condition, seen: Observation) -> Status:
        if self._link is not Link.LIVE or seen.sample_age_s is None or seen.sample_age_s > self._stale_s:
            return Status.UNKNOWN
        if condition is Condition.WARMING_UP:
            return Status.UNKNOWN  # there is no score yet
        if condition is not Condition.OK or seen.shed or seen.coverage < self._min_coverage:
            return Status.DEGRADED
        return Status.OK
