"""The composition root: builds concrete parts from the configuration and owns their lives.

Order of an orderly end, each step with its reason: sources stop (nothing new comes in); the batcher drains (what came
in is scored); last states go out; the publisher says ``stopped`` and leaves; the broker and the engine close, which
nobody uses any more; history and ledger are the last, since the ledger notes what the broker acknowledged until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from engines.base import FeatureEngine
from engines.errors import EngineError
from monitor.config import Config, StreamSection
from monitor.core.alert_book import AlertBook
from monitor.core.identifiers import uuid7
from monitor.core.progress import Limits
from monitor.core.record import record_of
from monitor.core.repeats import RepeatLimit
from monitor.errors import UsageError
from monitor.ingest.programs import VideoChoice
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.redact import redact
from monitor.ingest.source_thread import SourceThread
from monitor.instruments import read_broker, read_engine, read_stream
from monitor.observe.loop_lag import LoopLag
from monitor.observe.metrics import MetricsPage
from monitor.observe.readings import Reading
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.stream_task import StreamSettings, StreamTask
from monitor.publish import wire
from monitor.publish.embedded import EmbeddedBroker
from monitor.publish.mqtt import BrokerAddress, MqttPublisher
from monitor.publish.schemas import schema_text
from monitor.rules import rules_of
from monitor.store.alert_log import AlertLog
from monitor.store.history import History
from monitor.store.standing import Standing
from monitor.types import AlertEvent, Health, Message, Problem, Status, StreamId, StreamInfo, StreamState
from monitor.web.server import DashboardServer
from monitor.webhooks import Webhooks

log = logging.getLogger("vqwatch.app")

#: An orderly end takes at most this long; what is not done then is left to the operating system.
SHUTDOWN_S = 5.0
_HEALTH_S = 10
#: A batch takes milliseconds; one that takes this long will not come back.
_ENGINE_HANGS_S = 10.0
#: A failed engine that failed no more for this long works again.
_ENGINE_STEADY_S = 5.0
#: Share of the samples due that are left out to save computing power: every stream is analysed at its full rate.
_SHED = 0.0


class Monitor:
    """One monitor: its streams, one engine, one publisher.

    Args:
        config: What to watch and how; ``streams`` must not be empty.
        scoring: The bundle.
        engine: Opened for that bundle; closed by this object.
        on_state: Also told of each stream's state once a second (the terminal table, the demo's check).
        on_alert: Also told of each alert event.
    """

    def __init__(
        self,
        config: Config,
        scoring: BundleScoring,
        engine: FeatureEngine,
        *,
        on_state: Callable[[StreamId, StreamState], None] | None = None,
        on_alert: Callable[[AlertEvent], None] | None = None,
    ) -> None:
        if not config.streams:
            raise UsageError("nothing to watch: give URLs, or streams in the configuration file")
        self._config = config
        self._scoring = scoring
        self._engine = engine
        self._on_state = on_state
        self._on_alert = on_alert
        #: Set once an orderly end was asked for.
        self.stopping = asyncio.Event()
        self._started_s = time.monotonic()
        self._inference = InferenceThread(engine, scoring.head, scoring.domain)
        self._batcher = Batcher(self._inference, max_batch=config.engine.max_batch, max_wait_s=config.engine.max_wait)
        self._batcher.on_failure = self._engine_failed
        self._repeats = RepeatLimit()
        self._engine_repeats = RepeatLimit()
        #: The newest failure of the engine, and when; None once it has worked again for a while.
        self._engine_error: EngineError | None = None
        self._engine_failed_s = 0.0
        self._version = version("vqwatch")
        self._lag = LoopLag()
        self._process = psutil.Process(os.getpid())
        self._rules = {StreamId(section.id): rules_of(config, section) for section in config.streams}
        self.streams: dict[StreamId, StreamTask] = {}
        self.states: dict[StreamId, StreamState] = {}
        self._active: dict[tuple[StreamId, str], AlertEvent] = {}
        self._active_changed = False
        self._alert_log: AlertLog | None = None
        self.webhooks = Webhooks(
            config.webhooks, config.node, durable=config.data_dir is not None, on_settled=self._webhook_settled
        )
        self._history: History | None = None
        #: Alert messages that the broker has not acknowledged, where a ledger wants to know.
        self._owed: dict[Message, AlertEvent] = {}
        self._publisher: MqttPublisher | None = None
        self.mqtt_port: int | None = None
        self.ws_port: int | None = None
        self.http_port: int | None = None
        #: Set once everything listens and all streams are being connected to.
        self.ready = asyncio.Event()

    def stop(self) -> None:
        """Asks for an orderly end; safe from signal handlers of the loop."""
        self.stopping.set()

    async def run(self, duration_s: float | None = None) -> None:
        """Monitors until ``stop``, the end of ``duration_s``, or the end of every file.

        Raises:
            MonitorError: A port is taken, the broker's address is wrong, or another monitor uses the data directory.
        """
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._config.data_dir is not None:
                    self._alert_log = await stack.enter_async_context(
                        AlertLog(self._config.data_dir, self._send_alert, send_to=self.webhooks.offer)
                    )
                    await self._open_history(self._config.data_dir, stack)
                address = await self._broker(stack)
                self._publisher = publisher = MqttPublisher(
                    address, self._config.node, on_delivered=self._alert_delivered
                )
                self._add_streams()
                if self._config.http.enabled:
                    server = await stack.enter_async_context(self._dashboard())
                    self.http_port = server.port
                await stack.enter_async_context(_background(publisher.run(), "vqwatch.mqtt"))
                await stack.enter_async_context(self.webhooks.running())
                await stack.enter_async_context(_background(self._lag.run(), "vqwatch.loop_lag", cancel=True))
                batching = await stack.enter_async_context(_background(self._batcher.run(), "vqwatch.batcher"))
                seconds = await stack.enter_async_context(_background(self._seconds(), "vqwatch.seconds", cancel=True))
                tasks = [
                    asyncio.create_task(task.run(), name=f"vqwatch.stream[{id_}]") for id_, task in self.streams.items()
                ]
                self.ready.set()
                log.info(
                    "event=started node=%s streams=%d model=%s engine=%s precision=%s mqtt=%s",
                    self._config.node, len(tasks), self._scoring.bundle.model_id,
                    self._engine.info.name, self._engine.info.precision, address,
                )  # fmt: skip
                try:
                    await self._until_over(tasks, [batching, seconds], duration_s)
                finally:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SHUTDOWN_S):
                            await self._shut_down(tasks, batching)
        finally:
            self._inference.close()
        log.info("event=stopped")

    async def _open_history(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        wanted = self._config.history
        if wanted.enabled:
            self._history = await stack.enter_async_context(
                History(
                    folder,
                    keep_seconds_s=wanted.keep_seconds,
                    keep_minutes_s=wanted.keep_minutes,
                    max_bytes=wanted.max_size,
                )
            )

    async def _broker(self, stack: contextlib.AsyncExitStack) -> BrokerAddress:
        broker = self._config.broker
        url = broker.url.get_secret_value()
        if url != "embedded":
            try:
                return BrokerAddress.parse(url)
            except UsageError as error:
                raise UsageError(f"--broker: {error}") from error
        embedded = EmbeddedBroker(broker.host, broker.mqtt_port, broker.ws_port)
        await stack.enter_async_context(embedded)
        self.mqtt_port, self.ws_port = embedded.mqtt_port, embedded.ws_port
        await stack.enter_async_context(_background(_keep_up(embedded), "vqwatch.broker", cancel=True))
        return embedded.address

    def _add_streams(self) -> None:
        """Adds the configured streams, each with the alerts that an earlier run left raised."""
        ledger = self._alert_log
        standing = Standing()
        if ledger is not None:
            standing = ledger.standing.copy()
            ledger.send_undelivered()
            owed = {destination: events.values() for destination, events in standing.owed.items()}
            for destination, event in self.webhooks.gone(owed):
                ledger.delivered(event, destination)
            self.webhooks.resume(standing.active.values(), owed)
            watched = {(id_, rule.name) for id_, alerting in self._rules.items() for rule in alerting.rules}
            for event in standing.close_orphans(watched, time.time()):
                self._alert(event)
            if standing.active or ledger.standing.undelivered:
                log.info(
                    "event=resumed active=%d undelivered=%d", len(standing.active), len(ledger.standing.undelivered)
                )
            self._active = {(event.stream, event.rule): event for event in standing.active.values()}
        for section in self._config.streams:
            self._add(section, standing)
        # A broker may still hold what an earlier run had raised.
        self._publish_active()

    def _add(self, section: StreamSection, standing: Standing) -> None:
        ingest = self._config.ingest
        id_ = StreamId(section.id)
        url = section.url.get_secret_value()
        file = is_file(url)

        def connect() -> PyAvSource:
            return PyAvSource(
                url,
                stream=id_,
                live=not file,
                open_timeout_s=ingest.open_timeout,
                read_timeout_s=ingest.read_timeout,
                options=section.source_options(),
                video=VideoChoice(section.program, section.video_pid, section.video_index),
                paced=file,
                loop=section.loop,
                audio=ingest.audio if section.audio is None else section.audio,
            )

        settings = StreamSettings(
            id_,
            live=not file,
            limits=Limits(no_bytes_s=ingest.no_bytes, stall_s=ingest.stall, still_s=ingest.still),
            # Whoever plays a file over and over knows that it comes round.
            longest_loop_s=0.0 if section.loop else ingest.longest_loop,
            hang_s=2 * (ingest.open_timeout + ingest.read_timeout),
            mailbox=ingest.mailbox,
            max_staleness_s=ingest.max_staleness,
            max_backoff_s=ingest.max_backoff,
            deinterlace=Deinterlace(section.deinterlace or self._config.sampling.deinterlace),
        )
        alerting = self._rules[id_]
        book = AlertBook(
            id_,
            alerting.rules,
            _new_alert_id,
            next_seq=standing.next_seq.get(id_, 1),
            active=standing.active_on(id_),
            now_s=time.monotonic(),
            utc_s=time.time(),
            maintenance=alerting.maintenance,
        )
        self.streams[id_] = StreamTask(
            settings,
            connect,
            self._scoring,
            self._batcher,
            book,
            on_info=self._publish_info,
            expected=alerting.expected,
        )

    def _dashboard(self) -> DashboardServer:
        http = self._config.http
        return DashboardServer(
            http.host,
            http.port,
            node=self._config.node,
            # Port 0 is chosen at the start; another broker than ours is taken to offer WebSocket where ours would.
            websocket=lambda: self.ws_port or self._config.broker.ws_port or None,
            readyz=self._problems,
            metrics=MetricsPage(self._reading),
            schema=schema_text,
            history=None if self._history is None else self._history.read,
        )

    def _problems(self) -> list[Problem]:
        """Why the monitor does not do its work; streams that are down are not among it, to say so is its work."""
        problems = []
        publisher, running_s = self._publisher, self._inference.running_s
        if publisher is not None and not publisher.counts.connected:
            code = str(publisher.trouble_code or "connecting")
            problems.append(Problem("broker", code, publisher.trouble or "not connected yet"))
        if self._engine_error is not None:
            problems.append(Problem("engine", "failed", redact(str(self._engine_error))))
        elif running_s > _ENGINE_HANGS_S:
            problems.append(Problem("engine", "hangs", f"it has been at one batch for {running_s:.0f} s"))
        return problems

    def _reading(self) -> Reading:
        """What the metrics page shows now."""
        return Reading(
            version=self._version,
            model=self._scoring.bundle.model_id,
            node=self._config.node,
            streams=[read_stream(task, self.states.get(id_)) for id_, task in self.streams.items()],
            engine=read_engine(self._inference, self._batcher),
            broker=read_broker(self._publisher),
            loop_lag_s=self._lag.percentile_ms(0.99) / 1000,
            abandoned_threads=SourceThread.abandoned_count(),
            shed=_SHED,
            ledger=None if self._alert_log is None else self._alert_log.trouble is None,
            history=None if self._history is None else self._history.trouble is None,
        )

    async def _until_over(
        self, tasks: list[asyncio.Task[None]], parts: list[asyncio.Task[None]], duration_s: float | None
    ) -> None:
        """Waits for stop, time, the end of all files, or a part that died (whose error is raised)."""
        stopping = asyncio.create_task(self.stopping.wait(), name="vqwatch.stop")
        try:
            waiting: set[asyncio.Task[Any]] = {stopping, *parts, *tasks}
            async with asyncio.timeout(duration_s):
                while True:
                    done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    for task in done:
                        task.result()
                    if stopping in done or all(task.done() for task in tasks):
                        return
        except TimeoutError:
            return
        finally:
            stopping.cancel()

    async def _shut_down(self, tasks: list[asyncio.Task[None]], batching: asyncio.Task[None]) -> None:
        for stream in self.streams.values():
            stream.stop()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._batcher.close()
        if not batching.done():
            await batching
        self._publish_second()
        if self._alert_log is not None:
            await self._alert_log.flush(SHUTDOWN_S / 5)
        # Side by side: a webhook that is slow to the end takes no time of the publisher's.
        closing = self.webhooks.close(SHUTDOWN_S / 2)
        if self._publisher is None:
            await closing
        else:
            await asyncio.gather(closing, self._publisher.close(SHUTDOWN_S / 2))

    # --- once a second ---

    async def _seconds(self) -> None:
        due = time.monotonic()
        count = 0
        pictures, at_s, busy_s = 0, time.monotonic(), 0.0
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - due > 5.0:
                due = time.monotonic()  # the machine slept; do not make up for it
            self._publish_second()
            count += 1
            if count % _HEALTH_S == 1:
                now = time.monotonic()
                rate = (self._inference.pictures - pictures) / max(1e-3, now - at_s)
                busy = (self._inference.busy_s - busy_s) / max(1e-3, now - at_s)
                pictures, at_s, busy_s = self._inference.pictures, now, self._inference.busy_s
                self._publish_health(rate, busy)

    def _publish_second(self) -> None:
        publisher = self._publisher
        assert publisher is not None
        self._watch_engine()
        now_utc = time.time()
        for id_, stream in self.streams.items():
            second = stream.second(now_utc)
            self.states[id_] = second.state
            publisher.offer(wire.state_message(publisher.topics, id_, second.state))
            if self._history is not None:
                self._history.append(id_, record_of(second.state, second.metrics))
            for event in second.events:
                self._alert(event)
            if self._on_state is not None:
                self._on_state(id_, second.state)
            lost = stream.scored.unaccounted()
            if not 0 <= lost <= 1:
                suppressed = self._repeats.tell(("ticks", id_), time.monotonic())
                if suppressed is not None:
                    log.error(
                        "stream=%s event=bug suppressed=%d %d ticks are neither scored, dropped nor in flight",
                        id_, suppressed, lost,
                    )  # fmt: skip

    def _alert(self, event: AlertEvent) -> None:
        log.log(
            logging.WARNING if event.status == "raised" else logging.INFO,
            "stream=%s event=alert_%s rule=%s severity=%s value=%s cause=%s",
            event.stream, event.status, event.rule, event.severity,
            "-" if event.value is None else f"{event.value:.1f}", event.cause or "-",
        )  # fmt: skip
        webhooks = self.webhooks.addressed(event)
        if self._alert_log is None:
            self._send_alert(event)
            for webhook in webhooks:
                self.webhooks.offer(webhook, event)
        else:
            self._alert_log.append(event, webhooks)
        if self._on_alert is not None:
            self._on_alert(event)

    def _send_alert(self, event: AlertEvent) -> bool:
        """Hands an event to the publisher; False where that cannot take more now."""
        publisher = self._publisher
        if publisher is None:
            return False
        message = wire.alert_message(publisher.topics, event)
        if not publisher.offer(message):
            return False
        if self._alert_log is not None:
            self._owed[message] = event
        key = (event.stream, event.rule)
        if event.status == "raised":
            self._active[key] = event
        elif key in self._active and self._active[key].id == event.id:
            del self._active[key]
        if not self._active_changed:
            # Once for all that change in one go.
            self._active_changed = True
            asyncio.get_running_loop().call_soon(self._publish_active)
        return True

    def _alert_delivered(self, message: Message) -> None:
        event = self._owed.pop(message, None)
        if event is not None and self._alert_log is not None:
            self._alert_log.delivered(event)

    def _webhook_settled(self, event: AlertEvent, destination: str) -> None:
        if self._alert_log is not None:
            self._alert_log.delivered(event, destination)

    def _publish_active(self) -> None:
        self._active_changed = False
        publisher = self._publisher
        assert publisher is not None
        publisher.offer(wire.alerts_message(publisher.topics, int(time.time() * 1000), self._active.values()))

    def _publish_info(self, id_: StreamId, info: StreamInfo) -> None:
        publisher = self._publisher
        assert publisher is not None
        engine = self._engine.info
        payload = wire.info_payload(
            info,
            model=self._scoring.bundle.model_id,
            engine=engine.name,
            precision=str(engine.precision),
            sample_fps=float(self._scoring.scoring.fps),
            input_mode=str(self._scoring.input.mode),
        )
        publisher.offer(wire.info_message(publisher.topics, id_, payload))

    def _publish_health(self, samples_per_s: float, busy: float) -> None:
        publisher = self._publisher
        assert publisher is not None
        health = Health(
            ts=int(time.time() * 1000),
            uptime_s=time.monotonic() - self._started_s,
            streams=len(self.streams),
            streams_ok=sum(s.status is Status.OK for s in self.states.values()),
            samples_per_s=samples_per_s,
            engine=self._engine.info.name,
            engine_busy=min(1.0, busy),
            outbox=publisher.counts.pending,
            rss_mb=self._process.memory_info().rss / 1e6,
            loop_lag_ms=self._lag.percentile_ms(0.99),
            shed=_SHED,
            ledger=_keeping(self._alert_log),
            history=_keeping(self._history),
        )
        publisher.offer(wire.health_message(publisher.topics, health))

    def _engine_failed(self, error: EngineError) -> None:
        self._engine_error, self._engine_failed_s = error, time.monotonic()
        suppressed = self._engine_repeats.tell("failed", self._engine_failed_s)
        if suppressed is not None:
            log.error("event=engine_failed suppressed=%d %s", suppressed, error)

    def _watch_engine(self) -> None:
        """Notices that the engine works again: an engine that fails now and then has not recovered in between."""
        quiet_s = time.monotonic() - self._engine_failed_s
        if self._engine_error is not None and self._batcher.trouble is None and quiet_s >= _ENGINE_STEADY_S:
            self._engine_error = None
            log.warning("event=engine_recovered suppressed=%d", self._engine_repeats.settle())


def _keeping(store: AlertLog | History | None) -> str | None:
    return None if store is None else "ok" if store.trouble is None else "memory"


def _new_alert_id() -> str:
    return uuid7(time.time_ns() // 1_000_000, secrets.randbits(74))


def is_file(url: str) -> bool:
    """Whether a stream's URL is a file, replayed as if live."""
    return "://" not in url or url.startswith("file://")


def stream_ids(urls: Iterable[str], ids: list[str]) -> list[str]:
    """Ids for URLs given on the command line: those given, then ``feed1``, ``feed2``, ... by position.

    Raises:
        UsageError: More ids than URLs.
    """
    listed = list(urls)
    if len(ids) > len(listed):
        raise UsageError(f"{len(ids)} --id for {len(listed)} URLs")
    return [*ids, *(f"feed{i + 1}" for i in range(len(ids), len(listed)))]


def missing_files(config: Config) -> list[str]:
    """Files that streams name and that are not there, redacted."""
    return [
        redact(url)
        for section in config.streams
        if is_file(url := section.url.get_secret_value()) and not Path(url.removeprefix("file://")).exists()
    ]


async def _keep_up(broker: EmbeddedBroker) -> None:
    """Starts the embedded broker again whenever its process dies; the publisher reconnects by itself."""
    while True:
        log.error("event=broker_died %s; starting another", await broker.wait_died())
        await broker.start()


@contextlib.asynccontextmanager
async def _background(coroutine: object, name: str, *, cancel: bool = False) -> AsyncIterator[asyncio.Task[None]]:
    """A named task that is cancelled, or waited for a while and then cancelled, on the way out."""
    task: asyncio.Task[None] = asyncio.create_task(coroutine, name=name)  # type: ignore[arg-type]
    try:
        yield task
    finally:
        if not cancel and not task.done():
            await asyncio.wait([task], timeout=1.0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
