"""One stream from its first connection to shutdown: connect, watch, reconnect, and its state once a second."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from monitor.core.alert_book import AlertBook
from monitor.core.audio_level import silence_s
from monitor.core.backoff import Backoff
from monitor.core.bands import band_of
from monitor.core.baseline import Baseline
from monitor.core.evidence import AlertTrail, Evidence, Moment, Still
from monitor.core.expected_format import ExpectedFormat
from monitor.core.loops import LONGEST_LOOP_S
from monitor.core.metrics import stream_metrics
from monitor.core.progress import Limits
from monitor.core.recent_counts import RecentCounts
from monitor.core.repeats import RepeatLimit
from monitor.core.stream_state import Event, Link, Observation, StreamStateMachine
from monitor.errors import SourceCode, SourceError
from monitor.ingest.mailbox import Mailbox, OverflowPolicy
from monitor.ingest.source_thread import Source
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.feed_format import FeedFormat
from monitor.pipeline.reader import Reader, ReaderEvents, Readers, ReaderSetup, Readings, ThreadReaders
from monitor.pipeline.sampler import SamplerCounts
from monitor.pipeline.scored_stream import ScoredStream
from monitor.pipeline.stills import StillRing
from monitor.pipeline.stream_log import StreamLog
from monitor.types import (
    AlertEvent,
    Condition,
    DropCause,
    PictureFacts,
    Sample,
    ScoreView,
    Status,
    StreamId,
    StreamInfo,
    StreamState,
)

log = logging.getLogger("vqwatch.stream")

#: How often the connection is looked at: a stall is noticed within its limit plus this.
_WATCH_S = 0.25
#: A source that will not work by trying again (no such codec, refused password) is asked this seldom.
_PERMANENT_RETRY_S = 4.0
#: How long samples that came in before the end may take to be scored.
_DRAIN_S = 1.0
#: Samples wait no longer than this while not all can be scored: with the look-ahead a score stays younger than 3 s.
_HURRY_S = 1.0
_BUG = "bug"
#: Why a connection may have ended.
RECONNECT_REASONS = (*map(str, SourceCode), _BUG)


@dataclass(frozen=True, slots=True)
class StreamSettings:
    """How one stream is read and watched.

    Attributes:
        stream: Id.
        live: Its end is a loss; False for a file, which ends.
        limits: How long each of the three clocks (bytes, video, picture change) may stand.
        longest_loop_s: Pictures that repeat with a period up to this are a loop; 0 looks for none.
        hang_s: A connection without a sign of life, or without video, for this long is given up even if its thread
            does not end.
        mailbox: Samples that may wait.
        max_staleness_s: Older samples are dropped, not scored.
        max_backoff_s: Longest pause between attempts.
        stills_s: How far back pictures are kept for the evidence of alerts; 0 keeps none, and gathers no evidence.
        still_width: Of such a picture, pixels.
        deinterlace: Which pictures are deinterlaced before they are scored.
    """

    stream: StreamId
    live: bool
    limits: Limits = field(default_factory=Limits)
    longest_loop_s: float = LONGEST_LOOP_S
    hang_s: float = 12.0
    mailbox: int = 75
    max_staleness_s: float | None = 3.0
    max_backoff_s: float = 2.0
    stills_s: float = 0.0
    still_width: int = 320
    deinterlace: Deinterlace = Deinterlace.AUTO


@dataclass(slots=True)
class Second:
    """What one second of a stream gave.

    Attributes:
        state: The state to publish.
        events: Alerts raised and cleared.
        metrics: What its rules saw, by metric; None is unknown.
        evidence: Of those alerts, where it is gathered.
    """

    state: StreamState
    events: list[AlertEvent] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    evidence: list[Evidence] = field(default_factory=list)


class StreamTask:
    """Runs one stream. All of it on the event loop, but for the source's own thread.

    Args:
        settings: How.
        connect: A new source for each attempt.
        scoring: The bundle.
        batcher: Scores this stream's samples.
        book: Its alert rules.
        on_info: Told what the stream is, on each connection.
        expected: What the feed should be.
        lower: The bundle at lower rates, by rung from 1.
        readers: Makes what reads its connections; threads of this process where none is given.
        clock: Monotonic seconds.
        rng: Jitter of reconnection.
    """

    def __init__(
        self,
        settings: StreamSettings,
        connect: Callable[[], Source],
        scoring: BundleScoring,
        batcher: Batcher,
        book: AlertBook,
        *,
        on_info: Callable[[StreamId, StreamInfo], None],
        expected: ExpectedFormat | None = None,
        lower: Sequence[BundleScoring] = (),
        readers: Callable[[ReaderSetup], Readers] = ThreadReaders,
        clock: Callable[[], float] = time.monotonic,
        rng: random.Random | None = None,
    ) -> None:
        self.settings = settings
        self.id = settings.stream
        self._connect = connect
        self._bundle = scoring
        self._batcher = batcher
        self.book = book
        self._clock = clock
        self._repeats = RepeatLimit()
        self._format = FeedFormat(self.id, on_info, expected, self._repeats, clock)
        self._loop = asyncio.get_running_loop()
        self._rungs = (scoring, *lower)
        self._rung = 0
        self.scored = ScoredStream(
            self.id,
            scoring.scoring,
            self._make_mailbox,
            domain_limit=scoring.domain_limit,
            lower=[rung.scoring for rung in lower],
        )
        self._readers = readers(self._reader_setup())
        self._reader: Reader | None = None
        self._machine = StreamStateMachine(clock(), limits=settings.limits)
        self._rng = rng or random.Random()
        self._backoff = Backoff(cap_s=settings.max_backoff_s, rng=self._rng)
        self._baseline = Baseline()
        self._stopping = asyncio.Event()
        # The end, or another feed: whatever is waited for, these come first.
        self._called = asyncio.Event()
        self._next: tuple[StreamSettings, Callable[[], Source]] | None = None
        self._seen_pictures = 0
        self._seen_advanced = 0
        self._seq = 0
        self._lag_ms: float | None = None
        self._lag_tick: tuple[int, int] | None = None
        self._recent = RecentCounts()
        self._log = StreamLog(self.id)
        self._received = self._received_total = 0
        #: Unix time at which its newest picture arrived; None before the first.
        self.last_frame_at: float | None = None
        #: The pictures of its last seconds; None where none are kept.
        self.stills = StillRing(settings.stills_s) if settings.stills_s > 0 else None
        self._trail = None if self.stills is None else AlertTrail(book, self.stills.near)
        #: Connections that ended and were followed by another attempt, by why they ended.
        self.reconnects = dict.fromkeys(RECONNECT_REASONS, 0)
        #: Set when a file came to its end.
        self.finished = asyncio.Event()

    @property
    def counts(self) -> SamplerCounts:
        """What its readers have seen."""
        return self._readers.counts

    @property
    def reader_deaths(self) -> int:
        """Times that a decoder took its reader's process along."""
        return self._readers.deaths

    @property
    def reader_bytes(self) -> int:
        """Memory of its reader's process that is no other's; 0 for a thread."""
        return self._readers.memory_bytes

    def age_s(self) -> float | None:
        """Age of the newest sample in the score, now; None before the first."""
        received_s = self.scored.newest_received_s
        return None if received_s is None else max(0.0, self._clock() - received_s)

    @property
    def silent(self) -> bool | None:
        """Whether its sound is; None where none is decoded."""
        return self._log.silent

    @property
    def info(self) -> StreamInfo | None:
        """What it is; None before its first connection."""
        return self._format.info

    def bitrate_bps(self) -> float | None:
        """Bits a second that arrived over the last ten; None before the second second."""
        return self._recent.bitrate_bps

    @property
    def live(self) -> bool:
        """Whether pictures come whose time goes on."""
        return self._machine.link is Link.LIVE

    @property
    def readings(self) -> Readings:
        """What the present connection gave so far; nothing without one."""
        return Readings() if self._reader is None else self._reader.readings

    @property
    def rung(self) -> int:
        """Whose rate the stream is analysed at: 0 is the full one."""
        return self._rung

    @rung.setter
    def rung(self, rung: int) -> None:
        lower = rung > self._rung
        self._rung = rung
        if self._reader is not None:
            self._reader.set_rung(rung)
        if lower:
            # What waits is late already, and would keep the pictures of the lower rate waiting.
            self.scored.mailbox.discard(DropCause.SHED)

    def hurry(self, on: bool) -> None:
        """Drops waiting samples sooner: where not all can be scored, those that are shall at least be fresh."""
        limit_s = self.settings.max_staleness_s
        self.scored.mailbox.max_staleness_s = min(limit_s or _HURRY_S, _HURRY_S) if on else limit_s

    def accept_level(self, seconds: int) -> float | None:
        """Takes the newest healthy seconds for what the stream usually is; the level, None where there are too few."""
        return self._baseline.value if self._baseline.accept(seconds) else None

    def stop(self) -> None:
        """Ends ``run`` soon; never waits for a source."""
        self._stopping.set()
        self._called.set()

    def change_source(self, settings: StreamSettings, connect: Callable[[], Source]) -> None:
        """Reads another feed from here on, or the same in another way; counters and alerts go on."""
        self._next = settings, connect
        self._called.set()

    def change_expected(self, expected: ExpectedFormat | None) -> None:
        """Compares the feed with something else from here on."""
        self._format.expect(expected)

    async def run(self) -> None:
        """Connects, again and again, until stopped or a file is over."""
        self._batcher.add(self.scored)
        try:
            while not self._stopping.is_set():
                self._turn_to_next()
                error = await self._connection()
                if self._stopping.is_set():
                    return
                if self._next is not None:
                    continue
                if error is None and not self.settings.live:
                    await self._drain()
                    self.finished.set()
                    return
                self.reconnects[_reason(error)] += 1
                await self._pause(error)
        finally:
            await self._drain()
            self.scored.mailbox.close()
            self._readers.close()

    def _reader_setup(self) -> ReaderSetup:
        settings = self.settings
        return ReaderSetup(
            self.id,
            self._bundle.input,
            tuple(rung.scoring.fps for rung in self._rungs),
            self._bundle.with_side_channel,
            settings.longest_loop_s,
            settings.still_width if settings.stills_s > 0 else 0,
            settings.deinterlace,
        )

    def _turn_to_next(self) -> None:
        if self._next is None:
            return
        settings, self._connect = self._next
        self._next = None
        self._called.clear()
        self.scored.mailbox.limit(settings.mailbox, settings.max_staleness_s)
        self.settings = settings
        self._readers.change(self._reader_setup())
        self._machine = StreamStateMachine(self._clock(), limits=settings.limits)
        self._backoff = Backoff(cap_s=settings.max_backoff_s, rng=self._rng)
        self._baseline = Baseline()
        self._format.forget()

    async def _drain(self) -> None:
        """Lets what came in be scored; what a slow engine has not got to by then is dropped at shutdown."""
        until = self._clock() + _DRAIN_S
        while self.scored.ledger.balance().in_flight and self._clock() < until:
            self._batcher.wake()
            await asyncio.sleep(0.01)
        self.scored.end_epoch()

    async def _connection(self) -> Exception | None:
        """One attempt, to its end; the error that ended it."""
        ended: asyncio.Future[Exception | None] = self._loop.create_future()
        self._machine.on(Event.OPENING, self._clock())
        reader = self._readers.connect(
            self._connect,
            ReaderEvents(
                sample=lambda sample: self._emit(reader, sample),
                dropped=self.scored.dropped_before,
                still=self._keep_still,
                opened=self._opened,
                ended=lambda error: None if ended.done() else ended.set_result(error),
            ),
            self._rung,
        )
        self._reader = reader
        self._seen_pictures = self._seen_advanced = self._received = 0
        reader.start()
        called = asyncio.ensure_future(self._called.wait())
        waiting: list[asyncio.Future[Any]] = [ended, called]
        try:
            while not ended.done():
                await asyncio.wait(waiting, timeout=_WATCH_S, return_when=asyncio.FIRST_COMPLETED)
                if self._stopping.is_set():
                    reader.stop()
                    return None
                if self._next is not None:
                    await self._let_go(reader, ended)
                    return None
                given_up = self._watch()
                if given_up is not None and not ended.done():
                    reader.abandon()
                    self._ended(given_up)
                    return given_up
            self._watch()
        finally:
            called.cancel()
            self._reader = None
        error = ended.result()
        self._ended(error)
        return error

    async def _let_go(self, reader: Reader, ended: asyncio.Future[Exception | None]) -> None:
        """Ends a connection and waits for it, within limits: the next one may need its port."""
        reader.stop()
        stopping = asyncio.ensure_future(self._stopping.wait())
        waiting: list[asyncio.Future[Any]] = [ended, stopping]
        await asyncio.wait(waiting, timeout=self.settings.hang_s, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            reader.abandon()

    def _emit(self, reader: Reader, sample: Sample) -> None:
        # An abandoned reader may come back to life; its samples belong to a connection that is over.
        if self._reader is reader:
            self.scored.emit(sample)

    def _keep_still(self, still: Still) -> None:
        if self.stills is not None:
            self.stills.add(still)

    def _make_mailbox(self, on_drop: Callable[[Sample, DropCause], None]) -> Mailbox[Sample]:
        def wake() -> None:
            self._loop.call_soon_threadsafe(self._batcher.wake)

        return Mailbox(
            self.settings.mailbox,
            OverflowPolicy.DROP_OLDEST,
            self.settings.max_staleness_s,
            self._clock,
            on_item=wake,
            on_drop=on_drop,
        )

    def _note_open(self, now: float) -> None:
        """The source answered; told by the source's thread or, where the watch is quicker, by its first picture."""
        if self._machine.link in (Link.CONNECTING, Link.RETRYING):
            self._machine.on(Event.OPENED, now)

    def _opened(self, info: StreamInfo) -> None:
        self._note_open(self._clock())
        self._format.opened(info)

    def _ended(self, error: Exception | None) -> None:
        code = error.code if isinstance(error, SourceError) else None
        if error is None:
            log.info("stream=%s event=ended", self.id)
            self._machine.on(Event.ENDED, self._clock(), SourceCode.ENDED)
        elif isinstance(error, SourceError) and self._without_video(error):
            self._tell_failure("no_video", error)
            self._machine.on(Event.NO_VIDEO, self._clock())
        elif isinstance(error, SourceError):
            self._tell_failure("lost", error)
            event = Event.ENDED if code is SourceCode.ENDED else Event.FAILED
            self._machine.on(event, self._clock(), code)
        else:
            # A defect of ours, not of the feed: a traceback, and the stream goes on.
            suppressed = self._repeats.tell(("bug", type(error)), self._clock())
            if suppressed is not None:
                log.error("stream=%s event=bug suppressed=%d", self.id, suppressed, exc_info=error)
            self._machine.on(Event.FAILED, self._clock(), None)

    def _tell_failure(self, event: str, error: SourceError) -> None:
        # Its text may hold seconds or bytes, which differ each time: what makes it the same is its code.
        suppressed = self._repeats.tell((event, error.code), self._clock())
        if suppressed is not None:
            log.warning("stream=%s event=%s code=%s suppressed=%d %s", self.id, event, error.code, suppressed, error)

    def _without_video(self, error: SourceError) -> bool:
        """Whether the server is there, and what it sends holds no video."""
        if error.code is SourceCode.INVALID_DATA:
            return self._machine.clocks.heard_anything
        return error.code in (SourceCode.NO_VIDEO, SourceCode.CODEC)

    async def _pause(self, error: Exception | None) -> None:
        delay = self._backoff.delay()
        if isinstance(error, SourceError) and not error.transient:
            delay = max(delay, _PERMANENT_RETRY_S)
        try:
            async with asyncio.timeout(delay):
                await self._called.wait()
        except TimeoutError:
            pass

    def _watch(self) -> SourceError | None:
        """Tells the machine what the connection gave; why it is to be given up, if it is."""
        now = self._clock()
        machine = self._machine
        assert self._reader is not None
        readings = self._reader.readings
        machine.clocks.heard(readings.heard_s)
        pictures, advanced = readings.pictures, readings.advanced
        if pictures != self._seen_pictures:
            self._seen_pictures = pictures
            machine.clocks.decoded(now)
            self._note_open(now)
        if advanced != self._seen_advanced:
            self._seen_advanced = advanced
            if machine.link is not Link.LIVE:
                log.info("stream=%s event=live suppressed=%d", self.id, self._repeats.settle())
            machine.on(Event.FRAME, now)
            self._backoff.succeeded(now)
        limit_s = self.settings.hang_s
        if now - machine.clocks.sign_s() > limit_s:
            return SourceError(f"the source gave no sign for {limit_s:.0f} s", SourceCode.TIMEOUT)
        if machine.link is Link.STALLED and now - machine.clocks.video_s > limit_s:
            # Another connection may find the key frame, the tables or the clock that this one missed.
            return SourceError(f"nothing that goes on for {limit_s:.0f} s", SourceCode.NO_VIDEO)
        return None

    # --- once a second ---

    def second(self, now_utc: float) -> Second:
        """State at this moment, and the alerts it raises or clears."""
        now = self._clock()
        shed = self._rung > 0
        view = self.scored.view()
        balance = self.scored.ledger.balance()
        counts = self.counts
        readings = self.readings
        if self._reader is not None:
            self._received_total += readings.received - self._received
            self._received = readings.received
        self._recent.push(now, frames=counts.frames, damaged=counts.corrupt, received=self._received_total)
        newest = self.scored.newest
        if readings.latest is not None:
            self.last_frame_at = now_utc - max(0.0, now - readings.latest[1])
        self._format.look(readings)
        # The detectors' results do not wait for the engine: a picture is black or frozen whoever scores it.
        latest = readings.latest
        age_s = self.age_s()
        seen = Observation(
            facts=latest[0] if latest is not None else PictureFacts(),
            facts_age_s=max(0.0, now - latest[1]) if latest is not None else None,
            sample_age_s=age_s,
            corrupt_share=self._recent.corrupt_share,
            coverage=view.coverage,
            warming_up=view.score is None and view.newest_tick is None,
            shed=shed,
        )
        judged = self._machine.judge(now, seen)
        self._log.state(judged, seen)
        known = judged.status is not Status.UNKNOWN
        healthy = judged.condition is Condition.OK and not shed
        drop = self._baseline.push(view.score if known else None, healthy)
        silent_s = silence_s(readings.sound, now)
        silent = silent_s is not None and silent_s >= self.settings.limits.still_s
        self._log.sound(readings.sound, silent=silent)
        self._log.cadence(counts)
        fps_in = self._fps_in(readings.fps)
        metrics = stream_metrics(
            judged, seen, view, drop=drop, fps_in=fps_in, format_mismatch=self._format.mismatches, silence_s=silent_s
        )
        cause = view.cause if known else None
        cause_p = view.cause_p if known else None
        events = self.book.step(now, now_utc, metrics, cause=cause, cause_p=cause_p)
        state = StreamState(
            ts=int(now_utc * 1000),
            seq=self._seq,
            epoch=counts.epochs,
            status=judged.status,
            condition=judged.condition,
            coverage=view.coverage if known else 0.0,
            samples=balance.scored,
            dropped=balance.dropped_total,
            corrupt=counts.corrupt,
            repeated=counts.repeated,
            sample_fps=float(self._rungs[self._rung].scoring.fps),
            model=self._bundle.bundle.model_id,
            pts_s=newest.pts_s if newest is not None else None,
            score=view.score if known else None,
            score_10s=view.score_10s if known else None,
            score_60s=view.score_60s if known else None,
            score_min_60s=view.score_min_60s if known else None,
            baseline=self._baseline.value,
            drop=drop if known else None,
            band=band_of(view.score) if known and view.score is not None else None,
            uncertainty=self._uncertainty(view.cause) if known and view.score is not None else None,
            cause=cause,
            cause_p=cause_p,
            out_of_domain=self.scored.foreign if known and view.score is not None else None,
            fps_in=fps_in,
            age_ms=None if age_s is None else age_s * 1000,
            lag_ms=self._lag(view, age_s),
        )
        self._seq += 1
        return Second(state, events, metrics, self._gather(now, age_s, state, metrics, events))

    def _gather(
        self,
        now: float,
        age_s: float | None,
        state: StreamState,
        metrics: dict[str, float | None],
        events: list[AlertEvent],
    ) -> list[Evidence]:
        if self._trail is None:
            return []
        moment = Moment(
            now, state.ts, age_s, state.status, state.condition, metrics, state.baseline, state.cause, state.cause_p
        )
        return self._trail.second(moment, events)

    def _fps_in(self, measured: float | None) -> float | None:
        """The source's frame rate by its time stamps; 0 while no video comes, its arrival where it has no stamps."""
        if self._reader is None or self._machine.link is not Link.LIVE:
            return None if self.counts.frames == 0 else 0.0
        return measured or self._recent.arrival_fps

    def _lag(self, view: ScoreView, age_s: float | None) -> float | None:
        """Arrival to publication of the newest sample, fixed when it is first published."""
        if view.newest_tick is None or age_s is None:
            return self._lag_ms
        identity = (self.counts.epochs, view.newest_tick)
        if identity != self._lag_tick:
            self._lag_tick, self._lag_ms = identity, age_s * 1000
        return self._lag_ms

    def _uncertainty(self, cause: str | None) -> float | None:
        return self._bundle.bundle.manifest.uncertainty.get(cause) if cause is not None else None


def _reason(error: Exception | None) -> str:
    """Why a connection ended, as one of RECONNECT_REASONS."""
    if error is None:
        return str(SourceCode.ENDED)
    return str(error.code) if isinstance(error, SourceError) else _BUG
