"""What tells a reader that is too slow from a feed that is late."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.reader_lag import ReaderLag

PERIOD_S = 0.04


class Play:
    """A reader that takes so long for each picture of a feed of 25 a second, which may be late or stand still."""

    def __init__(self) -> None:
        self.lag = ReaderLag()
        self.now_s = self.waited_s = 0.0
        self.pictures = 0
        self.late_s = 0.0
        self.worst_s = 0.0

    def run(self, seconds: float, cost_s: float) -> None:
        for _ in range(round(seconds / PERIOD_S)):
            self.pictures += 1
            media_s = self.pictures * PERIOD_S
            arrives_s = media_s + self.late_s
            if arrives_s > self.now_s:
                self.waited_s += arrives_s - self.now_s
                self.now_s = arrives_s
            self.now_s += cost_s
            self.lag.push(self.now_s, media_s, self.waited_s)
            self.worst_s = max(self.worst_s, self.lag.behind_s)


def test_a_reader_at_half_the_speed_of_its_feed_is_told_within_two_seconds() -> None:
    play = Play()
    play.run(20, 0.02)
    assert play.worst_s == 0
    began_s = play.now_s
    while play.lag.behind_s < 0.25:
        play.run(PERIOD_S, 0.08)
    assert play.now_s - began_s < 1.5


def test_what_is_behind_is_as_long_as_what_waits() -> None:
    play = Play()
    play.run(20, 0.02)
    play.run(5, 0.06)
    assert play.lag.behind_s == pytest.approx(2.5, abs=0.1)


def test_a_backlog_that_is_worked_off_is_none() -> None:
    play = Play()
    play.run(20, 0.02)
    play.run(5, 0.06)
    play.run(2, 0.02)
    assert play.lag.behind_s == 0.0


@settings(max_examples=30)
@given(pause_s=st.floats(0.1, 8), cost_s=st.floats(0.001, 0.034))
def test_a_feed_that_comes_late_is_not_the_readers_fault(pause_s: float, cost_s: float) -> None:
    play = Play()
    play.run(10, cost_s)
    play.late_s = pause_s  # the network stands, then gives all at once, and what follows is on time again
    play.run(PERIOD_S, cost_s)
    play.late_s = 0.0
    play.run(60, cost_s)
    assert play.worst_s < 0.25


def test_a_clock_that_drifts_is_no_backlog() -> None:
    play = Play()
    for _ in range(3600):
        play.run(1, 0.035)
        play.late_s += 1e-4
    assert play.worst_s < 0.001


def test_a_reader_that_stays_behind_goes_on_being_told() -> None:
    """A full buffer loses what comes: the backlog does not grow any more, and nobody waits."""
    lag, now_s = ReaderLag(), 0.0
    for k in range(250):
        now_s = k * PERIOD_S
        lag.push(now_s, now_s, now_s * 0.5)
    for k in range(3000):
        now_s += PERIOD_S
        lag.push(now_s, now_s - min(3.0, 0.5 * k * PERIOD_S), 0.0)
    assert lag.behind_s == pytest.approx(3.0, abs=0.05)
