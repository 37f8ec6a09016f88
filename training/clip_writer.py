"""Pictures to a video file: one codec on one thread, so that many processes can write side by side.

The same pictures and settings give the same bytes. A file appears under its name only when it is whole.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
from av.container import OutputContainer
from av.video.stream import VideoStream

from training.errors import TrainingError, UsageError
from training.pictures import Picture, to_frame

#: FFmpeg's muxer by suffix.
CONTAINERS = {".mp4": "mp4", ".mkv": "matroska", ".ts": "mpegts"}
RAW_SUFFIX = ".yuv"
SUFFIXES = (*CONTAINERS, RAW_SUFFIX)


class Codec(NamedTuple):
    """How one codec is asked for.

    Attributes:
        encoder: FFmpeg's name.
        quality: Setting that loses nothing visible: CRF, or the fixed quantiser of MPEG-2.
        range: Least and greatest setting.
        options: Encoder options besides it.
    """

    encoder: str
    quality: float
    range: tuple[float, float]
    options: dict[str, str]


CODECS = {
    "x264": Codec("libx264", 12, (1, 51), {"preset": "superfast"}),
    "x265": Codec(
        "libx265", 14, (1, 51), {"preset": "ultrafast", "x265-params": "log-level=none:pools=none:frame-threads=1"}
    ),
    "mpeg2": Codec("mpeg2video", 2, (2, 31), {}),
}
#: Pictures between key pictures.
_GOP = 50
#: Out of the way where a quantiser rules.
_ENDLESS_BIT_RATE = 1_000_000_000
#: FFmpeg's AVCOL_RANGE_MPEG.
_LIMITED = 1
#: Without it Matroska draws its identifiers at random, and two runs differ.
_MUXER_OPTIONS = {"fflags": "+bitexact"}


class Look(NamedTuple):
    """How pictures are to be shown, as FFmpeg numbers it; carried from file to file, changes no sample.

    Attributes:
        sample_aspect_ratio: Width of a sample over its height; None where unknown.
        matrix: Colour matrix (2: unknown).
        primaries: Colour primaries (2: unknown).
        transfer: Transfer characteristic (2: unknown).
    """

    sample_aspect_ratio: Fraction | None = None
    matrix: int = 2
    primaries: int = 2
    transfer: int = 2


def check_target(path: Path, codec: str, quality: float | None) -> None:
    """Refuse what `write_clip` could not do, before anything long is started.

    Raises:
        UsageError: Unknown suffix or codec, or a setting that the codec does not have.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{path.name}: the suffix of the output must be one of {' '.join(SUFFIXES)}")
    if codec not in CODECS:
        raise UsageError(f"unknown codec {codec!r}; one of {', '.join(CODECS)}")
    low, high = CODECS[codec].range
    if quality is not None and not low <= quality <= high:
        raise UsageError(f"the quality of {codec} is {low:g} to {high:g}, got {quality:g}")
    if quality is not None and codec == "mpeg2" and quality != int(quality):
        raise UsageError(f"the quantiser of mpeg2 is a whole number, got {quality:g}")


def write_clip(
    path: Path,
    pictures: Iterable[Picture],
    fps: Fraction,
    *,
    codec: str = "x264",
    quality: float | None = None,
    look: Look | None = None,
) -> int:
    """Write pictures to a file at a constant rate, a few in memory at a time.

    Picture ``i`` is shown ``i / fps`` seconds after the first, to the tick of the container (MP4 exact, MPEG-TS
    1/90000 s, Matroska 1/1000 s). There is no sound. The pictures go to ``NAME.part`` first; an existing file is
    replaced when all is written, and left alone when anything fails.

    Args:
        path: The file. The suffix says the container (``.mp4``, ``.mkv``, ``.ts``); ``.yuv`` is raw 4:2:0 planes,
            for which codec and quality do not matter.
        pictures: Of one size, even width and height, limited range.
        fps: Pictures a second, exact.
        codec: A key of `CODECS`.
        quality: CRF, or the fixed quantiser of mpeg2; default: nothing visible is lost.
        look: Aspect and colour tags.

    Returns:
        Pictures written.

    Raises:
        UsageError: As `check_target`.
        TrainingError: There are no pictures, or the file cannot be encoded or written. What ``pictures`` raises is
            passed on.
        ValueError: The pictures differ in size, or it is odd.
    """
    check_target(path, codec, quality)
    if fps <= 0:
        raise UsageError(f"fps must be positive, got {fps}")
    checked = _same_size(pictures, path.name)
    part = path.with_name(f"{path.name}.part")
    try:
        if path.suffix.lower() == RAW_SUFFIX:
            count = _write_raw(part, checked)
        else:
            count = _encode(part, checked, Fraction(fps), CONTAINERS[path.suffix.lower()], codec, quality, look)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return count


def _same_size(pictures: Iterable[Picture], name: str) -> Iterator[Picture]:
    shape: tuple[int, ...] | None = None
    for picture in pictures:
        if shape is None:
            shape = picture.y.shape
            if shape[0] % 2 or shape[1] % 2:
                raise ValueError(f"{name}: 4:2:0 needs an even size, got {shape[1]}x{shape[0]}")
        elif picture.y.shape != shape:
            raise ValueError(f"{name}: pictures of different sizes")
        yield picture
    if shape is None:
        raise TrainingError(f"{name}: there are no pictures to write")


def _write_raw(part: Path, pictures: Iterator[Picture]) -> int:
    count = 0
    # Nothing is opened for a clip that turns out to be empty or unreadable.
    first = next(pictures)
    with part.open("wb") as file:
        for picture in itertools.chain([first], pictures):
            for plane in picture:
                file.write(plane.tobytes())
            count += 1
    return count


def _encode(
    part: Path,
    pictures: Iterator[Picture],
    fps: Fraction,
    muxer: str,
    codec: str,
    quality: float | None,
    look: Look | None,
) -> int:
    # The first picture comes before the file: nothing is opened for a clip that is empty or unreadable.
    first = next(pictures)
    count = 0
    try:
        container = av.open(str(part), "w", format=muxer, options=_MUXER_OPTIONS)
        stream = _stream(container, first, fps, codec, quality, look or Look())
    except (av.FFmpegError, OSError, ValueError) as error:
        raise _failure(part, error) from error

    def put(frame: av.VideoFrame | None) -> None:
        # Around the encoder alone: an error of the decoder that feeds it is not the writer's.
        try:
            container.mux(stream.encode(frame))
        except (av.FFmpegError, OSError, ValueError) as error:
            raise _failure(part, error) from error

    with container:
        for picture in itertools.chain([first], pictures):
            frame = to_frame(picture)
            frame.pts, frame.time_base = count, 1 / fps
            frame.color_range = _LIMITED
            put(frame)
            count += 1
        put(None)
    return count


def _failure(part: Path, error: Exception) -> TrainingError:
    return TrainingError(f"{part.stem}: cannot be written: {getattr(error, 'strerror', None) or error}")


def _stream(
    container: OutputContainer, first: Picture, fps: Fraction, codec: str, quality: float | None, look: Look
) -> VideoStream:
    how = CODECS[codec]
    value = how.quality if quality is None else quality
    options = dict(how.options)
    if codec != "mpeg2":
        options["crf"] = f"{value:g}"
    stream = container.add_stream(how.encoder, rate=fps, options=options)
    assert isinstance(stream, VideoStream)
    context = stream.codec_context
    context.height, context.width = first.y.shape
    context.pix_fmt = "yuv420p"
    context.time_base = 1 / fps
    context.thread_count = 1
    context.gop_size = _GOP
    context.color_range = _LIMITED
    context.colorspace, context.color_primaries, context.color_trc = look.matrix, look.primaries, look.transfer
    if look.sample_aspect_ratio is not None:
        context.sample_aspect_ratio = look.sample_aspect_ratio
    if codec == "mpeg2":
        context.qmin = context.qmax = int(value)
        context.bit_rate = _ENDLESS_BIT_RATE
    return stream
