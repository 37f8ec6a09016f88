"""Rules as the configuration writes them."""

from __future__ import annotations

from pathlib import Path

import pytest

from monitor.config import Config, load_config, make_config
from monitor.core.alerts import AlertRule
from monitor.errors import UsageError
from monitor.rules import StreamRules, rules_of
from monitor.types import Severity


def rules(text: dict[str, object], stream: int | None = None) -> StreamRules:
    config = make_config(text)
    return rules_of(config, None if stream is None else config.streams[stream])


def named(found: StreamRules) -> dict[str, AlertRule]:
    return {rule.name: rule for rule in found.rules}


def refused(tmp_path: Path, text: str) -> list[str]:
    file = tmp_path / "c.yaml"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        load_config(file)
    return [line.removeprefix(f"{tmp_path}/") for line in str(caught.value).splitlines()]


def test_a_configuration_without_rules_has_the_default_ones() -> None:
    assert list(named(rules({}))) == [
        "lost", "no_video", "black", "frozen", "loop", "decode_errors", "quality", "silence", "format"
    ]  # fmt: skip


def test_a_new_rule_needs_a_metric_and_a_level_and_has_defaults_for_the_rest() -> None:
    rule = named(rules({"alerts": {"slow": {"metric": "fps_in", "raise": 20}}}))["slow"]
    assert rule == AlertRule("slow", "fps_in", 20, 20, 10, 10, Severity.MINOR, "below", ("lost", "no_video"))


def test_every_word_of_a_rule_is_taken() -> None:
    config: dict[str, object] = {
        "schedules": {"prime": {"time_zone": "Europe/Paris", "windows": ["daily 18:00-24:00"]}},
        "alerts": {
            "ugly": {
                "metric": "score_10s", "raise": 40, "clear": 50, "raise_for": "5s", "clear_for": "1m",
                "severity": "critical", "inhibit": ["lost", "black"], "schedule": "prime",
            }
        },
    }  # fmt: skip
    rule = named(rules(config))["ugly"]
    assert rule.schedule is not None
    assert str(rule.schedule.zone) == "Europe/Paris"
    assert rule == AlertRule(
        "ugly", "score_10s", 40, 50, 5, 60, Severity.CRITICAL, "below", ("lost", "black"), rule.schedule
    )


def test_bands_are_levels_by_name() -> None:
    rule = named(rules({"alerts": {"looks": {"metric": "band", "raise": "poor", "clear": "good"}}}))["looks"]
    assert (rule.raise_level, rule.clear_level, rule.direction) == (2, 4, "below")
    assert [str(rule.signal(value)) for value in (1.0, 2.0, 3.0, 4.0)] == ["breach", "breach", "between", "healthy"]


def test_both_levels_say_which_side_is_bad() -> None:
    rule = named(rules({"alerts": {"runaway": {"metric": "fps_in", "raise": 60, "clear": 55}}}))["runaway"]
    assert rule.direction == "above"


def test_a_stream_takes_the_common_rules_then_its_profiles_then_its_own() -> None:
    config: dict[str, object] = {
        "alerts": {"quality": {"raise": 20, "severity": "minor"}, "black": {"enabled": False}},
        "maintenance": "night",
        "schedules": {"night": {"windows": ["daily 03:00-03:30"]}, "sunday": {"windows": ["Sun 02:00-04:00"]}},
        "profiles": {
            "sport": {
                "alerts": {"quality": {"severity": "critical"}, "slow": {"metric": "fps_in", "raise": 45}},
                "expect": {"width": 1920, "fps": 50},
                "maintenance": ["sunday"],
            }
        },
        "streams": [
            {"id": "a", "url": "udp://h:1", "profile": "sport", "expect": {"fps": 25},
             "alerts": {"quality": {"raise": 12}}},
            {"id": "b", "url": "udp://h:2"},
        ],
    }  # fmt: skip
    first, second = rules(config, 0), rules(config, 1)
    quality = named(first)["quality"]
    assert (quality.raise_level, quality.clear_level, quality.severity) == (12, 10, Severity.CRITICAL)
    assert "slow" in named(first)
    assert first.expected is not None
    assert (first.expected.width, first.expected.fps) == (1920, 25)
    assert len(first.maintenance) == 2
    quality = named(second)["quality"]
    assert (quality.raise_level, quality.severity) == (20, Severity.MINOR)
    assert "slow" not in named(second)
    assert (second.expected, len(second.maintenance)) == (None, 1)
    assert rules(config).rules == second.rules


def test_a_rule_that_is_switched_off_explains_nothing() -> None:
    left = named(rules({"alerts": {"lost": {"enabled": False}}}))
    assert "lost" not in left
    assert left["black"].inhibited_by == ("no_video",)


def test_a_default_rule_on_another_metric_is_a_new_rule() -> None:
    rule = named(rules({"alerts": {"quality": {"metric": "score_60s", "raise": 50}}}))["quality"]
    assert (rule.metric, rule.raise_level, rule.clear_level, rule.direction) == ("score_60s", 50, 50, "below")


def test_all_mistakes_come_at_once_with_file_line_and_key(tmp_path: Path) -> None:
    lines = refused(
        tmp_path,
        """\
alerts:
  qualty: {raise: 10}
  quality:
    raise: 5
  slow: {metric: fps_in}
  ugly:
    metric: score
    raise: poor
  loop: {metric: score, raise: 1, inhibit: pool}
  pool: {metric: score, raise: 1, inhibit: loop}
  odd:
    metric: score
    raise: 1
    inhibit: [lost, nothing]
    schedule: not prime
maintenance: [night]
profiles:
  p:
    alerts:
      black: {clear: 20}
streams:
  - id: a
    url: udp://h:1
    profile: q
  - {id: b, url: 'udp://h:2', profile: p}
  - {id: c, url: 'udp://h:2', profile: p}
""",
    )
    assert sorted(lines) == sorted(
        [
            "c.yaml:16: maintenance.0: unknown schedule 'night'; there are none",
            "c.yaml:2: alerts.qualty: unknown rule; the known ones are lost, no_video, black, frozen, loop, "
            "decode_errors, quality, silence, format; a new one needs a metric",
            "c.yaml:4: alerts.quality.raise: raise 5 and clear 10 contradict each other: drop is bad above raise",
            "c.yaml:5: alerts.slow: a new rule needs raise: the fps_in at which it may raise",
            "c.yaml:8: alerts.ugly.raise: poor is a band, and score is a number",
            "c.yaml:15: alerts.odd.schedule: unknown schedule 'prime'; there are none",
            "c.yaml:14: alerts.odd.inhibit: unknown rules: nothing",
            "c.yaml:10: alerts.pool.inhibit: rules inhibit each other in a circle: loop -> pool -> loop",
            "c.yaml:20: profiles.p.alerts.black.clear: raise 10 and clear 20 contradict each other: black_s is bad "
            "above raise",
            "c.yaml:24: streams.0.profile: unknown profile 'q'; known: p",
        ]
    )


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("alerts: {x: {metric: scoer, raise: 1}}", "alerts.x.metric: unknown metric 'scoer'; known: lost, "),
        ("alerts: {x: {metric: score, raise: high}}", "alerts.x.raise: not a level"),
        ("alerts: {x: {metric: score, rais: 1}}", "alerts.x.rais: unknown key"),
        ("alerts: {X y: {metric: score, raise: 1}}", "alerts.X y.[key]: String should match"),
        ("alerts: {quality: {raise_for: long}}", "alerts.quality.raise_for: not a duration"),
        ("schedules: {s: {windows: [Sunday]}}", "schedules.s.windows.0: not a window: 'Sunday'"),
        ("schedules: {s: {windows: []}}", "schedules.s.windows: a schedule needs a window"),
        ("schedules: {s: {time_zone: Mars, windows: [daily 01:00-02:00]}}", "time_zone: unknown time zone 'Mars'"),
        ("streams: [{id: a, url: 'udp://h:1', expect: {hight: 1}}]", "streams.0.expect.hight: unknown key"),
    ],
)
def test_a_wrong_value_is_one_line_with_its_key(tmp_path: Path, text: str, said: str) -> None:
    (line,) = refused(tmp_path, text)
    assert line.startswith("c.yaml:1: ")
    assert said in line


def test_what_every_stream_shares_is_complained_of_once() -> None:
    streams = [{"id": f"s{n}", "url": "udp://h:1", "alerts": {"black": {"raise": 20}}} for n in range(3)]
    with pytest.raises(UsageError) as caught:
        make_config({"alerts": {"quality": {"raise": 5}}, "streams": streams})
    assert len(str(caught.value).splitlines()) == 1


def test_a_plain_configuration_has_no_complaint() -> None:
    assert rules_of(Config()).maintenance == ()
