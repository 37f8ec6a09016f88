"""Bytes of a TCP feed, read by us: FFmpeg does not tell whether any arrive while it finds no packet in them."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from typing import NamedTuple
from urllib.parse import urlsplit

from monitor.errors import SourceCode

#: How often a read that waits looks at the stop event.
_LOOK_S = 0.25


class Trouble(NamedTuple):
    """Why a reader gave up."""

    reason: str
    code: SourceCode


class TcpReader:
    """A file-like object for PyAV over one TCP connection, which counts what arrives and never waits for ever.

    Threads: made, read and closed by one; ``heard_s`` and ``received`` may be read by others.

    Args:
        url: ``tcp://host:port``.
        timeout_s: Longest wait for the connection, and for the next byte until ``begin``.
        stop: Ends a wait.
        clock: Monotonic seconds.

    Raises:
        OSError: It cannot be connected to.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout_s: float,
        stop: threading.Event,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        parts = urlsplit(url)
        self._socket = socket.create_connection((parts.hostname or "", parts.port or 0), timeout_s)
        self._socket.setblocking(False)
        self._poll = select.poll()  # select() ends at descriptor 1023
        self._poll.register(self._socket, select.POLLIN)
        self._silence_s = timeout_s
        self._stop = stop
        self._clock = clock
        self._limit_s = timeout_s
        self._began_s = clock()
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
            return self._read(size)
        except OSError as error:
            self.trouble = Trouble((error.strerror or type(error).__name__).lower(), SourceCode.CONNECTION)
            return b""

    def _read(self, size: int) -> bytes:
        # What FFmpeg did between two reads is not the sender's silence.
        since_s = self._clock()
        while True:
            if self._stop.is_set():
                self.trouble = Trouble("stopped", SourceCode.ENDED)
                return b""
            now_s = self._clock()
            waited_s, silent_s = now_s - self._began_s, now_s - since_s
            if waited_s >= self._limit_s and self.heard_s is not None and self.heard_s >= self._began_s:
                self.trouble = Trouble(f"bytes come, nothing in them for {waited_s:.1f} s", SourceCode.NO_VIDEO)
                return b""
            if silent_s >= self._silence_s:
                self.trouble = Trouble(f"no data for {silent_s:.1f} s", SourceCode.TIMEOUT)
                return b""
            if self._poll.poll(1000 * min(_LOOK_S, self._silence_s)):
                with contextlib.suppress(BlockingIOError):
                    data = self._socket.recv(size)
                    if data:
                        self.heard_s = self._clock()
                        self.received += len(data)
                    return data

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._socket.close()


def is_plain_tcp(url: str) -> bool:
    """Whether a URL is a TCP connection without options for FFmpeg in it."""
    parts = urlsplit(url)
    return parts.scheme.lower() == "tcp" and not parts.query and bool(parts.hostname and parts.port)
