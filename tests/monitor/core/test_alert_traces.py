"""Whole books of rules on random traces, against an oracle that works rule by rule instead of second by second.

The number of traces is VQWATCH_TRACES (60); a longer run sets it to 10000.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from itertools import count

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alert_book import AlertBook
from monitor.core.alerts import AlertRule
from monitor.core.schedule import OnceWindow, Schedule
from monitor.types import AlertEvent, Severity, StreamId
from tests.monitor.core.alert_oracle import Event, Values, oracle

TRACES = int(os.environ.get("VQWATCH_TRACES", "60"))
START = datetime(2026, 3, 4, 12, 0)
EPOCH = START.replace(tzinfo=UTC).timestamp()
STEP_S = 0.25


def schedule(start_min: int, end_min: int) -> Schedule:
    return Schedule(UTC, (OnceWindow(START + timedelta(minutes=start_min), START + timedelta(minutes=end_min)),))


quarters = st.integers(0, 60).map(lambda n: n * STEP_S)
minutes = st.tuples(st.integers(0, 4), st.integers(1, 3)).map(lambda pair: (pair[0], pair[0] + pair[1]))


@st.composite
def books(draw: st.DrawFn) -> list[AlertRule]:
    def rule(name: str, *inhibited_by: str) -> AlertRule:
        gap = draw(st.sampled_from([0.0, 5.0]))
        within = draw(st.none() | minutes.map(lambda span: schedule(*span)))
        return AlertRule(
            name, name, 15.0, 15.0 - gap, draw(quarters), draw(quarters), Severity.MINOR,
            inhibited_by=inhibited_by, schedule=within,
        )  # fmt: skip

    return [rule("lost"), rule("black", "lost"), rule("drop", "lost", "black")]


levels = st.sampled_from([0.0, 0.0, 12.0, 20.0, 20.0, None])
#: Runs of one set of values each, long enough now and then to get past every hold.
runs = st.tuples(st.fixed_dictionaries({"lost": levels, "black": levels, "drop": levels}), st.integers(1, 90))
traces = st.lists(runs, min_size=1, max_size=10).map(lambda some: [values for values, n in some for _ in range(n)])


def played(rules: list[AlertRule], trace: list[Values], quiet: tuple[int, int]) -> list[AlertEvent]:
    ids = count()
    book = AlertBook(StreamId("one"), rules, lambda: f"id{next(ids)}", maintenance=(schedule(*quiet),))
    return [event for n, v in enumerate(trace) for event in book.step(n * STEP_S, EPOCH + n * STEP_S, v)]


@settings(max_examples=TRACES)
@given(rules=books(), trace=traces, quiet=minutes)
def test_a_book_does_what_the_oracle_says(rules: list[AlertRule], trace: list[Values], quiet: tuple[int, int]) -> None:
    events = played(rules, trace, quiet)
    said = [Event((e.cleared_at or e.raised_at) - EPOCH, e.rule, e.status) for e in events]

    def may_raise(rule: AlertRule, at_s: float) -> bool:
        off = rule.schedule is not None and not rule.schedule.holds(EPOCH + at_s)
        return not off and not quiet[0] <= at_s / 60 < quiet[1]

    assert sorted(said) == oracle(rules, trace, may_raise, STEP_S)


@settings(max_examples=TRACES)
@given(rules=books(), trace=traces, quiet=minutes)
def test_raises_and_clears_strictly_alternate_and_no_clear_comes_before_its_time(
    rules: list[AlertRule], trace: list[Values], quiet: tuple[int, int]
) -> None:
    events = played(rules, trace, quiet)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    for rule in rules:
        own = [event for event in events if event.rule == rule.name]
        assert [event.status for event in own] == ["raised", "cleared"] * (len(own) // 2) + ["raised"] * (len(own) % 2)
        for raised, cleared in zip(own[::2], own[1::2], strict=False):
            assert raised.id == cleared.id
            assert cleared.cleared_at is not None
            first = round((cleared.cleared_at - rule.clear_for_s - EPOCH) / STEP_S)
            last = round((cleared.cleared_at - EPOCH) / STEP_S)
            assert first > (raised.raised_at - EPOCH) / STEP_S or rule.clear_for_s == 0
            assert all(rule.signal(values[rule.metric]) == "healthy" for values in trace[first : last + 1])


drops = st.lists(st.floats(0.01, 0.29), min_size=10, max_size=10)


@settings(max_examples=TRACES)
@given(gaps=drops, clear_for_s=st.floats(1.5, 20.0), start_s=st.floats(0.0, 5.0))
def test_five_drops_in_a_second_and_a_half_are_one_raise_and_one_clear(
    gaps: list[float], clear_for_s: float, start_s: float
) -> None:
    rule = AlertRule("lost", "lost", 1.0, 0.0, 0.0, clear_for_s, Severity.CRITICAL)
    book = AlertBook(StreamId("one"), [rule], lambda: "id")
    scale = min(1.0, 1.5 / sum(gaps))
    now_s, events = start_s, []
    for n, gap in enumerate(gaps):
        events += book.step(now_s, EPOCH + now_s, {"lost": float(n % 2 == 0)})
        now_s += gap * scale
    for _ in range(200):
        events += book.step(now_s, EPOCH + now_s, {"lost": 0.0})
        now_s += 0.25
    assert [event.status for event in events] == ["raised", "cleared"]
    assert events[0].raised_at == EPOCH + start_s  # at the first drop: damping delays no raise
