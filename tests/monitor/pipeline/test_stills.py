from __future__ import annotations

import io
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.core.evidence import Still
from monitor.pipeline.stills import MOST_BYTES_A_SECOND, StillCamera, StillRing


def picture(width: int = 1280, height: int = 720, pixel_format: str = "yuv420p") -> av.VideoFrame:
    """Red on the left, green on the right."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[:, : width // 2, 0] = 220
    rgb[:, width // 2 :, 1] = 200
    frame = av.VideoFrame.from_ndarray(rgb, format="rgb24")
    matrix = "ITU709" if height >= 720 else "ITU601"
    return frame.reformat(format=pixel_format, dst_colorspace=matrix, dst_color_range="MPEG")


def decoded(jpeg: bytes) -> np.ndarray:  # type: ignore[type-arg]
    with av.open(io.BytesIO(jpeg), format="jpeg_pipe") as file:
        return next(file.decode(video=0)).to_ndarray(format="rgb24")


@pytest.mark.parametrize("pixel_format", ["yuv420p", "yuv422p10le", "yuv444p", "nv12", "gray"])
@pytest.mark.parametrize("size", [(1280, 720), (720, 576), (128, 96)])
def test_a_still_is_a_small_jpeg_of_the_picture_in_its_colours(size: tuple[int, int], pixel_format: str) -> None:
    ring = StillRing(10.0)
    StillCamera(ring.add, 320).see(picture(*size, pixel_format), 5.0)
    still = ring.near(0.0)
    assert still is not None
    width = min(320, size[0])
    assert (still.received_s, still.width, still.height) == (5.0, width, round(size[1] * width / size[0] / 2) * 2)
    shown = decoded(still.jpeg)
    assert shown.shape == (still.height, still.width, 3)
    if pixel_format != "gray":
        for side, colour in ((shown[:, :50], [220, 0, 0]), (shown[:, -50:], [0, 200, 0])):
            assert np.abs(side.mean(axis=(0, 1)) - colour).max() < 8


@pytest.mark.parametrize(
    ("size", "aspect", "height"),
    [
        ((720, 576), Fraction(64, 45), 180),  # 16:9
        ((720, 576), Fraction(16, 15), 240),  # 4:3
        ((1440, 1080), Fraction(4, 3), 180),
        ((720, 576), None, 256),
        ((720, 576), Fraction(1, 255), 256),
        ((720, 576), Fraction(255, 1), 256),
    ],
)
def test_a_still_has_the_shape_that_a_viewer_sees(size: tuple[int, int], aspect: Fraction | None, height: int) -> None:
    ring = StillRing(10.0)
    StillCamera(ring.add, 320).see(picture(*size, "yuv420p"), 5.0, aspect)
    still = ring.near(0.0)
    assert still is not None
    assert (still.width, still.height) == (320, height)


def test_one_picture_a_second_is_kept_whatever_their_rate() -> None:
    ring = StillRing(30.0)
    camera = StillCamera(ring.add, 64)
    small = picture(128, 96)
    for number in range(101):
        camera.see(small, 1000.0 + number / 25)
    assert [still.received_s for still in ring._stills] == [1000.0, 1001.0, 1002.0, 1003.0, 1004.0]


def test_real_pictures_of_a_decoder_become_stills(clip_maker: Callable[..., Path], tmp_path: Path) -> None:
    ring = StillRing(30.0)
    camera = StillCamera(ring.add, 320)
    with av.open(str(clip_maker(tmp_path / "clip.mp4", seconds=2.0, size=(640, 360)))) as file:
        for number, frame in enumerate(file.decode(video=0)):
            assert isinstance(frame, av.VideoFrame)
            camera.see(frame, float(number))
    assert len(ring._stills) > 10
    sizes = {decoded(still.jpeg).shape for still in ring._stills}
    assert sizes == {(180, 320, 3)}


def test_a_ring_holds_its_seconds_and_no_more_bytes_than_its_bound() -> None:
    ring = StillRing(10.0)
    for second in range(100):
        ring.add(Still(float(second), b"x" * 10_000, 2, 2))
    assert [still.received_s for still in ring._stills] == [float(n) for n in range(89, 100)]
    for second in range(100, 200):
        ring.add(Still(float(second), b"x" * 100_000, 2, 2))
        assert ring.size_bytes <= 10 * MOST_BYTES_A_SECOND
    assert ring.size_bytes == sum(len(still.jpeg) for still in ring._stills)


def test_the_last_pictures_of_a_lost_stream_stay_however_long_it_is_lost() -> None:
    ring = StillRing(10.0)
    assert ring.near(1.0) is None
    for second in range(20):
        ring.add(Still(float(second), b"x", 2, 2))
    for at_s, nearest in ((9e9, 19.0), (14.4, 14.0), (0.0, 9.0)):
        found = ring.near(at_s)
        assert found is not None
        assert found.received_s == nearest


def test_a_picture_that_cannot_be_scaled_harms_nothing() -> None:
    ring = StillRing(10.0)
    camera = StillCamera(ring.add, 320)
    camera.see(av.VideoFrame(1, 64, "yuv420p"), 1.0)
    camera.see(picture(), 2.5)
    found = ring.near(0.0)
    assert found is not None
    assert found.received_s == 2.5
