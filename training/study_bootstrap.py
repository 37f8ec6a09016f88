"""The bootstrap of `training.intervals` for the mean over runs of a correlation, for all resamples at once.

A resample is how often each clip is drawn, and a correlation of a resample is a weighted one. Taking all of them
as matrix products gives the same intervals as resampling clip by clip, some hundred times sooner.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from training.intervals import Interval
from training.metrics import MIN_PAIRS

F64 = npt.NDArray[np.float64]

#: Share of a sum of squares below which its spread is rounding noise.
_ROUNDING = 1e-13


def _correlation(x: F64, y: F64, w: F64) -> F64:
    """Pearson of values (n,) or (r, n) under weights (r, n): (r,), nan where one side is constant."""
    total = w.sum(axis=1, keepdims=True)
    centred, constant = [], np.zeros(len(w), dtype=bool)
    for values in (x, y):
        mean = (w * values).sum(axis=1, keepdims=True) / total
        apart = values - mean
        norm = np.sqrt((w * apart**2).sum(axis=1))
        constant |= norm <= _ROUNDING * np.abs(mean[:, 0]) * np.sqrt(total[:, 0])
        centred.append(apart / np.where(norm > 0, norm, np.nan)[:, None])
    found = np.clip((w * centred[0] * centred[1]).sum(axis=1), -1.0, 1.0)
    return np.where(constant, np.nan, found)


def _ranks(values: F64, w: F64) -> F64:
    """Mean ranks of values (n,) that are each there w times: (r, n)."""
    inverse = np.unique(values, return_inverse=True)[1]
    counts = np.zeros((len(w), int(inverse.max()) + 1))
    np.add.at(counts.T, inverse, w.T)
    ranks: F64 = (np.cumsum(counts, axis=1) - (counts - 1) / 2)[:, inverse]
    return ranks


def _lcc(x: F64, y: F64, w: F64) -> F64:
    return _correlation(x, y, w)


def _srocc(x: F64, y: F64, w: F64) -> F64:
    return _correlation(_ranks(x, w), _ranks(y, w), w)


def _krocc(x: F64, y: F64, w: F64) -> F64:
    # tau-b: copies of one clip are ties on both sides, which the signs of their differences say by themselves.
    a, b = (np.sign(values[:, None] - values[None, :]) for values in (x, y))
    agreed, untied_a, untied_b = (((w @ signs) * w).sum(axis=1) for signs in (a * b, np.abs(a), np.abs(b)))
    scale = np.sqrt(untied_a * untied_b)
    found: F64 = np.divide(agreed, scale, out=np.full(len(w), np.nan), where=scale > 0)
    return found


WEIGHTED = {"lcc": _lcc, "srocc": _srocc, "krocc": _krocc}


def mean_interval(
    runs: list[tuple[F64, F64, tuple[str, ...]]],
    figure: str,
    *,
    resamples: int,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of the mean over runs of a correlation.

    The runs' test sides overlap: a content may be tested in several runs. So contents are drawn once per resample
    from the union of all test sides, a drawn one brings its clips in every run that tests it, and the figure is
    taken in each run before it is averaged. Predictions of different runs are never ranked together, and runs that
    overlap do not count as new contents. The models are taken as given: the interval holds the choice of test
    contents, not that of training contents or seeds. A run without a number in a resample is left out of its mean.

    Args:
        runs: Predictions (n,), labels (n,) and n group names of every run.
        figure: ``srocc``, ``krocc`` or ``lcc``, as in `training.metrics`.
        resamples: How many.
        level: Confidence, 0..1.
        seed: Same seed, same interval.

    Returns:
        The interval; its ends are nan where fewer than half of the resamples gave a number.
    """
    names = {group: index for index, group in enumerate(dict.fromkeys(g for _, _, groups in runs for g in groups))}
    rng = np.random.default_rng(seed)
    drawn = np.zeros((resamples + 1, len(names)))
    drawn[0] = 1  # the data as they are
    for row in drawn[1:]:
        row[:] = np.bincount(rng.integers(len(names), size=len(names)), minlength=len(names))
    values = np.full((len(runs), resamples + 1), np.nan)
    for number, (predicted, labels, groups) in enumerate(runs):
        weights = drawn[:, [names[group] for group in groups]]
        enough = weights.sum(axis=1) >= MIN_PAIRS
        if enough.any() and np.isfinite(predicted).all() and np.isfinite(labels).all():
            values[number, enough] = WEIGHTED[figure](predicted, labels, weights[enough])
    known = np.isfinite(values)
    sums = np.where(known, values, 0).sum(axis=0)
    means = np.divide(sums, known.sum(axis=0), out=np.full(resamples + 1, np.nan), where=known.any(axis=0))
    held = means[1:][np.isfinite(means[1:])]
    low = high = float("nan")
    if held.size and 2 * held.size >= resamples:
        low, high = (float(v) for v in np.quantile(held, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(float(means[0]), low, high, level, int(held.size))
