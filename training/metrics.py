"""How well predicted scores agree with labels: correlations and errors, raw and after a logistic fit.

One rule for degenerate input, everywhere in this file: fewer than three pairs, or any value that is not
finite, give ``nan``; a correlation of a constant (or constant but for rounding noise) gives ``nan`` as well.
Two arrays of different length are a programming error and raise ``ValueError``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
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
