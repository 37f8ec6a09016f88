"""How sure one can be of a figure, and of a difference between two models."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import stats

from training.metrics import Metric, srocc


@dataclass(frozen=True, slots=True)
class Interval:
    """An estimate and its confidence interval.

    Attributes:
        estimate: On the data as they are.
        low: Lower end.
        high: Upper end.
        level: Confidence, 0..1.
        resamples: Bootstrap resamples that gave a number; degenerate ones are left out.
    """

    estimate: float
    low: float
    high: float
    level: float
    resamples: int


def bootstrap_interval(
    predicted: npt.ArrayLike,
    label: npt.ArrayLike,
    groups: Sequence[Hashable],
    metric: Metric = srocc,
    *,
    resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Percentile bootstrap of a metric that resamples whole groups.

    Versions of one content are not independent, so contents are drawn with replacement and bring all their
    clips. With few groups (fewer than about ten) a percentile interval is too narrow; say so beside it.

    Args:
        predicted: (n,) predictions.
        label: (n,) labels.
        groups: n group names, usually contents.
        metric: Function of predictions and labels.
        resamples: How many.
        level: Confidence, 0..1.
        seed: Same seed, same interval.

    Returns:
        The interval; its ends are nan where fewer than half of the resamples gave a number.
    """
    x = np.asarray(predicted, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    if len(groups) != x.size:
        raise ValueError(f"one group per pair is needed, got {len(groups)} for {x.size}")
    members: dict[Hashable, list[int]] = {}
    for index, group in enumerate(groups):
        members.setdefault(group, []).append(index)
    blocks = [np.array(block) for block in members.values()]
    rng = np.random.default_rng(seed)
    values: list[float] = []
    for _ in range(resamples if blocks else 0):
        drawn = np.concatenate([blocks[i] for i in rng.integers(len(blocks), size=len(blocks))])
        value = metric(x[drawn], y[drawn])
        if math.isfinite(value):
            values.append(value)
    low = high = math.nan
    if values and 2 * len(values) >= resamples:
        low, high = (float(v) for v in np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))
    return Interval(metric(x, y), low, high, level, len(values))


@dataclass(frozen=True, slots=True)
class PairedDifference:
    """How much better model a is than model b over the same runs.

    Attributes:
        mean: Mean of a - b.
        sd: Standard deviation of a - b (n - 1).
        low: Lower end of the confidence interval of the mean.
        high: Upper end.
        level: Confidence, 0..1.
        runs: Runs with a number for both.
        wins: Runs in which a > b.
    """

    mean: float
    sd: float
    low: float
    high: float
    level: float
    runs: int
    wins: int


def paired_difference(
    a: npt.ArrayLike, b: npt.ArrayLike, *, test_to_train: float = 0.0, level: float = 0.95
) -> PairedDifference:
    """Difference of two models whose i-th runs share split and seed.

    A spread over runs says nothing about a difference when splits are hard or easy for both models alike;
    pairing takes that out. Random re-splits reuse the same clips, so their runs are not independent and the
    plain interval is too narrow: pass ``test_to_train`` to widen it.

    Args:
        a: One figure per run of model a.
        b: The same of model b; a run that is nan in either is left out of both.
        test_to_train: Size of the test part over that of the training part (1/3 for 60/20/20) where the runs
            are random re-splits of one data set; 0 where they are independent.
        level: Confidence, 0..1.

    Returns:
        The interval from Student's t; nan ends for fewer than two runs.

    Source: Nadeau and Bengio, "Inference for the generalization error", Machine Learning 52 (2003): variance
        of the mean taken as (1/n + test/train) times the variance over runs.
    """
    x = np.asarray(a, dtype=np.float64)
    y = np.asarray(b, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"runs must be paired, got {x.shape} and {y.shape}")
    difference = (x - y)[np.isfinite(x) & np.isfinite(y)]
    runs = int(difference.size)
    if runs == 0:
        return PairedDifference(math.nan, math.nan, math.nan, math.nan, level, 0, 0)
    mean, wins = float(difference.mean()), int(np.sum(difference > 0))
    if runs < 2:
        return PairedDifference(mean, math.nan, math.nan, math.nan, level, runs, wins)
    sd = float(difference.std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, runs - 1)) * sd * math.sqrt(1 / runs + test_to_train)
    return PairedDifference(mean, sd, mean - half, mean + half, level, runs, wins)
