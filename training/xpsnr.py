"""XPSNR: a full-reference value in dB that counts an error the less, the busier and livelier the place it stands in.

FFmpeg's filter computes it, picture by picture, in bounded memory. Source: Helmrich et al., "XPSNR: a low-complexity
extension of the perceptually weighted peak signal-to-noise ratio for high-resolution video quality assessment"
(ICASSP 2020).
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

import av
import numpy as np
import numpy.typing as npt
from av.filter import Graph, filters_available
from av.filter.context import FilterContext

from training.errors import TrainingError
from training.pictures import Picture, to_frame

F64 = npt.NDArray[np.float64]

FILTER = "xpsnr"
#: What a clip that equals its reference counts as.
CAP_DB = 60.0


class PlanesDb(NamedTuple):
    """XPSNR of each picture: y, u and v, each (n,) float64, dB; inf where a plane is identical to its reference."""

    y: F64
    u: F64
    v: F64


class XpsnrMeter:
    """Compares a clip with its reference while both go by; one meter a clip.

    Args:
        fps: Pictures a second; from 32 on the filter takes motion by second differences.

    Raises:
        TrainingError: This build of FFmpeg has no such filter.
    """

    def __init__(self, fps: float) -> None:
        if FILTER not in filters_available:
            raise TrainingError(
                "XPSNR needs FFmpeg's filter xpsnr (FFmpeg 7.1 or newer), which this build of PyAV lacks"
            )
        self._fps = Fraction(fps).limit_denominator(1001)
        self._ahead: list[tuple[Picture, Picture]] = []
        self._filter: _Filter | None = None
        self._shape: tuple[int, ...] = ()
        self._values: list[tuple[float, float, float]] = []

    def push(self, reference: Picture, distorted: Picture) -> None:
        """Takes the next picture of both.

        Raises:
            ValueError: It is of another size than the one it is compared with, or than those before.
        """
        self._shape = self._shape or reference.y.shape
        if reference.y.shape != self._shape or distorted.y.shape != self._shape:
            found = f"{reference.y.shape} and {distorted.y.shape}"
            raise ValueError(f"pictures of one size are needed, {self._shape}, got {found}")
        if self._filter is not None:
            self._values.append(self._filter.values(reference, distorted))
            return
        self._ahead.append((reference, distorted))
        if len(self._ahead) > 2:
            self._begin()

    def values(self) -> PlanesDb:
        """Of all pictures so far; after it no more pictures can be pushed onto a clip shorter than three."""
        if self._filter is None and self._ahead:
            self._begin()
        return PlanesDb(*np.array(self._values, dtype=np.float64).reshape(-1, 3).T)

    def _begin(self) -> None:
        """A filter's past is black, and a flash hides errors: the first picture is preceded by the next two."""
        self._filter = _Filter(self._shape[1], self._shape[0], self._fps)
        for reference, _ in reversed(self._ahead[1:] or self._ahead):
            self._filter.values(reference, reference)
        self._values = [self._filter.values(*pair) for pair in self._ahead]
        self._ahead = []


def xpsnr_db(reference: Iterable[Picture], distorted: Iterable[Picture], fps: float) -> PlanesDb:
    """XPSNR of every picture of a clip against the same picture of its reference.

    Args:
        reference: The clean clip.
        distorted: The same clip, impaired; as many pictures of one size.
        fps: Pictures a second.

    Returns:
        Values of each plane. The weights that luma gives rule chroma too.

    Raises:
        ValueError: The clips differ in length or size.
        TrainingError: This build of FFmpeg has no such filter.
    """
    meter = XpsnrMeter(fps)
    for pair in zip(reference, distorted, strict=True):
        meter.push(*pair)
    return meter.values()


def clip_db(values: F64, cap: float) -> float:
    """One value of a clip: the filter's own mean, over pictures, of the root of the weighted squared error.

    Args:
        values: (n,) dB of its pictures.
        cap: Most that is returned, and what identical clips get.

    Returns:
        dB; nan for no pictures.
    """
    if not len(values):
        return math.nan
    root = float(np.mean(10 ** (-np.asarray(values, dtype=np.float64) / 20)))
    return min(cap, -20 * math.log10(root)) if root > 0 else cap


class _Filter:
    """A graph of FFmpeg's filter alone, for pictures of one size."""

    def __init__(self, width: int, height: int, fps: Fraction) -> None:
        graph = Graph()
        looks = f"video_size={width}x{height}:pix_fmt=yuv420p:time_base=1/1:frame_rate={fps}"
        # It weighs by its first input, which is hence the clean clip, whatever the names of the inputs say.
        self._inputs: tuple[FilterContext, FilterContext] = (graph.add("buffer", looks), graph.add("buffer", looks))
        self._out = graph.add("buffersink")
        compare = graph.add(FILTER)
        for pad, source in enumerate(self._inputs):
            source.link_to(compare, 0, pad)
        compare.link_to(self._out)
        graph.configure()
        self._graph = graph
        self._taken = 0

    def values(self, reference: Picture, distorted: Picture) -> tuple[float, float, float]:
        """Luma and chroma dB of one picture; it becomes the past of the next."""
        for source, picture in zip(self._inputs, (reference, distorted), strict=True):
            frame = to_frame(picture)
            frame.pts, frame.time_base = self._taken, Fraction(1)
            source.push(frame)
        self._taken += 1
        compared = self._out.pull()
        assert isinstance(compared, av.VideoFrame)
        y, u, v = (float(compared.metadata[f"lavfi.xpsnr.xpsnr.{plane}"]) for plane in "yuv")
        return y, u, v
