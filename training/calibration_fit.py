"""Fitting pooled quality to ratings, as a bundle can hold it, and how well a fit does on what it has not seen."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from engines.bundle import CalibrationPart
from monitor.types import CAUSES, F64
from training.errors import DataError
from training.intervals import Interval, bootstrap_interval
from training.metrics import Logistic4, Metric, fit_logistic, lcc, rmse, srocc

#: Up to so many contents, each is left out in turn; beyond it they are left out in five parts.
_LEAVE_ONE_OUT = 20
_FOLDS = 5
#: An interval of 90 % wants so many clips, of so many contents; a cause of its own wants as many clips.
INTERVAL_CLIPS, INTERVAL_CONTENTS = 20, 5
_COVERAGE = 0.9
#: Where the curve rises within this share of the range of qualities, it is a step.
_STEP = 0.05
METRICS: dict[str, Metric] = {"srocc": srocc, "lcc": lcc, "rmse": rmse}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What clips score by a fit to the other contents.

    Attributes:
        shown: (n,) scores, 0-100.
        how: In words.
        flat: Fits that did not rise, whose clips got the mean rating in place of a score.
    """

    shown: F64
    how: str
    flat: int


def fit_ratings(quality: F64, shown: F64) -> Logistic4:
    """The rising four-parameter logistic through ratings.

    Args:
        quality: (n,) pooled quality of each clip.
        shown: (n,) its rating, 0-100.

    Raises:
        DataError: Qualities are all the same, or ratings fall as they rise.
    """
    found = _rising(quality, shown)
    if found is None:
        order = srocc(quality, shown)
        if math.isnan(order):
            raise DataError("fit", ["the model gives all clips the same quality"])
        raise DataError("fit", [f"ratings fall as the model's scores rise (SROCC {order:.2f}); is more worse?"])
    return found


def _rising(quality: F64, shown: F64) -> Logistic4 | None:
    found = fit_logistic(quality, shown)
    rises = found is not None and found.high > found.low and srocc(quality, shown) > 0
    return found if rises else None


def calibration_of(curve: Logistic4) -> CalibrationPart:
    """The curve cut at 0 and 100, as a bundle keeps it: a logistic, then a line; exact but for rounding."""
    span = curve.high - curve.low
    # Where the logistic reaches 0 and 100, or its own ends.
    ends = [min(max((score - curve.low) / span, 0.0), 1.0) for score in (0.0, 100.0)]
    scores = [min(max(value, 0.0), 100.0) for value in (curve.low, curve.high)]
    return CalibrationPart(
        logistics=((1 / curve.width, -curve.centre / curve.width),), points=tuple(zip(ends, scores, strict=True))
    )


def calibrated(curve: Logistic4, quality: F64) -> F64:
    """What the bundle will show, (n,) 0-100."""
    return np.clip(curve(quality), 0.0, 100.0)


def is_step(curve: Logistic4, quality: F64) -> bool:
    """Whether 10 to 90 % of the curve lie within a twentieth of the qualities."""
    return 2 * math.log(9) * curve.width < _STEP * float(np.ptp(quality))


def held_out(quality: F64, shown: F64, contents: Sequence[str], seed: int = 0) -> HeldOut | None:
    """Scores of each clip by a fit that has not seen its content; None for fewer than three contents."""
    names = sorted(set(contents))
    if len(names) < 3:
        return None
    order = np.random.default_rng(seed).permutation(len(names))
    folds = len(names) if len(names) <= _LEAVE_ONE_OUT else _FOLDS
    fold_of = {names[i]: place % folds for place, i in enumerate(order.tolist())}
    member = np.array([fold_of[name] for name in contents])
    found, flat = np.empty(len(quality)), 0
    for fold in range(folds):
        out = member == fold
        curve = _rising(quality[~out], shown[~out])
        flat += curve is None
        found[out] = shown[~out].mean() if curve is None else calibrated(curve, quality[out])
    how = "leave one content out" if folds == len(names) else f"{folds}-fold by content"
    return HeldOut(found, how, flat)


def figures(predicted: F64, shown: F64, contents: Sequence[str], resamples: int, seed: int = 0) -> dict[str, Interval]:
    """SROCC, LCC and RMSE (points), each with an interval of 95 % that draws whole contents."""
    return {
        name: bootstrap_interval(predicted, shown, contents, metric, resamples=resamples, seed=seed)
        for name, metric in METRICS.items()
    }


def intervals_of(
    held: HeldOut | None, shown: F64, contents: Sequence[str], causes: Sequence[str] | None
) -> dict[str, float]:
    """Half-width, by cause, of 90 % intervals against the ratings: split-conformal, on scores of contents left out.

    Args:
        held: Scores by fits to other contents.
        shown: (n,) ratings.
        contents: Of each clip.
        causes: What the model names of each clip; None where that is unknown.

    Returns:
        By name; empty where clips or contents are too few to say anything.
    """
    if held is None or len(shown) < INTERVAL_CLIPS or len(set(contents)) < INTERVAL_CONTENTS:
        return {}
    error = np.abs(held.shown - shown)
    found = {}
    for name in CAUSES:
        own = error[[cause == name for cause in causes]] if causes is not None else error[:0]
        found[name] = round(_conformal(own if len(own) >= INTERVAL_CLIPS else error), 1)
    return found


def _conformal(error: F64) -> float:
    """The quantile that covers a further clip with the wanted probability, where clips are exchangeable."""
    rank = math.ceil((len(error) + 1) * _COVERAGE)
    return float(np.sort(error)[min(rank, len(error)) - 1])
