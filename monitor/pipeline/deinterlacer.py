"""Fields made into pictures, as the device of a viewer does, by FFmpeg's own filter."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from enum import StrEnum
from fractions import Fraction

import av
from av.filter import Graph
from av.filter.context import FilterContext

from engines.on_device import on_host
from monitor.ingest.pyav_source import Decoded

#: Pictures after the last that held two fields, until they go by the filter again: two seconds at 25 fps.
_LINGER = 50
#: The filter counts in pictures; what a picture's time is stays with the picture.
_TIME_BASE = Fraction(1, 25)


class Deinterlace(StrEnum):
    """Which pictures are made of their fields before they are scored."""

    AUTO = "auto"  # those flagged as interlaced
    ALWAYS = "always"  # all
    NEVER = "never"


class Deinterlacer:
    """Passes pictures on, those that hold two fields deinterlaced: bwdif, one picture for each.

    bwdif needs the next picture: while it runs, output trails input by one. It never makes or loses a picture. Feeds
    that hold no fields do not pass through it. One connection, its decode thread.

    Args:
        mode: Which pictures.
    """

    def __init__(self, mode: Deinterlace = Deinterlace.AUTO) -> None:
        self._mode = mode
        self._filter: _Filter | None = None
        self._since_fields = 0
        #: Whether pictures go through the filter now.
        self.active = False

    def push(self, decoded: Decoded) -> list[Decoded]:
        """The pictures that are ready, in order."""
        fields = decoded.picture.interlaced_frame and not decoded.single_fields
        self._since_fields = 0 if fields else self._since_fields + 1
        wanted = self._mode is Deinterlace.ALWAYS or (
            self._mode is Deinterlace.AUTO and (fields or (self.active and self._since_fields < _LINGER))
        )
        if not wanted:
            return [*self.flush(), decoded]
        ready: list[Decoded] = []
        decoded = replace(decoded, picture=on_host(decoded.picture))
        layout = (decoded.picture.width, decoded.picture.height, decoded.picture.format.name)
        if self._filter is None or self._filter.layout != layout:
            ready += self.flush()
            self._filter = _Filter(layout, every=self._mode is Deinterlace.ALWAYS)
        self.active = True
        return ready + self._filter.push(decoded)

    def flush(self) -> list[Decoded]:
        """What still waits for a next picture; the filter is gone afterwards."""
        last, self._filter, self.active = self._filter, None, False
        return [] if last is None else last.flush()


class _Filter:
    """One bwdif for pictures of one layout. Where it fails pictures pass as they are."""

    def __init__(self, layout: tuple[int, int, str], *, every: bool) -> None:
        self.layout = layout
        self._waiting: deque[Decoded] = deque()
        self._count = 0
        self._ends: tuple[FilterContext, FilterContext] | None = None
        # The filters live as long as their graph.
        self._graph = Graph()
        self._graph.threads = 1
        try:
            first = self._graph.add_buffer(
                width=layout[0], height=layout[1], format=av.VideoFormat(layout[2]), time_base=_TIME_BASE
            )
            bwdif = self._graph.add("bwdif", f"mode=send_frame:deint={'all' if every else 'interlaced'}")
            last = self._graph.add("buffersink")
            first.link_to(bwdif)
            bwdif.link_to(last)
            self._graph.configure()
            self._ends = (first, last)
        except av.FFmpegError:
            pass

    def push(self, decoded: Decoded) -> list[Decoded]:
        if self._ends is None:
            return [decoded]
        # The filter wants times that grow; the feed's own may do anything.
        decoded.picture.pts, decoded.picture.time_base = self._count, _TIME_BASE
        self._count += 1
        self._waiting.append(decoded)
        return self._through(decoded.picture)

    def flush(self) -> list[Decoded]:
        if self._ends is None:
            return []
        # Pictures that the filter would keep for good pass as they are.
        return [*self._through(None), *self._waiting]

    def _through(self, picture: av.VideoFrame | None) -> list[Decoded]:
        assert self._ends is not None
        first, last = self._ends
        ready: list[Decoded] = []
        try:
            first.push(picture)
            while True:
                made = last.pull()
                assert isinstance(made, av.VideoFrame)
                ready.append(replace(self._waiting.popleft(), picture=made))
        except (av.error.BlockingIOError, av.error.EOFError):
            return ready
        except av.FFmpegError:
            self._ends = None
            passed = [*ready, *self._waiting]
            self._waiting.clear()
            return passed
