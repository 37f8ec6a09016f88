"""Alert rules and the one state machine for every kind of them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from monitor.core.schedule import Schedule
from monitor.types import Severity

#: Each raise that follows a clear within this time doubles the time that must be healthy before the next
#: clear.
FLAP_WINDOW_S = 300.0
#: Longest such time, and most doublings.
CLEAR_CAP_S = 300.0
_MAX_DOUBLINGS = 10

RAISED = "raised"
CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class AlertRule:
    """When to raise and when to clear.

    Attributes:
        name: Name of the rule, unique on a stream.
        metric: Key of the value it watches.
        raise_level: A value at or beyond it is a breach.
        clear_level: A value at or within it is healthy; on the healthy side of ``raise_level`` or equal to
            it.
        raise_for_s: Breach time before the alert is raised.
        clear_for_s: Unbroken healthy time before it is cleared.
        severity: How bad it is.
        direction: "above": high values are bad; "below": low ones.
        inhibited_by: Rules whose raised alert explains this one.
        schedule: When it may raise; None is always.

    Raises:
        ValueError: Levels or times contradict each other.
    """

    name: str
    metric: str
    raise_level: float
    clear_level: float
    raise_for_s: float
    clear_for_s: float
    severity: Severity
    direction: str = "above"
    inhibited_by: tuple[str, ...] = ()
    schedule: Schedule | None = None

    def __post_init__(self) -> None:
        if self.direction not in ("above", "below"):
            raise ValueError(f"rule {self.name}: direction must be above or below, got {self.direction!r}")
        for name in ("raise_level", "clear_level", "raise_for_s", "clear_for_s"):
            if not math.isfinite(getattr(self, name)):
                raise ValueError(f"rule {self.name}: {name} must be finite, got {getattr(self, name)}")
        if self.worse(self.clear_level, self.raise_level):
            raise ValueError(
                f"rule {self.name}: clear_level {self.clear_level} lies beyond raise_level "
                f"{self.raise_level} in direction {self.direction}"
            )
        if self.raise_for_s < 0 or self.clear_for_s < 0:
            raise ValueError(f"rule {self.name}: raise_for_s and clear_for_s must be >= 0")

    def worse(self, a: float, b: float) -> bool:
        """Whether value ``a`` is worse than ``b``."""
        return a > b if self.direction == "above" else a < b

    def signal(self, value: float | None) -> Signal:
        """What a value says to this rule; None and NaN say nothing."""
        # Written out: each rule of each stream asks each second.
        if value is None or math.isnan(value):
            return Signal.NONE
        if self.direction == "above":
            if value >= self.raise_level:
                return Signal.BREACH
            return Signal.BETWEEN if value > self.clear_level else Signal.HEALTHY
        if value <= self.raise_level:
            return Signal.BREACH
        return Signal.BETWEEN if value < self.clear_level else Signal.HEALTHY


class Signal(StrEnum):
    """A value as its rule sees it."""

    BREACH = "breach"
    BETWEEN = "between"
    HEALTHY = "healthy"
    NONE = "none"


class AlertState(StrEnum):
    """State of one rule on one stream."""

    OK = "ok"
    PENDING = "pending"  # in breach, not yet for long enough
    RAISED = "raised"
    CLEARING = "clearing"  # raised, and healthy for some time
    NO_DATA = "no_data"  # not raised, and nothing known


#: State after a value, before the timers. A raised alert without data stays raised, and its healthy time
#: starts over.
_TRANSITIONS: dict[tuple[AlertState, Signal], AlertState] = {
    (AlertState.OK, Signal.BREACH): AlertState.PENDING,
    (AlertState.OK, Signal.BETWEEN): AlertState.OK,
    (AlertState.OK, Signal.HEALTHY): AlertState.OK,
    (AlertState.OK, Signal.NONE): AlertState.NO_DATA,
    (AlertState.PENDING, Signal.BREACH): AlertState.PENDING,
    (AlertState.PENDING, Signal.BETWEEN): AlertState.OK,
    (AlertState.PENDING, Signal.HEALTHY): AlertState.OK,
    (AlertState.PENDING, Signal.NONE): AlertState.NO_DATA,
    (AlertState.NO_DATA, Signal.BREACH): AlertState.PENDING,
    (AlertState.NO_DATA, Signal.BETWEEN): AlertState.OK,
    (AlertState.NO_DATA, Signal.HEALTHY): AlertState.OK,
    (AlertState.NO_DATA, Signal.NONE): AlertState.NO_DATA,
    (AlertState.RAISED, Signal.BREACH): AlertState.RAISED,
    (AlertState.RAISED, Signal.BETWEEN): AlertState.RAISED,
    (AlertState.RAISED, Signal.HEALTHY): AlertState.CLEARING,
    (AlertState.RAISED, Signal.NONE): AlertState.RAISED,
    (AlertState.CLEARING, Signal.BREACH): AlertState.RAISED,
    (AlertState.CLEARING, Signal.BETWEEN): AlertState.RAISED,
    (AlertState.CLEARING, Signal.HEALTHY): AlertState.CLEARING,
    (AlertState.CLEARING, Signal.NONE): AlertState.RAISED,
}


@dataclass(frozen=True, slots=True)
class AlertTransition:
    """A raise or a clear.

    Attributes:
        status: "raised" or "cleared".
        at_s: When, on the clock of the steps.
        raised_s: When it was raised.
        worst: Worst value from the first breach until now.
        worst_s: When that was.
    """

    status: str
    at_s: float
    raised_s: float
    worst: float
    worst_s: float


class AlertMachine:
    """One rule on one stream; times are an argument (monotonic seconds). Not for several threads.

    A raise is never delayed by damping. Recovery is damped: a raise within five minutes of the last clear
    doubles the healthy time that the next clear needs, up to five minutes; each five quiet minutes after a
    clear take one doubling back. Missing data holds the raise timer still: an outage of data shorter than
    ``raise_for_s`` neither counts as breach nor forgets it, so that a feed too bad to be scored all the time
    is still raised.

    Args:
        rule: What it watches for.
        flap_window_s: Clear-to-raise time that counts as flapping.
        clear_cap_s: Longest damped ``clear_for_s`` (the rule's own, where that is longer).
    """

    def __init__(self, rule: AlertRule, flap_window_s: float = FLAP_WINDOW_S, clear_cap_s: float = CLEAR_CAP_S) -> None:
        self.rule = rule
        self.state = AlertState.OK
        self._flap_window_s = flap_window_s
        self._longest_clear_s = clear_cap_s
        self._doublings = 0
        self._now_s = -math.inf
        self._breach_s = 0.0  # breach time so far, while PENDING or NO_DATA
        self._no_data_since_s = 0.0
        self._healthy_since_s = 0.0
        self._cleared_s: float | None = None
        self._raised_s = 0.0
        self._worst: tuple[float, float] | None = None  # value, time

    @property
    def raised(self) -> bool:
        """Whether the alert is up."""
        return self.state in (AlertState.RAISED, AlertState.CLEARING)

    @property
    def explains(self) -> bool:
        """Whether what it has raised still explains other alerts.

        It does until it has been healthy for its own ``clear_for_s``. Damping may hold the clear longer, but must not
        hold back the raises of others.
        """
        if self.state is AlertState.CLEARING:
            return self._now_s - self._healthy_since_s < self.rule.clear_for_s
        return self.state is AlertState.RAISED

    @property
    def clear_hold_s(self) -> float:
        """Healthy time that the next clear needs, damping included."""
        longest_s = max(self._longest_clear_s, self.rule.clear_for_s)
        return min(longest_s, self.rule.clear_for_s * 2.0**self._doublings)

    def resume(self, now_s: float, raised_s: float, worst: float, worst_s: float) -> None:
        """Takes up an alert that was raised before a restart, so that it is not raised twice."""
        self.state = AlertState.RAISED
        self._now_s = now_s
        self._raised_s = raised_s
        self._worst = (worst, worst_s)

    def step(self, now_s: float, value: float | None) -> AlertTransition | None:
        """Takes in the value of one moment; call it at a steady pace, once a second.

        Args:
            now_s: Monotonic time, seconds.
            value: The metric, or None where it is unknown: that never raises and never clears.

        Returns:
            The raise or clear it leads to, if any; they alternate.

        Raises:
            ValueError: Time runs backwards.
        """
        if now_s < self._now_s:
            raise ValueError(f"rule {self.rule.name}: time runs backwards, from {self._now_s} to {now_s}")
        before, elapsed = self.state, now_s - self._now_s
        self._now_s = now_s
        signal = self.rule.signal(value)
        self.state = _TRANSITIONS[before, signal]
        if before is AlertState.NO_DATA and now_s - self._no_data_since_s > self.rule.raise_for_s:
            self._breach_s, self._worst = 0.0, None
        if self.state is AlertState.OK:
            self._breach_s, self._worst = 0.0, None
            return None
        if value is not None and signal is not Signal.NONE:
            self._note_worst(value, now_s)
        match self.state:
            case AlertState.PENDING:
                if before is AlertState.PENDING:
                    self._breach_s += elapsed
                if self._breach_s >= self.rule.raise_for_s:
                    return self._raise()
            case AlertState.NO_DATA:
                if before is not AlertState.NO_DATA:
                    self._no_data_since_s = now_s
            case AlertState.CLEARING:
                if before is not AlertState.CLEARING:
                    self._healthy_since_s = now_s
                if now_s - self._healthy_since_s >= self.clear_hold_s:
                    return self._clear()
        return None

    def withdraw(self, now_s: float) -> AlertTransition | None:
        """Clears at once, whatever the value: the stream or the rule is going away."""
        self._now_s = max(self._now_s, now_s)
        return self._clear() if self.raised else None

    def _raise(self) -> AlertTransition:
        self.state = AlertState.RAISED
        if self._cleared_s is not None:
            quiet_s = self._now_s - self._cleared_s
            if quiet_s <= self._flap_window_s:
                self._doublings = min(self._doublings + 1, _MAX_DOUBLINGS)
            else:
                self._doublings = max(0, self._doublings - int(quiet_s // self._flap_window_s))
        self._raised_s = self._now_s
        return self._transition(RAISED)

    def _clear(self) -> AlertTransition:
        transition = self._transition(CLEARED)
        self.state = AlertState.OK
        self._cleared_s = self._now_s
        self._breach_s = 0.0
        self._worst = None
        return transition

    def _transition(self, status: str) -> AlertTransition:
        assert self._worst is not None  # a raise follows a breach
        worst, worst_s = self._worst
        return AlertTransition(status, self._now_s, self._raised_s, worst, worst_s)

    def _note_worst(self, value: float, now_s: float) -> None:
        if self._worst is None or self.rule.worse(value, self._worst[0]):
            self._worst = (value, now_s)
