"""Whether pictures are made of two fields, told from their lines.

Two neighbouring pictures give four fields. Where something moves, lines of one picture fit each other if it was taken
at once. If it was taken in two halves they fit no better than lines of one half and those of the neighbouring picture
that lie one field away, and better than those three fields away. Fine detail that stands still looks like combs in one
picture and like nothing here.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

import numpy as np

from monitor.types import U8

#: Side of what is looked at together: lines of a strip; a strip is 8 px wide.
_TILE_LINES = 16
#: Mean change of a tile, grey levels, from which on it counts as moving: above coding noise.
_MOVING = 3.0
#: So many tiles must move, or chance decides: some 2000 pixels.
_LEAST_TILES = 16
#: Lines of one picture fit each other better than those of two by this factor where it was taken at once.
_TAKEN_AT_ONCE = 1.4
#: Fields that lie three apart differ more than those that lie one apart, by this factor.
_FIELD_ORDER = 1.15
#: Lines of a combed picture fit the next but one better than the next, by this factor.
_COMBED = 1.2
#: Pictures whose lines differ by less than this have no vertical detail, and say nothing.
_LEAST_DETAIL = 0.5

#: Looks that are remembered: some six seconds where one picture in six is looked at.
_REMEMBERED = 24
_LEAST_LOOKS = 3
#: Shares of looks at which the verdict changes to interlaced and back. Film in interlaced video (2:3 pulldown) has two
#: combed pictures of five and comes to lie between them.
_RAISE, _CLEAR = 0.6, 0.2


class Look(Enum):
    """What two neighbouring pictures look like."""

    PROGRESSIVE = "progressive"
    INTERLACED = "interlaced"
    UNDECIDED = "undecided"


def look(previous: U8, current: U8) -> Look:
    """Compares two neighbouring pictures.

    Args:
        previous: (n, H, w) uint8 column strips of native luma.
        current: The same of the next picture, the same shape.
    """
    lines = current.shape[1] // _TILE_LINES * _TILE_LINES
    if previous.shape != current.shape or lines == 0:
        return Look.UNDECIDED
    p, c = previous.astype(np.int16), current.astype(np.int16)
    tiles = _tiles(np.abs(c - p)[:, :lines])
    moving = tiles > _MOVING
    if np.count_nonzero(moving) < _LEAST_TILES:
        return Look.UNDECIDED
    around = np.zeros_like(c)
    around[:, 1:-1] = c[:, :-2] + c[:, 2:]
    inside, across = np.abs(around - 2 * c), np.abs(around - 2 * p)
    for measure in (inside, across):
        measure[:, 0] = measure[:, -1] = 0
    own = float(_tiles(inside[:, :lines])[moving].mean())
    even = float(_tiles(across[:, :lines:2], _TILE_LINES // 2)[moving].mean())
    odd = float(_tiles(across[:, 1:lines:2], _TILE_LINES // 2)[moving].mean())
    near, far = min(even, odd), max(even, odd)
    if far < _LEAST_DETAIL:
        return Look.UNDECIDED
    if near > _TAKEN_AT_ONCE * own:
        # Neighbours in the decoder's output need not be neighbours in time: pictures may be lost between them. Combs
        # then show in the picture itself, whose lines fit the next but one better than the next.
        apart = np.abs(c[:, :-4] + c[:, 4:] - 2 * c[:, 2:-2])
        same = float(_tiles(np.pad(apart, ((0, 0), (2, 2), (0, 0)))[:, :lines])[moving].mean())
        if own > _COMBED * same:
            return Look.INTERLACED
        return Look.PROGRESSIVE if own < same else Look.UNDECIDED
    return Look.INTERLACED if far > _FIELD_ORDER * near else Look.UNDECIDED


def _tiles(values: np.ndarray, lines: int = _TILE_LINES) -> np.ndarray:
    """(n, H, w) -> (n, H // lines) means."""
    strips, height, width = values.shape
    tiles = values.reshape(strips, height // lines, lines * width)
    # Summed as whole numbers: exact, and in a third of the time.
    means: np.ndarray = np.add.reduce(tiles, axis=2, dtype=np.int32) / tiles.shape[2]
    return means


class ScanWatch:
    """What a stream's pictures are by most of its last looks; bounded state, one thread."""

    def __init__(self) -> None:
        self._looks: deque[bool] = deque(maxlen=_REMEMBERED)
        #: Whether the content is interlaced; None until three looks could tell.
        self.interlaced: bool | None = None

    def push(self, seen: Look) -> None:
        """Adds a look; one that could not tell changes nothing."""
        if seen is Look.UNDECIDED:
            return
        self._looks.append(seen is Look.INTERLACED)
        if len(self._looks) < _LEAST_LOOKS:
            return
        share = sum(self._looks) / len(self._looks)
        if share >= _RAISE:
            self.interlaced = True
        elif share <= _CLEAR:
            self.interlaced = False
        elif self.interlaced is None and len(self._looks) == self._looks.maxlen:
            self.interlaced = share >= (_RAISE + _CLEAR) / 2
