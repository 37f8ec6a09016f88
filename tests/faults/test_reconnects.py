"""A stream that reconnects again and again leaves nothing behind: no thread, descriptor, process or memory."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import random
import socket
import statistics
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import psutil
import pytest

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.core.alert_book import AlertBook, default_rules
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.source_thread import SourceThread
from monitor.observe.loop_lag import LoopLag
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.reader import ThreadReaders
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.pipeline.stream_task import StreamSettings, StreamTask
from monitor.types import StreamId
from tests.faults.campaign import NoEngine
from tests.faults.report import record
from tests.fixtures.damage import numbered
from tests.fixtures.transport import FPS, Line, Programme, make_programme

#: ``make faults`` asks for 1000, one a second.
RECONNECTS = int(os.environ.get("VQWATCH_FAULT_RECONNECTS", "12"))
LONG = RECONNECTS >= 500
PERIOD_S = 1.0 if LONG else 0.05
#: Connections at first that fill caches and pools and are not looked at: seen, 2 MB up to the 60th, and 8 MB at once at
#: about the 120th; flat in between and after.
SETTLING = RECONNECTS // 5
#: The most threads that the loop's pool grows to, as Python sets it.
POOL = min(32, (os.cpu_count() or 1) + 4)
#: The most threads that a connection has: the reader and the decoder's, of which FFmpeg takes one a core and one more.
DECODING = (os.cpu_count() or 1) + 2
#: Growth of resident memory in 100 reconnects, upper 95 % bound, MB.
LIMIT_MB = 0.1

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300 + round(3 * RECONNECTS * max(PERIOD_S, 0.3)))]


class ClosingServer:
    """Sends 30 pictures of a programme to each client and closes, one client a period at most."""

    def __init__(self, programme: Programme) -> None:
        self._data = b"".join(packet for _, packet in numbered(programme, 0, 30, Line()))
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(0.1)
        self.url = f"tcp://127.0.0.1:{self._server.getsockname()[1]}"
        self.served = 0
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="closing-server", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while not self._done.is_set():
            began_s = time.monotonic()
            with contextlib.suppress(OSError):
                client, _ = self._server.accept()
                with client:
                    client.settimeout(5)
                    client.sendall(self._data)
                self.served += 1
                self._done.wait(max(0.0, began_s + PERIOD_S - time.monotonic()))

    def close(self) -> None:
        self._done.set()
        self._thread.join(5)
        self._server.close()


def slope(x: Sequence[float], y: Sequence[float]) -> tuple[float, float]:
    """Least-squares slope, and its upper 95 % bound (one-sided would be lower; normal, for 30 points and more)."""
    mean_x, mean_y = statistics.fmean(x), statistics.fmean(y)
    spread = sum((a - mean_x) ** 2 for a in x)
    found = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True)) / spread
    rest = sum((b - mean_y - found * (a - mean_x)) ** 2 for a, b in zip(x, y, strict=True))
    return found, found + 1.96 * (rest / max(1, len(x) - 2) / spread) ** 0.5


@pytest.mark.parametrize("readers", ["processes", "threads"])
async def test_reconnects_leave_nothing_behind(readers: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    programme = make_programme(tmp_path_factory.mktemp("short") / "programme.ts", seconds=2, size=(96, 64))
    scoring = replace(BundleScoring.of(load_bundle(bundles_folder() / BUNDLED)), with_side_channel=False)
    process, cam = psutil.Process(), StreamId("cam")
    forks = ReaderServer()
    with contextlib.closing(ClosingServer(programme)) as server, contextlib.closing(forks):
        task = StreamTask(
            # Nothing is scored here: a mailbox of 4 MB that is full or not would hide what is looked for.
            StreamSettings(cam, live=True, max_backoff_s=0.25, mailbox=4),
            partial(PyAvSource, server.url, stream=cam, live=True),
            scoring,
            Batcher(NoEngine()),  # type: ignore[arg-type]
            AlertBook(cam, default_rules(), lambda: "id"),
            on_info=lambda *_: None,
            readers=ThreadReaders if readers == "threads" else partial(ProcessReaders, forks),
            rng=random.Random(1),
        )
        lag = LoopLag(interval_s=0.01, window=5_000)
        watching = asyncio.create_task(lag.run())
        running = asyncio.create_task(task.run())
        seen, megabytes, held = [], [], []
        # The loop's thread pool grows to its size at need; here it has it from the start.
        await asyncio.gather(*(asyncio.to_thread(time.sleep, 0.05) for _ in range(POOL)))
        while (done := sum(task.reconnects.values())) < RECONNECTS:
            await asyncio.sleep(0.2 * PERIOD_S)
            task.second(time.time())
            if done >= SETTLING and (not seen or done > seen[-1]):
                gc.collect()
                seen.append(done)
                below = process.children(recursive=True)
                megabytes.append(sum(one.memory_info().rss for one in (process, *below)) / 1e6)
                held.append(
                    (
                        sum(one.num_threads() for one in (process, *below)),
                        sum(one.num_fds() for one in (process, *below)),
                        len(below),
                    )
                )
        task.stop()
        await running
        watching.cancel()
        assert task.counts.frames >= RECONNECTS * FPS  # each of them showed pictures
    # Within a connection there is a thread that reads, the decoder's own, one socket on each side; then none.
    assert max(held[-5:])[0] <= max(held[:5])[0] + DECODING, held
    assert max(h[1] for h in held[-5:]) <= max(h[1] for h in held[:5]) + 3, held
    assert {h[2] for h in held} == {held[0][2]}
    assert SourceThread.abandoned_count() == 0
    found, upper = slope([n / 100 for n in seen], megabytes) if len(seen) > 2 else (0.0, 0.0)
    row = {
        "reconnects": RECONNECTS, "loop lag p99, ms": lag.percentile_ms(0.99), "RSS, MB": megabytes[-1],
        "MB per 100": found, "upper 95 %": upper, "threads, descriptors, children": f"{held[0]} -> {held[-1]}",
    }  # fmt: skip
    record(f"reconnects, {readers}", f"One stream, a reconnect every {PERIOD_S:g} s at most.", [row])
    if LONG:
        assert upper < LIMIT_MB, row
