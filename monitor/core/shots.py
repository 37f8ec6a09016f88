"""Which shot of a feed a picture belongs to: its cuts, told from the small luma.

Two pictures of one shot have their light and dark in the same places, whatever their brightness and contrast; two
shots have not. Over 30 videos at 25 pictures a second, neighbours within a shot correlate by .63 or more, neighbours
across a cut by .30 or less.
"""

from __future__ import annotations

import numpy as np

from monitor.core.side_channel import block_means
from monitor.types import F64, U8

#: Pictures whose blocks correlate by less are unlike.
_LIKE = 0.5
#: Samples behind the first unlike one that must be like each other and unlike the last shot: one broken picture, a
#: flash and a film's leader are no shots. So late is a shot told.
TOLD_AFTER = 2
#: Blocks that are dark in both pictures say nothing: bars beside a narrow picture are the same in all shots.
_DARK = 24.0
_LEAST_SHARE = 0.25
#: Grey levels of spread between blocks below which a picture has no structure: black, a plain slate.
_FLAT = 2.0


class ShotCounter:
    """Numbers the shots of one stream, from 0. O(1) memory; not for several threads."""

    def __init__(self) -> None:
        self.shot = 0
        self._last: F64 | None = None
        self._other: F64 | None = None
        self._others = 0

    def push(self, luma: U8) -> int:
        """Adds one tick's picture, (H, W) uint8 of the same shape throughout; returns its shot's number.

        A shot is told from its third picture on. Fades and dissolves stay in theirs, as does what is flat.
        """
        now = block_means(luma).ravel()
        if float(now.std()) < _FLAT:
            return self.shot
        if self._last is None or self._last.size != now.size or _like(now, self._last):
            self._last, self._other = now, None
            return self.shot
        self._others = self._others + 1 if self._other is not None and _like(now, self._other) else 0
        self._other = now
        if self._others >= TOLD_AFTER:
            self.shot += 1
            self._last, self._other = now, None
        return self.shot


def _like(a: F64, b: F64) -> bool:
    seen = np.maximum(a, b) > _DARK
    count = int(np.count_nonzero(seen))
    if count < _LEAST_SHARE * a.size:
        return True
    if count < a.size:
        a, b = a[seen], b[seen]
    a, b = a - a.mean(), b - b.mean()
    # Where one of them is flat, they have nothing in common.
    return float(a @ b) > _LIKE * float(np.sqrt((a @ a) * (b @ b)))
