"""ChipQA's 221 features of a clip, the strongest published baseline on LIVE-APV.

Written from descriptions of Ebenezer, Shang, Wu, Wei, Sethuraman, Bovik, "ChipQA: No-reference video quality
prediction via space-time chips", IEEE TIP 2021, and of the features that were published with it. The vector is
X1 (56 figures of a frame, averaged over frames), X2 (their standard deviation within a group of five frames,
averaged over groups) and X3 (NIQE's 37 and 72 of space-time chips, averaged over groups).

Where the descriptions leave a choice, ours is: the first frame of a clip only fills the chips; an unfinished
last group is left out; deviations divide by n; luma is 0-255; colour is BT.709 from 720 lines up, else BT.601,
limited range, chroma repeated to luma size; the offset of 128 that 8-bit a and b carry stays in the chroma map
(as published, so the map is sqrt((a + 128)^2 + (b + 128)^2)); nothing is rounded to 8 bits on the way.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.clips import U8
from training.errors import DataError
from training.niqe import BLOCK, FEATURES, Gaussian, Pool, block_statistics
from training.nss import brisque18, four_moments, gradient_magnitude, half_size, kurtosis, mscn, pair_statistics

F64 = npt.NDArray[np.float64]
Planes = tuple[U8, U8, U8]

#: Length of the feature vector.
SIZE = 221

#: Frames in a group, and pixels along a chip.
GROUP = 5

#: Distance of chip centres, pixels, and how many directions each is tried in.
_STEP = 20
_ANGLES = 6

#: Offset of a and b in 8-bit CIELAB.
_LAB_OFFSET = 128.0


def temporal_filter() -> Tensor:
    """(5, 5) float64 matrix that filters five frames in time: row t makes filtered frame t.

    Taps t (1 - a t) exp(-2 a t) for t = 0..4 and a = 1/2, convolved about the middle tap, the frames mirrored at
    both ends.
    """
    a, n = 0.5, GROUP
    matrix = torch.zeros(n, n, dtype=torch.float64)
    for row in range(n):
        for t in range(n):
            source = abs(row + n // 2 - t)
            source = source if source < n else 2 * (n - 1) - source
            matrix[row, source] += t * (1 - a * t) * math.exp(-2 * a * t)
    return matrix


def _nearest(steps: Tensor) -> Tensor:
    # cos(60 degrees) is 1/2 but for its last digit: halves must go one way, away from the centre, everywhere.
    return (steps.sign() * (steps.abs() + 0.5 + 1e-9).floor()).long()


def chip_positions(height: int, width: int) -> tuple[Tensor, int, int]:
    """Where chips take their pixels.

    Returns:
        (6, 5, n) int64 flat positions: angle k pi / 6 from the horizontal, pixel along it (nearest to -2..2
        steps), centre; and the number of rows and columns of centres (n = rows x columns), which stand every 20
        pixels from 10 on.

    Raises:
        ValueError: Not one chip fits.
    """
    y = torch.arange(_STEP // 2, height - 2, _STEP)
    x = torch.arange(_STEP // 2, width - 2, _STEP)
    if not len(y) or not len(x):
        raise ValueError(f"no chip fits into {width}x{height}")
    angle = torch.arange(_ANGLES, dtype=torch.float64)[:, None] * math.pi / _ANGLES
    along = torch.arange(-2, 3, dtype=torch.float64)
    dy, dx = (_nearest(along * part)[..., None, None] for part in (torch.sin(angle), torch.cos(angle)))  # (6, 5, 1, 1)
    flat = (y[:, None] + dy) * width + (x + dx)  # (6, 5, rows, columns)
    return flat.flatten(2), len(y), len(x)


def chip_image(samples: Tensor, rows: int, columns: int) -> Tensor:
    """The chips of one group, tiled.

    Args:
        samples: (5, 6, 5, n) values at `chip_positions` in each of five frames, oldest first.
        rows: Rows of centres.
        columns: Columns of centres.

    Returns:
        (1, 5 rows, 5 columns): for each centre the filtered chip (a row per frame) of the direction whose
        kurtosis is nearest to 3, the Gaussian's; constant chips are taken last.
    """
    filtered = torch.einsum("ts,saxn->naxt", temporal_filter().to(samples), samples)  # (n, 6, 5 along, 5 time)
    shapes = kurtosis(filtered.flatten(2), dim=2)  # (n, 6)
    best = (shapes - 3).abs().argmin(dim=1)
    chips = filtered[torch.arange(len(best), device=best.device), best]  # (n, 5 along, 5 time)
    tiled = chips.reshape(rows, columns, GROUP, GROUP).permute(0, 3, 1, 2)  # (rows, time, columns, along)
    return tiled.reshape(1, rows * GROUP, columns * GROUP)


def lab_chroma(planes: Planes, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Length of (a, b) of CIELAB with their 8-bit offset, (1, H, W), from limited-range 4:2:0 planes."""
    luma, u, v = (torch.from_numpy(np.array(plane)).to(device, dtype) for plane in planes)
    height, width = luma.shape
    kr, kb = (0.2126, 0.0722) if height >= 720 else (0.299, 0.114)
    kg = 1 - kr - kb
    y = (luma - 16) / 219
    cb, cr = (
        ((plane - 128) / 224).repeat_interleave(2, 0).repeat_interleave(2, 1)[:height, :width] for plane in (u, v)
    )
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / kg
    rgb = torch.stack([red, green, blue]).clamp(0, 1)
    linear = torch.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    # sRGB primaries to XYZ, each row divided by the white point's value: white gives 1, 1, 1.
    to_xyz = torch.tensor(
        [[0.433953, 0.376219, 0.189828], [0.212671, 0.715160, 0.072169], [0.017758, 0.109477, 0.872765]]
    )
    xyz = torch.einsum("ij,jhw->ihw", to_xyz.to(linear), linear)
    f = torch.where(xyz > 0.008856, xyz.clamp_min(1e-6) ** (1 / 3), 7.787 * xyz + 16 / 116)
    a, b = 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    return torch.hypot(a + _LAB_OFFSET, b + _LAB_OFFSET)[None]


@dataclass(frozen=True, slots=True)
class ClipStatistics:
    """All of a clip but the distance from pristine video, which needs a model of it.

    The model has to be fitted without test clips, so it changes with the split; with this, features are read
    from video once and finished for each split by `vector`.

    Attributes:
        x1: (56,) mean of the frame figures.
        x2: (56,) mean over groups of their standard deviation in the group.
        niqe: (36,) mean over groups of the mean block figures.
        chips: (72,) mean over groups of the chip figures: luma, half luma, gradient, half gradient.
        block_means: (groups, 36) mean block figures of each group's last frame.
        block_covariances: (groups, 36, 36) their covariances.
        sharp_count: () number of sharp blocks in these frames.
        sharp_total: (36,) sum over them.
        sharp_products: (36, 36) sum of outer products over them.
    """

    x1: F64
    x2: F64
    niqe: F64
    chips: F64
    block_means: F64
    block_covariances: F64
    sharp_count: F64
    sharp_total: F64
    sharp_products: F64

    def vector(self, pristine: Gaussian) -> F64:
        """The 221 features, X1 | X2 | X3, given a pristine model."""
        distances = [
            pristine.distance(Gaussian(mean, covariance))
            for mean, covariance in zip(self.block_means, self.block_covariances, strict=True)
        ]
        return np.concatenate([self.x1, self.x2, self.niqe, [np.mean(distances)], self.chips])

    @property
    def sharp(self) -> Pool:
        """Sharp blocks, for `training.niqe.fit_pristine`."""
        return Pool(int(self.sharp_count), self.sharp_total, self.sharp_products)

    def save(self, path: Path) -> None:
        """Write as ``.npz``."""
        np.savez(path, **{part.name: getattr(self, part.name) for part in fields(self)})

    @classmethod
    def load(cls, path: Path) -> ClipStatistics:
        """Inverse of `save`.

        Raises:
            DataError: The file is missing, damaged or something else.
        """
        try:
            with np.load(path, allow_pickle=False) as saved:
                return cls(**{part.name: saved[part.name] for part in fields(cls)})
        except (OSError, ValueError, KeyError, EOFError) as error:
            raise DataError(path.name, [f"holds no ChipQA statistics: {error}"]) from error


class _Frame:
    """Maps of one frame and what is taken from them."""

    def __init__(self, planes: Planes, dtype: torch.dtype, device: torch.device) -> None:
        luma = torch.from_numpy(np.array(planes[0])).to(device, dtype)[None]
        lumas = (luma, half_size(luma))
        gradients = tuple(gradient_magnitude(y) for y in lumas)
        self._planes = planes
        self.luma = luma
        self._luma = [mscn(y) for y in lumas]
        self._gradient = [mscn(g)[0] for g in gradients]

    def samples(self) -> list[Tensor]:
        """Values under the chips, (6, 5, n), of luma, half luma, gradient, half gradient."""
        maps = [self._luma[0][0], self._luma[1][0], *self._gradient]
        positions = (chip_positions(*m.shape[1:])[0].to(m.device) for m in maps)
        return [m.flatten()[p] for m, p in zip(maps, positions, strict=True)]

    def figures(self) -> F64:
        """The 56 figures of a frame: chroma 16, gradient 32, local deviation of luma 8."""
        chroma = lab_chroma(self._planes, self.luma.dtype, self.luma.device)
        coefficients, deviations = zip(*(mscn(c) for c in (chroma, half_size(chroma))), strict=True)
        parts = [four_moments(m) for m in coefficients]
        parts += [four_moments(mscn(s)[0]) for s in deviations]
        parts += [pair_statistics(g) for g in self._gradient]
        parts += [four_moments(mscn(sigma)[0]) for _, sigma in self._luma]
        return np.asarray(torch.cat(parts, dim=1)[0].cpu().numpy(), dtype=np.float64)


@torch.no_grad()
def clip_statistics(
    frames: Iterable[Planes], *, dtype: torch.dtype = torch.float32, device: str = "cpu"
) -> ClipStatistics:
    """Read a clip once; one frame and its maps are in memory at a time.

    Args:
        frames: Planes Y, U, V of 8-bit limited-range 4:2:0 frames, in order; at least five, at least 192x96.
        dtype: Of the maps.
        device: Where they are made.

    Raises:
        DataError: Too few frames, or frames that are too small or change size.
    """
    where = torch.device(device)
    figures: list[list[F64]] = []
    chips: list[F64] = []
    gaussians: list[Gaussian] = []
    niqe: list[F64] = []
    sharp = Pool(0, np.zeros(FEATURES), np.zeros((FEATURES, FEATURES)))
    of_group: list[F64] = []
    samples: list[list[Tensor]] = []
    size: tuple[int, int] | None = None
    for index, planes in enumerate(frames):
        height, width = planes[0].shape
        size = size or (height, width)
        if (height, width) != size or (height // BLOCK) * (width // BLOCK) < 2:
            raise DataError("frames", [f"need one size of at least {2 * BLOCK}x{BLOCK}, got {width}x{height}"])
        frame = _Frame(planes, dtype, where)
        samples.append(frame.samples())
        if index > 0:
            of_group.append(frame.figures())
        if len(samples) < GROUP:
            continue
        blocks = block_statistics(frame.luma)
        sharp = sharp + Pool.of(blocks.sharp)
        gaussians.append(Pool.of(blocks.features).gaussian())
        niqe.append(blocks.features.mean(axis=0))
        images = [
            chip_image(torch.stack(of_map), *chip_positions(height // scale, width // scale)[1:])
            for of_map, scale in zip(zip(*samples, strict=True), (1, 2, 1, 2), strict=True)
        ]
        chips.append(torch.cat([brisque18(image) for image in images], dim=1)[0].cpu().numpy())
        figures.append(of_group)
        of_group, samples = [], []
    if not figures:
        raise DataError("frames", [f"at least {GROUP} are needed"])
    return ClipStatistics(
        x1=np.mean([f for group in figures for f in group], axis=0),
        x2=np.mean([np.std(group, axis=0) for group in figures], axis=0),
        niqe=np.mean(niqe, axis=0),
        chips=np.mean(chips, axis=0),
        block_means=np.array([g.mean for g in gaussians]),
        block_covariances=np.array([g.covariance for g in gaussians]),
        sharp_count=np.array(float(sharp.count)),
        sharp_total=sharp.total,
        sharp_products=sharp.products,
    )
