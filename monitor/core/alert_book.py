"""All alerts of one stream."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from monitor.core.alerts import AlertMachine, AlertRule, AlertTransition
from monitor.core.schedule import Schedule, any_holds
from monitor.types import AlertEvent, Severity, StreamId


class AlertBook:
    """All alerts of one stream.

    Times of an alert are UTC at its raise, and from there on what the monotonic clock adds: a wall clock that is set
    while it is up changes neither its duration nor its worst moment.

    An inhibited rule is stepped as if it had no data until the alert that explains it has been healthy for its clear
    time: it does not raise, and one already raised stays until its own clear. The same goes for a rule outside its
    schedule, and for all rules in maintenance.

    Args:
        stream: Whose alerts they are.
        rules: Unique names; ``inhibited_by`` names rules among them.
        new_id: Makes the id of each alert; its raise and its clear share it.
        next_seq: Number of the next event of this stream (a restart goes on where the ledger ends).
        active: Raised events that were never cleared, to be taken up; those of unknown rules are left out.
        now_s: Monotonic time, needed with ``active``.
        utc_s: UTC seconds since 1970 of the same moment; with it their worst moments are taken up too.
        maintenance: While one of these holds, nothing raises.

    Raises:
        ValueError: Names are not unique or unknown, or rules inhibit each other in a circle.
    """

    def __init__(
        self,
        stream: StreamId,
        rules: Sequence[AlertRule],
        new_id: Callable[[], str],
        *,
        next_seq: int = 1,
        active: Iterable[AlertEvent] = (),
        now_s: float = 0.0,
        utc_s: float | None = None,
        maintenance: Sequence[Schedule] = (),
    ) -> None:
        self._stream = stream
        self._maintenance = tuple(maintenance)
        self._new_id = new_id
        self._seq = next_seq
        self._machines = {rule.name: AlertMachine(rule) for rule in ordered(rules)}
        # Of each: what it takes to step it, looked up once and not every second.
        self._steps = self._plan()
        self._raised: dict[str, AlertEvent] = {}
        self._resumed: set[str] = set()
        self._raises = dict.fromkeys(self._machines, 0)
        for event in active:
            machine = self._machines.get(event.rule)
            if machine is not None:
                worst = machine.rule.raise_level if event.value is None else event.value
                worst_s = now_s
                if utc_s is not None and event.worst_at is not None:
                    worst_s -= utc_s - event.worst_at
                machine.resume(now_s, now_s, worst, worst_s)
                self._raised[event.rule] = event
                self._resumed.add(event.rule)

    @property
    def active(self) -> tuple[AlertEvent, ...]:
        """Raised alerts, oldest first."""
        return tuple(sorted(self._raised.values(), key=lambda event: event.seq))

    @property
    def raises(self) -> Mapping[str, int]:
        """Raises of each rule since this object was made, those that inhibit others first."""
        return self._raises

    def severity(self, rule: str) -> Severity:
        """Severity of one of its rules.

        Raises:
            KeyError: It has no such rule.
        """
        return self._machines[rule].rule.severity

    def rule(self, name: str) -> AlertRule:
        """One of its rules.

        Raises:
            KeyError: It has no such rule.
        """
        return self._machines[name].rule

    def is_raised(self, rule: str) -> bool:
        """Whether the alert of a rule is up; also one that an earlier run had raised."""
        return rule in self._raised

    @property
    def next_seq(self) -> int:
        """Number that the next event will have."""
        return self._seq

    def step(
        self,
        now_s: float,
        utc_s: float,
        metrics: Mapping[str, float | None],
        cause: str | None = None,
        cause_p: float | None = None,
    ) -> list[AlertEvent]:
        """Steps every rule, those that inhibit others first.

        Args:
            now_s: Monotonic time, seconds; all durations are measured on it.
            utc_s: UTC seconds since 1970 of the same moment, for the events.
            metrics: Values by name; a missing one is unknown.
            cause: Most probable cause of bad quality now, for raises.
            cause_p: Its probability.

        Returns:
            Raises and clears, numbered in their order.
        """
        events: list[AlertEvent] = []
        quiet = bool(self._maintenance) and any_holds(self._maintenance, utc_s)
        for machine, rule, metric, explaining in self._steps:
            value = metrics.get(metric)
            # What is unknown needs no reason not to raise.
            if value is not None and not machine.raised and (quiet or _may_not_raise(rule, explaining, utc_s)):
                value = None
            transition = machine.step(now_s, value)
            if transition is not None:
                events.append(self._record(rule, transition, utc_s, cause, cause_p))
        return events

    def change(
        self, rules: Sequence[AlertRule], now_s: float, utc_s: float, maintenance: Sequence[Schedule] = ()
    ) -> list[AlertEvent]:
        """Takes other rules from here on.

        A rule that is still there, and watches the same metric from the same side, keeps its state: an alert that is up
        stays up until the new levels clear it. What another rule had raised is cleared.

        Args:
            rules: As of the constructor.
            now_s: Monotonic time, seconds.
            utc_s: UTC seconds since 1970 of the same moment.
            maintenance: As of the constructor.

        Returns:
            The clears.

        Raises:
            ValueError: As the constructor; then nothing has changed.
        """
        wanted = ordered(rules)
        kept: dict[str, AlertMachine] = {}
        events: list[AlertEvent] = []
        by_name = {rule.name: rule for rule in wanted}
        for name, machine in self._machines.items():
            new, old = by_name.get(name), machine.rule
            if new is not None and (new.metric, new.direction) == (old.metric, old.direction):
                machine.rule = new
                kept[name] = machine
            elif (done := machine.withdraw(now_s)) is not None:
                events.append(self._record(old, done, utc_s, None, None))
        self._machines = {rule.name: kept.get(rule.name) or AlertMachine(rule) for rule in wanted}
        self._steps = self._plan()
        self._raises = {name: self._raises.get(name, 0) for name in self._machines}
        self._maintenance = tuple(maintenance)
        return events

    def _plan(self) -> list[tuple[AlertMachine, AlertRule, str, tuple[AlertMachine, ...]]]:
        """Each machine with its rule, metric and inhibitors."""
        return [
            (
                machine,
                machine.rule,
                machine.rule.metric,
                tuple(self._machines[name] for name in machine.rule.inhibited_by),
            )
            for machine in self._machines.values()
        ]

    def withdraw(self, now_s: float, utc_s: float, metrics: Container[str] | None = None) -> list[AlertEvent]:
        """Clears what is raised on some metrics (all: None), because nobody looks at them any more."""
        transitions = [
            (machine.rule, machine.withdraw(now_s))
            for machine in self._machines.values()
            if metrics is None or machine.rule.metric in metrics
        ]
        return [self._record(rule, done, utc_s, None, None) for rule, done in transitions if done is not None]

    def _record(
        self,
        rule: AlertRule,
        transition: AlertTransition,
        utc_s: float,
        cause: str | None,
        cause_p: float | None,
    ) -> AlertEvent:
        opened = self._raised.pop(rule.name, None)
        now_utc_s = utc_s
        if opened is not None:
            cause, cause_p = opened.cause, opened.cause_p
            if rule.name in self._resumed:
                # The raise was before a restart: only the wall clock spans it.
                self._resumed.discard(rule.name)
                now_utc_s = max(utc_s, opened.raised_at)
            else:
                # The wall clock may have been set since; how long an alert lasted does not depend on it.
                now_utc_s = opened.raised_at + (transition.at_s - transition.raised_s)
        event = AlertEvent(
            id=self._new_id() if opened is None else opened.id,
            seq=self._seq,
            stream=self._stream,
            rule=rule.name,
            # A receiver that was told of a critical alert is told of its end as such.
            severity=rule.severity if opened is None else opened.severity,
            status=transition.status,
            raised_at=utc_s if opened is None else opened.raised_at,
            value=transition.worst,
            threshold=rule.raise_level,
            cleared_at=None if opened is None else now_utc_s,
            cause=cause,
            cause_p=cause_p,
            worst_at=now_utc_s - (transition.at_s - transition.worst_s),
        )
        self._seq += 1
        if opened is None:
            self._raised[rule.name] = event
            self._raises[rule.name] += 1
        return event


def _may_not_raise(rule: AlertRule, explaining: Sequence[AlertMachine], utc_s: float) -> bool:
    for machine in explaining:
        if machine.explains:
            return True
    return rule.schedule is not None and not rule.schedule.holds(utc_s)


def ordered(rules: Sequence[AlertRule]) -> list[AlertRule]:
    """Rules with those that inhibit others first.

    Raises:
        ValueError: Names are not unique or unknown, or rules inhibit each other in a circle.
    """
    by_name = {rule.name: rule for rule in rules}
    if len(by_name) != len(rules):
        raise ValueError(f"rule names must be unique, got {sorted(rule.name for rule in rules)}")
    for rule in rules:
        unknown = [name for name in rule.inhibited_by if name not in by_name]
        if unknown:
            raise ValueError(f"rule {rule.name} is inhibited by unknown rules: {', '.join(unknown)}")
    sorter = TopologicalSorter({rule.name: rule.inhibited_by for rule in rules})
    try:
        return [by_name[name] for name in sorter.static_order()]
    except CycleError as err:
        raise ValueError(f"rules inhibit each other in a circle: {' -> '.join(err.args[1])}") from err


def default_rules() -> tuple[AlertRule, ...]:
    """The rules of a stream that configures none.

    A lost or empty stream is noticed 3 s after its last picture, so 2 s more make 5 s from fault to alert.
    Ten seconds of black or freeze are longer than editing needs. A drop of 15 points on the 0-100 scale is
    three times the margin within which the baseline follows content. ``format`` is silent without an expected format,
    ``silence`` where the sound is not looked at.
    """
    blind = ("lost", "no_video")
    # A picture that repeats once in a while is live: the clear levels allow for stills of up to 2 s.
    return (
        AlertRule("lost", "lost", 1.0, 0.0, 2.0, 5.0, Severity.CRITICAL),
        AlertRule("no_video", "no_video", 1.0, 0.0, 2.0, 5.0, Severity.MAJOR, inhibited_by=("lost",)),
        AlertRule("black", "black_s", 10.0, 2.0, 0.0, 10.0, Severity.MAJOR, inhibited_by=blind),
        AlertRule("frozen", "still_s", 10.0, 2.0, 0.0, 10.0, Severity.MAJOR, inhibited_by=(*blind, "black")),
        AlertRule("loop", "loop_s", 10.0, 2.0, 0.0, 10.0, Severity.MAJOR, inhibited_by=(*blind, "black", "frozen")),
        AlertRule("decode_errors", "corrupt_share", 0.1, 0.02, 10.0, 20.0, Severity.MINOR, inhibited_by=blind),
        AlertRule(
            "quality",
            "drop",
            15.0,
            10.0,
            10.0,
            20.0,
            Severity.MAJOR,
            inhibited_by=(*blind, "black", "frozen", "loop"),
        ),
        # It has a value only where the audio is decoded, which is asked for; to ask twice would be once too often.
        AlertRule("silence", "silence_s", 10.0, 1.0, 0.0, 5.0, Severity.MAJOR, inhibited_by=blind),
        AlertRule("format", "format_mismatch", 1.0, 0.0, 5.0, 5.0, Severity.MINOR, inhibited_by=blind),
    )
