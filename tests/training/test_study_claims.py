"""Verdicts on published orderings."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")

from training.intervals import paired_difference
from training.published import CLAIMS
from training.study_claims import paired_runs, verdict
from training.study_results import Cell, Predictions

pytestmark = pytest.mark.train


def cell(*runs: tuple[int, str]) -> Cell:
    one = np.array([1.0])
    made = tuple(Predictions(seed, (c,), (c,), (c,), ("clean",), one, one) for seed, c in runs)
    return Cell("trained", "content", "sub-GRU", 50, "native", made)


@pytest.mark.parametrize(
    ("differences", "published", "said"),
    [
        ([0.10, 0.11, 0.12], 0.05, "holds (interval excludes 0)"),
        ([0.10, 0.11, 0.12], -0.05, "reversed (interval excludes 0)"),
        ([-0.10, 0.11, 0.12], 0.05, "same direction, interval includes 0"),
        ([-0.10, 0.11, 0.12], -0.05, "opposite direction, interval includes 0"),
        ([0.0, 0.0, 0.0], 0.05, "no difference, interval includes 0"),
        ([0.1], 0.05, "same direction, no interval from one run"),
        ([0.10, 0.11, 0.12], 0.0, "no published direction, interval excludes 0"),
        ([0.10, 0.11, 0.12], math.nan, "not published, interval excludes 0"),
        ([math.nan], 0.05, "no figure"),
    ],
)
def test_a_verdict_follows_from_interval_and_direction(differences: list[float], published: float, said: str) -> None:
    found = paired_difference(differences, [0.0] * len(differences), test_to_train=1 / 3)
    assert verdict(found, published) == said


def test_runs_are_paired_by_seed_and_only_on_the_same_contents() -> None:
    a, b = cell((0, "x"), (1, "y"), (2, "z")), cell((2, "z"), (1, "other"), (5, "x"))
    assert paired_runs(a, b) == [(2, 0)]


def test_published_differences_are_those_of_the_paper() -> None:
    found = {claim.name: claim.published("srocc") for claim in CLAIMS}
    assert found == {
        "avg-GRU − no-time": 0.087,
        "sub-GRU − avg-GRU": 0.058,
        "sub-GRU − sub-LSTM": 0.007,
        "sub-GRU − no-time": 0.145,
        "R50 − R18": 0.045,
        "R101 − R50": -0.003,
        "25 fps − native": 0.006,
        "20 fps − 25 fps": -0.004,
        "10 fps − 25 fps": -0.015,
        "5 fps − 25 fps": -0.037,
        "ChipQA − VSFA": 0.03,
    }
    assert math.isnan(CLAIMS[-1].published("krocc"))
