"""The part of the configuration that rules are made of: alerts, schedules, profiles, expected formats."""

from __future__ import annotations

import re
from functools import cached_property
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainValidator,
    WithJsonSchema,
)

from monitor.core.bands import BAND_NUMBERS
from monitor.core.expected_format import ExpectedFormat
from monitor.core.metrics import METRICS
from monitor.core.schedule import Schedule, parse_window
from monitor.types import Severity

_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
_DURATION = re.compile(r"^\s*([0-9]*\.?[0-9]+)\s*([a-z]*)\s*$")
_DURATION_FORM = r"^\s*[0-9]*\.?[0-9]+\s*(ms|s|m|min|h|d)?\s*$"
#: The alphabet of stream, node, rule, profile and schedule ids: safe in an MQTT topic, a metric label and a file name.
ID_PATTERN = r"^[a-z0-9_-]{1,64}$"


def parse_duration(value: object) -> object:
    """``10s``, ``500ms``, ``5m``, ``2h``, ``1d`` or a number of seconds, as seconds."""
    if not isinstance(value, str):
        return value
    match = _DURATION.match(value)
    if match is None or (match[2] and match[2] not in _UNITS_S):
        raise ValueError(f"not a duration: {value!r} (write 500ms, 10s, 5m, 2h or 1d)")
    return float(match[1]) * _UNITS_S.get(match[2], 1.0)


def _parse_level(value: object) -> float | str:
    if isinstance(value, str) and value in BAND_NUMBERS:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"not a level: write a number, or a band ({', '.join(BAND_NUMBERS)})")
    return float(value)


def _known_metric(name: str) -> str:
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
    return name


def _known_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (OSError, ValueError):  # ZoneInfoNotFoundError is a KeyError
        raise ValueError(f"not a time zone: {name!r}") from None
    except KeyError:
        raise ValueError(
            f"unknown time zone {name!r} (names are as Europe/Berlin; where none is known, install tzdata)"
        ) from None
    return name


def _window(text: str) -> str:
    parse_window(text)
    return text


def _not_empty(windows: tuple[str, ...]) -> tuple[str, ...]:
    if not windows:
        raise ValueError("a schedule needs a window")
    return windows


def _one_or_many(value: object) -> object:
    return [value] if isinstance(value, str) else value


# The JSON schemas are what an editor is told; the validators are what holds.
Duration = Annotated[
    float,
    BeforeValidator(parse_duration),
    Field(ge=0),
    WithJsonSchema({"anyOf": [{"type": "number", "minimum": 0}, {"type": "string", "pattern": _DURATION_FORM}]}),
]
Id = Annotated[str, Field(pattern=ID_PATTERN)]
Level = Annotated[
    float | str,
    PlainValidator(_parse_level),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"enum": list(BAND_NUMBERS)}]}),
]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_one_or_many),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]}),
]


class Section(BaseModel):
    """A part of the configuration; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class RuleSection(Section):
    """One alert rule; keys left out keep the values of the rule that is changed, or a new rule's defaults."""

    enabled: bool = True
    metric: Annotated[str, AfterValidator(_known_metric), WithJsonSchema({"enum": list(METRICS)})] | None = Field(
        None, description="what it watches; makes a new rule"
    )
    severity: Severity | None = None
    raise_level: Level | None = Field(None, alias="raise", description="value at which it may raise")
    clear_level: Level | None = Field(None, alias="clear", description="value at which it may clear")
    raise_for: Duration | None = Field(None, description="how long the value must stay there to raise")
    clear_for: Duration | None = Field(None, description="how long it must stay healthy to clear")
    inhibit: Names | None = Field(None, description="rules that explain this one: while one is up, this does not raise")
    schedule: str | None = Field(None, description="when it may raise: a schedule's name, or 'not NAME'")
    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)


class ScheduleSection(Section):
    """Windows of local time."""

    time_zone: Annotated[str, AfterValidator(_known_zone)] = Field("UTC", description="IANA name of the zone")
    windows: Annotated[
        tuple[Annotated[str, AfterValidator(_window)], ...],
        BeforeValidator(_one_or_many),
        AfterValidator(_not_empty),
        WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
    ] = Field(description="daily 01:00-05:30, Mon-Fri 23:30-00:30, or 2026-12-24 18:00 - 2026-12-25 06:00")

    @cached_property
    def schedule(self) -> Schedule:
        """The windows as the rules use them."""
        return Schedule(ZoneInfo(self.time_zone), tuple(parse_window(text) for text in self.windows))


class ExpectSection(Section):
    """What a feed should be; keys left out are not looked at."""

    codec: str | None = None
    width: int | None = Field(None, gt=0)
    height: int | None = Field(None, gt=0)
    fps: float | None = Field(None, gt=0)
    interlaced: bool | None = None
    pixel_format: str | None = None
    audio_codec: str | None = None

    def format(self) -> ExpectedFormat:
        """The same, as the monitor compares it."""
        return ExpectedFormat(**self.model_dump())


Rules = dict[Id, RuleSection]


class ProfileSection(Section):
    """Rules that many streams share."""

    alerts: Rules = Field({}, description="changes to the rules of its streams, and new ones")
    maintenance: Names = Field((), description="schedules in which nothing raises")
    expect: ExpectSection | None = None


def merged_rule(layers: list[RuleSection]) -> dict[str, Any]:
    """The keys that any layer sets, by field name; later layers win."""
    keys: dict[str, Any] = {}
    for layer in layers:
        keys |= {name: getattr(layer, name) for name in layer.model_fields_set}
    return {name: value for name, value in keys.items() if value is not None}
