"""Threads or processes for readers of feeds: what each costs. ``python benchmarks/readers.py --readers 64``.

Every reader decodes a small TCP feed at 25 fps. In one process the event loop's lag and the CPU are measured while all
read; a reader process is measured from its start to its first picture, then for its memory and CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import av
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from monitor.ingest.pyav_source import PyAvSource
from monitor.observe.loop_lag import LoopLag
from monitor.types import StreamId
from tests.fixtures.transport import TransportFeed, make_programme

_READER = """
import sys, threading, time
from monitor.ingest.pyav_source import PyAvSource
source = PyAvSource(sys.argv[1], stream="cam", live=True, open_timeout_s=60.0, read_timeout_s=30.0)
source.open()
print("open", time.process_time(), flush=True)
for _ in source.frames(threading.Event(), 1):
    pass
"""


def read(url: str, stop: threading.Event, opened: threading.Barrier) -> None:
    """One reader thread."""
    source = PyAvSource(url, stream=StreamId("cam"), live=True, open_timeout_s=60.0, read_timeout_s=30.0)
    source.open(stop)
    opened.wait()
    for _ in source.frames(stop, 1):
        pass


async def watched(seconds: float) -> LoopLag:
    """The lag of an event loop beside whatever else goes on."""
    lag = LoopLag(interval_s=0.005, window=100_000)
    watching = asyncio.create_task(lag.run())
    await asyncio.sleep(seconds)
    watching.cancel()
    return lag


def threads(urls: list[str], seconds: float) -> None:
    """All readers as threads of this process."""
    process, stop = psutil.Process(), threading.Event()
    opened = threading.Barrier(len(urls) + 1)
    idle = asyncio.run(watched(2.0))
    before_mb, began_s = process.memory_info().rss / 1e6, time.monotonic()
    running = [threading.Thread(target=read, args=(url, stop, opened), daemon=True) for url in urls]
    for thread in running:
        thread.start()
    opened.wait()
    opened_s = time.monotonic() - began_s
    cpu = time.process_time()
    lag = asyncio.run(watched(seconds))
    cpu = (time.process_time() - cpu) / seconds
    memory = process.memory_info().rss / 1e6 - before_mb
    stop.set()
    for thread in running:
        thread.join()
    print(f"threads: {len(urls)} readers, open after {opened_s:.1f} s, {memory / len(urls):.1f} MB each")
    print(f"threads: {1000 * cpu / len(urls):.1f} ms of CPU a second each")
    print(f"threads: loop lag p99 {lag.percentile_ms(0.99):.1f} ms, {idle.percentile_ms(0.99):.1f} ms without readers")


def processes(urls: list[str], seconds: float) -> None:
    """A process for each reader."""
    began_s = time.monotonic()
    children = [
        subprocess.Popen([sys.executable, "-c", _READER, url], stdout=subprocess.PIPE, text=True) for url in urls
    ]
    start_cpu = []
    for child in children:
        assert child.stdout is not None
        start_cpu.append(float(child.stdout.readline().split()[1]))
    opened_s = time.monotonic() - began_s
    known = [psutil.Process(child.pid) for child in children]
    before = [sum(child.cpu_times()[:2]) for child in known]
    time.sleep(seconds)
    cpu = sum(sum(child.cpu_times()[:2]) - then for child, then in zip(known, before, strict=True)) / seconds
    memory = sum(child.memory_full_info().uss for child in known) / 1e6
    for child in children:
        child.kill()
        child.communicate()
    count = len(urls)
    print(f"processes: {count} readers, open after {opened_s:.1f} s, {memory / count:.1f} MB each (not shared)")
    print(
        f"processes: {sum(start_cpu) / count:.2f} s of CPU to the first picture, {1000 * cpu / count:.1f} ms a second"
    )


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


def sender(path: str, count: int) -> None:
    """Feeds, in a process of their own; their URLs on stdout."""
    programme = make_programme(Path(path), seconds=6, size=(160, 96))
    with contextlib.ExitStack() as stack:
        feeds = [stack.enter_context(contextlib.closing(TransportFeed(programme, seed=n))) for n in range(count)]
        print(*(feed.url for feed in feeds), flush=True)
        signal.pause()


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--readers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--send", metavar="FILE", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.send:
        sender(args.send, args.readers)
        return
    callback_cost()
    with tempfile.TemporaryDirectory() as folder:
        for measure in (threads, processes):
            command = [sys.executable, __file__, "--send", f"{folder}/clip.ts", "--readers", str(args.readers)]
            sending = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            assert sending.stdout is not None
            try:
                measure(sending.stdout.readline().split(), args.seconds)
            finally:
                sending.kill()
                sending.communicate()


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[1]))
    main()
