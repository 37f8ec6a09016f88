"""`vqwatch demo` on the viewer's own material: a real feed over UDP, one scripted fault, its alert and its end."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures.command_lines import Done

PORTS = ("--mqtt-port", "0", "--ws-port", "0", "--http-port", "0")
pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.slow, pytest.mark.timeout(200)]


def test_a_check_on_own_material_passes_and_says_what_happened(tmp_path: Path, clip_maker: Callable[..., Path]) -> None:
    clip = clip_maker(tmp_path / "own.mp4", seconds=6.0, size=(480, 270))
    script = tmp_path / "script.yaml"
    script.write_text("period: 40s\nfaults:\n  - {at: 14s, duration: 10s, feed: own, impairment: freeze}\n")
    done = subprocess.run(
        [sys.executable, "-m", "monitor", "demo", "--check", "--source", str(clip), "--script", str(script), *PORTS],
        capture_output=True,
        text=True,
        timeout=180,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ALERT  own: frozen" in done.stdout
    assert "clear  own: frozen" in done.stdout
    assert "1 of 1 scripted faults alerted, rightly named and cleared" in done.stdout
    assert "Traceback" not in done.stderr


def test_material_that_is_missing_is_one_line(command_line: Callable[..., Done], tmp_path: Path) -> None:
    done = command_line("demo", "--source", str(tmp_path / "none.mp4"), "--mqtt-port", "0")
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "none.mp4" in done.stderr
