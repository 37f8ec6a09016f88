"""Moments as people write them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_AGO = re.compile(r"^(\d+(?:\.\d+)?)(s|m|h|d)$")
_UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}


def parse_moment(text: str, now_ms: int) -> int:
    """A moment in unix ms.

    Args:
        text: ``2026-11-22T10:00:00Z`` (UTC where no zone is said), ``2026-11-22``, unix ms, ``90s``, ``15m``, ``2h`` or
            ``3d`` (ago), ``now``, ``today`` or ``yesterday`` (UTC midnight).
        now_ms: Unix ms of now.

    Raises:
        ValueError: It is none of these.
    """
    word = text.strip()
    ago = _AGO.match(word)
    if ago is not None:
        return now_ms - round(float(ago[1]) * _UNITS_MS[ago[2]])
    if re.fullmatch(r"\d{10,14}", word):
        return int(word)
    if word in ("now", "today", "yesterday"):
        midnight_ms = now_ms - now_ms % _UNITS_MS["d"]
        return {"now": now_ms, "today": midnight_ms, "yesterday": midnight_ms - _UNITS_MS["d"]}[word]
    try:
        moment = datetime.fromisoformat(word)
    except ValueError:
        raise ValueError(
            f"not a moment: {text!r} (write 2026-11-22T10:00:00Z, 2026-11-22, 2h (ago), today or yesterday)"
        ) from None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return round((moment - datetime(1970, 1, 1, tzinfo=UTC)) / timedelta(milliseconds=1))


def moment_text(ts: int) -> str:
    """Unix ms as RFC 3339 in UTC with milliseconds, such as ``2026-11-22T10:00:00.250Z``."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ts)
    return moment.isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"
