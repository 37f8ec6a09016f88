"""Cuts pictures where NVDEC left them: in the GPU's memory, of which a twelfth then comes to the host.

All that is taken of a picture is gathered by one table of positions a plane and comes in one copy; what its numbers
mean is worked out on the host by what other pictures go through. Works on any device of torch's, the CPU among them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from av import VideoFrame
from av.video.plane import VideoPlane
from torch import Tensor

from engines.errors import PictureError
from engines.on_device import layout_of
from engines.planes import Plane, coding_of, matrix_of, yuv_to_rgb
from engines.preprocess import LUMA_HEIGHT, LUMA_WIDTH, STRIP_PX, Cut, InputSpec, Places, tiled
from engines.transfer import Transfer

U8 = npt.NDArray[np.uint8]
F32 = npt.NDArray[np.float32]
I64 = npt.NDArray[np.int64]

#: Layouts of 4:2:0 whose chroma lies in one plane: all that NVDEC makes of it.
_LAYOUTS = ("nv12", "p010le", "p016le")


class _Tables(NamedTuple):
    """For pictures of one size in planes of one pitch, on their device.

    Attributes:
        luma: (N,) int64 positions in Y: of column strips, row strips, fragments.
        chroma: (M,) int64 positions in the plane of U and V: of all U, then of all V.
        down: (88, H) float32 shares of the lines in each line of the small luma.
        across: (W, 160) float32 shares of the columns.
    """

    luma: Tensor
    chroma: Tensor
    down: Tensor
    across: Tensor


class DeviceCutter:
    """Cuts pictures of one stream into fragments, on their device. Belongs to one thread.

    Fragments and strips are those that `engines.preprocess.PictureCutter` cuts, to the bit; the small luma differs from
    the scaler's by its rounding.

    Args:
        spec: The trunk's input, of fragments.
    """

    def __init__(self, spec: InputSpec) -> None:
        self._spec = spec
        self._key: object = None
        self._tables: _Tables | None = None

    @staticmethod
    def takes(picture: VideoFrame) -> bool:
        """Whether such a picture can be cut on its device."""
        return layout_of(picture) in _LAYOUTS

    def cut(self, picture: VideoFrame, places: Places) -> Cut:
        """Cuts one picture, which ``takes`` takes and is larger than a patch.

        Raises:
            PictureError: The device failed.
        """
        try:
            return self._cut(picture, places)
        except RuntimeError as error:
            raise PictureError(f"the GPU failed on a picture: {str(error).splitlines()[0]}") from error

    def _cut(self, picture: VideoFrame, places: Places) -> Cut:
        coding = coding_of(picture, layout_of(picture))
        y, uv = _tensor(picture.planes[0]), _tensor(picture.planes[1])
        tables = self._tables_for(places, y, uv)
        sdr = coding.transfer is Transfer.SDR
        # Light that is not the screen's is mapped from all its bits, as it is on the host.
        small = replace(coding, bits=8 if sdr else coding.bits, low=0)
        mean = tables.down @ _counted(y) @ tables.across
        mean = (mean / (1 << coding.low + coding.bits - small.bits) + 0.5).to(y.dtype)
        taken = _on_host(
            _flat(y).index_select(0, tables.luma), _flat(uv).index_select(0, tables.chroma), mean.reshape(-1)
        )
        height, width = places.height, places.width
        side = self._spec.grid * self._spec.patch
        columns = taken.next(len(places.column_starts), height, STRIP_PX)
        rows = taken.next(len(places.row_starts), STRIP_PX, width)
        luma = taken.next(side, side)
        chroma = taken.next(side // 2, side // 2), taken.next(side // 2, side // 2)
        pixels = tiled(coding, luma, chroma)
        return Cut(
            pixels if self._spec.colour == "yuv" else yuv_to_rgb(pixels, matrix_of(picture)),
            small.luma(taken.next(LUMA_HEIGHT, LUMA_WIDTH)),
            coding.luma(columns),
            coding.luma(rows),
        )

    def _tables_for(self, places: Places, y: Tensor, uv: Tensor) -> _Tables:
        key = places.height, places.width, y.stride(0), uv.stride(0), y.device
        if self._tables is None or self._key != key:
            self._key, self._tables = key, self._tables_of(places, y, uv)
        return self._tables

    def _tables_of(self, places: Places, y: Tensor, uv: Tensor) -> _Tables:
        patch, within = self._spec.patch, np.arange(STRIP_PX)
        lines, all_columns = np.arange(places.height), np.arange(places.width)
        rows = (places.rows[:, None] + np.arange(patch)).ravel()
        columns = (places.columns[:, None] + np.arange(patch)).ravel()
        pitch = y.stride(0)
        of_y = (
            (lines[None, :, None] * pitch + (places.column_starts[:, None] + within)[:, None, :]),
            ((places.row_starts[:, None] + within)[:, :, None] * pitch + all_columns),
            rows[:, None] * pitch + columns,
        )
        of_u = rows[::2, None] // 2 * uv.stride(0) + columns[::2] // 2 * 2
        down, across = area_shares(places.height, LUMA_HEIGHT), area_shares(places.width, LUMA_WIDTH)
        return _Tables(
            _joined(of_y).to(y.device),
            _joined((of_u, of_u + 1)).to(y.device),
            torch.from_numpy(down).to(y.device),
            torch.from_numpy(np.ascontiguousarray(across.T)).to(y.device),
        )


def column_strips_on_device(picture: VideoFrame, starts: I64) -> U8:
    """Column strips of a picture's luma, as `engines.preprocess.column_strips` cuts them.

    Args:
        picture: Of a layout that `DeviceCutter.takes`.
        starts: (n,) first columns.

    Returns:
        (n, H, 8) 8-bit limited range.
    """
    y = _tensor(picture.planes[0])
    columns = torch.from_numpy((starts[:, None] + np.arange(STRIP_PX)).ravel())
    taken = _on_host(y.index_select(1, columns.to(y.device)).reshape(-1))
    strips = taken.next(y.shape[0], len(starts), STRIP_PX).transpose(1, 0, 2)
    return coding_of(picture, layout_of(picture)).luma(np.ascontiguousarray(strips))


def area_shares(length: int, parts: int) -> F32:
    """Means of equal parts of a line, a value at a part's border shared by the length on each side.

    Returns:
        (parts, length) float32, each row's sum 1.
    """
    edges = np.arange(parts + 1) * length / parts
    at = np.arange(length)
    covered = np.minimum(at + 1, edges[1:, None]) - np.maximum(at, edges[:-1, None])
    return (covered.clip(0, None) * parts / length).astype(np.float32)


class _Taken:
    """Numbers on the host, taken one shape after the other."""

    def __init__(self, numbers: Plane) -> None:
        self._numbers, self._at = numbers, 0

    def next(self, *shape: int) -> Plane:
        begin, self._at = self._at, self._at + int(np.prod(shape))
        return self._numbers[begin : self._at].reshape(shape)


def _on_host(*parts: Tensor) -> _Taken:
    # One copy, which also waits until the device has read the picture: the decoder may have it back.
    numbers: npt.NDArray[Any] = torch.cat(parts).cpu().numpy()
    return _Taken(numbers.view(f"u{numbers.itemsize}"))


def _tensor(plane: VideoPlane) -> Tensor:
    """A plane where it lies, uint8, or int16 for what is uint16: torch does little with that.

    The capsule and not the plane: PyAV takes no stream to wait for. FFmpeg decodes in the stream that torch works in
    when nobody chose another, so that one follows the other.
    """
    tensor: Tensor = torch.utils.dlpack.from_dlpack(plane.__dlpack__())
    return tensor if tensor.dtype == torch.uint8 else tensor.view(torch.int16)


def _counted(plane: Tensor) -> Tensor:
    """Its values as float32."""
    return (plane if plane.dtype == torch.uint8 else plane.to(torch.int32) & 0xFFFF).to(torch.float32)


def _flat(plane: Tensor) -> Tensor:
    """All of a plane's memory from its first value to its last, what lies between its lines, too."""
    last = sum((size - 1) * stride for size, stride in zip(plane.shape, plane.stride(), strict=True))
    return plane.as_strided((last + 1,), (1,))


def _joined(positions: tuple[I64, ...]) -> Tensor:
    return torch.from_numpy(np.concatenate([part.ravel() for part in positions]))
