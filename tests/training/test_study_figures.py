"""Figures within types, within contents, and by the type alone."""

from __future__ import annotations

import math

import numpy as np
import pytest

pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")

from training.study_figures import (
    ALL_PAIRS,
    Pairs,
    measure,
    pair_accuracy,
    pair_margin,
    spread,
    type_oracle,
    within_type,
)
from training.study_results import Cell, Predictions

pytestmark = pytest.mark.train


def run(rows: list[tuple[str, str, float, float]], by_type: list[float] | None = None, seed: int = 0) -> Predictions:
    contents, kinds, labels, predicted = zip(*rows, strict=True)
    names = tuple(str(i) for i in range(len(rows)))
    guesses = None if by_type is None else np.array(by_type)
    return Predictions(seed, names, contents, contents, kinds, np.array(labels), np.array(predicted), guesses)


def test_pairs_count_within_a_content_and_beyond_the_margin() -> None:
    one = run(
        [
            ("a", "clean", 0.9, 0.5),
            ("a", "judder", 0.5, 0.4),  # right against clean
            ("a", "blur", 0.3, 0.6),  # wrong against clean and judder
            ("a", "blur", 0.31, 0.5),  # too near the other blur; a tie with clean; wrong against judder
            ("b", "judder", 0.7, 0.0),  # alone in its content
        ]
    )
    found = pair_accuracy(one, 0.02)
    assert found == {
        ALL_PAIRS: Pairs(1.5 / 5, 5),
        "judder": Pairs(1.0, 1),
        "blur": Pairs(0.25, 2),
    }


def test_a_run_without_pairs_has_no_share() -> None:
    found = pair_accuracy(run([("a", "clean", 1, 1), ("b", "clean", 0, 1)]), 0.0)[ALL_PAIRS]
    assert found.count == 0
    assert math.isnan(found.share)


def test_the_margin_is_relative_to_the_range_of_labels() -> None:
    runs = (run([("a", "clean", 20, 1)]), run([("a", "clean", 70, 1)], seed=1))
    assert pair_margin([Cell("random", "content", "sub-GRU", 50, "native", runs)]) == pytest.approx(1.0)
    assert pair_margin([]) == 0.0


def test_within_a_type_other_types_do_not_count() -> None:
    rows = [("a", "judder", i / 10, i / 10) for i in range(4)] + [("a", "blur", i / 10, 5 - i) for i in range(4)]
    rows += [("a", "clean", 0.9, i) for i in range(4)]
    found = within_type(run(rows))
    assert found["judder"] == pytest.approx(1)
    assert found["blur"] == pytest.approx(-1)
    assert math.isnan(found["clean"])


def test_the_type_oracle_leaves_out_types_it_never_met() -> None:
    rows = [("a", "clean", label, 0.0) for label in (0.1, 0.2, 0.3, 0.0)]
    cell = Cell("random", "content", "sub-GRU", 50, "native", (run(rows, [1, 2, 3, math.nan]), run(rows, seed=1)))
    assert type_oracle(cell).mean == pytest.approx(1)
    assert type_oracle(cell).runs == 1


def test_figures_over_runs_leave_out_what_is_not_a_number() -> None:
    rows = [(c, "blur", i + j / 9, float(i + j)) for i, c in enumerate("abc") for j in range(4)]
    flat = [(content, kind, label, 0.0) for content, kind, label, _ in rows]
    found = measure(Cell("random", "content", "sub-GRU", 50, "native", (run(rows), run(flat, seed=1))), 20)
    assert found.spreads["srocc"].runs == 1
    assert math.isnan(found.spreads["srocc"].sd)
    assert found.spreads["rmse"].runs == 2
    assert found.intervals["srocc"].estimate == found.values["srocc"][0]
    assert math.isnan(spread([math.nan]).mean)
