"""A server that hangs holds its own reader for a while, and nothing else: no event loop, no descriptor, no shutdown."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial

import psutil
import pytest

from engines.preprocess import InputMode, InputSpec
from monitor.errors import SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.source_thread import SourceThread
from monitor.observe.loop_lag import LoopLag
from monitor.pipeline.reader import ReaderEvents, Readers, ReaderSetup, ThreadReaders
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.types import StreamId
from tests.faults.report import record
from tests.fixtures.hung_servers import HALF_HEADERS, HungServer

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

#: Opens of each kind; ``make faults`` asks for 84 of each of the 12 kinds: 1000 and a few in all.
OPENS = int(os.environ.get("VQWATCH_FAULT_OPENS", "3"))
_AT_ONCE = 42
_TIMEOUT_S = 0.3
_PATIENCE_S = 60.0


SETUP = ReaderSetup(StreamId("cam"), InputSpec(InputMode.FRAGMENTS), (Fraction(25),), with_side_channel=True)


def held() -> tuple[int, int, int]:
    """Processes, threads and descriptors of this process and all below it."""
    gc.collect()
    here = psutil.Process()
    processes = [here, *here.children(recursive=True)]
    return len(processes), sum(p.num_threads() for p in processes), sum(p.num_fds() for p in processes)


async def opened(url: str, streams: list[Readers]) -> list[Exception | None]:
    """What one connection of each stream ends with, all at once."""
    results: list[Exception | None] = []
    all_ended = asyncio.Event()

    def ended(error: Exception | None) -> None:
        results.append(error)
        if len(results) == len(streams):
            all_ended.set()

    events = ReaderEvents(lambda _: None, lambda *_: None, lambda _: None, lambda _: None, ended)
    for readers in streams:
        source = partial(
            PyAvSource, url, stream=StreamId("cam"), live=True, open_timeout_s=_TIMEOUT_S, read_timeout_s=_TIMEOUT_S
        )
        readers.connect(source, events, 0).start()
    async with asyncio.timeout(_PATIENCE_S):
        await all_ended.wait()
    return results


@pytest.mark.parametrize("readers", ["processes", "threads"])
async def test_hung_opens_end_by_themselves_and_leave_nothing_behind(
    readers: str, hung_server: Callable[..., HungServer]
) -> None:
    kinds = [
        (scheme, server)
        for scheme, half in HALF_HEADERS.items()
        for server in (hung_server(), hung_server(first=half), hung_server(first=half[:2], trickle_s=0.1))
    ]
    with contextlib.closing(ReaderServer()) as forks:
        make = ThreadReaders if readers == "threads" else partial(ProcessReaders, forks)
        # What FFmpeg, the loop and the server of processes keep from the first use on.
        streams = [make(SETUP) for _ in range(min(OPENS, _AT_ONCE))]
        await opened(f"tcp://127.0.0.1:{kinds[0][1].port}", streams)
        before = await settled(None)
        lag = LoopLag(interval_s=0.01, window=100_000)
        watching = asyncio.create_task(lag.run())
        for scheme, server in kinds:
            left = OPENS
            while left:
                now = min(left, len(streams))
                errors = await opened(f"{scheme}://127.0.0.1:{server.port}/live", streams[:now])
                assert all(isinstance(error, SourceError) for error in errors), (scheme, errors)
                left -= now
            assert server.accepted >= OPENS
        watching.cancel()
        after = await settled(before)
        for readers_of_one in streams:
            readers_of_one.close()
    assert all(now <= then for now, then in zip(after, before, strict=True)), (before, after)
    assert SourceThread.abandoned_count() == 0
    p99_ms = lag.percentile_ms(0.99)
    row = {
        "opens": OPENS * len(kinds), "loop lag p99, ms": p99_ms,
        "processes, threads, descriptors": f"{before} -> {after}",
    }  # fmt: skip
    about = f"Silent, half a header, a byte at a time: {', '.join(HALF_HEADERS)}."
    record(f"hung-servers, {readers}", about, [row])
    # 50 ms on a machine of its own; a busy one delays any loop. Threads share the loop's GIL, 42 of them notably.
    if readers == "processes":
        assert p99_ms < float(os.environ.get("VQWATCH_FAULT_LAG_MS", "500"))


async def settled(limit: tuple[int, int, int] | None) -> tuple[int, int, int]:
    """What is held once it is no more than that, or no longer changes."""
    until = time.monotonic() + 10
    seen = held()
    while time.monotonic() < until:
        await asyncio.sleep(0.3)
        now = held()
        if now == seen and (limit is None or all(a <= b for a, b in zip(now, limit, strict=True))):
            break
        seen = now
    return seen
