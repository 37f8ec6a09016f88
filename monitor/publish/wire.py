"""What goes over the wire: topics, and the JSON of every payload. Pure.

Every payload is one flat JSON object that starts with ``"v": 1``; ``alerts`` alone holds a list, of flat
objects. A value that is not known (None, NaN or infinite) is left out, so a reader never meets ``null`` and
every key keeps one type. The published schemas (``monitor.publish.schemas``) describe the same objects
field by field.

Only alerts must arrive one by one; of everything else a reader wants the newest, so it conflates.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from monitor.errors import UsageError
from monitor.types import AlertEvent, Health, Message, StreamInfo, StreamState

#: Version of every payload; fields may be added under one version, a change of meaning raises it.
WIRE_VERSION = 1

#: Age at which a broker that speaks MQTT 5 forgets a state or the health: nobody is to find an old one.
EXPIRY_S = 60

#: Plain-text payloads of the ``status`` topic.
ONLINE = b"online"
STOPPED = b"stopped"
OFFLINE = b"offline"

JsonValue = str | int | float | bool
Fields = dict[str, JsonValue]

_ID = re.compile(r"[a-z0-9_-]{1,64}")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Decimals: what the number is good for, no more, as each digit is sent every second for every stream.
_SCORE, _PROBABILITY, _MS, _S, _RATE = 2, 3, 1, 3, 3


class Topics:
    """Topics of one monitor.

    Args:
        node: Name of the monitor, ``[a-z0-9_-]{1,64}``.

    Raises:
        UsageError: The node or, in the stream methods, the stream id cannot be part of a topic.
    """

    def __init__(self, node: str) -> None:
        self.node = _checked(node, "node name")
        self.root = f"vqwatch/{node}"
        self.status = f"{self.root}/status"
        self.health = f"{self.root}/health"
        self.alerts = f"{self.root}/alerts"

    def info(self, stream: str) -> str:
        """Topic of what the stream is."""
        return self._stream(stream, "info")

    def state(self, stream: str) -> str:
        """Topic of the stream's score, once a second."""
        return self._stream(stream, "state")

    def alert(self, stream: str) -> str:
        """Topic of the stream's raised and cleared alerts."""
        return self._stream(stream, "alert")

    def _stream(self, stream: str, kind: str) -> str:
        return f"{self.root}/stream/{_checked(stream, 'stream id')}/{kind}"


def state_payload(state: StreamState) -> bytes:
    """JSON of ``stream/{id}/state``."""
    return _encode(
        ts=int(state.ts),
        seq=int(state.seq),
        epoch=int(state.epoch),
        pts_s=_real(state.pts_s, _S),
        status=str(state.status),
        condition=str(state.condition),
        score=_real(state.score, _SCORE),
        score_10s=_real(state.score_10s, _SCORE),
        score_60s=_real(state.score_60s, _SCORE),
        score_min_60s=_real(state.score_min_60s, _SCORE),
        baseline=_real(state.baseline, _SCORE),
        drop=_real(state.drop, _SCORE),
        band=state.band,
        uncertainty=_real(state.uncertainty, _SCORE),
        cause=state.cause,
        cause_p=_real(state.cause_p, _PROBABILITY),
        out_of_domain=state.out_of_domain,
        coverage=_real(state.coverage, _PROBABILITY),
        samples=int(state.samples),
        dropped=int(state.dropped),
        corrupt=int(state.corrupt),
        repeated=int(state.repeated),
        fps_in=_real(state.fps_in, _RATE),
        sample_fps=_real(state.sample_fps, _RATE),
        age_ms=_real(state.age_ms, _MS),
        lag_ms=_real(state.lag_ms, _MS),
        model=state.model,
    )


def info_payload(
    info: StreamInfo, *, model: str, engine: str, precision: str, sample_fps: float, input_mode: str
) -> bytes:
    """JSON of ``stream/{id}/info``.

    Args:
        info: The stream as opened; its URL is already redacted.
        model: ``name@hash`` of the bundle.
        engine: Engine that runs it, such as ``openvino``.
        precision: Its arithmetic, such as ``f32``.
        sample_fps: Samples analysed a second when nothing is shed.
        input_mode: ``full``, ``resize`` or ``fragments``.
    """
    return _encode(
        url=info.url,
        protocol=info.protocol,
        codec=info.codec,
        width=int(info.width),
        height=int(info.height),
        fps=_real(info.fps, _RATE),
        interlaced=bool(info.interlaced),
        pixel_format=info.pixel_format,
        audio_codec=info.audio_codec,
        interlaced_content=info.interlaced_content,
        deinterlaced=info.deinterlaced,
        colour=info.colour,
        full_range=bool(info.full_range),
        transfer=info.transfer,
        pixel_aspect=info.pixel_aspect,
        rotation=int(info.rotation),
        decoder=info.decoder,
        model=model,
        engine=engine,
        precision=precision,
        sample_fps=_real(sample_fps, _RATE),
        input_mode=input_mode,
    )


def alert_fields(event: AlertEvent) -> Fields:
    """The content of ``stream/{id}/alert``; what is not known is left out."""
    cleared_at = _known(event.cleared_at)
    worst_at = _known(event.worst_at)
    return _fields(
        id=event.id,
        seq=int(event.seq),
        stream=str(event.stream),
        rule=event.rule,
        severity=str(event.severity),
        status=event.status,
        raised_at=utc_text(event.raised_at),
        cleared_at=None if cleared_at is None else utc_text(cleared_at),
        # UTC may be set back between the two; a duration below zero would be nonsense to every reader.
        duration_s=None if cleared_at is None else round(max(0.0, cleared_at - event.raised_at), _S),
        value=_real(event.value, 3),
        threshold=_real(event.threshold, 3),
        cause=event.cause,
        cause_p=_real(event.cause_p, _PROBABILITY),
        worst_at=None if worst_at is None else utc_text(worst_at),
        still_url=event.still_url,
    )


def alert_payload(event: AlertEvent) -> bytes:
    """JSON of ``stream/{id}/alert``."""
    return _dump(alert_fields(event))


def alerts_payload(ts: int, active: Iterable[AlertEvent]) -> bytes:
    """JSON of ``alerts``: every alert that is raised now.

    Args:
        ts: Unix time, ms.
        active: Raised alerts in the order to show them.
    """
    flat = [alert_fields(event) for event in active]
    return _dump({"v": WIRE_VERSION, "ts": int(ts), "active": flat, "count": len(flat)})


def health_payload(health: Health) -> bytes:
    """JSON of ``health``."""
    return _encode(
        ts=int(health.ts),
        uptime_s=_real(health.uptime_s, 1),
        streams=int(health.streams),
        streams_ok=int(health.streams_ok),
        samples_per_s=_real(health.samples_per_s, 1),
        engine=health.engine,
        engine_busy=_real(health.engine_busy, _PROBABILITY),
        outbox=int(health.outbox),
        rss_mb=_real(health.rss_mb, 1),
        loop_lag_ms=_real(health.loop_lag_ms, _MS),
        shed=_real(health.shed, _PROBABILITY),
        ledger=health.ledger,
        history=health.history,
        degraded=health.degraded,
    )


def state_message(topics: Topics, stream: str, state: StreamState) -> Message:
    """A stream's state, retained; QoS 0, as the next second replaces it."""
    return Message(topics.state(stream), state_payload(state), retain=True, expires_s=EXPIRY_S)


def info_message(topics: Topics, stream: str, payload: bytes) -> Message:
    """A stream's info (from ``info_payload``), retained."""
    return Message(topics.info(stream), payload, qos=1, retain=True)


def alert_message(topics: Topics, event: AlertEvent) -> Message:
    """One raise or clear: every one is delivered, in order, at least once; not retained."""
    return Message(topics.alert(event.stream), alert_payload(event), qos=1, conflate=False)


def alerts_message(topics: Topics, ts: int, active: Iterable[AlertEvent]) -> Message:
    """The raised alerts, retained; ``ts`` in unix ms."""
    return Message(topics.alerts, alerts_payload(ts, active), qos=1, retain=True)


def health_message(topics: Topics, health: Health) -> Message:
    """The monitor's own health, retained."""
    return Message(topics.health, health_payload(health), retain=True, expires_s=EXPIRY_S)


def removal_messages(topics: Topics, stream: str) -> tuple[Message, Message]:
    """Empty retained messages that take a stream which is no longer watched off the broker."""
    return (
        Message(topics.info(stream), b"", qos=1, retain=True),
        Message(topics.state(stream), b"", qos=1, retain=True),
    )


def utc_text(at_s: float) -> str:
    """RFC 3339 in UTC with milliseconds, such as ``2026-11-22T10:00:00.250Z``; ``at_s`` is unix seconds."""
    moment = _EPOCH + timedelta(milliseconds=round(at_s * 1000))
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def _checked(name: str, what: str) -> str:
    # '/', '+', '#' and '$' have a meaning in topics; the rest is what every dashboard and tag can hold.
    if not _ID.fullmatch(name):
        raise UsageError(f"{what} {name!r} must be 1 to 64 of the characters a-z 0-9 _ -")
    return name


def _known(value: float | None) -> float | None:
    """The value as a Python float, None where it is no finite number."""
    if value is None or not math.isfinite(value):
        return None
    return float(value)


def _real(value: float | None, decimals: int) -> float | None:
    number = _known(value)
    # Adding 0.0 turns -0.0 into 0.0.
    return None if number is None else round(number, decimals) + 0.0


def _fields(**values: JsonValue | None) -> Fields:
    fields: Fields = {"v": WIRE_VERSION}
    fields.update((name, value) for name, value in values.items() if value is not None)
    return fields


def _encode(**values: JsonValue | None) -> bytes:
    return _dump(_fields(**values))


def _dump(content: Fields | dict[str, object]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    # A name read from a file system may hold lone surrogates, which UTF-8 cannot carry.
    return text.encode("utf-8", "replace")
