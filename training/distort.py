"""``python -m training distort``: one distortion over one clip, file to file, in bounded memory."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from rich.console import Console
from rich.progress import Progress

from training.clip_writer import CODECS, Look, check_target, write_clip
from training.clips import Clip, file_problem, read_frames
from training.distortions import DISTORTIONS, distort
from training.errors import DataError, TrainingError, UsageError
from training.pictures import Picture, from_frame

#: Containers round what they say of the rate; these are what is meant.
_STANDARD_RATES = (*(Fraction(n * 1000, 1001) for n in (24, 30, 48, 60, 120)), *map(Fraction, range(1, 121)))
_RATE_TOLERANCE = 1e-4
#: Least side: below it a codec or a run of blocks has no room.
_LEAST_SIDE = 32
#: A picture this many periods off its place means that the rate is not constant.
_UNEVEN = 0.6
_FULL_RANGE = 2  # FFmpeg's AVCOL_RANGE_JPEG


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("input", type=Path, metavar="INPUT", help="a clip: a container, or raw 4:2:0 in .yuv")
    parser.add_argument("output", type=Path, metavar="OUTPUT", help=".mp4, .mkv, .ts, or .yuv for raw planes")
    parser.add_argument("--type", required=True, choices=list(DISTORTIONS), dest="kind", help="what is done to it")
    parser.add_argument("--level", type=float, required=True, metavar="L", help="1 (just visible) to 5, fractions too")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="the same seed gives the same result")
    parser.add_argument("--codec", choices=list(CODECS), default="x264", help="of the output (default: x264)")
    parser.add_argument("--quality", type=float, metavar="Q", help="CRF or MPEG-2 quantiser; default: none visible")
    parser.add_argument("--trim", type=float, metavar="SECONDS", help="the first seconds only")
    raw = parser.add_argument_group("raw input (.yuv)")
    raw.add_argument("--width", type=int, metavar="W")
    raw.add_argument("--height", type=int, metavar="H")
    raw.add_argument("--fps", type=Fraction, metavar="F", help="25, 30000/1001, ...")
    raw.add_argument("--pix-fmt", choices=["yuv420p"], help="8-bit 4:2:0 is all there is")


def run(args: argparse.Namespace) -> int:
    """Distorts the clip and prints what was written."""
    _check(args)
    clip = Clip(
        args.input, args.input.stem, args.input.stem, 0.0, None, args.width, args.height, args.fps, args.pix_fmt
    )
    if problem := file_problem(clip):
        raise TrainingError(problem)
    source = Source(clip)
    total = source.length
    if args.trim is not None:
        wanted = max(1, round(args.trim * source.fps))
        total = wanted if total is None else min(total, wanted)
    distorted = distort(
        source.pictures(args.trim and total), args.kind, args.level, seed=args.seed, fps=float(source.fps)
    )
    # The bar is taken down before an error is told.
    with Progress(console=Console(stderr=True)) as progress:
        task = progress.add_task(f"{args.kind} {args.level:g}", total=total)

        def counted(pictures: Iterable[Picture]) -> Iterator[Picture]:
            for picture in pictures:
                yield picture
                progress.advance(task)

        try:
            count = write_clip(
                args.output, counted(distorted), source.fps, codec=args.codec, quality=args.quality, look=source.look
            )
        except av.FFmpegError as error:
            raise TrainingError(f"{args.input.name}: {args.kind} failed: {error.strerror}") from error
        progress.update(task, total=count, completed=count)
    if source.uneven:
        print(
            f"warning: {args.input.name} has uneven time stamps; every picture was kept, at a constant rate",
            file=sys.stderr,
        )
    print(f"{args.output}: {count} pictures at {source.fps} fps, {args.kind} {args.level:g}")
    return 0


def _check(args: argparse.Namespace) -> None:
    """Refuses what the command line alone shows to be impossible.

    Raises:
        UsageError: It does.
    """
    check_target(args.output, args.codec, args.quality)
    if not 1 <= args.level <= 5:
        raise UsageError(f"--level is 1 to 5, got {args.level:g}")
    if args.seed < 0:
        raise UsageError(f"--seed is not negative, got {args.seed}")
    if args.trim is not None and not (args.trim > 0 and math.isfinite(args.trim)):
        raise UsageError(f"--trim is a positive number of seconds, got {args.trim:g}")
    described = (args.width, args.height, args.fps)
    if args.input.suffix.lower() == ".yuv":
        if not all(value is not None and value > 0 for value in described):
            raise UsageError(f"{args.input.name}: raw video needs positive --width, --height and --fps")
        if args.width % 2 or args.height % 2:
            raise UsageError(f"{args.input.name}: raw 4:2:0 has an even size, got {args.width}x{args.height}")
    elif any(value is not None for value in (*described, args.pix_fmt)):
        raise UsageError("--width, --height, --fps and --pix-fmt describe raw .yuv input only")
    if not args.output.parent.is_dir():
        raise UsageError(f"{args.output.parent} is no folder")
    if args.output.is_dir():
        raise UsageError(f"{args.output} is a folder")
    for written in (args.output, args.output.with_name(f"{args.output.name}.part")):
        if written.exists() and args.input.exists() and written.samefile(args.input):
            raise UsageError(f"{args.input.name}: the output would replace the input")


class _Facts(NamedTuple):
    fps: Fraction
    length: int | None
    look: Look


class Source:
    """One clip's pictures with what must be kept of them.

    Args:
        clip: The clip.

    Attributes:
        fps: Pictures a second.
        length: Pictures, as far as the file says.
        look: Aspect and colour tags.
        uneven: After reading: pictures stood off the grid of a constant rate.

    Raises:
        DataError: The file cannot be opened, holds no video or states no rate.
    """

    def __init__(self, clip: Clip) -> None:
        self._clip = clip
        self.fps, self.length, self.look = _raw_facts(clip) if clip.raw else _container_facts(clip)
        self.uneven = False

    def pictures(self, limit: int | None = None) -> Iterator[Picture]:
        """Its pictures, limited range, cropped to an even size; one in memory at a time.

        Args:
            limit: At most so many; None: all.

        Raises:
            DataError: The file cannot be decoded, its pictures change size or are too small.
        """
        size: tuple[int, int] | None = None
        start: float | None = None
        for index, frame in enumerate(read_frames(self._clip)):
            if index == limit:
                return
            if size is None:
                size = (frame.width, frame.height)
                if min(size) < _LEAST_SIDE:
                    raise DataError(self._clip.path.name, [f"{size[0]}x{size[1]} is too small"])
            elif (frame.width, frame.height) != size:
                raise DataError(self._clip.path.name, [f"picture {index} is of another size"])
            if frame.time is not None:
                start = frame.time if start is None else start
                self.uneven |= abs((frame.time - start) * self.fps - index) > _UNEVEN
            yield _even(from_frame(_limited(frame)))


def _raw_facts(clip: Clip) -> _Facts:
    assert clip.fps is not None
    assert clip.width is not None
    assert clip.height is not None
    return _Facts(clip.fps, clip.path.stat().st_size // (clip.width * clip.height * 3 // 2), Look())


def _container_facts(clip: Clip) -> _Facts:
    try:
        with av.open(str(clip.path)) as container:
            if not container.streams.video:
                raise DataError(clip.path.name, ["no video stream"])
            stream = container.streams.video[0]
            rate = stream.average_rate or stream.guessed_rate
            if not rate or rate <= 0:
                raise DataError(clip.path.name, ["states no frame rate"])
            fps = standard_rate(Fraction(rate))
            seconds = container.duration / av.time_base if container.duration else None
            length = stream.frames or (round(seconds * fps) if seconds else None)
            context = stream.codec_context
            look = Look(
                stream.sample_aspect_ratio or None, context.colorspace, context.color_primaries, context.color_trc
            )
            return _Facts(fps, length, look)
    except (av.FFmpegError, OSError) as error:
        raise DataError(clip.path.name, [f"cannot be opened: {getattr(error, 'strerror', None) or error}"]) from error


def standard_rate(rate: Fraction) -> Fraction:
    """The usual rate that a container's rounded one means (19001/317 is 60000/1001), or the same."""
    nearest = min(_STANDARD_RATES, key=lambda usual: abs(usual - rate))
    return nearest if abs(nearest - rate) <= _RATE_TOLERANCE * rate else rate


def _limited(frame: av.VideoFrame) -> av.VideoFrame:
    """The frame as 8-bit 4:2:0 of limited range, which is what is written."""
    full = frame.format.name.startswith("yuvj") or frame.color_range == _FULL_RANGE
    if not full and frame.format.name == "yuv420p":
        return frame
    return frame.reformat(format="yuv420p", src_color_range="JPEG" if full else None, dst_color_range="MPEG")


def _even(picture: Picture) -> Picture:
    """Without the last column or row of an odd size."""
    height, width = picture.y.shape[0] // 2 * 2, picture.y.shape[1] // 2 * 2
    if picture.y.shape == (height, width):
        return picture
    y, u, v = picture.y[:height, :width], picture.u[: height // 2, : width // 2], picture.v[: height // 2, : width // 2]
    return Picture(*map(np.ascontiguousarray, (y, u, v)))
