from __future__ import annotations

from itertools import pairwise

import pytest

from monitor.demo.impairments import Impairment
from monitor.demo.script import Fault, Script, default_script, expected, parse_script
from monitor.errors import UsageError
from monitor.types import CAUSES

FEEDS = ("coast", "city")


def errors(text: str) -> list[str]:
    with pytest.raises(UsageError) as caught:
        parse_script(text, "show.yaml", FEEDS)
    return str(caught.value).splitlines()


def test_the_default_shows_every_kind_of_alert_within_ninety_seconds() -> None:
    script = default_script()
    assert [f.impairment for f in script.faults] == [
        Impairment.BITRATE_COLLAPSE,
        Impairment.INTERLACING,
        Impairment.FRAME_DROP,
        Impairment.BLACK,
        Impairment.FREEZE,
        Impairment.LOSS,
    ]
    assert max(fault.end_s for fault in script.faults) <= 90.0
    assert min(fault.at_s for fault in script.faults) >= 20.0
    assert all(14.0 <= fault.duration_s <= 20.0 for fault in script.faults)


def test_faults_of_one_feed_lie_apart_over_the_end_of_the_round_too() -> None:
    script = default_script()
    for feed in ("coast", "city", "mountains"):
        own = [fault for fault in script.faults if fault.feed == feed]
        assert len(own) == 2
        again = Fault(own[0].at_s + script.period_s, own[0].duration_s, feed, own[0].impairment)
        assert all(second.at_s - first.end_s >= 15.0 for first, second in pairwise([*own, again]))


def test_fewer_feeds_have_fewer_faults() -> None:
    assert {fault.feed for fault in default_script(("only",)).faults} == {"only"}


def test_a_fault_is_active_from_its_start_until_just_before_its_end_in_every_round() -> None:
    fault = Fault(2.0, 3.0, "city", Impairment.BLUR)
    script = Script((fault,), 10.0)
    assert script.active("city", 1.99) is None
    assert script.active("city", 2.0) == (0, fault)
    assert script.active("city", 4.99) == (0, fault)
    assert script.active("city", 5.0) is None
    assert script.active("city", 32.5) == (3, fault)
    assert script.active("coast", 2.5) is None
    assert script.active("city", -7.0) is None


def test_expected_alerts_name_rule_cause_and_window() -> None:
    script = Script(
        (Fault(20.0, 15.0, "coast", Impairment.BITRATE_COLLAPSE), Fault(40.0, 14.0, "city", Impairment.LOSS)), 80.0
    )
    first, second, third, _ = expected(script, rounds=2)
    assert (first.feed, first.rule, first.cause) == ("coast", "quality", "compression")
    assert (second.feed, second.rule, second.cause) == ("city", "lost", None)
    assert (first.raise_from_s, third.raise_from_s) == (20.0, 100.0)
    assert 35.0 < first.raise_by_s < first.clear_by_s


def test_every_impairment_has_an_expected_alert_with_a_known_cause() -> None:
    script = Script(tuple(Fault(i * 2.0, 1.0, "city", kind) for i, kind in enumerate(Impairment)), 100.0)
    alerts = expected(script)
    assert len(alerts) == len(Impairment)
    assert all(alert.cause in CAUSES for alert in alerts if alert.rule == "quality")


def test_a_script_is_read_in_order_of_time_with_units() -> None:
    script = parse_script(
        """
        faults:
          - {at: 1m, duration: 15s, feed: coast, impairment: interlacing}
          - {at: 20, duration: 1500ms, feed: city, impairment: loss}
        """,
        "show.yaml",
        FEEDS,
    )
    assert script.faults == (
        Fault(20.0, 1.5, "city", Impairment.LOSS),
        Fault(60.0, 15.0, "coast", Impairment.INTERLACING),
    )
    assert script.period_s == 95.0


def test_all_errors_are_told_at_once_with_line_and_key() -> None:
    found = errors(
        "period: soon\n"
        "colour: red\n"
        "faults:\n"
        "  - {at: 1s, duration: 0s, feed: coast, impairment: blur}\n"
        "  - {at: 1s, duration: 2s, feed: moon, impairment: fog}\n"
        "  - at: 9s\n"
        "    duration: 2s\n"
        "    feed: city\n"
    )
    assert found[0].startswith("show.yaml:2: colour: unknown key")
    assert "show.yaml:4: faults[0].duration: must be a duration above 0 such as 15s" in found
    assert "show.yaml:5: faults[1].feed: must be one of coast, city" in found
    assert any(line.startswith("show.yaml:5: faults[1].impairment: must be one of bitrate_collapse,") for line in found)
    assert "show.yaml:6: faults[2].impairment: missing" in found
    assert "show.yaml:1: period: must be a duration such as 15s" in found


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "show.yaml:1: faults: missing"),
        ("faults: []", "show.yaml:1: faults: must be a list of at least one fault"),
        ("- 1", "show.yaml:1: script: must be a mapping with faults"),
        ("faults: [\n  {at: 1s", "show.yaml:2: "),
        ("faults: [{at: 1s, at: 2s, duration: 1s, feed: city, impairment: blur}]", "show.yaml:1: faults[0].at: given"),
    ],
)
def test_a_broken_script_is_refused_with_its_line(text: str, message: str) -> None:
    assert errors(text)[0].startswith(message)


def test_overlapping_faults_of_one_feed_are_refused() -> None:
    fault = "{at: %ss, duration: 5s, feed: city, impairment: blur}"
    assert errors(f"faults:\n  - {fault % 1}\n  - {fault % 5}\n") == [
        "show.yaml:3: at: overlaps the blur of city at 1 s"
    ]


def test_a_period_shorter_than_its_faults_is_refused() -> None:
    text = "faults: [{at: 5s, duration: 5s, feed: city, impairment: blur}]\nperiod: 8s\n"
    assert errors(text) == ["show.yaml:2: period: is shorter than the faults, which end at 10 s"]
