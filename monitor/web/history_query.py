"""What a request to ``/api/history`` asks for."""

from __future__ import annotations

from collections.abc import Mapping

from monitor.core.moments import parse_moment
from monitor.errors import UsageError
from monitor.types import HistoryQuery, StreamId

_KEYS = ("stream", "from", "to", "resolution", "fields")
_LAST = "2m"


def history_query(asked: Mapping[str, str], now_ms: int) -> HistoryQuery:
    """The query of URL parameters.

    Args:
        asked: ``stream`` (ids with commas between; all without it), ``from`` (default two minutes ago) and ``to``
            (default now) as ``parse_moment`` reads them, ``resolution`` (1s or 1m), ``fields`` (with commas between;
            default score).
        now_ms: Unix ms of now.

    Raises:
        UsageError: A parameter is unknown or wrong.
    """
    unknown = [name for name in asked if name not in _KEYS]
    if unknown:
        raise UsageError(f"unknown parameters: {', '.join(unknown)}; known: {', '.join(_KEYS)}")
    moments = []
    for name, default in (("from", _LAST), ("to", "now")):
        try:
            moments.append(parse_moment(asked.get(name, default), now_ms))
        except (ValueError, OverflowError) as error:
            raise UsageError(f"{name}: {error}") from error
    if moments[1] < moments[0]:
        raise UsageError("to: lies before from")
    resolution = asked.get("resolution", "1s")
    if resolution not in ("1s", "1m"):
        raise UsageError(f"resolution: must be 1s or 1m, got {resolution!r}")
    streams = tuple(StreamId(name) for name in asked.get("stream", "").split(",") if name)
    fields = tuple(dict.fromkeys(name for name in asked.get("fields", "score").split(",") if name))
    return HistoryQuery(streams, moments[0], moments[1], resolution == "1m", fields)
