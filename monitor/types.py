"""Every value that crosses a module boundary of the monitor.

Words: a *frame* is decoded; a *sample* is the picture a viewer would see at tick k of the fixed-fps grid; a
*tick* is its index within an *epoch*; an epoch is one unbroken connection. Names carry units: ``_s`` seconds,
``_90k`` integer 1/90000 s of media time. ``received_s`` is local monotonic time; ``*_at`` is UTC seconds since
1970. Media time and local time meet only in latency and age.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, NewType

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from av import VideoFrame

StreamId = NewType("StreamId", str)

F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]
U8 = npt.NDArray[np.uint8]

#: Media-time resolution: the clock of MPEG systems; exact for every broadcast frame rate's tick grid.
TIME_BASE_HZ = 90_000

#: Names of the causes, in the order of every probability vector.
CAUSES = (
    "clean",
    "compression",
    "aliasing",
    "interlacing",
    "judder",
    "flicker",
    "frame_drop",
    "blur",
    "noise",
)


class DropCause(StrEnum):
    """Why a tick that was due never got a score. Every tick lost has exactly one cause."""

    MAILBOX_FULL = "mailbox_full"
    STALE = "stale"
    ENGINE_ERROR = "engine_error"
    UNSUPPORTED_FORMAT = "unsupported_format"
    SHUTDOWN = "shutdown"
    #: It waited when its stream was moved to a lower rate.
    SHED = "shed"


class Status(StrEnum):
    """Whether a stream's score can be trusted now."""

    OK = "ok"
    DEGRADED = "degraded"
    UNKNOWN = "unknown"


class Condition(StrEnum):
    """What the monitor sees of a stream, worst first when several hold."""

    OK = "ok"
    CONNECTING = "connecting"
    LOST = "lost"
    NO_VIDEO = "no_video"
    BLACK = "black"
    FROZEN = "frozen"
    DECODE_ERRORS = "decode_errors"
    WARMING_UP = "warming_up"


class Severity(StrEnum):
    """Severity of an alert, worst first."""

    CRITICAL = "critical"
    MAJOR = "major"
    MINOR = "minor"
    WARNING = "warning"
    INFO = "info"


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded picture.

    Attributes:
        picture: The decoded planes as PyAV holds them (any pixel format); read-only by convention.
        pts_90k: Unwrapped media time, 1/90000 s.
        received_s: Local monotonic time at which the decoder returned it.
        epoch: Number of the unbroken connection it belongs to.
        corrupt: The decoder concealed damage in it.
    """

    picture: VideoFrame
    pts_90k: int
    received_s: float
    epoch: int
    corrupt: bool = False


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What cheap detectors know after a sample, all on the sampled luma.

    Attributes:
        luma_mean: Mean luma, 0-255.
        still_s: Media seconds for which the picture's content has not changed, 0 when it just did.
        black_s: Media seconds for which the picture has been black, a small bright logo allowed.
        logo: Something small and bright stands in the black picture.
        loop_s: Media seconds for which each picture has been exactly the one a round before; 0 before the third
            round or 3 s.
        loop_period_s: Length of that round; None where there is none.
        repeated: The source shows its last picture again, or left a gap in which nothing new came.
        flat_share: Share of native 8x8 blocks without any texture, 0-1.
        shot: Number of the picture's shot, counted by cuts from 0.
    """

    luma_mean: float = 0.0
    still_s: float = 0.0
    black_s: float = 0.0
    logo: bool = False
    loop_s: float = 0.0
    loop_period_s: float | None = None
    repeated: bool = False
    flat_share: float = 0.0
    shot: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """The picture a viewer would see at one tick, already cut to the model's input.

    Attributes:
        stream: Whose it is.
        epoch: Connection number.
        tick: Index on its grid, from 0.
        pts_s: Media time of the tick since the epoch's first frame, seconds.
        received_s: Monotonic time at which its frame was decoded.
        pixels: (C, H, W) uint8, as ``engines.preprocess`` cut it.
        side: (S,) float32 side-channel numbers, or None where the bundle has no side channel.
        facts: Detector results after this sample.
        held: The grid shows the previous picture again.
        corrupt: The decoder concealed damage in this picture.
        rung: Whose rate the grid has: 0 is the full one, others are lower.
        grid: Number of the grid; a new one begins with an epoch and with each change of rate.
    """

    stream: StreamId
    epoch: int
    tick: int
    pts_s: float
    received_s: float
    pixels: U8
    side: F32 | None
    facts: PictureFacts
    held: bool = False
    corrupt: bool = False
    rung: int = 0
    grid: int = 0


@dataclass(frozen=True, slots=True)
class FrameQuality:
    """Head output for one sample: q in [0, 1] units and cause probabilities."""

    tick: int
    q: float
    causes: F64  # (len(CAUSES),), sums to 1; empty where the bundle's head names no causes


@dataclass(frozen=True, slots=True)
class PooledQuality:
    """Hysteresis-pooled frame quality q' of one tick; final tau-1 samples after it."""

    tick: int
    value: float


@dataclass(frozen=True, slots=True)
class ScoreView:
    """Rolling scores of one stream at one moment, 0-100; None is unknown.

    Attributes:
        score: Mean over the last second of pooled ticks.
        score_10s: Mean over the last 10 s.
        score_60s: Mean over the last 60 s.
        score_min_60s: Lowest one-second score of the last 60 s.
        coverage: Ticks pooled / ticks due in the last second, 0-1.
        cause: Most probable cause, one of CAUSES.
        cause_p: Its probability.
        newest_tick: Newest tick in ``score``; None before the first.
        newest_received_s: When that tick's frame arrived (monotonic).
    """

    score: float | None = None
    score_10s: float | None = None
    score_60s: float | None = None
    score_min_60s: float | None = None
    coverage: float = 0.0
    cause: str | None = None
    cause_p: float | None = None
    newest_tick: int | None = None
    newest_received_s: float | None = None


@dataclass(frozen=True, slots=True)
class PictureFormat:
    """What kind of pictures a stream's newest ones are, as decoded.

    Attributes:
        width: Luma columns.
        height: Luma rows; of one field where each picture is one.
        pixel_format: FFmpeg's name of the layout.
        interlaced: Pictures are flagged as made of two fields.
        interlaced_content: Their lines say so, whatever the flags; None until that could be told.
        deinterlaced: They are deinterlaced before they are scored.
        colour: Matrix that they name: bt601, bt709 or bt2020; None where they name none.
        full_range: Luma spans all code values.
        transfer: How light is coded: sdr, pq or hlg.
        pixel_aspect: Width to height of a pixel, such as "64:45"; None where that is not told.
        rotation: Degrees by which a player turns them, counter-clockwise, 0-359.
    """

    width: int
    height: int
    pixel_format: str
    interlaced: bool = False
    interlaced_content: bool | None = None
    deinterlaced: bool | None = None
    colour: str | None = None
    full_range: bool = False
    transfer: str = "sdr"
    pixel_aspect: str | None = None
    rotation: int = 0

    @property
    def coding(self) -> tuple[object, ...]:
        """All but what is measured, which is known after a while only."""
        return (
            self.width, self.height, self.pixel_format, self.colour, self.full_range, self.transfer,
            self.pixel_aspect, self.rotation,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class StreamInfo:
    """What a stream is, first as opened, later as seen; for the picture see ``PictureFormat``.

    ``url`` is redacted before it gets here. ``decoder`` is the device that decodes; None is the CPU.
    """

    url: str
    protocol: str
    codec: str
    width: int
    height: int
    pixel_format: str
    fps: float | None = None
    interlaced: bool = False
    audio_codec: str | None = None
    decoder: str | None = None
    interlaced_content: bool | None = None
    deinterlaced: bool | None = None
    colour: str | None = None
    full_range: bool = False
    transfer: str = "sdr"
    pixel_aspect: str | None = None
    rotation: int = 0

    def showing(self, seen: PictureFormat | None) -> StreamInfo:
        """The same stream with pictures of that format."""
        if seen is None:
            return self
        return replace(self, **{field.name: getattr(seen, field.name) for field in fields(seen)})


@dataclass(frozen=True, slots=True)
class StreamState:
    """One stream at one second: the content of ``stream/{id}/state``.

    None is unknown and is left out of the payload. Units as in the payload contract: scores 0-100, ``ts`` unix
    ms, ``*_ms`` milliseconds, counters since the process started. ``uncertainty`` is the half-width in points of the
    90 % interval against the labels that the model was trained on; ``out_of_domain`` says why the model does not know
    such pictures, None where it does.
    """

    ts: int
    seq: int
    epoch: int
    status: Status
    condition: Condition
    coverage: float
    samples: int
    dropped: int
    corrupt: int
    repeated: int
    sample_fps: float
    model: str
    pts_s: float | None = None
    score: float | None = None
    score_10s: float | None = None
    score_60s: float | None = None
    score_min_60s: float | None = None
    baseline: float | None = None
    drop: float | None = None
    band: str | None = None
    uncertainty: float | None = None
    cause: str | None = None
    cause_p: float | None = None
    out_of_domain: str | None = None
    fps_in: float | None = None
    age_ms: float | None = None
    lag_ms: float | None = None


@dataclass(frozen=True, slots=True)
class AlertEvent:
    """One raise or clear of one rule on one stream; times are UTC seconds since 1970.

    ``still_url`` shows the worst picture; it is put in when the event is sent, where a picture was kept.
    """

    id: str
    seq: int
    stream: StreamId
    rule: str
    severity: Severity
    status: str  # "raised" | "cleared"
    raised_at: float
    value: float | None = None
    threshold: float | None = None
    cleared_at: float | None = None
    cause: str | None = None
    cause_p: float | None = None
    worst_at: float | None = None
    still_url: str | None = None


@dataclass(frozen=True, slots=True)
class Health:
    """The monitor itself, every 10 s: the content of ``health``.

    ``engine_busy`` and ``shed`` are shares in [0, 1]; ``shed`` is the share of samples due that are not analysed.
    ``ledger`` is "ok", "memory" (the disk refuses, and alerts are sent without being recorded), or None without one.
    ``history`` is "ok", "memory" (the disk refuses, and the newest seconds wait in memory), or None without one.
    ``degraded`` says why another engine works than was asked for; None while the right one does.
    """

    ts: int
    uptime_s: float
    streams: int
    streams_ok: int
    samples_per_s: float
    engine: str
    engine_busy: float
    outbox: int
    rss_mb: float
    loop_lag_ms: float
    shed: float
    ledger: str | None = None
    history: str | None = None
    degraded: str | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """Why the monitor is not ready.

    Attributes:
        part: Which part: "broker", "engine".
        code: The kind, one word for programs.
        reason: One line for people; holds no credentials.
    """

    part: str
    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class HistoryQuery:
    """What is asked of the history.

    Attributes:
        streams: Which; all that are known where it is empty.
        from_ms: Unix ms, the first.
        to_ms: Unix ms, the first that is not wanted.
        minutes: Minutes instead of seconds.
        fields: Names of the values wanted.
    """

    streams: tuple[StreamId, ...]
    from_ms: int
    to_ms: int
    minutes: bool
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Message:
    """One MQTT publication.

    Attributes:
        topic: Full topic.
        payload: Bytes to send; empty removes a retained message.
        qos: 0 or 1.
        retain: Broker keeps it.
        conflate: A newer message on the same topic may replace this one while it waits.
        content_type: What the payload is, in MQTT 5.
        expires_s: Age at which the broker forgets it, in MQTT 5; None is never.
    """

    topic: str
    payload: bytes = field(repr=False)
    qos: int = 0
    retain: bool = False
    conflate: bool = True
    content_type: str = "application/json"
    expires_s: int | None = None
