"""Windows of local time."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from monitor.core.schedule import Schedule, parse_window

BERLIN = ZoneInfo("Europe/Berlin")


def holds(window: str, moment: str, zone: ZoneInfo = BERLIN) -> bool:
    utc_s = datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
    return Schedule(zone, (parse_window(window),)).holds(utc_s)


@pytest.mark.parametrize(
    ("window", "moment_utc", "inside"),
    [
        # 2026-03-01 is a Sunday; Berlin is at UTC+1 then.
        ("Sun 02:00-05:00", "2026-03-01 00:59:59", False),
        ("Sun 02:00-05:00", "2026-03-01 01:00:00", True),
        ("Sun 02:00-05:00", "2026-03-01 03:59:59", True),
        ("Sun 02:00-05:00", "2026-03-01 04:00:00", False),
        ("Sun 02:00-05:00", "2026-03-02 02:00:00", False),
        # Past midnight it belongs to the day on which it starts.
        ("Fri 23:30-00:30", "2026-03-06 22:45:00", True),
        ("Fri 23:30-00:30", "2026-03-06 23:15:00", True),
        ("Fri 23:30-00:30", "2026-03-05 23:15:00", False),
        ("Fri 23:30-00:30", "2026-03-06 23:30:00", False),
        ("Fri-Mon 10:00-11:00", "2026-03-08 09:30:00", True),
        ("Fri-Mon 10:00-11:00", "2026-03-10 09:30:00", False),
        ("mon,wednesday 10:00-11:00", "2026-03-04 09:30:00", True),
        ("daily 00:00-24:00", "2026-03-04 22:59:59", True),
        # Summer time: the same clock, another hour of UTC.
        ("daily 03:00-03:30", "2026-07-01 01:15:00", True),
        ("daily 03:00-03:30", "2026-07-01 02:15:00", False),
        ("2026-12-24 18:00 - 2026-12-25 06:00", "2026-12-24 17:00:00", True),
        ("2026-12-24 18:00 to 2026-12-25 06:00", "2026-12-25 05:00:00", False),
    ],
)
def test_a_window_holds_by_the_local_clock(window: str, moment_utc: str, inside: bool) -> None:
    assert holds(window, moment_utc) is inside


def test_a_window_in_the_hour_that_the_spring_skips_does_not_come_and_in_the_doubled_hour_comes_twice() -> None:
    day = datetime(2026, 3, 29, tzinfo=UTC).timestamp()
    schedule = Schedule(BERLIN, (parse_window("daily 02:10-02:50"),))
    assert not any(schedule.holds(day + minute * 60) for minute in range(24 * 60))
    day = datetime(2026, 10, 25, tzinfo=UTC).timestamp()
    assert sum(schedule.holds(day + minute * 60) for minute in range(24 * 60)) == 80


def test_an_inverted_schedule_holds_outside() -> None:
    schedule = Schedule(UTC, (parse_window("daily 10:00-11:00"), parse_window("daily 12:00-13:00")))
    moments = [datetime(2026, 3, 4, hour, 30, tzinfo=UTC).timestamp() for hour in (10, 11, 12, 13)]
    assert [schedule.holds(m) for m in moments] == [True, False, True, False]
    assert [schedule.inverted().holds(m) for m in moments] == [False, True, False, True]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("02:00-05:00", "not a window"),
        ("Sun 2-5", "not a window"),
        ("Sum 02:00-05:00", "no such day: 'Sum'"),
        ("Sun 24:30-05:00", "no such time"),
        ("Sun 05:00-05:00", "empty"),
        ("2026-12-25 06:00 - 2026-12-24 18:00", "ends before it starts"),
        ("2026-02-30 06:00 - 2026-12-24 18:00", "not a window"),
    ],
)
def test_what_is_no_window_is_refused(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_window(text)
