"""Reads the concrete parts for the metrics page; the counters stay theirs."""

from __future__ import annotations

from monitor.core.histogram import Histogram
from monitor.observe.readings import (
    BrokerReading,
    EngineReading,
    HistogramReading,
    RuleReading,
    StreamReading,
    WebhookReading,
)
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.reader import Readings
from monitor.pipeline.stream_task import StreamTask
from monitor.publish.mqtt import MqttPublisher
from monitor.types import StreamState
from monitor.webhooks import Webhooks


def read_stream(task: StreamTask, state: StreamState | None) -> StreamReading:
    """One stream now; ``state`` is that of its last whole second."""
    balance, counts, book = task.scored.ledger.balance(), task.counts, task.book
    reader = task.readings if task.live else Readings()
    return StreamReading(
        stream=task.id,
        state=state,
        age_s=task.age_s(),
        due=balance.due,
        scored=balance.scored,
        in_flight=balance.in_flight,
        dropped=balance.dropped,
        waiting=task.scored.mailbox.depth,
        frames=counts.frames,
        corrupt=counts.corrupt,
        packets_lost=counts.packets_lost,
        repeated=counts.repeated,
        gaps=counts.gaps,
        epochs=counts.epochs,
        # A text made of it is made later, in another thread.
        reconnects=dict(task.reconnects),
        silent=task.silent,
        bitrate_bps=task.bitrate_bps(),
        last_frame_at=task.last_frame_at,
        behind_s=reader.behind_s,
        spare=reader.spare if task.live else None,
        reader_deaths=task.reader_deaths,
        rules=[
            RuleReading(rule, book.severity(rule), book.is_raised(rule), raised) for rule, raised in book.raises.items()
        ],
    )


def read_engine(inference: InferenceThread, batcher: Batcher) -> EngineReading:
    """The engine now."""
    info, counts = inference.engine.info, batcher.counts
    return EngineReading(
        name=info.name,
        device=info.device,
        precision=str(info.precision),
        busy_s=inference.busy_s,
        samples=inference.samples,
        reused=inference.memory.reused,
        batches=counts.batches,
        failures=counts.failures,
        running_s=inference.running_s,
        durations_s=read_histogram(inference.durations),
        sizes=read_histogram(inference.sizes),
    )


def read_histogram(histogram: Histogram) -> HistogramReading:
    """Its counts now."""
    return HistogramReading(histogram.bounds, histogram.counts, histogram.total)


def read_broker(publisher: MqttPublisher | None) -> BrokerReading | None:
    """The link now."""
    if publisher is None:
        return None
    counts = publisher.counts
    return BrokerReading(
        connected=counts.connected,
        reconnects=counts.reconnects,
        pending=counts.pending,
        sent=counts.sent,
        superseded=counts.superseded,
        refused=counts.refused,
        denied=counts.denied,
    )


def read_webhooks(webhooks: Webhooks) -> list[WebhookReading]:
    """The webhooks now."""
    return [
        WebhookReading(name, counts.sent, counts.failed, counts.refused, counts.lost, counts.pending)
        for name, counts in webhooks.counts.items()
    ]
