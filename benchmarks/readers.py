"""Threads or processes for readers of feeds: what each costs. ``python -m benchmarks.readers --readers 64``.

Every reader decodes a small TCP feed at 25 fps and makes the bundled model's samples of it, as in ``vqwatch run``, at
``--fps``; they are not scored. Feeds come from a process of their own, whose CPU is not counted.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from functools import partial
from pathlib import Path

import av
import psutil

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.ingest.pyav_source import PyAvSource
from monitor.observe.loop_lag import LoopLag
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.reader import ReaderEvents, Readers, ReaderSetup, ThreadReaders
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.types import Sample, StreamId
from tests.fixtures.feed_process import sent_elsewhere
from tests.fixtures.transport import make_programme


async def lag_beside(seconds: float) -> float:
    """p99 of an event loop's lag beside whatever else goes on, ms."""
    lag = LoopLag(interval_s=0.005, window=100_000)
    watching = asyncio.create_task(lag.run())
    await asyncio.sleep(seconds)
    watching.cancel()
    return lag.percentile_ms(0.99)


def used() -> tuple[float, float]:
    """CPU seconds and bytes of this process and all below it, shared memory once."""
    here = psutil.Process()
    below = here.children(recursive=True)
    cpu = sum(sum(process.cpu_times()[:2]) for process in (here, *below))
    return cpu, here.memory_full_info().uss + sum(process.memory_full_info().uss for process in below)


async def measure(
    name: str, urls: list[str], seconds: float, fps: float, make: Callable[[ReaderSetup], Readers]
) -> None:
    """Reads all feeds at once."""
    scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
    setup = ReaderSetup(StreamId("cam"), scoring.input, (Fraction(fps),), scoring.with_side_channel)
    opened = asyncio.Semaphore(0)
    ages: list[float] = []

    def sampled(sample: Sample) -> None:
        ages.append(time.monotonic() - sample.received_s)

    def failed(error: Exception | None) -> None:
        raise SystemExit(f"a reader ended: {error}")

    events = ReaderEvents(sampled, lambda *_: None, lambda _: None, lambda _: opened.release(), failed)
    idle = await lag_beside(2.0)
    cpu_before, bytes_before = used()
    began_s = time.monotonic()
    all_readers = []
    for url in urls:
        readers = make(setup)
        source = partial(PyAvSource, url, stream=StreamId("cam"), live=True, open_timeout_s=60.0, read_timeout_s=30.0)
        readers.connect(source, events, 0).start()
        all_readers.append(readers)
    for _ in urls:
        await opened.acquire()
    opened_s = time.monotonic() - began_s
    await asyncio.sleep(2.0)
    cpu_start, _ = used()
    ages.clear()
    lag = await lag_beside(seconds)
    cpu, size = used()
    count = len(urls)
    first = (cpu_start - cpu_before) / count
    steady = 1000 * (cpu - cpu_start) / seconds / count
    age = 1000 * sorted(ages)[int(0.99 * len(ages))]
    print(
        f"{name}: {count} readers, all open after {opened_s:.1f} s, {first:.2f} s of CPU each until 2 s later; "
        f"{(size - bytes_before) / count / 1e6:.1f} MB and {steady:.1f} ms of CPU a second each; "
        f"{len(ages) / seconds / count:.1f} samples a second each, p99 {age:.0f} ms old; "
        f"loop lag p99 {lag:.1f} ms, {idle:.1f} ms without readers"
    )
    sys.stdout.flush()
    for readers in all_readers:
        readers.close()


def callback_cost() -> None:
    """CPU of PyAV's time-out callback: the same file demuxed with and without one."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "clip.ts"
        make_programme(path, seconds=6)
        for timeout in (None, (5.0, 5.0)):
            spent = time.process_time()
            packets = 0
            for _ in range(5):
                with av.open(str(path), timeout=timeout) as container:
                    packets += sum(1 for _ in container.demux())
            spent = time.process_time() - spent
            print(f"callback: timeout={timeout}: {1e6 * spent / packets:.1f} us a packet")


def read(mode: str, urls: list[str], seconds: float, fps: float) -> None:
    """One mode, in a process that has done nothing else."""
    if mode == "threads":
        asyncio.run(measure(mode, urls, seconds, fps, ThreadReaders))
        return
    server = ReaderServer()
    asyncio.run(measure(mode, urls, seconds, fps, partial(ProcessReaders, server)))
    server.close()


def main() -> None:
    """Measures both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--fps", type=float, default=5.0, help="samples a second; all 25 pictures are decoded")
    parser.add_argument("--mode", help=argparse.SUPPRESS)
    parser.add_argument("--urls", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.mode:
        read(args.mode, args.urls, args.seconds, args.fps)
        return
    callback_cost()
    itself = [sys.executable, "-m", "benchmarks.readers"]
    for name in ("readers", "seconds", "fps"):
        itself += [f"--{name}", str(getattr(args, name))]
    for mode in ("threads", "processes"):
        with tempfile.TemporaryDirectory() as folder, sent_elsewhere(Path(folder), args.readers) as urls:
            subprocess.run([*itself, "--mode", mode, "--urls", *urls], check=True)


if __name__ == "__main__":
    main()
