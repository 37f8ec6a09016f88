"""Readers in processes: what they give is what threads give, and nothing that happens to one concerns another."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
import psutil
import pytest

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.core.evidence import Still
from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.source_thread import Source
from monitor.pipeline import reader_process
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.reader import Reader, ReaderEvents, Readers, ReaderSetup, ThreadReaders
from monitor.pipeline.reader_process import ProcessReader, ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.types import DropCause, Sample, StreamId, StreamInfo
from tests.fixtures.odd_sources import (
    CrashingSource,
    DefectiveSource,
    HungSource,
    StoppedSource,
    refuses_to_be_made,
)
from tests.fixtures.transport import TransportFeed

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(60)]
CAM = StreamId("cam")


@pytest.fixture(scope="module")
def setup() -> ReaderSetup:
    scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
    return ReaderSetup(
        CAM, scoring.input, (Fraction(25), Fraction(5)), with_side_channel=scoring.with_side_channel, still_width=64
    )


@pytest.fixture
def server() -> Iterator[ReaderServer]:
    server = ReaderServer()
    yield server
    server.close()
    assert not [child for child in psutil.Process().children() if "reader_server" in " ".join(child.cmdline())]


@pytest.fixture
async def connect(server: ReaderServer, setup: ReaderSetup) -> AsyncIterator[Callable[..., Heard]]:
    """Reads a source in a process of the stream's own, or in the readers given."""
    made: list[Readers] = []

    def start(source: Callable[[], Source], readers: Readers | None = None, rung: int = 0) -> Heard:
        if readers is None:
            readers = ProcessReaders(server, setup)
            made.append(readers)
        heard = Heard(readers)
        heard.reader = readers.connect(source, heard.events(), rung)
        heard.reader.start()
        return heard

    yield start
    for readers in made:
        readers.close()


@dataclass
class Heard:
    """What a reader told."""

    readers: Readers
    samples: list[Sample] = field(default_factory=list)
    dropped: list[tuple[int, DropCause]] = field(default_factory=list)
    stills: list[Still] = field(default_factory=list)
    opened: list[StreamInfo] = field(default_factory=list)
    errors: list[Exception | None] = field(default_factory=list)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    reader: Reader = field(init=False)

    def events(self) -> ReaderEvents:
        def end(error: Exception | None) -> None:
            self.errors.append(error)
            self.ended.set()

        return ReaderEvents(
            self.samples.append,
            lambda count, cause: self.dropped.append((count, cause)),
            self.stills.append,
            self.opened.append,
            end,
        )

    async def until(self, count: int) -> None:
        """So many samples have come."""
        while len(self.samples) < count:
            await asyncio.sleep(0.01)

    async def process(self) -> psutil.Process:
        """The reader's process, once there is one."""
        assert isinstance(self.readers, ProcessReaders)
        while self.readers.pid is None:
            await asyncio.sleep(0.01)
        return psutil.Process(self.readers.pid)


def recording(file: Path) -> Callable[[], Source]:
    return partial(PyAvSource, str(file), stream=CAM, live=False)


def live(feed: TransportFeed) -> Callable[[], Source]:
    return partial(PyAvSource, feed.url, stream=CAM, live=True)


def ended(process: psutil.Process) -> bool:
    """It runs no more, whether or not its exit status was collected."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:  # it may go between any two questions
        return True


async def test_a_process_gives_what_a_thread_gives(
    connect: Callable[..., Heard], setup: ReaderSetup, clip_maker: Callable[..., Path], tmp_path: Path
) -> None:
    clip = clip_maker(tmp_path / "clip.mkv")
    here, there = connect(recording(clip), ThreadReaders(setup)), connect(recording(clip))
    await here.ended.wait()
    await there.ended.wait()
    assert here.errors == there.errors == [None]
    assert here.opened == there.opened
    assert len(here.samples) == len(there.samples) == 25
    for mine, other in zip(here.samples, there.samples, strict=True):
        assert np.array_equal(mine.pixels, other.pixels)
        assert mine.side is not None
        assert other.side is not None
        assert np.array_equal(mine.side, other.side)
        assert (mine.epoch, mine.tick, mine.pts_s, mine.facts, mine.held, mine.rung, mine.grid) == (
            other.epoch, other.tick, other.pts_s, other.facts, other.held, other.rung, other.grid
        )  # fmt: skip
    assert here.readers.counts == there.readers.counts
    mine, other = here.reader.readings, there.reader.readings
    assert (mine.pictures, mine.advanced, mine.format, mine.fps) == (
        other.pictures, other.advanced, other.format, other.fps
    )  # fmt: skip
    assert mine.latest is not None
    assert other.latest is not None
    assert mine.latest[0] == other.latest[0]
    assert [still.jpeg for still in here.stills] == [still.jpeg for still in there.stills]


async def test_a_decoder_that_crashes_takes_no_other_feed_along(
    connect: Callable[..., Heard], transport_feed: Callable[..., TransportFeed]
) -> None:
    first, second = connect(live(transport_feed())), connect(live(transport_feed()))
    await first.until(10)
    await second.until(10)
    epoch, frames = first.samples[-1].epoch, first.readers.counts.frames
    (await first.process()).send_signal(signal.SIGSEGV)
    await first.ended.wait()
    [error] = first.errors
    assert isinstance(error, SourceError)
    assert (str(error), error.code) == ("its reader's process died: SIGSEGV", SourceCode.CODEC)
    assert first.readers.deaths == 1
    again = connect(live(transport_feed()), first.readers)
    await again.until(10)
    assert again.samples[0].epoch == epoch + 1
    while again.readers.counts.frames <= frames:
        await asyncio.sleep(0.02)
    await second.until(len(second.samples) + 25)
    assert [sample.tick for sample in second.samples] == list(range(len(second.samples)))
    assert not second.ended.is_set()


async def test_readers_give_way_to_the_monitor(
    connect: Callable[..., Heard], transport_feed: Callable[..., TransportFeed]
) -> None:
    heard = connect(live(transport_feed()))
    await heard.until(1)
    assert (await heard.process()).nice() == min(19, psutil.Process().nice() + 5)


async def test_a_crash_while_opening_is_told(connect: Callable[..., Heard]) -> None:
    heard = connect(CrashingSource)
    await heard.ended.wait()
    assert [str(error) for error in heard.errors] == ["its reader's process died: SIGSEGV"]


@pytest.mark.parametrize("source", [HungSource, StoppedSource])
async def test_a_reader_that_hangs_is_killed_once_it_is_given_up(
    connect: Callable[..., Heard], source: Callable[[], Source], transport_feed: Callable[..., TransportFeed]
) -> None:
    heard = connect(source)
    process = await heard.process()
    heard.reader.abandon()
    while not ended(process):
        await asyncio.sleep(0.02)
    assert heard.errors == []  # nobody is told of what was given up
    assert heard.readers.deaths == 0
    again = connect(live(transport_feed()), heard.readers)
    await again.until(5)


async def test_a_reader_given_up_that_ends_keeps_its_process(
    connect: Callable[..., Heard], transport_feed: Callable[..., TransportFeed]
) -> None:
    heard = connect(live(transport_feed()))
    await heard.until(5)
    process = await heard.process()
    heard.reader.abandon()
    assert isinstance(heard.reader, ProcessReader)
    while not heard.reader.over:
        await asyncio.sleep(0.02)
    again = connect(live(transport_feed()), heard.readers)
    await again.until(5)
    assert (await again.process()).pid == process.pid


async def test_after_many_connections_another_process_goes_on(
    connect: Callable[..., Heard], transport_feed: Callable[..., TransportFeed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader_process, "_MOST_CONNECTIONS", 2)
    url, pids, epochs = live(transport_feed()), [], []
    heard = None
    for _ in range(3):
        heard = connect(url, heard and heard.readers)
        await heard.until(3)
        pids.append((await heard.process()).pid)
        epochs.append(heard.samples[0].epoch)
        heard.reader.stop()
        await heard.ended.wait()
    assert pids[0] == pids[1] != pids[2]
    assert epochs == [1, 2, 3]
    assert heard is not None
    assert heard.readers.deaths == 0


async def test_a_defect_is_told_with_where_it_was(connect: Callable[..., Heard]) -> None:
    heard = connect(DefectiveSource)
    await heard.ended.wait()
    [error] = heard.errors
    assert isinstance(error, ZeroDivisionError)
    assert "odd_sources.py" in "".join(error.__notes__)
    other = connect(refuses_to_be_made, heard.readers)
    await other.ended.wait()
    assert [repr(error) for error in other.errors] == ["LookupError('no such thing')"]


async def test_another_rate_begins_with_the_next_picture(
    connect: Callable[..., Heard], transport_feed: Callable[..., TransportFeed]
) -> None:
    heard = connect(live(transport_feed()))
    await heard.until(5)
    heard.reader.set_rung(1)
    while heard.samples[-1].rung != 1:
        await asyncio.sleep(0.02)
    heard.reader.stop()
    await heard.ended.wait()
    assert heard.errors == [None]


async def test_where_the_server_was_killed_another_is_started(
    connect: Callable[..., Heard], server: ReaderServer, transport_feed: Callable[..., TransportFeed]
) -> None:
    first = connect(live(transport_feed()))
    await first.until(5)
    assert server._process is not None
    server._process.kill()
    await asyncio.to_thread(server._process.wait)
    second = connect(live(transport_feed()))
    await second.until(5)
    await first.until(len(first.samples) + 25)  # its reader needs no server
    assert not first.ended.is_set()


async def test_closing_the_server_ends_readers_that_hang(connect: Callable[..., Heard], server: ReaderServer) -> None:
    hung, stopped = connect(HungSource), connect(StoppedSource)
    processes = [await hung.process(), await stopped.process()]
    await asyncio.to_thread(server.close)
    assert not any(process.is_running() for process in processes)


def test_readers_end_with_a_killed_monitor(tmp_path: Path) -> None:
    program = """
import asyncio, sys
from functools import partial
from fractions import Fraction
from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.reader import ReaderEvents, ReaderSetup
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from tests.fixtures.odd_sources import HungSource

async def main():
    scoring = BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))
    server = ReaderServer()
    readers = ProcessReaders(server, ReaderSetup("cam", scoring.input, (Fraction(25),), True))
    reader = readers.connect(HungSource, ReaderEvents(print, print, print, print, print), 0)
    reader.start()
    while readers.pid is None:
        await asyncio.sleep(0.01)
    print(server._process.pid, readers.pid, flush=True)
    await asyncio.sleep(300)

asyncio.run(main())
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as monitor:
        assert monitor.stdout is not None
        assert monitor.stderr is not None
        processes = [psutil.Process(int(pid)) for pid in monitor.stdout.readline().split()]
        assert len(processes) == 2
        monitor.kill()
        gone, alive = psutil.wait_procs(processes, timeout=20)
        assert monitor.stderr.read() == ""
    # Nobody may be there to collect what is left of them.
    assert all(ended(process) for process in alive), (gone, alive)
