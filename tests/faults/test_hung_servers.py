"""A server that hangs holds one thread for a while, and nothing else: no event loop, no descriptor, no shutdown."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Callable

import psutil
import pytest

from monitor.errors import SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.source_thread import SourceThread
from monitor.observe.loop_lag import LoopLag
from monitor.types import StreamId
from tests.faults.report import record
from tests.fixtures.hung_servers import HALF_HEADERS, HungServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

#: Opens of each kind; ``make faults`` asks for 84 of each of the 12 kinds: 1000 and a few in all.
OPENS = int(os.environ.get("VQWATCH_FAULT_OPENS", "3"))
_AT_ONCE = 42
_TIMEOUT_S = 0.3
_PATIENCE_S = 60.0


def held() -> tuple[int, int, int]:
    """Python threads, all threads, and descriptors of this process."""
    gc.collect()
    process = psutil.Process()
    return threading.active_count(), process.num_threads(), process.num_fds()


async def opened(url: str, count: int) -> list[Exception | None]:
    """What ``count`` source threads end with, so many at once."""
    results: list[Exception | None] = []
    all_ended = asyncio.Event()
    threads = []

    def ended(error: Exception | None) -> None:
        results.append(error)
        if len(results) == count:
            all_ended.set()

    for n in range(count):
        source = PyAvSource(
            url, stream=StreamId("cam"), live=True, open_timeout_s=_TIMEOUT_S, read_timeout_s=_TIMEOUT_S
        )
        thread = SourceThread(
            source,
            name=f"hung-{n}",
            epoch=1,
            loop=asyncio.get_running_loop(),
            on_frame=lambda _: None,
            on_opened=lambda _: None,
            on_ended=ended,
        )
        thread.start()
        threads.append(thread)
    async with asyncio.timeout(_PATIENCE_S):
        await all_ended.wait()
        # Looked at, not joined in another thread: that would be one of the loop's own, which stay.
        while any(thread.alive for thread in threads):
            await asyncio.sleep(0.01)
    return results


async def test_hung_opens_end_by_themselves_and_leave_nothing_behind(hung_server: Callable[..., HungServer]) -> None:
    kinds = [
        (scheme, server)
        for scheme, half in HALF_HEADERS.items()
        for server in (hung_server(), hung_server(first=half), hung_server(first=half[:2], trickle_s=0.1))
    ]
    await opened(f"tcp://127.0.0.1:{kinds[0][1].port}", 1)  # what FFmpeg and the loop keep from the first use on
    before = held()
    lag = LoopLag(interval_s=0.01, window=100_000)
    watching = asyncio.create_task(lag.run())
    for scheme, server in kinds:
        left = OPENS
        while left:
            now = min(left, _AT_ONCE)
            errors = await opened(f"{scheme}://127.0.0.1:{server.port}/live", now)
            assert all(isinstance(error, SourceError) for error in errors), (scheme, errors)
            left -= now
        assert server.accepted >= OPENS
    watching.cancel()
    until = time.monotonic() + 10
    while any(now > then for now, then in zip(held(), before, strict=True)) and time.monotonic() < until:
        await asyncio.sleep(0.1)
    after = held()
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert SourceThread.abandoned_count() == 0
    p99_ms = lag.percentile_ms(0.99)
    row = {"opens": OPENS * len(kinds), "loop lag p99, ms": p99_ms, "threads, all, descriptors": f"{before} -> {after}"}
    record("hung-servers", f"Silent, half a header, a byte at a time: {', '.join(HALF_HEADERS)}.", [row])
    # 50 ms on a machine of its own; a busy one delays any loop.
    assert p99_ms < float(os.environ.get("VQWATCH_FAULT_LAG_MS", "500"))
