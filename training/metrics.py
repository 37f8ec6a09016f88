"""How well predicted scores agree with labels: correlations, errors, and how sure one can be of them.

One rule for degenerate input, everywhere in this file: fewer than three pairs, or any value that is not
finite, give ``nan``; a correlation of a constant (or constant but for rounding noise) gives ``nan`` as well.
Two arrays of different length are a programming error and raise ``ValueError``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import optimize, special, stats

F64 = npt.NDArray[np.float64]
Metric = Callable[[npt.ArrayLike, npt.ArrayLike], float]

MIN_PAIRS = 3

#: Spread relative to the mean below which a vector is constant but for the rounding of float64.
_ROUNDING = 1e-13


def _pairs(predicted: npt.ArrayLike, label: npt.ArrayLike) -> tuple[F64, F64] | None:
    """Both as float64 vectors, or None where the rule at the top of this file asks for nan."""
    x = np.asarray(predicted, dtype=np.float64)
    y = np.asarray(label, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(f"predictions and labels must be vectors of one length, got {x.shape} and {y.shape}")
    if x.size < MIN_PAIRS or not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    return x, y


def _pearson(x: F64, y: F64) -> float:
    """Pearson correlation of two finite vectors, nan where one of them is constant."""
    unit = []
    for values in (x, y):
        centred = values - values.mean()
        norm = float(np.linalg.norm(centred))
        if norm <= _ROUNDING * abs(float(values.mean())) * math.sqrt(values.size) or norm == 0.0:
            return math.nan
        unit.append(centred / norm)
    return float(np.clip(unit[0] @ unit[1], -1.0, 1.0))


def lcc(predicted: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Pearson's linear correlation of the raw predictions (no fit), -1..1."""
    pairs = _pairs(predicted, label)
    return math.nan if pairs is None else _pearson(*pairs)


def srocc(predicted: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Spearman's rank correlation, -1..1; ties share their mean rank."""
    pairs = _pairs(predicted, label)
    return math.nan if pairs is None else _pearson(stats.rankdata(pairs[0]), stats.rankdata(pairs[1]))


def krocc(predicted: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Kendall's tau-b, -1..1: concordant minus discordant pairs, corrected for ties on both sides."""
    pairs = _pairs(predicted, label)
    if pairs is None or np.ptp(pairs[0]) == 0 or np.ptp(pairs[1]) == 0:
        return math.nan
    return float(stats.kendalltau(*pairs, variant="b", method="asymptotic").statistic)


def rmse(predicted: npt.ArrayLike, label: npt.ArrayLike) -> float:
    """Root mean square error, in units of the label."""
    pairs = _pairs(predicted, label)
    return math.nan if pairs is None else float(np.sqrt(np.mean((pairs[0] - pairs[1]) ** 2)))


@dataclass(frozen=True, slots=True)
class Logistic4:
    """The monotone four-parameter logistic of the VQEG reports, from predictions to labels.

    ``f(x) = low + (high - low) / (1 + exp(-(x - centre) / width))`` with ``width > 0``; ``high < low`` where
    predictions fall as labels rise.

    Source: VQEG, "Final report on the validation of objective models of video quality assessment" (2000), in
        the form most papers use: beta1 = high, beta2 = low, beta3 = centre, |beta4| = width.
    """

    high: float
    low: float
    centre: float
    width: float

    def __call__(self, predicted: npt.ArrayLike) -> F64:
        """Predictions (n,) mapped to label units, (n,) float64."""
        z = (np.asarray(predicted, dtype=np.float64) - self.centre) / self.width
        return np.asarray(self.low + (self.high - self.low) * special.expit(z), dtype=np.float64)


#: Narrowest and widest curve, as the log of its width: a step between neighbours, and a straight line.
_LOG_WIDTHS = (-20.0, 20.0)


def _steepness(log_width: float) -> float:
    return math.exp(-min(max(log_width, _LOG_WIDTHS[0]), _LOG_WIDTHS[1]))


def _logistic(z: F64, high: float, low: float, centre: float, log_width: float) -> F64:
    return np.asarray(low + (high - low) * special.expit((z - centre) * _steepness(log_width)), np.float64)


def _logistic_jacobian(z: F64, high: float, low: float, centre: float, log_width: float) -> F64:
    slope = _steepness(log_width)
    u = (z - centre) * slope
    e = special.expit(u)
    d = (high - low) * e * (1 - e)
    return np.stack([e, 1 - e, -d * slope, -d * u], axis=1)  # (n, 4)


def _best_on_grid(z: F64, y: F64) -> tuple[float, float, float, float]:
    """High, low, centre and log width of the best curve on a grid; high and low are solved for."""
    centres = np.linspace(-3, 3, 25)
    best = (-1.0, 0.0, 0.0, 0.0, 0.0)
    for log_width in np.linspace(math.log(0.02), math.log(20), 25):
        e = special.expit((z - centres[:, None]) * math.exp(-log_width))  # (25, n)
        e_centred = e - e.mean(axis=1, keepdims=True)
        variance = (e_centred**2).sum(axis=1)
        slope = np.divide(e_centred @ (y - y.mean()), variance, out=np.zeros(25), where=variance > 1e-12)
        k = int(np.argmax(slope**2 * variance))
        explained = float(slope[k] ** 2 * variance[k])
        if explained > best[0]:
            low = float(y.mean() - slope[k] * e[k].mean())
            best = (explained, low + float(slope[k]), low, float(centres[k]), float(log_width))
    return best[1:]


def fit_logistic(predicted: npt.ArrayLike, label: npt.ArrayLike) -> Logistic4 | None:
    """Least-squares fit of `Logistic4` to n pairs.

    The optimum has local rivals, and where the data show less than both bends it lies at infinite asymptotes.
    So the start is the best point of a grid over centre and width (the asymptotes are linear, hence solved),
    on standardised predictions, and it is the answer where the polish from there does not converge.

    Returns:
        The fit; None for fewer than four pairs (it has four parameters) and for constant or non-finite input.
    """
    pairs = _pairs(predicted, label)
    if pairs is None or pairs[0].size < 4 or math.isnan(_pearson(*pairs)):
        return None
    x, y = pairs
    mean, scale = float(x.mean()), float(x.std())
    z = (x - mean) / scale
    found = _best_on_grid(z, y)
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            # The covariance is not used; for a perfect fit it cannot be estimated, or overflows.
            warnings.simplefilter("ignore", optimize.OptimizeWarning)
            polished, _ = optimize.curve_fit(_logistic, z, y, p0=found, jac=_logistic_jacobian, maxfev=400)
        if np.isfinite(polished).all():
            h, lo, c, w = (float(value) for value in polished)
            found = h, lo, c, w
    except RuntimeError:
        pass
    high, low, centre, log_width = found
    return Logistic4(high, low, mean + scale * centre, scale / _steepness(log_width))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Every figure for one set of predictions; see the functions of the same names.

    Attributes:
        n: Number of pairs.
        srocc: Spearman.
        krocc: Kendall tau-b.
        lcc: Pearson on the raw predictions.
        rmse: Of the raw predictions, label units.
        plcc_fitted: Pearson after `fit_logistic`; nan where there is no fit.
        rmse_fitted: RMSE after `fit_logistic`; nan where there is no fit.
    """

    n: int
    srocc: float
    krocc: float
    lcc: float
    rmse: float
    plcc_fitted: float
    rmse_fitted: float


def agreement(predicted: npt.ArrayLike, label: npt.ArrayLike) -> Agreement:
    """All of them at once."""
    fit = fit_logistic(predicted, label)
    mapped = None if fit is None else fit(predicted)
    return Agreement(
        n=int(np.asarray(predicted).size),
        srocc=srocc(predicted, label),
        krocc=krocc(predicted, label),
        lcc=lcc(predicted, label),
        rmse=rmse(predicted, label),
        plcc_fitted=math.nan if mapped is None else lcc(mapped, label),
        rmse_fitted=math.nan if mapped is None else rmse(mapped, label),
    )


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
