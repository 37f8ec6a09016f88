"""What the surroundings of a live monitor rely on: Prometheus' rules, Grafana's board, the service manager."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.docker.test_prometheus import PROMTOOL, RULES, queries

_NAME = re.compile(r"\b(?:vqwatch|process)_[a-z0-9_]+")


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_a_live_monitor_tells_its_service_manager_and_has_all_that_rules_and_board_ask_for(
    vqwatch: Callable[..., Any], free_port: Callable[..., int], clip: Path, tmp_path: Path
) -> None:
    port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(
        f"data_dir: {tmp_path / 'data'}\nbroker: {{mqtt_port: 0, ws_port: 0}}\nhttp: {{port: {port}}}\n"
        "webhooks: [{name: noc, url: 'http://127.0.0.1:1/'}]\n"
        f"streams: [{{id: cam1, url: '{clip}', loop: true}}]\n"
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        address = tmp_path / "notify"
        manager.bind(str(address))
        monitor = vqwatch("run", "-c", str(config), env={"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "400000"})
        monitor.await_log("event=started")
        # A log line may overtake what was said before it.
        manager.settimeout(20)
        assert [manager.recv(64) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
    texts = [rule["expr"] for rule in RULES] + queries()
    asked = {name for text in texts for name in _NAME.findall(text)}
    assert len(asked) > 20
    # A drop needs a baseline, which takes some seconds to learn.
    until = time.monotonic() + 90
    missing, text = asked, ""
    while missing and time.monotonic() < until:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
            text = answer.read().decode()
            families = text_string_to_metric_families(text)
            missing = asked - {sample.name for family in families for sample in family.samples}
        time.sleep(0.5)
    assert not missing
    if PROMTOOL is not None:
        # Prometheus' own reader and its rules for names and units.
        done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")
    # The level that it has now is what it is compared with from here on.
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/streams/cam1/accept", method="POST")
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert 0 <= json.loads(answer.read())["baseline"] <= 100
    assert "stream=cam1 event=level_accepted baseline=" in monitor.await_log("event=level_accepted")
    assert monitor.end() == 0
