from __future__ import annotations

from dataclasses import replace

from monitor.demo.impairments import Impairment
from monitor.demo.script import Expected
from monitor.demo.verdict import judge
from monitor.types import AlertEvent, Severity, StreamId

START = 1000.0
WANTED = Expected("coast", Impairment.BITRATE_COLLAPSE, "quality", "compression", 20.0, 40.0, 65.0)
RAISED = AlertEvent(
    "a1", 1, StreamId("coast"), "quality", Severity.MAJOR, "raised", raised_at=START + 27.0, cause="compression"
)
CLEARED = replace(RAISED, seq=2, status="cleared", cleared_at=START + 44.0)


def test_an_alert_in_time_with_its_cause_and_its_clear_is_right() -> None:
    (verdict,) = judge([WANTED], START, [RAISED, CLEARED])
    assert verdict.right
    assert verdict.raised_after_s == 7.0
    assert verdict.line().startswith("ok")


def test_no_alert_is_missed() -> None:
    (verdict,) = judge([WANTED], START, [])
    assert not verdict.right
    assert verdict.line().startswith("MISSED")


def test_another_cause_is_wrong() -> None:
    other = [replace(e, cause="blur") for e in (RAISED, CLEARED)]
    (verdict,) = judge([WANTED], START, other)
    assert not verdict.right
    assert "expected compression" in verdict.line()


def test_an_alert_that_stays_is_stuck() -> None:
    (verdict,) = judge([WANTED], START, [RAISED])
    assert not verdict.right
    assert verdict.line().startswith("STUCK")


def test_alerts_of_other_feeds_rules_and_times_do_not_count() -> None:
    strangers = [
        replace(RAISED, stream=StreamId("city")),
        replace(RAISED, rule="black"),
        replace(RAISED, raised_at=START + 5.0),
        replace(RAISED, raised_at=START + 50.0),
    ]
    (verdict,) = judge([WANTED], START, strangers)
    assert verdict.raised is None
