"""A measurable property for each distortion, that grows with its level.

Each is a curve, one value a picture against the clean clip, and one value of the whole clip. Planes are Y only unless
said; the formulas are this project's own, SSIM apart (``training.ssim``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby, pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from training.pictures import Picture
from training.ssim import fragment_ssim_db

Curve = npt.NDArray[np.float64]
Pictures = Sequence[Picture]

_BLOCK = 16
_BLACK = 20  # luma up to this is black to a viewer


class Measure(NamedTuple):
    """One property.

    Attributes:
        name: What it is for a clip, with its unit.
        of_picture: What its curve is, with its unit.
        curve: Value of each picture, from the clean and the distorted pictures, equally many; shape (pictures,).
        of_clip: Value of the whole clip, from the curve; greater is worse.
    """

    name: str
    of_picture: str
    curve: Callable[[Pictures, Pictures], Curve]
    of_clip: Callable[[Curve], float]

    def value(self, clean: Pictures, distorted: Pictures) -> float:
        """The whole clip's value."""
        return self.of_clip(self.curve(clean, distorted))


def _each(measure: Callable[[Picture, Picture], float]) -> Callable[[Pictures, Pictures], Curve]:
    """A curve of a measure that looks at one picture and its clean one."""

    def curve(clean: Pictures, distorted: Pictures) -> Curve:
        return np.array([measure(c, d) for c, d in zip(clean, distorted, strict=True)], np.float64)

    return curve


def _mean(curve: Curve) -> float:
    return float(curve.mean())


def _float(plane: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    return plane.astype(np.float32)


# --- spatial ---------------------------------------------------------------------------------------------------


def _ssim_loss(clean: Picture, distorted: Picture) -> float:
    """How far SSIM is below the most that is told, 30 dB."""
    height, width = (side // 32 * 32 for side in clean.y.shape)
    return 30 - fragment_ssim_db(clean.y[:height, :width], distorted.y[:height, :width])


def _false_detail(clean: Picture, distorted: Picture) -> float:
    """RMS of the difference after a low pass that hides any blur: detail folded down to where it never was."""
    difference = ndimage.gaussian_filter(_float(distorted.y) - clean.y, 1.5)
    return float(np.sqrt((difference**2).mean()))


def _lost_edges(clean: Picture, distorted: Picture) -> float:
    """Share of the clean picture's edge energy (squared differences of neighbours) that is gone."""
    energy = [sum(float((np.diff(_float(p.y), axis=axis) ** 2).sum()) for axis in (0, 1)) for p in (clean, distorted)]
    return 100 * (1 - energy[1] / max(energy[0], 1e-9))


def _grain(clean: Picture, distorted: Picture) -> float:
    """Standard deviation of what was added, seen through a Laplacian that smooth errors do not pass."""
    added = ndimage.laplace(_float(distorted.y) - clean.y)
    # A Laplacian (1, 1, -4, 1, 1) makes sqrt(20) of white noise.
    return float(added.std() / np.sqrt(20))


def _terraces(clean: Picture, distorted: Picture) -> float:
    """Share of neighbouring pixels, across, that became exactly equal."""
    equal = [float((np.diff(p.y.astype(np.int16), axis=1) == 0).mean()) for p in (clean, distorted)]
    return 100 * (equal[1] - equal[0])


def _wrong_blocks(clean: Picture, distorted: Picture) -> float:
    """Share of 16x16 blocks that show something else."""
    height, width = (side // _BLOCK * _BLOCK for side in clean.y.shape)
    difference = np.abs(_float(distorted.y[:height, :width]) - clean.y[:height, :width])
    blocks = difference.reshape(height // _BLOCK, _BLOCK, width // _BLOCK, _BLOCK).mean(axis=(1, 3))
    return float(100 * (blocks > 2).mean())


# --- temporal --------------------------------------------------------------------------------------------------


def _comb(clean: Picture, distorted: Picture) -> float:
    """Energy of the combing pattern (line against the mean of its neighbours) beyond the clean picture's."""
    energy = []
    for picture in (clean, distorted):
        y = _float(picture.y)
        energy.append(float(np.abs(y[1:-1] - (y[:-2] + y[2:]) / 2).mean()))
    return 100 * (energy[1] / max(energy[0], 1e-9) - 1)


def _changes(clean: Pictures, distorted: Pictures) -> Curve:
    """Mean luma change from the picture before, in multiples of the clean clip's mean change."""
    steps = [
        [float(np.abs(_float(b.y) - a.y).mean()) for a, b in pairwise(pictures)] for pictures in (clean, distorted)
    ]
    # Nothing is known of the first picture's; it stands in for its neighbour.
    return np.array([steps[1][0], *steps[1]]) / max(float(np.mean(steps[0])), 1e-9)


def _irregularity(curve: Curve) -> float:
    """Spread of the changes over their mean; a steady motion has none."""
    return float(curve[1:].std() / max(curve[1:].mean(), 1e-9))


def _contrast(clean: Picture, distorted: Picture) -> float:
    """Fine contrast (differences of neighbours) against the clean picture's: gain and coding both move it."""
    energy = [float(np.abs(np.diff(_float(p.y), axis=1)).mean()) for p in (clean, distorted)]
    return 100 * (energy[1] / max(energy[0], 1e-9) - 1)


def _spread(curve: Curve) -> float:
    return float(curve.std())


def _moments(clean: Pictures, distorted: Pictures) -> list[int]:
    """For each picture the number of the clean picture that it is: the nearest in time where several are equal."""
    where: dict[bytes, list[int]] = {}
    for index, picture in enumerate(clean):
        where.setdefault(picture.y.tobytes(), []).append(index)
    return [
        min(where.get(picture.y.tobytes(), [index]), key=lambda at: abs(at - index))
        for index, picture in enumerate(distorted)
    ]


def _jumps(clean: Pictures, distorted: Pictures) -> Curve:
    """Clean pictures left out between one picture and the next: 0 in steady motion and while one is held."""
    moments = _moments(clean, distorted)
    return np.array([0, *(max(0, b - a - 1) for a, b in pairwise(moments))], np.float64)


def _held(clean: Pictures, distorted: Pictures) -> Curve:
    """For how many pictures nothing has changed, up to each."""
    same = [False, *(bool(np.array_equal(a.y, b.y)) for a, b in pairwise(distorted))]
    runs: list[int] = []
    for repeated, group in groupby(same):
        length = sum(1 for _ in group)
        runs += range(1, length + 1) if repeated else [0] * length
    return np.array(runs, np.float64)


def _greatest(curve: Curve) -> float:
    return float(curve.max())


def _black(clean: Picture, distorted: Picture) -> float:
    """Share of black pixels beyond the clean picture's."""
    share = [float((p.y <= _BLACK).mean()) for p in (clean, distorted)]
    return 100 * (share[1] - share[0])


MEASURES: dict[str, Measure] = {
    "compression": Measure("SSIM below 30 dB, dB", "SSIM below 30 dB, dB", _each(_ssim_loss), _mean),
    "aliasing": Measure("false detail, grey levels RMS", "false detail, grey levels RMS", _each(_false_detail), _mean),
    "interlacing": Measure("mean comb energy added, %", "comb energy added, %", _each(_comb), _mean),
    "judder": Measure("irregularity of motion", "change from the picture before", _changes, _irregularity),
    "flicker": Measure("spread of fine contrast over time, %", "fine contrast added, %", _each(_contrast), _spread),
    "frame_drop": Measure("longest jump, pictures left out", "pictures left out before it", _jumps, _greatest),
    "blur": Measure("edge energy lost, %", "edge energy lost, %", _each(_lost_edges), _mean),
    "noise": Measure("grain added, grey levels", "grain added, grey levels", _each(_grain), _mean),
    "banding": Measure("neighbours made equal, %", "neighbours made equal, %", _each(_terraces), _mean),
    "macroblocks": Measure("wrong blocks, %", "wrong blocks, %", _each(_wrong_blocks), _mean),
    "freeze": Measure("longest hold, pictures", "pictures held so far", _held, _greatest),
    "black": Measure("mean share of black, %", "share of black, %", _each(_black), _mean),
}
