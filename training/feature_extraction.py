"""Frame features of one clip at several frame rates, in one pass of the decoder.

Pictures are chosen by the monitor's own grid and cut and run by its own code, so that what a head is trained on is what
it sees in service. A picture that several rates show is decoded, cut and inferred once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt

from engines.base import FeatureEngine
from engines.errors import PictureError
from engines.preprocess import InputMode, InputSpec, PictureCutter
from monitor.core.sampling import SampleGrid, Tick
from monitor.core.timestamps import MediaClock, Verdict
from training.errors import DataError, UsageError

F32 = npt.NDArray[np.float32]

#: Every decoded picture, whatever its time.
NATIVE = "native"
#: The five of the study's Figure 4.
RATES = (NATIVE, "25", "20", "10", "5")

#: Pictures per inference; larger ones are slower on a CPU where pictures are whole.
_BATCH = 16


def parse_rate(text: str) -> str:
    """A rate's canonical name: ``native``, or pictures a second as ``25`` or ``30000/1001``.

    Raises:
        UsageError: It is neither.
    """
    if text == NATIVE:
        return text
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(f"a frame rate is 'native' or a number such as 25 or 30000/1001, not {text!r}") from error
    if not 1 <= rate <= 120:
        raise UsageError(f"frame rates are 1 to 120, got {text}")
    return str(rate)


class _Shown:
    """One decoded picture; its row in the features once a rate shows it."""

    __slots__ = ("picture", "row")

    def __init__(self, picture: av.VideoFrame) -> None:
        self.picture: av.VideoFrame | None = picture
        self.row: int | None = None


class _Rows:
    """Cuts and infers pictures in the order in which they are first asked for."""

    def __init__(self, engine: FeatureEngine, spec: InputSpec) -> None:
        self._engine = engine
        self._cutter = PictureCutter(spec)
        self._size = _BATCH if spec.mode is InputMode.FRAGMENTS else 1
        self._waiting: list[npt.NDArray[np.uint8]] = []
        self._parts: list[F32] = []
        self._count = 0

    def row_of(self, shown: _Shown) -> int:
        if shown.row is None:
            assert shown.picture is not None
            pixels = self._cutter.pixels(shown.picture)
            # A picture of another size than the one before goes into a batch of its own.
            if len(self._waiting) == self._size or (self._waiting and self._waiting[0].shape != pixels.shape):
                self._infer()
            self._waiting.append(pixels)
            shown.row, shown.picture = self._count, None
            self._count += 1
        return shown.row

    def _infer(self) -> None:
        if self._waiting:
            self._parts.append(self._engine.infer(np.stack(self._waiting)))
            self._waiting.clear()

    def all(self) -> F32:
        self._infer()
        return np.concatenate(self._parts) if self._parts else np.empty((0, 0), np.float32)


class _Rate:
    """What one rate shows: row numbers, tick by tick. Broken time begins a new grid, as in the monitor."""

    def __init__(self, rate: str) -> None:
        self._fps = Fraction(rate)
        self.rows: list[int] = []
        self._begin()

    def _begin(self) -> None:
        self._clock = MediaClock()
        self._grid: SampleGrid[_Shown] = SampleGrid(self._fps)
        self._end_90k = 0

    def push(self, shown: _Shown, pts: int | None, time_base: Fraction, rows: _Rows) -> None:
        stamp = self._clock.place(pts, time_base)
        if stamp.verdict is Verdict.SKIP:
            return
        if stamp.verdict is Verdict.DISCONTINUITY:
            self.end(rows)
            self._begin()
            stamp = self._clock.place(pts, time_base)
        self._end_90k = stamp.time_90k + self._clock.step_90k
        self._take(self._grid.push(stamp.time_90k, shown), rows)

    def end(self, rows: _Rows) -> None:
        self._take(self._grid.flush(self._end_90k), rows)

    def _take(self, ticks: Iterable[Tick[_Shown]], rows: _Rows) -> None:
        self.rows += [rows.row_of(tick.payload) for tick in ticks]


def extract_features(
    frames: Iterable[av.VideoFrame], rates: Sequence[str], engine: FeatureEngine, spec: InputSpec, name: str = "clip"
) -> dict[str, F32]:
    """Features of one clip.

    Args:
        frames: Its pictures in presentation order, with time stamps; a few are held in memory.
        rates: Of `parse_rate`.
        engine: Of a trunk that takes ``spec``; used from this thread.
        spec: How pictures are cut.
        name: Of the clip, for errors.

    Returns:
        By rate, (T, F) float32; T is the rate times the length, or the number of pictures for ``native``.

    Raises:
        DataError: The clip holds no pictures, some that cannot be cut, or ones that give features without end.
    """
    rows = _Rows(engine, spec)
    grids = {rate: _Rate(rate) for rate in rates if rate != NATIVE}
    native: list[int] = []
    try:
        for frame in frames:
            shown = _Shown(frame)
            if NATIVE in rates:
                native.append(rows.row_of(shown))
                # The grids need no more than its row.
            for grid in grids.values():
                grid.push(shown, frame.pts, frame.time_base or Fraction(1, 90_000), rows)
        for grid in grids.values():
            grid.end(rows)
    except PictureError as error:
        raise DataError(name, [str(error)]) from error
    found = rows.all()
    if not len(found):
        raise DataError(name, ["no pictures"])
    if not np.isfinite(found).all():
        raise DataError(name, ["the trunk gives features that are not finite"])
    # Numerically a constant trunk is worth a word of its own: nothing can be learned from it.
    if math.isclose(float(found.std()), 0.0, abs_tol=1e-12):
        raise DataError(name, ["the trunk gives the same features for everything"])
    return {rate: found[native if rate == NATIVE else grids[rate].rows] for rate in rates}
