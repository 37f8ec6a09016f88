"""Figures of one picture's native strips: combs, block edges, sharpness, and traces of resampling.

Strips are full-height columns and full-width rows of native pixels, so that pixel-exact patterns (a comb's lines, an
encoder's 8x8 grid, a scaler's period) survive; everything else about the picture is read from its small luma.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from monitor.types import U8

I16 = npt.NDArray[np.int16]
F64 = npt.NDArray[np.float64]

_BLOCK = 8
_FLOOR = 0.05  # grey levels: keeps logarithms finite and quiet on flat pictures
#: Comb teeth: a line that differs from both neighbours by this much in the same direction...
_COMB_STEP = 12
#: ...while the neighbours agree to this much.
_COMB_SAME = 10
#: Widths of the local averages that take the picture itself out of a profile of curvature: its level, its strength.
_LEVEL_WIDTH, _STRENGTH_WIDTH = 17, 33
#: Cycles a pixel. Below it a picture's own structure rules.
_LOWEST = 0.1
#: About multiples of 1/8, where encoders' block edges lie.
_BLOCK_BAND = 0.005
#: Grey levels within a block that counts as flat.
_FLAT = 2
#: Shortest profile in which a period can be told.
_SHORTEST = 64


class StripFigures(NamedTuple):
    """What the side channel takes of a picture's native strips.

    Attributes:
        comb_ratio: Log-ratio of adjacent-line to every-second-line differences; 0.7 for woven fields.
        comb_share: Share of pixels that are comb teeth, in [0, 1].
        blockiness_vertical: Log-ratio of the strongest of 8 column phases of horizontal differences to their median.
        blockiness_horizontal: The same down the lines.
        laplacian: Mean |second difference| along rows, grey levels.
        laplacian_median: Median over row strips of it.
        ratios: Seven log-ratios that hardly depend on how much texture there is. Along rows: second to first
            differences, then differences over 1 to those over 2 pixels, and over 2 to those over 4; down columns the
            first two of these. A blur lowers them, noise and hard edges raise them. Then how far the strongest period
            of the curvature profile stands out of its spectrum, across and down: interpolated samples are smoother
            than kept ones, at the period of the scaler. Source: Gallagher, "Detection of linear and cubic
            interpolation in JPEG compressed images", 2005.
    """

    comb_ratio: float
    comb_share: float
    blockiness_vertical: float
    blockiness_horizontal: float
    laplacian: float
    laplacian_median: float
    ratios: tuple[float, float, float, float, float, float, float]


def measure_strips(columns: U8, rows: U8) -> StripFigures:
    """Figures of one picture.

    Args:
        columns: (n, H, 8) uint8 native column strips.
        rows: (n, 8, W) uint8 native row strips.
    """
    across = _differences(rows.astype(np.int16))
    # Lines along the last axis: numpy's sums over short last axes are slow.
    down = _differences(columns.astype(np.int16).transpose(0, 2, 1).copy())
    comb_ratio, comb_share = _combs(down)
    curvature = across.curvature.of_strips()
    return StripFigures(
        comb_ratio,
        comb_share,
        _phase_excess(across.first.profile()),
        _phase_excess(down.first.profile()),
        across.curvature.mean,
        _median(curvature),
        (
            _log_ratio(across.curvature.mean, across.first.mean),
            _log_ratio(across.first.mean, across.second.mean),
            _log_ratio(across.second.mean, across.fourth.mean),
            _log_ratio(down.curvature.mean, down.first.mean),
            _log_ratio(down.first.mean, down.second.mean),
            _period_excess(across.curvature.profile()),
            _period_excess(down.curvature.profile()),
        ),
    )


def flat_share(rows: U8) -> float:
    """Share of 8x8 blocks whose pixels differ by at most 2, 0-1.

    A camera's picture has noise and texture nearly everywhere, drawn ones have none over most of their area; encoders
    take the faintest of it away, hence 2.

    Args:
        rows: (n, 8, W) uint8 native row strips.
    """
    width = rows.shape[2] // _BLOCK * _BLOCK
    if not width:
        return 0.0
    high, low = rows[:, :, :width].max(axis=1), rows[:, :, :width].min(axis=1)
    # A block's columns one below the other: along short last axes numpy is slow.
    highest = np.ascontiguousarray(high.reshape(-1, _BLOCK).T).max(axis=0)
    spread = highest - np.ascontiguousarray(low.reshape(-1, _BLOCK).T).min(axis=0)
    return float(np.count_nonzero(spread <= _FLAT) / spread.size)


class _Sizes:
    """Sizes of differences, summed over the 8 lines of each strip: (n, L - distance) int16.

    Eight second differences of 8-bit pixels are at most 8160: their sum needs no wider type, which would be slower.
    """

    def __init__(self, sizes: I16, valid: int) -> None:
        self._sums = np.add.reduce(sizes[:, :, :valid], axis=1, dtype=np.int16)
        self._lines = sizes.shape[1]
        self.mean = float(np.add.reduce(self._sums, axis=None, dtype=np.int64)) / (self._lines * self._sums.size)

    def profile(self) -> F64:
        """(L - distance,) means over strips and lines."""
        means: F64 = np.add.reduce(self._sums, axis=0, dtype=np.int32) / (self._lines * self._sums.shape[0])
        return means

    def of_strips(self) -> F64:
        """(n,) means."""
        means: F64 = np.add.reduce(self._sums, axis=1, dtype=np.int64) / (self._lines * self._sums.shape[1])
        return means


class _Differences(NamedTuple):
    """Of lines of pixels, grey levels.

    Attributes:
        signed: (n, 8, L) int16 differences of neighbours, each line's last one meaningless.
        over_two: (n, 8, L) int16 |differences| over two pixels, each line's last two meaningless.
        first: Sizes of ``signed``.
        second: Sizes of ``over_two``.
        fourth: Sizes of differences over four pixels.
        curvature: Sizes of second differences.
    """

    signed: I16
    over_two: I16
    first: _Sizes
    second: _Sizes
    fourth: _Sizes
    curvature: _Sizes


def _differences(lines: I16) -> _Differences:
    """Of (n, 8, L) int16 lines, contiguous."""
    length = lines.shape[2]
    signed, over_two = _minus_later(lines, 1), _size_in_place(_minus_later(lines, 2))
    return _Differences(
        signed,
        over_two,
        _Sizes(np.abs(signed), length - 1),
        _Sizes(over_two, length - 2),
        _Sizes(_size_in_place(_minus_later(lines, 4)), length - 4),
        _Sizes(_size_in_place(_minus_later(signed, 1)), length - 2),
    )


def _minus_later(lines: I16, distance: int) -> I16:
    """Each pixel less from the one ``distance`` later; the last of a line, which have none in it, are meaningless.

    Over the whole buffer at once: line by line it takes three times as long.
    """
    flat = lines.reshape(-1)
    out = np.empty_like(flat)
    np.subtract(flat[distance:], flat[:-distance], out=out[:-distance])
    out[-distance:] = 0
    return out.reshape(lines.shape)


def _size_in_place(differences: I16) -> I16:
    return np.abs(differences, out=differences)


def _log_ratio(above: float, below: float) -> float:
    return float(np.log((above + _FLOOR) / (below + _FLOOR)))


def _combs(down: _Differences) -> tuple[float, float]:
    """Comb log-ratio (adjacent against every-second-line differences) and the share of comb pixels."""
    ratio = np.log((down.first.mean + 0.25) / (down.second.mean + 0.25))
    signed, over_two = down.signed.reshape(-1), down.over_two.reshape(-1)
    above, below = signed[:-1], -signed[1:]
    one_sided = (np.minimum(above, below) > _COMB_STEP) | (np.maximum(above, below) < -_COMB_STEP)
    strips, lines, length = down.signed.shape
    teeth = np.zeros(down.signed.shape, np.bool_)
    np.logical_and(one_sided, over_two[:-1] < _COMB_SAME, out=teeth.reshape(-1)[:-1])
    teeth[:, :, length - 2 :] = False
    return float(ratio), float(np.count_nonzero(teeth) / (strips * lines * (length - 2)))


def _median(values: F64) -> float:
    """As ``np.median``, which takes a multiple of the time on few values."""
    middle = len(values) // 2
    if len(values) % 2:
        return float(np.partition(values, middle)[middle])
    ordered = np.partition(values, (middle - 1, middle))
    return float(ordered[middle - 1] + ordered[middle]) / 2


def _phase_excess(profile: F64) -> float:
    """How much the strongest of eight phases of a difference profile stands out, as a log-ratio to their median."""
    length = profile.shape[0] // _BLOCK * _BLOCK
    phases = profile[:length].reshape(-1, _BLOCK).mean(axis=0)
    return float(np.log((phases.max() + _FLOOR) / (_median(phases) + _FLOOR)))


def _period_excess(profile: F64) -> float:
    """Log-ratio of the strongest line to the median of a curvature profile's spectrum, block edges left out."""
    length = len(profile) // _SHORTEST * _SHORTEST  # a length that transforms fast
    if not length:
        return 0.0
    profile = profile[:length]
    taper, shown, level, strength = _period_tables(length)
    changes = profile - level.mean_of(profile)
    changes /= strength.mean_of(np.abs(changes)) + _FLOOR
    spectrum = np.abs(np.fft.rfft(changes * taper)[shown])
    return float(np.log((spectrum.max() + _FLOOR) / (_median(spectrum) + _FLOOR)))


class _Window(NamedTuple):
    """A local mean over an odd number of values; its window shrinks to what there is at the ends."""

    width: int
    counts: F64

    @classmethod
    def of(cls, width: int, length: int) -> _Window:
        """Of odd ``width``, over ``length`` values, at least as many."""
        at = np.arange(length)
        return cls(width, np.minimum(at + width // 2 + 1, length) - np.maximum(at - width // 2, 0.0))

    def mean_of(self, values: F64) -> F64:
        half, length = self.width // 2, len(values)
        sums = np.empty(length + 1)
        sums[0] = 0.0
        np.cumsum(values, out=sums[1:])
        means = np.empty(length)
        means[:half] = sums[half + 1 : self.width]
        np.subtract(sums[self.width :], sums[: -self.width], out=means[half : length - half])
        np.subtract(sums[-1], sums[length - 2 * half : length - half], out=means[length - half :])
        means /= self.counts
        return means


@lru_cache(maxsize=64)
def _period_tables(length: int) -> tuple[F64, npt.NDArray[np.int64], _Window, _Window]:
    """Taper, lines of the spectrum that are looked at, and both windows; two lengths a raster."""
    cycles = np.fft.rfftfreq(length)
    to_block = np.abs(cycles * _BLOCK - np.round(cycles * _BLOCK)) / _BLOCK
    shown = np.flatnonzero((cycles > _LOWEST) & (to_block > _BLOCK_BAND))
    return np.hanning(length), shown, _Window.of(_LEVEL_WIDTH, length), _Window.of(_STRENGTH_WIDTH, length)
