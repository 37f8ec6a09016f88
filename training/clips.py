"""One labelled clip, and its pictures as a stream in bounded memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt

from training.errors import DataError

U8 = npt.NDArray[np.uint8]

#: Clock of the time stamps that raw files are given.
TIME_BASE = Fraction(1, 90_000)

RAW_SUFFIX = ".yuv"


@dataclass(frozen=True, slots=True)
class Clip:
    """One video file with its label.

    Attributes:
        path: The file: a container, or headerless planar YUV where it ends in ``.yuv``.
        content: What is shown; versions of one content differ by distortion alone, and stay together.
        stem: The recording that the content was cut from; contents of one stem share scene and camera.
        label: Opinion score, higher is better, in the data set's own units.
        distortion: What was done to it, in the words of ``monitor.types.CAUSES``; None where unknown.
        width: Luma samples per row; None where the container says it.
        height: Luma rows; None where the container says it.
        fps: Pictures per second; None where the container says it.
        pix_fmt: FFmpeg's name of the pixel format; None where the container says it.
    """

    path: Path
    content: str
    stem: str
    label: float
    distortion: str | None = None
    width: int | None = None
    height: int | None = None
    fps: Fraction | None = None
    pix_fmt: str | None = None

    @property
    def raw(self) -> bool:
        """It has no header: size, rate and format come from this record."""
        return self.path.suffix.lower() == RAW_SUFFIX

    @property
    def name(self) -> str:
        """File name without folder and suffix; names its features and its row in tables."""
        return self.path.stem


def _raw_geometry(clip: Clip) -> tuple[int, int, Fraction]:
    """Width, height and rate of a raw clip.

    Raises:
        DataError: One is missing or impossible, or the format is not 8-bit 4:2:0.
    """
    width, height, fps = clip.width, clip.height, clip.fps
    if not width or not height or not fps:
        raise DataError(clip.path.name, ["raw video needs width, height and fps"])
    if width < 0 or height < 0 or width % 2 or height % 2:
        raise DataError(clip.path.name, [f"4:2:0 needs even positive sizes, got {width}x{height}"])
    if fps < 0:
        raise DataError(clip.path.name, [f"fps must be positive, got {fps}"])
    if clip.pix_fmt not in (None, "yuv420p"):
        raise DataError(clip.path.name, [f"raw video is read as yuv420p only, not {clip.pix_fmt}"])
    return width, height, fps


def file_problem(clip: Clip) -> str | None:
    """What is wrong with the file of a clip, in a few words with its name; None where it can be read.

    A raw file is measured: its size must be a whole number of frames, at least one. A container is only
    looked up, since counting its pictures would mean decoding it.
    """
    name = clip.path.name
    if not clip.path.is_file():
        return f"{name}: missing"
    size = clip.path.stat().st_size
    if size == 0:
        return f"{name}: empty"
    if clip.raw:
        try:
            width, height, _ = _raw_geometry(clip)
        except DataError as error:
            return f"{name}: {error.problems[0]}"
        frame_bytes = width * height * 3 // 2
        if size % frame_bytes:
            return f"{name}: truncated ({size} bytes is {size / frame_bytes:.2f} frames of {width}x{height})"
    return None


def require_unique(subject: str, names: Iterable[str]) -> None:
    """Refuse names that files and rows could not tell apart.

    Raises:
        DataError: Names every one that is used more than once.
    """
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise DataError(subject, [f"{name}: name used twice" for name in twice])


def require_files(subject: str, clips: Sequence[Clip], problems: Sequence[str] = ()) -> None:
    """Check every file before anything long is started.

    Args:
        subject: Name of the data set, for the error.
        clips: All of them.
        problems: Faults that were found already, to be told together.

    Raises:
        DataError: Names every clip that is missing or truncated, at once.
    """
    found = [*problems, *(problem for clip in clips if (problem := file_problem(clip)) is not None)]
    if found:
        raise DataError(subject, found)
    if not clips:
        raise DataError(subject, ["no clips"])


def read_raw_planes(clip: Clip) -> Iterator[tuple[U8, U8, U8]]:
    """Planes of a raw 4:2:0 clip, one frame in memory at a time.

    Yields:
        Y (H, W), U and V (H/2, W/2), uint8: read-only views of one buffer that belongs to the frame alone, so
        they stay valid when the next frame is read.

    Raises:
        DataError: The record lacks size or rate, or the file ends within a frame.
    """
    width, height, _ = _raw_geometry(clip)
    luma, chroma = width * height, width * height // 4
    with clip.path.open("rb") as file:
        while data := file.read(luma + 2 * chroma):
            if len(data) != luma + 2 * chroma:
                raise DataError(clip.path.name, ["truncated within a frame"])
            flat = np.frombuffer(data, dtype=np.uint8)
            half = (height // 2, width // 2)
            yield (
                flat[:luma].reshape(height, width),
                flat[luma : luma + chroma].reshape(half),
                flat[luma + chroma :].reshape(half),
            )


def read_raw_yuv(clip: Clip) -> Iterator[av.VideoFrame]:
    """Frames of a raw 4:2:0 clip as PyAV holds them, one in memory at a time.

    Yields:
        yuv420p frames whose ``pts`` counts 1/90000 s from 0 at the clip's rate.

    Raises:
        DataError: As `read_raw_planes`.
    """
    width, height, fps = _raw_geometry(clip)
    for index, planes in enumerate(read_raw_planes(clip)):
        packed = np.concatenate([plane.reshape(-1) for plane in planes]).reshape(height * 3 // 2, width)
        frame = av.VideoFrame.from_ndarray(packed, format="yuv420p")
        frame.pts = round(index / fps / TIME_BASE)
        frame.time_base = TIME_BASE
        yield frame


def read_frames(clip: Clip) -> Iterator[av.VideoFrame]:
    """Pictures of any clip in presentation order, raw or in a container.

    Raises:
        DataError: The file cannot be opened or decoded, or holds no video.
    """
    if clip.raw:
        yield from read_raw_yuv(clip)
        return
    try:
        with av.open(str(clip.path)) as container:
            if not container.streams.video:
                raise DataError(clip.path.name, ["no video stream"])
            yield from container.decode(container.streams.video[0])
    except (av.FFmpegError, OSError) as error:
        raise DataError(clip.path.name, [f"cannot be decoded: {error}"]) from error


def read_planes(clip: Clip) -> Iterator[tuple[U8, U8, U8]]:
    """8-bit 4:2:0 planes of any clip, raw or in a container, one frame in memory at a time.

    Other formats are converted to limited-range yuv420p.

    Yields:
        Y (H, W), U and V (H/2, W/2), uint8; for odd sizes the chroma planes are rounded up.

    Raises:
        DataError: As `read_frames`.
    """
    if clip.raw:
        yield from read_raw_planes(clip)
        return
    for frame in read_frames(clip):
        planar = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
        y, u, v = (
            np.frombuffer(memoryview(plane), np.uint8).reshape(plane.height, plane.line_size)[:, : plane.width]
            for plane in planar.planes
        )
        yield y, u, v
