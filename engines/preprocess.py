"""From a decoded picture to the model's input: full, resized, or fragments of native pixels.

Nothing is ever padded: padding corrupts the spatial mean and standard deviation that features are made of.

Fragments are a fixed grid of native patches, cut from the Y, U and V planes before any colour conversion, so the
cost does not grow with the resolution and compression, aliasing and interlacing keep their native look. The grid
is the same in every picture (re-drawing it would look like motion to the GRU), corners included, offsets even so
that field parity survives.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from engines.errors import PictureError
from engines.on_device import layout_on_device, on_host
from engines.planes import Coding, Plane, Planes, is_planar, matrix_of, plane, planes, yuv_to_rgb
from engines.transfer import Transfer, transfer_of

if TYPE_CHECKING:
    from engines.device_cutter import DeviceCutter

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Size of the small luma picture that detectors and the side channel share. 16:9 with 8x8 blocks that tile it.
LUMA_WIDTH, LUMA_HEIGHT = 160, 88
#: Native strips for comb, blockiness and sharpness measures: enough lines to catch motion anywhere, few enough
#: to stay under half a millisecond at 1080p.
COLUMN_STRIPS, ROW_STRIPS, STRIP_PX = 12, 8, 8


class InputMode(StrEnum):
    """How a picture becomes the model's input."""

    FULL = "full"  # native size, RGB, as VSFA
    RESIZE = "resize"  # short side scaled to `size`, RGB
    FRAGMENTS = "fragments"  # grid x grid native patches, tiled


@dataclass(frozen=True, slots=True)
class InputSpec:
    """What a bundle's trunk takes.

    Attributes:
        mode: Input mode.
        grid: Patches per side (fragments).
        patch: Side of a patch in pixels, even (fragments).
        size: Short side in pixels (resize).
        colour: ``yuv`` (limited-range Y, U, V as broadcast) or ``rgb`` (full range).
    """

    mode: InputMode
    grid: int = 4
    patch: int = 32
    size: int = 0
    colour: str = "yuv"

    def __post_init__(self) -> None:
        if self.mode is InputMode.FRAGMENTS and (self.grid < 1 or self.patch < 2 or self.patch % 2):
            raise ValueError(f"fragments need grid >= 1 and an even patch >= 2, got {self.grid}, {self.patch}")
        if self.mode is InputMode.RESIZE and self.size < 32:
            raise ValueError(f"resize needs a short side of at least 32 px, got {self.size}")
        if self.colour not in ("yuv", "rgb"):
            raise ValueError(f"colour must be yuv or rgb, got {self.colour}")
        if self.mode is not InputMode.FRAGMENTS and self.colour != "rgb":
            raise ValueError(f"input mode {self.mode} takes rgb")

    @property
    def fixed_shape(self) -> tuple[int, int, int] | None:
        """(C, H, W) of every input, or None where it follows the picture's size."""
        if self.mode is InputMode.FRAGMENTS:
            return (3, self.grid * self.patch, self.grid * self.patch)
        return None


@dataclass(frozen=True, slots=True)
class Cut:
    """Everything later stages take from one picture; copies, so that the picture can be released.

    Attributes:
        pixels: (3, H, W) uint8, the trunk's input.
        luma: (88, 160) uint8, area-averaged luma of the whole picture.
        columns: (12, H, 8) uint8 native luma, full height, strips at multiples of 8 px.
        rows: (8, 8, W) uint8 native luma, full width, strips at multiples of 8 lines.
    """

    pixels: U8
    luma: U8
    columns: U8
    rows: U8


def grid_offsets(length: int, patch: int, grid: int) -> I64:
    """Even offsets of ``grid`` patches over ``length`` pixels, first and last at the borders; they may overlap."""
    if length < patch:
        raise PictureError(f"a side of {length} px is shorter than a patch of {patch} px")
    if grid == 1:
        return np.array([(length - patch) // 4 * 2], dtype=np.int64)
    return (np.arange(grid) * (length - patch) // (grid - 1)) & ~1


@dataclass(frozen=True, slots=True)
class Places:
    """Where a picture of one size is cut.

    Attributes:
        height: Of the picture.
        width: Of the picture.
        rows: First rows of the fragments; none where there are no fragments, or the picture is smaller than one.
        columns: First columns of the fragments, likewise.
        row_starts: First rows of the row strips.
        column_starts: First columns of the column strips.
    """

    height: int
    width: int
    rows: I64
    columns: I64
    row_starts: I64
    column_starts: I64

    @classmethod
    def of(cls, spec: InputSpec, height: int, width: int) -> Places:
        """Of a picture of that many lines and columns."""
        rows = columns = np.empty(0, np.int64)
        if spec.mode is InputMode.FRAGMENTS and min(height, width) >= spec.patch:
            rows = grid_offsets(height, spec.patch, spec.grid)
            columns = grid_offsets(width, spec.patch, spec.grid)
        return cls(height, width, rows, columns, _strip_starts(height, ROW_STRIPS), _strip_starts(width, COLUMN_STRIPS))


class PictureCutter:
    """Cuts pictures of one stream to a model's input.

    Keeps scaling contexts and the places of the last picture size, so it belongs to one thread.

    Pictures that lie on a GPU are cut there where that gives the same: fragments of 4:2:0 with its chroma in one plane,
    which is what NVDEC makes. Others come to the host first.

    Args:
        spec: The trunk's input.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._luma_scaler = VideoReformatter()
        self._scaler = VideoReformatter()
        self._places: Places | None = None
        self._device_cutter: DeviceCutter | None = None

    def cut(self, picture: VideoFrame) -> Cut:
        """Cuts one picture.

        Raises:
            PictureError: The pixel format or size cannot be handled.
        """
        if picture.width < STRIP_PX * 2 or picture.height < STRIP_PX * 2:
            raise PictureError(f"pictures of {picture.width}x{picture.height} are too small to score")
        if layout_on_device(picture) is not None:
            places = self._places_of(picture.height, picture.width)
            if len(places.rows):
                device = self._device()
                if device.takes(picture):
                    return device.cut(picture, places)
            picture = on_host(picture)
        native = self.planes(picture)
        places = self._places_of(*native.y.shape)
        columns = column_strips(native.y, places.column_starts)
        rows = np.stack([native.y[y : y + STRIP_PX] for y in places.row_starts])
        return Cut(
            pixels=self.pixels(picture, native),
            luma=self._small_luma(picture, native),
            columns=native.luma(columns),
            rows=native.luma(rows),
        )

    def pixels(self, picture: VideoFrame, native: Planes | None = None) -> U8:
        """The trunk's input alone, (3, H, W) uint8."""
        spec = self._spec
        if spec.mode is InputMode.FRAGMENTS:
            return self._fragments(picture, native or self.planes(picture))
        width, height = picture.width, picture.height
        if spec.mode is InputMode.RESIZE:
            scale = spec.size / min(width, height)
            width, height = max(spec.size, round(width * scale)), max(spec.size, round(height * scale))
        if transfer_of(int(picture.color_trc)) is not Transfer.SDR:
            scaled = self._limited(picture, width, height, "yuv444p10le")
            at = planes(scaled)
            assert at.u is not None
            assert at.v is not None
            yuv = np.stack([at.luma(at.y), at.chroma(at.u, at.y), at.chroma(at.v, at.y)])
            return yuv_to_rgb(yuv, matrix_of(picture))
        rgb = self._scaler.reformat(picture, width, height, "rgb24", interpolation="AREA", threads=1)
        return np.ascontiguousarray(rgb.to_ndarray().transpose(2, 0, 1))

    def planes(self, picture: VideoFrame) -> Planes:
        """Views on the picture's planes; formats that are not planar YUV are converted first (4:2:0, 8 bit)."""
        if not is_planar(picture):
            picture = self._scaler.reformat(picture, format="yuv420p", dst_color_range="MPEG", threads=1)
        return planes(picture)

    def _limited(self, picture: VideoFrame, width: int, height: int, layout: str) -> VideoFrame:
        """The picture scaled to a limited-range layout; its light is coded as before."""
        scaled = self._luma_scaler.reformat(
            picture, width, height, layout, interpolation="AREA", dst_color_range="MPEG", threads=1
        )
        scaled.color_trc = picture.color_trc
        return scaled

    def _small_luma(self, picture: VideoFrame, native: Planes) -> U8:
        if native.transfer is Transfer.SDR:
            if native.bits == 8 and not native.full_range and is_planar(picture):
                # The same numbers as below for two thirds of the time: chroma is not scaled only to be thrown away.
                grey = VideoFrame.from_numpy_buffer(native.y, format="gray")
                small = self._luma_scaler.reformat(
                    grey, LUMA_WIDTH, LUMA_HEIGHT, "gray", interpolation="AREA", threads=1
                )
                return np.ascontiguousarray(plane(small, 0, np.uint8), dtype=np.uint8)
            small = self._luma_scaler.reformat(
                picture, LUMA_WIDTH, LUMA_HEIGHT, "yuv420p", interpolation="AREA", dst_color_range="MPEG", threads=1
            )
            return np.ascontiguousarray(plane(small, 0, np.uint8), dtype=np.uint8)
        # Eight bits of PQ are too few to be mapped.
        at = planes(self._limited(picture, LUMA_WIDTH, LUMA_HEIGHT, "yuv420p10le"))
        return at.luma(at.y)

    def _fragments(self, picture: VideoFrame, native: Planes) -> U8:
        spec = self._spec
        height, width = native.y.shape
        if height < spec.patch or width < spec.patch:
            # Enlarging repeats pixels and invents none; padding would.
            scale = spec.patch / min(height, width)
            grown = self._scaler.reformat(
                picture,
                -(-int(width * scale) // 2) * 2,
                -(-int(height * scale) // 2) * 2,
                "yuv420p",
                interpolation="POINT",
                dst_color_range="MPEG",
                threads=1,
            )
            return self._fragments(grown, planes(grown))
        places = self._places_of(height, width)
        luma = _patches(native.y, places.rows, places.columns, spec.patch)
        chroma: tuple[Plane, ...] = ()
        if native.u is not None and native.v is not None:
            chroma = self._chroma_patches(native, native.u), self._chroma_patches(native, native.v)
        out = tiled(native, luma, chroma)
        return out if spec.colour == "yuv" else yuv_to_rgb(out, matrix_of(picture))

    def _chroma_patches(self, native: Planes, values: Plane) -> Plane:
        """One chroma sample a 2x2 luma cell whatever the source's layout, so that 4:2:2 and 4:4:4 look alike."""
        places = self._places_of(*native.y.shape)
        rows, columns = places.rows, places.columns
        shift_x, shift_y = native.chroma_shift
        if max(shift_x, shift_y) <= 1:
            cells = values[:: 2 >> shift_y, :: 2 >> shift_x]
            return _patches(cells, rows // 2, columns // 2, self._spec.patch // 2)
        # 4:1:1 and its like have fewer.
        within = np.arange(0, self._spec.patch, 2)
        at_rows = np.minimum((rows[:, None] + within).ravel() >> shift_y, values.shape[0] - 1)
        at_columns = np.minimum((columns[:, None] + within).ravel() >> shift_x, values.shape[1] - 1)
        found: Plane = values[at_rows[:, None], at_columns]
        return found

    def _places_of(self, height: int, width: int) -> Places:
        if self._places is None or (self._places.height, self._places.width) != (height, width):
            self._places = Places.of(self._spec, height, width)
        return self._places

    def _device(self) -> DeviceCutter:
        if self._device_cutter is None:
            # Only where pictures stay on a GPU: it needs torch.
            from engines.device_cutter import DeviceCutter

            self._device_cutter = DeviceCutter(self._spec)
        return self._device_cutter


def tiled(coding: Coding, luma: Plane, chroma: tuple[Plane, ...]) -> U8:
    """Fragments as Y, U, V.

    Args:
        coding: Of the values.
        luma: (S, S) patches side by side, as they stand in the picture.
        chroma: Of U and V, (S / 2, S / 2) one value for each 2x2 of luma; none of a grey picture.

    Returns:
        (3, S, S) 8-bit limited range.
    """
    out = np.empty((3, *luma.shape), np.uint8)
    out[0] = coding.luma(luma)
    out[1:] = 128
    for i, values in enumerate(chroma, start=1):
        # Each value twice in a line, as one word, and each line twice.
        pairs = out[i].view(np.uint16)
        pairs[::2] = pairs[1::2] = coding.chroma(values, luma[::2, ::2]) * np.uint16(0x0101)
    return out


def _patches(values: Plane, rows: I64, columns: I64, side: int) -> Plane:
    """Square patches that begin in these rows and columns, tiled.

    Slices: to gather their pixels one by one takes three times as long.
    """
    out = np.empty((len(rows) * side, len(columns) * side), values.dtype)
    for i, row in enumerate(rows.tolist()):
        band = values[row : row + side]
        for j, column in enumerate(columns.tolist()):
            out[i * side : (i + 1) * side, j * side : (j + 1) * side] = band[:, column : column + side]
    return out


def column_strips(luma: Plane, starts: I64) -> Plane:
    """Strips of 8 px, the whole height.

    A row of a strip is gathered as one word: pixel by pixel, in lines of eight, it takes five times as long.

    Args:
        luma: (H, W) of one or two bytes a pixel, rows contiguous.
        starts: (n,) first columns, multiples of 8 of which whole strips lie within.

    Returns:
        (n, H, 8), contiguous.
    """
    whole = luma.shape[1] // STRIP_PX * STRIP_PX
    word = np.dtype(np.uint64) if luma.itemsize == 1 else np.dtype((np.void, STRIP_PX * luma.itemsize))
    strips = np.ascontiguousarray(luma[:, :whole].view(word).T[starts // STRIP_PX])
    found: Plane = strips.view(luma.dtype).reshape(len(starts), len(luma), STRIP_PX)
    return found


def _strip_starts(length: int, strips: int) -> I64:
    """Starts of strips spread over ``length``, at multiples of the strip so that codec block phases stay known."""
    last = (length - STRIP_PX) // STRIP_PX
    return (np.arange(1, strips * 2, 2) * last // (strips * 2)) * STRIP_PX
