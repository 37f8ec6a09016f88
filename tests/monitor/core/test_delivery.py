"""Whose turn it is and when to try again, on a clock that the tests turn."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.delivery import DeliveryQueue
from monitor.types import AlertEvent, Severity, StreamId


class Highest(Random):
    """Jitter that always draws the bound."""

    def uniform(self, a: float, b: float) -> float:
        return b


def event(stream: str, seq: int) -> AlertEvent:
    return AlertEvent(f"{stream}-{seq}", seq, StreamId(stream), "lost", Severity.MAJOR, "raised", 0.0)


def queue(**more: object) -> DeliveryQueue:
    return DeliveryQueue(**{"initial_s": 1.0, "cap_s": 8.0, "rng": Highest()} | more)  # type: ignore[arg-type]


def test_events_go_in_the_order_of_arrival_and_stay_until_they_are_settled() -> None:
    box = queue()
    assert box.due_s() is None
    assert box.next(0.0) is None
    sent = [event("a", 1), event("b", 1), event("a", 2)]
    for one in sent:
        assert box.add(one) is None
    for left, one in zip((3, 2, 1), sent, strict=True):
        assert len(box) == left
        assert box.next(0.0) is box.next(0.0) is one
        box.settled(one)
    assert box.due_s() is None


def test_waits_double_up_to_the_cap_for_ever_and_a_success_starts_over() -> None:
    box = queue()
    one = event("a", 1)
    box.add(one)
    now_s, waits = 100.0, []
    for _ in range(40):
        assert box.next(now_s) is one
        box.failed(one, now_s)
        due_s = box.due_s()
        assert due_s is not None
        assert box.next(due_s - 0.001) is None
        waits.append(due_s - now_s)
        now_s = due_s
    assert waits == [1, 2, 4] + [8] * 37
    assert box.failures == 40
    box.settled(one)
    assert box.failures == 0
    two = event("a", 2)
    box.add(two)
    assert box.next(now_s) is two
    box.failed(two, now_s)
    assert box.due_s() == now_s + 1


def test_jitter_spreads_the_waits_over_the_whole_bound() -> None:
    waits = []
    for seed in range(200):
        box = queue(rng=Random(seed), initial_s=8.0)
        one = event("a", 1)
        box.add(one)
        box.failed(one, 0.0)
        waits.append(box.due_s() or 0.0)
    assert min(waits) < 2 < 6 < max(waits) <= 8


def test_a_receiver_that_asks_for_time_gets_it_up_to_a_limit() -> None:
    box = queue(longest_asked_s=60.0)
    one = event("a", 1)
    box.add(one)
    box.failed(one, 0.0, 30.0)
    # Another stream's event does not slip through.
    box.add(event("b", 1))
    assert box.next(29.9) is None
    assert box.due_s() == 30.0
    box.failed(one, 30.0, 1e9)
    assert box.due_s() == 90.0


def test_an_event_that_cannot_be_digested_costs_the_other_streams_one_short_pause_each_time() -> None:
    box = queue()
    poison, behind = event("bad", 1), event("bad", 2)
    box.add(poison)
    box.add(behind)
    good = [event("good", seq) for seq in range(1, 30)]
    for one in good:
        box.add(one)
    now_s, taken, tries = 0.0, [], 0
    while len(taken) < len(good):
        due = box.next(now_s)
        if due is None:
            now_s = box.due_s() or now_s
        elif due is poison:
            tries += 1
            box.failed(due, now_s)
            now_s += 0.1
        else:
            assert due is not behind
            taken.append(due)
            box.settled(due)
            now_s += 1.0
    assert taken == good
    # 1, 2, 4 and then 8 seconds apart: neither the others nor the poison itself go without their turn.
    assert 4 <= tries <= 8
    assert now_s < 45
    assert len(box) == 2


def test_after_an_outage_of_the_receiver_no_stream_waits_for_its_own_failures() -> None:
    box = queue()
    events = [event(stream, 1) for stream in "abcd"]
    for one in events:
        box.add(one)
    now_s = 0.0
    tried = []
    for _ in range(12):
        now_s = box.due_s() or now_s
        due = box.next(now_s)
        assert due is not None
        tried.append(due.stream)
        box.failed(due, now_s)
    assert set(tried) == set("abcd")
    now_s = box.due_s() or now_s
    first = box.next(now_s)
    assert first is not None
    box.settled(first)
    for _ in range(3):
        due = box.next(now_s)
        assert due is not None
        box.settled(due)
    assert len(box) == 0


def test_where_there_is_no_room_the_oldest_goes_and_is_handed_back() -> None:
    box = queue(max_waiting=3)
    events = [event("a", 1), event("b", 1), event("a", 2), event("b", 2), event("a", 3)]
    lost = [box.add(one) for one in events]
    assert lost == [None, None, None, events[0], events[1]]
    assert len(box) == 3
    assert box.next(0.0) is events[2]
    # One may go while it is under way; that it is settled afterwards takes nobody else's place.
    assert box.add(event("b", 3)) is events[2]
    box.settled(events[2])
    box.failed(events[2], 0.0)
    assert len(box) == 3
    with pytest.raises(ValueError, match="max_waiting"):
        queue(max_waiting=0)


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["add", "take", "fail"])), max_size=60),
    st.integers(0, 2**32),
)
def test_whatever_fails_each_stream_keeps_its_order_and_nothing_is_lost(
    steps: list[tuple[str, str]], seed: int
) -> None:
    box = queue(rng=Random(seed))
    added: dict[str, list[AlertEvent]] = {"a": [], "b": [], "c": []}
    taken: dict[str, list[AlertEvent]] = {"a": [], "b": [], "c": []}

    now_s = 0.0

    def attempt(fails: bool) -> None:
        nonlocal now_s
        due_s = box.due_s()
        if due_s is None:
            return
        now_s = max(now_s, due_s)
        due = box.next(now_s)
        assert due is not None
        assert due is added[due.stream][len(taken[due.stream])]
        if fails:
            box.failed(due, now_s)
            assert (box.due_s() or 0.0) <= now_s + 8.0
        else:
            box.settled(due)
            taken[due.stream].append(due)

    for stream, step in steps:
        if step == "add":
            added[stream].append(event(stream, len(added[stream]) + 1))
            box.add(added[stream][-1])
        else:
            attempt(step == "fail")
    while len(box):
        attempt(False)
    assert taken == added
