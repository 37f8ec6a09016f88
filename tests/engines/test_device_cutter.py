"""Claims of engines.device_cutter; on the CPU, a device like any to torch, and on a GPU where there is one."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="needs the train extra")

from engines.device_cutter import area_shares, column_strips_on_device  # noqa: E402
from engines.errors import PictureError  # noqa: E402
from engines.planes import planes  # noqa: E402
from engines.preprocess import Cut, InputMode, InputSpec, PictureCutter, column_strips  # noqa: E402
from monitor.ingest.hardware import Decoder, device_for  # noqa: E402
from monitor.ingest.pyav_source import PyAvSource  # noqa: E402
from monitor.types import StreamId  # noqa: E402
from tests.fixtures.on_device import OnDevice  # noqa: E402

pytestmark = pytest.mark.train

FRAGMENTS = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32)
_PQ, _FULL_RANGE = 16, 2


def drawn(width: int, height: int, layout: str = "nv12", *, smooth: bool = False) -> VideoFrame:
    """Random pixels, or luma that changes slowly; whatever lies between lines is random, too."""
    picture = VideoFrame(width, height, layout)
    rng = np.random.default_rng(width)
    for plane in picture.planes:
        if smooth:
            line = (np.arange(plane.line_size) // 2 % 200 + 20).astype(np.uint8)
            plane.update(np.tile(line, plane.buffer_size // plane.line_size).tobytes())
        elif layout == "nv12":
            plane.update(rng.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
        else:
            plane.update((rng.integers(0, 1024, plane.buffer_size // 2).astype(np.uint16) << 6).tobytes())
    return picture


def cut_there(picture: VideoFrame, spec: InputSpec = FRAGMENTS) -> tuple[Cut, int]:
    """What is cut of a picture on a device, and how often it was copied whole."""
    there = OnDevice(picture)
    return PictureCutter(spec).cut(cast(VideoFrame, there)), there.copies


@pytest.mark.parametrize("colour", ["yuv", "rgb"])
@pytest.mark.parametrize("layout", ["nv12", "p010le", "p016le"])
@pytest.mark.parametrize(("width", "height"), [(1366, 768), (350, 202), (128, 96)])
def test_what_is_cut_on_a_device_is_what_is_cut_on_the_host(layout: str, width: int, height: int, colour: str) -> None:
    spec = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32, colour=colour)
    picture = drawn(width, height, layout)
    here, (there, copies) = PictureCutter(spec).cut(picture), cut_there(picture, spec)
    assert copies == 0
    for name in ("pixels", "columns", "rows"):
        ours, theirs = getattr(there, name), getattr(here, name)
        assert (ours.dtype, ours.flags.c_contiguous) == (theirs.dtype, True)
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("layout", ["nv12", "p010le"])
@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1366, 768), (720, 576)])
def test_the_small_luma_differs_from_the_scalers_by_its_rounding(layout: str, width: int, height: int) -> None:
    picture = drawn(width, height, layout)
    difference = cut_there(picture)[0].luma.astype(int) - PictureCutter(FRAGMENTS).cut(picture).luma
    assert np.abs(difference).max() <= 1
    assert abs(difference.mean()) < 0.5


@pytest.mark.parametrize(("transfer", "colour_range"), [(_PQ, 1), (1, _FULL_RANGE), (_PQ, _FULL_RANGE)])
def test_light_and_range_are_read_as_on_the_host(transfer: int, colour_range: int) -> None:
    picture = drawn(640, 360, "p010le")
    picture.color_trc, picture.color_range = transfer, colour_range
    here, there = PictureCutter(FRAGMENTS).cut(picture), cut_there(picture)[0]
    np.testing.assert_array_equal(there.pixels, here.pixels)
    np.testing.assert_array_equal(there.rows, here.rows)
    plain = PictureCutter(FRAGMENTS).cut(drawn(640, 360, "p010le"))
    assert (there.pixels != plain.pixels).any(), "it makes a difference"
    assert np.abs(there.luma.astype(int) - here.luma).max() <= 2


def test_a_feed_that_changes_its_size_is_cut_anew() -> None:
    cutter = PictureCutter(FRAGMENTS)
    for width, height in ((640, 360), (1280, 720), (640, 360)):
        picture = drawn(width, height)
        np.testing.assert_array_equal(
            cutter.cut(cast(VideoFrame, OnDevice(picture))).pixels, PictureCutter(FRAGMENTS).cut(picture).pixels
        )


@pytest.mark.parametrize(
    ("spec", "size", "layout"),
    [
        (InputSpec(InputMode.FULL, colour="rgb"), (320, 180), "nv12"),
        (InputSpec(InputMode.RESIZE, size=64, colour="rgb"), (320, 180), "nv12"),
        (FRAGMENTS, (48, 24), "nv12"),
        (FRAGMENTS, (320, 180), "yuv444p"),
    ],
)
def test_what_cannot_be_cut_there_is_copied_and_cut_on_the_host(
    spec: InputSpec, size: tuple[int, int], layout: str
) -> None:
    picture = drawn(*size, "nv12").reformat(format=layout)
    here, (there, copies) = PictureCutter(spec).cut(picture), cut_there(picture, spec)
    assert copies == 1
    for name in ("pixels", "luma", "columns", "rows"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))


def test_column_strips_of_a_picture_on_a_device() -> None:
    picture, starts = drawn(640, 360), np.array([0, 16, 632])
    native = planes(picture)
    np.testing.assert_array_equal(
        column_strips_on_device(cast(VideoFrame, OnDevice(picture)), starts),
        native.luma(column_strips(native.y, starts)),
    )


def test_a_device_that_fails_is_an_error_of_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: Any) -> None:
        raise RuntimeError("CUDA error: an illegal memory access\nand much more")

    monkeypatch.setattr(torch.Tensor, "index_select", fails)
    with pytest.raises(PictureError, match=r"the GPU failed on a picture: CUDA error: an illegal memory access$"):
        cut_there(drawn(640, 360))


@given(st.integers(1, 300), st.integers(1, 160))
def test_area_shares_are_means_that_count_every_value_alike(length: int, parts: int) -> None:
    shares = area_shares(length, parts)
    assert shares.shape == (parts, length)
    np.testing.assert_allclose(shares.sum(axis=1), 1, rtol=1e-4)
    np.testing.assert_allclose(shares.sum(axis=0), parts / length, rtol=1e-3)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")
def test_nvdec_pictures_that_stay_there_are_cut_like_those_that_are_copied(
    clip_maker: Callable[..., Path], tmp_path: Path
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=0.4, size=(640, 360))
    assert device_for(Decoder.CUDA_KEPT) is not None

    def cuts(decoder: Decoder) -> tuple[str | None, list[Cut]]:
        source = PyAvSource(str(clip), stream=StreamId("cam"), live=False, decoder=decoder)
        told, cutter = source.open().decoder, PictureCutter(FRAGMENTS)
        return told, [cutter.cut(one.picture) for one in source.frames(threading.Event(), 1)]

    (told, kept), (_, copied) = cuts(Decoder.CUDA_KEPT), cuts(Decoder.CUDA)
    assert told == "cuda-kept"
    for there, here in zip(kept, copied, strict=True):
        np.testing.assert_array_equal(there.pixels, here.pixels)
        np.testing.assert_array_equal(there.columns, here.columns)
        assert np.abs(there.luma.astype(int) - here.luma).max() <= 1
