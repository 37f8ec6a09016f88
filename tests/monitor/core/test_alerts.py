"""The alert machine against its rules and an oracle."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alerts import AlertMachine, AlertRule, AlertState, AlertTransition
from monitor.types import Severity

RULE = AlertRule("quality", "drop", 15, 10, 10, 20, Severity.MAJOR)


class Oracle:
    """Says from the whole past, afresh each second, what the machine should do."""

    def __init__(self, rule: AlertRule, flap_window_s: float, cap_s: float) -> None:
        self.rule, self.flap_window_s, self.cap_s = rule, flap_window_s, max(cap_s, rule.clear_for_s)
        self.past: list[tuple[float, float | None]] = []
        self.events: list[tuple[str, float]] = []
        self.since = 0  # index of the first step after the last event

    def is_breach(self, value: float | None) -> bool:
        sign = 1 if self.rule.direction == "above" else -1
        return value is not None and sign * value >= sign * self.rule.raise_level

    def is_healthy(self, value: float | None) -> bool:
        sign = 1 if self.rule.direction == "above" else -1
        return value is not None and sign * value <= sign * self.rule.clear_level and not self.is_breach(value)

    def breach_s(self) -> float | None:
        """Breach time up to now; None if this is no breach."""
        past = self.past[self.since :]
        if not self.is_breach(past[-1][1]):
            return None
        start = len(past) - 1
        while start > 0:
            if self.is_breach(past[start - 1][1]):
                start -= 1
                continue
            gap_end = start
            first = start - 1
            while first >= 0 and past[first][1] is None:
                first -= 1
            if first == start - 1 or first < 0 or not self.is_breach(past[first][1]):
                break
            if past[gap_end][0] - past[first + 1][0] > self.rule.raise_for_s:
                break
            start = first
        run = past[start:]
        return math.fsum(
            after[0] - before[0]
            for before, after in pairwise(run)
            if self.is_breach(before[1]) and self.is_breach(after[1])
        )

    def healthy_s(self) -> float | None:
        past = self.past[self.since :]
        run = []
        for time, value in reversed(past):
            if not self.is_healthy(value):
                break
            run.append(time)
        return run[0] - run[-1] if run else None

    def hold_s(self) -> float:
        doublings, cleared = 0, None
        for status, time in self.events:
            if status == "raised" and cleared is not None:
                if time - cleared <= self.flap_window_s:
                    doublings = min(10, doublings + 1)
                else:
                    doublings = max(0, doublings - math.floor((time - cleared) / self.flap_window_s))
            if status == "cleared":
                cleared = time
        return min(self.cap_s, self.rule.clear_for_s * 2**doublings)

    def step(self, now_s: float, value: float | None) -> str | None:
        self.past.append((now_s, value))
        raised = len(self.events) % 2 == 1
        if raised:
            healthy = self.healthy_s()
            status = "cleared" if healthy is not None and healthy >= self.hold_s() else None
        else:
            breach = self.breach_s()
            status = "raised" if breach is not None and breach >= self.rule.raise_for_s else None
        if status is not None:
            self.events.append((status, now_s))
            self.since = len(self.past)
        return status


times = st.integers(0, 40).map(lambda quarter: quarter / 4)
rules = st.builds(
    lambda raise_for, clear_for, below, band: AlertRule(
        "r",
        "m",
        -15.0 if below else 15.0,
        (-15.0 + band) if below else (15.0 - band),
        raise_for,
        clear_for,
        Severity.MINOR,
        direction="below" if below else "above",
    ),
    times,
    times,
    st.booleans(),
    st.sampled_from([0.0, 5.0]),
)
#: Runs of one value each, so that holds are reached; 12 lies between the levels.
traces = st.lists(
    st.tuples(st.sampled_from([0.0, 12.0, 15.0, 20.0, None]), st.integers(1, 60)), min_size=1, max_size=25
)


def seconds(trace: list[tuple[float | None, int]], rule: AlertRule) -> list[tuple[float, float | None]]:
    sign = 1 if rule.direction == "above" else -1
    values = [None if value is None else sign * value for value, count in trace for _ in range(count)]
    return [(n / 4, value) for n, value in enumerate(values)]


@given(rule=rules, trace=traces, window=st.sampled_from([2.0, 20.0, 300.0]), cap=st.sampled_from([5.0, 300.0]))
def test_machine_does_what_the_oracle_says(
    rule: AlertRule, trace: list[tuple[float | None, int]], window: float, cap: float
) -> None:
    machine, oracle = AlertMachine(rule, window, cap), Oracle(rule, window, cap)
    for now_s, value in seconds(trace, rule):
        transition = machine.step(now_s, value)
        assert (None if transition is None else transition.status) == oracle.step(now_s, value), now_s
        assert machine.raised == (len(oracle.events) % 2 == 1)


@settings(max_examples=50)
@given(rule=rules, trace=traces)
def test_raises_and_clears_alternate_and_hold_their_times(
    rule: AlertRule, trace: list[tuple[float | None, int]]
) -> None:
    machine = AlertMachine(rule)
    steps = seconds(trace, rule)
    events: list[AlertTransition] = []
    for now_s, value in steps:
        transition = machine.step(now_s, value)
        if transition is None:
            continue
        events.append(transition)
        assert rule.signal(value) == ("breach" if transition.status == "raised" else "healthy")
        if transition.status == "cleared":
            span = [v for t, v in steps if now_s - rule.clear_for_s <= t <= now_s]
            assert all(rule.signal(v) == "healthy" for v in span)
            assert now_s - rule.clear_for_s >= transition.raised_s
        else:
            breach = [t for t, v in steps if t <= now_s and rule.signal(v) == "breach"]
            assert now_s - breach[0] >= rule.raise_for_s
        seen = [v for t, v in steps if v is not None and transition.worst_s <= t <= now_s]
        assert not any(rule.worse(v, transition.worst) for v in seen)
        assert (transition.worst_s, transition.worst) in steps
    assert [event.status for event in events] == (["raised", "cleared"] * len(events))[: len(events)]


@settings(max_examples=30)
@given(rule=rules, trace=traces)
def test_no_data_alone_changes_nothing(rule: AlertRule, trace: list[tuple[float | None, int]]) -> None:
    machine = AlertMachine(rule)
    for now_s, value in seconds(trace, rule):
        transition = machine.step(now_s, value)
        assert value is not None or transition is None


def run(machine: AlertMachine, values: list[float | None], start_s: float = 0.0) -> list[tuple[str, float]]:
    found = []
    for n, value in enumerate(values):
        transition = machine.step(start_s + n, value)
        if transition is not None:
            found.append((transition.status, transition.at_s))
    return found


def test_dip_shorter_than_the_raise_time_raises_nothing() -> None:
    assert run(AlertMachine(RULE), ([0.0] * 5 + [40.0] * 10) * 20) == []
    assert run(AlertMachine(RULE), [40.0] * 11) == [("raised", 10.0)]


def test_values_between_the_levels_neither_raise_nor_clear() -> None:
    assert run(AlertMachine(RULE), [20.0, 12.0] * 50) == []
    machine = AlertMachine(RULE)
    assert run(machine, [20.0] * 11 + [12.0] * 200) == [("raised", 10.0)]
    assert machine.state is AlertState.RAISED


def test_short_outage_of_data_neither_counts_nor_forgets() -> None:
    assert run(AlertMachine(RULE), [20.0] * 6 + [None] * 3 + [20.0] * 10) == [("raised", 14.0)]
    # Longer than the raise time: what was seen before is too old to add to.
    assert run(AlertMachine(RULE), [20.0] * 6 + [None] * 11 + [20.0] * 11) == [("raised", 27.0)]


def test_five_drops_in_a_row_are_one_raise_and_one_clear() -> None:
    rule = replace(RULE, raise_for_s=0.0, clear_for_s=5.0)
    values = [1.0, 20.0] * 5 + [0.0] * 30
    assert run(AlertMachine(rule), list(values)) == [("raised", 1.0), ("cleared", 15.0)]


def raise_and_clear(machine: AlertMachine, now_s: float) -> float:
    """Raises at once, stays healthy, and returns when the alert is cleared."""
    raised = machine.step(now_s, 20.0)
    assert raised is not None  # damping never delays a raise
    assert raised.at_s == now_s
    while machine.raised:
        now_s += 1
        machine.step(now_s, 0.0)
    return now_s


def test_flapping_doubles_the_hold_and_never_delays_a_raise() -> None:
    machine = AlertMachine(replace(RULE, raise_for_s=0.0, clear_for_s=20.0))
    now_s, holds = 0.0, []
    for _ in range(7):
        cleared_s = raise_and_clear(machine, now_s)
        holds.append(cleared_s - now_s - 1)
        now_s = cleared_s + 100
    assert holds == [20.0, 40.0, 80.0, 160.0, 300.0, 300.0, 300.0]


def test_long_quiet_forgets_flapping() -> None:
    machine = AlertMachine(replace(RULE, raise_for_s=0.0, clear_for_s=20.0))
    now_s = 0.0
    for _ in range(4):
        now_s = raise_and_clear(machine, now_s) + 1
    assert machine.clear_hold_s == 160.0
    raise_and_clear(machine, now_s + 2 * 300)
    assert machine.clear_hold_s == 40.0


def test_resumed_alert_is_not_raised_again_and_clears_by_its_own_time() -> None:
    machine = AlertMachine(RULE)
    machine.resume(100.0, 90.0, 33.0, 95.0)
    assert run(machine, [20.0] * 30, 100.0) == []
    assert run(machine, [0.0] * 21, 130.0) == [("cleared", 150.0)]


def test_withdrawn_alert_is_cleared_once() -> None:
    machine = AlertMachine(RULE)
    assert machine.withdraw(0.0) is None
    run(machine, [20.0] * 11)
    cleared = machine.withdraw(50.0)
    assert cleared is not None
    assert (cleared.status, cleared.at_s, cleared.raised_s) == ("cleared", 50.0, 10.0)
    assert machine.withdraw(51.0) is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"direction": "up"}, "direction"),
        ({"clear_level": 16.0}, "beyond"),
        ({"direction": "below"}, "beyond"),
        ({"raise_for_s": -1.0}, ">= 0"),
        ({"clear_for_s": math.nan}, "finite"),
    ],
)
def test_contradictory_rules_are_refused(changes: dict[str, float | str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(RULE, **changes)


def test_time_that_runs_backwards_is_refused() -> None:
    machine = AlertMachine(RULE)
    machine.step(5.0, 0.0)
    with pytest.raises(ValueError, match="backwards"):
        machine.step(4.0, 0.0)


def test_nan_is_no_data() -> None:
    machine = AlertMachine(RULE)
    machine.step(0.0, math.nan)
    assert machine.state is AlertState.NO_DATA
