"""The composition root: builds concrete parts from the configuration and owns their lives.

Order of an orderly end, each step with its reason: sources stop (nothing new comes in); the batcher drains (what came
in is scored); last states go out; the publisher says ``stopped`` and leaves; the broker and the engine close, which
nobody uses any more; history and ledger are the last, since the ledger notes what the broker acknowledged until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
import time
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

from engines.base import FeatureEngine
from monitor.alert_delivery import AlertDelivery
from monitor.bulletins import Bulletins
from monitor.config import Config, LoadedConfig
from monitor.config_changes import prepare
from monitor.config_checks import broker_tls, tls_mark
from monitor.config_reload import ConfigReload
from monitor.core.alert_book import AlertBook
from monitor.core.shedding import Shedding
from monitor.engine_watch import EngineWatch
from monitor.errors import MonitorError, UsageError
from monitor.evidence import EvidenceDesk
from monitor.home_assistant import HomeAssistant
from monitor.ingest.source_thread import SourceThread
from monitor.instruments import read_broker, read_engine, read_histogram, read_stream, read_webhooks
from monitor.observe.loop_lag import LoopLag
from monitor.observe.metrics import MetricsPage
from monitor.observe.readings import Reading
from monitor.observe.service_manager import ServiceManager
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.load import LOOK_S, LoadWatch
from monitor.pipeline.reader import ThreadReaders
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.pipeline.stream_task import StreamTask
from monitor.publish.embedded import EmbeddedBroker
from monitor.publish.mqtt import BrokerAddress, MqttPublisher
from monitor.publish.schemas import schema_text
from monitor.roster import Roster
from monitor.rules import StreamRules, rules_of
from monitor.store.alert_log import AlertLog
from monitor.store.evidence import EvidenceFolder
from monitor.store.history import History
from monitor.store.standing import Standing
from monitor.stream_plan import StreamPlan, plan_of
from monitor.turns import in_turns
from monitor.types import AlertEvent, Problem, StreamId, StreamState
from monitor.web.server import DashboardServer
from monitor.webhooks import Webhooks

log = logging.getLogger("vqwatch.app")

#: An orderly end takes at most this long; what is not done then is left to the operating system.
SHUTDOWN_S = 5.0
#: Up to this rate the pictures that others refer to are enough: encoders rarely put more than seven others in a row.
_DECODE_IN_PART_FPS = 5.0
#: Seconds of a changed stream that an operator accepts: as many as a quality alert takes to be raised.
_ACCEPTED_S = 10


@dataclass(frozen=True, slots=True)
class ConfigSource:
    """Where a configuration comes from.

    Attributes:
        load: Reads it again, with all checks of a start.
        files: Files whose change makes it worth reading again.
    """

    load: Callable[[], LoadedConfig]
    files: tuple[Path, ...]


class Monitor:
    """One monitor: its streams, one engine, one publisher.

    Args:
        config: What to watch and how; ``streams`` must not be empty.
        scoring: The bundle.
        engine: Opened for that bundle; closed by this object.
        on_state: Also told of each stream's state once a second (the terminal table, the demo's check).
        on_alert: Also told of each alert event.
        on_removed: Also told of each stream that is no longer watched.
        source: Where the configuration comes from; its changes are applied while the monitor runs.
    """

    def __init__(
        self,
        config: Config,
        scoring: BundleScoring,
        engine: FeatureEngine,
        *,
        on_state: Callable[[StreamId, StreamState], None] | None = None,
        on_alert: Callable[[AlertEvent], None] | None = None,
        on_removed: Callable[[StreamId], None] | None = None,
        source: ConfigSource | None = None,
    ) -> None:
        if not config.streams:
            raise UsageError("nothing to watch: give URLs, or streams in the configuration file")
        self._config = config
        self._scoring = scoring
        self._engine = engine
        self._on_state = on_state
        self._on_removed = on_removed
        self._source = source
        #: Set once an orderly end was asked for.
        self.stopping = asyncio.Event()
        # Heads of all rates are read before anything runs: a rate that is needed must not turn out to be broken.
        self._lower = scoring.lower(config.sampling.shed_to)
        if self._lower and float(self._lower[-1].scoring.fps) <= _DECODE_IN_PART_FPS:
            # The last rung: the same rate, of which readers decode only what other pictures refer to.
            self._lower.append(self._lower[-1])
        self._inference = InferenceThread(
            engine, scoring.head, scoring.domain, lower=[rung.head for rung in self._lower]
        )
        self._batcher = Batcher(self._inference, max_batch=config.engine.max_batch, max_wait_s=config.engine.max_wait)
        self._engine_watch = EngineWatch(self._inference, self._batcher)
        self._reader_server = ReaderServer() if config.ingest.readers == "processes" else None
        self._version = version("vqwatch")
        self._lag = LoopLag()
        self._service_manager = ServiceManager()
        self._tls, self._tls_mark = broker_tls(config.broker), tls_mark(config.broker)
        self._reload: ConfigReload | None = None
        durable = config.data_dir is not None
        self._alerts = AlertDelivery(
            lambda settled: Webhooks(config.webhooks, config.node, durable=durable, on_settled=settled), on_alert
        )
        self.webhooks = self._alerts.webhooks
        self._roster = Roster(
            {StreamId(section.id): plan_of(config, section) for section in config.streams},
            {StreamId(section.id): rules_of(config, section) for section in config.streams},
            self._task_of,
            self._batcher,
            self._alerts,
            self._removed,
        )
        self.streams = self._roster.streams
        self._load = LoadWatch(
            Shedding(
                [float(rung.scoring.fps) for rung in (scoring, *self._lower)],
                {section.id: section.priority for section in config.streams},
            ),
            self.streams,
            self._inference,
            enabled=config.sampling.shed,
        )
        self._history: History | None = None
        self._publisher: MqttPublisher | None = None
        self._bulletins: Bulletins | None = None
        self._home_assistant: HomeAssistant | None = None
        self.mqtt_port: int | None = None
        self.ws_port: int | None = None
        self.http_port: int | None = None
        #: Set once everything listens and all streams are being connected to.
        self.ready = asyncio.Event()

    def stop(self) -> None:
        """Asks for an orderly end; safe from signal handlers of the loop."""
        self.stopping.set()

    @property
    def reloads(self) -> bool:
        """Whether there is a configuration file to be read again."""
        return self._source is not None

    def reload(self) -> None:
        """Asks for the configuration file to be read again; safe from signal handlers of the loop."""
        if self._reload is not None:
            self._reload.ask()

    async def run(self, duration_s: float | None = None) -> None:
        """Monitors until ``stop``, the end of ``duration_s``, or the end of every file.

        Raises:
            MonitorError: A port is taken, the broker's address is wrong, or another monitor uses the data directory.
        """
        try:
            async with contextlib.AsyncExitStack() as stack:
                if self._reader_server is not None:
                    await asyncio.to_thread(self._reader_server.start)
                    stack.push_async_callback(asyncio.to_thread, self._reader_server.close)
                if self._config.data_dir is not None:
                    await self._open_evidence(self._config.data_dir, stack)
                    self._alerts.ledger = await stack.enter_async_context(
                        AlertLog(self._config.data_dir, self._alerts.send, send_to=self._alerts.send_to_webhook)
                    )
                    await self._open_history(self._config.data_dir, stack)
                address = await self._broker(stack)
                broker = self._config.broker
                self._publisher = self._alerts.publisher = publisher = MqttPublisher(
                    address,
                    self._config.node,
                    tls=self._tls,
                    # Ours speaks no other, and need not be asked.
                    protocol="3.1.1" if broker.embedded else broker.protocol,
                    on_delivered=self._alerts.delivered,
                )
                self._bulletins = bulletins = Bulletins(
                    publisher,
                    self.streams,
                    self._scoring,
                    self._inference,
                    self._engine,
                    self._load,
                    self._lag,
                    self._alerts,
                    self._history,
                    self._on_state,
                )
                self._add_streams()
                self._home_assistant = HomeAssistant(publisher, self._version)
                self._home_assistant.update(self._config.home_assistant, self.streams)
                if self._config.http.enabled:
                    server = await stack.enter_async_context(self._dashboard())
                    self.http_port = server.port
                await stack.enter_async_context(_background(publisher.run(), "vqwatch.mqtt"))
                await stack.enter_async_context(self.webhooks.running())
                await stack.enter_async_context(_background(self._lag.run(), "vqwatch.loop_lag", cancel=True))
                batching = await stack.enter_async_context(_background(self._batcher.run(), "vqwatch.batcher"))
                seconds = await stack.enter_async_context(
                    _background(self._seconds(bulletins), "vqwatch.seconds", cancel=True)
                )
                await stack.enter_async_context(_background(self._watch_load(bulletins), "vqwatch.load", cancel=True))
                self._roster.start_all()
                if self._source is not None:
                    self._reload = ConfigReload(self._source.load, self._source.files, self._take)
                    await stack.enter_async_context(
                        _background(self._reload.run(), "vqwatch.config_reload", cancel=True)
                    )
                self.ready.set()
                self._service_manager.ready()
                await stack.enter_async_context(
                    _background(self._service_manager.run(), "vqwatch.service_manager", cancel=True)
                )
                log.info(
                    "event=started node=%s streams=%d model=%s engine=%s precision=%s mqtt=%s",
                    self._config.node, len(self.streams), self._scoring.bundle.model_id,
                    self._engine.info.name, self._engine.info.precision, address,
                )  # fmt: skip
                try:
                    await self._until_over([batching, seconds], duration_s)
                finally:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(SHUTDOWN_S):
                            await self._shut_down(batching, publisher, bulletins)
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

    async def _open_evidence(self, folder: Path, stack: contextlib.AsyncExitStack) -> None:
        wanted = self._config.evidence
        if wanted.enabled:
            kept = await stack.enter_async_context(
                EvidenceFolder(folder, keep_s=wanted.keep, max_bytes=wanted.max_size)
            )
            self._alerts.evidence = EvidenceDesk(kept, self._config.http.public_url or "")

    async def _broker(self, stack: contextlib.AsyncExitStack) -> BrokerAddress:
        broker = self._config.broker
        if not broker.embedded:
            return broker.address
        embedded = EmbeddedBroker(broker.host, broker.mqtt_port, broker.ws_port)
        await stack.enter_async_context(embedded)
        self.mqtt_port, self.ws_port = embedded.mqtt_port, embedded.ws_port
        await stack.enter_async_context(_background(_keep_up(embedded), "vqwatch.broker", cancel=True))
        return embedded.address

    def _add_streams(self) -> None:
        """Adds the configured streams, each with the alerts that an earlier run left raised."""
        ledger = self._alerts.ledger
        standing = Standing()
        if ledger is not None:
            standing = ledger.standing.copy()
            ledger.send_undelivered()
            owed = {destination: events.values() for destination, events in standing.owed.items()}
            for destination, event in self.webhooks.gone(owed):
                ledger.delivered(event, destination)
            self.webhooks.resume(standing.active.values(), owed)
            self._alerts.withdraw(standing.close_orphans(self._roster.watched, time.time()))
            if standing.active or ledger.standing.undelivered:
                log.info(
                    "event=resumed active=%d undelivered=%d", len(standing.active), len(ledger.standing.undelivered)
                )
            self._alerts.resume(standing.active.values())
        self._roster.add_all(standing)
        # A broker may still hold what an earlier run had raised.
        self._alerts.publish_active()

    def _task_of(self, plan: StreamPlan, alerting: StreamRules, book: AlertBook) -> StreamTask:
        server, bulletins = self._reader_server, self._bulletins
        assert bulletins is not None
        return StreamTask(
            plan.settings,
            plan.feed.connect,
            self._scoring,
            self._batcher,
            book,
            on_info=bulletins.tell_info,
            expected=alerting.expected,
            lower=self._lower,
            readers=ThreadReaders if server is None else partial(ProcessReaders, server),
        )

    def _removed(self, id_: StreamId) -> None:
        assert self._bulletins is not None
        self._bulletins.tell_removed(id_)
        log.info("stream=%s event=removed", id_)
        if self._on_removed is not None:
            self._on_removed(id_)

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
            evidence=self._alerts.evidence,
            accept=self._accept_level if http.accepts else None,
        )

    def _accept_level(self, stream: str) -> float:
        """Takes the last ten healthy seconds of a stream for what it usually is.

        Raises:
            KeyError: No such stream is watched.
            MonitorError: It was not healthy for long enough.
        """
        level = self.streams[StreamId(stream)].accept_level(_ACCEPTED_S)
        if level is None:
            raise MonitorError("it has no healthy seconds to go by yet")
        return level

    def _problems(self) -> list[Problem]:
        """Why the monitor does not do its work; streams that are down are not among it, to say so is its work."""
        problems = []
        publisher = self._publisher
        if publisher is not None and not publisher.counts.connected:
            code = str(publisher.trouble_code or "connecting")
            problems.append(Problem("broker", code, publisher.trouble or "not connected yet"))
        engine = self._engine_watch.problem()
        return problems if engine is None else [*problems, engine]

    def _reading(self) -> Reading:
        """What the metrics page shows now."""
        assert self._bulletins is not None
        states = self._bulletins.states
        return Reading(
            version=self._version,
            model=self._scoring.bundle.model_id,
            node=self._config.node,
            streams=[read_stream(task, states.get(id_)) for id_, task in self.streams.items()],
            engine=read_engine(self._inference, self._batcher),
            broker=read_broker(self._publisher),
            loop_lag_s=self._lag.percentile_ms(0.99) / 1000,
            abandoned_threads=SourceThread.abandoned_count(),
            shed=self._load.shed,
            latency_s=read_histogram(self._bulletins.latency),
            ledger=None if self._alerts.ledger is None else self._alerts.ledger.trouble is None,
            history=None if self._history is None else self._history.trouble is None,
            evidence=None if self._alerts.evidence is None else self._alerts.evidence.folder.trouble is None,
            evidence_bytes=None if self._alerts.evidence is None else self._alerts.evidence.folder.size_bytes,
            webhooks=read_webhooks(self.webhooks),
            config=None if self._reload is None else self._reload.reading,
        )

    async def _until_over(self, parts: list[asyncio.Task[None]], duration_s: float | None) -> None:
        """Waits for stop, time, the end of all files, or a part that died (whose error is raised)."""
        stopping = asyncio.create_task(self.stopping.wait(), name="vqwatch.stop")
        over = asyncio.create_task(self._roster.over(), name="vqwatch.over")
        try:
            async with asyncio.timeout(duration_s):
                done, _ = await asyncio.wait({stopping, over, *parts}, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        except TimeoutError:
            return
        finally:
            stopping.cancel()
            over.cancel()

    async def _shut_down(self, batching: asyncio.Task[None], publisher: MqttPublisher, bulletins: Bulletins) -> None:
        self._service_manager.stopping()
        await self._roster.stop()
        self._batcher.close()
        if not batching.done():
            await batching
        self._engine_watch.look()
        await in_turns(self.streams, bulletins.tell_stream)
        if self._alerts.ledger is not None:
            await self._alerts.ledger.flush(SHUTDOWN_S / 5)
        # Side by side: a webhook that is slow to the end takes no time of the publisher's.
        await asyncio.gather(self.webhooks.close(SHUTDOWN_S / 2), publisher.close(SHUTDOWN_S / 2))

    async def _seconds(self, bulletins: Bulletins) -> None:
        due = time.monotonic()
        while True:
            due += 1.0
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            if time.monotonic() - due > 5.0:
                due = time.monotonic()  # the machine slept; do not make up for it
            self._engine_watch.look()
            await bulletins.second()

    async def _watch_load(self, bulletins: Bulletins) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if self._load.look():
                # Told at once; the streams' states follow within their second.
                bulletins.tell_health()

    async def _take(self, wanted: Config) -> str:
        """Applies another configuration, touching only what differs; says what that was.

        Raises:
            UsageError: It cannot be applied; then nothing has changed.
        """
        if not wanted.streams:
            raise UsageError("streams: nothing to watch; a configuration without streams is not applied")
        prepared = await asyncio.to_thread(prepare, self._config, wanted)
        if self.stopping.is_set():
            return "nothing, since the monitor ends"
        before, self._config = self._config, prepared.config
        change = self._roster.change(prepared.plans, prepared.rules)
        self._load.prioritise({section.id: section.priority for section in prepared.config.streams})
        outputs = self.webhooks.change(prepared.config.webhooks)
        if self._home_assistant is not None:
            self._home_assistant.update(self._config.home_assistant, self.streams)
        if self._config.home_assistant != before.home_assistant:
            outputs.insert(0, "home_assistant")
        if prepared.config.broker != before.broker or prepared.tls_mark != self._tls_mark:
            outputs.insert(0, "broker")
            self._redirect(prepared.tls, prepared.tls_mark)
        if prepared.needs_restart:
            keys = ",".join(prepared.needs_restart)
            log.warning("event=config_needs_restart keys=%s these keep their values until a restart", keys)
        return (
            f"added={change.added} removed={change.removed} reconnected={change.reconnected} rules={change.rules} "
            f"outputs={','.join(outputs) or '-'}"
        )

    def _redirect(self, tls: ssl.SSLContext | None, mark: bytes) -> None:
        self._tls, self._tls_mark = tls, mark
        broker = self._config.broker
        if self._publisher is not None:
            self._publisher.redirect(broker.address, tls, broker.protocol)


def stream_ids(urls: Iterable[str], ids: list[str]) -> list[str]:
    """Ids for URLs given on the command line: those given, then ``feed1``, ``feed2``, ... by position.

    Raises:
        UsageError: More ids than URLs.
    """
    listed = list(urls)
    if len(ids) > len(listed):
        raise UsageError(f"{len(ids)} --id for {len(listed)} URLs")
    return [*ids, *(f"feed{i + 1}" for i in range(len(ids), len(listed)))]


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
