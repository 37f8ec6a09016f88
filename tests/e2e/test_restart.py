"""What a kill leaves behind: alerts of `vqwatch run --data-dir`, watched from outside over MQTT."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.timeout(240)]

ALERT = "vqwatch/n1/stream/cam1/alert"
ALERTS = "vqwatch/n1/alerts"


def test_an_alert_outlives_a_kill_and_is_cleared_once_under_its_own_id(
    vqwatch: Callable[..., Any],
    listener: Callable[..., Any],
    udp_sender: Callable[..., Any],
    feed_clip: Path,
    free_port: Callable[..., int],
    mosquitto: int,
    tmp_path: Path,
) -> None:
    port = free_port(socket.SOCK_DGRAM)
    data = tmp_path / "data"
    arguments = ["run", f"udp://127.0.0.1:{port}", "--id", "cam1", "--node", "n1", "--http-port", "0"]
    arguments += ["--broker", f"mqtt://127.0.0.1:{mosquitto}", "--data-dir", str(data)]
    monitor = vqwatch(*arguments)
    outside = listener(mosquitto)

    def events() -> list[tuple[str, int, str]]:
        return [(e["id"], e["seq"], e["status"]) for e in map(json.loads, outside.payloads(ALERT))]

    def active() -> list[str]:
        return [alert["id"] for alert in json.loads(outside.payloads(ALERTS)[-1])["active"]]

    monitor.await_log("event=started")
    sender = udp_sender(feed_clip, port)
    outside.wait(lambda: [s for s in outside.states("cam1") if s["status"] != "unknown"], "a score")
    sender.close()
    outside.wait(events, "the raise")
    outside.wait(active, "the alert among those that are up")
    monitor.end(signal.SIGKILL)
    outside.wait(lambda: outside.payloads("vqwatch/n1/status")[-1] == b"offline", "offline")
    raises = events()
    assert {status for _, _, status in raises} == {"raised"}

    seconds, said = len(outside.states("cam1")), len(outside.payloads(ALERTS))
    again = vqwatch(*arguments)
    again.await_log("event=started")
    outside.wait(lambda: len(outside.payloads(ALERTS)) > said, "what is up, said anew")
    assert active() == [id_ for id_, _, _ in raises]
    # Long enough for a second alert, had the first been forgotten.
    outside.wait(lambda: len(outside.states("cam1")) > seconds + 14, "14 seconds more")
    assert set(events()) == set(raises)
    late = listener(mosquitto)
    kept = late.wait(lambda: late.payloads(ALERTS), "the retained alerts")
    assert [alert["id"] for alert in json.loads(kept[-1])["active"]] == [id_ for id_, _, _ in raises]

    udp_sender(feed_clip, port)
    outside.wait(lambda: not active(), "no alert that is up")
    outside.wait(lambda: any(status == "cleared" for _, _, status in events()), "the clear")
    clears = [event for event in events() if event[2] == "cleared"]
    assert [seq for _, seq, _ in clears] == [len(raises) + 1 + n for n in range(len(raises))]
    assert sorted(id_ for id_, _, _ in clears) == sorted(id_ for id_, _, _ in raises)
    assert again.end() == 0

    with closing(sqlite3.connect(data / "vqwatch.db")) as ledger:
        assert ledger.execute("SELECT id, seq, status FROM event ORDER BY position").fetchall() == raises + clears
        assert ledger.execute("SELECT count(*) FROM outbox").fetchone() == (0,)
    health = [json.loads(p) for p in outside.payloads("vqwatch/n1/health")]
    assert {h["ledger"] for h in health} == {"ok"}
    for line in monitor.log + again.log:
        assert "Traceback" not in line
        assert "ledger_failed" not in line


def test_two_monitors_on_one_data_directory_are_refused_in_one_line(
    vqwatch: Callable[..., Any], feed_clip: Path, tmp_path: Path
) -> None:
    arguments = ["run", str(feed_clip), "--loop", "--mqtt-port", "0", "--ws-port", "0", "--http-port", "0"]
    arguments += ["--data-dir", str(tmp_path)]
    first = vqwatch(*arguments)
    first.await_log("event=started")
    second = vqwatch(*arguments)
    assert second.process.wait(timeout=60) == 1
    second.await_log("another vqwatch uses it")
    told = [line for line in second.log if "vqwatch.db" in line]
    assert told == [f"vqwatch: {tmp_path / 'vqwatch.db'}: another vqwatch uses it\n"]
    assert first.end() == 0
