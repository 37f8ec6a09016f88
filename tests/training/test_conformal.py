"""Claims of training.conformal."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from monitor.types import CAUSES
from training.conformal import COVERED, covered, errors, widths


@given(st.integers(30, 400), st.integers(0, 2**32 - 1))
def test_widths_cover_the_share_of_what_they_were_fitted_on(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    error, cause = rng.exponential(5, count), rng.integers(len(CAUSES), size=count)
    fitted = widths(error, cause)
    # By the pooled quantile a cause of few clips may be covered less; where all have their own, none is.
    if np.bincount(cause, minlength=len(CAUSES)).min() >= 20:
        limit = np.array([fitted[CAUSES[i]] for i in cause])
        assert np.mean(error <= limit + 0.05) >= COVERED


def test_labels_of_new_contents_are_covered_nine_times_in_ten() -> None:
    rng = np.random.default_rng(1)
    contents = [f"content {n}" for n in range(200) for _ in range(10)]
    cause = rng.integers(3, size=len(contents))
    error = rng.exponential(1 + cause)
    share = covered(error, cause, contents).mean()
    assert abs(share - COVERED) < 0.02


def test_a_content_that_is_unlike_all_others_is_not_covered_by_itself() -> None:
    error = np.array([1.0] * 60 + [50.0] * 6)
    inside = covered(error, np.zeros(66, int), ["plain"] * 30 + ["other"] * 30 + ["odd"] * 6)
    assert inside[:60].all()
    assert not inside[60:].any()


def test_a_clean_label_is_where_clean_clips_score() -> None:
    assert errors(np.array([95.0, 85.0]), np.array([0.95, 0.95])).tolist() == [0.0, 10.0]
