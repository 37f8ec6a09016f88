"""What happens to which feed and when, and which alerts a monitor is expected to raise for it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import yaml

from monitor.demo.impairments import Impairment
from monitor.errors import UsageError

#: A raise may come this long after a fault has ended: the picture was on its way.
RAISE_GRACE_S = 3.0
#: A clear may come this long after a fault has ended: clear times, and a decoder that has to find its feet again.
CLEAR_WITHIN_S = 25.0

_ALERTS: dict[Impairment, tuple[str, str | None]] = {
    Impairment.BITRATE_COLLAPSE: ("quality", "compression"),
    Impairment.INTERLACING: ("quality", "interlacing"),
    Impairment.FRAME_DROP: ("quality", "frame_drop"),
    Impairment.JUDDER: ("quality", "judder"),
    Impairment.BLUR: ("quality", "blur"),
    Impairment.NOISE: ("quality", "noise"),
    Impairment.FREEZE: ("frozen", None),
    Impairment.BLACK: ("black", None),
    Impairment.LOSS: ("lost", None),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One impairment of one feed, in seconds of the script's clock.

    Attributes:
        at_s: Start.
        duration_s: Length.
        feed: Id of the feed.
        impairment: What is done to it.
    """

    at_s: float
    duration_s: float
    feed: str
    impairment: Impairment

    @property
    def end_s(self) -> float:
        """First moment at which the feed is clean again."""
        return self.at_s + self.duration_s


@dataclass(frozen=True, slots=True)
class Script:
    """Faults in order of their start, played again after each period.

    Attributes:
        faults: Faults within one period, those of a feed apart from each other.
        period_s: Length of one round.
    """

    faults: tuple[Fault, ...]
    period_s: float

    def active(self, feed: str, elapsed_s: float) -> tuple[int, Fault] | None:
        """The fault that a feed has ``elapsed_s`` after the start, with the number of the round; None is clean."""
        if elapsed_s < 0.0:
            return None
        round_number, moment = divmod(elapsed_s, self.period_s)
        for fault in self.faults:
            if fault.feed == feed and fault.at_s <= moment < fault.end_s:
                return int(round_number), fault
        return None


@dataclass(frozen=True, slots=True)
class Expected:
    """The alert that a fault is to cause, in seconds after the start of the script.

    Attributes:
        feed: Whose alert.
        impairment: What causes it.
        rule: ``quality``, ``frozen``, ``black`` or ``lost``.
        cause: For ``quality``, the cause that the alert is to name.
        raise_from_s: Not before.
        raise_by_s: Not later.
        clear_by_s: Its end, not later.
    """

    feed: str
    impairment: Impairment
    rule: str
    cause: str | None
    raise_from_s: float
    raise_by_s: float
    clear_by_s: float


def expected(script: Script, rounds: int = 1) -> list[Expected]:
    """The alerts of the first ``rounds`` rounds, in order."""
    alerts = []
    for number in range(rounds):
        for fault in script.faults:
            rule, cause = _ALERTS[fault.impairment]
            start, end = number * script.period_s + fault.at_s, number * script.period_s + fault.end_s
            alerts.append(
                Expected(fault.feed, fault.impairment, rule, cause, start, end + RAISE_GRACE_S, end + CLEAR_WITHIN_S)
            )
    return alerts


def default_script(feeds: Sequence[str] = ("coast", "city", "mountains")) -> Script:
    """The demo's round: every kind of alert once within 90 s, after 20 s in which baselines are learned.

    The faults of one feed lie 22 s or more apart, over the end of the round too. With fewer than three feeds the
    later feeds' faults are left out.

    Args:
        feeds: Ids of the feeds, the first three are used.
    """
    plan = (
        (20.0, 16.0, 0, Impairment.BITRATE_COLLAPSE),
        (27.0, 16.0, 1, Impairment.INTERLACING),
        (34.0, 16.0, 2, Impairment.FRAME_DROP),
        (60.0, 14.0, 0, Impairment.BLACK),
        (67.0, 14.0, 1, Impairment.FREEZE),
        (74.0, 14.0, 2, Impairment.LOSS),
    )
    faults = tuple(Fault(at, length, feeds[n], what) for at, length, n, what in plan if n < len(feeds))
    return Script(faults, period_s=100.0)


def parse_script(text: str, name: str, feeds: Sequence[str]) -> Script:
    """Read a script.

    ::

        period: 60s          # optional; default: 20 s after the last fault
        faults:
          - {at: 20s, duration: 15s, feed: coast, impairment: interlacing}

    Args:
        text: YAML.
        name: Name of the file, for messages.
        feeds: Ids that faults may name.

    Raises:
        UsageError: It is not such a script; the message has one line for each error, with line number and key.
    """
    reader = _Reader(name, feeds)
    script = reader.script(text)
    if reader.errors or script is None:
        raise UsageError("\n".join(reader.errors))
    return script


class _Reader:
    """Turns YAML nodes into a script and gathers what is wrong with them."""

    def __init__(self, name: str, feeds: Sequence[str]) -> None:
        self._name, self._feeds = name, feeds
        self.errors: list[str] = []

    def script(self, text: str) -> Script | None:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 1
            self.errors.append(f"{self._name}:{line}: {error.problem or 'not YAML'}")
            return None
        if root is None:
            self.errors.append(f"{self._name}:1: faults: missing")
            return None
        keys = self._mapping(root, "", ("faults",), ("period",))
        if "faults" not in keys:
            return None
        node = keys["faults"]
        if not isinstance(node, yaml.SequenceNode) or not node.value:
            self._fail(node, "faults", "must be a list of at least one fault")
            return None
        faults = [(self._fault(item, f"faults[{n}]"), item) for n, item in enumerate(node.value)]
        kept = sorted(((f, item) for f, item in faults if f is not None), key=lambda pair: pair[0].at_s)
        for feed in self._feeds:
            own = [(fault, item) for fault, item in kept if fault.feed == feed]
            for (first, _), (second, item) in pairwise(own):
                if second.at_s < first.end_s:
                    self._fail(item, "at", f"overlaps the {first.impairment} of {feed} at {first.at_s:g} s")
        end = max((fault.end_s for fault, _ in kept), default=0.0)
        period = self._seconds(keys["period"], "period") if "period" in keys else end + 20.0
        if period is not None and "period" in keys and period < end:
            self._fail(keys["period"], "period", f"is shorter than the faults, which end at {end:g} s")
        return Script(tuple(fault for fault, _ in kept), period or end + 20.0)

    def _fault(self, node: yaml.Node, path: str) -> Fault | None:
        keys = self._mapping(node, path, ("at", "duration", "feed", "impairment"))
        if len(keys) < 4:
            return None
        at = self._seconds(keys["at"], f"{path}.at")
        duration = self._seconds(keys["duration"], f"{path}.duration", positive=True)
        feed = self._choice(keys["feed"], f"{path}.feed", self._feeds)
        kind = self._choice(keys["impairment"], f"{path}.impairment", [str(i) for i in Impairment])
        if at is None or duration is None or feed is None or kind is None:
            return None
        return Fault(at, duration, feed, Impairment(kind))

    def _mapping(
        self, node: yaml.Node, path: str, needed: Sequence[str], optional: Sequence[str] = ()
    ) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            self._fail(node, path or "script", f"must be a mapping with {', '.join(needed)}")
            return {}
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            word = str(key.value)
            place = f"{path}.{word}" if path else word
            if word not in (*needed, *optional):
                self._fail(key, place, f"unknown key; there are {', '.join((*needed, *optional))}")
            elif word in found:
                self._fail(key, place, "given twice")
            else:
                found[word] = value
        for word in needed:
            if word not in found:
                self._fail(node, f"{path}.{word}" if path else word, "missing")
        return found

    def _seconds(self, node: yaml.Node, path: str, *, positive: bool = False) -> float | None:
        match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|s|m)?", str(node.value))
        seconds = float(match[1]) * {"ms": 0.001, "s": 1.0, "m": 60.0, None: 1.0}[match[2]] if match else None
        if seconds is None or (positive and seconds == 0.0):
            self._fail(node, path, f"must be a duration{' above 0' if positive else ''} such as 15s")
            return None
        return seconds

    def _choice(self, node: yaml.Node, path: str, choices: Sequence[str]) -> str | None:
        if not isinstance(node, yaml.ScalarNode) or node.value not in choices:
            self._fail(node, path, f"must be one of {', '.join(choices)}")
            return None
        return str(node.value)

    def _fail(self, node: yaml.Node, path: str, problem: str) -> None:
        self.errors.append(f"{self._name}:{node.start_mark.line + 1}: {path}: {problem}")
