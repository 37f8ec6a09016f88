"""An alert in words that people read. Pure."""

from __future__ import annotations

import math

from monitor.types import AlertEvent

_RULES = {
    "lost": "the feed is lost",
    "no_video": "no pictures arrive",
    "black": "the picture is black",
    "frozen": "the picture is frozen",
    "loop": "the same few seconds come round again and again",
    "decode_errors": "many pictures are damaged",
    "quality": "the picture is worse than it usually is",
    "silence": "there is no sound",
    "format": "the feed is not what it should be",
}
# What the value of a default rule counts, for those whose value says more than the words above.
_UNITS = {"black": "s", "frozen": "s", "loop": "s", "silence": "s", "quality": "points"}
_SHARES = frozenset({"decode_errors"})
#: A cause below this is a guess that would mislead.
_LIKELY = 0.5


def headline(event: AlertEvent) -> str:
    """What is, or was, wrong: ``the picture is frozen``; of a rule of the user's own, its name."""
    return _RULES.get(event.rule, f"rule {event.rule}")


def details(event: AlertEvent) -> str:
    """What is known beyond the headline, such as ``18.2 points (limit 15), probably blur``; may be empty."""
    parts = []
    if event.rule not in ("lost", "no_video") and (value := _number(event, event.value)) is not None:
        limit = _number(event, event.threshold)
        parts.append(value if limit is None else f"{value} (limit {limit})")
    if event.cause and event.cause != "clean" and event.cause_p is not None and event.cause_p >= _LIKELY:
        parts.append(f"probably {event.cause.replace('_', ' ')}")
    return ", ".join(parts)


def duration_text(seconds: float) -> str:
    """The two largest units: ``45 s``, ``2 min 5 s``, ``3 h 20 min``, ``2 d 1 h``."""
    rest = max(0, round(seconds))
    parts = []
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def _number(event: AlertEvent, value: float | None) -> str | None:
    if value is None or not math.isfinite(value):
        return None
    if event.rule in _SHARES:
        return f"{100 * value:.3g} %"
    text = f"{value:.1f}".removesuffix(".0")
    unit = _UNITS.get(event.rule)
    return text if unit is None else f"{text} {unit}"
