"""An orderly end while every feed hangs."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.fixtures.hung_servers import HALF_HEADERS, HungServer

pytestmark = [pytest.mark.servers, pytest.mark.realtime, pytest.mark.timeout(150)]


def test_feeds_that_hang_do_not_hold_up_the_end(
    vqwatch: Callable[..., Any], hung_server: Callable[..., HungServer]
) -> None:
    silent, half, trickle = hung_server(), hung_server(first=HALF_HEADERS["http"]), hung_server(trickle_s=0.2)
    monitor = vqwatch(
        "run", f"tcp://127.0.0.1:{silent.port}", f"http://127.0.0.1:{half.port}/a.ts",
        f"rtsp://127.0.0.1:{trickle.port}/live", "--mqtt-port", "0", "--ws-port", "0", "--http-port", "0",
    )  # fmt: skip
    monitor.await_log("event=started")
    until = time.monotonic() + 30
    while not (silent.accepted and half.accepted and trickle.accepted) and time.monotonic() < until:
        time.sleep(0.05)
    began_s = time.monotonic()
    assert monitor.end() == 0
    took_s = time.monotonic() - began_s
    print(f"an orderly end with three hung feeds took {took_s:.1f} s")
    assert took_s < 15.0  # 5 s is the monitor's own limit
    monitor.await_log("event=stopped")
