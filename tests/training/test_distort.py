"""One clip in, the same clip distorted out: every picture, at its time, or one clear line and no file."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("scipy", reason="training needs scipy")

from training.__main__ import main
from training.clip_writer import Look, write_clip
from training.distort import standard_rate
from training.pictures import Picture, from_frame

NTSC = Fraction(30_000, 1001)


def numbered(count: int = 20, width: int = 96, height: int = 64) -> list[Picture]:
    """Pictures that tell their number by brightness, over a moving pattern."""
    x = np.arange(width)[None] + np.arange(height)[:, None]
    half = (height // 2, width // 2)
    return [
        Picture(
            (60 + 5 * t + 20 * np.sin((x + 3 * t) / 5)).astype(np.uint8),
            np.full(half, 110, np.uint8),
            np.full(half, 140, np.uint8),
        )
        for t in range(count)
    ]


def read(path: Path) -> tuple[list[Fraction], list[Picture]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return [f.pts * f.time_base for f in frames if f.pts is not None], [from_frame(f) for f in frames]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "in.mp4"
    write_clip(path, numbered(), NTSC, look=Look(Fraction(4, 3), 1, 1, 1))
    return path


def distorted(*arguments: object) -> int:
    return main(["distort", *map(str, arguments)])


def test_count_rate_and_tags_are_kept(clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out.mp4"
    assert distorted(clip, out, "--type", "noise", "--level", 2.5) == 0
    times, pictures = read(out)
    assert times == [i / NTSC for i in range(20)]
    assert len(pictures) == 20
    with av.open(str(out)) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == NTSC
        assert stream.sample_aspect_ratio == Fraction(4, 3)
        assert stream.codec_context.colorspace == 1
    captured = capsys.readouterr()
    assert "20 pictures at 30000/1001 fps, noise 2.5" in captured.out
    assert "warning" not in captured.err


@pytest.mark.parametrize("kind", ["judder", "frame_drop", "freeze", "interlacing", "flicker", "compression"])
@pytest.mark.parametrize("suffix", [".mkv", ".ts"])
def test_distortions_that_hold_pictures_back_lose_none(clip: Path, tmp_path: Path, kind: str, suffix: str) -> None:
    out = tmp_path / f"out{suffix}"
    assert distorted(clip, out, "--type", kind, "--level", 3, "--seed", 4) == 0
    times, _ = read(out)
    tick = Fraction(1, 1000) if suffix == ".mkv" else Fraction(0)
    assert len(times) == 20
    assert all(abs(t - times[0] - i / NTSC) <= tick for i, t in enumerate(times))


def test_raw_in_and_raw_out_carry_the_distortion_alone(tmp_path: Path) -> None:
    source, out = tmp_path / "in.yuv", tmp_path / "out.yuv"
    write_clip(source, numbered(), Fraction(25))
    size = ("--width", 96, "--height", 64, "--fps", 25, "--pix-fmt", "yuv420p")
    assert distorted(source, out, "--type", "black", "--level", 1, *size) == 0
    frames = np.fromfile(out, np.uint8).reshape(20, 96 * 64 * 3 // 2)
    clean = np.fromfile(source, np.uint8).reshape(frames.shape)
    changed = [t for t in range(20) if not np.array_equal(frames[t], clean[t])]
    # 0.2 s at 25 fps, and nothing else touched.
    assert changed == list(range(changed[0], changed[0] + 5)) or changed[-1] == 19
    assert changed
    assert all((frames[t][: 96 * 64] == 16).all() for t in changed)


def test_the_default_encode_adds_nothing_visible(clip: Path, tmp_path: Path) -> None:
    raw, coded = tmp_path / "out.yuv", tmp_path / "out.mp4"
    for out in (raw, coded):
        assert distorted(clip, out, "--type", "blur", "--level", 3) == 0
    planes = np.fromfile(raw, np.uint8).reshape(20, -1)[:, : 96 * 64].reshape(20, 64, 96)
    for wanted, got in zip(planes, read(coded)[1], strict=True):
        assert 10 * np.log10(255**2 / np.mean((wanted.astype(float) - got.y) ** 2)) > 44


def test_the_same_seed_gives_the_same_file(clip: Path, tmp_path: Path) -> None:
    a, b, c = (tmp_path / name for name in ("a.mp4", "b.mp4", "c.mp4"))
    for out, seed in ((a, 3), (b, 3), (c, 4)):
        assert distorted(clip, out, "--type", "macroblocks", "--level", 5, "--seed", seed) == 0
    assert a.read_bytes() == b.read_bytes() != c.read_bytes()


def test_only_the_first_seconds_are_taken(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    assert distorted(clip, out, "--type", "blur", "--level", 1, "--trim", 0.2) == 0
    assert len(read(out)[1]) == round(0.2 * NTSC)
    assert distorted(clip, out, "--type", "blur", "--level", 1, "--trim", 9) == 0
    assert len(read(out)[1]) == 20


def test_odd_sizes_are_cropped_to_even_ones(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.yuv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 97, 65, "yuv444p"
        for t in range(3):
            frame = av.VideoFrame.from_ndarray(np.full((3, 65, 97), 100 + t, np.uint8), format="yuv444p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert distorted(source, out, "--type", "freeze", "--level", 1) == 0
    assert np.fromfile(out, np.uint8).reshape(3, -1).shape[1] == 96 * 64 * 3 // 2


def test_full_range_is_brought_to_limited_range(tmp_path: Path) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.yuv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.codec_context.color_range = 2
        planes = np.concatenate([np.full((64, 64), 255, np.uint8), np.full((32, 64), 128, np.uint8)])
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.color_range = 2
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert distorted(source, out, "--type", "freeze", "--level", 1) == 0
    assert set(np.fromfile(out, np.uint8)[: 64 * 64]) == {235}


def test_an_uneven_rate_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, out = tmp_path / "in.mkv", tmp_path / "out.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for pts in (0, 1, 2, 9, 10, 11):
            frame = av.VideoFrame.from_ndarray(np.full((96, 64), 100, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = pts, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    assert distorted(source, out, "--type", "freeze", "--level", 1) == 0
    assert "in.mkv has uneven time stamps" in capsys.readouterr().err
    assert len(read(out)[1]) == 6


def test_rounded_rates_are_taken_for_what_they_mean() -> None:
    assert standard_rate(Fraction(19001, 317)) == Fraction(60_000, 1001)
    assert standard_rate(Fraction(25)) == 25
    assert standard_rate(Fraction(47, 3)) == Fraction(47, 3)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("IN", "OUT.avi", "--type", "blur", "--level", 2), "suffix"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", 5.5), "--level is 1 to 5"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", "nan"), "--level is 1 to 5"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", 2, "--seed", -1), "--seed"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", 2, "--trim", 0), "--trim"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", 2, "--quality", 99), "quality of x264"),
        (("IN", "OUT.mp4", "--type", "blur", "--level", 2, "--width", 64), "raw .yuv input only"),
        (("IN", "IN", "--type", "blur", "--level", 2), "the output would replace the input"),
        (("IN", "none/OUT.mp4", "--type", "blur", "--level", 2), "is no folder"),
        (("raw.yuv", "OUT.mp4", "--type", "blur", "--level", 2), "needs positive --width"),
        (("raw.yuv", "OUT.mp4", "--type", "blur", "--level", 2, *"--width 63 --height 64 --fps 25".split()), "even"),
    ],
)
def test_an_impossible_request_is_refused_at_once(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[object, ...], complaint: str
) -> None:
    source, target, *rest = arguments
    before = clip.read_bytes()
    source_path = clip if source == "IN" else tmp_path / str(source)
    target_path = clip if target == "IN" else tmp_path / str(target)
    assert distorted(source_path, target_path, *rest) == 2
    captured = capsys.readouterr().err
    assert complaint in captured
    assert captured.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]
    assert clip.read_bytes() == before


def broken(tmp_path: Path, how: str) -> tuple[Path, list[object]]:
    path = tmp_path / "broken.mp4"
    if how == "text":
        path.write_text("this is no video " * 99)
    elif how == "empty":
        path.touch()
    elif how == "cut raw":
        path = tmp_path / "broken.yuv"
        path.write_bytes(bytes(64 * 64 * 2))
        return path, ["--width", 64, "--height", 64, "--fps", 25]
    elif how == "tiny":
        write_clip(path, numbered(3, 16, 16), Fraction(25))
    elif how == "sound":
        with av.open(str(path), "w") as container:
            stream = container.add_stream("aac", rate=48_000)
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 48_000
            container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path, []


@pytest.mark.parametrize("how", ["missing", "text", "empty", "cut raw", "tiny", "sound"])
def test_a_bad_clip_fails_in_one_line_and_leaves_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    source, extra = broken(tmp_path, how)
    out = tmp_path / "out.mp4"
    assert distorted(source, out, "--type", "noise", "--level", 3, *extra) == 1
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("python -m training: error: ")]
    assert len(errors) == 1
    assert source.name in errors[0]
    assert {path.name for path in tmp_path.iterdir()} <= {source.name}


_MEASURED = """
import json, resource, sys
import numpy as np
from training.__main__ import main
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
source, out, kind = sys.argv[1:]
status = main(["distort", source, out, "--type", kind, "--level", "5", "--width", "3840", "--height", "2160",
               "--fps", "25", "--seed", "1"])
print(json.dumps([status, peak()]))
"""


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_ultra_high_definition_stays_below_two_gigabytes(tmp_path: Path) -> None:
    source, out = tmp_path / "in.yuv", tmp_path / "out.mp4"
    x, y = np.arange(3840, dtype=np.int32)[None], np.arange(2160, dtype=np.int32)[:, None]
    with source.open("wb") as file:
        for t in range(5):
            file.write((((x + y) // 24 + t) % 190 + 30).astype(np.uint8).tobytes())
            file.write(np.full(3840 * 2160 // 2, 128, np.uint8).tobytes())
    # Among those that work on whole planes of 32-bit floats, the largest that any holds, aliasing holds the most.
    command = [sys.executable, "-c", _MEASURED, str(source), str(out), "aliasing"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    status, gigabytes = json.loads(done.stdout.splitlines()[-1])
    assert status == 0
    assert gigabytes < 2
    assert len(read(out)[0]) == 5
