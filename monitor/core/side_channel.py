"""The side channel: about twenty numbers a sample that tell what the trunk cannot see or sees too rarely.

It works at the full analysed rate on a small luma picture (motion, stillness, luma and contrast steps, cadence) and
on native strips (`monitor.core.strips`: combs, block edges, sharpness, resampling). Measured while the first model was
made, it carries most of what is known about temporal faults. State is three small luma pictures, two seconds of repeats
and a few counters per stream.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from statistics import median

import numpy as np
import numpy.typing as npt

from monitor.core.strips import StripFigures
from monitor.types import F32, U8

I16 = npt.NDArray[np.int16]

#: Order of the numbers; part of a bundle's numeric identity. Versions only add at the end, so that a head made for an
#: older one reads the first of them.
SIDE_NAMES = (
    "log_motion",
    "still_blocks",
    "log_motion_p90",
    "log_luma_step",
    "luma_step",
    "log_contrast_step",
    "log_motion_over_two",
    "log_motion_ratio",
    "log_second_difference",
    "luma_mean",
    "luma_sd",
    "comb_log_ratio",
    "log_comb_share",
    "blockiness_vertical",
    "blockiness_horizontal",
    "log_laplacian",
    "laplacian_step",
    "log_laplacian_median",
    "still_run",
    "since_still",
    "still_period_change",
    "still_share",
    "longest_still",
    "regular_repeats",
    "log_jump",
    "curvature_ratio",
    "octave_ratio_1",
    "octave_ratio_2",
    "curvature_ratio_vertical",
    "octave_ratio_vertical",
    "period_across",
    "period_down",
)
SIDE_VERSION = 3
#: How many numbers each version has.
SIDE_SIZES = {1: 21, 2: 25, 3: len(SIDE_NAMES)}

_BLOCK = 8
#: A block counts as still under a quarter of a grey level of mean change: below any encoder's noise on a moving
#: picture, above the rounding of an exact repeat.
_STILL_BLOCK = 0.25
#: A picture is a repeat when nearly all of it is still; not all, since clocks and tickers run over repeats.
_STILL_SHARE = 0.98
_RUN_CAP = 50  # samples: two seconds at 25 fps
_REGULAR_CAP = 20  # repeats
#: Moving samples whose median motion a jump is measured against: half a second at 25 fps.
_USUAL = 12
_FLOOR = 0.05  # grey levels: keeps logarithms finite and quiet on still pictures


@dataclass(slots=True)
class _Previous:
    luma: np.ndarray  # (88, 160) int16
    before: np.ndarray  # (88, 160) int16
    motion: float
    mean: float
    sd: float
    laplacian: float
    vector: F32


class SideChannel:
    """Streaming side channel of one stream; pure, O(1) memory.

    Not thread-safe: it belongs to the stream's decode thread.
    """

    def __init__(self) -> None:
        self._previous: _Previous | None = None
        self._still_run = 0
        self._since_still = _RUN_CAP
        self._last_period = _RUN_CAP
        self._period_change = _RUN_CAP
        self._regular = 0
        self._repeats: deque[bool] = deque(maxlen=_RUN_CAP)
        self._moving: deque[float] = deque(maxlen=_USUAL)

    def push(self, luma: U8, strips: StripFigures, *, step: float = 1.0, held: bool = False) -> F32:
        """Numbers of the next sample.

        Args:
            luma: (88, 160) uint8 small luma.
            strips: Figures of the picture's native strips.
            step: Media time from the previous sample's picture to this one's, in samples. 2 where the grid skipped a
                picture: motion is normalised by it, so that cadence conversion by the grid does not read as judder.
            held: The grid itself repeats the previous picture (a 24 fps source on a 25 fps grid). The previous
                numbers stand; a repeat or gap of the source must not be flagged so.

        Returns:
            (32,) float32 in the order of SIDE_NAMES.
        """
        previous = self._previous
        if held and previous is not None:
            return previous.vector
        now = luma.astype(np.int16)
        mean, sd = _mean(now), float(now.std())
        laplacian = strips.laplacian

        if previous is None:
            previous = _Previous(now, now, 0.0, mean, sd, laplacian, np.zeros(0, np.float32))
            first = True
        else:
            first = False
        change = np.abs(now - previous.luma)
        blocks = block_means(change)
        still_share = float((blocks < _STILL_BLOCK).mean())
        scale = 1.0 / min(max(step, 0.4), 2.5)
        motion = float(blocks.mean()) * scale
        over_two = _mean(np.abs(now - previous.before))
        second = _mean(np.abs(now - 2 * previous.luma + previous.before))
        still = still_share >= _STILL_SHARE and not first
        self._count_repeats(still=still)
        usual = median(self._moving) if self._moving else motion
        if not still and not first:
            self._moving.append(motion)

        vector = np.array(
            [
                np.log(motion + _FLOOR),
                still_share,
                np.log(_quantile(blocks, 0.9) * scale + _FLOOR),
                np.log(abs(mean - previous.mean) + 0.02),
                min(max(mean - previous.mean, -10.0), 10.0),
                np.log(abs(sd - previous.sd) + 0.02),
                np.log((over_two + _FLOOR) / (float(blocks.mean()) + _FLOOR)),
                np.log((motion + _FLOOR) / (previous.motion + _FLOOR)),
                np.log(second + _FLOOR),
                mean / 255.0,
                sd / 64.0,
                strips.comb_ratio,
                np.log(strips.comb_share + 1e-4),
                strips.blockiness_vertical,
                strips.blockiness_horizontal,
                np.log(laplacian + _FLOOR),
                min(max(np.log((laplacian + _FLOOR) / (previous.laplacian + _FLOOR)), -2.0), 2.0),
                np.log(strips.laplacian_median + _FLOOR),
                np.log1p(self._still_run),
                np.log1p(self._since_still),
                np.log1p(self._period_change),
                sum(self._repeats) / _RUN_CAP,
                np.log1p(_longest_run(self._repeats)),
                np.log1p(self._regular),
                np.log((motion + _FLOOR) / (usual + _FLOOR)),
                *strips.ratios,
            ],
            dtype=np.float32,
        )
        self._previous = _Previous(now, previous.luma, motion, mean, sd, laplacian, vector)
        return vector

    def _count_repeats(self, *, still: bool) -> None:
        """Run length of the present stillness, distance to the last repeat, and how regular repeats come.

        Judder repeats every k-th picture (the distance keeps its value); lost pictures come in irregular bursts.
        """
        self._repeats.append(still)
        if not still:
            self._still_run = 0
            self._since_still = min(self._since_still + 1, _RUN_CAP)
            return
        if self._still_run == 0:
            self._period_change = min(abs(self._since_still - self._last_period), _RUN_CAP)
            self._last_period = self._since_still
            self._regular = min(self._regular + 1, _REGULAR_CAP) if self._period_change == 0 else 0
        self._still_run = min(self._still_run + 1, _RUN_CAP)
        self._since_still = 0


def _quantile(values: np.ndarray, share: float) -> float:
    """As ``np.quantile``, which takes a multiple of the time on few values."""
    at = share * (values.size - 1)
    low = int(at)
    high = min(low + 1, values.size - 1)
    ordered = np.partition(values, (low, high), axis=None)
    below, above = float(ordered[low]), float(ordered[high])
    part = at - low
    return above - (above - below) * (1 - part) if part >= 0.5 else below + (above - below) * part


def _longest_run(repeats: deque[bool]) -> int:
    longest = run = 0
    for repeat in repeats:
        run = run + 1 if repeat else 0
        longest = max(longest, run)
    return longest


def block_means(plane: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
    """Means of 8x8 blocks of luma or of its absolute change, (H // 8, W // 8) float64, in grey levels.

    Sums of 64 values of 0 to 255 fit 16 bits; another type would take five times as long.
    """
    height, width = plane.shape[0] // _BLOCK, plane.shape[1] // _BLOCK
    blocks = plane[: height * _BLOCK, : width * _BLOCK]
    lines = np.add.reduce(blocks.reshape(height, _BLOCK, width * _BLOCK), axis=1, dtype=np.int16)
    sums = np.add.reduce(lines.reshape(height, width, _BLOCK), axis=2, dtype=np.int16)
    means: npt.NDArray[np.float64] = sums / float(_BLOCK * _BLOCK)
    return means


def _mean(values: I16) -> float:
    """As ``values.mean()``, whole numbers being summed as such."""
    return int(np.add.reduce(values, axis=None, dtype=np.int64)) / values.size
