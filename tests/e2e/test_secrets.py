"""Secrets of feeds are used and shown nowhere: not in logs, messages, or the process list."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.timeout(200)]

CANARY = "cAnArY7"

CONFIG = """
node: n1
broker: {{mqtt_port: {mqtt_port}, ws_port: 0}}
http: {{port: 0}}
streams:
  - id: srt
    url: "{srt}?streamid=#!::u=op,r=${{CANARY}}"
    options: {{passphrase: "${{CANARY}}-p@ss"}}
  - id: srt-wrong
    url: "{srt_wrong}?passphrase=${{CANARY}}-wrong"
  - id: rtsp
    url: "{rtsp}"
    rtsp_transport: udp
  - id: rtsp-wrong
    url: "{rtsp_wrong}"
  - id: nowhere
    url: "https://op:p%40${{CANARY}}@127.0.0.1:1/live.m3u8?token=${{CANARY}}"
"""


def test_no_secret_of_a_feed_is_shown_anywhere(
    vqwatch: Callable[..., Any],
    listener: Callable[..., Any],
    transports: Any,
    clip: Path,
    tmp_path: Path,
    free_port: Callable[..., int],
) -> None:
    srt = transports.srt(clip, f"passphrase={CANARY}-p@ss").url
    srt_wrong = transports.srt(clip, "passphrase=not-the-canary").url
    rtsp = transports.rtsp("op", f"p@%{CANARY}").url
    place = rtsp.removeprefix("rtsp://")
    mqtt_port = free_port()
    config = tmp_path / "config.yaml"
    config.write_text(
        CONFIG.format(
            mqtt_port=mqtt_port,
            srt=srt,
            srt_wrong=srt_wrong,
            rtsp=f"rtsp://op:p%40%25${{CANARY}}@{place}",
            rtsp_wrong=f"rtsp://op:p@wrong${{CANARY}}@{place}",
        )
    )
    monitor = vqwatch("run", "-c", str(config), "-v", env={"CANARY": CANARY})
    monitor.await_log("event=started")
    outside = listener(mqtt_port)
    for stream in ("srt", "rtsp"):
        outside.wait(
            lambda stream=stream: [s for s in outside.states(stream) if s["status"] == "ok"], f"a score of {stream}"
        )
    assert "code=auth" in monitor.await_log("stream=srt-wrong event=lost")
    assert "code=auth" in monitor.await_log("stream=rtsp-wrong event=lost")
    assert "code=connection" in monitor.await_log("stream=nowhere event=lost")

    children = psutil.Process(monitor.process.pid).children(recursive=True)
    receivers = [child for child in children if "srt_receiver" in " ".join(child.cmdline())]
    assert receivers
    assert not any(CANARY in str(receiver.environ()) for receiver in receivers)
    listed = subprocess.run(["ps", "-ww", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    ours = {str(child.pid) for child in children} | {str(monitor.process.pid)}
    shown = [line for line in listed.splitlines() if line.split()[0] in ours]
    assert shown
    assert not [line for line in shown if CANARY in line]

    info = json.loads(next(p for t, p, _ in outside.heard if t.endswith("/srt/info")))
    assert info["url"] == f"{srt}?streamid=***"
    assert monitor.end() == 0
    assert not [line for line in monitor.log if CANARY in line or "Traceback" in line]
    assert not [(topic, payload) for topic, payload, _ in outside.heard if CANARY.encode() in payload]
    assert not [receiver for receiver in receivers if receiver.is_running()]
