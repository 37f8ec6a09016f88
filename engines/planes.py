"""Views on the planes of a decoded picture, whatever its layout, and their values as 8-bit limited-range Y, U, V."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from av import VideoFrame

from engines.transfer import Transfer, chroma_gain, luma_table, transfer_of

U8 = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.unsignedinteger]

_FULL_RANGE = 2  # AVCOL_RANGE_JPEG
#: log2 of the chroma subsampling, (x, y).
_SHIFTS = {"410": (2, 2), "411": (2, 0), "420": (1, 1), "422": (1, 0), "440": (0, 1), "444": (0, 0)}


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a pixel format lies in memory: bits a sample, its lowest bit, chroma shift, chroma in one plane."""

    bits: int
    low: int = 0
    shift: tuple[int, int] | None = None
    interleaved: bool = False


def _layouts() -> dict[str, _Layout]:
    found = {"gray": _Layout(8), "gray8": _Layout(8), "nv12": _Layout(8, 0, (1, 1), True)}
    found |= {"nv16": _Layout(8, 0, (1, 0), True), "nv24": _Layout(8, 0, (0, 0), True)}
    for kind, shift in _SHIFTS.items():
        found[f"yuv{kind}p"] = found[f"yuvj{kind}p"] = found[f"yuva{kind}p"] = _Layout(8, 0, shift)
        for bits in (9, 10, 12, 14, 16):
            found[f"gray{bits}le"] = _Layout(bits)
            found[f"yuv{kind}p{bits}le"] = found[f"yuva{kind}p{bits}le"] = _Layout(bits, 0, shift)
    for kind, shift in {"0": (1, 1), "2": (1, 0), "4": (0, 0)}.items():
        for bits in (10, 12):
            found[f"p{kind}{bits}le"] = _Layout(bits, 16 - bits, shift, True)
        found[f"p{kind}16le"] = _Layout(16, 0, shift, True)
    return found


#: Pixel formats whose planes are read in place.
_LAYOUTS = _layouts()


class Matrix(StrEnum):
    """What luma and colour differences are made of."""

    BT601 = "bt601"
    BT709 = "bt709"
    BT2020 = "bt2020"

    @property
    def weights(self) -> tuple[float, float]:
        """Shares of red and blue in luma."""
        return {"bt601": (0.299, 0.114), "bt709": (0.2126, 0.0722), "bt2020": (0.2627, 0.0593)}[self.value]


#: FFmpeg's colour spaces (numbers of ITU-T H.273).
_MATRICES = {
    1: Matrix.BT709,
    4: Matrix.BT601,
    5: Matrix.BT601,
    6: Matrix.BT601,
    9: Matrix.BT2020,
    10: Matrix.BT2020,
}


def told_matrix(picture: VideoFrame) -> Matrix | None:
    """The matrix that the picture names; None where it names none, or one that is not among ours."""
    return _MATRICES.get(int(picture.colorspace))


def matrix_of(picture: VideoFrame) -> Matrix:
    """The matrix that the picture names, or else the usual one of its height."""
    return told_matrix(picture) or (Matrix.BT709 if picture.height >= 720 else Matrix.BT601)


def is_full_range(picture: VideoFrame) -> bool:
    """Whether luma spans all code values, rather than 16-235 of 8 bits."""
    return picture.color_range == _FULL_RANGE or picture.format.name.startswith("yuvj")


def is_planar(picture: VideoFrame) -> bool:
    """Whether ``planes`` can read it in place."""
    return picture.format.name in _LAYOUTS


@dataclass(frozen=True, slots=True)
class Coding:
    """What the numbers in a picture's planes mean.

    Attributes:
        bits: Bits a sample, 8-16.
        chroma_shift: log2 of the chroma subsampling, (x, y).
        full_range: Luma spans 0-255 rather than 16-235.
        low: Bits below a sample in its word, zero (P010 and its kin).
        transfer: How light is coded.
    """

    bits: int
    chroma_shift: tuple[int, int]
    full_range: bool
    low: int
    transfer: Transfer

    def luma(self, values: Plane) -> U8:
        """8-bit limited-range SDR luma of values taken from Y."""
        values = self._samples(values)
        if self.transfer is Transfer.SDR:
            return _to_limited_8bit(values, self.bits, self.full_range, chroma=False)
        mapped: U8 = luma_table(self.transfer, self.bits, self.full_range)[values]
        return mapped

    def chroma(self, values: Plane, luma: Plane) -> U8:
        """8-bit limited-range SDR chroma of values taken from U or V, with those of Y beside them."""
        limited = _to_limited_8bit(self._samples(values), self.bits, self.full_range, chroma=True)
        if self.transfer is Transfer.SDR:
            return limited
        gain = chroma_gain(self.transfer, self.bits, self.full_range)[self._samples(luma)]
        scaled = (limited.astype(np.float32) - 128) * gain + 128.5
        return scaled.clip(16, 240).astype(np.uint8)

    def _samples(self, values: Plane) -> Plane:
        return np.right_shift(values, np.uint16(self.low)) if self.low else values


@dataclass(frozen=True, slots=True)
class Planes(Coding):
    """Views on a decoded picture's planes.

    Attributes:
        y: (H, W) uint8 or uint16.
        u: Chroma plane, or None where the picture is grey.
        v: Chroma plane, or None where the picture is grey.
    """

    y: Plane
    u: Plane | None
    v: Plane | None


def coding_of(picture: VideoFrame, layout: str) -> Coding:
    """What the numbers of a picture of this layout mean.

    Raises:
        KeyError: The layout is not planar YUV.
    """
    known = _LAYOUTS[layout]
    return Coding(
        known.bits, known.shift or (1, 1), is_full_range(picture), known.low, transfer_of(int(picture.color_trc))
    )


def planes(picture: VideoFrame) -> Planes:
    """Views on the planes of a picture for which ``is_planar`` holds.

    Raises:
        KeyError: Its layout is none of those.
    """
    layout = _LAYOUTS[picture.format.name]
    kind = np.uint8 if layout.bits == 8 else np.uint16
    y, u, v = plane(picture, 0, kind), None, None
    if layout.interleaved and layout.shift is not None:
        both = plane(picture, 1, kind, 2 * -(-picture.width >> layout.shift[0]))
        u, v = both[:, ::2], both[:, 1::2]
    elif layout.shift is not None:
        u, v = plane(picture, 1, kind), plane(picture, 2, kind)
    at = coding_of(picture, picture.format.name)
    return Planes(at.bits, at.chroma_shift, at.full_range, at.low, at.transfer, y, u, v)


def plane(picture: VideoFrame, index: int, kind: type[np.unsignedinteger], width: int | None = None) -> Plane:
    """(H, W) view on one plane; ``width`` in values where it is not the plane's own."""
    raw = picture.planes[index]
    stride = raw.line_size // np.dtype(kind).itemsize
    flat = np.frombuffer(raw, dtype=kind)  # type: ignore[call-overload]
    view: Plane = flat[: stride * raw.height].reshape(raw.height, stride)
    return view[:, : raw.width if width is None else width]


def _to_limited_8bit(values: Plane, bits: int, full_range: bool, *, chroma: bool) -> U8:
    if bits > 8:
        values = np.right_shift(values, np.uint16(bits - 8))
    if full_range:
        # BT.601/709 quantisation: luma 16-235, chroma 16-240.
        scaled = values.astype(np.float32)
        scaled = (scaled - 128) * (224 / 255) + 128.5 if chroma else scaled * (219 / 255) + 16.5
        return scaled.astype(np.uint8)
    return values.astype(np.uint8, copy=False)


def yuv_to_rgb(yuv: U8, matrix: Matrix) -> U8:
    """Limited-range YUV to full-range RGB, (3, H, W) uint8 both."""
    y, u, v = (
        (yuv[0].astype(np.float32) - 16) * (255 / 219),
        *(yuv[1:].astype(np.float32) - 128) * (255 / 224),
    )
    kr, kb = matrix.weights
    kg = 1 - kr - kb
    red = y + 2 * (1 - kr) * v
    blue = y + 2 * (1 - kb) * u
    green = y - (2 * kb * (1 - kb) * u + 2 * kr * (1 - kr) * v) / kg
    return (np.stack([red, green, blue]) + 0.5).clip(0, 255).astype(np.uint8)
