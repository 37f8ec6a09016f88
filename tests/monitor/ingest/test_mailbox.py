from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from monitor.ingest.mailbox import Mailbox, MailboxClosed, OverflowPolicy
from monitor.types import DropCause


@dataclass(frozen=True)
class Item:
    number: int
    received_s: float = 0.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def numbers(items: list[Item]) -> list[int]:
    return [item.number for item in items]


def test_items_come_out_in_the_order_they_went_in():
    box: Mailbox[Item] = Mailbox(8, OverflowPolicy.DROP_OLDEST)
    for number in range(5):
        box.put(Item(number))
    assert numbers(box.take(3)) == [0, 1, 2]
    assert numbers(box.take(3)) == [3, 4]
    assert box.take(3) == []


def test_a_full_live_mailbox_drops_the_oldest_and_names_the_cause():
    seen: list[tuple[int, DropCause]] = []
    box: Mailbox[Item] = Mailbox(
        2, OverflowPolicy.DROP_OLDEST, on_drop=lambda item, cause: seen.append((item.number, cause))
    )
    for number in range(5):
        box.put(Item(number))
    assert numbers(box.take(9)) == [3, 4]
    assert seen == [(0, DropCause.MAILBOX_FULL), (1, DropCause.MAILBOX_FULL), (2, DropCause.MAILBOX_FULL)]
    assert box.statistics().dropped[DropCause.MAILBOX_FULL] == 3
    assert box.statistics().high_water == 2


def test_stale_items_are_dropped_at_take_and_fresh_ones_fill_the_batch():
    clock = Clock()
    box: Mailbox[Item] = Mailbox(8, OverflowPolicy.DROP_OLDEST, 1.0, clock)
    for number, received_s in enumerate((0.0, 0.9, 1.0, 1.5)):
        box.put(Item(number, received_s))
    clock.now = 2.0
    assert numbers(box.take(2)) == [2, 3]
    assert box.statistics().dropped[DropCause.STALE] == 2


def test_put_waits_for_room_and_drops_nothing_in_a_replay():
    box: Mailbox[Item] = Mailbox(3, OverflowPolicy.WAIT)
    producer = threading.Thread(target=lambda: [box.put(Item(n)) for n in range(100)], daemon=True)
    producer.start()
    got: list[int] = []
    while len(got) < 100:
        got += numbers(box.take(2))
    producer.join(5)
    assert got == list(range(100))
    assert sum(box.statistics().dropped.values()) == 0
    assert box.statistics().high_water <= 3


def test_close_wakes_a_blocked_put_which_raises_and_counts_the_rest_as_shutdown():
    box: Mailbox[Item] = Mailbox(1, OverflowPolicy.WAIT)
    box.put(Item(0))
    raised = threading.Event()

    def blocked() -> None:
        try:
            box.put(Item(1))
        except MailboxClosed:
            raised.set()

    thread = threading.Thread(target=blocked, daemon=True)
    thread.start()
    assert not raised.wait(0.05)
    box.close()
    assert raised.wait(5)
    thread.join(5)
    statistics = box.statistics()
    assert (statistics.put, statistics.depth) == (1, 0)
    assert statistics.dropped[DropCause.SHUTDOWN] == 1


@pytest.mark.parametrize("policy", OverflowPolicy)
def test_put_after_close_raises_and_is_not_counted(policy):
    box: Mailbox[Item] = Mailbox(1, policy)
    box.close()
    with pytest.raises(MailboxClosed):
        box.put(Item(0))
    assert box.closed
    assert box.statistics().put == 0
    assert box.take(5) == []


def test_a_burst_wakes_the_consumer_once_until_it_takes():
    wakes: list[None] = []
    box: Mailbox[Item] = Mailbox(100, OverflowPolicy.DROP_OLDEST, on_item=lambda: wakes.append(None))
    for number in range(50):
        box.put(Item(number))
    assert len(wakes) == 1
    box.take(10)
    box.put(Item(50))
    box.put(Item(51))
    assert len(wakes) == 2


async def test_a_consumer_on_the_event_loop_gets_every_item_of_a_thread():
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    box: Mailbox[Item] = Mailbox(16, OverflowPolicy.WAIT, on_item=lambda: loop.call_soon_threadsafe(ready.set) and None)
    producer = threading.Thread(target=lambda: [box.put(Item(n)) for n in range(500)], daemon=True)
    producer.start()
    got: list[int] = []
    async with asyncio.timeout(10):
        while len(got) < 500:
            await ready.wait()
            ready.clear()
            while batch := box.take(4):
                got += numbers(batch)
    producer.join(5)
    assert got == list(range(500))


def test_nothing_is_lost_or_counted_twice_while_three_threads_use_it():
    box: Mailbox[Item] = Mailbox(4, OverflowPolicy.DROP_OLDEST)
    stop = threading.Event()
    got: list[int] = []
    broken: list[object] = []

    def consume() -> None:
        while not stop.is_set():
            got.extend(numbers(box.take(3)))

    def watch() -> None:
        while not stop.is_set():
            s = box.statistics()
            if s.put != s.taken + sum(s.dropped.values()) + s.depth:
                broken.append(s)

    threads = [threading.Thread(target=target, daemon=True) for target in (consume, watch)]
    for thread in threads:
        thread.start()
    for number in range(5_000):
        box.put(Item(number))
    stop.set()
    for thread in threads:
        thread.join(5)
    box.close()
    statistics = box.statistics()
    assert broken == []
    assert got == sorted(set(got))
    assert statistics.taken == len(got)
    assert statistics.put == 5_000 == statistics.taken + sum(statistics.dropped.values())


def test_a_mailbox_without_room_is_refused():
    with pytest.raises(ValueError, match="capacity must be at least 1, got 0"):
        Mailbox(0, OverflowPolicy.WAIT)


class MailboxMachine(RuleBasedStateMachine):
    """Random puts, takes, waits and a close against a plain list that says what must come out."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.dropped: list[Item] = []
        self.box: Mailbox[Item] = Mailbox(
            3, OverflowPolicy.DROP_OLDEST, 2.0, self.clock, on_drop=lambda item, _: self.dropped.append(item)
        )
        self.model: list[Item] = []
        self.accepted: list[Item] = []
        self.taken: list[Item] = []
        self.closed = False

    @precondition(lambda self: not self.closed)
    @rule()
    def put(self) -> None:
        item = Item(len(self.accepted), self.clock.now)
        self.box.put(item)
        self.accepted.append(item)
        self.model = [*self.model, item][-3:]

    @rule(n=st.integers(0, 4))
    def take(self, n: int) -> None:
        fresh: list[Item] = []
        while self.model and len(fresh) < n:
            item = self.model.pop(0)
            if item.received_s >= self.clock.now - 2.0:
                fresh.append(item)
        assert self.box.take(n) == fresh
        self.taken += fresh

    @rule(seconds=st.sampled_from([0.5, 1.0, 3.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def close(self) -> None:
        self.box.close()
        self.model = []
        self.closed = True

    @invariant()
    def everything_put_is_taken_dropped_or_waiting(self) -> None:
        s = self.box.statistics()
        assert s.put == s.taken + sum(s.dropped.values()) + s.depth
        assert s.depth == len(self.model)
        assert s.taken == len(self.taken)
        assert sorted(numbers(self.taken + self.dropped + self.model)) == numbers(self.accepted)


TestMailboxMachine = MailboxMachine.TestCase
TestMailboxMachine.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_what_is_discarded_is_counted_under_its_cause_and_what_comes_later_is_kept():
    seen: list[tuple[int, DropCause]] = []
    clock = Clock()
    box: Mailbox[Item] = Mailbox(
        8, OverflowPolicy.DROP_OLDEST, 3.0, clock, on_drop=lambda item, cause: seen.append((item.number, cause))
    )
    box.put(Item(0))
    clock.now = 1.0
    box.put(Item(1, 1.0))
    assert box.waiting_s() == 1.0
    box.discard(DropCause.SHED)
    assert seen == [(0, DropCause.SHED), (1, DropCause.SHED)]
    assert box.waiting_s() == 0.0
    box.put(Item(2, 1.0))
    clock.now = 2.5
    box.max_staleness_s = 1.0
    assert box.take(8) == []
    assert box.statistics().dropped[DropCause.STALE] == 1
