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

import numpy as np
import numpy.typing as npt
from av import VideoFrame
from av.video.reformatter import VideoReformatter

from engines.errors import PictureError

U8 = npt.NDArray[np.uint8]
I64 = npt.NDArray[np.int64]

#: Size of the small luma picture that detectors and the side channel share. 16:9 with 8x8 blocks that tile it.
LUMA_WIDTH, LUMA_HEIGHT = 160, 88
#: Native strips for comb, blockiness and sharpness measures: enough lines to catch motion anywhere, few enough
#: to stay under half a millisecond at 1080p.
COLUMN_STRIPS, ROW_STRIPS, STRIP_PX = 12, 8, 8

#: Pixel formats whose planes are read in place: name -> (bits, log2 chroma width, log2 chroma height).
_PLANAR = {
    "yuv420p": (8, 1, 1),
    "yuvj420p": (8, 1, 1),
    "yuv422p": (8, 1, 0),
    "yuvj422p": (8, 1, 0),
    "yuv444p": (8, 0, 0),
    "yuvj444p": (8, 0, 0),
    "yuv420p10le": (10, 1, 1),
    "yuv422p10le": (10, 1, 0),
    "yuv444p10le": (10, 0, 0),
    "yuv420p12le": (12, 1, 1),
}
_FULL_RANGE = 2  # AVCOL_RANGE_JPEG


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
class Planes:
    """Views on a decoded picture's planes.

    Attributes:
        y: (H, W) uint8 or uint16.
        u: Chroma plane, or None where the picture is grey.
        v: Chroma plane, or None where the picture is grey.
        bits: Bits a sample, 8-12.
        chroma_shift: log2 of the chroma subsampling, (x, y).
        full_range: Luma spans 0-255 rather than 16-235.
    """

    y: npt.NDArray[np.unsignedinteger]
    u: npt.NDArray[np.unsignedinteger] | None
    v: npt.NDArray[np.unsignedinteger] | None
    bits: int
    chroma_shift: tuple[int, int]
    full_range: bool


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


class PictureCutter:
    """Cuts pictures of one stream to a model's input.

    Keeps one scaling context and the index tables of the last picture size, so it belongs to one thread.

    Args:
        spec: The trunk's input.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._luma_scaler = VideoReformatter()
        self._scaler = VideoReformatter()
        self._tables: tuple[tuple[int, int], I64, I64, I64, I64] | None = None

    def cut(self, picture: VideoFrame) -> Cut:
        """Cuts one picture.

        Raises:
            PictureError: The pixel format or size cannot be handled.
        """
        if picture.width < STRIP_PX * 2 or picture.height < STRIP_PX * 2:
            raise PictureError(f"pictures of {picture.width}x{picture.height} are too small to score")
        small = self._luma_scaler.reformat(
            picture, LUMA_WIDTH, LUMA_HEIGHT, "yuv420p", interpolation="AREA", dst_color_range="MPEG"
        )
        native = self.planes(picture)
        _, _, row_starts, column_starts = self._table(native.y.shape[0], native.y.shape[1])
        columns = np.stack([native.y[:, x : x + STRIP_PX] for x in column_starts])
        rows = np.stack([native.y[y : y + STRIP_PX] for y in row_starts])
        return Cut(
            pixels=self.pixels(picture, native),
            luma=np.ascontiguousarray(_plane(small, 0, np.uint8)),
            columns=_to_limited_8bit(columns, native, chroma=False),
            rows=_to_limited_8bit(rows, native, chroma=False),
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
        rgb = self._scaler.reformat(picture, width, height, "rgb24", interpolation="AREA")
        return np.ascontiguousarray(rgb.to_ndarray().transpose(2, 0, 1))

    def planes(self, picture: VideoFrame) -> Planes:
        """Views on the picture's planes; formats that are not planar YUV are converted first (4:2:0, 8 bit)."""
        name = picture.format.name
        full = picture.color_range == _FULL_RANGE or name.startswith("yuvj")
        if name in ("gray", "gray8"):
            return Planes(_plane(picture, 0, np.uint8), None, None, 8, (1, 1), full)
        if name not in _PLANAR:
            picture = self._scaler.reformat(picture, format="yuv420p", dst_color_range="MPEG")
            name, full = "yuv420p", False
        bits, shift_x, shift_y = _PLANAR[name]
        kind = np.uint8 if bits == 8 else np.uint16
        y, u, v = (_plane(picture, i, kind) for i in range(3))
        return Planes(y, u, v, bits, (shift_x, shift_y), full)

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
            )
            return self._fragments(grown, self.planes(grown))
        rows, columns, _, _ = self._table(height, width)
        side = spec.grid * spec.patch
        out = np.empty((3, side, side), np.uint8)
        out[0] = _to_limited_8bit(native.y[rows[:, None], columns], native, chroma=False)
        if native.u is None or native.v is None:
            out[1:] = 128
        else:
            # One chroma sample a 2x2 luma cell whatever the source's layout, so that 4:2:2 and 4:4:4 look alike.
            shift_x, shift_y = native.chroma_shift
            c_rows = np.minimum(rows[::2] >> shift_y, native.u.shape[0] - 1)[:, None]
            c_columns = np.minimum(columns[::2] >> shift_x, native.u.shape[1] - 1)
            for i, plane in enumerate((native.u, native.v), start=1):
                chroma = _to_limited_8bit(plane[c_rows, c_columns], native, chroma=True)
                out[i] = chroma.repeat(2, axis=0).repeat(2, axis=1)
        return out if spec.colour == "yuv" else _yuv_to_rgb(out, bt709=height >= 720)

    def _table(self, height: int, width: int) -> tuple[I64, I64, I64, I64]:
        """Pixel rows and columns of the fragment grid, then starts of the row and column strips."""
        if self._tables is None or self._tables[0] != (height, width):
            spec = self._spec
            if spec.mode is InputMode.FRAGMENTS and min(height, width) >= spec.patch:
                within = np.arange(spec.patch)
                rows = (grid_offsets(height, spec.patch, spec.grid)[:, None] + within).ravel()
                columns = (grid_offsets(width, spec.patch, spec.grid)[:, None] + within).ravel()
            else:
                rows = columns = np.empty(0, np.int64)
            row_starts = _strip_starts(height, ROW_STRIPS)
            column_starts = _strip_starts(width, COLUMN_STRIPS)
            self._tables = ((height, width), rows, columns, row_starts, column_starts)
        return self._tables[1:]


def _strip_starts(length: int, strips: int) -> I64:
    """Starts of strips spread over ``length``, at multiples of the strip so that codec block phases stay known."""
    last = (length - STRIP_PX) // STRIP_PX
    return (np.arange(1, strips * 2, 2) * last // (strips * 2)) * STRIP_PX


def _plane(picture: VideoFrame, index: int, kind: type[np.unsignedinteger]) -> npt.NDArray[np.unsignedinteger]:
    plane = picture.planes[index]
    stride = plane.line_size // np.dtype(kind).itemsize
    flat = np.frombuffer(plane, dtype=kind)  # type: ignore[call-overload]
    view: npt.NDArray[np.unsignedinteger] = flat[: stride * plane.height].reshape(plane.height, stride)
    return view[:, : plane.width]


def _to_limited_8bit(values: npt.NDArray[np.unsignedinteger], native: Planes, *, chroma: bool) -> U8:
    if native.bits > 8:
        values = np.right_shift(values, np.uint16(native.bits - 8))
    if native.full_range:
        # BT.601/709 quantisation: luma 16-235, chroma 16-240.
        scaled = values.astype(np.float32)
        scaled = (scaled - 128) * (224 / 255) + 128.5 if chroma else scaled * (219 / 255) + 16.5
        return scaled.astype(np.uint8)
    return values.astype(np.uint8, copy=False)


def _yuv_to_rgb(yuv: U8, *, bt709: bool) -> U8:
    """Limited-range YUV to full-range RGB, (3, H, W) uint8 both; matrix by the usual rule of the picture height."""
    y, u, v = (
        (yuv[0].astype(np.float32) - 16) * (255 / 219),
        *(yuv[1:].astype(np.float32) - 128) * (255 / 224),
    )
    kr, kb = (0.2126, 0.0722) if bt709 else (0.299, 0.114)
    kg = 1 - kr - kb
    red = y + 2 * (1 - kr) * v
    blue = y + 2 * (1 - kb) * u
    green = y - (2 * kb * (1 - kb) * u + 2 * kr * (1 - kr) * v) / kg
    return (np.stack([red, green, blue]) + 0.5).clip(0, 255).astype(np.uint8)
