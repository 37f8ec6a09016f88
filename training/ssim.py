"""SSIM on fragments: a free full-reference value for spatial impairments."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]

# Wang et al. 2004: (0.01 x 255)^2 and (0.03 x 255)^2.
_C1, _C2 = 6.5025, 58.5225
_WINDOW = 8


def fragment_ssim_db(reference: U8, distorted: U8, patch: int = 32) -> float:
    """Structural similarity of two fragment mosaics in dB, -10 log10(1 - SSIM), at most 30.

    Mean of two scales (native and halved), 8x8 windows at half-window steps, never across patch borders.

    Args:
        reference: (H, W) uint8 luma fragments of the clean picture.
        distorted: The same of the impaired one.
        patch: Side of a patch.
    """
    a, b = _patches(reference, patch), _patches(distorted, patch)
    value = (_ssim(a, b) + _ssim(_halve(a), _halve(b))) / 2
    return float(min(30.0, -10 * np.log10(max(1 - value, 1e-3))))


def _patches(mosaic: U8, patch: int) -> npt.NDArray[np.float32]:
    rows, columns = mosaic.shape[0] // patch, mosaic.shape[1] // patch
    tiles = mosaic.reshape(rows, patch, columns, patch).transpose(0, 2, 1, 3)
    return tiles.reshape(-1, patch, patch).astype(np.float32)


def _halve(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    out: npt.NDArray[np.float32] = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
    return out


def _window_means(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Means of 8x8 windows at steps of 4, from 4x4 block sums."""
    step = _WINDOW // 2
    n, h, w = x.shape
    blocks = x.reshape(n, h // step, step, w // step, step).sum(axis=(2, 4))
    out: npt.NDArray[np.float32] = (
        blocks[:, :-1, :-1] + blocks[:, 1:, :-1] + blocks[:, :-1, 1:] + blocks[:, 1:, 1:]
    ) / _WINDOW**2
    return out


def _ssim(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> float:
    mean_a, mean_b = _window_means(a), _window_means(b)
    var_a = _window_means(a * a) - mean_a**2
    var_b = _window_means(b * b) - mean_b**2
    covariance = _window_means(a * b) - mean_a * mean_b
    ssim = ((2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)) / (
        (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
    )
    return float(ssim.mean())
