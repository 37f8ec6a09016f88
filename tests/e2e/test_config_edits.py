"""A monitor on a broker that wants TLS, a password and a certificate; and nothing secret is shown anywhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import psutil
import pytest

from tests.monitor.publish.certificates import Authority

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

CANARY = "cAnArY7"
MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin")

CONFIG = """
node: n1
data_dir: {data}
broker:
  url: mqtts://127.0.0.1:{port}
  username: op
  password: {password}
  ca_file: {ca}
  cert_file: {certificate}
  key_file: {key}
  key_password: ${{CANARY}}-key
http: {{port: {http_port}}}
home_assistant: {{enabled: true}}
alerts: {{always: {{metric: lost, raise: 0, clear: -1, raise_for: 0s}}}}
webhooks:
  - name: noc
    url: "http://op:${{CANARY}}@127.0.0.1:{hook_port}/${{CANARY}}"
    secret: "${{CANARY}}"
    headers: {{X-Key: "${{CANARY}}"}}
  - {{name: prom, url: "http://127.0.0.1:{hook_port}/${{CANARY}}", template: alertmanager, secret: "${{CANARY}}"}}
  - {{name: chat, url: "http://127.0.0.1:{hook_port}/${{CANARY}}", template: slack}}
streams:
  - {{id: cam1, url: "{clip}", loop: true}}
  - {{id: away, url: "rtsp://op:p%40${{CANARY}}@127.0.0.1:9/live?token=${{CANARY}}"}}
"""


class Hook(BaseHTTPRequestHandler):
    """Takes what webhooks send."""

    bodies: ClassVar[list[str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        shown = {name: value for name, value in self.headers.items() if name not in ("X-Key", "Authorization")}
        self.bodies.append(f"{shown}\n{body.decode()}")
        self.send_response(200)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hook_port() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        yield server.server_address[1]
        server.shutdown()
        serving.join()
    Hook.bodies.clear()


def say(*arguments: object, status: int = 0) -> str:
    """What a command prints, on either side."""
    done = subprocess.run(
        [sys.executable, "-m", "monitor", *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | {"CANARY": CANARY},
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def strict_broker(tmp_path: Path, free_port: Callable[..., int]) -> Iterator[tuple[int, Authority]]:
    if MOSQUITTO is None:
        pytest.skip("needs mosquitto (Debian package mosquitto), which is not installed")
    ours = Authority(tmp_path, "ours")
    server = ours.sign("broker")
    passwords = tmp_path / "passwords"
    passwords.write_text(f"op:{CANARY}-right\n")
    subprocess.run(["mosquitto_passwd", "-U", str(passwords)], check=True)
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nuser root\nallow_anonymous false\npassword_file {passwords}\n"
        f"cafile {ours.certificate}\ncertfile {server.certificate}\nkeyfile {server.key}\nrequire_certificate true\n"
    )
    process = subprocess.Popen([MOSQUITTO, "-c", str(config)], stderr=subprocess.DEVNULL)
    yield port, ours
    process.kill()
    process.wait()


def ask(port: int, path: str) -> str:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode("latin-1"))
    except urllib.error.HTTPError as error:
        return str(error.read().decode())


def test_a_wrong_password_is_mended_while_it_runs_and_no_secret_is_shown_anywhere(
    vqwatch: Callable[..., Any],
    strict_broker: tuple[int, Authority],
    feed_clip: Path,
    tmp_path: Path,
    free_port: Callable[..., int],
    hook_port: int,
) -> None:
    port, ours = strict_broker
    client = ours.sign("client", f"{CANARY}-key")
    (tmp_path / "wrong").write_text(f"{CANARY}-wrong\n")
    (tmp_path / "right").write_text(f"{CANARY}-right\n")
    file, data, http_port = tmp_path / "vqwatch.yaml", tmp_path / "data", free_port()

    def write(password: str, more: str = "") -> None:
        text = CONFIG.format(
            data=data, port=port, password=password, ca=ours.certificate, certificate=client.certificate,
            key=client.key, http_port=http_port, clip=feed_clip, hook_port=hook_port,
        )  # fmt: skip
        file.write_text(text + more)

    write("${file:wrong}")
    monitor = vqwatch("run", "-c", str(file), "-v", "--log-json", env={"CANARY": CANARY})
    refused = monitor.await_log('"event": "broker_down"')
    assert "it refuses the credentials" in refused
    monitor.await_log('"event": "started"')
    ready = json.loads(ask(http_port, "/readyz"))
    assert ready["problems"][0] == {"part": "broker", "code": "auth", "reason": "it refuses the credentials"}

    write("${file:right}", "nodde: 1\n")
    monitor.process.send_signal(signal.SIGHUP)
    lines = len(file.read_text().splitlines())
    assert f"{file}:{lines}: nodde: unknown key" in monitor.await_log('"event": "config_invalid"')
    monitor.await_log('"event": "config_kept"')
    assert "vqwatch_config_ok 0.0" in ask(http_port, "/metrics")
    write("${file:right}")
    monitor.process.send_signal(signal.SIGHUP)
    monitor.await_log('"event": "broker_up"')
    assert "vqwatch_config_ok 1.0" in ask(http_port, "/metrics")
    assert json.loads(ask(http_port, "/readyz")) == {"status": "ok"}

    command = [
        "mosquitto_sub",
        "-h",
        "127.0.0.1",
        "-p",
        str(port),
        "-u",
        "op",
        "-P",
        f"{CANARY}-right",
        "--cafile",
        str(ours.certificate),
    ]
    plain = tmp_path / "plain.key"
    subprocess.run(
        ["openssl", "pkey", "-in", str(client.key), "-passin", f"pass:{CANARY}-key", "-out", str(plain)], check=True
    )
    command += ["--cert", str(client.certificate), "--key", str(plain), "-V", "5", "-t", "#", "-v", "-W", "6"]
    heard = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).stdout
    assert "vqwatch/n1/status online" in heard
    assert "vqwatch/n1/stream/cam1/state {" in heard
    assert "homeassistant/device/vqwatch_n1_S_cam1/config {" in heard
    time.sleep(1)
    alerts = json.loads(ask(http_port, "/api/alerts"))["alerts"]
    assert {alert["stream"] for alert in alerts} >= {"cam1", "away"}
    pages = ["/", "/config.json", "/metrics", "/readyz", "/livez", "/api/history?from=1h", "/schema/state.json"]
    pages += [f"/api/alerts/{alert['id']}/{part}" for alert in alerts for part in ("evidence", "still.jpg")]
    answers = {page: ask(http_port, page) for page in ("/api/alerts", *pages)}
    family = [psutil.Process(monitor.process.pid), *psutil.Process(monitor.process.pid).children(recursive=True)]
    listed = "\n".join(" ".join(process.cmdline()) for process in family)
    assert "monitor run -c" in listed
    assert monitor.end() == 0

    commands = {
        "check": say("check", "-c", file),
        "csv": say("history", "export", "--data-dir", data),
        "json": say("history", "export", "-c", file, "--json"),
        "simulate": say("simulate", "--rules", file, "-c", file),
        "simulate json": say("simulate", "--rules", file, "--data-dir", data, "--json"),
    }
    assert "cam1" in commands["csv"]
    assert "always" in commands["simulate"]
    # Mistakes beside the secrets, and in them.
    write("${file:right}", "streams: [{id: a, url: 'gopher://op:${CANARY}@h/'}]\n")
    commands["wrong"] = say("check", "-c", file, status=2)
    assert f"{file}:" in commands["wrong"]
    hooked = "\n".join(Hook.bodies)
    for words in ('"rule":"always"', '"alertname":"always"', '{"text":'):
        assert words in hooked
    shown = {"log": "".join(monitor.log), "mqtt": heard, "processes": listed, "hooks": hooked, **commands, **answers}
    shown |= {str(kept): kept.read_bytes().decode("latin-1") for kept in data.rglob("*") if kept.is_file()}
    assert {"vqwatch.db", "history.db"} <= {Path(name).name for name in shown}
    assert {Path(name).suffix for name in shown} >= {".json", ".jpg"}
    assert '"event": "alert_raised"' in shown["log"]
    assert not [name for name, text in shown.items() if CANARY in text]
    assert "Traceback" not in shown["log"]
