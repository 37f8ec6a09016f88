"""Pictures that come round again: a server that plays its last GOP, or its last seconds, over and over.

Every player calls such a feed live: bytes come, pictures change, time goes on or jumps back with each round. What
gives it away is exactness. Nothing filmed returns to the same picture in every part of it, and for a whole period;
a recording that is played again does.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import numpy.typing as npt

from monitor.types import U8

#: Longest period looked for by default: GOPs of broadcast and most of OTT reach 2 s. Longer loops may be programme or a
#: test: carousels, idents, line-up clips that a lab plays over and over.
LONGEST_LOOP_S = 3.0

#: Side of a block of the signature, pixels of the small luma.
BLOCK = 8
#: Signatures count in 1/16 of a grey level.
_SCALE = 16
#: A block returned if its mean is within this of what it was, grey levels. A loop of coded pictures is exact; one that
#: is encoded anew pulses by 1.2 between intra pictures at x264 CRF 23 (see ``detectors``).
SAME_LEVEL = 1.5
#: A block moved within the period if its mean ranged over this much.
MOVED_LEVEL = 6.0
#: So much of the picture must have moved, as a share of the blocks. Less is a still picture with something small
#: going round in it: a spinner or a clock on a slate, a lamp that blinks.
MOVED_SHARE = 0.1
#: Rounds are compared tick by tick; a picture in ten may fail to return, because the grid took its neighbour (a loop
#: of 29.97 fps does not take whole ticks) or the decoder started a round on a damaged picture.
_FORGIVEN = 3.0
_RECOVERY = 0.1
_SAME = round(SAME_LEVEL * _SCALE)
_SHORTEST_TICKS = 2
#: Pictures that all came before, in their order, for this long or for a whole round and one more, are no chance.
_SURE_S = 3.0
#: Blocks compared first: every 17th, which wanders over rows of 20.
_PROBES = slice(8, None, 17)
#: Ticks between two looks at whether anything moved.
_LOOK_EVERY = 5

I16 = npt.NDArray[np.int16]


class LoopDetector:
    """Finds the period with which a stream's pictures repeat exactly, in the order of its ticks.

    For every period up to the longest it counts for how long each picture has been the one a period ago. It keeps one
    longest period of signatures (220 numbers each, 66 kB at 25 fps), and costs some 0.1 ms a tick. A still picture is
    no loop; neither is one in which only a small part moves. A full-screen animation of a few seconds that is shown
    over and over is one: nothing in the pictures tells it from a server that is stuck, and a feed that shows nothing
    else has no programme. Where that is wanted, ``longest_s`` is 0. Not for several threads.

    Args:
        fps: Ticks per second of media time.
        longest_s: Longest period looked for, seconds; 0 looks for none.
    """

    def __init__(self, fps: Fraction | float, longest_s: float = LONGEST_LOOP_S) -> None:
        if fps <= 0 or longest_s < 0:
            raise ValueError(f"fps must be positive and longest_s not negative, got {fps} and {longest_s}")
        self._fps = float(fps)
        self._size = round(longest_s * float(fps))
        self._sure = round(_SURE_S * float(fps))
        self._recent: I16 | None = None  # the ring twice, so that any window of it is one piece
        self._pushed = 0
        # Both by lag: index n is a period of n + 1 ticks.
        self._matched = np.zeros(self._size, np.int32)
        self._failed = np.zeros(self._size)
        self._period = 0

    @property
    def period_s(self) -> float | None:
        """Period of the present loop; None where there is none."""
        return self._period / self._fps if self._period else None

    def push(self, luma: U8) -> float:
        """Adds one tick's picture.

        Args:
            luma: (H, W) uint8, both sides at least 8; a new shape starts anew.

        Returns:
            Media seconds for which each picture has been the one a round before; 0 before a third round has begun or
            3 s came again, so that a moment that is shown twice is no loop.
        """
        if self._size < _SHORTEST_TICKS:
            return 0.0
        signature = _signature(luma)
        if self._recent is None or self._recent.shape[1] != signature.size:
            self._recent = np.zeros((2 * self._size, signature.size), np.int16)
            self._pushed = 0
            self._matched[:] = 0
            self._failed[:] = 0
            self._period = 0
        self._compare(signature, self._recent)
        slot = self._pushed % self._size
        self._recent[slot] = self._recent[slot + self._size] = signature
        self._pushed += 1
        if self._pushed % _LOOK_EVERY == 0 or self._period:
            self._look(self._recent)
        if not self._period:
            return 0.0
        return float(self._matched[self._period - 1]) / self._fps

    def _compare(self, signature: I16, recent: I16) -> None:
        known = min(self._pushed, self._size)
        if not known:
            return
        slot = self._pushed % self._size
        past = recent[slot + self._size - known : slot + self._size][::-1]  # newest first: row n is n + 1 ticks ago
        same = np.zeros(known, np.bool_)
        # A few blocks rule out nearly every period of a moving picture, at a tenth of the cost of all of them.
        likely = np.flatnonzero((np.abs(past[:, _PROBES] - signature[_PROBES]) <= _SAME).all(axis=1))
        same[likely] = np.abs(past[likely] - signature).max(axis=1, initial=0) <= _SAME
        matched, failed = self._matched[:known], self._failed[:known]
        failed *= 1 - _RECOVERY
        failed += ~same
        matched += 1
        # What failed too often, or never held, is no period.
        gone = (failed > _FORGIVEN) | (~same & (matched <= 1))
        matched[gone] = 0
        failed[gone] = 0

    def _look(self, recent: I16) -> None:
        """Finds the shortest period that held for long enough, with enough of the picture moving meanwhile."""
        lags = np.arange(1, self._size + 1)
        held = np.where(self._matched > np.minimum(lags, self._sure), np.minimum(lags, self._matched), 0)
        held[: _SHORTEST_TICKS - 1] = 0
        if self._period and held[self._period - 1] and self._moved(recent, int(held[self._period - 1])):
            return
        self._period = 0
        low, high = 1, int(held.max(initial=0))
        if not high or not self._moved(recent, high):
            return
        # What moved in a window moved in every longer one; halving finds the shortest.
        while low < high:
            middle = (low + high) // 2
            if self._moved(recent, middle):
                high = middle
            else:
                low = middle + 1
        self._period = int(np.flatnonzero(held >= low)[0]) + 1

    def _moved(self, recent: I16, ticks: int) -> bool:
        slot = self._pushed % self._size
        window = recent[slot + self._size - ticks : slot + self._size]
        moved = window.max(axis=0) - window.min(axis=0) >= MOVED_LEVEL * _SCALE
        return float(moved.mean()) >= MOVED_SHARE


def _signature(luma: U8) -> I16:
    """Means of the 8x8 blocks, 1/16 grey levels; a remainder at the right and bottom is left out."""
    rows, columns = luma.shape[0] // BLOCK, luma.shape[1] // BLOCK
    bands = luma[: rows * BLOCK, : columns * BLOCK].reshape(rows, BLOCK, columns * BLOCK).sum(axis=1, dtype=np.uint16)
    sums = bands.reshape(rows * columns, BLOCK).sum(axis=1, dtype=np.uint16)
    signature: I16 = (sums >> 2).astype(np.int16)  # 64 pixels -> 1/16
    return signature
