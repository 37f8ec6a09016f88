"""Whether a model knows pictures like these: a score of what it never saw is a number and no judgement.

A picture is measured by its light, by how much of it is flat, as nothing is that a camera sees, and by how far the
trunk's features lie from those of the material that trained the model. A stream is out of the domain while most of its
last seconds are.
"""

from __future__ import annotations

from collections import deque
from enum import StrEnum
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from monitor.types import F64, PictureFacts

#: Standard deviations that one feature can count; a dead channel that wakes up must not speak for all.
_CLAMP = 8.0
#: Mean luma below which a picture is too dark to judge, full range: black is 16 where it is limited, night lies at 30.
DARK_MEAN = 24.0
#: Share of flat blocks beyond which a picture is drawn. Measured: 99.5 % of filmed clips, heavily coded and blurred
#: ones among them, stay below 0.72; slates, cards and tables lie at 0.8 to 1.
GRAPHICS_SHARE = 0.78
#: The same of a picture that does not move, as footage that is half flat hardly ever does.
STILL_GRAPHICS_SHARE, STILL_S = 0.5, 0.5
#: Time that a verdict looks back over.
WINDOW_S = 2.0


class Foreign(StrEnum):
    """Why a stream is out of the model's domain."""

    DARK = "dark"
    GRAPHICS = "graphics"  # drawn, not filmed: slates, cards, tables, test pictures
    UNLIKE = "unlike"  # features far from those of the training material: other kinds of picture


class FeatureDomain:
    """Distance of features from the training material's. Immutable; safe to share between threads.

    Args:
        mean: (F,) of the training material's features.
        sd: (F,) their standard deviation.
        limit: Distance beyond which a picture is unlike the training material.

    Raises:
        ValueError: Shapes differ, or a deviation is not positive.
    """

    def __init__(self, mean: npt.NDArray[np.floating], sd: npt.NDArray[np.floating], limit: float) -> None:
        if mean.ndim != 1 or mean.shape != sd.shape or not (np.asarray(sd) > 0).all():
            raise ValueError(f"mean and sd must be (F,) with positive sd, got {mean.shape} and {sd.shape}")
        self._mean = np.asarray(mean, np.float64)
        self._scale = 1 / np.asarray(sd, np.float64)
        self.limit = limit

    def distance(self, features: npt.NDArray[np.floating]) -> F64:
        """(B, F) -> (B,): root mean square of the standardised features, each clamped; about 1 in the domain."""
        standard = np.clip((features - self._mean) * self._scale, -_CLAMP, _CLAMP)
        distance: F64 = np.sqrt(np.mean(standard**2, axis=1))
        return distance


class DomainWatch:
    """Whether a stream's last seconds lie in the domain. Owned by the stream's task.

    Args:
        fps: Samples a second.
        limit: Of the model's `FeatureDomain`; None where the model knows no domain, which only leaves the light.
    """

    def __init__(self, fps: Fraction | float, limit: float | None) -> None:
        self._limit = limit
        self._recent: deque[Foreign | None] = deque(maxlen=max(1, round(WINDOW_S * float(fps))))

    def push(self, distance: float | None, facts: PictureFacts) -> None:
        """Adds one sample."""
        verdict: Foreign | None = None
        if facts.luma_mean < DARK_MEAN:
            verdict = Foreign.DARK
        elif facts.flat_share > (STILL_GRAPHICS_SHARE if facts.still_s >= STILL_S else GRAPHICS_SHARE):
            verdict = Foreign.GRAPHICS
        elif distance is not None and self._limit is not None and distance > self._limit:
            verdict = Foreign.UNLIKE
        self._recent.append(verdict)

    @property
    def foreign(self) -> Foreign | None:
        """Why the stream is out of the domain, if more than half of its last two seconds are; the commonest reason."""
        counts = {reason: self._recent.count(reason) for reason in Foreign}
        if 2 * sum(counts.values()) <= len(self._recent):
            return None
        return max(counts, key=lambda reason: counts[reason])
