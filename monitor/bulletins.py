"""What is told of the streams once a second, and of the monitor every ten."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping

import psutil

from engines.base import FeatureEngine
from monitor.alert_delivery import AlertDelivery
from monitor.core.histogram import Histogram
from monitor.core.record import record_of
from monitor.core.repeats import RepeatLimit
from monitor.observe.loop_lag import LoopLag
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.fallback import FallbackEngine
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.load import LoadWatch
from monitor.pipeline.stream_task import StreamTask
from monitor.publish import wire
from monitor.publish.mqtt import MqttPublisher
from monitor.store.alert_log import AlertLog
from monitor.store.history import History
from monitor.turns import in_turns
from monitor.types import Health, Status, StreamId, StreamInfo, StreamState

log = logging.getLogger("vqwatch.app")

_HEALTH_S = 10
_LATENCIES_S = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)


class Bulletins:
    """Tells states, what streams are, and health, to all who are to know them. Event loop only.

    Args:
        publisher: The way to the broker.
        streams: Every stream by id; may change.
        scoring: The bundle.
        inference: The engine's thread.
        engine: What it computes with.
        load: Whose share of dropped samples is told.
        lag: Of the event loop.
        alerts: Takes the events of each second, and the evidence beside them.
        history: Where every second is kept; None where none is.
        on_state: Also told of each stream's state.
    """

    def __init__(
        self,
        publisher: MqttPublisher,
        streams: Mapping[StreamId, StreamTask],
        scoring: BundleScoring,
        inference: InferenceThread,
        engine: FeatureEngine,
        load: LoadWatch,
        lag: LoopLag,
        alerts: AlertDelivery,
        history: History | None = None,
        on_state: Callable[[StreamId, StreamState], None] | None = None,
    ) -> None:
        self._streams, self._scoring, self._inference, self._engine = streams, scoring, inference, engine
        self._publisher, self._load, self._lag, self._alerts = publisher, load, lag, alerts
        self._history, self._on_state = history, on_state
        #: Each stream's last whole second.
        self.states: dict[StreamId, StreamState] = {}
        #: From a picture's arrival to its score's publication.
        self.latency = Histogram(_LATENCIES_S)
        self._started_s = time.monotonic()
        self._process = psutil.Process(os.getpid())
        self._repeats = RepeatLimit()
        #: Samples a second and the engine's busy share, as they were last told.
        self._rates = (0.0, 0.0)
        self._counted = (0, time.monotonic(), 0.0)
        self._seconds = 0

    async def second(self) -> None:
        """Tells every stream's second, and health when it is due."""
        await in_turns(self._streams, self.tell_stream)
        self._seconds += 1
        if self._seconds % _HEALTH_S == 1:
            self._measure()
            self.tell_health()

    def tell_stream(self, id_: StreamId, stream: StreamTask) -> None:
        """Tells one stream's second."""
        publisher, evidence = self._publisher, self._alerts.evidence
        second = stream.second(time.time())
        self.states[id_] = second.state
        if second.state.lag_ms is not None and second.state.score is not None:
            self.latency.observe(second.state.lag_ms / 1000)
        publisher.offer(wire.state_message(publisher.topics, id_, second.state))
        if self._history is not None:
            self._history.append(id_, record_of(second.state, second.metrics))
        if evidence is not None:
            for found in second.evidence:
                evidence.keep(found, second.state, stream.info)
        for event in second.events:
            self._alerts.take(event)
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

    def tell_info(self, id_: StreamId, info: StreamInfo) -> None:
        """Tells what a stream is, at each of its connections."""
        if id_ not in self._streams:
            # Its last connection was made while it was removed.
            return
        publisher, engine = self._publisher, self._engine.info
        payload = wire.info_payload(
            info,
            model=self._scoring.bundle.model_id,
            engine=engine.name,
            precision=str(engine.precision),
            sample_fps=float(self._scoring.scoring.fps),
            input_mode=str(self._scoring.input.mode),
        )
        publisher.offer(wire.info_message(publisher.topics, id_, payload))

    def tell_health(self) -> None:
        """Tells the monitor's own state."""
        publisher = self._publisher
        samples_per_s, busy = self._rates
        readers_bytes = sum(task.reader_bytes for task in self._streams.values())
        health = Health(
            ts=int(time.time() * 1000),
            uptime_s=time.monotonic() - self._started_s,
            streams=len(self._streams),
            streams_ok=sum(s.status is Status.OK for s in self.states.values()),
            samples_per_s=samples_per_s,
            engine=self._engine.info.name,
            engine_busy=min(1.0, busy),
            outbox=publisher.counts.pending,
            rss_mb=(self._process.memory_info().rss + readers_bytes) / 1e6,
            loop_lag_ms=self._lag.percentile_ms(0.99),
            shed=self._load.shed,
            ledger=_keeping(self._alerts.ledger),
            history=_keeping(self._history),
            degraded=self._engine.degraded if isinstance(self._engine, FallbackEngine) else None,
        )
        publisher.offer(wire.health_message(publisher.topics, health))

    def tell_removed(self, id_: StreamId) -> None:
        """Takes back what the broker keeps of a stream that is not watched any more."""
        self.states.pop(id_, None)
        for message in wire.removal_messages(self._publisher.topics, id_):
            self._publisher.offer(message)

    def _measure(self) -> None:
        samples, at_s, busy_s = self._counted
        now = (self._inference.samples, time.monotonic(), self._inference.busy_s)
        passed_s = max(1e-3, now[1] - at_s)
        self._rates = (now[0] - samples) / passed_s, (now[2] - busy_s) / passed_s
        self._counted = now


def _keeping(store: AlertLog | History | None) -> str | None:
    return None if store is None else "ok" if store.trouble is None else "memory"
