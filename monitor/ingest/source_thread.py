"""The thread of one connection attempt, and its life as the event loop sees it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Protocol

from monitor.core.audio_level import AudioFacts
from monitor.errors import SourceError
from monitor.ingest.loop_calls import LoopCalls
from monitor.ingest.mailbox import MailboxClosed
from monitor.ingest.pyav_source import Decoded
from monitor.types import StreamInfo


class Source(Protocol):
    """What a source thread runs; see ``PyAvSource``.

    Attributes:
        reference_only: Skip the pictures that no other one needs; may be set from any thread.
    """

    reference_only: bool

    @property
    def heard_s(self) -> float | None:
        """Monotonic time at which bytes last arrived, None before the first; read from any thread."""

    @property
    def received(self) -> int:
        """Bytes that have arrived; read from any thread."""

    @property
    def sound(self) -> AudioFacts | None:
        """Level and silence of its audio, None where unknown; read from any thread."""

    def open(self, stop: threading.Event | None = None) -> StreamInfo:
        """Connect; blocks."""

    def frames(self, stop: threading.Event, epoch: int) -> Iterator[Decoded]:
        """Pictures until the end or ``stop``; a generator; frees the connection when it ends or is closed."""

    def close(self) -> None:
        """Free the connection."""


class SourceThread:
    """Owns the daemon thread of one connection attempt: opens the source and hands on its pictures.

    Threads: made, started, stopped and joined by the event loop's thread. ``on_frame`` runs in the source
    thread and may block it (a replay's mailbox). ``on_opened`` and ``on_ended`` run on the event loop;
    ``on_ended`` comes exactly once, last, unless the loop is closed or the thread was abandoned. A thread
    that hangs in a read cannot be ended from outside: FFmpeg's state is freed by nobody but its reader, so
    it is left alone, counted, and does not keep the process from exiting.

    Args:
        source: Used by this thread only.
        name: Name of the thread, for logs and stack dumps.
        epoch: Number of the connection, copied into its pictures.
        loop: Where the lifecycle callbacks run.
        on_frame: Takes each picture; raising ``MailboxClosed`` ends the thread quietly.
        on_opened: Takes what the stream is.
        on_ended: Takes None after ``stop`` and at the end of a recording, else the error: a
            ``SourceError``, or whatever ``on_frame`` raised.
    """

    _abandoned_threads: set[threading.Thread] = set()  # noqa: RUF012 - shared on purpose, see abandoned_count

    def __init__(
        self,
        source: Source,
        *,
        name: str,
        epoch: int,
        loop: asyncio.AbstractEventLoop,
        on_frame: Callable[[Decoded], object],
        on_opened: Callable[[StreamInfo], object],
        on_ended: Callable[[Exception | None], object],
    ) -> None:
        self._source = source
        self._epoch = epoch
        self._tell = LoopCalls(loop)
        self._on_frame = on_frame
        self._on_opened = on_opened
        self._on_ended = on_ended
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    @classmethod
    def abandoned_count(cls) -> int:
        """Abandoned threads of this process that still hang. Call it from the event loop's thread."""
        cls._abandoned_threads = {thread for thread in cls._abandoned_threads if thread.is_alive()}
        return len(cls._abandoned_threads)

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start the thread; once."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end and return at once; no picture is handed on from here, save one in hand."""
        self._stop.set()

    def join(self, timeout_s: float) -> bool:
        """Wait up to ``timeout_s`` for the thread to end; whether it did. Blocks its caller."""
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def abandon(self) -> None:
        """Give up on a thread that does not end: it is counted while it hangs and is not heard of again."""
        self._stop.set()
        self._tell.silence()
        if self._thread.is_alive():
            SourceThread._abandoned_threads.add(self._thread)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            info = self._source.open(self._stop)
            self._tell(partial(self._on_opened, info))
            for decoded in self._source.frames(self._stop, self._epoch):
                if self._stop.is_set():
                    break
                self._on_frame(decoded)
        except MailboxClosed:
            pass
        except SourceError as caught:
            # Its message says it all; its traceback would keep the last pictures alive as long as the error.
            error = caught.with_traceback(None)
        except Exception as caught:
            error = caught
        finally:
            self._source.close()
        # Whatever it says after stop, it was told to end.
        ended = partial(self._on_ended, None if self._stop.is_set() else error)
        error = None  # its traceback refers to this frame: a cycle that would keep pictures alive
        self._tell(ended)
