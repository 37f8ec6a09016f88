"""FFmpeg's own log: kept off stderr, and its last words on why a source failed."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from types import TracebackType
from typing import NamedTuple, Self

import av
import av.logging
from av.codec import codecs_available

from monitor.ingest.redact import redact

_KEPT_LINES = 16

# "NULL" is a parser's name for itself: it too complains of pictures before the first key frame.
_DECODERS = codecs_available | {"NULL"}


class LogLine(NamedTuple):
    """One line: the FFmpeg part that wrote it ("tcp", "rtsp", ...) and its text, redacted."""

    part: str
    text: str


class FFmpegLog:
    """Context that collects this thread's FFmpeg errors; re-entered for each call into FFmpeg.

    PyAV keeps one log callback for the process and a capture per thread; errors of FFmpeg's own threads
    fall to the ``libav`` logger, which is silenced, because they quote URLs with credentials. Make it in
    the thread that uses it.
    """

    def __init__(self) -> None:
        _enable()
        self._capture = av.logging.Capture(local=True)
        self._lines: list[LogLine] = []

    def __enter__(self) -> Self:
        self._capture.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._capture.__exit__(None, None, None)
        logs = self._capture.logs
        if logs:
            # A damaged stream fills this with decoder complaints; they say nothing about the connection.
            # Only errors: another thread may let more through for a moment (see ``programs``).
            new = [
                LogLine(part, text) for level, part, text in logs if level <= av.logging.ERROR and part not in _DECODERS
            ]
            self._lines = [*self._lines, *new][-_KEPT_LINES:]
            logs.clear()

    def lines(self) -> Sequence[LogLine]:
        """The last lines since the last ``clear``, oldest first, redacted."""
        return [LogLine(part, redact(" ".join(text.split()))) for part, text in self._lines]

    def clear(self) -> None:
        """Forget what was collected."""
        self._lines = []


def _enable() -> None:
    """Have PyAV hand over errors instead of swallowing them; once is enough, again does no harm."""
    if av.logging.get_level() is None:
        # Else the same failure twice in a row, of any thread, would leave the second one without its reason.
        av.logging.set_skip_repeated(False)
        logging.getLogger("libav").setLevel(logging.CRITICAL + 1)
        av.logging.set_level(av.logging.ERROR)
