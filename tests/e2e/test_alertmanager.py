"""A real Alertmanager, told by a monitor with the configuration of docs/webhooks.md."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = [pytest.mark.servers, pytest.mark.timeout(200)]

DOC = Path(__file__).resolve().parents[2] / "docs" / "webhooks.md"
ALWAYS = {"metric": "lost", "raise": 0, "clear": -1, "raise_for": 0, "severity": "major"}


@pytest.fixture
def alertmanager(tmp_path: Path, free_port: Callable[..., int]) -> Iterator[int]:
    """A running one; its port."""
    binary = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
    if binary is None:
        pytest.skip("needs the Alertmanager (Debian package prometheus-alertmanager), which is not installed")
    port = free_port()
    config = tmp_path / "alertmanager.yml"
    config.write_text("route: {receiver: nobody}\nreceivers: [{name: nobody}]\n")
    process = subprocess.Popen(
        [
            binary, f"--config.file={config}", f"--storage.path={tmp_path / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{port}", "--cluster.listen-address=",
        ],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    yield port
    process.kill()
    process.wait()


def known(port: int, **labels: str) -> list[dict[str, Any]]:
    """Alerts that are up, as the Alertmanager has them; none while it starts."""
    wanted = "&".join(f"filter={name}%3D%22{value}%22" for name, value in labels.items())
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v2/alerts?{wanted}", timeout=10) as answer:
            found: list[dict[str, Any]] = json.loads(answer.read())
    except urllib.error.URLError:
        return []
    return found


def until(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 40
    while time.monotonic() < deadline:
        if value := condition():
            return value
        time.sleep(0.1)
    raise AssertionError("not within 40 s")


def test_the_alertmanager_has_an_alert_from_its_raise_to_its_clear(
    vqwatch: Callable[..., Any], alertmanager: int, clip: Path, tmp_path: Path
) -> None:
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", DOC.read_text(), re.DOTALL))
    documented = next(block["webhooks"] for block in blocks if "webhooks" in block)
    (webhook,) = (hook for hook in documented if hook.get("template") == "alertmanager")
    webhook["url"], replaced = re.subn(r"//[^/]*/", f"//127.0.0.1:{alertmanager}/", webhook["url"])
    assert replaced == 1
    config: dict[str, Any] = {
        "node": "n1",
        "data_dir": str(tmp_path / "data"),
        "broker": {"mqtt_port": 0, "ws_port": 0},
        "http": {"enabled": False},
        "webhooks": [webhook],
        "alerts": {"always": ALWAYS},
        "streams": [{"id": "cam1", "url": str(clip), "loop": True}],
    }
    file = tmp_path / "vqwatch.yaml"
    file.write_text(yaml.safe_dump(config))
    monitor = vqwatch("run", "-c", str(file))
    (alert,) = until(lambda: known(alertmanager, alertname="always"))
    assert alert["labels"] == {
        "alertname": "always", "job": "vqwatch", "node": "n1", "stream": "cam1", "severity": "major",
    }  # fmt: skip
    assert alert["annotations"]["threshold"] == "0.000"
    assert alert["status"]["state"] == "active"
    # The rule goes, and what it had raised is cleared.
    file.write_text(yaml.safe_dump({**config, "alerts": {}}))
    monitor.process.send_signal(signal.SIGHUP)
    until(lambda: not known(alertmanager, alertname="always"))
    assert "rule=always" in monitor.await_log("event=alert_cleared")
    assert not [line for line in monitor.log if "event=webhook_refused" in line]
    assert monitor.end() == 0
