"""The faults that the demo puts on a feed, each with strengths at which nobody needs to look twice.

An effect is what one fault does from its first picture on. Effects see the clean feed by picture number, a little
way ahead too, and may keep what they hold; the encoder's share of a fault is its bit rate.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from itertools import accumulate
from typing import Protocol

import numpy as np

from monitor.types import U8

#: The clean feed: picture number to (H * 3 / 2, W) uint8 I420, read-only.
Pictures = Callable[[int], U8]

#: How far beyond the present picture an effect may look.
LOOK_AHEAD = 4


class Impairment(StrEnum):
    """What can be done to a feed."""

    BITRATE_COLLAPSE = "bitrate_collapse"
    INTERLACING = "interlacing"
    FRAME_DROP = "frame_drop"
    JUDDER = "judder"
    FREEZE = "freeze"
    BLACK = "black"
    LOSS = "loss"
    BLUR = "blur"
    NOISE = "noise"


class Effect(Protocol):
    """One fault while it lasts; used by one thread."""

    #: Rate of the encoder in bits per pixel, None for the feed's own.
    bits_per_pixel: float | None

    def picture(self, pictures: Pictures, number: int) -> U8 | None:
        """What is sent as picture ``number``; None sends nothing. Numbers come in order, without gaps."""
        ...


class Collapse:
    """The encoder is starved, the pictures are clean.

    Args:
        bits_per_pixel: 0.02 is a tenth of what these pictures need: smeared, and rebuilt in blocks.
    """

    def __init__(self, bits_per_pixel: float = 0.02) -> None:
        self.bits_per_pixel: float | None = bits_per_pixel

    def picture(self, pictures: Pictures, number: int) -> U8:
        """The clean picture."""
        return pictures(number)


class Interlacing:
    """Odd lines come from a later picture, so moving edges become combs.

    Args:
        lag: Pictures between the two fields, 1 to ``LOOK_AHEAD``.
    """

    bits_per_pixel: float | None = None

    def __init__(self, lag: int = 2) -> None:
        self._lag = lag

    def picture(self, pictures: Pictures, number: int) -> U8:
        """Even lines of this picture woven with odd lines of a later one, in all planes."""
        first, second = pictures(number), pictures(number + self._lag)
        woven = first.copy()
        height, width = first.shape[0] * 2 // 3, first.shape[1]
        woven[1:height:2] = second[1:height:2]
        # A chroma line is half as long as a luma line: the odd ones are the right halves below the luma.
        woven[height:].reshape(-1, 2, width // 2)[:, 1] = second[height:].reshape(-1, 2, width // 2)[:, 1]
        return woven


class Hold:
    """Pictures are shown for uneven times while the clock of the content goes on.

    Args:
        shown: For how many picture periods each shown picture stands, repeated over and over.
    """

    bits_per_pixel: float | None = None

    def __init__(self, shown: tuple[int, ...]) -> None:
        self._starts = frozenset(accumulate((0, *shown[:-1])))
        self._length = sum(shown)
        self._first: int | None = None
        self._held: U8 | None = None

    def picture(self, pictures: Pictures, number: int) -> U8:
        """This picture where a new one is due, otherwise the held one."""
        self._first = number if self._first is None else self._first
        if self._held is None or (number - self._first) % self._length in self._starts:
            self._held = pictures(number).copy()
        return self._held


class Freeze:
    """The picture before the fault stays."""

    bits_per_pixel: float | None = None

    def __init__(self) -> None:
        self._held: U8 | None = None

    def picture(self, pictures: Pictures, number: int) -> U8:
        """The picture just before the first one asked for."""
        if self._held is None:
            self._held = pictures(max(number - 1, 0)).copy()
        return self._held


class Black:
    """Legal black, nothing else."""

    bits_per_pixel: float | None = None

    def picture(self, pictures: Pictures, number: int) -> U8:
        """Luma 16, chroma 128."""
        picture = np.full_like(pictures(number), 128)
        picture[: picture.shape[0] * 2 // 3] = 16
        return picture


class Loss:
    """The sender is gone."""

    bits_per_pixel: float | None = None

    def picture(self, pictures: Pictures, number: int) -> U8 | None:
        """Nothing."""
        return None


class Blur:
    """Luma is out of focus.

    Args:
        passes: Times a 5x5 box average is applied; the standard deviation is the root of twice that, in pixels.
    """

    bits_per_pixel: float | None = None

    def __init__(self, passes: int = 3) -> None:
        self._passes = passes

    def picture(self, pictures: Pictures, number: int) -> U8:
        """The picture with blurred luma."""
        picture = pictures(number).copy()
        height = picture.shape[0] * 2 // 3
        luma = picture[:height].astype(np.uint16)
        for _ in range(self._passes):
            padded = np.pad(luma, 2, mode="edge")
            lines = padded[:-4] + padded[1:-3] + padded[2:-2] + padded[3:-1] + padded[4:]
            luma = lines[:, :-4] + lines[:, 1:-3] + lines[:, 2:-2] + lines[:, 3:-1] + lines[:, 4:]
            luma = (luma + 12) // 25
        picture[:height] = luma
        return picture


class Noise:
    """White noise on luma.

    Args:
        sigma: Standard deviation in code values.
    """

    bits_per_pixel: float | None = None

    def __init__(self, sigma: float = 12.0) -> None:
        self._sigma = sigma
        self._rng = np.random.default_rng(7)
        self._tile: np.typing.NDArray[np.int16] | None = None

    def picture(self, pictures: Pictures, number: int) -> U8:
        """The picture with noisy luma, legal range kept."""
        picture = pictures(number).copy()
        height, width = picture.shape[0] * 2 // 3, picture.shape[1]
        if self._tile is None:
            tile = self._rng.standard_normal((height + 64, width + 64), dtype=np.float32) * self._sigma
            self._tile = np.rint(tile).astype(np.int16)
        top, left = self._rng.integers(0, 64, 2)
        noisy = self._tile[top : top + height, left : left + width] + picture[:height]
        picture[:height] = np.clip(noisy, 16, 235)
        return picture


def _bursts(fps: float) -> tuple[int, ...]:
    """Picture times of lossy seconds: runs of good pictures between bursts of 0.25-0.5 s that are lost."""
    shown: list[int] = []
    for good, lost in ((9, 9), (14, 7), (7, 12), (12, 8), (10, 10)):  # at 25 fps
        shown += [1] * round(good * fps / 25) + [1 + round(lost * fps / 25)]
    return tuple(shown)


def effect(impairment: Impairment, fps: float) -> Effect:
    """A new effect of the demo's strength for one fault.

    Args:
        impairment: Which.
        fps: Pictures a second of the feed.
    """
    match impairment:
        case Impairment.BITRATE_COLLAPSE:
            return Collapse()
        case Impairment.INTERLACING:
            return Interlacing()
        case Impairment.FRAME_DROP:
            return Hold(_bursts(fps))
        case Impairment.JUDDER:
            return Hold((2, 4))
        case Impairment.FREEZE:
            return Freeze()
        case Impairment.BLACK:
            return Black()
        case Impairment.LOSS:
            return Loss()
        case Impairment.BLUR:
            return Blur()
        case Impairment.NOISE:
            return Noise()
