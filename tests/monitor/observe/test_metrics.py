"""Families made of readings, read back with the library's own parsers."""

from __future__ import annotations

import gzip
import math
from collections.abc import Callable
from dataclasses import replace

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics_families
from prometheus_client.parser import text_string_to_metric_families

from monitor.observe.metrics import MetricsPage, families
from monitor.observe.readings import (
    BrokerReading,
    EngineReading,
    HistogramReading,
    Reading,
    RuleReading,
    StreamReading,
    WebhookReading,
)
from monitor.types import Condition, DropCause, Status, StreamState

STATE = StreamState(
    ts=1, seq=1, epoch=1, status=Status.OK, condition=Condition.OK, coverage=1.0, samples=90, dropped=7, corrupt=2,
    repeated=3, sample_fps=25.0, model="m@1", score=71.5, score_10s=70.5, score_60s=69.5, score_min_60s=60.5,
    baseline=73.5, drop=2.0, uncertainty=9.0, fps_in=24.9, age_ms=900.0, lag_ms=512.0,
)  # fmt: skip
BLIND = StreamState(
    ts=1, seq=1, epoch=1, status=Status.UNKNOWN, condition=Condition.LOST, coverage=0.0, samples=90, dropped=7,
    corrupt=2, repeated=3, sample_fps=25.0, model="m@1", lag_ms=512.0,
)  # fmt: skip


def stream(name: str, state: StreamState | None = STATE) -> StreamReading:
    return StreamReading(
        name, state, age_s=0.9, due=100, scored=90, in_flight=3,
        dropped={DropCause.STALE: 5, DropCause.MAILBOX_FULL: 2}, waiting=1, frames=101, corrupt=2, repeated=3, epochs=4,
        reconnects={"auth": 6, "bug": 0},
        rules=[RuleReading("quality", "major", True, 8), RuleReading("lost", "critical", False, 0)],
    )  # fmt: skip


def reading(*streams: StreamReading) -> Reading:
    return Reading(
        "1.2.3", "m@1", "n1", streams,
        EngineReading(
            "openvino", "CPU", "f32", 12.5, 900, 45, 60, 1, 0.25,
            HistogramReading((0.01, 0.1), (50, 9, 1), 1.5), HistogramReading((8, 16), (20, 40, 0), 900),
        ),
        BrokerReading(True, 2, 3, 4, 5, 6, 7), 0.005, 1, 0.0, HistogramReading((1.0, 2.0), (70, 20, 10), 95.5),
        ledger=True, history=False, evidence=True, evidence_bytes=8192,
        webhooks=[WebhookReading("noc", 11, 12, 13, 14, 15)],
    )  # fmt: skip


def samples(metrics: list[Metric]) -> dict[tuple[str, ...], float]:
    """Values by name and label values, label names in alphabetical order."""
    return {
        (sample.name, *(sample.labels[key] for key in sorted(sample.labels))): sample.value
        for metric in metrics
        for sample in metric.samples
    }


async def text(now: Reading, accept: str = "") -> str:
    body, _ = await MetricsPage(lambda: now)(accept, False)
    return body.decode()


async def test_every_number_of_a_stream_and_of_the_process_is_there_in_base_units() -> None:
    found = samples(list(text_string_to_metric_families(await text(reading(stream("cam1"))))))
    assert found[("vqwatch_stream_score", "cam1")] == 71.5
    assert found[("vqwatch_stream_score_lag_seconds", "cam1")] == 0.512
    assert found[("vqwatch_stream_score_age_seconds", "cam1")] == 0.9
    assert found[("vqwatch_stream_score_drop", "cam1")] == 2.0
    assert found[("vqwatch_stream_up", "cam1")] == 1.0
    assert found[("vqwatch_stream_samples_due_total", "cam1")] == 100
    assert found[("vqwatch_stream_frames_dropped_total", "stale", "cam1")] == 5
    assert found[("vqwatch_stream_state", "ok", "cam1")] == 1
    assert (found[("vqwatch_stream_black", "cam1")], found[("vqwatch_stream_frozen", "cam1")]) == (0, 0)
    assert found[("vqwatch_stream_reconnects_total", "auth", "cam1")] == 6
    assert found[("vqwatch_alert_active", "quality", "major", "cam1")] == 1
    assert found[("vqwatch_alert_active", "lost", "critical", "cam1")] == 0
    assert found[("vqwatch_alerts_raised_total", "quality", "major", "cam1")] == 8
    assert found[("vqwatch_build_info", "m@1", "n1", "1.2.3")] == 1
    assert found[("vqwatch_engine_busy_seconds_total",)] == 12.5
    assert found[("vqwatch_mqtt_dropped_total", "refused")] == 6
    assert found[("vqwatch_mqtt_dropped_total", "denied")] == 7
    assert (found[("vqwatch_ledger_ok",)], found[("vqwatch_history_ok",)]) == (1, 0)
    assert (found[("vqwatch_evidence_ok",)], found[("vqwatch_evidence_bytes",)]) == (1, 8192)
    assert found[("vqwatch_webhook_sent_total", "noc")] == 11
    assert found[("vqwatch_webhook_failed_total", "noc")] == 12
    assert found[("vqwatch_webhook_dropped_total", "refused", "noc")] == 13
    assert found[("vqwatch_webhook_dropped_total", "lost", "noc")] == 14
    assert found[("vqwatch_webhook_waiting", "noc")] == 15
    assert found[("vqwatch_alerts_active", "major")] == 1
    assert found[("vqwatch_alerts_active", "critical")] == 0
    buckets = {end: found[("vqwatch_inference_duration_seconds_bucket", end)] for end in ("0.01", "0.1", "+Inf")}
    assert buckets == {"0.01": 50, "0.1": 59, "+Inf": 60}
    assert found[("vqwatch_inference_duration_seconds_sum",)] == 1.5
    assert found[("vqwatch_batch_size_count",)] == 60
    assert found[("vqwatch_batch_size_sum",)] == 900
    assert found[("vqwatch_end_to_end_latency_seconds_bucket", "2.0")] == 90
    assert found[("process_resident_memory_bytes",)] > 1e6


@pytest.mark.parametrize(("states", "label", "word"), [(Status, "status", "ok"), (Condition, "state", "ok")])
async def test_exactly_one_status_and_one_condition_holds(
    states: type[Status] | type[Condition], label: str, word: str
) -> None:
    found = samples(list(text_string_to_metric_families(await text(reading(stream("cam1"))))))
    said = {each: found[(f"vqwatch_stream_{label}", *sorted_labels(label, each))] for each in states}
    assert said == {each: float(each == word) for each in states}


def sorted_labels(label: str, word: str) -> tuple[str, str]:
    return (word, "cam1") if label < "stream" else ("cam1", word)


async def test_what_is_unknown_is_absent_and_nothing_is_ever_nan() -> None:
    odd = replace(STATE, score=math.nan, fps_in=math.inf)
    young = StreamReading("young")
    body = await text(reading(stream("blind", BLIND), stream("odd", odd), young))
    found = samples(list(text_string_to_metric_families(body)))
    assert not [name for name, value in found.items() if not math.isfinite(value)]
    scores = {name for name in found if name[0].startswith("vqwatch_stream_score")}
    assert {name[0] for name in scores if name[-1] == "blind"} == {"vqwatch_stream_score_age_seconds"}
    assert ("vqwatch_stream_score", "odd") not in scores
    assert ("vqwatch_stream_fps_in", "odd") not in found
    assert not [name for name in scores if name[-1] == "young"]
    assert found[("vqwatch_stream_up", "blind")] == 0.0
    assert ("vqwatch_stream_up", "young") not in found
    assert found[("vqwatch_stream_samples_due_total", "young")] == 0.0
    bare = replace(reading(), broker=None, ledger=None, history=None)
    assert not [name for name in samples(list(families(bare))) if "ledger" in name[0] or "mqtt" in name[0]]


async def test_series_of_a_removed_stream_vanish_with_the_next_scrape() -> None:
    now = [reading(stream("cam1"), stream("cam2"))]
    page = MetricsPage(lambda: now[0])
    assert b'stream="cam2"' in (await page("", False))[0]
    now[0] = reading(stream("cam1"))
    body, _ = await page("", False)
    assert b'stream="cam2"' not in body
    assert b'stream="cam1"' in body


async def test_labels_are_of_bounded_sets() -> None:
    found = [s for metric in families(reading(stream("cam1"))) for s in metric.samples]
    assert {key for s in found for key in s.labels} == {
        "stream", "status", "state", "reason", "rule", "severity", "kind", "version", "model", "node",
        "engine", "device", "precision", "webhook", "le",
    }  # fmt: skip


def test_no_family_is_named_twice_and_every_one_says_what_it_is() -> None:
    found = list(families(reading(stream("cam1"))))
    assert len({metric.name for metric in found}) == len(found)
    assert all(metric.documentation.endswith(".") for metric in found)


@pytest.mark.parametrize(
    ("accept", "content_type", "parse"),
    [
        ("", "text/plain; version=0.0.4", text_string_to_metric_families),
        ("*/*", "text/plain; version=0.0.4", text_string_to_metric_families),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text", openmetrics_families),
        ("application/openmetrics-text; version=nonsense", "text/plain; version=0.0.4", text_string_to_metric_families),
    ],
)
async def test_both_formats_of_prometheus_are_spoken(
    accept: str, content_type: str, parse: Callable[[str], list[Metric]]
) -> None:
    body, kind = await MetricsPage(lambda: reading(stream("cam1")))(accept, True)
    assert kind.startswith(content_type)
    assert samples(list(parse(gzip.decompress(body).decode())))[("vqwatch_stream_score", "cam1")] == 71.5
