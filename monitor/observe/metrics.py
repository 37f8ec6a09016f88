"""Metrics for Prometheus: families made of a reading at each scrape, so that nothing is counted twice.

Names keep Prometheus' rules: base units, ``_total`` counters, labels from bounded sets, never an address. What is
unknown has no sample: absent, not NaN and not 0.
"""

from __future__ import annotations

import asyncio
import gzip
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from monitor.observe.readings import HistogramReading, Reading, StreamReading, WebhookReading
from monitor.types import Condition, Severity, Status, StreamState

_Value = float | int | bool | None

#: Half-width of the central 90 % of a normal distribution, in standard deviations.
_SIGMAS_OF_90 = 1.645


def _up(state: StreamState) -> bool:
    return state.status is not Status.UNKNOWN


def _seconds(state: StreamState) -> float | None:
    # Of a blind stream it would be the last score's, for as long as the stream is blind.
    return None if state.lag_ms is None or not _up(state) else state.lag_ms / 1000


def _stddev(state: StreamState) -> float | None:
    return None if state.uncertainty is None else state.uncertainty / _SIGMAS_OF_90


#: Of the last second's state: name, help, value. Unknown while the stream's status is.
_STATE_GAUGES: tuple[tuple[str, str, Callable[[StreamState], _Value]], ...] = (
    ("score", "Score of the last second, 0 to 100.", lambda s: s.score),
    ("score_10s", "Score of the last 10 seconds, 0 to 100.", lambda s: s.score_10s),
    ("score_60s", "Score of the last 60 seconds, 0 to 100.", lambda s: s.score_60s),
    ("score_min_60s", "Lowest one-second score of the last 60 seconds, 0 to 100.", lambda s: s.score_min_60s),
    ("score_baseline", "Median score of the stream itself while healthy, 0 to 100.", lambda s: s.baseline),
    ("score_drop", "Points by which the score is below the stream's own baseline.", lambda s: s.drop),
    ("score_uncertainty", "Half-width of the score's 90 % interval, points.", lambda s: s.uncertainty),
    ("score_stddev", "Standard deviation of a normal error with that interval, points.", _stddev),
    ("score_lag_seconds", "From a sample's arrival to its score's publication.", _seconds),
    ("coverage_ratio", "Share of the last second's samples that are in the score.", lambda s: s.coverage),
    ("fps_in", "Pictures a second that arrive, by their time stamps.", lambda s: s.fps_in),
    ("sample_fps", "Samples a second that are analysed.", lambda s: s.sample_fps),
    (
        "up",
        "1 while the stream has a score that can be trusted or is degraded, 0 while it is unknown.",
        _up,
    ),
)

#: Of the stream's own readings: name, help, value.
_READING_GAUGES: tuple[tuple[str, str, Callable[[StreamReading], _Value]], ...] = (
    ("score_age_seconds", "Age of the newest sample in the score.", lambda r: r.age_s),
    ("silent", "1 while its sound is silent; absent where none is decoded.", lambda r: r.silent),
    ("bitrate_bps", "Bits a second that arrived, last ten seconds.", lambda r: r.bitrate_bps),
    ("last_frame_timestamp_seconds", "Unix time at which the newest picture arrived.", lambda r: r.last_frame_at),
    (
        "reader_behind_seconds",
        "How far the feed's reader has fallen behind, where it decodes more slowly than pictures come.",
        lambda r: r.behind_s,
    ),
    ("reader_spare_ratio", "Share of its time that the reader waits for the feed, 0-1.", lambda r: r.spare),
    ("samples_in_flight", "Samples due whose fate is open.", lambda r: r.in_flight),
    ("mailbox_samples", "Samples that wait for the engine.", lambda r: r.waiting),
)

#: Of the stream's own counters: name, help, value.
_COUNTERS: tuple[tuple[str, str, Callable[[StreamReading], int]], ...] = (
    ("samples_due", "Samples that fell due: scored, dropped or in flight.", lambda r: r.due),
    ("samples_scored", "Samples that were scored.", lambda r: r.scored),
    ("frames_decoded", "Pictures decoded.", lambda r: r.frames),
    (
        "decode_errors",
        "Pictures that lost something on their way or that the decoder found broken, shown or not.",
        lambda r: r.corrupt,
    ),
    (
        "packets_lost",
        "Transport packets that never came, by their continuity counters (MPEG-TS over UDP and TCP).",
        lambda r: r.packets_lost,
    ),
    (
        "samples_repeated",
        "Samples at which the source showed its last picture again, or nothing new.",
        lambda r: r.repeated,
    ),
    ("source_gaps", "Gaps between the source's pictures of more than 1.5 usual frame durations.", lambda r: r.gaps),
    ("epochs", "Unbroken runs of media time begun: one a connection, and one a jump of its clock.", lambda r: r.epochs),
    ("reader_deaths", "Times that its decoder took its process along.", lambda r: r.reader_deaths),
)


def families(reading: Reading) -> Iterator[Metric]:
    """Every family of the monitor; those of streams first."""
    yield from _stream_families(reading.streams)
    yield from _process_families(reading)


class MetricsPage:
    """The text of ``/metrics``.

    The reading is taken on the event loop and takes milliseconds; the text, which takes much longer with many
    streams, is made in a thread, one at a time.

    Args:
        read: Takes a reading. Event loop only.
    """

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read = read
        self._process = ProcessCollector(registry=None)
        self._turn = asyncio.Lock()

    async def __call__(self, accept: str, packed: bool) -> tuple[bytes, str]:
        """Body and content type.

        Args:
            accept: The Accept header: OpenMetrics where it is asked for, else Prometheus' text format.
            packed: Compress the body with gzip.
        """
        async with self._turn:
            scrape = _Scrape(self._read(), self._process)
            return await asyncio.to_thread(_text, scrape, accept, packed)


class _Scrape(Collector):
    def __init__(self, reading: Reading, process: Collector) -> None:
        self._reading = reading
        self._process = process

    def collect(self) -> Iterable[Metric]:
        yield from families(self._reading)
        yield from self._process.collect()


def _text(scrape: _Scrape, accept: str, packed: bool) -> tuple[bytes, str]:
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):
        # A version that is no version: the library compares what it cut it into.
        encode, content_type = choose_encoder("")
    body = encode(scrape)
    # Level 1: the text shrinks to a twentieth, and a higher level costs more than it saves on a local network.
    return (gzip.compress(body, 1) if packed else body), content_type


def _stream_families(streams: Sequence[StreamReading]) -> Iterator[Metric]:
    known = [(r.stream, r.state) for r in streams if r.state is not None]
    for name, text, of_state in _STATE_GAUGES:
        yield _gauge(f"stream_{name}", text, ((stream, of_state(state)) for stream, state in known))
    for name, text, of_stream in _READING_GAUGES:
        yield _gauge(f"stream_{name}", text, ((r.stream, of_stream(r)) for r in streams))
    statuses = [(stream, state.status) for stream, state in known]
    conditions = [(stream, state.condition) for stream, state in known]
    yield _states("stream_status", "1 for the stream's status, 0 for the others.", "status", Status, statuses)
    yield _states("stream_state", "1 for what is seen of the stream, 0 for the others.", "state", Condition, conditions)
    for condition in (Condition.BLACK, Condition.FROZEN):
        seen = ((stream, now is condition) for stream, now in conditions)
        yield _gauge(f"stream_{condition}", f"1 while the stream's pictures are {condition}.", seen)
    for name, text, of_reading in _COUNTERS:
        counter = CounterMetricFamily(f"vqwatch_stream_{name}", text, labels=["stream"])
        for r in streams:
            counter.add_metric([r.stream], of_reading(r))
        yield counter
    dropped = CounterMetricFamily(
        "vqwatch_stream_frames_dropped", "Samples due that got no score, by cause.", labels=["stream", "reason"]
    )
    reconnects = CounterMetricFamily(
        "vqwatch_stream_reconnects",
        "Connections that ended and were tried again, by why they ended.",
        labels=["stream", "reason"],
    )
    labels = ["stream", "rule", "severity"]
    by_severity = dict.fromkeys(Severity, 0)
    active = GaugeMetricFamily("vqwatch_alert_active", "1 while the alert is up, else 0.", labels=labels)
    raised = CounterMetricFamily("vqwatch_alerts_raised", "Raises of the alert.", labels=labels)
    for r in streams:
        for cause, count in r.dropped.items():
            dropped.add_metric([r.stream, cause], count)
        for reason, count in r.reconnects.items():
            reconnects.add_metric([r.stream, reason], count)
        for rule in r.rules:
            active.add_metric([r.stream, rule.rule, rule.severity], float(rule.active))
            by_severity[Severity(rule.severity)] += rule.active
            raised.add_metric([r.stream, rule.rule, rule.severity], rule.raised)
    up = GaugeMetricFamily("vqwatch_alerts_active", "Alerts that are up.", labels=["severity"])
    for severity, count in by_severity.items():
        up.add_metric([severity], count)
    yield from (dropped, reconnects, active, raised, up)


def _process_families(reading: Reading) -> Iterator[Metric]:
    build = GaugeMetricFamily(
        "vqwatch_build_info", "1; what runs here is in the labels.", labels=["version", "model", "node"]
    )
    build.add_metric([reading.version, reading.model, reading.node], 1)
    engine = reading.engine
    backend = GaugeMetricFamily(
        "vqwatch_backend_info", "1; the engine is in the labels.", labels=["engine", "device", "precision"]
    )
    backend.add_metric([engine.name, engine.device, engine.precision], 1)
    yield from (build, backend)
    yield _count(
        "engine_busy_seconds", "Time spent in the engine; its rate is the share of time it is busy.", engine.busy_s
    )
    yield _count("engine_samples", "Samples that went through the engine.", engine.samples)
    yield _count("engine_samples_reused", "Samples among them whose picture was the one before.", engine.reused)
    yield _count("engine_batches", "Batches that went through the engine, failed ones included.", engine.batches)
    yield _count("engine_failures", "Batches on which the engine failed.", engine.failures)
    yield _histogram("batch_size", "Samples in each batch.", engine.sizes)
    yield _histogram("inference_duration_seconds", "Time that each batch took in the engine.", engine.durations_s)
    yield _histogram(
        "end_to_end_latency_seconds",
        "From a sample's arrival to its score's publication, once a second of each stream with a score.",
        reading.latency_s,
    )
    yield _one(
        "engine_running_seconds", "How long the batch in the engine has been there, 0 without one.", engine.running_s
    )
    yield _one("event_loop_lag_seconds", "99th percentile of the event loop's lag, last minutes.", reading.loop_lag_s)
    yield _one("source_threads_abandoned", "Source threads that hang and were given up.", reading.abandoned_threads)
    yield _one("shed_ratio", "Share of the samples due that are left out for want of computing power.", reading.shed)
    yield _one("streams", "Streams that are watched.", len(reading.streams))
    yield _count(
        "shard_restarts",
        "Readers' processes that died and were started again, of all streams.",
        sum(r.reader_deaths for r in reading.streams),
    )
    broker = reading.broker
    yield _one("mqtt_connected", "1 while a link to the broker stands.", None if broker is None else broker.connected)
    yield _one("mqtt_outbox_messages", "Messages that wait for the broker.", None if broker is None else broker.pending)
    yield _count(
        "mqtt_reconnects", "Links to the broker made after the first.", None if broker is None else broker.reconnects
    )
    yield _count("mqtt_sent", "Messages delivered, repeats included.", None if broker is None else broker.sent)
    dropped = CounterMetricFamily(
        "vqwatch_mqtt_dropped",
        "Messages that nobody got: superseded by a newer one, refused as the outbox was full, denied by the broker.",
        labels=["kind"],
    )
    if broker is not None:
        dropped.add_metric(["superseded"], broker.superseded)
        dropped.add_metric(["refused"], broker.refused)
        dropped.add_metric(["denied"], broker.denied)
    yield dropped
    yield _one(
        "ledger_ok", "1 while the alert ledger's disk takes what is written; absent without one.", reading.ledger
    )
    config = reading.config
    yield _one(
        "config_ok",
        "1 while the configuration file is in force, 0 while it is invalid and the one before is; absent without one.",
        None if config is None else config.ok,
    )
    reloads = CounterMetricFamily(
        "vqwatch_config_reloads", "Changes of the configuration file, by what became of them.", labels=["result"]
    )
    if config is not None:
        reloads.add_metric(["applied"], config.applied)
        reloads.add_metric(["refused"], config.refused)
    yield reloads
    yield _one("history_ok", "1 while the history's disk takes what is written; absent without one.", reading.history)
    yield _one("evidence_ok", "1 while the evidence's disk takes what is written; absent without.", reading.evidence)
    yield _one("evidence_bytes", "What the evidence of alerts takes on the disk.", reading.evidence_bytes)
    yield from _webhook_families(reading.webhooks)


def _webhook_families(webhooks: Sequence[WebhookReading]) -> Iterator[Metric]:
    sent = CounterMetricFamily("vqwatch_webhook_sent", "Alerts that the webhook's receiver took.", labels=["webhook"])
    failed = CounterMetricFamily("vqwatch_webhook_failed", "Attempts that failed and are repeated.", labels=["webhook"])
    dropped = CounterMetricFamily(
        "vqwatch_webhook_dropped",
        "Alerts that the webhook never gets: refused by its receiver, or lost for want of room.",
        labels=["webhook", "kind"],
    )
    waiting = GaugeMetricFamily("vqwatch_webhook_waiting", "Alerts that wait for the webhook.", labels=["webhook"])
    for r in webhooks:
        sent.add_metric([r.webhook], r.sent)
        failed.add_metric([r.webhook], r.failed)
        dropped.add_metric([r.webhook, "refused"], r.refused)
        dropped.add_metric([r.webhook, "lost"], r.lost)
        waiting.add_metric([r.webhook], r.pending)
    yield from (sent, failed, dropped, waiting)


def _states(
    name: str,
    text: str,
    label: str,
    states: type[Status] | type[Condition],
    known: Iterable[tuple[str, Status | Condition]],
) -> Metric:
    family = GaugeMetricFamily(f"vqwatch_{name}", text, labels=["stream", label])
    for stream, now in known:
        for state in states:
            family.add_metric([stream, str(state)], float(state is now))
    return family


def _gauge(name: str, text: str, values: Iterable[tuple[str, _Value]]) -> Metric:
    family = GaugeMetricFamily(f"vqwatch_{name}", text, labels=["stream"])
    for stream, value in values:
        if value is not None and math.isfinite(value):
            family.add_metric([stream], float(value))
    return family


def _one(name: str, text: str, value: _Value) -> Metric:
    family = GaugeMetricFamily(f"vqwatch_{name}", text)
    if value is not None and math.isfinite(value):
        family.add_metric([], float(value))
    return family


def _histogram(name: str, text: str, reading: HistogramReading) -> Metric:
    family = HistogramMetricFamily(f"vqwatch_{name}", text)
    ends = [*(str(float(bound)) for bound in reading.bounds), "+Inf"]
    family.add_metric([], list(zip(ends, accumulate(reading.counts), strict=True)), reading.total)
    return family


def _count(name: str, text: str, value: float | None) -> Metric:
    family = CounterMetricFamily(f"vqwatch_{name}", text)
    if value is not None:
        family.add_metric([], value)
    return family
