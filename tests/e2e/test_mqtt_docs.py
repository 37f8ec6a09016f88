"""The consumers in docs/mqtt.md, run as they stand there against a monitor."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(200)]

DOC = Path(__file__).resolve().parents[2] / "docs" / "mqtt.md"


def blocks(language: str, section: str) -> list[str]:
    text = DOC.read_text().split(f"## {section}\n")[1].split("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", text, re.S)


def output(command: list[str], seconds: float) -> str:
    """What a consumer that never ends has said by then."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired as late:
        return (late.stdout or b"").decode()
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_consumers_of_the_documentation_work(
    vqwatch: Callable[..., Any], feed_clip: Path, free_port: Callable[..., int], mosquitto: int, tmp_path: Path
) -> None:
    http_port = free_port()
    rules = tmp_path / "c.yaml"
    rules.write_text("alerts: {always: {metric: lost, raise: 0, clear: -1, raise_for: 0s}}\n")
    monitor = vqwatch(
        "run", str(feed_clip), "--loop", "--id", "cam1", "--node", "n1", "-c", str(rules),
        "--broker", f"mqtt://127.0.0.1:{mosquitto}", "--http-port", str(http_port),
    )  # fmt: skip
    (shell,), (paho, prometheus) = blocks("sh", "Consumers"), blocks("python", "Consumers")
    if shutil.which("mosquitto_sub") is None:
        pytest.skip("needs mosquitto_sub (Debian package mosquitto-clients), which is not installed")
    monitor.await_log("event=alert_raised")
    said = output(["sh", "-c", "exec stdbuf -oL " + shell.replace("1883", str(mosquitto))], 4.0)
    assert "vqwatch/n1/status online" in said
    script = paho.replace("1883", str(mosquitto))
    said = output([sys.executable, "-u", "-c", script], 8.0)
    assert re.search(r"^cam1 ok [0-9.]+$", said, re.M), said
    said = output([sys.executable, "-c", prometheus.replace("8080", str(http_port))], 30.0)
    assert "vqwatch_stream_up {'stream': 'cam1'} 1.0" in said
    assert "vqwatch_mqtt_connected {} 1.0" in said
    assert monitor.end() == 0
