"""The parameters of the distortions at levels 1 to 5, each table once: for the code, the pages and their tests."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

Rng = np.random.Generator

LEVELS = (1, 2, 3, 4, 5)


def interpolate(level: float, values: tuple[float, ...], *, log: bool = False) -> float:
    """A parameter at a level, from its values at levels 1 to 5."""
    if not 1 <= level <= 5:
        raise ValueError(f"levels are 1 to 5, got {level}")
    points = np.log(values) if log else np.asarray(values, np.float64)
    value = float(np.interp(level, LEVELS, points))
    return float(np.exp(value)) if log else value


class Ladder(NamedTuple):
    """A parameter that grows or falls continuously.

    Attributes:
        name: What it is, with its unit.
        values: At levels 1 to 5.
        log: In between it goes by ratios.
    """

    name: str
    values: tuple[float, float, float, float, float]
    log: bool = False

    def at(self, level: float) -> float:
        """Its value at a level.

        Raises:
            ValueError: The level is not 1 to 5.
        """
        return interpolate(level, self.values, log=self.log)

    def shown(self, level: int) -> str:
        """Its value at a whole level, as people read it."""
        return f"{self.values[level - 1]:g}"


class Steps(NamedTuple):
    """A parameter of whole numbers: a level in between draws one of its two neighbours.

    Attributes:
        name: What it is, with its unit.
        values: At levels 1 to 5.
    """

    name: str
    values: tuple[tuple[int, ...], ...]

    def at(self, step: int) -> tuple[int, ...]:
        """Its value at a whole level."""
        return self.values[step - 1]

    def shown(self, level: int) -> str:
        """Its value at a whole level, as people read it."""
        return " ".join(map(str, self.values[level - 1]))


def draw_step(level: float, rng: Rng) -> int:
    """A whole level: ``level`` itself, or one of its neighbours, the nearer the likelier. Takes one draw."""
    return int(np.clip(np.floor(level + rng.random()), 1, 5))


CRF = Ladder("CRF of x264 and x265 (±1.5)", (22, 27, 32, 37, 42))
CBR_BITS = Ladder("bits a pixel of x264 CBR", (0.14, 0.08, 0.045, 0.025, 0.014), log=True)
QUANTISER = Ladder("quantiser of MPEG-2", (5, 9, 14, 21, 31))
DECIMATION = Ladder("decimation factor", (1.35, 1.7, 2.2, 3, 4.2), log=True)
BLUR_SIGMA = Ladder("sigma at 450 rows, pixels", (0.6, 0.95, 1.5, 2.3, 3.6), log=True)
NOISE_SIGMA = Ladder("sigma, grey levels", (2.2, 4, 7, 11, 17), log=True)
BAND_STEP = Ladder("luma step, grey levels", (3, 5, 8, 13, 20))
LOST_SHARE = Ladder("share of blocks lost", (0.004, 0.01, 0.025, 0.06, 0.14), log=True)
FIELD_DISTANCE = Steps("fields apart, pictures", ((1,), (1,), (1,), (2,), (3,)))
WOVEN_SHARE = Ladder("share woven", (0.15, 0.4, 0.8, 0.85, 1.0))
CADENCE = Steps("ticks that pictures are held", ((1, 1, 1, 2), (1, 2), (2, 3), (2, 4), (3, 5)))
BURST_LENGTH = Steps("burst, pictures", ((2,), (4,), (6,), (10,), (16,)))
BURST_COUNT = Steps("bursts in 4 s", ((2,), (2,), (3,), (3,), (3,)))
GAIN_PERCENT = Ladder("luma gain amplitude, %", (1.2, 2.5, 4.5, 8, 13), log=True)
FLICKER_CRF = Ladder("CRF of the badly coded runs", (27, 31, 35, 40, 46))
FREEZE_SECONDS = Ladder("held, s", (0.5, 1, 1.8, 2.8, 4), log=True)
BLACK_SECONDS = Ladder("black, s", (0.2, 0.5, 1, 2, 4), log=True)

#: Every parameter that a level sets, by distortion.
PARAMETERS: dict[str, tuple[Ladder | Steps, ...]] = {
    "compression": (CRF, CBR_BITS, QUANTISER),
    "aliasing": (DECIMATION,),
    "interlacing": (FIELD_DISTANCE, WOVEN_SHARE),
    "judder": (CADENCE,),
    "flicker": (GAIN_PERCENT, FLICKER_CRF),
    "frame_drop": (BURST_LENGTH, BURST_COUNT),
    "blur": (BLUR_SIGMA,),
    "noise": (NOISE_SIGMA,),
    "banding": (BAND_STEP,),
    "macroblocks": (LOST_SHARE,),
    "freeze": (FREEZE_SECONDS,),
    "black": (BLACK_SECONDS,),
}
