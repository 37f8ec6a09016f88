from __future__ import annotations

import json
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from monitor.errors import UsageError
from monitor.publish import wire
from monitor.publish.schemas import PAYLOADS, load_schema, schema_text
from monitor.publish.wire import Topics
from monitor.types import (
    CAUSES,
    AlertEvent,
    Condition,
    Health,
    Severity,
    Status,
    StreamId,
    StreamInfo,
    StreamState,
)

# The contract, word for word: the fields of each payload.
CONTRACT = {
    "state": (
        "v ts seq epoch pts_s status condition score score_10s score_60s score_min_60s baseline drop band "
        "uncertainty cause cause_p coverage samples dropped corrupt repeated fps_in sample_fps age_ms lag_ms "
        "model out_of_domain"
    ),
    "info": (
        "v url protocol codec width height fps interlaced pixel_format audio_codec interlaced_content deinterlaced "
        "colour full_range transfer pixel_aspect rotation decoder model engine precision sample_fps input_mode"
    ),
    "alert": (
        "v id seq stream rule severity status raised_at cleared_at duration_s value threshold cause cause_p "
        "worst_at still_url"
    ),
    "alerts": "v ts active count",
    "health": (
        "v ts uptime_s streams streams_ok samples_per_s engine engine_busy outbox rss_mb loop_lag_ms shed "
        "ledger history degraded"
    ),
}

REGISTRY: Registry[Any] = Registry().with_resources(
    (load_schema(name)["$id"], Resource.from_contents(load_schema(name))) for name in PAYLOADS
)

counts = st.integers(0, 2**53)
texts = st.text(min_size=1, max_size=40)
stream_ids = st.from_regex(r"[a-z0-9_-]{1,64}", fullmatch=True)
NOT_FINITE = st.sampled_from([math.nan, math.inf, -math.inf])


def unknown_or(low: float, high: float) -> st.SearchStrategy[float | None]:
    """Whatever a computation may hand over: nothing, a number (also NumPy's), or no number at all."""
    numbers = st.floats(low, high)
    return st.none() | NOT_FINITE | numbers | numbers.map(np.float64)


def real(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high) | NOT_FINITE


scores = unknown_or(0, 100)
causes = st.none() | st.sampled_from(CAUSES)
moments = st.floats(0, 4e9)

states = st.builds(
    StreamState,
    ts=counts,
    seq=counts,
    epoch=counts,
    status=st.sampled_from(Status),
    condition=st.sampled_from(Condition),
    coverage=real(0, 1),
    samples=counts,
    dropped=counts,
    corrupt=counts,
    repeated=counts,
    sample_fps=real(0, 120),
    model=texts,
    pts_s=unknown_or(-1e9, 1e9),
    score=scores,
    score_10s=scores,
    score_60s=scores,
    score_min_60s=scores,
    baseline=scores,
    drop=unknown_or(-100, 100),
    band=st.none() | st.sampled_from(["excellent", "good", "fair", "poor", "bad"]),
    uncertainty=unknown_or(0, 100),
    cause=causes,
    cause_p=unknown_or(0, 1),
    fps_in=unknown_or(0, 240),
    age_ms=unknown_or(0, 1e9),
    lag_ms=unknown_or(0, 1e9),
)
infos = st.builds(
    StreamInfo,
    url=texts,
    protocol=texts,
    codec=texts,
    width=st.integers(1, 16384),
    height=st.integers(1, 16384),
    pixel_format=texts,
    fps=unknown_or(0, 240),
    interlaced=st.booleans(),
    audio_codec=st.none() | texts,
)
alerts = st.builds(
    AlertEvent,
    id=texts,
    seq=counts,
    stream=stream_ids.map(StreamId),
    rule=texts,
    severity=st.sampled_from(Severity),
    status=st.sampled_from(["raised", "cleared"]),
    raised_at=moments,
    value=unknown_or(-1e6, 1e6),
    threshold=unknown_or(-1e6, 1e6),
    cleared_at=st.none() | NOT_FINITE | moments,
    cause=causes,
    cause_p=unknown_or(0, 1),
    worst_at=st.none() | NOT_FINITE | moments,
)
healths = st.builds(
    Health,
    ts=counts,
    uptime_s=real(0, 1e9),
    streams=counts,
    streams_ok=counts,
    samples_per_s=real(0, 1e6),
    engine=texts,
    engine_busy=real(0, 1),
    outbox=counts,
    rss_mb=real(0, 1e6),
    loop_lag_ms=real(0, 1e6),
    shed=real(0, 1),
)


def forbid_constant(name: str) -> None:
    raise AssertionError(f"{name} is not JSON")


def checked(payload: bytes, name: str) -> dict[str, Any]:
    """The payload, parsed strictly and held against its schema; no key that the schema does not name."""
    content: dict[str, Any] = json.loads(payload.decode("utf-8"), parse_constant=forbid_constant)
    Draft202012Validator(load_schema(name), registry=REGISTRY).validate(content)
    assert next(iter(content)) == "v"
    assert set(content) <= set(load_schema(name)["properties"])
    return content


def flat(content: dict[str, Any]) -> bool:
    return all(isinstance(value, str | int | float) for value in content.values())


@pytest.fixture
def state() -> StreamState:
    return StreamState(
        ts=1_790_000_000_123,
        seq=421,
        epoch=2,
        status=Status.OK,
        condition=Condition.OK,
        coverage=1.0,
        samples=10_500,
        dropped=3,
        corrupt=1,
        repeated=0,
        sample_fps=25.0,
        model="vsfa-small@0123abcd",
        score=67.2449,
        cause="blur",
        cause_p=0.81249,
        age_ms=312.26,
        pts_s=-0.0,
    )


@pytest.fixture
def cleared() -> AlertEvent:
    return AlertEvent(
        id="01990000-0000-7000-8000-000000000001",
        seq=8,
        stream=StreamId("cam1"),
        rule="frozen",
        severity=Severity.MAJOR,
        status="cleared",
        raised_at=1_790_000_000.25,
        cleared_at=1_790_000_012.75,
        value=5.0,
        threshold=4.0,
    )


@settings(max_examples=50, deadline=None)
@given(states)
def test_every_state_is_valid_and_flat(state: StreamState) -> None:
    assert flat(checked(wire.state_payload(state), "state"))


@settings(max_examples=50, deadline=None)
@given(infos, texts, real(0, 120), st.sampled_from(["full", "resize", "fragments"]))
def test_every_info_is_valid_and_flat(info: StreamInfo, text: str, sample_fps: float, mode: str) -> None:
    payload = wire.info_payload(info, model=text, engine=text, precision=text, sample_fps=sample_fps, input_mode=mode)
    assert flat(checked(payload, "info"))


@settings(max_examples=50, deadline=None)
@given(alerts, st.none() | texts)
def test_every_alert_is_valid_and_flat(event: AlertEvent, still_url: str | None) -> None:
    assert flat(checked(wire.alert_payload(replace(event, still_url=still_url)), "alert"))


@settings(max_examples=50, deadline=None)
@given(counts, st.lists(alerts, max_size=4))
def test_active_alerts_are_valid_and_each_is_flat(ts: int, active: list[AlertEvent]) -> None:
    content = checked(wire.alerts_payload(ts, active), "alerts")
    assert content["count"] == len(active) == len(content["active"])
    assert all(flat(alert) for alert in content["active"])


@settings(max_examples=50, deadline=None)
@given(healths)
def test_every_health_is_valid_and_flat(health: Health) -> None:
    assert flat(checked(wire.health_payload(health), "health"))


@pytest.mark.parametrize("name", PAYLOADS)
def test_schema_names_every_field_of_the_contract_with_description_and_unit(name: str) -> None:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(schema["properties"]) == CONTRACT[name].split()
    for field, rule in schema["properties"].items():
        assert rule["description"].endswith("."), field
        assert rule["unit"], field


def test_schema_of_an_unknown_payload_is_refused() -> None:
    with pytest.raises(KeyError):
        schema_text("../../pyproject")


def test_schema_refuses_a_wrong_type() -> None:
    wrong = {"v": 1, "ts": 1, "active": [{"v": 1, "id": 7}], "count": 1}
    errors = list(Draft202012Validator(load_schema("alerts"), registry=REGISTRY).iter_errors(wrong))
    assert any("7 is not of type 'string'" in error.message for error in errors)


def test_state_rounds_to_what_its_numbers_are_good_for(state: StreamState) -> None:
    content = checked(wire.state_payload(state), "state")
    assert content["score"] == 67.24
    assert content["cause_p"] == 0.812
    assert content["age_ms"] == 312.3
    assert str(content["pts_s"]) == "0.0"
    assert content["ts"] == 1_790_000_000_123


def test_unknown_values_are_left_out(state: StreamState) -> None:
    content = checked(wire.state_payload(state), "state")
    assert not {"score_10s", "baseline", "band", "lag_ms"} & set(content)


def test_whole_scores_stay_numbers_of_the_same_type(state: StreamState) -> None:
    assert b'"coverage":1.0,' in wire.state_payload(state)


def test_alert_times_are_rfc3339_utc_with_milliseconds(cleared: AlertEvent) -> None:
    content = checked(wire.alert_payload(replace(cleared, still_url="/stills/1.jpg")), "alert")
    assert content["raised_at"] == "2026-09-21T14:13:20.250Z"
    assert content["cleared_at"] == "2026-09-21T14:13:32.750Z"
    assert content["duration_s"] == 12.5
    assert content["still_url"] == "/stills/1.jpg"


def test_utc_text_carries_rounded_milliseconds_into_the_second() -> None:
    assert wire.utc_text(59.9999) == "1970-01-01T00:01:00.000Z"


def test_a_name_with_lone_surrogates_is_still_utf8() -> None:
    info = StreamInfo("file:///cam\udce9.ts", "file", "h264", 640, 360, "yuv420p")
    payload = wire.info_payload(info, model="m@1", engine="openvino", precision="f32", sample_fps=25, input_mode="full")
    assert checked(payload, "info")["url"] == "file:///cam?.ts"


def test_only_alerts_are_delivered_one_by_one(state: StreamState, cleared: AlertEvent) -> None:
    topics = Topics("node-1")
    alert = wire.alert_message(topics, cleared)
    assert (alert.topic, alert.qos, alert.retain, alert.conflate) == (
        "vqwatch/node-1/stream/cam1/alert",
        1,
        False,
        False,
    )
    health = Health(1, 1.0, 1, 1, 25.0, "openvino", 0.5, 0, 100.0, 0.1, 0.0)
    others = [
        wire.state_message(topics, "cam1", state),
        wire.info_message(topics, "cam1", b"{}"),
        wire.alerts_message(topics, 1, [cleared]),
        wire.health_message(topics, health),
        *wire.removal_messages(topics, "cam1"),
    ]
    assert all(message.retain and message.conflate for message in others)
    assert [message.topic.removeprefix("vqwatch/node-1/") for message in others] == [
        "stream/cam1/state",
        "stream/cam1/info",
        "alerts",
        "health",
        "stream/cam1/info",
        "stream/cam1/state",
    ]


@pytest.mark.parametrize("bad", ["", "Cam", "a/b", "a+", "#", "$sys", "a b", "é", "a\n", "x" * 65])
def test_a_bad_id_is_refused_by_name(bad: str) -> None:
    with pytest.raises(UsageError) as node:
        Topics(bad)
    assert repr(bad) in str(node.value)
    with pytest.raises(UsageError, match="stream id") as stream:
        Topics("n").state(bad)
    assert repr(bad) in str(stream.value)


@settings(max_examples=50, deadline=None)
@given(stream_ids)
def test_every_legal_id_makes_topics(stream: str) -> None:
    assert Topics(stream).alert(stream) == f"vqwatch/{stream}/stream/{stream}/alert"
