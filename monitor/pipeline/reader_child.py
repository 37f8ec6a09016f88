"""The process of one stream's readers: takes orders and sends what they read. See ``reader_process``."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import pickle
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NoReturn

# Imported here though it is the orders that name it: the server process shares what it has imported.
import monitor.ingest.feed  # noqa: F401
from monitor.errors import SourceError
from monitor.ingest.mailbox import MailboxClosed
from monitor.ingest.source_thread import Source
from monitor.pipeline.reader import ReaderEvents, ReaderSetup, ThreadReader, ThreadReaders
from monitor.pipeline.reader_orders import Kind, Order
from monitor.pipeline.sampler import SamplerCounts
from monitor.types import StreamInfo

#: How often readings are sent.
_READINGS_S = 0.2
#: How often it looks at what it weighs; a look takes half a millisecond.
_WEIGH_S = 5.0
#: Readers give way to the monitor's own process: samples wait for its engine, and all that is told for its event loop,
#: which dozens of readers that are due together would keep waiting for each of their turns.
_NICE = 5
#: How long a connection may take to be closed when the process is to end.
_CLOSE_S = 1.0


def serve(pipe: Connection) -> NoReturn:
    """Reads connections as ordered until told to end, or until the monitor is gone; never returns."""
    code = 1
    try:
        try:
            setup, counts = pipe.recv()
        except (EOFError, OSError):
            os._exit(0)  # the monitor is gone
        with contextlib.suppress(OSError):
            # At most 15 bytes are shown: `ps -e` tells whose reader it is.
            Path("/proc/self/comm").write_text(f"vq:{setup.stream}"[:15])
        os.nice(_NICE)
        asyncio.run(_Server(pipe, setup, counts).run())
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # A thread that hangs in a read keeps nobody waiting, and nothing of the process it was forked from is run.
        os._exit(code)


class _Server:
    """Runs readers one after the other. On the process's event loop, but for what says otherwise."""

    def __init__(self, pipe: Connection, setup: ReaderSetup, counts: SamplerCounts) -> None:
        self._pipe = pipe
        self._sending = threading.Lock()
        self._readers = ThreadReaders(setup, counts)
        self._reader: ThreadReader | None = None
        self._session = 0
        self._over = asyncio.Event()
        self._ended = asyncio.Event()
        self._told: object = None
        self._memory_bytes = 0
        self._weigh_s = 0.0

    async def run(self) -> None:
        """Until the end."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._pipe.fileno(), self._obey)
        self._tick(loop)
        await self._over.wait()
        loop.remove_reader(self._pipe.fileno())
        if self._reader is not None and not self._ended.is_set():
            # What belongs to the connection, such as a process that receives SRT, is freed by its thread.
            self._reader.stop()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOSE_S):
                    await self._ended.wait()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        self._tell_readings()
        if not self._over.is_set():
            loop.call_later(_READINGS_S, self._tick, loop)

    def _obey(self) -> None:
        try:
            order, session, content = self._pipe.recv()
        except (EOFError, OSError):
            self._over.set()
            return
        if order == Order.READ:
            connect, rung = content
            self._read(session, connect, rung)
        elif order == Order.END:
            self._over.set()
        elif self._reader is not None and session == self._session:
            if order == Order.STOP:
                self._reader.stop()
            elif order == Order.RUNG:
                self._reader.set_rung(content)

    def _read(self, session: int, connect: Callable[[], Source], rung: int) -> None:
        # What the connection before left in cycles; a millisecond, for what the server imported is not looked at.
        self._reader = None
        gc.collect()
        self._session = session
        self._ended.clear()
        self._told = None
        events = ReaderEvents(
            sample=partial(self._send, Kind.SAMPLE, session),
            dropped=lambda count, cause: self._send(Kind.DROPPED, session, (count, cause)),
            still=partial(self._send, Kind.STILL, session),
            opened=lambda info: self._opened(session, info),
            ended=lambda error: self._end(session, error),
        )
        try:
            self._reader = self._readers.connect(connect, events, rung)
        except Exception as error:
            self._end(session, error)
            return
        self._reader.start()

    def _opened(self, session: int, info: StreamInfo) -> None:
        self._tell_readings()
        self._tell(Kind.OPENED, session, info)

    def _end(self, session: int, error: Exception | None) -> None:
        if session != self._session:
            return
        self._tell_readings()
        self._ended.set()
        self._tell(Kind.ENDED, session, _portable(error))

    def _tell_readings(self) -> None:
        if self._reader is None or self._ended.is_set():
            return
        now_s = time.monotonic()
        if now_s >= self._weigh_s:
            self._memory_bytes, self._weigh_s = _own_bytes(), now_s + _WEIGH_S
        content = self._reader.readings, replace(self._readers.counts), self._memory_bytes
        if content != self._told:
            self._told = content
            self._tell(Kind.READINGS, self._session, content)

    def _tell(self, kind: Kind, session: int, content: object) -> None:
        """Sends from the event loop, which sees by itself that the monitor is gone."""
        with contextlib.suppress(MailboxClosed):
            self._send(kind, session, content)

    def _send(self, kind: Kind, session: int, content: object) -> None:
        """Sends a message; from any thread. It waits where the monitor does not read, which it always does.

        Raises:
            MailboxClosed: The monitor is gone.
        """
        message = pickle.dumps((kind, session, content), pickle.HIGHEST_PROTOCOL)
        try:
            with self._sending:
                self._pipe.send_bytes(message)
        except OSError:
            # The loop sees the end of its socket as well.
            raise MailboxClosed from None


def _own_bytes() -> int:
    """Memory of this process that it shares with no other; 0 where the system does not tell."""
    try:
        lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(1024 * int(line.split()[1]) for line in lines if line.startswith("Private_"))


def _portable(error: Exception | None) -> Exception | None:
    """The error, or one that says the same where it cannot be sent."""
    if error is None:
        return None
    if not isinstance(error, SourceError):
        # A defect of ours: where it happened is told with it, for tracebacks are not sent.
        error.add_note("".join(traceback.format_exception(error)).rstrip())
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
