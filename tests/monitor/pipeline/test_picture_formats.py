"""One source in every kind of coding gives the same score, and what it is is told."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from engines.transfer import Transfer, sdr_signal
from monitor.pipeline.offline import ClipResult
from tests.fixtures.clip_scoring import clip_scorer
from tests.fixtures.pictures import HEIGHT, progressive, scene, write

#: Points by which a score may differ from that of 8-bit 4:2:0 BT.709 in limited range.
TOLERANCE = 3.0
#: Of HDR. No claim of accuracy: the scene scores 25, PQ came out 10 points above it. A bound against regressions.
HDR_TOLERANCE = {Transfer.PQ: 12.0, Transfer.HLG: 8.0}
PICTURES = [progressive(n) for n in range(30)]
X265 = {"preset": "ultrafast", "x265-params": "qp=8:log-level=none:bframes=0"}
#: Numbers of ITU-T H.273: matrix, transfer; FFmpeg's range.
BT709, BT601, BT2020, PQ, HLG, FULL = 1, 6, 9, 16, 18, 2

Score = Callable[..., ClipResult]


@pytest.fixture(scope="module")
def score() -> Iterator[Score]:
    with clip_scorer() as scorer:
        yield scorer


def points(result: ClipResult) -> float:
    assert result.score is not None
    assert result.samples == 30
    return result.score


@pytest.fixture(scope="module")
def usual(score: Score, tmp_path_factory: pytest.TempPathFactory) -> float:
    return points(score(write(tmp_path_factory.mktemp("usual") / "a.mp4", PICTURES)))


@pytest.mark.parametrize(
    ("pixel_format", "codec"),
    [
        ("yuv422p", "libx264"),
        ("yuv444p", "libx264"),
        ("yuv420p10le", "libx265"),
        ("yuv422p10le", "libx265"),
        ("yuv444p10le", "libx265"),
    ],
)
def test_layouts_score_alike(score: Score, usual: float, tmp_path: Path, pixel_format: str, codec: str) -> None:
    path = write(
        tmp_path / "a.mp4",
        PICTURES,
        codec=codec,
        pixel_format=pixel_format,
        options=X265 if codec == "libx265" else None,
        convert=lambda picture: picture.reformat(format=pixel_format),
    )
    result = score(path)
    assert result.info is not None
    assert result.info.pixel_format == pixel_format
    assert points(result) == pytest.approx(usual, abs=TOLERANCE)


@pytest.mark.parametrize(
    ("matrix", "full", "told"), [(BT601, False, "bt601"), (BT2020, False, "bt2020"), (BT709, True, "bt709")]
)
def test_matrices_and_ranges_score_alike_and_are_told(
    score: Score, usual: float, tmp_path: Path, matrix: int, full: bool, told: str
) -> None:
    names = {BT601: "ITU601", BT2020: "BT2020", BT709: "ITU709"}

    def convert(picture: av.VideoFrame) -> av.VideoFrame:
        made = picture.reformat(
            format="yuv420p", src_colorspace="ITU709", dst_colorspace=names[matrix],
            src_color_range="MPEG", dst_color_range="JPEG" if full else "MPEG",
        )  # fmt: skip
        made.colorspace = matrix
        return made

    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_range = FULL if full else 1

    result = score(write(tmp_path / "a.mp4", PICTURES, convert=convert, prepare=prepare))
    assert result.info is not None
    assert (result.info.colour, result.info.full_range) == (told, full)
    assert points(result) == pytest.approx(usual, abs=TOLERANCE)


def hdr(transfer: Transfer) -> Callable[[av.VideoFrame], av.VideoFrame]:
    """SDR pictures as an HDR feed would carry them: the mapping's inverse, in ten bits."""
    codes = (np.arange(1024) / 4 - 16) / 219
    mapped = sdr_signal(codes, transfer)
    rising = np.concatenate([[True], np.diff(mapped) > 0])
    luma = np.interp((np.arange(256) - 16) / 219, mapped[rising], codes[rising])
    slope = np.gradient(luma, 1 / 219)

    def convert(picture: av.VideoFrame) -> av.VideoFrame:
        values = picture.to_ndarray()
        y = values[:HEIGHT]
        out = np.empty(values.shape, np.uint16)
        out[:HEIGHT] = np.round((luma[y] * 219 + 16) * 4)
        chroma = values[HEIGHT:].reshape(2, HEIGHT // 2, -1).astype(float) - 128
        out[HEIGHT:] = np.round((chroma * slope[y[::2, ::2]] + 128) * 4).reshape(HEIGHT // 2, -1)
        made = av.VideoFrame.from_ndarray(out.view(np.uint16), format="yuv420p10le")
        made.color_trc = {Transfer.PQ: PQ, Transfer.HLG: HLG}[transfer]
        return made

    return convert


@pytest.mark.parametrize("transfer", [Transfer.PQ, Transfer.HLG])
def test_hdr_is_mapped_to_the_score_of_its_sdr_source(
    score: Score, usual: float, tmp_path: Path, transfer: Transfer
) -> None:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.color_trc = {Transfer.PQ: PQ, Transfer.HLG: HLG}[transfer]
        stream.codec_context.colorspace = BT2020

    path = write(
        tmp_path / "a.mp4", PICTURES, codec="libx265", pixel_format="yuv420p10le", options=X265,
        convert=hdr(transfer), prepare=prepare,
    )  # fmt: skip
    result = score(path)
    assert result.info is not None
    assert (result.info.transfer, result.info.colour) == (str(transfer), "bt2020")
    assert points(result) == pytest.approx(usual, abs=HDR_TOLERANCE[transfer])


@pytest.mark.parametrize("rate", ["24000/1001", "24", "30000/1001", "30", "50", "60000/1001"])
@pytest.mark.parametrize("suffix", ["ts", "mkv"])
def test_no_frame_rate_reads_as_repeats_or_judder(
    score: Score, usual: float, tmp_path: Path, rate: str, suffix: str
) -> None:
    fps = Fraction(rate)
    pictures = [scene(float(n / fps)) for n in range(round(1.2 * fps))]
    result = score(write(tmp_path / f"a.{suffix}", pictures, fps=fps))
    assert result.repeated == 0
    assert result.info is not None
    # Of a second in milliseconds.
    assert result.info.fps == pytest.approx(float(fps), rel=1e-3)
    assert result.score is not None
    assert result.samples == pytest.approx(30, abs=1)
    assert result.score > usual - 15
    assert result.causes["judder"] + result.causes["frame_drop"] < 0.5


def test_repeats_and_gaps_of_the_source_are_counted(score: Score, tmp_path: Path) -> None:
    doubled = [progressive(n - (n % 5 == 4)) for n in range(30)]
    assert score(write(tmp_path / "d.ts", doubled)).repeated == pytest.approx(6, abs=1)
    times = [*range(12), *range(17, 30)]
    gap = score(write(tmp_path / "g.ts", [progressive(n) for n in times], times=times))
    assert gap.repeated == 5


def test_a_change_of_size_on_air_is_told_and_loses_no_sample(score: Score, tmp_path: Path) -> None:
    parts = [
        write(tmp_path / "a.ts", PICTURES),
        write(tmp_path / "b.ts", [np.ascontiguousarray(p[: 96 * 3 // 2, :160]) for p in PICTURES]),
    ]
    both = tmp_path / "ab.ts"
    both.write_bytes(b"".join(part.read_bytes() for part in parts))
    result = score(both)
    assert (result.samples, result.frames, result.format_changes) == (60, 60, 1)
    assert result.info is not None
    assert (result.info.width, result.info.height) == (160, 96)
    assert result.score is not None


def test_a_turned_picture_is_scored_as_coded_and_told(score: Score, usual: float, tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", PICTURES)
    data = bytearray(path.read_bytes())
    # ISO/IEC 14496-12: the track header's matrix, 16.16 and 2.30 fixed point; this one turns by a quarter.
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, 0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    result = score(path)
    assert result.info is not None
    assert result.info.rotation in (90, 270)
    assert result.info.height == HEIGHT
    assert points(result) == pytest.approx(usual)


def test_an_anamorphic_picture_is_scored_as_coded_and_told(score: Score, usual: float, tmp_path: Path) -> None:
    def prepare(stream: av.VideoStream) -> None:
        stream.codec_context.sample_aspect_ratio = Fraction(64, 45)

    path = write(tmp_path / "a.mp4", PICTURES, prepare=prepare)
    result = score(path)
    assert result.info is not None
    assert result.info.pixel_aspect == "64:45"
    assert points(result) == pytest.approx(usual)
