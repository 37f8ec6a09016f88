"""The NIQE part of ChipQA: block statistics of luma, and their distance from those of pristine video.

After Mittal, Soundararajan, Bovik, "Making a completely blind image quality analyzer", IEEE SPL 2013. Ours
differs: the pristine model is fitted to clips that the caller names (there is no other; the original's came
from 125 photographs), C is 1e-3 as in ChipQA rather than 1, neighbours do not wrap round a block's edge, and
half size is bicubic without an antialias filter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from training.nss import fit_aggd, half_size, mscn, paired_products

F64 = npt.NDArray[np.float64]

#: Side of a block at full size; half of it at half size.
BLOCK = 96

#: Features of a block: 18 at full size, 18 at half size.
FEATURES = 36

_C = 1e-3

#: Blocks sharper than this share of the frame's sharpest one stand for pristine video.
_SHARP = 0.75


@dataclass(frozen=True, slots=True)
class BlockStatistics:
    """Blocks of one frame.

    Attributes:
        features: (n, 36) float64, a row per block.
        sharpness: (n,) float64 mean local deviation at full size.
    """

    features: F64
    sharpness: F64

    @property
    def sharp(self) -> F64:
        """Features of the sharp blocks alone, (m, 36), m >= 1."""
        chosen: F64 = self.features[self.sharpness >= _SHARP * self.sharpness.max()]
        return chosen


def _blocks(maps: Tensor, side: int) -> Tensor:
    """Whole blocks of one map, row by row: (1, H, W) -> (n, side, side)."""
    rows = maps[0].unfold(0, side, side).unfold(1, side, side)  # (H // side, W // side, side, side)
    return rows.reshape(-1, side, side)


def _eighteen(blocks: Tensor) -> Tensor:
    """NIQE's figures of MSCN blocks: (n, side, side) -> (n, 18).

    Shape and mean scale of the coefficients; shape, mean, left and right scale of four neighbour products.
    """
    fit = fit_aggd(blocks.flatten(1))
    figures = [fit.shape, (fit.left + fit.right) / 2 * fit.to_scale]
    for product in paired_products(blocks):
        fit = fit_aggd(product)
        figures += [fit.shape, fit.mean, fit.left * fit.to_scale, fit.right * fit.to_scale]
    return torch.stack(figures, dim=1)


def block_statistics(luma: Tensor) -> BlockStatistics:
    """Statistics of the whole blocks of one frame.

    Args:
        luma: (1, H, W), 0-255, at least two blocks large.

    Raises:
        ValueError: The frame is too small.
    """
    _, height, width = luma.shape
    rows, columns = height // BLOCK, width // BLOCK
    if rows * columns < 2:
        raise ValueError(f"a frame needs two blocks of {BLOCK}x{BLOCK}, got {width}x{height}")
    whole = luma[:, : rows * BLOCK, : columns * BLOCK]
    full, sigma = mscn(whole, _C)
    half, _ = mscn(half_size(whole), _C)
    features = torch.cat([_eighteen(_blocks(full, BLOCK)), _eighteen(_blocks(half, BLOCK // 2))], dim=1)
    sharpness = _blocks(sigma, BLOCK).mean(dim=(1, 2), dtype=torch.float64)
    return BlockStatistics(features.cpu().numpy(), sharpness.cpu().numpy())


@dataclass(frozen=True, slots=True)
class Pool:
    """Sums over blocks from which mean and covariance follow; pools of clips add up.

    Attributes:
        count: Number of blocks.
        total: (36,) sum of their features.
        products: (36, 36) sum of their outer products.
    """

    count: int
    total: F64
    products: F64

    @classmethod
    def of(cls, features: F64) -> Pool:
        """Of (n, 36) block features."""
        return cls(len(features), features.sum(axis=0), features.T @ features)

    def __add__(self, other: Pool) -> Pool:
        return Pool(self.count + other.count, self.total + other.total, self.products + other.products)

    def gaussian(self) -> Gaussian:
        """Mean and covariance (n - 1).

        Raises:
            ValueError: Fewer than two blocks.
        """
        if self.count < 2:
            raise ValueError(f"a covariance needs two blocks, got {self.count}")
        mean = self.total / self.count
        covariance = (self.products - self.count * np.outer(mean, mean)) / (self.count - 1)
        return Gaussian(mean, covariance)


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Multivariate Gaussian of block features: the pristine model, or one frame.

    Attributes:
        mean: (36,).
        covariance: (36, 36).
    """

    mean: F64
    covariance: F64

    def distance(self, other: Gaussian) -> float:
        """NIQE's distance: sqrt(d' ((S1 + S2) / 2)^+ d) with d the difference of the means."""
        d = self.mean - other.mean
        inverse = np.linalg.pinv((self.covariance + other.covariance) / 2, hermitian=True)
        # Rounding may leave a tiny negative square.
        return math.sqrt(max(0.0, float(d @ inverse @ d)))


def fit_pristine(pools: Sequence[Pool]) -> Gaussian:
    """Pristine model from the sharp blocks of clips without damage.

    Args:
        pools: Sharp blocks of each clip. Take clips of the training part alone, or of none of the data set.

    Raises:
        ValueError: No clips, or fewer than two blocks in all.
    """
    if not pools:
        raise ValueError("a pristine model needs clips")
    total = pools[0]
    for pool in pools[1:]:
        total = total + pool
    return total.gaussian()
