"""The documentation names the metrics that there are: what it promises exists, and what exists is told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from monitor.observe.metrics import families
from monitor.observe.readings import (
    BrokerReading,
    EngineReading,
    HistogramReading,
    Reading,
    RuleReading,
    StreamReading,
    WebhookReading,
)
from monitor.pipeline.stream_task import RECONNECT_REASONS
from monitor.types import Condition, DropCause, Severity, Status

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "observability.md").read_text()
NONE = HistogramReading((1.0,), (0, 0), 0.0)
READING = Reading(
    "1", "m@1", "n1",
    [
        StreamReading(
            "s",
            dropped=dict.fromkeys(DropCause, 0),
            reconnects=dict.fromkeys(RECONNECT_REASONS, 0),
            rules=[RuleReading("lost", "critical", False, 0)],
        )
    ],
    EngineReading("e", "d", "f32", 0.0, 0, 0, 0, 0, 0.0, NONE, NONE), BrokerReading(True, 0, 0, 0, 0, 0, 0),
    0.0, 0, 0.0, NONE,
    webhooks=[WebhookReading("w", 0, 0, 0, 0, 0)],
)  # fmt: skip
#: Names as they stand in a query.
NAMES = {metric.name + ("_total" if metric.type == "counter" else "") for metric in families(READING)}


def fenced(language: str) -> Iterator[str]:
    yield from re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def rules() -> dict[str, str]:
    groups = next(block["groups"] for block in map(yaml.safe_load, fenced("yaml")) if "groups" in block)
    return {rule["alert"]: rule["expr"] for group in groups for rule in group["rules"]}


@pytest.mark.parametrize("file", ["docs/observability.md", "README.md"])
def test_every_metric_that_is_named_exists(file: str) -> None:
    text = (ROOT / file).read_text()
    named = set(re.findall(r"vqwatch_[a-z0-9_]+", text))
    assert named
    named = {name.removesuffix("_bucket") for name in named}
    assert named <= NAMES, named - NAMES


def test_every_metric_is_documented() -> None:
    assert set(re.findall(r"vqwatch_[a-z0-9_]+", PAGE)) >= NAMES


def test_alert_examples_ask_for_labels_and_values_that_exist() -> None:
    words = {
        "state": {str(word) for word in Condition},
        "status": {str(word) for word in Status},
        "severity": {str(word) for word in Severity},
        "reason": {str(word) for word in DropCause},
        "job": {"vqwatch"},
    }
    assert len(rules()) >= 10
    for name, expression in rules().items():
        assert expression.count("(") == expression.count(")"), name
        for label, value in re.findall(r'(\w+)=~?"([^"]*)"', expression):
            assert set(value.split("|")) <= words[label], name


def test_rates_are_taken_of_counters_and_of_nothing_else() -> None:
    text = PAGE
    taken = set(re.findall(r"(?:rate|increase)\((vqwatch_\w+)", text))
    assert taken
    assert all(name.endswith(("_total", "_bucket")) for name in taken)
    compared = set(re.findall(r"(vqwatch_\w+)(?:\{[^}]*\})? (?:==|>|<)", "\n".join(rules().values())))
    assert compared
    assert not [name for name in compared if name.endswith("_total")]


def test_the_scrape_example_is_one_that_prometheus_reads() -> None:
    (scrape,) = (block["scrape_configs"] for block in map(yaml.safe_load, fenced("yaml")) if "scrape_configs" in block)
    assert {"job_name", "static_configs"} <= scrape[0].keys()
