"""Bytes of a TCP feed, read by us."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from monitor.ingest.byte_reader import ByteReader

#: How often a read that waits looks at the stop event.
_LOOK_S = 0.25


class TcpReader(ByteReader):
    """One TCP connection.

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
        super().__init__(timeout_s=timeout_s, stop=stop, clock=clock)

    def close(self) -> None:
        """Ends the connection. Idempotent."""
        self._socket.close()

    def _receive(self, size: int) -> bytes:
        # What FFmpeg did between two reads is not the sender's silence.
        since_s = self._clock()
        while not self._over(since_s):
            if self._poll.poll(1000 * min(_LOOK_S, self._silence_s)):
                with contextlib.suppress(BlockingIOError):
                    return self._socket.recv(size)
        return b""


def is_plain_tcp(url: str) -> bool:
    """Whether a URL is a TCP connection without options for FFmpeg in it."""
    parts = urlsplit(url)
    return parts.scheme.lower() == "tcp" and not parts.query and bool(parts.hostname and parts.port)
