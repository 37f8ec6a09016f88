"""The bodies that webhooks send: one alert event in the words of its receiver. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from monitor.publish.alert_words import details, duration_text, headline
from monitor.publish.wire import alert_payload, utc_text
from monitor.types import AlertEvent

#: An Alertmanager forgets an alert that it has not heard of for its ``endsAt``; clients are to repeat those that are up
#: "every 30 seconds to 3 minutes" (Prometheus documentation, "Sending alerts").
REPEAT_S = 60.0
#: What is up stays up in the Alertmanager for this long without a word of ours: a restart of vqwatch fits in.
_HOLD_S = 5 * REPEAT_S
_ALERTS_A_BODY = 100


@dataclass(frozen=True, slots=True)
class Template:
    """How a receiver is spoken to.

    Attributes:
        render: Body of one event: (event, node, unix seconds of the attempt).
        repeat: Bodies that say once more what is up, with the same arguments; None for a receiver that remembers.
    """

    render: Callable[[AlertEvent, str, float], bytes]
    repeat: Callable[[Sequence[AlertEvent], str, float], list[bytes]] | None = None


def vqwatch_body(event: AlertEvent, node: str, now_s: float) -> bytes:
    """The product's own: the payload of ``stream/{id}/alert``, byte for byte."""
    return alert_payload(event)


def alertmanager_body(event: AlertEvent, node: str, now_s: float) -> bytes:
    """Prometheus Alertmanager, ``POST /api/v2/alerts``: a list of one alert."""
    return _json([_alertmanager(event, node, now_s)])


def alertmanager_repeats(active: Sequence[AlertEvent], node: str, now_s: float) -> list[bytes]:
    """Lists of all that is up, at most 100 alerts each."""
    return [
        _json([_alertmanager(event, node, now_s) for event in active[start : start + _ALERTS_A_BODY]])
        for start in range(0, len(active), _ALERTS_A_BODY)
    ]


def slack_body(event: AlertEvent, node: str, now_s: float) -> bytes:
    """Slack and what is compatible with it: ``{"text": ...}``."""
    known = details(event)
    if event.cleared_at is None:
        first = f"*{event.severity.upper()}* {event.stream}: {headline(event)}" + (f", {known}" if known else "")
        second = f"raised {_clock(event.raised_at)}"
    else:
        first = f"*CLEARED* {event.stream} (was {event.severity.upper()}: {headline(event)})"
        second = f"after {duration_text(event.cleared_at - event.raised_at)}, raised {_clock(event.raised_at)}"
    text = f"{first}\n{second}; rule {event.rule}, node {node}"
    # These three alone have a meaning in Slack's text.
    for sign, escape in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        text = text.replace(sign, escape)
    return _json({"text": text})


#: By the name that the configuration uses.
TEMPLATES = {
    "vqwatch": Template(vqwatch_body),
    "alertmanager": Template(alertmanager_body, alertmanager_repeats),
    "slack": Template(slack_body),
}


def _alertmanager(event: AlertEvent, node: str, now_s: float) -> dict[str, object]:
    """One alert. Its labels, which are its identity there, are the same when it clears."""
    known = details(event)
    annotations = {
        "summary": f"{event.stream}: {headline(event)}",
        "description": f"{event.stream} on {node}: {headline(event)}" + (f", {known}" if known else ""),
        "id": event.id,
    }
    for name, value in (("value", event.value), ("threshold", event.threshold)):
        if value is not None and math.isfinite(value):
            annotations[name] = f"{value:.3f}"
    if event.cause is not None:
        annotations["cause"] = event.cause
    # A clock that was set back must not make an end before its beginning, which is refused.
    ends_s = max(now_s, event.raised_at) + _HOLD_S if event.cleared_at is None else event.cleared_at
    return {
        "labels": {
            "alertname": event.rule,
            "job": "vqwatch",
            "node": node,
            "stream": str(event.stream),
            "severity": str(event.severity),
        },
        "annotations": annotations,
        "startsAt": utc_text(event.raised_at),
        "endsAt": utc_text(max(ends_s, event.raised_at)),
    }


def _clock(at_s: float) -> str:
    """``2026-11-22 10:00:00 UTC``."""
    return utc_text(at_s)[:19].replace("T", " ") + " UTC"


def _json(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode("utf-8", "replace")
