"""What state a stream is in: connection, condition and status."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from monitor.types import Condition, PictureFacts, Status


class Link(StrEnum):
    """State of the connection."""

    CONNECTING = "connecting"  # never seen a picture
    WAITING = "waiting"  # open for the first time, no picture yet
    LIVE = "live"
    NO_VIDEO = "no_video"  # open, and no pictures
    LOST = "lost"
    RETRYING = "retrying"  # lost, and trying again
    REOPENED = "reopened"  # open again, no picture yet: still lost to a viewer


class Event(StrEnum):
    """What can happen to a connection."""

    OPENING = "opening"  # an attempt begins
    OPENED = "opened"  # the source answered
    FRAME = "frame"  # a picture was decoded
    STALLED = "stalled"  # no picture for stall_s
    AUDIO_ONLY = "audio_only"  # the source has, or goes on with, no video
    ENDED = "ended"  # the source said that it is over
    FAILED = "failed"  # opening or reading failed


#: Every pair that can happen. An attempt to reconnect does not end a loss; a picture does.
_TRANSITIONS: dict[tuple[Link, Event], Link] = {
    (Link.CONNECTING, Event.OPENING): Link.CONNECTING,
    (Link.CONNECTING, Event.OPENED): Link.WAITING,
    (Link.CONNECTING, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.CONNECTING, Event.ENDED): Link.LOST,
    (Link.CONNECTING, Event.FAILED): Link.LOST,
    (Link.WAITING, Event.FRAME): Link.LIVE,
    (Link.WAITING, Event.STALLED): Link.NO_VIDEO,
    (Link.WAITING, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.WAITING, Event.ENDED): Link.LOST,
    (Link.WAITING, Event.FAILED): Link.LOST,
    (Link.LIVE, Event.FRAME): Link.LIVE,
    (Link.LIVE, Event.STALLED): Link.NO_VIDEO,
    (Link.LIVE, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.LIVE, Event.ENDED): Link.LOST,
    (Link.LIVE, Event.FAILED): Link.LOST,
    (Link.NO_VIDEO, Event.OPENING): Link.RETRYING,
    (Link.NO_VIDEO, Event.FRAME): Link.LIVE,
    (Link.NO_VIDEO, Event.STALLED): Link.NO_VIDEO,
    (Link.NO_VIDEO, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.NO_VIDEO, Event.ENDED): Link.LOST,
    (Link.NO_VIDEO, Event.FAILED): Link.LOST,
    (Link.LOST, Event.OPENING): Link.RETRYING,
    (Link.LOST, Event.ENDED): Link.LOST,
    (Link.LOST, Event.FAILED): Link.LOST,
    (Link.RETRYING, Event.OPENING): Link.RETRYING,
    (Link.RETRYING, Event.OPENED): Link.REOPENED,
    (Link.RETRYING, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.RETRYING, Event.ENDED): Link.LOST,
    (Link.RETRYING, Event.FAILED): Link.LOST,
    (Link.REOPENED, Event.FRAME): Link.LIVE,
    (Link.REOPENED, Event.STALLED): Link.NO_VIDEO,
    (Link.REOPENED, Event.AUDIO_ONLY): Link.NO_VIDEO,
    (Link.REOPENED, Event.ENDED): Link.LOST,
    (Link.REOPENED, Event.FAILED): Link.LOST,
}

_BLIND: dict[Link, Condition] = {
    Link.CONNECTING: Condition.CONNECTING,
    Link.WAITING: Condition.CONNECTING,
    Link.NO_VIDEO: Condition.NO_VIDEO,
    Link.LOST: Condition.LOST,
    Link.RETRYING: Condition.LOST,
    Link.REOPENED: Condition.LOST,
}

#: Links in which pictures are due, so that their absence is a stall.
_EXPECTING = frozenset({Link.WAITING, Link.LIVE, Link.REOPENED})


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


@dataclass(frozen=True, slots=True)
class Judgement:
    """A stream's state at one moment.

    Attributes:
        status: Whether its score can be trusted.
        condition: What is the matter, worst first.
        code: Class of the failure while the stream is lost, as the source named it.
        link: State of the connection.
    """

    status: Status
    condition: Condition
    code: str | None
    link: Link


class StreamStateMachine:
    """State of one stream; time is an argument everywhere (monotonic seconds). Not for several threads.

    Args:
        now_s: Time of the start.
        stall_s: A connection without a picture for this long has no video. Two keyframe intervals of HLS are
            longer, but its frames are paced by the source; 3 s keeps a blind stream's detection below 5 s.
        stale_s: A score whose newest sample is older than this cannot be trusted.
        hold_s: Black and still pictures become conditions after this long; shorter ones are editing.
        corrupt_share: Share of corrupt samples from which decode errors are the condition; one damaged GOP of
            half a second in 10 s stays below.
        min_coverage: Coverage below which the status is degraded: one lost tick in five.
    """

    def __init__(
        self,
        now_s: float,
        *,
        stall_s: float = 3.0,
        stale_s: float = 3.0,
        hold_s: float = 3.0,
        corrupt_share: float = 0.1,
        min_coverage: float = 0.8,
    ) -> None:
        self._stall_s = stall_s
        self._stale_s = stale_s
        self._hold_s = hold_s
        self._corrupt_share = corrupt_share
        self._min_coverage = min_coverage
        self._link = Link.CONNECTING
        self._code: str | None = None
        self._progress_s = now_s  # last picture, or the moment from which one is due

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
        if event in (Event.FRAME, Event.OPENED):
            self._progress_s = now_s
        if event in (Event.FAILED, Event.ENDED):
            self._code = code
        elif link is Link.LIVE:
            self._code = None
        self._link = link
        return link

    def judge(self, now_s: float, seen: Observation) -> Judgement:
        """State now; notices a stall by itself, so call it at least once a second."""
        if self._link in _EXPECTING and now_s - self._progress_s >= self._stall_s:
            self.on(Event.STALLED, now_s)
        condition = self._condition(seen)
        return Judgement(self._status(condition, seen), condition, self._code, self._link)

    def _condition(self, seen: Observation) -> Condition:
        blind = _BLIND.get(self._link)
        if blind is not None:
            return blind
        if seen.facts.black_s >= self._hold_s:
            return Condition.BLACK
        if seen.facts.still_s >= self._hold_s:
            return Condition.FROZEN
        if seen.corrupt_share is not None and seen.corrupt_share > self._corrupt_share:
            return Condition.DECODE_ERRORS
        if seen.warming_up or seen.sample_age_s is None:
            return Condition.WARMING_UP
        return Condition.OK

    def _status(self, condition: Condition, seen: Observation) -> Status:
        if self._link in _BLIND or seen.sample_age_s is None or seen.sample_age_s > self._stale_s:
            return Status.UNKNOWN
        if condition is Condition.WARMING_UP:
            return Status.UNKNOWN  # there is no score yet
        if condition is not Condition.OK or seen.shed or seen.coverage < self._min_coverage:
            return Status.DEGRADED
        return Status.OK
