"""Natural scene statistics: contrast normalisation and the moments of what it leaves.

Natural pictures, divided by their local contrast, look like noise of one shape; distortions change the shape.
Maps are (B, H, W) tensors of either float type, on any device; figures come back in float64, for sums over
millions of pixels.

Sources: Ruderman, "The statistics of natural images" (1994) for the normalisation; Mittal, Moorthy, Bovik,
"No-reference image quality assessment in the spatial domain", IEEE TIP 2012 (BRISQUE) for the statistics;
Lasmar, Stitou, Berthoumieu, "Multiscale skewed heavy tailed model for texture analysis", ICIP 2009 for AGGD.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

#: Window of the local mean and deviation: 7 taps, sigma 7/6.
_RADIUS = 3
_SIGMA = 7 / 6

#: Shapes that are tried: 0.2 to 10 in steps of 0.001.
_SHAPES = (200, 10_001)

#: Shape of a map without any energy, which has none: that of a Gaussian, so that it stands out in no direction.
_SHAPE_OF_NOTHING = 2.0


def _taps() -> list[float]:
    weights = [math.exp(-(x**2) / (2 * _SIGMA**2)) for x in range(-_RADIUS, _RADIUS + 1)]
    return [weight / sum(weights) for weight in weights]


def _filter(maps: Tensor, taps: list[float], dim: int) -> Tensor:
    """Correlation with a few taps along one dimension, which gets shorter by their number less one.

    On a CPU sums of shifted views take a fifth of the time of a convolution with a single channel.
    """
    size = maps.shape[dim] - len(taps) + 1
    total = maps.narrow(dim, 0, size) * taps[0]
    for shift, tap in enumerate(taps[1:], start=1):
        total.add_(maps.narrow(dim, shift, size), alpha=tap)
    return total


def _blur(padded: Tensor) -> Tensor:
    """(B, H + 6, W + 6) -> (B, H, W)."""
    return _filter(_filter(padded, _taps(), 1), _taps(), 2)


def mscn(maps: Tensor, c: float = 1.0) -> tuple[Tensor, Tensor]:
    """Mean-subtracted, contrast-normalised coefficients, and the local deviation they were divided by.

    ``(x - mu) / (sigma + c)`` with mu and sigma over a 7x7 Gaussian window; beyond the border stand zeros.

    Args:
        maps: (B, H, W).
        c: Keeps flat places quiet; in units of the map.

    Returns:
        Coefficients and sigma, (B, H, W) each.
    """
    # Taking a constant off first changes no variance and saves half of the digits that the squares would cost.
    level = maps.mean(dim=(1, 2), keepdim=True)
    padded = F.pad(maps, (_RADIUS,) * 4) - level
    mu = _blur(padded)
    sigma = (_blur(padded**2) - mu**2).clamp_min(0).sqrt()
    return (maps - level - mu) / (sigma + c), sigma


def half_size(maps: Tensor) -> Tensor:
    """Half the size by bicubic interpolation without a filter before it, (B, H, W) -> (B, H // 2, W // 2)."""
    even = maps[:, None, : maps.shape[1] // 2 * 2, : maps.shape[2] // 2 * 2]
    return F.interpolate(even, scale_factor=0.5, mode="bicubic", align_corners=False)[:, 0]


def gradient_magnitude(maps: Tensor) -> Tensor:
    """Length of the 3x3 Sobel gradient, (B, H, W) -> (B, H, W); borders are mirrored without repeating them."""
    padded = F.pad(maps[:, None], (1, 1, 1, 1), mode="reflect")[:, 0]
    smooth, slope = [1.0, 2.0, 1.0], [-1.0, 0.0, 1.0]
    gx = _filter(_filter(padded, smooth, 1), slope, 2)
    gy = _filter(_filter(padded, slope, 1), smooth, 2)
    return gx.square_().add_(gy.square_()).sqrt_()


def paired_products(maps: Tensor) -> list[Tensor]:
    """Products of neighbours: right, below, below right, below left; (B, H, W) -> four (B, n).

    Neighbours stand within the map: nothing is wrapped round its edge.
    """
    products = (
        maps[:, :, :-1] * maps[:, :, 1:],
        maps[:, :-1] * maps[:, 1:],
        maps[:, :-1, :-1] * maps[:, 1:, 1:],
        maps[:, :-1, 1:] * maps[:, 1:, :-1],
    )
    return [product.flatten(1) for product in products]


@functools.cache
def _shape_table() -> tuple[Tensor, Tensor]:
    """Shapes, rising, and their ratio (E|x|)^2 / E x^2 for a generalised Gaussian, rising."""
    shapes = torch.arange(*_SHAPES, dtype=torch.float64) / 1000
    ratio = 2 * torch.lgamma(2 / shapes) - torch.lgamma(1 / shapes) - torch.lgamma(3 / shapes)
    return shapes, ratio.exp()


def _shape(ratio: Tensor) -> tuple[Tensor, Tensor]:
    """Shape whose ratio is nearest, and that ratio; a nan ratio gives the shape of nothing."""
    shapes, table = (part.to(ratio.device) for part in _shape_table())
    above = torch.searchsorted(table, ratio.nan_to_num(0.5)).clamp(1, len(table) - 1)
    nearer = torch.where(ratio - table[above - 1] <= table[above] - ratio, above - 1, above)
    nothing = ratio.isnan()
    of_nothing = round(_SHAPE_OF_NOTHING * 1000) - _SHAPES[0]
    index = torch.where(nothing, of_nothing, nearer)
    return shapes[index], table[index]


def ggd(values: Tensor) -> Tensor:
    """Generalised Gaussian by its moments: (B, n) -> (B, 2) shape and standard deviation, about zero."""
    mean_square = values.square().mean(dim=1).double()
    shape, _ = _shape(values.abs().mean(dim=1).double() ** 2 / mean_square)
    return torch.stack([shape, mean_square.sqrt()], dim=1)


@dataclass(frozen=True, slots=True)
class Aggd:
    """Asymmetric generalised Gaussians, (B,) each.

    Attributes:
        shape: Common shape of both sides.
        mean: Mean of the distribution.
        left: Standard deviation of the negative side, about zero.
        right: Standard deviation of the positive side.
        to_scale: Factor from a side's deviation to its scale parameter beta.
    """

    shape: Tensor
    mean: Tensor
    left: Tensor
    right: Tensor
    to_scale: Tensor


def fit_aggd(values: Tensor) -> Aggd:
    """Asymmetric generalised Gaussian by its moments, (B, n) values.

    A side without values has deviation 0.
    """
    sides = values.clamp_max(0), values.clamp_min(0)
    squares = [side.square().sum(dim=1).double() for side in sides]
    counts = [torch.count_nonzero(side, dim=1).clamp_min(1) for side in sides]
    left, right = ((square / count).sqrt() for square, count in zip(squares, counts, strict=True))
    mean_square = (squares[0] + squares[1]) / values.shape[1]
    mean_abs = (sides[1].sum(dim=1) - sides[0].sum(dim=1)).double() / values.shape[1]
    # (g^3 + 1)(g + 1) / (g^2 + 1)^2 for g = left / right, written so that either side may be empty.
    skew = (left**3 + right**3) * (left + right) / (left**2 + right**2) ** 2
    shape, ratio = _shape(mean_abs**2 / mean_square * skew)
    to_scale = torch.exp((torch.lgamma(1 / shape) - torch.lgamma(3 / shape)) / 2)
    return Aggd(shape, (right - left) * ratio.sqrt(), left, right, to_scale)


def pair_statistics(maps: Tensor) -> Tensor:
    """BRISQUE's figures of neighbour products: (B, H, W) -> (B, 16).

    Four directions of shape, mean, left variance, right variance.
    """
    figures: list[Tensor] = []
    for product in paired_products(maps):
        fit = fit_aggd(product)
        figures += [fit.shape, fit.mean, fit.left**2, fit.right**2]
    return torch.stack(figures, dim=1)


def brisque18(maps: Tensor) -> Tensor:
    """GGD and `pair_statistics` of a map as it is: (B, H, W) -> (B, 18)."""
    return torch.cat([ggd(maps.flatten(1)), pair_statistics(maps)], dim=1)


def four_moments(maps: Tensor) -> Tensor:
    """GGD shape and deviation, skewness and kurtosis (3 for a Gaussian): (B, H, W) -> (B, 4).

    Skewness and kurtosis of a constant map are 0 and 3.
    """
    values = maps.flatten(1)
    centred = values - values.mean(dim=1, keepdim=True)
    squared = centred.square()
    moments = (squared, squared * centred, squared.square())
    second, third, fourth = (moment.mean(dim=1).double() for moment in moments)
    flat = second <= 0
    safe = torch.where(flat, 1.0, second)
    skewness = torch.where(flat, 0.0, third / safe**1.5)
    kurtosis = torch.where(flat, 3.0, fourth / safe**2)
    return torch.cat([ggd(values), torch.stack([skewness, kurtosis], dim=1)], dim=1)


def kurtosis(values: Tensor, dim: int) -> Tensor:
    """Fourth standardised moment along one dimension; infinite where the values are constant."""
    centred = values - values.mean(dim=dim, keepdim=True)
    second = centred.square().mean(dim=dim)
    fourth = centred.square().square().mean(dim=dim)
    return torch.where(second > 0, fourth / second**2, math.inf)
