from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.publish.outbox import Outbox
from monitor.types import Message


def state(topic: str, value: int, *, retain: bool = True) -> Message:
    return Message(topic, b"%d" % value, retain=retain)


def alert(value: int) -> Message:
    return Message("alert", b"%d" % value, qos=1, conflate=False)


def payloads(batch: list[Message]) -> list[int]:
    return [int(message.payload) for message in batch]


def test_newest_of_a_topic_replaces_the_one_that_waits() -> None:
    box = Outbox()
    for value in range(5):
        assert box.offer(state("a", value))
    assert (box.pending, box.superseded) == (1, 4)
    assert payloads(box.take(9)) == [4]


def test_line_keeps_order_and_leaves_only_after_delivery() -> None:
    delivered: list[Message] = []
    box = Outbox(on_delivered=delivered.append)
    for value in range(4):
        box.offer(alert(value))
    batch = box.take(3)
    box.settle(batch, [True, False, True])
    assert payloads(delivered) == [0]
    assert payloads(box.take(9)) == [1, 2, 3]


def test_full_line_refuses_the_newest_and_counts_it() -> None:
    box = Outbox(max_queued=2)
    assert [box.offer(alert(value)) for value in range(4)] == [True, True, False, False]
    assert (box.pending, box.refused) == (2, 2)
    assert payloads(box.take(9)) == [0, 1]


def test_topics_are_bounded_but_known_ones_go_on() -> None:
    box = Outbox(max_topics=2)
    assert box.offer(state("a", 1))
    assert box.offer(state("b", 1))
    assert not box.offer(state("c", 1))
    assert box.offer(state("a", 2))
    assert (box.refused, box.pending) == (1, 2)


def test_restore_sends_the_newest_retained_value_again() -> None:
    box = Outbox()
    box.offer(state("a", 1))
    box.offer(state("passing", 7, retain=False))
    box.settle(box.take(9), [True, True])
    box.offer(state("b", 2))
    assert box.restore() == 2
    assert payloads(box.take(9)) == [1, 2]
    assert box.superseded == 0


def test_undelivered_value_waits_again_unless_a_newer_one_came() -> None:
    box = Outbox()
    box.offer(state("a", 1))
    box.offer(state("b", 1))
    batch = box.take(9)
    assert box.pending == 2
    box.offer(state("a", 2))
    box.settle(batch, [False, False])
    assert sorted((m.topic, m.payload) for m in box.take(9)) == [("a", b"2"), ("b", b"1")]
    assert box.superseded == 1


def test_a_removed_topic_is_forgotten_once_the_broker_knows() -> None:
    box = Outbox(max_topics=1)
    box.offer(state("a", 1))
    box.settle(box.take(9), [True])
    removal = Message("a", b"", retain=True)
    box.offer(removal)
    box.settle(box.take(9), [False])
    assert box.restore() == 1
    box.settle(box.take(9), [True])
    assert box.restore() == 0
    assert box.offer(state("b", 1))


def test_messages_in_line_do_not_hold_up_those_that_conflate() -> None:
    box = Outbox()
    for value in range(10):
        box.offer(alert(value))
    box.offer(state("a", 99))
    assert payloads(box.take(2)) == [0, 1, 99]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.lists(st.booleans(), min_size=8, max_size=8)), max_size=30))
def test_every_message_is_sent_superseded_or_pending(steps: list[tuple[bool, list[bool]]]) -> None:
    box = Outbox()
    offered = 0
    for number, (with_alert, outcome) in enumerate(steps):
        box.offer(alert(number) if with_alert else state(f"t{number % 3}", number))
        offered += 1
        if number % 2:
            batch = box.take(4)
            # Delivered in line in an unbroken run, so that nothing is sent twice here.
            in_line = sum(not message.conflate for message in batch)
            delivered = [index < in_line or outcome[index] for index in range(len(batch))]
            box.settle(batch, delivered)
        assert box.sent + box.superseded + box.pending == offered
