"""The regressor that ChipQA's features go into: scaling to -1..1 and a support vector machine.

As published: RBF kernel, gamma and C by grid search, folds that share no content, everything within the
training part. What the descriptions leave open is scikit-learn's default: epsilon 0.1 label units, and the
fold score R^2. Ours is a limit of iterations, for corners of the grid that would take very long to lose.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, GroupKFold
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import MinMaxScaler
from sklearn.svm import SVR

F64 = npt.NDArray[np.float64]

GAMMAS = tuple(np.logspace(-8, 1, 10).tolist())
COSTS = tuple(2.0**k for k in range(1, 11))
FOLDS = 5


class ChipqaRegressor:
    """Scaler and SVR with the parameters that the grid search chose.

    Args:
        features: (n, F) features of the training clips.
        labels: (n,) opinion scores.
        groups: Content (or stem) of each clip.
        gammas: Kernel widths to try.
        costs: Costs C to try.

    Raises:
        ValueError: Fewer than two groups, or values that are not finite.

    Attributes:
        gamma: Chosen kernel width.
        cost: Chosen C.
    """

    def __init__(
        self,
        features: F64,
        labels: F64,
        groups: Sequence[str],
        gammas: Sequence[float] = GAMMAS,
        costs: Sequence[float] = COSTS,
    ) -> None:
        folds = min(FOLDS, len(set(groups)))
        if folds < 2:
            raise ValueError("the grid search needs at least two contents")
        # The scaler is inside, so a fold is scaled by its own training part.
        steps = Pipeline([("scale", MinMaxScaler((-1, 1))), ("svr", SVR(kernel="rbf", max_iter=200_000))])
        grid = {"svr__gamma": list(gammas), "svr__C": list(costs)}
        search = GridSearchCV(steps, grid, cv=GroupKFold(folds))
        with warnings.catch_warnings():
            # Extreme corners of the grid stop at the iteration limit; they are not the ones that win.
            warnings.simplefilter("ignore", ConvergenceWarning)
            search.fit(features, labels, groups=list(groups))
        self._search = search
        self.gamma = float(search.best_params_["svr__gamma"])
        self.cost = float(search.best_params_["svr__C"])

    def predict(self, features: F64) -> F64:
        """Scores in label units: (m, F) -> (m,)."""
        return np.asarray(self._search.predict(features), dtype=np.float64)
