"""Figures of the bundle's report, against counting by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("scipy", reason="training needs scipy")

from monitor.types import CAUSES
from training.clip_agreement import auc, by_content, cause_outcomes, pair_outcomes, shares
from training.synthesis import ClipFacts

pytestmark = pytest.mark.train


def clip(kind: str, level: int, content: str = "a", variant: str = "", second: str = "") -> ClipFacts:
    return ClipFacts(content, content, kind, level, variant, 640, 360, 3.0, 20.0, None, second, 1 if second else 0)


def group(content: str, kind: str) -> list[ClipFacts]:
    return [
        clip("clean", 0, content, "plain"),
        clip("clean", 0, content, "cut"),
        *(clip(kind, n, content) for n in range(1, 6)),
    ]


def test_pairs_are_counted_within_a_group_and_adjacent_levels_apart() -> None:
    facts = [*group("a", "blur"), *group("b", "noise")]
    number = [0] * 7 + [1] * 7
    falling = np.array([90, 85, 80, 70, 60, 50, 40, 91, 86, 81, 71, 61, 51, 41.0])
    right = shares(pair_outcomes(falling, facts, number))
    assert right["pairs"][0] == right["adjacent"][0] == right["clean above 2+"][0] == 1.0
    assert right["pairs"].count == 20
    assert right["adjacent blur"].count == 4
    assert right["clean above 2+"].count == 8
    swapped = falling.copy()
    swapped[[2, 3]] = swapped[[3, 2]]
    wrong = shares(pair_outcomes(swapped, facts, number))
    assert wrong["pairs blur"].value == pytest.approx(9 / 10)
    assert wrong["adjacent blur"].value == pytest.approx(3 / 4)
    assert wrong["pairs noise"].value == 1.0


def test_causes_count_from_level_three_and_clean_by_variant() -> None:
    facts = [*group("a", "blur"), clip("noise", 4, "a", second="blur")]
    causes = np.zeros((8, len(CAUSES)))
    for row, name in enumerate(["clean", "noise", "blur", "clean", "blur", "clean", "blur", "noise"]):
        causes[row, CAUSES.index(name)] = 1
    right = shares(cause_outcomes(causes, facts))
    assert right["cause"].count == 3
    assert right["cause"].value == pytest.approx(2 / 3)
    assert right["cause mixed"].value == 1.0
    assert right["clean"].value == 0.5
    assert right["clean cut"].value == 0.0


def test_of_what_is_no_cause_it_counts_whether_it_was_noticed() -> None:
    facts = [clip("banding", level, "a") for level in (2, 3, 4)]
    causes = np.eye(len(CAUSES))[[0, 0, CAUSES.index("compression")]]
    right = shares(cause_outcomes(causes, facts))
    assert set(right) == {"not called clean banding"}
    assert right["not called clean banding"][0] == 0.5


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_auc_is_the_share_of_pairs_in_order(positive: list[int], negative: list[int]) -> None:
    expected = np.mean([1.0 if p > n else 0.5 if p == n else 0.0 for p in positive for n in negative])
    assert auc(np.array(positive, float), np.array(negative, float)) == pytest.approx(expected)


def test_auc_of_nothing_is_no_number() -> None:
    assert math.isnan(auc(np.array([]), np.array([1.0])))


def test_intervals_come_from_contents_and_not_from_clips() -> None:
    # Two contents, a hundred clips each, all alike within a content: clips would promise a narrow interval.
    value = np.repeat([0.0, 1.0], 100)
    estimate = by_content(lambda rows: float(value[list(rows)].mean()), ["a"] * 100 + ["b"] * 100)
    assert estimate.value == 0.5
    assert estimate.low == 0.0
    assert estimate.high == 1.0
