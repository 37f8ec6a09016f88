"""A stream's own usual score."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alert_book import default_rules
from monitor.core.alerts import AlertMachine
from monitor.core.baseline import MIN_SECONDS, Baseline


def fed(score: float, seconds: int, **limits: float) -> Baseline:
    baseline = Baseline(**limits)  # type: ignore[arg-type]
    for _ in range(seconds):
        baseline.push(score, True)
    return baseline


@settings(max_examples=50)
@given(st.lists(st.floats(70, 74), min_size=1, max_size=120), st.integers(8, 40))
def test_value_is_the_exact_median_of_the_window(scores: list[float], window_s: int) -> None:
    baseline = Baseline(window_s=window_s)
    for n, score in enumerate(scores, start=1):
        drop = baseline.push(score, True)
        if n < MIN_SECONDS:
            assert baseline.value is None
            assert drop is None
        else:
            median = statistics.median(scores[max(0, n - window_s) : n])
            assert baseline.value == pytest.approx(median, abs=1e-12)
            assert drop == pytest.approx(max(0.0, median - score), abs=1e-12)


@settings(max_examples=30)
@given(
    st.lists(
        st.tuples(st.none() | st.floats(0, 100), st.booleans()).filter(
            lambda second: second[0] is None or not second[1] or second[0] < 75
        ),
        max_size=300,
    )
)
def test_faults_leave_it_as_it_is(faults: list[tuple[float | None, bool]]) -> None:
    baseline = fed(80.0, 60)
    for score, healthy in faults:
        drop = baseline.push(score, healthy)
        assert baseline.value == 80.0
        assert drop == (None if score is None else max(0.0, 80.0 - score))


def test_small_falls_are_followed_and_large_ones_are_not() -> None:
    baseline = fed(80.0, 300)
    for _ in range(200):
        baseline.push(75.0, True)
    assert baseline.value == 75.0
    for _ in range(800):
        baseline.push(69.9, True)
    assert baseline.value == 75.0


def test_better_scores_raise_it_within_half_a_window() -> None:
    baseline = fed(60.0, 300)
    for _ in range(151):
        baseline.push(90.0, True)
    assert baseline.value == 90.0
    assert baseline.drop == 0.0


def test_long_change_becomes_the_new_normal() -> None:
    baseline = fed(80.0, 300)
    for _ in range(899):
        baseline.push(40.0, True)
    assert baseline.drop == 40.0
    assert baseline.push(40.0, True) == 0.0
    assert baseline.value == 40.0


def test_few_good_seconds_do_not_undo_a_long_change() -> None:
    baseline = fed(80.0, 300)
    for n in range(1100):
        baseline.push(80.0 if n % 20 == 0 else 40.0, True)
    assert baseline.value == 40.0


def test_seconds_of_a_fault_do_not_count_as_a_change() -> None:
    baseline = fed(80.0, 300)
    for _ in range(2000):
        baseline.push(10.0, False)
    assert baseline.value == 80.0


def test_accept_takes_the_last_minute() -> None:
    baseline = fed(80.0, 300)
    for _ in range(40):
        baseline.push(50.0, True)
    baseline.accept()
    assert baseline.value == 50.0  # 40 of the last 60 seconds
    fresh = Baseline()
    fresh.accept()
    assert fresh.value is None


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match="finite"):
        Baseline().push(float("nan"), True)
    for bad in ({"window_s": 7}, {"freeze_below": 0.0}, {"relearn_s": 1}):
        with pytest.raises(ValueError, match="window_s"):
            Baseline(**bad)  # type: ignore[arg-type]


def test_an_accepted_level_is_the_usual_one_at_once_and_its_alert_clears() -> None:
    (quality,) = (rule for rule in default_rules() if rule.name == "quality")
    machine = AlertMachine(replace(quality, inhibited_by=()))
    baseline = fed(80.0, 300)
    steps = {second: machine.step(second, baseline.push(50.0, True)) for second in range(60)}
    assert [second for second, step in steps.items() if step is not None] == [10]
    assert (baseline.value, baseline.drop) == (80.0, 30.0)
    assert baseline.accept(10)
    assert (baseline.value, baseline.drop) == (50.0, 0.0)
    steps = {second: machine.step(second, baseline.push(50.0, True)) for second in range(60, 120)}
    assert [second for second, step in steps.items() if step is not None] == [80]
    # What is worse than that is a drop again.
    assert baseline.push(30.0, True) == 20.0


def test_nothing_is_accepted_of_a_stream_that_was_not_healthy_yet() -> None:
    baseline = fed(80.0, MIN_SECONDS - 1)
    assert not baseline.accept(10)
    baseline.push(70.0, False)
    assert not baseline.accept()
    baseline.push(80.0, True)
    assert baseline.accept(10)
    assert baseline.value == 80.0
