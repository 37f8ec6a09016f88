from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paho.mqtt.client as mqtt
import pytest

FFMPEG = shutil.which("ffmpeg")
DEADLINE_S = 40.0  # two busy cores: processes start slowly there, and nothing here waits longer than it must


class Vqwatch:
    """A vqwatch process, as an operator starts it."""

    def __init__(self, *arguments: str, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "monitor", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.log: list[str] = []
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)

    def await_log(self, text: str) -> str:
        """The first log line that holds the text."""
        until = time.monotonic() + DEADLINE_S
        while time.monotonic() < until:
            for line in list(self.log):
                if text in line:
                    return line
            if self.process.poll() is not None:
                break
            time.sleep(0.05)
        raise AssertionError(f"no log line with {text!r}; exit {self.process.poll()}; log:\n{''.join(self.log)}")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Signals it and waits; the exit status."""
        self.process.send_signal(number)
        status = self.process.wait(timeout=DEADLINE_S)
        self._reader.join(5)
        return status

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        self._reader.join(5)
        for pipe in (self.process.stdout, self.process.stderr):
            if pipe is not None:
                pipe.close()


@pytest.fixture
def vqwatch() -> Iterator[Callable[..., Vqwatch]]:
    """Starts vqwatch processes and ends them with the test."""
    running: list[Vqwatch] = []

    def start(*arguments: str, **kwargs: Any) -> Vqwatch:
        running.append(Vqwatch(*arguments, **kwargs))
        return running[-1]

    yield start
    for process in running:
        process.close()


class Listener:
    """An outside MQTT 3.1.1 client that keeps all it hears: (topic, payload, retained)."""

    def __init__(self, port: int, topic: str = "vqwatch/#") -> None:
        self.heard: list[tuple[str, bytes, bool]] = []
        self._client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv311)
        self._client.on_connect = lambda client, *_: client.subscribe(topic, qos=1)
        self._client.on_message = lambda _c, _u, m: self.heard.append((m.topic, m.payload, m.retain))
        until = time.monotonic() + DEADLINE_S
        while True:
            try:
                self._client.connect("127.0.0.1", port)
                break
            except OSError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.1)
        self._client.loop_start()

    def states(self, stream: str) -> list[dict[str, Any]]:
        return [json.loads(p) for t, p, _ in list(self.heard) if t.endswith(f"/stream/{stream}/state") and p]

    def payloads(self, topic: str) -> list[bytes]:
        return [p for t, p, _ in list(self.heard) if t == topic]

    def wait(self, condition: Callable[[], Any], what: str, deadline_s: float = DEADLINE_S) -> Any:
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            value = condition()
            if value:
                return value
            time.sleep(0.05)
        last = {t: p[:300] for t, p, _ in self.heard}
        raise AssertionError(f"{what} did not come within {deadline_s} s; last heard: {last}")

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener() -> Iterator[Callable[..., Listener]]:
    """Outside MQTT clients."""
    clients: list[Listener] = []

    def start(port: int, topic: str = "vqwatch/#") -> Listener:
        clients.append(Listener(port, topic))
        return clients[-1]

    yield start
    for client in clients:
        client.close()


class Sender:
    """ffmpeg sending a file as MPEG-TS over UDP in real time, without touching its pictures."""

    def __init__(self, file: Path, port: int, *, loop: bool = True) -> None:
        assert FFMPEG is not None
        again = ["-stream_loop", "-1"] if loop else []
        target = f"udp://127.0.0.1:{port}?pkt_size=1316"
        self.process = subprocess.Popen(
            [FFMPEG, "-v", "error", "-re", *again, "-i", str(file), "-c", "copy", "-f", "mpegts", target],
            stdin=subprocess.DEVNULL,
        )

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.kill()
        self.process.wait()


@pytest.fixture
def udp_sender() -> Iterator[Callable[..., Sender]]:
    """Starts real MPEG-TS senders; skips where ffmpeg is missing."""
    if FFMPEG is None:
        pytest.skip("needs ffmpeg")
    senders: list[Sender] = []

    def start(file: Path, port: int, *, loop: bool = True) -> Sender:
        senders.append(Sender(file, port, loop=loop))
        return senders[-1]

    yield start
    for sender in senders:
        sender.close()


@pytest.fixture(scope="module")
def feed_clip(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> Path:
    return clip_maker(tmp_path_factory.mktemp("run") / "feed.mp4", seconds=8.0, size=(640, 360))


@pytest.fixture
def mosquitto(tmp_path: Path, free_port: Callable[..., int]) -> Iterator[int]:
    """A real broker; its port."""
    binary = shutil.which("mosquitto") or shutil.which("/usr/sbin/mosquitto")
    if binary is None:
        pytest.skip("needs mosquitto")
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    process = subprocess.Popen([binary, "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    yield port
    process.kill()
    process.wait()
