"""Recorded seconds as rows of text: what ``vqwatch history export`` writes and ``vqwatch simulate`` reads."""

from __future__ import annotations

import math
from collections.abc import Mapping

from monitor.core.bands import BAND_NUMBERS
from monitor.core.metrics import METRICS
from monitor.core.moments import moment_text, parse_moment
from monitor.core.record import FIELDS, WORDS, Record, numbers_of, record_from
from monitor.types import CAUSES

_FIRST = ("seconds", "status", "condition", "score", "score_min", "baseline", "drop", "band", "cause", "cause_p")
#: Columns in their order.
COLUMNS = ("time", "stream", *_FIRST, *(field.name for field in FIELDS if field.name not in _FIRST))
_REQUIRED = ("time", "stream")
_BACK: dict[str, Mapping[str, float]] = {
    "status": {word: number for number, word in WORDS["status"].items()},
    "condition": {word: number for number, word in WORDS["condition"].items()},
    "cause": {word: number for number, word in enumerate(CAUSES)},
    "band": BAND_NUMBERS,
}


class BadRow(ValueError):
    """A row is not what ``texts_of`` makes; the message begins with the column."""


def texts_of(stream: str, record: Record) -> dict[str, str | float | None]:
    """Values by column, numbers as numbers; None is unknown."""
    texts: dict[str, str | float | None] = dict.fromkeys(COLUMNS)
    texts |= {"time": moment_text(record.ts), "stream": stream}
    for field, value in zip(FIELDS, numbers_of(record), strict=True):
        if value is None:
            continue
        if field.name in WORDS:
            texts[field.name] = WORDS[field.name][int(value)]
        else:
            texts[field.name] = int(value) if field.decimals == 0 else value
    return texts


def record_of_texts(texts: Mapping[str, str]) -> tuple[str, Record]:
    """Stream and record of one row; columns that are missing or empty are unknown, others are ignored.

    Raises:
        BadRow: A value cannot be read.
    """
    for name in _REQUIRED:
        if not texts.get(name):
            raise BadRow(f"{name}: missing")
    try:
        ts = parse_moment(texts["time"], 0)
    except (ValueError, OverflowError) as error:
        raise BadRow(f"time: {error}") from error
    numbers: dict[str, float | None] = {}
    for field in FIELDS:
        text = texts.get(field.name)
        if text:
            numbers[field.name] = _number(field.name, text)
    metrics_known = any(name in numbers for name in METRICS)
    if "condition" not in numbers and not metrics_known:
        raise BadRow("condition: missing, and so are all metrics")
    return texts["stream"], record_from(ts, numbers)


def _number(name: str, text: str) -> float:
    if name in _BACK:
        if text not in _BACK[name]:
            raise BadRow(f"{name}: {text!r} is none of {', '.join(_BACK[name])}")
        return _BACK[name][text]
    try:
        value = float(text)
    except ValueError:
        raise BadRow(f"{name}: not a number: {text!r}") from None
    if not math.isfinite(value):
        raise BadRow(f"{name}: not a number: {text!r}")
    return value
