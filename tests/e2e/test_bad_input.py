"""What a user gets wrong is told in one clear line with the right exit status, and never as a traceback."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import pytest

from engines.bundle import BUNDLED, bundles_folder
from tests.fixtures.command_lines import Done

pytestmark = pytest.mark.timeout(120)


def one_line(done: Done | subprocess.CompletedProcess[str], status: int | tuple[int, ...], says: str) -> str:
    statuses = (status,) if isinstance(status, int) else status
    assert done.returncode in statuses, (done.returncode, done.stderr)
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    assert len(lines) == 1, done.stderr
    assert says in lines[0], lines[0]
    assert done.stdout == ""
    return lines[0]


class Fails(Protocol):
    def __call__(self, *arguments: str, status: int | tuple[int, ...], says: str) -> str: ...


@pytest.fixture
def fails(command_line: Callable[..., Done]) -> Fails:
    def run(*arguments: str, status: int | tuple[int, ...], says: str) -> str:
        return one_line(command_line(*arguments), status, says)

    return run


def test_an_unknown_command_as_a_shell_starts_it() -> None:
    command = [sys.executable, "-m", "monitor", "rnu"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL)
    one_line(done, 2, "rnu")


def test_unknown_options_and_commands(fails: Fails) -> None:
    fails("run", "--colour", "blue", "udp://127.0.0.1:9", status=2, says="--colour")
    fails("rnu", status=2, says="rnu")
    fails("run", status=2, says="nothing to watch")
    fails("run", "--duration", "soon", "udp://127.0.0.1:9", status=2, says="soon")


def test_files_that_are_missing_or_no_video(fails: Fails, tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    zeros, empty, text = tmp_path / "zeros.mp4", tmp_path / "empty.ts", tmp_path / "notes.mp4"
    zeros.write_bytes(bytes(100_000))
    empty.write_bytes(b"")
    text.write_text("not a video\n" * 50)
    audio = clip_maker(tmp_path / "audio.mp4", seconds=1.0, video=False, audio=True)
    fails("score", str(tmp_path / "missing.mp4"), status=1, says="missing.mp4")
    fails("score", str(zeros), status=1, says="zeros.mp4")
    fails("score", str(empty), status=1, says="empty.ts")
    fails("score", str(text), status=1, says="notes.mp4")
    fails("score", str(tmp_path), status=1, says=str(tmp_path))
    fails("score", str(audio), status=1, says="video")
    fails("probe", str(audio), status=1, says="video")
    fails("run", str(tmp_path / "missing.mp4"), status=2, says="missing.mp4")


def test_an_unreadable_file(fails: Fails, tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.5)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(clip.read_bytes()[:400])
    fails("score", str(cut), status=1, says="cut.mp4")


def test_bad_urls(fails: Fails) -> None:
    fails("run", "gopher7://host/x", status=2, says="gopher7")
    fails("run", "udp://127.0.0.1:99999999", status=(1, 2), says="99999999")
    fails("probe", "rtsp://", status=(1, 2), says="rtsp")


def test_the_password_of_a_url_is_in_no_error(fails: Fails) -> None:
    line = fails("probe", "rtsp://op:c@n%40ry@127.0.0.1:1/live", status=1, says="127.0.0.1")
    assert "c@n" not in line
    assert "n%40ry" not in line


def test_ports_in_use(
    fails: Fails, free_port: Callable[..., int], clip_maker: Callable[..., Path], tmp_path: Path
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=1.0)
    for option in ("--mqtt-port", "--ws-port", "--http-port"):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = str(taken.getsockname()[1])
            ports = {"--mqtt-port": "0", "--ws-port": "0", "--http-port": "0", option: port}
            given = [word for pair in ports.items() for word in pair]
            line = fails("run", str(clip), *given, "--duration", "3", status=(1, 2), says=port)
            assert option in line


def test_models_that_are_missing_or_damaged(fails: Fails, tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.5)
    fails("score", "--model", "no-such-model", str(clip), status=2, says="no-such-model")
    damaged = tmp_path / "damaged"
    shutil.copytree(bundles_folder() / BUNDLED, damaged)
    weights = damaged / "trunk.onnx"
    weights.write_bytes(weights.read_bytes() + b"?")
    fails("score", "--model", str(damaged), str(clip), status=1, says="trunk.onnx")
    other = tmp_path / "other"
    shutil.copytree(bundles_folder() / BUNDLED, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["numeric_hash"] = "0" * 12
    (other / "manifest.json").write_text(json.dumps(manifest))
    fails("score", "--model", str(other), str(clip), status=1, says="numeric_hash")


def test_a_bad_broker_url_is_named_without_its_password(
    fails: Fails, clip_maker: Callable[..., Path], tmp_path: Path
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.5)
    line = fails("run", str(clip), "--broker", "http://u:canary@h", "--http-port", "0", status=2, says="broker")
    assert "canary" not in line


def test_check_tells_everything_at_once(command_line: Callable[..., Done], tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("streams:\n  - {id: a, url: 'udp://h:1', lopo: true}\nhttp:\n  port: many\n")
    done = command_line("check", "-c", str(config))
    assert done.returncode == 2
    assert "c.yaml:2: streams.0.lopo: unknown key" in done.stderr
    assert "c.yaml:4: http.port" in done.stderr
