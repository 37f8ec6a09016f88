"""Bytes of a feed that pass through us on their way to FFmpeg: counted, timed, and never waited for for ever."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import NamedTuple

from monitor.core.continuity import Continuity
from monitor.errors import SourceCode


class Trouble(NamedTuple):
    """Why a reader gave up."""

    reason: str
    code: SourceCode


class ByteReader(ABC):
    """A file-like object for PyAV. FFmpeg tells neither of bytes in which it finds no packet nor of packets lost.

    Threads: made, read and closed by one; ``heard_s``, ``received`` and the numbers of ``continuity`` may be read by
    others.

    Args:
        timeout_s: Longest wait for the next byte until ``begin``.
        stop: Ends a wait.
        clock: Monotonic seconds.
    """

    def __init__(self, *, timeout_s: float, stop: threading.Event, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence_s = timeout_s
        self._stop = stop
        self._clock = clock
        self._limit_s = timeout_s
        self._began_s = clock()
        #: Counters of the transport stream that the bytes are, if they are one.
        self.continuity = Continuity()
        #: When bytes last arrived; None before the first.
        self.heard_s: float | None = None
        #: Bytes so far.
        self.received = 0
        #: Why it says that the feed is over, where the sender did not.
        self.trouble: Trouble | None = None

    def begin(self, limit_s: float, silence_s: float) -> None:
        """A packet is asked for, which may take ``limit_s`` however many bytes arrive, and ``silence_s`` if none do."""
        self._limit_s, self._silence_s = limit_s, silence_s
        self._began_s = self._clock()

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes as soon as there are any; none at the end, which ``trouble`` explains.

        It does not raise: FFmpeg would not hand out what it still holds.
        """
        if self.trouble is not None:
            return b""
        try:
            data = self._receive(size)
        except OSError as error:
            self.trouble = Trouble((error.strerror or type(error).__name__).lower(), SourceCode.CONNECTION)
            return b""
        if data:
            self.heard_s = self._clock()
            self.received += len(data)
            self.continuity.push(data)
        return data

    @abstractmethod
    def close(self) -> None:
        """Ends the connection. Idempotent."""

    @abstractmethod
    def _receive(self, size: int) -> bytes:
        """Waits for bytes as long as ``_over`` allows; none at the end."""

    def _over(self, since_s: float) -> bool:
        """Whether a wait since then is to end; if so, ``trouble`` says why."""
        if self._stop.is_set():
            self.trouble = Trouble("stopped", SourceCode.ENDED)
            return True
        now_s = self._clock()
        waited_s, silent_s = now_s - self._began_s, now_s - since_s
        # A packet's beginning and then nothing is silence; it takes bytes that go on to come.
        coming = self.heard_s is not None and now_s - self.heard_s < self._silence_s / 2
        if waited_s >= self._limit_s and coming:
            self.trouble = Trouble(f"bytes come, nothing in them for {waited_s:.1f} s", SourceCode.NO_VIDEO)
        elif silent_s >= self._silence_s:
            self.trouble = Trouble(f"no data for {silent_s:.1f} s", SourceCode.TIMEOUT)
        return self.trouble is not None
