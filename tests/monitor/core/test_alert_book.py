"""All alerts of one stream."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC as UTC_ZONE
from datetime import datetime
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alert_book import AlertBook, default_rules
from monitor.core.alerts import AlertRule
from monitor.core.metrics import METRICS
from monitor.core.schedule import Schedule, parse_window
from monitor.types import AlertEvent, Severity, StreamId

FINE: dict[str, float | None] = {
    "lost": 0.0,
    "no_video": 0.0,
    "black_s": 0.0,
    "still_s": 0.0,
    "loop_s": 0.0,
    "corrupt_share": 0.0,
    "drop": 0.0,
    "score_10s": 80.0,
}
UTC = 1_700_000_000.0


def book(**more: object) -> AlertBook:
    ids: Iterator[int] = count()
    return AlertBook(StreamId("one"), default_rules(), lambda: f"id{next(ids)}", **more)  # type: ignore[arg-type]


def run(alerts: AlertBook, seconds: int, start_s: int = 0, **values: float | None) -> list[AlertEvent]:
    return [
        event
        for now_s in range(start_s, start_s + seconds)
        for event in alerts.step(now_s, UTC + now_s, FINE | values, "blur", 0.7)
    ]


def names(events: list[AlertEvent]) -> list[tuple[str, str]]:
    return [(event.rule, event.status) for event in events]


def test_healthy_stream_has_no_alerts() -> None:
    alerts = book()
    assert run(alerts, 600) == []
    assert alerts.active == ()


def test_raise_and_clear_are_one_alert_with_its_worst_moment() -> None:
    alerts = book()
    events = run(alerts, 5, drop=16.0) + run(alerts, 3, 5, drop=40.0) + run(alerts, 10, 8, drop=20.0)
    events += run(alerts, 60, 18)
    raised, cleared = events
    assert raised == AlertEvent(
        id="id0",
        seq=1,
        stream=StreamId("one"),
        rule="quality",
        severity=Severity.MAJOR,
        status="raised",
        raised_at=UTC + 10,
        value=40.0,
        threshold=15.0,
        cause="blur",
        cause_p=0.7,
        worst_at=UTC + 5,
    )
    assert (cleared.id, cleared.seq, cleared.status) == ("id0", 2, "cleared")
    assert (cleared.raised_at, cleared.cleared_at) == (UTC + 10, UTC + 38)
    assert (cleared.value, cleared.worst_at, cleared.cause) == (40.0, UTC + 5, "blur")


def test_loss_is_alerted_two_seconds_after_the_condition() -> None:
    blind = dict.fromkeys(FINE, None) | {"lost": 1.0, "no_video": 0.0}
    events = run(book(), 10, **blind)
    assert names(events) == [("lost", "raised")]
    assert events[0].raised_at == UTC + 2
    assert events[0].severity is Severity.CRITICAL


def test_loss_inhibits_what_it_explains() -> None:
    alerts = book()
    everything = {"lost": 1.0, "no_video": 1.0, "black_s": 30.0, "still_s": 30.0, "drop": 50.0}
    # Black and freeze raise at once; from its own raise on, loss keeps the others down.
    assert names(run(alerts, 60, **everything)) == [("black", "raised"), ("lost", "raised")]


def test_black_inhibits_freeze_and_quality() -> None:
    assert names(run(book(), 60, black_s=12.0, still_s=12.0, drop=60.0)) == [("black", "raised")]


def test_alert_raised_before_the_inhibition_stays_until_its_own_clear() -> None:
    alerts = book()
    assert names(run(alerts, 20, drop=30.0)) == [("quality", "raised")]
    assert names(run(alerts, 60, 20, drop=None, lost=1.0)) == [("lost", "raised")]
    assert {event.rule for event in alerts.active} == {"quality", "lost"}
    assert names(run(alerts, 60, 80)) == [("lost", "cleared"), ("quality", "cleared")]


def test_loop_is_an_alert_of_its_own_and_explains_the_score() -> None:
    events = run(book(), 60, loop_s=12.0, drop=60.0)
    assert [(event.rule, event.value) for event in events] == [("loop", 12.0)]


@pytest.mark.parametrize("leap_s", [3600.0, -3600.0])
def test_wall_clock_that_is_set_changes_no_duration_and_raises_nothing(leap_s: float) -> None:
    alerts = book()
    events = run(alerts, 30, drop=16.0)
    for now_s in range(30, 120):
        events += alerts.step(now_s, UTC + leap_s + now_s, FINE, "blur", 0.7)
    raised, cleared = events
    assert cleared.cleared_at is not None
    assert cleared.cleared_at - cleared.raised_at == 40
    assert cleared.worst_at == raised.worst_at == UTC
    for now_s in range(120, 200):
        assert alerts.step(now_s, UTC - leap_s + now_s, FINE) == []


def test_inhibited_rule_starts_afresh_afterwards() -> None:
    alerts = book()
    run(alerts, 30, lost=1.0, drop=30.0)
    events = run(alerts, 30, 30, drop=30.0)
    assert names(events) == [("lost", "cleared"), ("quality", "raised")]
    assert events[0].cleared_at == UTC + 35
    assert events[1].raised_at == UTC + 45


metrics = st.fixed_dictionaries(
    {
        "lost": st.sampled_from([0.0, 1.0, None]),
        "no_video": st.sampled_from([0.0, 1.0, None]),
        "black_s": st.sampled_from([0.0, 5.0, 20.0, None]),
        "still_s": st.sampled_from([0.0, 5.0, 20.0, None]),
        "corrupt_share": st.sampled_from([0.0, 0.05, 0.5, None]),
        "drop": st.sampled_from([0.0, 12.0, 30.0, None]),
    }
)


@settings(max_examples=40)
@given(st.lists(st.tuples(metrics, st.integers(1, 40)), max_size=20))
def test_events_are_numbered_without_gaps_and_alternate_for_each_rule(
    trace: list[tuple[dict[str, float | None], int]],
) -> None:
    alerts = book()
    rules = {rule.name: rule for rule in default_rules()}
    inhibitors = {name: rule.inhibited_by for name, rule in rules.items()}
    events: list[AlertEvent] = []
    now_s = 0
    for values, seconds in trace:
        for _ in range(seconds):
            now_s += 1
            standing = {event.rule for event in alerts.active}
            new = alerts.step(now_s, UTC + now_s, values)
            for event in new:
                assert (event.status == "raised") != (event.rule in standing)
                standing ^= {event.rule}
                if event.status == "raised":
                    explaining = standing.intersection(inhibitors[event.rule])
                    # One that is up and healthy may just be held, which explains nothing.
                    assert all(rules[name].signal(values[rules[name].metric]) == "healthy" for name in explaining)
            events += new
            assert {event.rule for event in alerts.active} == standing
    events += alerts.withdraw(now_s, UTC + now_s)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert alerts.next_seq == len(events) + 1
    assert alerts.active == ()
    for rule in inhibitors:
        own = [event for event in events if event.rule == rule]
        assert [event.status for event in own] == ["raised", "cleared"] * (len(own) // 2)
        assert [event.id for event in own[::2]] == [event.id for event in own[1::2]]
        assert len({event.id for event in own}) == len(own) // 2


def test_restart_goes_on_with_active_alerts_and_numbers() -> None:
    first = book()
    run(first, 20, drop=30.0)
    again = book(next_seq=first.next_seq, active=first.active, now_s=1000.0)
    assert again.active == first.active
    assert run(again, 30, 1000, drop=30.0) == []
    (cleared,) = run(again, 30, 1030)
    assert (cleared.id, cleared.seq, cleared.status) == (first.active[0].id, 2, "cleared")
    assert (cleared.raised_at, cleared.value) == (UTC + 10, 30.0)


def test_restart_remembers_the_worst_moment_of_an_active_alert() -> None:
    first = book()
    run(first, 20, drop=30.0)
    again = book(next_seq=2, active=first.active, now_s=1000.0, utc_s=UTC + 1000)
    (cleared,) = run(again, 60, 1000)
    assert cleared.worst_at == first.active[0].worst_at == UTC


def test_alerts_of_rules_that_are_gone_are_left_out() -> None:
    first = book()
    run(first, 20, drop=30.0)
    rules = [rule for rule in default_rules() if rule.name != "quality"]
    again = AlertBook(StreamId("one"), rules, str, active=first.active)
    assert again.active == ()


def rule(name: str, *inhibited_by: str) -> AlertRule:
    return AlertRule(name, "m", 1, 0, 0, 0, Severity.INFO, inhibited_by=inhibited_by)


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ([rule("a"), rule("a")], "unique"),
        ([rule("a", "b")], "unknown rules: b"),
        ([rule("a", "b"), rule("b", "a")], "circle"),
    ],
)
def test_rules_that_do_not_fit_together_are_refused(rules: list[AlertRule], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AlertBook(StreamId("one"), rules, str)


def test_default_rules_watch_known_metrics() -> None:
    assert {rule.metric for rule in default_rules()} <= set(METRICS)


def test_silence_is_an_alert_where_the_sound_is_known_and_the_feed_is_there() -> None:
    assert [(e.rule, e.value) for e in run(book(), 30, silence_s=10.5)] == [("silence", 10.5)]
    assert run(book(), 30, silence_s=None) == []


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC_ZONE).timestamp()


def test_in_maintenance_nothing_raises_and_what_is_up_may_clear() -> None:
    window = Schedule(UTC_ZONE, (parse_window("daily 02:00-03:00"),))
    alerts = AlertBook(StreamId("one"), default_rules(), lambda: "id", maintenance=(window,))
    start = at("2026-03-04 01:59:00")
    bad, good = FINE | {"drop": 40.0}, FINE
    before = [e for n in range(60) for e in alerts.step(n, start + n, bad)]
    assert names(before) == [("quality", "raised")]
    inside = [e for n in range(60, 120) for e in alerts.step(n, start + n, good | {"still_s": 60.0})]
    assert names(inside) == [("quality", "cleared")]
    assert [e for n in range(120, 3660) for e in alerts.step(n, start + n, bad | {"black_s": 99.0})] == []
    after = [e for n in range(3660, 3700) for e in alerts.step(n, start + n, bad)]
    assert names(after) == [("quality", "raised")]
    # It starts afresh: breach within the window does not count.
    assert after[0].raised_at == at("2026-03-04 03:00:10")


def test_a_rule_watches_within_its_schedule_alone() -> None:
    night = Schedule(UTC_ZONE, (parse_window("daily 22:00-06:00"),))
    for schedule, moment, raises in (
        (night, "2026-03-04 23:00:00", True),
        (night, "2026-03-04 12:00:00", False),
        (night.inverted(), "2026-03-04 12:00:00", True),
    ):
        only = AlertRule("dark", "black_s", 10.0, 2.0, 0.0, 1.0, Severity.INFO, schedule=schedule)
        alerts = AlertBook(StreamId("one"), [only], lambda: "id")
        assert bool(alerts.step(0, at(moment), {"black_s": 20.0})) is raises


def test_the_held_clear_of_a_flapping_loss_does_not_hold_back_other_raises() -> None:
    alerts = book()
    now_s = 0
    for _ in range(4):  # each loss doubles the time that the next clear is held
        run(alerts, 5, now_s, lost=1.0)
        events = run(alerts, 100, now_s + 5)
        now_s += 105
        assert names(events) == [("lost", "cleared")]
    run(alerts, 5, now_s, lost=1.0)
    # Healthy for its own 5 s and held for 40 s: the freeze is another fault, and is raised at once.
    events = run(alerts, 20, now_s + 5, still_s=30.0)
    assert [(e.rule, e.raised_at - UTC) for e in events] == [("frozen", now_s + 10)]
    assert {event.rule for event in alerts.active} == {"lost", "frozen"}
