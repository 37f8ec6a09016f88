"""Each protocol from a real server on loopback: told what it is soon, and no sample of it lost."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import pytest

from engines.preprocess import InputMode, InputSpec
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.reader import ReaderEvents, ReaderSetup
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.types import DropCause, Sample, StreamId, StreamInfo
from tests.faults.report import record
from tests.fixtures.streams import Feed, Feeds, make_clip
from tests.fixtures.transports import Transports

#: Seconds of each feed; ``make faults`` asks for 60.
SECONDS = int(os.environ.get("VQWATCH_FAULT_PROTOCOL_S", "2"))
LONG = SECONDS >= 30
STRICT = os.environ.get("VQWATCH_FAULT_STRICT") == "1"
#: Feeds at once: more would show what the machine can decode, not what the protocols lose.
AT_ONCE = 3
FPS = 25
#: Pictures until it counts: a feed that is joined in the middle may begin with damaged ones.
SETTLING = FPS // 2
#: What `vqwatch probe` may take, its start included.
PROBE_S = 5.0

pytestmark = [pytest.mark.faults, pytest.mark.servers, pytest.mark.timeout(300 + 8 * SECONDS)]
SETUP = ReaderSetup(StreamId("cam"), InputSpec(InputMode.FRAGMENTS), (Fraction(FPS),), with_side_channel=False)

Start = Callable[[Feeds, Transports, Path], Feed]
#: Name, server, options.
PROTOCOLS: dict[str, tuple[Start, dict[str, str]]] = {
    "udp": (lambda feeds, _, __: feeds.udp(), {}),
    "tcp": (lambda feeds, _, __: feeds.tcp(), {}),
    "rtmp": (lambda feeds, _, __: feeds.rtmp(), {}),
    "hls": (lambda feeds, _, __: feeds.hls(), {}),
    "rtsp": (lambda feeds, _, __: feeds.rtsp(), {}),
    "rtsp, password": (lambda feeds, _, __: feeds.rtsp("op", "p@ss%"), {}),
    "rtsp over udp": (lambda feeds, _, __: feeds.rtsp(), {"rtsp_transport": "udp"}),
    "rtp": (lambda _, transports, clip: transports.rtp(clip), {}),
    "multicast": (lambda _, transports, clip: transports.multicast(clip), {}),
    "srt, caller": (lambda _, transports, clip: transports.srt(clip, "passphrase=0123456789ab"), {}),
    "srt, listener": (lambda _, transports, clip: transports.srt_caller(clip), {}),
    "file": (lambda _, __, clip: Feed(str(clip)), {}),
}


@dataclass
class Watched:
    """What one feed gave."""

    opened_s: float
    samples: int
    missing: int
    dropped: int
    gaps: int
    repeated: int
    corrupt: int
    packets_lost: int
    epochs: int


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_clip(tmp_path_factory.mktemp("protocols") / "clip.ts", seconds=SECONDS + 30)


@pytest.fixture(scope="module")
def server() -> Iterator[ReaderServer]:
    with contextlib.closing(ReaderServer()) as server:
        yield server


def address(name: str, feed: Feed) -> str:
    """With what the feed wants to be asked with."""
    if name == "srt, caller":
        return f"{feed.url}?passphrase=0123456789ab"
    if name == "multicast":
        return f"{feed.url}?localaddr=127.0.0.1"
    return feed.url.replace("://", "://op:p%40ss%25@") if name == "rtsp, password" else feed.url


async def watch(name: str, url: str, options: dict[str, str], server: ReaderServer) -> Watched:
    """Reads a feed for as long as is asked."""
    readers = ProcessReaders(server, SETUP)
    ticks: list[tuple[int, int]] = []
    dropped, enough, over = [0], asyncio.Event(), asyncio.Event()
    loop, began_s, opened_s = asyncio.get_running_loop(), time.monotonic(), [0.0]
    errors: list[Exception | None] = []

    def sampled(sample: Sample) -> None:
        ticks.append((sample.epoch, sample.tick))
        if len(ticks) == SETTLING + SECONDS * FPS:
            loop.call_soon_threadsafe(enough.set)

    def lost(count: int, cause: DropCause) -> None:
        dropped[0] += count

    def opened(_: StreamInfo) -> None:
        opened_s[0] = time.monotonic() - began_s

    def ended(error: Exception | None) -> None:
        errors.append(error)
        over.set()
        enough.set()

    source = partial(
        PyAvSource, url, stream=StreamId("cam"), live=name != "file", paced=name == "file", options=options,
        open_timeout_s=10.0, read_timeout_s=4.0,
    )  # fmt: skip
    reader = readers.connect(source, ReaderEvents(sampled, lost, lambda _: None, opened, ended), 0)
    reader.start()
    while len(ticks) < SETTLING and not over.is_set():
        await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)  # counts come after the samples
    before = (readers.counts.gaps, readers.counts.repeated, readers.counts.corrupt, readers.counts.packets_lost)
    await enough.wait()
    assert not errors, (name, errors)
    reader.stop()
    await over.wait()
    counts = readers.counts
    readers.close()
    first, last = ticks[SETTLING], ticks[-1]
    assert {epoch for epoch, _ in ticks} == {first[0]}, name
    return Watched(
        opened_s[0], len(ticks) - SETTLING, last[1] - first[1] + 1 - (len(ticks) - SETTLING), dropped[0],
        counts.gaps - before[0], counts.repeated - before[1], counts.corrupt - before[2],
        counts.packets_lost - before[3], counts.epochs,
    )  # fmt: skip


def probe_s(name: str, url: str, options: dict[str, str]) -> float:
    """Time from the start of ``vqwatch probe`` to its first line, which says what the feed is."""
    given = [f"--{key.replace('_', '-')}={value}" for key, value in options.items() if key == "rtsp_transport"]
    command = [sys.executable, "-m", "monitor", "probe", url, "--seconds", "1", *given]
    began_s = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as probing:
        assert probing.stdout is not None
        line = probing.stdout.readline()
        took_s = time.monotonic() - began_s
        probing.kill()
    assert "320x180" in line, (name, line)
    return took_s


async def test_every_protocol_is_told_soon_and_loses_no_sample(
    feeds: Feeds, transports: Transports, clip: Path, server: ReaderServer
) -> None:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> dict[str, object] | None:
        start, options = PROTOCOLS[name]
        async with room:
            try:
                feed = start(feeds, transports, clip)
            except pytest.skip.Exception:
                return None
            seen = await watch(name, address(name, feed), options, server)
            return {"protocol": name, **vars(seen)}

    # The others are opened and read by tests/monitor/ingest.
    names = PROTOCOLS if LONG else ("udp", "rtsp over udp", "srt, listener")
    rows = [row for row in await asyncio.gather(*map(one, names)) if row is not None]
    for row in rows if LONG else rows[:1]:
        name = str(row["protocol"])
        start, options = PROTOCOLS[name]
        url = address(name, start(feeds, transports, clip))
        row["probe, s"] = await asyncio.to_thread(probe_s, name, url, options)
    record("protocols", f"{SECONDS} s of each, {AT_ONCE} at once; probe: to its first line, alone.", rows)
    for row in rows:
        assert row["missing"] == row["dropped"] == row["gaps"] == 0, row
        # A repeat is no loss: the RTSP server of these tests shows one picture twice in a minute; no other server does.
        assert row["repeated"] <= str(row["protocol"]).startswith("rtsp"), row
        assert row["corrupt"] == row["packets_lost"] == 0, row
        if STRICT and LONG:
            assert float(str(row["probe, s"])) < PROBE_S, row
