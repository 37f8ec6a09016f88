"""Building blocks of the scenes: periodic fractal fields, colour, anti-aliased shrinking and camera noise.

Everything is seeded and periodic, so that a camera path of one period comes back to the very same picture.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from monitor.types import U8

#: Real numbers of either precision; float32 in all that is large.
Field = npt.NDArray[np.floating[Any]]

#: Luma limits of every scene before noise. The margin lets noise be added modulo 256 without wrapping round.
LUMA_LOW, LUMA_HIGH = 24.0, 226.0


def fractal(
    rng: np.random.Generator,
    height: int,
    width: int,
    slope: float,
    low_cut: float = 0.0,
    high_cut: int | None = None,
) -> Field:
    """Periodic random field whose amplitude spectrum falls as 1/f^slope.

    Args:
        rng: Source of randomness.
        height: Rows.
        width: Columns.
        slope: Exponent; camera pictures are near 1, rolling terrain near 2.
        low_cut: Frequencies below this many cycles per height are left out.
        high_cut: Frequencies from this many cycles per height up are left out; None keeps all.

    Returns:
        (height, width) float32, mean 0, standard deviation 1.
    """
    rows = height // 2 if high_cut is None else min(high_cut, height // 2)
    columns = width // 2 if high_cut is None else min(high_cut * width // height, width // 2)
    fy = np.concatenate([np.arange(rows), np.arange(-rows, 0)]).astype(np.float32)[:, None]
    fx = np.arange(columns + 1, dtype=np.float32)[None, :] * np.float32(height / width)
    radius = np.hypot(fy, fx)
    radius[0, 0] = 1.0
    amplitude = np.where(radius >= low_cut, radius**-slope, np.float32(0.0))
    amplitude[0, 0] = 0.0
    phase = rng.standard_normal((2, *amplitude.shape), dtype=np.float32)
    band = amplitude * (phase[0] + np.complex64(1j) * phase[1])
    spectrum = np.zeros((height, width // 2 + 1), np.complex64)
    spectrum[:rows, : columns + 1] = band[:rows]
    spectrum[-rows:, : columns + 1] = band[rows:]
    field = np.fft.irfft2(spectrum, s=(height, width)).astype(np.float32)
    return np.asarray((field - field.mean()) / (field.std() + np.float32(1e-12)))


def smoothstep(x: Field, low: float, high: float) -> Field:
    """0 below ``low``, 1 above ``high``, cubic between; shape kept."""
    t = np.clip((x - np.float32(low)) * np.float32(1.0 / (high - low)), 0.0, 1.0).astype(np.float32)
    return np.asarray(t * t * (np.float32(3.0) - np.float32(2.0) * t))


def mix(a: Field | Sequence[float], b: Field | Sequence[float], weight: Field) -> Field:
    """Blend colours (3,) or colour fields (3, ...) by ``weight`` (...) in [0, 1]; 1 is ``b``."""
    blend = np.empty((3, *weight.shape), np.float32)
    for channel in range(3):
        first, second = np.asarray(a[channel], np.float32), np.asarray(b[channel], np.float32)
        np.multiply(weight, second - first, out=blend[channel])
        blend[channel] += first
    return blend


def shrink(picture: Field, rows: int, columns: int | None = None) -> Field:
    """Area average over blocks of ``rows`` x ``columns`` (default: square)."""
    columns = rows if columns is None else columns
    height, width = picture.shape[0] // rows, picture.shape[1] // columns
    blocks = picture[: height * rows, : width * columns]
    # Strided sums: several times faster than a mean over two inner axes.
    lines = sum((blocks[i::rows] for i in range(1, rows)), blocks[0::rows])
    total = sum((lines[:, i::columns] for i in range(1, columns)), lines[:, 0::columns])
    return np.asarray(total * np.float32(1.0 / (rows * columns)))


def soften(field: Field, passes: int = 1) -> Field:
    """Periodic 1-2-1 blur in both directions, ``passes`` times."""
    for _ in range(passes):
        for axis in (0, 1):
            field = field * 0.5 + (np.roll(field, 1, axis) + np.roll(field, -1, axis)) * 0.25
    return field


def yuv(rgb: Field) -> tuple[Field, Field, Field]:
    """Gamma RGB (3, ...) in [0, 1] to BT.709 limited range Y, U, V in code values (float32)."""
    red, green, blue = (np.clip(channel, 0.0, 1.0) for channel in rgb)
    luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    y = np.clip(16.0 + 219.0 * luma, LUMA_LOW, LUMA_HIGH)
    u = 128.0 + 224.0 * (blue - luma) / 1.8556
    v = 128.0 + 224.0 * (red - luma) / 1.5748
    return y.astype(np.float32), u.astype(np.float32), v.astype(np.float32)


def code(values: Field) -> U8:
    """Round to uint8 code values."""
    return np.asarray(np.clip(values + 0.5, 0.0, 255.0).astype(np.uint8))


class Grain:
    """Soft camera noise on luma: correlated over about two pixels, another piece for every picture.

    Args:
        rng: Source of randomness.
        height: Luma rows.
        width: Luma columns.
        sigma: Standard deviation in code values; values are kept within the margin of the luma limits.
    """

    def __init__(self, rng: np.random.Generator, height: int, width: int, sigma: float = 1.1) -> None:
        self._shape = (height, width)
        field = rng.standard_normal((height + 97, width + 131), dtype=np.float32)
        field = field + 0.45 * (np.roll(field, 1, 0) + np.roll(field, 1, 1))
        field *= sigma / field.std()
        self._tile = np.clip(np.rint(field), -8, 8).astype(np.int8).view(np.uint8)
        self._offsets = rng.integers(0, (97, 131), size=(4096, 2))

    def add(self, luma: U8, index: int) -> None:
        """Add noise to (H, W) uint8 ``luma`` in place; ``index`` is the picture's number in the loop."""
        top, left = self._offsets[index % len(self._offsets)]
        height, width = self._shape
        np.add(luma, self._tile[top : top + height, left : left + width], out=luma)
