from __future__ import annotations

from monitor.core.repeats import RepeatLimit


def test_a_failure_is_told_at_once_and_its_repeats_with_their_number_after_growing_pauses() -> None:
    limit = RepeatLimit(60.0, 3600.0)
    told = [(second, left_out) for second in range(1000) if (left_out := limit.tell("auth", second)) is not None]
    assert told == [(0, 0), (60, 59), (180, 119), (420, 239), (900, 479)]


def test_what_fails_for_a_week_takes_about_a_line_an_hour_and_every_failure_is_counted() -> None:
    limit = RepeatLimit()
    week_s = 7 * 86400
    told = [left_out for second in range(0, week_s, 2) if (left_out := limit.tell("auth", second)) is not None]
    assert 7 * 24 <= len(told) <= 7 * 24 + 8
    assert sum(told) + len(told) + limit.settle() == week_s // 2


def test_another_failure_is_told_at_once_and_does_not_hide_the_first() -> None:
    limit = RepeatLimit(60.0)
    assert limit.tell("auth", 0.0) == 0
    assert limit.tell("connection", 1.0) == 0
    assert limit.tell("auth", 2.0) is None
    assert limit.tell("connection", 3.0) is None
    assert limit.tell("auth", 60.0) == 1


def test_recovery_says_what_was_left_out_and_does_not_let_a_flapping_failure_speak_each_time() -> None:
    limit = RepeatLimit(60.0)
    assert limit.tell("lost", 0.0) == 0
    assert limit.tell("lost", 1.0) is None
    assert limit.settle() == 1
    assert limit.settle() == 0
    assert limit.tell("lost", 5.0) is None
    assert limit.tell("lost", 61.0) == 1


def test_a_failure_that_did_not_come_back_for_the_longest_pause_starts_over() -> None:
    limit = RepeatLimit(60.0, 600.0)
    for second in (0.0, 60.0, 180.0):
        assert limit.tell("lost", second) is not None
    assert limit.tell("lost", 181.0) is None
    assert limit.tell("lost", 800.0) == 1
    assert limit.tell("lost", 860.0) == 0
