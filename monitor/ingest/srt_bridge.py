"""SRT, which most builds of FFmpeg lack: a child process receives, FFmpeg reads its end of a socket pair."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import av

from monitor.errors import SourceCode, SourceError
from monitor.ingest.failure import source_error
from monitor.ingest.srt_address import SrtFeed

# How often a read of FFmpeg's asks whether it was told to give up: its "fd" protocol retries while the socket says
# "nothing yet", and each time looks at PyAV's time limits.
_POLL_S = 0.1
# How long the child may take to tell the sender that it goes; then it is killed.
_GOODBYE_S = 0.5
# What the child may add to the time it was given to connect: the start of a Python interpreter on a busy machine.
_START_S = 2.0
_RECEIVER = Path(__file__).with_name("srt_receiver.py")

#: What to do where there is no libsrt.
HOW_TO_INSTALL = "SRT needs libsrt, of the Debian package srt-tools: apt-get install srt-tools"


@functools.cache
def ffmpeg_speaks_srt() -> bool:
    """Whether this FFmpeg has the protocol; the wheel of PyAV 15 had it, those of 16 to 18 do not."""
    try:
        # No port: refused before anything is sent.
        av.open("srt://127.0.0.1", timeout=(0.1, 0.1)).close()
    except av.error.ProtocolNotFoundError:
        return False
    except (av.FFmpegError, OSError, ValueError):
        return True
    return True


class SrtBridge:
    """The child process of one SRT connection.

    The passphrase and the stream id go to the child through its stdin: nothing secret is in its command line or
    environment. It ends with ``close``, with the thread that opened it, and with this process, however that ends.

    Threads: one, that of the source.

    Args:
        feed: What to connect to.
        shown: The redacted URL, for errors.
    """

    def __init__(self, feed: SrtFeed, shown: str) -> None:
        self._feed = feed
        self._shown = shown
        self._process: subprocess.Popen[bytes] | None = None
        self._reading: socket.socket | None = None
        self._heard = b""

    @property
    def pid(self) -> int | None:
        """Process id of the child while it is not closed."""
        return self._process.pid if self._process is not None else None

    def open(self, timeout_s: float, stop: threading.Event) -> tuple[str, dict[str, str]]:
        """Starts the child and waits for the connection.

        Args:
            timeout_s: How long the other side may take to answer, or to call.
            stop: Gives up when set.

        Returns:
            URL and options for FFmpeg.

        Raises:
            SourceError: It cannot connect, as the child says.
        """
        reading, writing = socket.socketpair()
        self._reading = reading
        reading.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("@ll", 0, round(_POLL_S * 1e6)))
        with writing:
            place = f"{self._feed.host or '*'}:{self._feed.port}"
            self._process = subprocess.Popen(
                # The place is not read by the child: it tells a reader of the process list what this is.
                [sys.executable, "-I", "-S", str(_RECEIVER), place],
                stdin=subprocess.PIPE,
                stdout=writing.fileno(),
                stderr=subprocess.PIPE,
                # For a libsrt of the operator's own; nothing else of ours concerns the child.
                env={key: os.environ[key] for key in ("LD_LIBRARY_PATH",) if key in os.environ},
                # Ctrl-C is for the monitor, which then ends its children in order.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        request = json.dumps(self._feed.receiver_request(timeout_s))
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(request.encode() + b"\n")
            self._process.stdin.flush()
        deadline_s = time.monotonic() + timeout_s + _START_S
        while not stop.is_set():
            for event in self._events(_POLL_S / 2):
                if event["event"] == "connected":
                    return "fd:", {"fd": str(reading.fileno())}
                if event["event"] == "failed":
                    raise self._error(event)
            if self._process.poll() is not None:
                raise self._plain("the SRT receiver ended", SourceCode.CONNECTION)
            if time.monotonic() > deadline_s:
                raise self._plain(f"no connection in {timeout_s:.0f} s", SourceCode.TIMEOUT)
        raise self._plain("stopped while opening", SourceCode.ENDED)

    def failure(self) -> SourceError | None:
        """Why the child ended, if it said; it says so before its end of the socket closes."""
        for event in self._events(0.0):
            if event["event"] == "failed":
                return self._error(event)
        return None

    def close(self) -> None:
        """Ends the child and waits for it, at most half a second. Idempotent."""
        process, self._process = self._process, None
        if self._reading is not None:
            self._reading.close()
        if process is None:
            return
        assert process.stdin is not None
        assert process.stderr is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        try:
            process.wait(_GOODBYE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stderr.close()

    def _events(self, wait_s: float) -> list[dict[str, Any]]:
        """What the child said since the last time; waits up to ``wait_s`` for it to say anything."""
        process = self._process
        if process is None or process.stderr is None:
            return []
        descriptor = process.stderr.fileno()
        poll = select.poll()  # select() ends at descriptor 1023
        poll.register(descriptor, select.POLLIN)
        while poll.poll(1000 * wait_s):
            data = os.read(descriptor, 65536)
            if not data:
                break
            self._heard += data
            wait_s = 0.0
        *lines, self._heard = self._heard.split(b"\n")
        events = []
        for line in lines:
            # libsrt and Python may write lines of their own.
            with contextlib.suppress(ValueError):
                event = json.loads(line)
                if isinstance(event, dict) and "event" in event:
                    events.append(event)
        return events

    def _error(self, event: dict[str, Any]) -> SourceError:
        code = SourceCode(event["code"])
        reason = HOW_TO_INSTALL if code is SourceCode.PROTOCOL_MISSING else str(event["reason"])
        return source_error(self._shown, reason, code, transient=bool(event["transient"]))

    def _plain(self, reason: str, code: SourceCode) -> SourceError:
        return source_error(self._shown, reason, code, transient=True)
