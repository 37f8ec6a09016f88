"""An independent account of what a book of rules does: rule by rule over a whole trace, instead of second by second."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from monitor.core.alerts import CLEAR_CAP_S, FLAP_WINDOW_S, AlertRule

Values = dict[str, float | None]


class Event(NamedTuple):
    at_s: float
    rule: str
    status: str


class RuleOracle:
    """One rule over a whole trace: finds its raises and clears by looking for stretches, one after the other."""

    def __init__(
        self, rule: AlertRule, values: Sequence[float | None], may_raise: Sequence[bool], step_s: float
    ) -> None:
        self.rule, self.values, self.may_raise, self.step_s = rule, values, may_raise, step_s
        self.events: list[Event] = []
        #: Steps at which it explains others.
        self.explains = [False] * len(values)
        at, doublings, cleared_s = 0, 0, None
        while (raised := self.next_raise(at)) is not None:
            if cleared_s is not None:
                quiet_s = raised * self.step_s - cleared_s
                fewer = max(0, doublings - int(quiet_s // FLAP_WINDOW_S))
                doublings = min(10, doublings + 1) if quiet_s <= FLAP_WINDOW_S else fewer
            hold_s = min(max(CLEAR_CAP_S, rule.clear_for_s), rule.clear_for_s * 2**doublings)
            self.events.append(Event(raised * self.step_s, rule.name, "raised"))
            cleared = self.next_clear(raised + 1, hold_s)
            self.mark(raised, len(values) if cleared is None else cleared)
            if cleared is None:
                return
            self.events.append(Event(cleared * self.step_s, rule.name, "cleared"))
            at, cleared_s = cleared + 1, cleared * self.step_s

    def bad(self, n: int) -> bool:
        value = self.values[n]
        return value is not None and value >= self.rule.raise_level

    def good(self, n: int) -> bool:
        value = self.values[n]
        return value is not None and value <= self.rule.clear_level and not self.bad(n)

    def next_raise(self, start: int) -> int | None:
        # Stretches of breach in a row, with blind ones between them that are short enough to bridge.
        breach_s, blind_from = 0.0, None
        for n in range(start, len(self.values)):
            if self.values[n] is None or not self.may_raise[n]:
                blind_from = n if blind_from is None else blind_from
                continue
            if blind_from is not None and (n - blind_from) * self.step_s > self.rule.raise_for_s:
                breach_s = 0.0
            if not self.bad(n):
                breach_s, blind_from = 0.0, None
                continue
            if n > start and blind_from is None and self.bad(n - 1):
                breach_s += self.step_s
            blind_from = None
            if breach_s >= self.rule.raise_for_s:
                return n
        return None

    def next_clear(self, start: int, hold_s: float) -> int | None:
        run = 0
        for n in range(start, len(self.values)):
            run = run + 1 if self.good(n) else 0
            if run and (run - 1) * self.step_s >= hold_s:
                return n
        return None

    def mark(self, raised: int, cleared: int) -> None:
        run = 0
        for n in range(raised, cleared):
            run = run + 1 if n > raised and self.good(n) else 0
            self.explains[n] = run == 0 or (run - 1) * self.step_s < self.rule.clear_for_s


def oracle(
    rules: Sequence[AlertRule], trace: Sequence[Values], may_raise: Callable[[AlertRule, float], bool], step_s: float
) -> list[Event]:
    """All events of a trace, in order.

    Args:
        rules: Those that inhibit others first.
        trace: Values by metric, one every ``step_s``.
        may_raise: Whether its schedule and maintenance let a rule raise, so many seconds after the beginning.
        step_s: Seconds between two values.
    """
    done: dict[str, RuleOracle] = {}
    for rule in rules:
        explained = [any(them) for them in zip(*(done[name].explains for name in rule.inhibited_by), strict=True)]
        allowed = [may_raise(rule, n * step_s) and not (explained and explained[n]) for n in range(len(trace))]
        done[rule.name] = RuleOracle(rule, [values[rule.metric] for values in trace], allowed, step_s)
    return sorted(event for one in done.values() for event in one.events)
