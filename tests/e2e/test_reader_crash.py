"""A decoder that crashes, as an operator sees it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from typing import Any

import psutil
import pytest

from tests.fixtures.transport import TransportFeed

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


def readers(pid: int) -> dict[str, psutil.Process]:
    """Reader processes by the name that the process list shows."""
    below = psutil.Process(pid).children(recursive=True)
    return {name: process for process in below if (name := process.name()).startswith("vq:")}


def recovered(log: list[str]) -> bool:
    """Whether the first feed was fine once more after it had none."""
    own = [line for line in log if "stream=one event=" in line]
    lost = next((n for n, line in enumerate(own) if "condition=no_video" in line), len(own))
    return any("status=ok" in line for line in own[lost:])


def test_a_decoder_that_crashes_is_told_and_connected_to_again_and_its_neighbour_goes_on(
    vqwatch: Callable[..., Any], transport_feed: Callable[..., TransportFeed]
) -> None:
    monitor = vqwatch(
        "run", transport_feed().url, transport_feed().url, "--id", "one", "--id", "two",
        "--mqtt-port", "0", "--ws-port", "0", "--http-port", "0",
    )  # fmt: skip
    for stream in ("one", "two"):
        monitor.await_log(f"stream={stream} event=state status=ok")
    before = readers(monitor.process.pid)
    assert set(before) == {"vq:one", "vq:two"}
    before["vq:one"].send_signal(signal.SIGSEGV)
    told = monitor.await_log("stream=one event=no_video")
    assert "code=codec" in told
    assert "its reader's process died: SIGSEGV" in told
    until = time.monotonic() + 60
    while "vq:one" not in (after := readers(monitor.process.pid)) and time.monotonic() < until:
        time.sleep(0.05)
    assert after["vq:two"].pid == before["vq:two"].pid
    while not recovered(monitor.log) and time.monotonic() < until:
        time.sleep(0.05)
    assert recovered(monitor.log)
    # It connected, warmed up and was fine; nothing else happened to it.
    states = [line.split("status=")[1].strip() for line in monitor.log if "stream=two event=state" in line]
    assert states[-1] == "ok condition=ok"
    assert len(set(states)) == len(states)
    assert monitor.end() == 0
    assert not any(process.is_running() for process in before.values())
