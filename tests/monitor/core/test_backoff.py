"""Waits between attempts."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.backoff import Backoff


class Highest(Random):
    """Jitter that always draws the bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def test_bounds_double_up_to_the_cap() -> None:
    backoff = Backoff(rng=Highest())
    assert [backoff.delay() for _ in range(6)] == [0.25, 0.5, 1.0, 2.0, 2.0, 2.0]


@settings(max_examples=20)
@given(st.integers(0, 2**32), st.integers(1, 3000))
def test_waits_lie_between_zero_and_the_bound(seed: int, attempts: int) -> None:
    backoff = Backoff(rng=Random(seed))
    waits = [backoff.delay() for _ in range(attempts)]
    assert all(0 <= wait <= min(2.0, 0.25 * 2 ** min(n, 3)) for n, wait in enumerate(waits))
    assert backoff.attempts == attempts


def test_jitter_spreads_a_crowd() -> None:
    waits = sorted(Backoff(rng=Random(seed)).delay() for seed in range(200))
    assert waits[0] < 0.02
    assert waits[-1] > 0.23


def test_only_lasting_success_starts_over() -> None:
    backoff = Backoff(rng=Highest())
    for _ in range(4):
        backoff.delay()
    backoff.succeeded(100.0)
    backoff.succeeded(129.9)
    assert backoff.delay() == 2.0
    backoff.succeeded(140.0)  # the failure in between ended the first success
    backoff.succeeded(160.0)
    assert backoff.delay() == 2.0
    backoff.succeeded(200.0)
    backoff.succeeded(230.0)
    assert backoff.attempts == 0
    assert backoff.delay() == 0.25


def test_misuse_is_refused() -> None:
    for bad in ((0.0, 1.0, 1.0), (2.0, 1.0, 1.0), (1.0, 2.0, -1.0)):
        with pytest.raises(ValueError, match="initial_s"):
            Backoff(*bad)
