from __future__ import annotations

import numpy as np
import pytest
from av import VideoFrame
from hypothesis import given, settings
from hypothesis import strategies as st

from engines.errors import PictureError
from engines.planes import plane
from engines.preprocess import (
    LUMA_HEIGHT,
    LUMA_WIDTH,
    STRIP_PX,
    InputMode,
    InputSpec,
    PictureCutter,
    column_strips,
    grid_offsets,
)

FRAGMENTS = InputSpec(InputMode.FRAGMENTS, grid=4, patch=32)


def i420(width: int, height: int, seed: int = 0) -> VideoFrame:
    rng = np.random.default_rng(seed)
    values = rng.integers(16, 236, (height * 3 // 2, width), dtype=np.uint8)
    return VideoFrame.from_ndarray(values, format="yuv420p")


@given(st.integers(32, 4320), st.integers(1, 9))
def test_grid_offsets_are_even_ordered_and_reach_both_borders(length: int, grid: int) -> None:
    offsets = grid_offsets(length, 32, grid)
    assert np.all(offsets % 2 == 0)
    assert np.all(np.diff(offsets) >= 0)
    assert offsets[0] >= 0
    assert offsets[-1] + 32 <= length
    if grid > 1:
        assert offsets[0] == 0
        assert length - (offsets[-1] + 32) <= 1


def test_fragments_are_native_pixels_of_each_plane() -> None:
    picture = i420(320, 180)
    whole = picture.to_ndarray()[:180]
    pixels = PictureCutter(FRAGMENTS).cut(picture).pixels
    assert pixels.shape == (3, 128, 128)
    rows, columns = grid_offsets(180, 32, 4), grid_offsets(320, 32, 4)
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            tile = pixels[0, i * 32 : i * 32 + 32, j * 32 : j * 32 + 32]
            np.testing.assert_array_equal(tile, whole[y : y + 32, x : x + 32])


def test_chroma_of_a_fragment_lies_under_its_luma() -> None:
    values = np.full((270, 320), 128, np.uint8)
    values[:180, 160:] = 200  # luma of the right half
    u = np.full((90, 160), 90, np.uint8)
    u[:, 80:] = 180  # chroma of the right half
    values[180:225] = u.reshape(45, 320)
    pixels = PictureCutter(FRAGMENTS).cut(VideoFrame.from_ndarray(values, format="yuv420p")).pixels
    right = pixels[0] == 200
    np.testing.assert_array_equal(pixels[1][right], 180)
    np.testing.assert_array_equal(pixels[1][~right], 90)


@pytest.mark.parametrize("layout", ["yuv420p10le", "yuv422p", "yuv422p10le", "yuv444p", "nv12", "rgb24", "p010le"])
def test_every_layout_gives_nearly_the_same_fragments(layout: str) -> None:
    # Smooth, so that resampling chroma between layouts changes little.
    ramp = np.linspace(40, 200, 320).astype(np.uint8)
    values = np.concatenate([np.tile(ramp, (180, 1)), np.full((90, 320), 120, np.uint8)])
    picture = VideoFrame.from_ndarray(values, format="yuv420p")
    expected = PictureCutter(FRAGMENTS).cut(picture).pixels.astype(int)
    actual = PictureCutter(FRAGMENTS).cut(picture.reformat(format=layout)).pixels.astype(int)
    assert np.abs(actual - expected).max() <= 3


def test_grey_pictures_have_neutral_chroma() -> None:
    grey = VideoFrame.from_ndarray(np.full((180, 320), 77, np.uint8), format="gray")
    pixels = PictureCutter(FRAGMENTS).cut(grey).pixels
    assert set(np.unique(pixels[1:])) == {128}


@pytest.mark.parametrize(("width", "height"), [(128, 96), (64, 48), (40, 34), (34, 18), (16, 16)])
def test_pictures_smaller_than_the_grid_fill_it_without_padding(width: int, height: int) -> None:
    picture = i420(width, height)
    pixels = PictureCutter(FRAGMENTS).cut(picture).pixels
    assert pixels.shape == (3, 128, 128)
    # Only values that stand in the picture.
    assert set(np.unique(pixels[0])) <= set(np.unique(picture.to_ndarray()[:height]))


def test_pictures_too_small_to_score_are_refused_by_name() -> None:
    with pytest.raises(PictureError, match="8x8"):
        PictureCutter(FRAGMENTS).cut(i420(8, 8))


def test_fragments_follow_a_change_of_resolution() -> None:
    cutter = PictureCutter(FRAGMENTS)
    small, large = i420(320, 180, 1), i420(640, 360, 2)
    cutter.cut(small)
    np.testing.assert_array_equal(cutter.cut(large).pixels, PictureCutter(FRAGMENTS).cut(large).pixels)


def test_resize_scales_the_short_side_and_full_keeps_the_size() -> None:
    picture = i420(640, 360)
    resized = PictureCutter(InputSpec(InputMode.RESIZE, size=180, colour="rgb")).cut(picture).pixels
    assert resized.shape == (3, 180, 320)
    assert PictureCutter(InputSpec(InputMode.FULL, colour="rgb")).cut(picture).pixels.shape == (3, 360, 640)


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 235), st.integers(60, 200), st.integers(60, 200))
def test_rgb_fragments_agree_with_the_scaler(y: int, u: int, v: int) -> None:
    values = np.concatenate([np.full((180, 320), y), np.full((45, 320), u), np.full((45, 320), v)]).astype(np.uint8)
    picture = VideoFrame.from_ndarray(values, format="yuv420p")
    spec = InputSpec(InputMode.FRAGMENTS, grid=2, patch=32, colour="rgb")
    ours = PictureCutter(spec).cut(picture).pixels[:, 0, 0].astype(int)
    theirs = picture.to_ndarray(format="rgb24")[0, 0].astype(int)
    # The scaler computes in few bits: at Y 99, U 100, V 101 its green is 127 where BT.601 gives 129.5.
    assert np.abs(ours - theirs).max() <= 4
    luma, blue, red = (y - 16) * 255 / 219, (u - 128) * 255 / 224, (v - 128) * 255 / 224
    exact = np.array([luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red, luma + 1.772 * blue])
    assert np.abs(ours - exact.clip(0, 255)).max() <= 1


def test_full_range_luma_is_brought_to_broadcast_range() -> None:
    values = np.concatenate([np.full((180, 320), 255), np.full((90, 320), 128)]).astype(np.uint8)
    picture = VideoFrame.from_ndarray(values, format="yuvj420p")
    assert PictureCutter(FRAGMENTS).cut(picture).pixels[0].max() == 235


@pytest.mark.parametrize(
    "bad",
    [
        {"mode": InputMode.FRAGMENTS, "patch": 31},
        {"mode": InputMode.RESIZE, "size": 8, "colour": "rgb"},
        {"mode": InputMode.FULL, "colour": "yuv"},
        {"mode": InputMode.FRAGMENTS, "colour": "hsv"},
    ],
)
def test_impossible_inputs_are_refused(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r".+"):
        InputSpec(**bad)  # type: ignore[arg-type]


@given(st.integers(8, 90), st.integers(8, 200), st.sampled_from([np.uint8, np.uint16]), st.data())
def test_column_strips_are_the_columns_of_a_padded_plane(
    height: int, width: int, depth: type[np.unsignedinteger], data: st.DataObject
) -> None:
    plane = np.random.default_rng(height).integers(0, 250, (height, width + 24)).astype(depth)[:, :width]
    strips = data.draw(st.lists(st.integers(0, width // STRIP_PX - 1), min_size=1, max_size=5))
    starts = np.array(strips) * STRIP_PX
    expected = np.stack([plane[:, x : x + STRIP_PX] for x in starts])
    np.testing.assert_array_equal(column_strips(plane, starts), expected)


@pytest.mark.parametrize("layout", ["yuv420p", "yuv422p", "yuv444p", "nv12"])
@pytest.mark.parametrize(("width", "height"), [(1366, 768), (350, 202), (640, 352)])
def test_small_luma_is_what_the_scaler_makes_of_the_whole_picture(layout: str, width: int, height: int) -> None:
    picture = VideoFrame(width, height, layout)
    rng = np.random.default_rng(width)
    for one in picture.planes:
        one.update(rng.integers(16, 235, one.buffer_size, np.uint8).tobytes())
    whole = picture.reformat(LUMA_WIDTH, LUMA_HEIGHT, "yuv420p", interpolation="AREA", dst_color_range="MPEG")
    assert np.array_equal(PictureCutter(FRAGMENTS).cut(picture).luma, plane(whole, 0, np.uint8))
