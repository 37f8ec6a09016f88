"""The bodies of webhooks."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest

from monitor.core.alert_book import default_rules
from monitor.publish.alert_words import duration_text, headline
from monitor.publish.templates import REPEAT_S, TEMPLATES, alertmanager_repeats
from monitor.publish.wire import alert_payload
from monitor.types import AlertEvent, Severity, StreamId

# 2026-11-22 10:00:00 UTC
NOW_S = 1_795_341_600.0
RAISED = AlertEvent(
    "0190b5d5-7c00-7000-8000-000000000001", 7, StreamId("cam1"), "quality", Severity.MAJOR, "raised", NOW_S,
    18.24, 15.0, None, "frame_drop", 0.72, NOW_S + 1,
)  # fmt: skip
CLEARED = replace(RAISED, seq=8, status="cleared", cleared_at=NOW_S + 125)


def body(template: str, event: AlertEvent, now_s: float = NOW_S + 2) -> bytes:
    return TEMPLATES[template].render(event, "n1", now_s)


def test_the_products_own_body_is_what_mqtt_carries() -> None:
    for event in (RAISED, CLEARED):
        assert body("vqwatch", event) == alert_payload(event)


def test_the_alertmanager_gets_a_list_of_one_alert_whose_end_lies_ahead_while_it_is_up() -> None:
    (alert,) = json.loads(body("alertmanager", RAISED))
    assert alert == {
        "labels": {
            "alertname": "quality",
            "job": "vqwatch",
            "node": "n1",
            "stream": "cam1",
            "severity": "major",
        },
        "annotations": {
            "summary": "cam1: the picture is worse than it usually is",
            "description": "cam1 on n1: the picture is worse than it usually is, 18.2 points (limit 15 points), "
            "probably frame drop",
            "id": RAISED.id,
            "value": "18.240",
            "threshold": "15.000",
            "cause": "frame_drop",
        },
        "startsAt": "2026-11-22T10:00:00.000Z",
        "endsAt": "2026-11-22T10:05:02.000Z",
    }


def test_a_clear_has_the_same_labels_and_beginning_and_ends_when_the_alert_did() -> None:
    (raised,), (cleared,) = (json.loads(body("alertmanager", event)) for event in (RAISED, CLEARED))
    assert cleared["labels"] == raised["labels"]
    assert cleared["startsAt"] == raised["startsAt"]
    assert cleared["endsAt"] == "2026-11-22T10:02:05.000Z"


@pytest.mark.parametrize("event", [RAISED, replace(CLEARED, cleared_at=NOW_S - 3600)])
def test_no_alert_ends_before_it_begins_whatever_the_clock_did(event: AlertEvent) -> None:
    (alert,) = json.loads(body("alertmanager", event, NOW_S - 7200))
    assert alert["endsAt"] >= alert["startsAt"]


def test_what_is_up_is_repeated_in_lists_of_a_bounded_length() -> None:
    up = [replace(RAISED, id=f"id-{n}", stream=StreamId(f"cam{n}")) for n in range(250)]
    bodies = [json.loads(b) for b in alertmanager_repeats(up, "n1", NOW_S + 3 * REPEAT_S)]
    assert [len(alerts) for alerts in bodies] == [100, 100, 50]
    assert [alert["annotations"]["id"] for alerts in bodies for alert in alerts] == [event.id for event in up]
    assert {alert["endsAt"] for alerts in bodies for alert in alerts} == {"2026-11-22T10:08:00.000Z"}


def test_slack_gets_words() -> None:
    assert json.loads(body("slack", RAISED)) == {
        "text": "*MAJOR* cam1: the picture is worse than it usually is, 18.2 points (limit 15 points), probably frame"
        " drop\nraised 2026-11-22 10:00:00 UTC; rule quality, node n1"
    }
    assert json.loads(body("slack", CLEARED)) == {
        "text": "*CLEARED* cam1 (was MAJOR: the picture is worse than it usually is)\n"
        "after 2 min 5 s, raised 2026-11-22 10:00:00 UTC; rule quality, node n1"
    }
    lost = replace(RAISED, rule="lost", value=1.0, threshold=0.5, cause=None, cause_p=None)
    assert json.loads(body("slack", lost))["text"].startswith("*MAJOR* cam1: the feed is lost\n")


def test_signs_that_slack_reads_are_escaped() -> None:
    odd = replace(RAISED, cause="<!channel> & co", cause_p=1.0)
    text = json.loads(body("slack", odd))["text"]
    assert "&lt;!channel&gt; &amp; co" in text
    assert "<" not in text


def test_every_default_rule_has_words_and_one_of_the_users_has_its_name() -> None:
    for rule in default_rules():
        assert not headline(replace(RAISED, rule=rule.name)).startswith("rule "), rule.name
    assert headline(replace(RAISED, rule="ugly")) == "rule ugly"


@pytest.mark.parametrize("template", TEMPLATES)
@pytest.mark.parametrize("value", [None, math.nan, math.inf])
def test_what_is_unknown_is_left_out(template: str, value: float | None) -> None:
    odd = replace(RAISED, value=value, threshold=value, cause=None, cause_p=value, worst_at=value)
    text = body(template, odd).decode()
    json.loads(text)
    assert not any(word in text for word in ("nan", "NaN", "inf", "null", "None"))


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (-3, "0 s"), (45.4, "45 s"), (60, "1 min"), (125, "2 min 5 s"), (12_000, "3 h 20 min"),
     (3_601, "1 h"), (90_000, "1 d 1 h"), (86_460, "1 d")],
)  # fmt: skip
def test_durations_have_their_two_largest_units(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text
