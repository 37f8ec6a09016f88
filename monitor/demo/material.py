"""Pictures to play: rendered scenes, or the viewer's own files, as endless I420 feeds of one size and cadence."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from monitor.demo.impairments import LOOK_AHEAD
from monitor.errors import UsageError
from monitor.types import U8

#: FFmpeg's readers of pictures made of letters, which take any text file and any ``.bin`` for one.
_TEXT_ART = frozenset({"tty", "bin", "xbin", "adf", "idf"})


class Material(Protocol):
    """An endless feed of pictures, used by one thread."""

    width: int
    height: int

    def wait_playable(self, fps: float, timeout_s: float) -> bool:
        """Wait until playing at ``fps`` will not run dry; whether it is so."""
        ...

    def picture(self, number: int) -> U8:
        """Picture ``number`` from 0, (H * 3 / 2, W) uint8 I420, read-only."""
        ...

    def close(self) -> None:
        """Release what it holds."""
        ...


class FileMaterial:
    """A file's pictures, scaled down to fit and shown at a fixed rate, over and over without a gap.

    Each picture is the one that a player would show at that moment: pictures are left out or repeated where the
    file has another rate.

    Args:
        path: Any file that FFmpeg reads and that has video.
        fps: Pictures a second to deliver.
        box: Largest width and height; smaller pictures are not enlarged.

    Raises:
        UsageError: It cannot be read or holds no video; one line.
    """

    def __init__(self, path: Path, fps: float, box: tuple[int, int] = (1280, 720)) -> None:
        self._path, self._fps = path, fps
        self._numbered: OrderedDict[int, U8] = OrderedDict()
        self._next = 0
        self._reformatter = VideoReformatter()
        try:
            with av.open(str(path)) as container:
                if container.format.name in _TEXT_ART:
                    raise UsageError(f"{path} holds no video")
                aspect = float(container.streams.video[0].sample_aspect_ratio or 1)
                first = next(container.decode(video=0), None)
        except IndexError:
            raise UsageError(f"{path} holds no video") from None
        except (OSError, ValueError, av.FFmpegError) as error:
            raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
        if first is None:
            raise UsageError(f"{path} holds no video that can be decoded")
        shown = (first.width * aspect, float(first.height))
        scale = min(1.0, box[0] / shown[0], box[1] / shown[1])
        # Four lines a step: both chroma planes then have an even number of lines, which field weaving needs.
        self.width = max(64, round(shown[0] * scale / 2) * 2)
        self.height = max(64, round(shown[1] * scale / 4) * 4)
        self._pictures = self._play()

    def _passes(self) -> Iterator[Iterator[tuple[float, av.VideoFrame]]]:
        while True:
            with av.open(str(self._path)) as container:
                stream = container.streams.video[0]
                stream.codec_context.thread_count = 1
                rate = float(stream.average_rate or self._fps)
                yield self._timed(container.decode(stream), rate)

    @staticmethod
    def _timed(frames: Iterator[av.VideoFrame], rate: float) -> Iterator[tuple[float, av.VideoFrame]]:
        """Frames with seconds since the first; without time stamps they follow each other at ``rate``."""
        zero: float | None = None
        moment = 0.0
        for frame in frames:
            if frame.time is not None:
                zero = frame.time if zero is None else zero
                moment = frame.time - zero
            yield moment, frame
            moment += 1.0 / rate

    def _play(self) -> Generator[U8, None, None]:
        for one_pass in self._passes():
            shown, held = 0, None
            for moment, frame in one_pass:
                # A millisecond of grace: containers round their time stamps.
                if held is not None and shown / self._fps < moment - 0.001:
                    picture = self._convert(held)
                    while shown / self._fps < moment - 0.001:
                        yield picture
                        shown += 1
                held = frame
            if held is None:
                raise UsageError(f"{self._path} can no longer be decoded")
            yield self._convert(held)

    def _convert(self, frame: av.VideoFrame) -> U8:
        scaled = self._reformatter.reformat(
            frame, self.width, self.height, "yuv420p", interpolation="AREA", dst_color_range="MPEG"
        )
        return np.asarray(scaled.to_ndarray())

    def wait_playable(self, fps: float, timeout_s: float) -> bool:
        """Files are decoded as they are played."""
        return True

    def picture(self, number: int) -> U8:
        """Picture ``number``; those of the last few numbers can be had again."""
        while self._next <= number:
            self._numbered[self._next] = next(self._pictures)
            self._next += 1
            if len(self._numbered) > 2 * LOOK_AHEAD + 2:
                self._numbered.popitem(last=False)
        return self._numbered[number]

    def close(self) -> None:
        """Close the file."""
        self._numbered.clear()
        self._pictures.close()
