from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from monitor.cli import main
from monitor.config import make_config
from monitor.config_schema import make_schema, schema_text
from monitor.errors import UsageError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def wrong(text: str) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(schema_text()))
    return [".".join(map(str, error.absolute_path)) for error in validator.iter_errors(yaml.safe_load(text))]


def test_the_shipped_schema_is_that_of_the_configuration() -> None:
    """Where it is not: python -m tests.monitor.write_config_schema."""
    shipped = json.loads(schema_text())
    jsonschema.Draft202012Validator.check_schema(shipped)
    assert shipped == make_schema()


def test_the_command_prints_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["config", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == make_schema()


def test_the_shipped_configurations_are_valid_and_the_example_names_the_schema() -> None:
    for file in CONFIGS.glob("*.yaml"):
        assert wrong(file.read_text()) == [], file
    modeline = re.match(r"# yaml-language-server: \$schema=(\S+)\n", (CONFIGS / "example.yaml").read_text())
    assert modeline
    assert json.loads((CONFIGS / modeline[1]).read_text()) == make_schema()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("broker: {prot: 1}", "broker"),
        ("broker: {mqtt_port: 70000}", "broker.mqtt_port"),
        ("broker: {protocol: 4}", "broker.protocol"),
        ("node: No Upper", "node"),
        ("ingest: {stall: 3 parsecs}", "ingest.stall"),
        ("ingest: {longest_loop: -1}", "ingest.longest_loop"),
        ("engine: {max_batch: many}", "engine.max_batch"),
        ("alerts: {quality: {raise: awful}}", "alerts.quality.raise"),
        ("alerts: {quality: {severity: loud}}", "alerts.quality.severity"),
        ("alerts: {mine: {metric: scores, raise: 3}}", "alerts.mine.metric"),
        ("alerts: {Mine: {metric: score, raise: 3}}", "alerts"),
        ("schedules: {night: {windows: []}}", "schedules.night.windows"),
        ("streams: [{id: cam1}]", "streams.0"),
        ("streams: [{id: cam1, url: 'udp://h:1', rtsp_transport: fast}]", "streams.0.rtsp_transport"),
        ("webhooks: [{name: a, url: 'http://h', severities: [loud]}]", "webhooks.0.severities"),
        ("home_assistant: {prefix: 'a/+'}", "home_assistant"),
    ],
)
def test_what_the_monitor_refuses_an_editor_marks_at_the_same_key(text: str, key: str) -> None:
    assert wrong(text) == [key]
    with pytest.raises(UsageError):
        make_config(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "ingest: {stall: 500ms, still: 3, max_backoff: 1.5s}",
        "broker: {mqtt_port: '${PORT}', protocol: '${file:version}'}",
        "broker: {url: 'mqtt://h', protocol: 5}",
        "node: ${NODE}",
        "alerts: {quality: {raise: 19, inhibit: lost}, ugly: {metric: band, raise: poor, clear: fair}}",
        "schedules: {night: {windows: daily 01:00-05:00}}\nmaintenance: night",
        "webhooks: [{name: a, url: 'http://h', severities: critical, rules: [lost]}]",
        "history: {max_size: 2GB, keep_minutes: 30d}",
        "home_assistant: {}",
        "streams: [{id: a, url: 'udp://h:1', video_pid: 0x101, options: {probesize: '5000'}, expect: {fps: 25}}]",
    ],
)
def test_what_the_monitor_takes_an_editor_does_not_mark(text: str) -> None:
    assert wrong(text) == []
    data: dict[str, Any] = yaml.safe_load(text)
    if "${" not in text:
        make_config(data)
