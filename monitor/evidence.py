"""Evidence as it is kept and served: what the pure core gathered of an alert, as JSON."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from monitor.core.bands import BAND_NUMBERS
from monitor.core.evidence import Evidence, Moment
from monitor.core.metrics import METRICS
from monitor.publish.wire import alert_fields, utc_text
from monitor.store.evidence import EvidenceFolder
from monitor.types import AlertEvent, StreamInfo, StreamState

EVIDENCE_VERSION = 1
#: Of what the stream is, these explain a picture; its address is nobody's business here, redacted or not.
_INFO = ("codec", "width", "height", "fps", "interlaced", "pixel_format", "audio_codec", "protocol")
_COUNTERS = ("epoch", "samples", "dropped", "corrupt", "repeated")
_BAND_WORDS = {number: name for name, number in BAND_NUMBERS.items()}


def still_path(id_: str) -> str:
    """Where the dashboard's server has an alert's picture."""
    return f"/api/alerts/{id_}/still.jpg"


class EvidenceDesk:
    """Between the streams' evidence and the folder that keeps it. Event loop only.

    Args:
        folder: Entered and left by whoever made it.
        base_url: What stands before a picture's path in alerts; "" leaves the path alone.
    """

    def __init__(self, folder: EvidenceFolder, base_url: str = "") -> None:
        self.folder = folder
        self._base_url = base_url.rstrip("/")

    def keep(self, found: Evidence, state: StreamState, info: StreamInfo | None) -> None:
        """Keeps the evidence of a raise or a clear; call it before the event is sent."""
        event = found.event
        jpeg = None if found.still is None else found.still.jpeg
        if jpeg is not None or self.folder.has_still(event.id):
            event = replace(event, still_url=self._base_url + still_path(event.id))
        document = _document(replace(found, event=event), state, info)
        self.folder.put(event.id, document, jpeg, amend=not found.whole)

    def close(self, event: AlertEvent) -> None:
        """Notes the clear of an alert of a stream or a rule that is not watched any more."""
        self.folder.put(
            event.id, {"v": EVIDENCE_VERSION, "alert": alert_fields(self.with_still(event))}, None, amend=True
        )

    async def recent(self, count: int) -> list[dict[str, Any]]:
        """The newest alerts, newest first: the last that was said of each."""
        documents = await self.folder.recent(count)
        return [document["alert"] for document in documents if isinstance(document.get("alert"), dict)]

    async def document(self, id_: str) -> dict[str, Any] | None:
        """What is known of an alert; None where nothing is kept."""
        return await self.folder.document(id_)

    async def still(self, id_: str) -> bytes | None:
        """Its worst picture, a JPEG."""
        return await self.folder.still(id_)

    def with_still(self, event: AlertEvent) -> AlertEvent:
        """The event with the address of its picture, where one is kept."""
        if not self.folder.has_still(event.id):
            return event
        return replace(event, still_url=self._base_url + still_path(event.id))


def _document(found: Evidence, state: StreamState, info: StreamInfo | None) -> dict[str, Any]:
    document: dict[str, Any] = {
        "v": EVIDENCE_VERSION,
        "alert": alert_fields(found.event),
        "metric": found.metric,
        "stream": {name: value for name in _COUNTERS if (value := getattr(state, name)) is not None}
        | {"model": state.model, "sample_fps": state.sample_fps},
        "curve": _curve(found.metric, found.curve),
    }
    for name, moment in (("raised", found.raised), ("worst", found.worst), ("cleared", found.cleared)):
        if moment is not None:
            document[name] = _moment(moment)
    if info is not None:
        document["stream"] |= {name: value for name in _INFO if (value := getattr(info, name)) is not None}
    if found.still is not None and found.still_ts is not None:
        document["still"] = {
            "path": still_path(found.event.id),
            "at": utc_text(found.still_ts / 1000),
            "width": found.still.width,
            "height": found.still.height,
        }
    return document


def _moment(moment: Moment) -> dict[str, Any]:
    values: dict[str, Any] = {
        "at": utc_text(moment.ts / 1000),
        "status": str(moment.status),
        "condition": str(moment.condition),
        "baseline": None if moment.baseline is None else round(moment.baseline, 2),
        "cause": moment.cause,
        "cause_p": None if moment.cause_p is None else round(moment.cause_p, 3),
    }
    values |= moment.metrics
    if (band := moment.metrics.get("band")) is not None:
        values["band"] = _BAND_WORDS.get(band, band)
    return {name: value for name, value in values.items() if value is not None}


def _curve(metric: str, moments: Iterable[Moment]) -> dict[str, list[Any]]:
    """Columns, as ``/api/history`` has them; None is unknown."""
    columns: dict[str, Callable[[Moment], Any]] = {
        "ts": lambda m: m.ts,
        "score": lambda m: m.metrics.get("score"),
        "baseline": lambda m: None if m.baseline is None else round(m.baseline, 2),
        "condition": lambda m: str(m.condition),
        "value": lambda m: m.metrics.get(metric),
    }
    assert metric in METRICS
    moments = list(moments)
    return {name: [value(moment) for moment in moments] for name, value in columns.items()}
