"""The rules of each stream: the defaults, changed by the configuration, its profile and its own section in turn."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from monitor.core.alert_book import default_rules, ordered
from monitor.core.alerts import AlertRule
from monitor.core.bands import BAND_NUMBERS
from monitor.core.expected_format import ExpectedFormat
from monitor.core.metrics import METRICS
from monitor.core.schedule import Schedule
from monitor.rule_sections import ProfileSection, RuleSection, merged_rule
from monitor.types import Severity

if TYPE_CHECKING:
    from monitor.config import Config, StreamSection

#: Path of a key in the configuration, such as ("alerts", "quality", "raise").
Key = tuple[str | int, ...]

_NEW_RAISE_FOR_S = 10.0
_NEW_CLEAR_FOR_S = 10.0
_NEW_SEVERITY = Severity.MINOR
#: What explains that a stream can hardly be good: the default of a new rule's ``inhibit``.
_BLIND = ("lost", "no_video")


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in the configuration of rules.

    Attributes:
        key: Where it stands.
        message: What is wrong.
    """

    key: Key
    message: str


@dataclass(frozen=True, slots=True)
class StreamRules:
    """How one stream is alerted.

    Attributes:
        rules: Its rules, names unique.
        maintenance: While one of these holds, nothing raises.
        expected: What the feed should be; None where nothing is said.
    """

    rules: tuple[AlertRule, ...]
    maintenance: tuple[Schedule, ...] = ()
    expected: ExpectedFormat | None = None


def rules_of(config: Config, stream: StreamSection | None = None) -> StreamRules:
    """The rules of a stream; of one that has no section where ``stream`` is None.

    Raises:
        ValueError: The configuration was not checked with :func:`rule_problems`.
    """
    problems: list[Problem] = []
    made = _Maker(config, problems).make(stream, ())
    if problems:
        raise ValueError(problems[0].message)
    return made


def rule_problems(config: Config) -> list[Problem]:
    """Everything that is wrong with the rules of a configuration, each mistake once."""
    problems: list[Problem] = []
    maker = _Maker(config, problems)
    maker.make(None, ())
    for name in config.profiles:
        maker.make_layers([(("profiles", name), config.profiles[name])])
    for index, stream in enumerate(config.streams):
        if stream.profile is not None and stream.profile not in config.profiles:
            known = f"known: {', '.join(config.profiles)}" if config.profiles else "there are none"
            problems.append(Problem(("streams", index, "profile"), f"unknown profile {stream.profile!r}; {known}"))
        elif stream.alerts or stream.maintenance or stream.profile is None:
            maker.make(stream, ("streams", index))
    known_rules = {rule.name for rule in default_rules()}.union(
        config.alerts,
        *(profile.alerts for profile in config.profiles.values()),
        *(stream.alerts for stream in config.streams),
    )
    for index, webhook in enumerate(config.webhooks):
        problems.extend(
            Problem(
                ("webhooks", index, "rules", number), f"unknown rule {name!r}; known: {', '.join(sorted(known_rules))}"
            )
            for number, name in enumerate(webhook.rules or ())
            if name not in known_rules
        )
    return list(dict.fromkeys(problems))


class _Refused(Exception):
    def __init__(self, key: Key, message: str) -> None:
        super().__init__(message)
        self.key = key


def _level(keys: Mapping[str, Any], places: Mapping[str, Key], field: str, metric: str) -> float | None:
    value: float | str | None = keys.get(field)
    if not isinstance(value, str):
        return value
    if metric != "band":
        raise _Refused((*places[field], field.removesuffix("_level")), f"{value} is a band, and {metric} is a number")
    return BAND_NUMBERS[value]


class _Maker:
    """Makes rules and notes what is wrong, instead of raising, so that all mistakes come at once."""

    def __init__(self, config: Config, problems: list[Problem]) -> None:
        self._config = config
        self._problems = problems

    def make(self, stream: StreamSection | None, key: Key) -> StreamRules:
        layers: list[tuple[Key, ProfileSection | StreamSection]] = []
        if stream is not None:
            if stream.profile is not None and stream.profile in self._config.profiles:
                layers.append((("profiles", stream.profile), self._config.profiles[stream.profile]))
            layers.append((key, stream))
        return self.make_layers(layers)

    def make_layers(self, layers: list[tuple[Key, ProfileSection | StreamSection]]) -> StreamRules:
        config = self._config
        sections: list[tuple[Key, Mapping[str, RuleSection]]] = [(("alerts",), config.alerts)]
        sections += [((*key, "alerts"), layer.alerts) for key, layer in layers]
        quiet = [(("maintenance",), config.maintenance), *(((*k, "maintenance"), v.maintenance) for k, v in layers)]
        maintenance = [self._schedule((*key, n), name) for key, names in quiet for n, name in enumerate(names)]
        expected = None
        for _, layer in layers:
            if layer.expect is not None:
                named = {name: getattr(layer.expect.format(), name) for name in layer.expect.model_fields_set}
                expected = replace(expected or ExpectedFormat(), **named)
        rules = self._rules(sections)
        return StreamRules(tuple(rules), tuple(s for s in maintenance if s is not None), expected)

    def _rules(self, sections: list[tuple[Key, Mapping[str, RuleSection]]]) -> list[AlertRule]:
        defaults = {rule.name: rule for rule in default_rules()}
        names = [*defaults, *(name for _, rules in sections for name in rules if name not in defaults)]
        made: dict[str, AlertRule] = {}
        # Where each rule's inhibitors are said, for a mistake among them.
        said: dict[str, Key] = {}
        for name in dict.fromkeys(names):
            layers = [(key, rules[name]) for key, rules in sections if name in rules]
            keys = merged_rule([section for _, section in layers])
            key = (*layers[-1][0], name) if layers else ("alerts", name)
            places = {field: (*at, name) for at, section in layers for field in section.model_fields_set}
            if not keys.get("enabled", True):
                continue
            try:
                made[name] = self._rule(name, defaults.get(name), keys, key, places)
            except _Refused as refused:
                self._complain(refused.key, str(refused))
            said[name] = (*places["inhibit"], "inhibit") if "inhibit" in places else key
        return self._fitted(made, {*names}, said)

    def _rule(
        self, name: str, default: AlertRule | None, keys: dict[str, Any], key: Key, places: dict[str, Key]
    ) -> AlertRule:
        """One rule.

        Raises:
            _Refused: With what is wrong.
        """
        metric = keys.get("metric", None if default is None else default.metric)
        if metric is None:
            known = ", ".join(rule.name for rule in default_rules())
            raise _Refused(key, f"unknown rule; the known ones are {known}; a new one needs a metric")
        raise_level = _level(keys, places, "raise_level", metric)
        clear_level = _level(keys, places, "clear_level", metric)
        if default is None or metric != default.metric:
            if raise_level is None:
                raise _Refused(key, f"a new rule needs raise: the {metric} at which it may raise")
            default = AlertRule(
                name, metric, raise_level, raise_level, _NEW_RAISE_FOR_S, _NEW_CLEAR_FOR_S, _NEW_SEVERITY,
                METRICS[metric].bad, () if metric in _BLIND else _BLIND,
            )  # fmt: skip
        direction = default.direction
        if raise_level is not None and clear_level is not None and raise_level != clear_level:
            # Both are said, so they say which side is bad.
            direction = "above" if raise_level > clear_level else "below"
        raise_at = default.raise_level if raise_level is None else raise_level
        clear_at = default.clear_level if clear_level is None else clear_level
        if raise_at != clear_at and (raise_at < clear_at) is (direction == "above"):
            field = "clear_level" if raise_level is None else "raise_level"
            raise _Refused(
                (*places[field], field.removesuffix("_level")),
                f"raise {raise_at:g} and clear {clear_at:g} contradict each other: {metric} is bad {direction} raise",
            )
        schedule = default.schedule
        if "schedule" in keys:
            schedule = self._schedule((*places["schedule"], "schedule"), keys["schedule"], may_invert=True)
        return replace(
            default,
            severity=keys.get("severity", default.severity),
            raise_level=raise_at,
            clear_level=clear_at,
            raise_for_s=keys.get("raise_for", default.raise_for_s),
            clear_for_s=keys.get("clear_for", default.clear_for_s),
            direction=direction,
            inhibited_by=keys.get("inhibit", default.inhibited_by),
            schedule=schedule,
        )

    def _fitted(self, made: dict[str, AlertRule], known: set[str], said: dict[str, Key]) -> list[AlertRule]:
        """The rules, with inhibitors among them alone."""
        for name, rule in made.items():
            unknown = [other for other in rule.inhibited_by if other not in known]
            if unknown:
                self._complain(said[name], f"unknown rules: {', '.join(unknown)}")
            # What is switched off explains nothing.
            left = tuple(other for other in rule.inhibited_by if other in made)
            made[name] = replace(rule, inhibited_by=left)
        try:
            ordered(list(made.values()))
        except ValueError as error:
            blamed = next(reversed([name for name in made if made[name].inhibited_by]))
            named = [name for name in made if f" {name}" in str(error) and said[name][-1] == "inhibit"]
            self._complain(said[named[-1] if named else blamed], str(error))
        return list(made.values())

    def _schedule(self, key: Key, text: str, *, may_invert: bool = False) -> Schedule | None:
        name = text.removeprefix("not ").strip() if may_invert else text
        section = self._config.schedules.get(name)
        if section is None:
            known = f"known: {', '.join(self._config.schedules)}" if self._config.schedules else "there are none"
            self._complain(key, f"unknown schedule {name!r}; {known}")
            return None
        return section.schedule if name == text else section.schedule.inverted()

    def _complain(self, key: Iterable[str | int], message: str) -> None:
        self._problems.append(Problem(tuple(key), message))
