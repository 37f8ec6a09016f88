"""`vqwatch run` as an operator starts it, watched from outside over MQTT."""

from __future__ import annotations

import itertools
import json
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monitor.publish.schemas import load_schema

pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.timeout(150)]

#: Fields of every state of a stream that is being scored.
SCORED = {
    "v", "ts", "seq", "epoch", "pts_s", "status", "condition", "score", "score_10s", "score_60s", "score_min_60s",
    "band", "cause", "cause_p", "coverage", "samples", "dropped", "corrupt", "repeated", "fps_in", "sample_fps",
    "age_ms", "lag_ms", "model",
}  # fmt: skip


def run_arguments(free_port: Callable[..., int], *feeds: tuple[str, int]) -> tuple[list[str], int]:
    mqtt_port = free_port()
    arguments = ["run", *(f"udp://127.0.0.1:{port}" for _, port in feeds)]
    for name, _ in feeds:
        arguments += ["--id", name]
    arguments += ["--node", "n1", "--broker", "embedded", "--mqtt-port", str(mqtt_port)]
    return [*arguments, "--ws-port", "0", "--http-port", "0"], mqtt_port


def test_a_udp_feed_is_scored_once_a_second_and_sigterm_says_stopped(
    vqwatch: Callable[..., Any],
    listener: Callable[..., Any],
    udp_sender: Callable[..., Any],
    feed_clip: Path,
    free_port: Callable[..., int],
) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    port = free_port(socket.SOCK_DGRAM)
    arguments, mqtt_port = run_arguments(free_port, ("cam1", port))
    monitor = vqwatch(*arguments)
    monitor.await_log("event=started")
    udp_sender(feed_clip, port)
    outside = listener(mqtt_port)
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1:] == [b"online"], "online")
    outside.wait(lambda: [s for s in outside.states("cam1") if s["status"] == "ok"], "a healthy state")
    late = listener(mqtt_port)
    late.wait(lambda: ("vqwatch/n1/status", b"online", True) in late.heard, "the retained status")
    late.wait(lambda: any(t.endswith("/cam1/info") and r for t, _, r in late.heard), "the retained info")

    first = outside.states("cam1")[-1]
    outside.wait(lambda: outside.states("cam1")[-1]["seq"] >= first["seq"] + 4, "four more seconds")
    states = [s for s in outside.states("cam1") if s["seq"] >= first["seq"]]
    seqs = [s["seq"] for s in states]
    assert seqs == list(range(first["seq"], seqs[-1] + 1))
    steps_ms = [b["ts"] - a["ts"] for a, b in itertools.pairwise(states)]
    assert sum(steps_ms) / len(steps_ms) == pytest.approx(1000, abs=250)
    for state in states:
        jsonschema.validate(state, load_schema("state"))
        assert set(state) >= SCORED, SCORED - set(state)
    info = json.loads(next(p for t, p, _ in late.heard if t.endswith("/cam1/info")))
    jsonschema.validate(info, load_schema("info"))
    assert (info["codec"], info["width"], info["height"], info["input_mode"]) == ("h264", 640, 360, "fragments")

    assert monitor.end(signal.SIGTERM) == 0
    assert outside.payloads("vqwatch/n1/status")[-1] == b"stopped"
    assert not [line for line in monitor.log if "Traceback" in line or "event=bug" in line]


def test_with_mosquitto_a_killed_monitor_is_offline_through_its_will(
    vqwatch: Callable[..., Any], listener: Callable[..., Any], feed_clip: Path, mosquitto: int
) -> None:
    arguments = ["run", str(feed_clip), "--loop", "--id", "cam1", "--node", "n1", "--http-port", "0"]
    monitor = vqwatch(*arguments, "--broker", f"mqtt://127.0.0.1:{mosquitto}")
    outside = listener(mosquitto)
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1:] == [b"online"], "online")
    outside.wait(lambda: outside.states("cam1"), "a state")
    monitor.end(signal.SIGKILL)
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1:] == [b"offline"], "offline")

    again = vqwatch(*arguments, "--broker", f"mqtt://127.0.0.1:{mosquitto}")
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1:] == [b"online"], "online again")
    assert again.end(signal.SIGTERM) == 0
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1:] == [b"stopped"], "stopped")


def test_a_stalled_feed_is_unknown_within_5_s_back_within_5_s_and_its_neighbour_loses_nothing(
    vqwatch: Callable[..., Any],
    listener: Callable[..., Any],
    udp_sender: Callable[..., Any],
    feed_clip: Path,
    free_port: Callable[..., int],
) -> None:
    ports = [free_port(socket.SOCK_DGRAM) for _ in range(2)]
    arguments, mqtt_port = run_arguments(free_port, ("bad", ports[0]), ("good", ports[1]))
    monitor = vqwatch(*arguments)
    monitor.await_log("event=started")
    bad, _ = [udp_sender(feed_clip, port) for port in ports]
    outside = listener(mqtt_port)
    for name in ("bad", "good"):
        outside.wait(lambda name=name: [s for s in outside.states(name) if s["status"] == "ok"], f"{name} ok")
    good_before = outside.states("good")[-1]

    bad.pause()
    paused = time.monotonic()
    outside.wait(lambda: outside.states("bad")[-1]["status"] == "unknown", "unknown", 8)
    assert time.monotonic() - paused < 5.0
    assert "score" not in outside.states("bad")[-1]
    time.sleep(2.0)  # the fault itself lasts: reconnections happen meanwhile
    bad.resume()
    resumed = time.monotonic()
    outside.wait(lambda: outside.states("bad")[-1]["condition"] not in ("lost", "no_video"), "back", 8)
    assert time.monotonic() - resumed < 5.0

    good_after = outside.states("good")[-1]
    assert good_after["dropped"] == good_before["dropped"]
    assert good_after["epoch"] == good_before["epoch"]
    elapsed_s = good_after["pts_s"] - good_before["pts_s"]
    assert good_after["samples"] - good_before["samples"] == pytest.approx(25 * elapsed_s, abs=2)
    assert monitor.end() == 0


def test_files_end_and_the_monitor_with_them(
    vqwatch: Callable[..., Any], tmp_path: Path, clip_maker: Callable[..., Path]
) -> None:
    short = clip_maker(tmp_path / "short.mp4", seconds=2.0)
    monitor = vqwatch("run", str(short), "--mqtt-port", "0", "--ws-port", "0", "--http-port", "0")
    assert monitor.process.wait(timeout=60) == 0
    monitor.await_log("event=stopped")
