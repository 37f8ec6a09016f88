"""Courses of repeats and gaps are told once at their beginning and once at their end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitor.core.cadence import LEAST, WINDOW_S, Cadence, CadenceWatch

FPS = 25


def told(seconds: list[tuple[int, int]]) -> list[tuple[int, Cadence]]:
    """What is told, and in which second, of (repeats, gaps) in each."""
    watch, ticks, repeats, gaps = CadenceWatch(), 0, 0, 0
    found = []
    watch.second(0, 0, 0)
    for at, (more_repeats, more_gaps) in enumerate(seconds):
        ticks, repeats, gaps = ticks + FPS, repeats + more_repeats, gaps + more_gaps
        change = watch.second(ticks, repeats, gaps)
        if change is not None:
            found.append((at, change))
    return found


def test_judder_is_told_within_a_second_and_its_end_after_ten() -> None:
    assert told([(0, 0)] * 5 + [(5, 0)] * 20 + [(0, 0)] * 15) == [
        (5, Cadence(False, 5, 0)),
        (34, Cadence(True, 100, 0)),
    ]


def test_gaps_are_told_as_gaps() -> None:
    ((at, begun), (_, over)) = told([(0, 0), (2, 1), (2, 1), (2, 1), *[(0, 0)] * 12])
    assert (at, begun.even, over.even) == (2, False, True)
    assert (over.repeats, over.gaps) == (6, 3)


def test_single_lost_pictures_are_no_event() -> None:
    assert told(([(1, 1)] + [(0, 0)] * 6) * 10) == []


def test_a_still_picture_is_left_to_the_freeze_detector() -> None:
    assert told([(FPS, 0)] * 30) == []


@given(st.lists(st.tuples(st.integers(0, FPS), st.integers(0, 4)), max_size=200))
def test_beginnings_and_ends_alternate_and_no_course_is_forgotten(seconds: list[tuple[int, int]]) -> None:
    changes = told(seconds)
    assert [change.even for _, change in changes] == [bool(i % 2) for i in range(len(changes))]
    for at, change in changes:
        window = seconds[max(0, at - WINDOW_S + 1) : at + 1]
        if change.even:
            assert window == [(0, 0)] * WINDOW_S
        else:
            assert max(sum(r for r, _ in window), sum(g for _, g in window)) >= LEAST
