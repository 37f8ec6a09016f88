from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import av
import pytest

from monitor.errors import SourceCode, SourceError
from monitor.ingest.mailbox import Mailbox, OverflowPolicy
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.ingest.source_thread import SourceThread
from monitor.types import StreamId, StreamInfo

CAM = StreamId("cam")
INFO = StreamInfo("file:x", "file", "h264", 16, 16, "yuv420p")
LIMIT_S = 10


class ScriptedSource:
    """Gives so many pictures, then ends, fails, waits for stop, or hangs until it is freed."""

    def __init__(self, pictures: int, *, then: str = "end", open_error: Exception | None = None) -> None:
        self._pictures = pictures
        self._then = then
        self._open_error = open_error
        self.freed = threading.Event()
        self.closed_in: threading.Thread | None = None

    def open(self, stop: threading.Event | None = None) -> StreamInfo:
        if self._open_error is not None:
            raise self._open_error
        return INFO

    def frames(self, stop: threading.Event, epoch: int) -> Iterator[Decoded]:
        for number in range(self._pictures):
            yield Decoded(av.VideoFrame(16, 16), number, Fraction(1, 25), float(number), False, epoch)
        if self._then == "fail":
            raise SourceError("cam: no data", SourceCode.TIMEOUT)
        if self._then == "wait":
            stop.wait(LIMIT_S)
        if self._then == "hang":
            self.freed.wait(LIMIT_S)

    def close(self) -> None:
        self.closed_in = threading.current_thread()


class Life:
    """Collects what a source thread tells the event loop, with the thread it was told in."""

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.told_in: set[threading.Thread] = set()
        self.ended = asyncio.Event()

    def on_opened(self, info: StreamInfo) -> None:
        self.told_in.add(threading.current_thread())
        self.events.append(info)

    def on_ended(self, error: Exception | None) -> None:
        self.told_in.add(threading.current_thread())
        self.events.append(error)
        self.ended.set()


def start(source: Any, life: Life, on_frame: Any) -> SourceThread:
    thread = SourceThread(
        source,
        name="cam-3",
        epoch=3,
        loop=asyncio.get_running_loop(),
        on_frame=on_frame,
        on_opened=life.on_opened,
        on_ended=life.on_ended,
    )
    thread.start()
    return thread


async def test_a_recording_is_opened_read_and_ended_in_this_order():
    life, source, frames = Life(), ScriptedSource(3), []
    thread = start(source, life, lambda decoded: frames.append((decoded, threading.current_thread())))
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert thread.join(LIMIT_S)
    assert life.events == [INFO, None]
    assert [(decoded.pts, decoded.epoch) for decoded, _ in frames] == [(0, 3), (1, 3), (2, 3)]
    assert {(t.name, t.daemon) for _, t in frames} == {("cam-3", True)}
    assert life.told_in == {threading.current_thread()}
    assert source.closed_in is not None
    assert source.closed_in.name == "cam-3"


async def test_a_loss_is_told_with_its_error():
    life = Life()
    start(ScriptedSource(1, then="fail"), life, lambda _: None)
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert life.events[0] == INFO
    assert life.events[1].code is SourceCode.TIMEOUT


async def test_a_failed_open_is_told_without_an_opened():
    life = Life()
    source = ScriptedSource(0, open_error=SourceError("cam: refused", SourceCode.CONNECTION))
    start(source, life, lambda _: None)
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert [event.code for event in life.events] == [SourceCode.CONNECTION]
    assert source.closed_in is not None


async def test_a_mistake_in_the_frame_handler_is_told_and_not_lost():
    def broken(decoded: Decoded) -> None:
        raise ZeroDivisionError("handler")

    life = Life()
    start(ScriptedSource(1), life, broken)
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert isinstance(life.events[1], ZeroDivisionError)


async def test_stop_ends_a_waiting_source_without_an_error():
    life = Life()
    thread = start(ScriptedSource(2, then="wait"), life, lambda _: None)
    thread.stop()
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert life.events[-1] is None
    assert thread.join(LIMIT_S)
    assert not thread.alive


async def test_a_closed_mailbox_ends_the_thread_quietly():
    life = Life()
    box: Mailbox[Decoded] = Mailbox(2, OverflowPolicy.WAIT)
    full = threading.Event()

    def put(decoded: Decoded) -> None:
        if box.depth == 2:
            full.set()
        box.put(decoded)

    thread = start(ScriptedSource(100), life, put)
    assert await asyncio.to_thread(full.wait, LIMIT_S)
    box.close()
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert life.events == [INFO, None]
    assert thread.join(LIMIT_S)


async def test_a_hung_thread_is_abandoned_counted_and_not_heard_of_again():
    before = SourceThread.abandoned_count()
    life, source = Life(), ScriptedSource(0, then="hang")
    thread = start(source, life, lambda _: None)
    thread.stop()
    assert not thread.join(0.05)
    thread.abandon()
    assert SourceThread.abandoned_count() == before + 1
    source.freed.set()
    assert await asyncio.to_thread(thread.join, LIMIT_S)
    await asyncio.sleep(0)
    assert SourceThread.abandoned_count() == before
    assert not life.ended.is_set()


def test_a_loop_that_is_closed_meanwhile_is_no_error():
    source = ScriptedSource(1, then="hang")

    async def leave() -> SourceThread:
        return start(source, Life(), lambda _: None)

    thread = asyncio.run(leave())
    source.freed.set()
    assert thread.join(LIMIT_S)


async def test_a_real_file_passes_through_a_mailbox_complete_and_in_order(clip):
    life, ready = Life(), asyncio.Event()
    loop = asyncio.get_running_loop()
    box: Mailbox[Decoded] = Mailbox(
        4, OverflowPolicy.WAIT, on_item=lambda: loop.call_soon_threadsafe(ready.set) and None
    )
    start(PyAvSource(str(clip), stream=CAM, live=False), life, box.put)
    taken: list[Decoded] = []
    async with asyncio.timeout(LIMIT_S):
        while len(taken) < 50:
            await ready.wait()
            ready.clear()
            while batch := box.take(3):
                taken += batch
        await life.ended.wait()
    pts = [decoded.pts for decoded in taken]
    assert pts == sorted(pts)
    assert life.events[0].codec == "h264"
    assert life.events[1] is None
    statistics = box.statistics()
    assert (statistics.put, statistics.taken, sum(statistics.dropped.values())) == (50, 50, 0)


@pytest.mark.parametrize("policy", OverflowPolicy)
async def test_a_burst_does_not_flood_the_event_loop(clip, policy):
    wakes = 0

    def wake() -> None:
        nonlocal wakes
        wakes += 1

    life = Life()
    box: Mailbox[Decoded] = Mailbox(64, policy, on_item=wake)
    start(PyAvSource(str(clip), stream=CAM, live=False), life, box.put)
    await asyncio.wait_for(life.ended.wait(), LIMIT_S)
    assert (box.depth, wakes) == (50, 1)
