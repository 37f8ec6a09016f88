"""Figures of a study's cells: agreement and its spread, within types, within contents, and by the type alone."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.intervals import Interval
from training.metrics import agreement, srocc
from training.study_bootstrap import mean_interval
from training.study_results import CLEAN, Cell, Predictions

#: Figures of a run, by the names of `training.metrics.Agreement`, and their headings.
FIGURES = {
    "srocc": "SROCC",
    "krocc": "KROCC",
    "lcc": "LCC",
    "rmse": "RMSE",
    "plcc_fitted": "PLCC after logistic",
}
#: Those with a bootstrap interval; the others' would cost a curve fit per resample.
BOOTSTRAPPED = ("srocc", "krocc", "lcc")

#: Labels of one content closer than this share of the label range are not taken as ordered.
PAIR_MARGIN = 0.02
#: Key of the pairs of all types together.
ALL_PAIRS = ""


@dataclass(frozen=True, slots=True)
class Spread:
    """A figure over runs.

    Attributes:
        mean: Over the runs that have a number; nan where none has.
        sd: Standard deviation (n - 1); nan for fewer than two.
        runs: Runs that have a number.
    """

    mean: float
    sd: float
    runs: int


def spread(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of the values that are finite."""
    kept = [value for value in values if math.isfinite(value)]
    mean = float(np.mean(kept)) if kept else math.nan
    return Spread(mean, float(np.std(kept, ddof=1)) if len(kept) > 1 else math.nan, len(kept))


def groups_of(run: Predictions, by: str) -> tuple[str, ...]:
    """What a split by ``content`` or ``stem`` keeps together, for every clip."""
    return run.stems if by == "stem" else run.contents


@dataclass(frozen=True, slots=True)
class Measured:
    """A cell and its figures.

    Attributes:
        cell: What was run.
        values: For every name of `FIGURES`, the figure of each run.
        spreads: The same, over runs.
        intervals: For every name of `BOOTSTRAPPED`.
    """

    cell: Cell
    values: Mapping[str, tuple[float, ...]]
    spreads: Mapping[str, Spread]
    intervals: Mapping[str, Interval]


def measure(cell: Cell, resamples: int) -> Measured:
    """All figures of a cell that has runs."""
    found = [agreement(run.predicted, run.labels) for run in cell.runs]
    values = {name: tuple(float(getattr(one, name)) for one in found) for name in FIGURES}
    spreads = {name: spread(each) for name, each in values.items()}
    sides = [(run.predicted, run.labels, groups_of(run, cell.by)) for run in cell.runs]
    intervals = {name: mean_interval(sides, name, resamples=resamples) for name in BOOTSTRAPPED}
    return Measured(cell, values, spreads, intervals)


def within_type(run: Predictions) -> dict[str, float]:
    """SROCC among the clips of each distortion type; nan where labels or predictions are constant or too few."""
    kinds = np.array(run.distortions)
    return {kind: srocc(run.predicted[kinds == kind], run.labels[kinds == kind]) for kind in sorted(set(kinds) - {""})}


@dataclass(frozen=True, slots=True)
class Pairs:
    """How pairs of clips of one content are ordered.

    Attributes:
        share: Of the pairs ordered as their labels, 0..1; equal predictions count a half. nan without pairs.
        count: Pairs.
    """

    share: float
    count: int


def pair_accuracy(run: Predictions, margin: float) -> dict[str, Pairs]:
    """Accuracy within contents.

    Args:
        run: Predictions.
        margin: Pairs whose labels are not further apart than this are left out, label units.

    Returns:
        Of all pairs under `ALL_PAIRS`, and under each type of its pairs with the clean clips of the content.
    """
    members: dict[str, list[int]] = defaultdict(list)
    for index, content in enumerate(run.contents):
        members[content].append(index)
    right: dict[str, list[float]] = defaultdict(list)
    for chosen in members.values():
        for position, i in enumerate(chosen):
            for j in chosen[position + 1 :]:
                gap = float(run.labels[i] - run.labels[j])
                if abs(gap) <= margin:
                    continue
                predicted = float(run.predicted[i] - run.predicted[j])
                hit = 0.5 if predicted == 0 else float((predicted > 0) == (gap > 0))
                right[ALL_PAIRS].append(hit)
                kinds = {run.distortions[i], run.distortions[j]}
                if CLEAN in kinds and len(kinds - {CLEAN, ""}) == 1:
                    right[(kinds - {CLEAN}).pop()].append(hit)
    found = {kind: Pairs(float(np.mean(hits)), len(hits)) for kind, hits in right.items()}
    return {ALL_PAIRS: Pairs(math.nan, 0)} | found


def pair_margin(cells: Sequence[Cell]) -> float:
    """`PAIR_MARGIN` in label units: relative to the range of all labels of all test sides."""
    labels = [run.labels for cell in cells for run in cell.runs if run.labels.size]
    return PAIR_MARGIN * float(np.ptp(np.concatenate(labels))) if labels else 0.0


def type_oracle(cell: Cell) -> Spread:
    """SROCC over runs of predicting each clip by the mean label of its type outside the test side.

    Clips whose type is not met outside the test side are left out. No number where runs do not know those means.
    """
    values = []
    for run in cell.runs:
        if run.by_type is not None:
            known = np.isfinite(run.by_type)
            values.append(srocc(run.by_type[known], run.labels[known]))
    return spread(values)
