"""Windows of local time: when rules watch, and when a stream is in maintenance."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_CLOCK = r"([01]?\d|2[0-4]):([0-5]\d)"
_WEEKLY = re.compile(rf"^\s*([A-Za-z,\-\s]+?)\s+{_CLOCK}\s*-\s*{_CLOCK}\s*$")
_MOMENT = r"(\d{4}-\d\d-\d\d[ T]\d\d:\d\d)"
_ONCE = re.compile(rf"^\s*{_MOMENT}\s*(?:-|to)\s*{_MOMENT}\s*$")
_DAY_MIN = 24 * 60


@dataclass(frozen=True, slots=True)
class WeeklyWindow:
    """A span of the clock on some days of the week.

    Attributes:
        days: Days on which it starts, Monday is 0.
        start_min: First minute of the day in it.
        end_min: First minute after it; at or before ``start_min`` it is one of the next day.
    """

    days: frozenset[int]
    start_min: int
    end_min: int

    def holds(self, local: datetime) -> bool:
        """Whether a local time lies in it."""
        today = local.weekday()
        minute = local.hour * 60 + local.minute
        if self.start_min < self.end_min:
            return today in self.days and self.start_min <= minute < self.end_min
        return (today in self.days and minute >= self.start_min) or (
            (today - 1) % 7 in self.days and minute < self.end_min
        )


@dataclass(frozen=True, slots=True)
class OnceWindow:
    """One span between two local times (without zone), the end not in it."""

    start: datetime
    end: datetime

    def holds(self, local: datetime) -> bool:
        """Whether a local time lies in it."""
        return self.start <= local.replace(tzinfo=None) < self.end


@dataclass(frozen=True, slots=True)
class Schedule:
    """Windows in one time zone.

    Windows are read off the local clock: on the night that the clock goes forward, a window in the hour that does
    not exist does not come; on the night that it goes back, one in the doubled hour comes twice.

    Attributes:
        zone: Time zone of the windows.
        windows: Where any of them holds, the schedule does.
        inside: False turns it round: it holds outside of all windows.
    """

    zone: tzinfo
    windows: tuple[WeeklyWindow | OnceWindow, ...]
    inside: bool = True

    def holds(self, utc_s: float) -> bool:
        """Whether it holds at a moment, in unix seconds."""
        local = datetime.fromtimestamp(utc_s, self.zone)
        return any(window.holds(local) for window in self.windows) is self.inside

    def inverted(self) -> Schedule:
        """Holds where this one does not."""
        return replace(self, inside=not self.inside)


def parse_window(text: str) -> WeeklyWindow | OnceWindow:
    """A window as people write it.

    ``daily 03:00-03:30``, ``Mon-Fri,Sun 23:30-00:30`` or ``2026-12-24 18:00 - 2026-12-25 06:00``.

    Raises:
        ValueError: It is none of these, or it is empty.
    """
    once = _ONCE.match(text)
    if once is not None:
        try:
            start, end = (datetime.fromisoformat(part) for part in once.groups())
        except ValueError as error:
            raise ValueError(f"not a window: {text!r}: {error}") from None
        if end <= start:
            raise ValueError(f"the window {text!r} ends before it starts")
        return OnceWindow(start, end)
    weekly = _WEEKLY.match(text)
    if weekly is None:
        raise ValueError(
            f"not a window: {text!r} (write 'Sun 02:00-05:00', 'Mon-Fri 23:30-00:30', 'daily 03:00-03:30' or "
            "'2026-12-24 18:00 - 2026-12-25 06:00')"
        )
    days = _parse_days(weekly[1])
    start_min, end_min = (int(weekly[i]) * 60 + int(weekly[i + 1]) for i in (2, 4))
    if start_min >= _DAY_MIN or end_min > _DAY_MIN:
        raise ValueError(f"no such time of day in {text!r}")
    if start_min == end_min:
        raise ValueError(f"the window {text!r} is empty (00:00-24:00 is the whole day)")
    return WeeklyWindow(days, start_min, end_min)


def any_holds(schedules: Sequence[Schedule], utc_s: float) -> bool:
    """Whether one of them holds."""
    return any(schedule.holds(utc_s) for schedule in schedules)


def _parse_days(text: str) -> frozenset[int]:
    if text.strip().lower() == "daily":
        return frozenset(range(7))
    days: set[int] = set()
    for part in text.split(","):
        ends = [end.strip().lower()[:3] for end in part.split("-")]
        if len(ends) > 2 or any(end not in _DAYS for end in ends):
            raise ValueError(f"no such day: {part.strip()!r} (Mon, Tue, Wed, Thu, Fri, Sat, Sun, or daily)")
        first, last = _DAYS.index(ends[0]), _DAYS.index(ends[-1])
        # Fri-Mon goes over the end of the week.
        days.update((first + n) % 7 for n in range((last - first) % 7 + 1))
    return frozenset(days)
