"""Planar pictures of the offline side: (Y, U, V) uint8 planes, 4:2:0, limited range, and codecs over them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

_DECODERS = {
    "libx264": "h264",
    "libx265": "hevc",
    "mpeg2video": "mpeg2video",
    "mpeg4": "mpeg4",
    "libvpx-vp9": "vp9",
    "libsvtav1": "libdav1d",
}


#: ISO/IEC 13818-2, table 6-4.
_MPEG2_RATES = tuple(
    Fraction(n, d) for n, d in ((24000, 1001), (24, 1), (25, 1), (30000, 1001), (30, 1), (50, 1), (60, 1))
)


class Picture(NamedTuple):
    """One 4:2:0 picture: y (H, W), u and v (H/2, W/2), all uint8, limited range; H and W are even."""

    y: U8
    u: U8
    v: U8


def to_frame(picture: Picture) -> av.VideoFrame:
    """The picture as PyAV holds it (yuv420p)."""
    height, width = picture.y.shape
    flat = np.concatenate([plane.ravel() for plane in picture])
    return av.VideoFrame.from_ndarray(flat.reshape(height * 3 // 2, width), format="yuv420p")


def from_frame(frame: av.VideoFrame) -> Picture:
    """Copies of a decoded picture's planes; other formats are converted to yuv420p."""
    if frame.format.name not in ("yuv420p", "yuvj420p"):
        frame = frame.reformat(format="yuv420p")
    planes = []
    for plane in frame.planes:
        rows = np.frombuffer(plane, np.uint8)[: plane.line_size * plane.height].reshape(plane.height, -1)
        planes.append(rows[:, : plane.width].copy())
    return Picture(*planes)


def transcode(
    pictures: Iterable[Picture],
    codec: str,
    options: Mapping[str, str],
    *,
    fps: float = 25,
    bit_rate: int | None = None,
    quantiser: int | None = None,
    gop: int = 50,
) -> Iterator[Picture]:
    """Encodes and decodes in memory, without a container; yields as many pictures as came in, in order.

    Args:
        pictures: Pictures of one size.
        codec: ``libx264``, ``libx265``, ``mpeg2video``, ``mpeg4``, ``libvpx-vp9`` or ``libsvtav1``.
        options: Encoder options.
        fps: Frame rate given to the encoder's rate control.
        bit_rate: Target in bit/s, or None for the encoder's own (CRF).
        quantiser: Fixed quantiser (MPEG-2, MPEG-4 part 2).
        gop: Pictures between key pictures.
    """
    encoder: av.VideoCodecContext | None = None
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    decoder.thread_count = 1
    for index, picture in enumerate(pictures):
        if encoder is None:
            height, width = picture.y.shape
            encoder = _encoder(codec, width, height, options, fps, bit_rate, quantiser, gop)
        frame = to_frame(picture)
        frame.pts = index
        frame.time_base = encoder.time_base
        for packet in encoder.encode(frame):
            for decoded in decoder.decode(packet):
                yield from_frame(decoded)
    if encoder is None:
        return
    for packet in encoder.encode(None):
        for decoded in decoder.decode(packet):
            yield from_frame(decoded)
    for decoded in decoder.decode(None):
        yield from_frame(decoded)


def _encoder(
    codec: str,
    width: int,
    height: int,
    options: Mapping[str, str],
    fps: float,
    bit_rate: int | None,
    quantiser: int | None,
    gop: int,
) -> av.VideoCodecContext:
    if codec == "libsvtav1":
        # It writes settings, and a complaint at each end, on stderr, whatever FFmpeg's log level is. Errors are raised.
        os.environ.setdefault("SVT_LOG", "0")
    encoder = av.CodecContext.create(codec, "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate = Fraction(fps).limit_denominator(1001)
    if codec == "mpeg2video":
        # It codes no other rates; the quantiser rules, so the rate changes nothing.
        encoder.framerate = min(_MPEG2_RATES, key=lambda rate: abs(rate - fps))
    encoder.time_base = 1 / encoder.framerate
    encoder.gop_size = gop
    encoder.thread_count = 1
    if bit_rate is not None:
        encoder.bit_rate = bit_rate
    if quantiser is not None:
        encoder.qmin = encoder.qmax = quantiser
        encoder.bit_rate = 200_000_000  # out of the way: the quantiser rules
    encoder.options = dict(options)
    return encoder
