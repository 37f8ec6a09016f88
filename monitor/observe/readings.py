"""What the metrics page shows of one moment: plain values, read from the monitor's own counters at each scrape."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

from monitor.types import DropCause, StreamState

_NO_DROPS: Mapping[DropCause, int] = MappingProxyType({})
_NONE: Mapping[str, int] = MappingProxyType({})


# Named tuples where there are thousands: they are made on the event loop, at a third of a frozen dataclass's cost.
class RuleReading(NamedTuple):
    """One alert rule of one stream.

    Attributes:
        rule: Its name.
        severity: Its severity.
        active: Its alert is up.
        raised: Raises since the process started.
    """

    rule: str
    severity: str
    active: bool
    raised: int


class StreamReading(NamedTuple):
    """One stream. Counters count since the process started; None is unknown.

    Attributes:
        stream: Its id.
        state: Of the last whole second; None before the first.
        age_s: Age of the newest sample in the score, now.
        due: Ticks of the grid that fell due.
        scored: Of those, the ones with a score.
        in_flight: Of those, the ones whose fate is open.
        dropped: Of those, the ones that got none, by cause.
        waiting: Samples in the mailbox.
        frames: Pictures decoded.
        corrupt: Pictures that lost something on their way or that the decoder found broken.
        packets_lost: Transport packets that never came.
        repeated: Ticks at which the source showed its last picture again, or nothing new.
        gaps: Gaps between the source's pictures of more than 1.5 usual frame durations.
        epochs: Unbroken runs of media time begun.
        reconnects: Connections that ended and were tried again, by why they ended.
        silent: Whether its sound is; None where none is decoded.
        bitrate_bps: Bits a second that arrived over the last seconds.
        last_frame_at: Unix time at which its newest picture arrived.
        behind_s: How far its reader has fallen behind the feed, which comes faster than it is decoded.
        spare: Share of its time that its reader waits for the feed, 0-1; None without pictures.
        reader_deaths: Times that its decoder took its process along.
        rules: Its alert rules.
    """

    stream: str
    state: StreamState | None = None
    age_s: float | None = None
    due: int = 0
    scored: int = 0
    in_flight: int = 0
    dropped: Mapping[DropCause, int] = _NO_DROPS
    waiting: int = 0
    frames: int = 0
    corrupt: int = 0
    packets_lost: int = 0
    repeated: int = 0
    gaps: int = 0
    epochs: int = 0
    reconnects: Mapping[str, int] = _NONE
    silent: bool | None = None
    bitrate_bps: float | None = None
    last_frame_at: float | None = None
    behind_s: float = 0.0
    spare: float | None = None
    reader_deaths: int = 0
    rules: Sequence[RuleReading] = ()


class HistogramReading(NamedTuple):
    """How often values fell into each range.

    Attributes:
        bounds: Upper bounds, rising.
        counts: Values in each range, those beyond the last bound at the end.
        total: Their sum.
    """

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


@dataclass(frozen=True, slots=True)
class EngineReading:
    """The engine and the batches that went through it.

    ``reused`` counts those of ``samples`` whose picture was the one before, which are not computed again; ``running_s``
    is how long the batch in it has been there; ``durations_s`` and ``sizes`` are of each batch.
    """

    name: str
    device: str
    precision: str
    busy_s: float
    samples: int
    reused: int
    batches: int
    failures: int
    running_s: float
    durations_s: HistogramReading
    sizes: HistogramReading


@dataclass(frozen=True, slots=True)
class BrokerReading:
    """The link to the broker; the outbox counts of ``PublisherCounts``."""

    connected: bool
    reconnects: int
    pending: int
    sent: int
    superseded: int
    refused: int
    denied: int


@dataclass(frozen=True, slots=True)
class WebhookReading:
    """One webhook; the counts of ``WebhookCounts``."""

    webhook: str
    sent: int
    failed: int
    refused: int
    lost: int
    pending: int


@dataclass(frozen=True, slots=True)
class ConfigReading:
    """The configuration file: whether it is in force as it is now, and how often a change was taken and refused."""

    ok: bool
    applied: int
    refused: int


@dataclass(frozen=True, slots=True)
class Reading:
    """The whole monitor at one moment.

    Attributes:
        version: Of the program.
        model: Id of the bundle.
        node: Name of the monitor.
        streams: Those that are watched now.
        engine: The engine.
        broker: The link; None before there is a publisher.
        loop_lag_s: 99th percentile of the event loop's lag over the last minutes.
        abandoned_threads: Source threads that hang and were given up.
        shed: Share of the samples due that are not analysed, for want of computing power.
        latency_s: From a sample's arrival to its score's publication, of each second of each stream.
        ledger: The alert ledger's disk takes what is written; None without a ledger.
        history: The history's disk takes what is written; None without a history.
        evidence: The evidence's disk takes what is written; None where none is kept.
        evidence_bytes: What it takes on the disk, likewise.
        webhooks: Receivers of alerts over HTTP.
        config: The configuration file; None without one that is watched.
    """

    version: str
    model: str
    node: str
    streams: Sequence[StreamReading]
    engine: EngineReading
    broker: BrokerReading | None
    loop_lag_s: float
    abandoned_threads: int
    shed: float
    latency_s: HistogramReading
    ledger: bool | None = None
    history: bool | None = None
    evidence: bool | None = None
    evidence_bytes: int | None = None
    webhooks: Sequence[WebhookReading] = ()
    config: ConfigReading | None = None
