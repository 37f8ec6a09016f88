from __future__ import annotations

import threading

import pytest

from monitor.ingest.pacing import Pacer


class FakeTime:
    def __init__(self) -> None:
        self.now = 50.0
        self.waits: list[float] = []

    def clock(self) -> float:
        return self.now

    def wait(self, stop: threading.Event, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds


def shown_at(media_s: list[float | None], busy_s: float = 0.0) -> list[float]:
    """When each picture is let go, seconds after the first."""
    time, stop = FakeTime(), threading.Event()
    pacer = Pacer(0.04, time.clock, time.wait)
    out = []
    for media in media_s:
        pacer.hold(media, stop)
        out.append(time.now - 50.0)
        time.now += busy_s
    return out


def test_pictures_go_at_their_media_times():
    assert shown_at([7.0, 7.04, 7.2, 7.24]) == pytest.approx([0.0, 0.04, 0.2, 0.24])


def test_pictures_without_times_go_one_period_apart():
    assert shown_at([None, None, None]) == pytest.approx([0.0, 0.04, 0.08])


@pytest.mark.parametrize("jump", [-3.0, 95_443.0])
def test_a_jump_of_the_media_clock_is_played_through(jump):
    media = [1.0, 1.04, 1.04 + jump, 1.08 + jump]
    assert shown_at(media) == pytest.approx([0.0, 0.04, 0.08, 0.12])


def test_a_slow_consumer_is_not_waited_for_until_it_caught_up():
    assert shown_at([0.0, 0.04, 0.08], busy_s=0.1) == pytest.approx([0.0, 0.1, 0.2])


def test_what_comes_late_is_shown_at_once_and_what_follows_at_its_distance():
    time, stop = FakeTime(), threading.Event()
    pacer = Pacer(0.04, time.clock, time.wait, patience_s=0.5)
    out = []
    for media_s in (0.0, 0.04, 0.08, 0.12):
        if media_s == 0.08:
            time.now += 3.0  # the next piece is not there yet
        pacer.hold(media_s, stop)
        out.append(time.now - 50.0)
    assert out == pytest.approx([0.0, 0.04, 3.04, 3.08])


def test_a_little_late_is_caught_up():
    time, stop = FakeTime(), threading.Event()
    pacer = Pacer(0.04, time.clock, time.wait, patience_s=0.5)
    pacer.hold(0.0, stop)
    time.now += 0.3
    for media_s in (0.04, 0.08, 0.12, 0.32):
        pacer.hold(media_s, stop)
    assert time.now - 50.0 == pytest.approx(0.32)


def test_nothing_is_waited_for_after_stop():
    time, stop = FakeTime(), threading.Event()
    pacer = Pacer(0.04, time.clock, time.wait)
    pacer.hold(0.0, stop)
    stop.set()
    pacer.hold(0.5, stop)
    assert time.waits == []
