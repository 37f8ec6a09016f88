"""What a real alert leaves behind, and that no secret is in it."""

from __future__ import annotations

import io
import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

pytestmark = [pytest.mark.servers, pytest.mark.timeout(240)]

CANARY = "cAnArY9"

CONFIG = """
node: n1
data_dir: {data}
broker: {{mqtt_port: {mqtt_port}, ws_port: 0}}
http: {{port: {http_port}, public_url: "https://monitor.example/"}}
webhooks:
  - {{name: dead, url: "http://op:${{CANARY}}@127.0.0.1:1/${{CANARY}}", secret: "${{CANARY}}"}}
alerts:
  lost: {{raise_for: 1s, clear_for: 2s}}
streams:
  - {{id: cam1, url: "rtsp://op:${{CANARY}}@{place}"}}
"""


def test_a_lost_feed_leaves_its_last_picture_and_no_secret(
    vqwatch: Callable[..., Any],
    listener: Callable[..., Any],
    transports: Any,
    tmp_path: Path,
    free_port: Callable[..., int],
) -> None:
    feed = transports.rtsp("op", CANARY)
    mqtt_port, http_port = free_port(), free_port()
    data, config = tmp_path / "data", tmp_path / "config.yaml"
    config.write_text(
        CONFIG.format(data=data, mqtt_port=mqtt_port, http_port=http_port, place=feed.url.removeprefix("rtsp://"))
    )

    def get(path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}{path}", timeout=20) as answer:
            return bytes(answer.read())

    arguments = ["run", "-c", str(config), "-v"]
    monitor = vqwatch(*arguments, env={"CANARY": CANARY})
    monitor.await_log("event=started")
    outside = listener(mqtt_port)
    outside.wait(lambda: [s for s in outside.states("cam1") if s["status"] == "ok"], "a score")
    for process in feed.processes.values():
        process.kill()

    def raises() -> list[dict[str, Any]]:
        topic = "vqwatch/n1/stream/cam1/alert"
        return [e for e in map(json.loads, outside.payloads(topic)) if e["rule"] == "lost"]

    (raised, *_) = outside.wait(raises, "the raise")
    path = f"/api/alerts/{raised['id']}/still.jpg"
    assert raised["still_url"] == f"https://monitor.example{path}"
    jpeg = get(path)
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as file:
        picture = next(file.decode(video=0))
    assert (picture.width, picture.height) == (320, 180)
    assert picture.to_ndarray(format="gray").std() > 5
    evidence = json.loads(get(f"/api/alerts/{raised['id']}/evidence"))
    assert evidence["alert"] == raised
    assert evidence["metric"] == "lost"
    assert evidence["raised"]["lost"] == 1
    assert evidence["stream"]["codec"] == "h264"
    assert len(evidence["curve"]["ts"]) == len(evidence["curve"]["score"]) > 2
    assert [alert["id"] for alert in json.loads(get("/api/alerts"))["alerts"]] == [raised["id"]]
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get("/api/alerts/01a2076b-bf6e-7ceb-92dd-9ebfd959b9b0/evidence")
    answers = [get("/metrics"), get("/api/alerts"), get("/api/history?from=1m"), json.dumps(evidence).encode(), jpeg]
    assert b'vqwatch_webhook_waiting{webhook="dead"} 1.0' in answers[0]
    assert b"vqwatch_evidence_ok 1.0" in answers[0]
    assert monitor.end() == 0

    files = [file for file in data.rglob("*") if file.is_file()]
    assert {file.name.partition(".")[2] for file in files} >= {"db", "json", "jpg"}
    for content in [*answers, *(file.read_bytes() for file in files), "".join(monitor.log).encode()]:
        assert CANARY.encode() not in content
    assert not [topic for topic, payload, _ in outside.heard if CANARY.encode() in payload]

    # The picture is still there after a restart, and what was owed still names it.
    again = vqwatch(*arguments, env={"CANARY": CANARY})
    again.await_log("event=started")
    assert get(path) == jpeg
    assert again.end() == 0
