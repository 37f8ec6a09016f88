"""Readers in a process of their own for each stream: a decoder that crashes or hangs takes no other feed along.

What a reader does there is what ``ThreadReaders`` do; samples and readings come back over a socket. See
``reader_server`` for how the processes are made.
"""

from __future__ import annotations

import asyncio
import contextlib
import pickle
import signal
import threading
from collections.abc import Callable
from dataclasses import fields
from multiprocessing.connection import Connection
from typing import Any

from monitor.errors import SourceCode, SourceError
from monitor.ingest.loop_calls import LoopCalls
from monitor.ingest.mailbox import MailboxClosed
from monitor.ingest.source_thread import Source
from monitor.pipeline.reader import ReaderEvents, ReaderSetup, Readings
from monitor.pipeline.reader_orders import Kind, Order
from monitor.pipeline.reader_server import ReaderProcess, ReaderServer
from monitor.pipeline.sampler import SamplerCounts

#: A reader that was given up may take this long to end before its process is killed.
_GRACE_S = 1.0
#: A connection leaves some 2 kB behind (measured over 1000): after so many another process goes on.
_MOST_CONNECTIONS = 200
#: A process that was asked to end, or whose socket closed, may take this long.
_END_S = 2.0


class ProcessReaders:
    """Readers of one stream in one process of its own: see ``Readers``. For the event loop's thread.

    The process outlives connections, and with it detectors; counters outlive the process.

    Args:
        server: Starts the process.
        setup: How pictures become samples.
        counts: Counters to go on with.
    """

    def __init__(self, server: ReaderServer, setup: ReaderSetup, counts: SamplerCounts | None = None) -> None:
        self._server = server
        self._setup = setup
        self._counts = counts or SamplerCounts()
        self._child: _Child | None = None
        self._reader: ProcessReader | None = None
        #: Times that the process died by itself.
        self.deaths = 0

    @property
    def counts(self) -> SamplerCounts:
        """See ``Readers.counts``; as of a fifth of a second ago."""
        return self._counts

    @property
    def memory_bytes(self) -> int:
        """See ``Readers.memory_bytes``."""
        return 0 if self._reader is None or self._child is None else self._reader.memory_bytes

    @property
    def pid(self) -> int | None:
        """The reader's process; None while there is none."""
        return None if self._child is None else self._child.pid

    def change(self, setup: ReaderSetup) -> None:
        """See ``Readers.change``."""
        self._setup = setup
        self.close()

    def connect(self, connect: Callable[[], Source], events: ReaderEvents, rung: int) -> ProcessReader:
        """See ``Readers.connect``; ``connect`` must be picklable."""
        child = self._child
        if child is None or not child.idle or child.connections >= _MOST_CONNECTIONS:
            # The connection before hangs, its process is gone, or it has had many.
            if child is not None and child.idle:
                child.end()
            elif child is not None:
                child.kill()
            child = self._child = _Child(self._server, self._setup, self._counts)
        self._reader = ProcessReader(child, connect, events, rung, self._counts, self._died)
        return self._reader

    def close(self) -> None:
        """See ``Readers.close``."""
        child, self._child = self._child, None
        if child is not None:
            child.end()

    def _died(self) -> None:
        self.deaths += 1


class ProcessReader:
    """One connection, read by another process: see ``Reader``.

    Args:
        child: The process.
        connect: Makes the source, there.
        events: Told what happens.
        rung: Which of the rates to begin with.
        counts: Kept up to date.
        on_death: Called on the event loop when the process died.
    """

    def __init__(
        self,
        child: _Child,
        connect: Callable[[], Source],
        events: ReaderEvents,
        rung: int,
        counts: SamplerCounts,
        on_death: Callable[[], object],
    ) -> None:
        self._child = child
        self._connect = connect
        self._events = events
        self._rung = rung
        self._counts = counts
        self._on_death = on_death
        self._loop = asyncio.get_running_loop()
        self._tell = LoopCalls(self._loop)
        self._stopped = False
        #: It told its end, or died.
        self.over = False
        #: See ``Reader.readings``.
        self.readings = Readings()
        #: What the process alone takes.
        self.memory_bytes = 0

    def start(self) -> None:
        """See ``Reader.start``."""
        self._child.read(self, self._connect, self._rung)

    def stop(self) -> None:
        """See ``Reader.stop``."""
        self._stopped = True
        self._child.order(Order.STOP)

    def abandon(self) -> None:
        """See ``Reader.abandon``; where it does not end by itself, its process is killed."""
        self.stop()
        self._tell.silence()
        self._loop.call_later(_GRACE_S, self._kill_unless_over)

    def set_rung(self, rung: int) -> None:
        """See ``Reader.set_rung``."""
        self._rung = rung
        self._child.order(Order.RUNG, rung)

    def _kill_unless_over(self) -> None:
        if not self.over:
            self._child.kill()

    # --- the child's thread ---

    def hear(self, kind: Kind, content: Any) -> None:
        """Takes one message of the process."""
        if kind is Kind.READINGS:
            self.readings, counts, self.memory_bytes = content
            for field in fields(counts):
                setattr(self._counts, field.name, getattr(counts, field.name))
        elif kind is Kind.ENDED:
            self.over = True
            self._tell(lambda: self._events.ended(None if self._stopped else content))
        elif kind is Kind.OPENED:
            self._tell(lambda: self._events.opened(content))
        elif self._stopped:
            return
        elif kind is Kind.SAMPLE:
            # State of the stream that is told before the next readings names no older epoch than its samples.
            self._counts.epochs = max(self._counts.epochs, content.epoch)
            with contextlib.suppress(MailboxClosed):
                self._events.sample(content)
        elif kind is Kind.DROPPED:
            self._events.dropped(*content)
        elif kind is Kind.STILL:
            self._events.still(content)

    def lose(self, error: SourceError, *, died: bool) -> None:
        """Its process is gone: tells it where nobody has told the end yet."""
        if self.over:
            return
        self.over = True
        if died:
            self._tell(self._on_death)
        self._tell(lambda: self._events.ended(None if self._stopped else error))


class _Child:
    """One process, and the thread that listens to it. Orders are given by the event loop's thread and never wait.

    Args:
        server: Starts it.
        setup: How pictures become samples there.
        counts: Counters to go on with.
    """

    def __init__(self, server: ReaderServer, setup: ReaderSetup, counts: SamplerCounts) -> None:
        self._server = server
        self._process: ReaderProcess | None = None
        self._reader: ProcessReader | None = None
        self._session = 0
        self._killed = self._gone = False
        #: Orders given before the process was there.
        self._waiting: list[object] = [(setup, counts)]
        self._lock = threading.Lock()
        # A daemon: a process that does not end keeps this one from ending no more than a thread would.
        self._thread = threading.Thread(target=self._run, name=f"vqwatch-reader[{setup.stream}]", daemon=True)
        self._thread.start()

    @property
    def pid(self) -> int | None:
        """Of the process while it runs."""
        process = self._process
        return None if self._gone or process is None else process.pid

    @property
    def connections(self) -> int:
        """That it has read."""
        return self._session

    @property
    def idle(self) -> bool:
        """Whether it can read another connection."""
        return not (self._gone or self._killed) and (self._reader is None or self._reader.over)

    def read(self, reader: ProcessReader, connect: Callable[[], Source], rung: int) -> None:
        """Reads a connection."""
        with self._lock:
            self._session += 1
            self._reader = reader
            gone = self._gone
        if gone:
            reader.lose(SourceError("its reader's process is gone", SourceCode.CONNECTION), died=False)
        self.order(Order.READ, (connect, rung))

    def order(self, order: Order, content: object = None) -> None:
        """Gives an order; of a process that is gone the listening thread tells."""
        message = (order, self._session, content)
        with self._lock, contextlib.suppress(OSError):
            if self._gone:
                return
            if self._process is None:
                self._waiting.append(message)
            else:
                self._process.pipe.send(message)

    def end(self) -> None:
        """Asks it to end, and kills it where it does not."""
        self.order(Order.END)
        if self._thread.is_alive():
            timer = threading.Timer(_END_S, self.kill)
            timer.daemon = True
            timer.start()

    def kill(self) -> None:
        """Ends it now. Idempotent."""
        with self._lock:
            self._killed = True
            if not self._gone and self._process is not None:
                self._process.kill()

    def _run(self) -> None:
        try:
            process = self._server.fork()
        except OSError as error:
            self._lose(SourceError(f"no process for its reader: {error.strerror or error}", SourceCode.CONNECTION))
            return
        with self._lock, contextlib.suppress(OSError):
            self._process = process
            if self._killed:
                process.kill()
            for message in self._waiting:
                process.pipe.send(message)
        self._listen(process.pipe)
        # From here on its number may be another's: nobody kills it but this thread.
        with self._lock:
            self._gone = True
            process.pipe.close()
        code = process.exit_code(_END_S)
        if code is None:
            process.kill()
            code = process.exit_code(_END_S)
        process.status.close()
        self._lose(SourceError(_cause(code), SourceCode.CODEC), died=not self._killed)

    def _listen(self, pipe: Connection) -> None:
        """Hands on what the process says, until it is gone."""
        while True:
            try:
                kind, session, content = pickle.loads(pipe.recv_bytes())
            except (EOFError, OSError):
                return
            except Exception:
                # What it sends makes no sense: its memory is damaged.
                return
            reader = self._reader
            if reader is not None and session == self._session:
                reader.hear(kind, content)

    def _lose(self, error: SourceError, *, died: bool = False) -> None:
        with self._lock:
            self._gone = True
            reader = self._reader
        if reader is not None:
            reader.lose(error, died=died)


def _cause(code: int | None) -> str:
    if code is not None and code < 0:
        with contextlib.suppress(ValueError):
            return f"its reader's process died: {signal.Signals(-code).name}"
    return "its reader's process died"
