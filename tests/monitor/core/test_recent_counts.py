from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from monitor.core.recent_counts import WINDOW_S, RecentCounts


def test_before_the_second_second_no_rate_is_known() -> None:
    counts = RecentCounts()
    assert counts.bitrate_bps is None
    counts.push(1.0, frames=25, damaged=3, received=1000)
    assert (counts.bitrate_bps, counts.corrupt_share, counts.arrival_fps) == (None, None, None)


def test_what_is_older_than_the_window_counts_no_more() -> None:
    counts = RecentCounts()
    for second in range(40):
        # The first twenty seconds were bad, slow and small.
        late = max(0, second - 20)
        counts.push(
            float(second),
            frames=10 * min(second, 20) + 50 * late,
            damaged=10 * min(second, 20),
            received=100 * min(second, 20) + 1000 * late,
        )
    assert counts.corrupt_share == 0
    assert counts.arrival_fps == 50
    assert counts.bitrate_bps == 8000


def test_pictures_that_never_came_out_make_no_share_above_one() -> None:
    counts = RecentCounts()
    counts.push(0.0, frames=0, damaged=0, received=0)
    counts.push(1.0, frames=2, damaged=9, received=0)
    assert counts.corrupt_share == 1


def test_a_clock_that_stands_gives_no_rate() -> None:
    counts = RecentCounts()
    for frames in (0, 5):
        counts.push(3.0, frames=frames, damaged=0, received=frames)
    assert (counts.bitrate_bps, counts.arrival_fps) == (None, None)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 10_000)), min_size=2, max_size=40))
def test_rates_are_those_of_the_window_whatever_came_before(seconds: list[tuple[int, int, int]]) -> None:
    counts, totals = RecentCounts(), [(0, 0, 0)]
    for second, new in enumerate(seconds):
        totals.append(tuple(a + b for a, b in zip(totals[-1], new, strict=True)))  # type: ignore[arg-type]
        counts.push(float(second), frames=totals[-1][0], damaged=totals[-1][1], received=totals[-1][2])
    within = totals[1:][-WINDOW_S - 1 :]
    assert counts.bitrate_bps == pytest.approx(8 * (within[-1][2] - within[0][2]) / (len(within) - 1))
    share = counts.corrupt_share
    assert share is None or 0 <= share <= 1
