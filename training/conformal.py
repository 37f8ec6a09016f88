"""Intervals about a score that cover so many labels: split-conformal, by named cause, against our own labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from monitor.types import CAUSES, F64
from training.labels import CLEAN

#: What clean held-out material scores in the middle, on the published scale.
SCORE_CLEAN = 95.0
#: What an interval covers, and the clips that a cause needs for one of its own.
COVERED, _LEAST = 0.9, 20


def errors(score: F64, label: F64) -> F64:
    """Distances of scores from labels, in points.

    Args:
        score: (n,) 0-100, of clips that trained nothing.
        label: (n,) in [0, 1], CLEAN for clean; placed on the published scale here.
    """
    return np.abs(score - label / CLEAN * SCORE_CLEAN)


def widths(error: F64, cause: npt.NDArray[np.int64]) -> dict[str, float]:
    """Half-width, by named cause, that covers 90 % of labels, in points.

    Args:
        error: (n,) of `errors`.
        cause: (n,) index of the named cause.

    Source: Papadopoulos et al., "Inductive confidence machines for regression", ECML 2002: the quantile at
        (n + 1) x 0.9 of n, by group where a group is large enough (Mondrian).
    """
    result = {}
    for index, name in enumerate(CAUSES):
        of = error[cause == index]
        # Too few clips give no quantile of their own.
        result[name] = round(_quantile(of if len(of) >= _LEAST else error), 1)
    return result


def covered(error: F64, cause: npt.NDArray[np.int64], contents: Sequence[str]) -> npt.NDArray[np.bool_]:
    """Which labels lie within intervals that were fitted on all other contents.

    Args:
        error: (n,) of `errors`.
        cause: (n,) index of the named cause.
        contents: n, two different ones at least; clips of one are no evidence about each other.
    """
    inside = np.zeros(len(error), bool)
    of = np.asarray(contents)
    for content in dict.fromkeys(contents):
        mine = of == content
        fitted = widths(error[~mine], cause[~mine])
        limit = np.array([fitted[CAUSES[i]] for i in cause[mine]])
        inside[mine] = error[mine] <= limit
    return inside


def _quantile(error: F64) -> float:
    rank = min(len(error) - 1, int(np.ceil((len(error) + 1) * COVERED)) - 1)
    return float(np.sort(error)[rank])
