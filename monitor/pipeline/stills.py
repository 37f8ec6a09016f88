"""Small pictures of a stream, one a second, for the evidence of its alerts."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from fractions import Fraction

import av
from av import VideoFrame
from av.video.codeccontext import VideoCodecContext
from av.video.reformatter import Colorspace, VideoReformatter

from monitor.core.evidence import Still

#: Pause between two stills, seconds.
PERIOD_S = 1.0
#: Of 320x180 a busy picture takes 15 kB and noise 50 kB; a stream of noise keeps fewer seconds.
MOST_BYTES_A_SECOND = 32_000
#: mjpeg's quantiser, 2 (best) to 31; 4 hides neither blocks nor bands.
_QUALITY = 4
#: A pixel that is said to be narrower or wider than one to so many is a mistake of the feed, and taken for square.
_WIDEST_PIXEL = 4
_LAMBDA = 118  # FF_QP2LAMBDA


class StillRing:
    """The stills of a stream's last seconds.

    The decode thread adds, the event loop reads: a lock is held for microseconds by either.

    Args:
        keep_s: How far back, from the newest one on: a stream that is lost keeps its last pictures.
    """

    def __init__(self, keep_s: float) -> None:
        self._keep_s = keep_s
        self._most_bytes = int(max(1.0, keep_s) * MOST_BYTES_A_SECOND)
        self._lock = threading.Lock()
        self._stills: deque[Still] = deque()
        self._bytes = 0

    @property
    def size_bytes(self) -> int:
        """What they take."""
        return self._bytes

    def add(self, still: Still) -> None:
        """Takes one; the oldest go."""
        with self._lock:
            self._stills.append(still)
            self._bytes += len(still.jpeg)
            while len(self._stills) > 1 and (
                still.received_s - self._stills[0].received_s > self._keep_s or self._bytes > self._most_bytes
            ):
                self._bytes -= len(self._stills.popleft().jpeg)

    def near(self, at_s: float) -> Still | None:
        """The one whose frame arrived nearest to a moment, monotonic seconds."""
        with self._lock:
            return min(self._stills, key=lambda still: abs(still.received_s - at_s), default=None)


class StillCamera:
    """Takes stills of one connection's pictures. Belongs to its decode thread.

    Args:
        keep: Takes each still.
        width: Of a still, pixels, which are square; smaller pictures stay as wide. The height follows.
    """

    def __init__(self, keep: Callable[[Still], object], width: int) -> None:
        self._keep = keep
        self._width = width
        self._scaler = VideoReformatter()
        self._encoder: VideoCodecContext | None = None
        self._due_s = float("-inf")

    def see(self, picture: VideoFrame, received_s: float, pixel_aspect: Fraction | None = None) -> None:
        """Looks at every picture and keeps one a second.

        Args:
            picture: As decoded.
            received_s: Monotonic time of its arrival.
            pixel_aspect: Width to height of its pixels; None is square.
        """
        if received_s < self._due_s:
            return
        self._due_s = received_s + PERIOD_S
        if pixel_aspect is None or not Fraction(1, _WIDEST_PIXEL) <= pixel_aspect <= _WIDEST_PIXEL:
            pixel_aspect = Fraction(1)
        try:
            self._keep(self._still(picture, received_s, pixel_aspect))
        except (av.FFmpegError, ValueError):
            # A format that cannot be scaled: such pictures get no score either, and that is told.
            self._encoder = None

    def _still(self, picture: VideoFrame, received_s: float, pixel_aspect: Fraction) -> Still:
        width = min(self._width, picture.width) // 2 * 2
        height = max(2, round(picture.height * width / (picture.width * pixel_aspect) / 2) * 2)
        small = self._scaler.reformat(
            picture, width, height, "yuvj420p",
            interpolation="AREA",
            # Broadcast pictures seldom say their matrix; a JPEG has but one.
            src_colorspace=Colorspace.ITU709 if picture.height >= 720 else Colorspace.ITU601,
            dst_colorspace=Colorspace.ITU601,
            dst_color_range="JPEG",
            threads=1,
        )  # fmt: skip
        encoder = self._encoder
        if encoder is None or (encoder.width, encoder.height) != (width, height):
            encoder = self._encoder = _encoder(width, height)
        jpeg = b"".join(bytes(packet) for packet in encoder.encode(small))
        if not jpeg:
            raise ValueError("the encoder gave nothing")
        return Still(received_s, jpeg, width, height)


def _encoder(width: int, height: int) -> VideoCodecContext:
    encoder = av.CodecContext.create("mjpeg", "w")
    assert isinstance(encoder, VideoCodecContext)
    encoder.width, encoder.height = width, height
    encoder.pix_fmt = "yuvj420p"
    encoder.time_base = Fraction(1, 1)
    encoder.thread_count = 1
    encoder.options = {"flags": "+qscale", "global_quality": str(_QUALITY * _LAMBDA)}
    return encoder
