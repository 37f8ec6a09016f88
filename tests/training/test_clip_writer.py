"""Files are whole, at the exact rate, the same each time, or not there at all."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from training.clip_writer import CODECS, Look, write_clip
from training.errors import TrainingError, UsageError
from training.pictures import Picture, from_frame

NTSC = Fraction(30_000, 1001)


def bars(count: int, width: int = 96, height: int = 64) -> Iterator[Picture]:
    """A smooth pattern that moves, of another brightness in each picture."""
    x = np.arange(width)[None] + np.arange(height)[:, None]
    for t in range(count):
        y = (100 + t + 40 * np.sin((x + 2 * t) / 9)).astype(np.uint8)
        yield Picture(
            y, np.full((height // 2, width // 2), 110, np.uint8), np.full((height // 2, width // 2), 140, np.uint8)
        )


def read(path: Path) -> tuple[Fraction | None, list[Fraction], list[Picture], list[av.VideoFrame]]:
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = list(container.decode(stream))
        return stream.average_rate, [f.pts * f.time_base for f in frames], [from_frame(f) for f in frames], frames


@pytest.mark.parametrize("codec", CODECS)
@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_every_picture_comes_back_at_its_time(tmp_path: Path, suffix: str, codec: str) -> None:
    path = tmp_path / f"clip{suffix}"
    assert write_clip(path, bars(13), NTSC, codec=codec) == 13
    rate, times, pictures, _ = read(path)
    assert rate == NTSC
    tick = Fraction(1, 1000) if suffix == ".mkv" else 0
    assert all(abs(t - times[0] - i / NTSC) <= tick for i, t in enumerate(times))
    assert len(pictures) == 13
    for wanted, got in zip(bars(13), pictures, strict=True):
        # Half a grey level on average, and each picture at its own place: neighbours differ by a whole one and more.
        assert np.abs(wanted.y.astype(int) - got.y).mean() < 1.5
        assert abs(wanted.y.mean() - got.y.mean()) < 0.5


def test_the_same_pictures_give_the_same_bytes(tmp_path: Path) -> None:
    for codec in CODECS:
        for suffix in (".mp4", ".mkv", ".ts"):
            a, b = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
            write_clip(a, bars(7), Fraction(25), codec=codec)
            write_clip(b, bars(7), Fraction(25), codec=codec)
            assert a.read_bytes() == b.read_bytes(), (codec, suffix)


def test_raw_planes_are_written_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "clip.yuv"
    assert write_clip(path, bars(3), Fraction(25)) == 3
    assert path.read_bytes() == b"".join(plane.tobytes() for picture in bars(3) for plane in picture)


def test_a_coarser_quality_is_obeyed(tmp_path: Path) -> None:
    for codec, coarse in (("x264", 40), ("x265", 40), ("mpeg2", 28)):
        fine_path, coarse_path = tmp_path / "fine.mp4", tmp_path / "coarse.mp4"
        write_clip(fine_path, bars(9), Fraction(25), codec=codec)
        write_clip(coarse_path, bars(9), Fraction(25), codec=codec, quality=coarse)
        assert coarse_path.stat().st_size < fine_path.stat().st_size, codec


def test_aspect_and_colour_tags_are_carried(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    write_clip(path, bars(3), Fraction(25), look=Look(Fraction(4, 3), matrix=1, primaries=1, transfer=1))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        context = stream.codec_context
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert (context.colorspace, context.color_primaries, context.color_trc, context.color_range) == (1, 1, 1, 1)


def breaking() -> Iterator[Picture]:
    yield from bars(4)
    raise RuntimeError("the source broke")


@pytest.mark.parametrize("suffix", [".mp4", ".yuv"])
def test_what_fails_leaves_nothing_and_keeps_the_old_file(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"clip{suffix}"
    with pytest.raises(RuntimeError, match="the source broke"):
        write_clip(path, breaking(), Fraction(25))
    assert list(tmp_path.iterdir()) == []
    path.write_bytes(b"old")
    with pytest.raises(RuntimeError, match="the source broke"):
        write_clip(path, breaking(), Fraction(25))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_no_pictures_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="no pictures"):
        write_clip(tmp_path / "clip.mp4", iter(()), Fraction(25))
    assert list(tmp_path.iterdir()) == []


def test_odd_or_changing_sizes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="even size, got 95x64"):
        write_clip(tmp_path / "clip.mp4", bars(2, width=95), Fraction(25))
    with pytest.raises(ValueError, match="different sizes"):
        write_clip(tmp_path / "clip.mp4", [*bars(1), *bars(1, width=128)], Fraction(25))


@pytest.mark.parametrize(
    ("name", "codec", "quality", "complaint"),
    [
        ("clip.avi", "x264", None, "suffix"),
        ("clip.mp4", "av1", None, "unknown codec"),
        ("clip.mp4", "x264", 60, "quality of x264"),
        ("clip.mp4", "mpeg2", 1, "quality of mpeg2"),
        ("clip.mp4", "mpeg2", 2.5, "whole number"),
    ],
)
def test_impossible_targets_are_usage_errors(
    tmp_path: Path, name: str, codec: str, quality: float | None, complaint: str
) -> None:
    with pytest.raises(UsageError, match=complaint):
        write_clip(tmp_path / name, bars(1), Fraction(25), codec=codec, quality=quality)


def test_a_rate_that_a_codec_has_not_is_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match=r"clip\.mp4: cannot be written"):
        write_clip(tmp_path / "clip.mp4", bars(1), Fraction(47, 3), codec="mpeg2")
    assert list(tmp_path.iterdir()) == []
