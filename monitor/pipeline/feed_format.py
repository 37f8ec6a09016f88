"""What a feed is: told when it opens and when it changes, and held against what it should be."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import fields, replace

from monitor.core.expected_format import ExpectedFormat
from monitor.core.repeats import RepeatLimit
from monitor.pipeline.reader import Readings
from monitor.types import StreamId, StreamInfo

log = logging.getLogger("vqwatch.stream")

#: A measured rate this much off the one that was told is told again.
_RATE_CHANGE = 0.0005


class FeedFormat:
    """One stream's. Event loop only.

    Args:
        stream: Whose.
        on_info: Told what the stream is, on each connection and whenever it changes.
        expected: What it should be.
        repeats: Keeps log lines that say the same from being repeated.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        stream: StreamId,
        on_info: Callable[[StreamId, StreamInfo], None],
        expected: ExpectedFormat | None,
        repeats: RepeatLimit,
        clock: Callable[[], float],
    ) -> None:
        self._stream, self._on_info, self._expected = stream, on_info, expected
        self._repeats, self._clock = repeats, clock
        #: What was last told; None before the first connection, and until the next one of another feed.
        self.info: StreamInfo | None = None
        #: In how much it differs from what it should be; None where that is not known or nothing is expected.
        self.mismatches: int | None = None

    def opened(self, info: StreamInfo) -> None:
        """A connection says what the stream is."""
        log.info(
            "stream=%s event=opened codec=%s size=%dx%d fps=%s",
            self._stream, info.codec, info.width, info.height, "?" if info.fps is None else f"{info.fps:.3f}",
        )  # fmt: skip
        self._take(info)

    def expect(self, expected: ExpectedFormat | None) -> None:
        """Compares the feed with something else from here on."""
        self._expected = expected
        # Where nothing is expected, nothing differs: an alert that is up clears.
        self.mismatches = 0 if expected is None else None
        if self.info is not None:
            self._compare(self.info)

    def forget(self) -> None:
        """Another feed follows."""
        self.info = None

    def look(self, readings: Readings) -> None:
        """Tells what the stream is once more when its pictures or its measured rate are not what was told."""
        told = self.info
        if told is None or readings.format is None:
            return
        now = told.showing(readings.format)
        measured = readings.fps if readings.fps_settled else None
        if measured is not None and (told.fps is None or abs(measured - told.fps) > _RATE_CHANGE * told.fps):
            now = replace(now, fps=measured)
        if now == told:
            return
        # What was not known is no change, and a variable rate would be one each second.
        changed = [
            f"{field.name}={getattr(now, field.name)}"
            for field in fields(now)
            if field.name != "fps" and getattr(told, field.name) not in (None, getattr(now, field.name))
        ]
        if changed:
            log.info("stream=%s event=format %s", self._stream, " ".join(changed))
        self._take(now)

    def _take(self, info: StreamInfo) -> None:
        self.info = info
        self._compare(info)
        self._on_info(self._stream, info)

    def _compare(self, info: StreamInfo) -> None:
        if self._expected is None:
            return
        found = self._expected.mismatches(info)
        suppressed = self._repeats.tell(("format_mismatch", *found), self._clock()) if found else None
        if suppressed is not None:
            log.warning("stream=%s event=format_mismatch suppressed=%d %s", self._stream, suppressed, "; ".join(found))
        self.mismatches = len(found)
