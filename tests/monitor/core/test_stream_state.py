"""Connection, condition and status of a stream."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.progress import Limits, Stall
from monitor.core.stream_state import Event, Judgement, Link, Observation, StreamStateMachine, next_link
from monitor.types import Condition, PictureFacts, Status

FINE = Observation(PictureFacts(luma_mean=100.0), sample_age_s=0.1, corrupt_share=0.0)


def live(now_s: float = 0.0) -> StreamStateMachine:
    machine = StreamStateMachine(now_s)
    for event in (Event.OPENING, Event.OPENED, Event.FRAME):
        machine.on(event, now_s)
    return machine


def seen_as(machine: StreamStateMachine, now_s: float, seen: Observation = FINE) -> tuple[Status, Condition]:
    judgement = machine.judge(now_s, seen)
    return judgement.status, judgement.condition


def test_live_stream_is_ok() -> None:
    assert seen_as(live(), 0.0) == (Status.OK, Condition.OK)


def test_first_connection_is_connecting_until_its_first_picture() -> None:
    machine = StreamStateMachine(0.0)
    for event in (Event.OPENING, Event.OPENED):
        machine.on(event, 1.0)
        assert seen_as(machine, 1.0) == (Status.UNKNOWN, Condition.CONNECTING)
    machine.on(Event.FRAME, 1.5)
    assert seen_as(machine, 1.5) == (Status.OK, Condition.OK)


def test_silence_is_a_loss_after_three_seconds_and_ends_with_a_picture() -> None:
    machine = live(10.0)
    assert seen_as(machine, 12.99)[1] is Condition.OK
    assert machine.judge(13.0, FINE) == Judgement(Status.UNKNOWN, Condition.LOST, None, Link.SILENT, Stall.NO_BYTES)
    machine.on(Event.FRAME, 14.0)
    assert machine.judge(14.0, FINE) == Judgement(Status.OK, Condition.OK, None, Link.LIVE)


def test_bytes_without_pictures_are_no_video_and_become_a_loss_when_they_stop() -> None:
    machine = live(10.0)
    for now_s in range(11, 16):
        machine.clocks.heard(now_s)
        judgement = machine.judge(now_s, FINE)
        assert judgement.condition is (Condition.OK if now_s < 13 else Condition.NO_VIDEO)
    assert judgement.stall is Stall.NO_PICTURES
    assert seen_as(machine, 17.9)[1] is Condition.NO_VIDEO
    assert seen_as(machine, 18.0)[1] is Condition.LOST
    machine.clocks.heard(18.5)
    assert seen_as(machine, 18.5)[1] is Condition.NO_VIDEO


def test_pictures_whose_time_stands_are_no_video() -> None:
    machine = live(10.0)
    for now_s in range(11, 20):
        machine.clocks.heard(now_s)
        machine.clocks.decoded(now_s)
        judgement = machine.judge(now_s, FINE)
    assert (judgement.condition, judgement.stall) == (Condition.NO_VIDEO, Stall.TIME_STANDS)


def test_pictures_that_stand_or_go_round_are_frozen_and_say_which() -> None:
    machine = live()
    for facts, stall in ((PictureFacts(still_s=3.0), Stall.STILL), (PictureFacts(loop_s=3.0), Stall.LOOP)):
        judgement = machine.judge(0.0, replace(FINE, facts=facts))
        assert (judgement.status, judgement.condition) == (Status.DEGRADED, Condition.FROZEN)
        assert judgement.stall is stall
    loop_without_score = replace(FINE, facts=PictureFacts(loop_s=3.0), sample_age_s=None)
    assert seen_as(machine, 0.0, loop_without_score) == (Status.UNKNOWN, Condition.FROZEN)


@pytest.mark.parametrize("age_s", [None, 3.1])
def test_old_facts_are_not_told(age_s: float | None) -> None:
    stale = replace(FINE, facts=PictureFacts(still_s=9, black_s=9), facts_age_s=age_s)
    assert seen_as(live(), 0.0, stale)[1] is Condition.OK


def test_attempts_after_a_feed_without_video_keep_saying_no_video() -> None:
    machine = live()
    machine.on(Event.NO_VIDEO, 1.0)
    for now_s in range(2, 20):
        machine.on(Event.OPENING, now_s)
        assert seen_as(machine, now_s + 0.5)[1] is Condition.NO_VIDEO
        machine.on(Event.NO_VIDEO, now_s + 0.9)
    machine.on(Event.OPENING, 20.0)
    machine.on(Event.FAILED, 20.1, "connection")
    assert seen_as(machine, 20.1)[1] is Condition.LOST


def test_lost_feed_that_comes_back_without_its_video_says_so_while_it_is_opened() -> None:
    machine = live()
    machine.on(Event.FAILED, 1.0, "timeout")
    machine.on(Event.OPENING, 2.0)
    for now_s in (2.5, 3.0, 4.0, 5.0):
        machine.clocks.heard(now_s)
        assert seen_as(machine, now_s)[1] is Condition.LOST
    machine.clocks.heard(5.5)
    assert seen_as(machine, 5.5) == (Status.UNKNOWN, Condition.NO_VIDEO)


def test_reopened_feed_whose_time_stands_never_looks_fine() -> None:
    machine = live()
    machine.on(Event.NO_VIDEO, 1.0)
    machine.on(Event.OPENING, 2.0)
    machine.on(Event.OPENED, 3.0)
    for now_s in range(3, 15):
        machine.clocks.decoded(now_s)
        assert seen_as(machine, now_s)[1] is Condition.NO_VIDEO


def test_opened_source_without_pictures_has_no_video() -> None:
    machine = StreamStateMachine(0.0)
    machine.on(Event.OPENING, 0.0)
    machine.on(Event.OPENED, 5.0)
    assert seen_as(machine, 7.9)[1] is Condition.CONNECTING
    machine.clocks.heard(7.9)
    assert seen_as(machine, 8.0)[1] is Condition.NO_VIDEO


def test_attempts_to_reconnect_do_not_end_a_loss() -> None:
    machine = live()
    machine.on(Event.FAILED, 1.0, "timeout")
    for now_s in range(2, 30):
        machine.on(Event.OPENING, now_s)
        assert seen_as(machine, now_s) == (Status.UNKNOWN, Condition.LOST)
        if now_s % 2:
            machine.on(Event.OPENED, now_s + 0.5)
        machine.on(Event.FAILED, now_s + 0.9, "connection")
        assert machine.judge(now_s + 0.9, FINE).code == "connection"
    machine.on(Event.OPENING, 30.0)
    machine.on(Event.OPENED, 30.1)
    assert seen_as(machine, 30.1)[1] is Condition.LOST
    machine.on(Event.FRAME, 30.2)
    assert machine.judge(30.2, FINE) == Judgement(Status.OK, Condition.OK, None, Link.LIVE)


def test_audio_only_is_no_video() -> None:
    machine = live()
    machine.on(Event.NO_VIDEO, 1.0)
    assert seen_as(machine, 1.0) == (Status.UNKNOWN, Condition.NO_VIDEO)


def test_event_that_cannot_happen_raises_and_changes_nothing() -> None:
    machine = live()
    machine.on(Event.ENDED, 1.0, "ended")
    for event in (Event.FRAME, Event.OPENED, Event.STALLED):
        with pytest.raises(ValueError, match="cannot happen"):
            machine.on(event, 2.0)
    assert machine.link is Link.LOST
    with pytest.raises(ValueError, match="opening cannot happen to a live stream"):
        next_link(Link.LIVE, Event.OPENING)


def test_every_state_can_be_lost_and_from_every_state_a_picture_can_come_again() -> None:
    for link in Link:
        assert next_link(link, Event.FAILED) is Link.LOST
    link = Link.LOST
    for event in (Event.OPENING, Event.OPENED, Event.FRAME):
        link = next_link(link, event)
    assert link is Link.LIVE


ALL_WRONG = Observation(
    PictureFacts(still_s=9, black_s=9), sample_age_s=0.1, corrupt_share=0.9, warming_up=True, shed=True
)


def test_worst_condition_wins() -> None:
    machine = live()
    facts = ALL_WRONG.facts
    order = [
        (ALL_WRONG, Condition.BLACK),
        (replace(ALL_WRONG, facts=replace(facts, black_s=0)), Condition.FROZEN),
        (replace(ALL_WRONG, facts=PictureFacts()), Condition.DECODE_ERRORS),
        (replace(ALL_WRONG, facts=PictureFacts(), corrupt_share=0.1), Condition.WARMING_UP),
        (replace(ALL_WRONG, facts=PictureFacts(), corrupt_share=None, warming_up=False), Condition.OK),
    ]
    for seen, condition in order:
        assert machine.judge(0.0, seen).condition is condition
    machine.on(Event.STALLED, 0.0)
    machine.clocks.heard(4.0)
    assert seen_as(machine, 4.0, ALL_WRONG)[1] is Condition.NO_VIDEO
    machine.on(Event.FAILED, 0.0)
    assert seen_as(machine, 0.0, ALL_WRONG)[1] is Condition.LOST


@pytest.mark.parametrize(
    ("seen", "status"),
    [
        (replace(FINE, sample_age_s=3.0), Status.OK),
        (replace(FINE, sample_age_s=3.01), Status.UNKNOWN),
        (replace(FINE, sample_age_s=None), Status.UNKNOWN),
        (replace(FINE, warming_up=True), Status.UNKNOWN),
        (replace(FINE, coverage=0.8), Status.OK),
        (replace(FINE, coverage=0.79), Status.DEGRADED),
        (replace(FINE, shed=True), Status.DEGRADED),
        (replace(FINE, corrupt_share=0.11), Status.DEGRADED),
        (replace(FINE, facts=PictureFacts(still_s=3.0)), Status.DEGRADED),
        (replace(FINE, facts=PictureFacts(still_s=2.96)), Status.OK),
        (replace(FINE, facts=PictureFacts(black_s=3.0)), Status.DEGRADED),
        (replace(FINE, facts=PictureFacts(black_s=3.0), sample_age_s=9.0), Status.UNKNOWN),
    ],
)
def test_status_says_whether_the_score_can_be_trusted(seen: Observation, status: Status) -> None:
    assert live().judge(0.0, seen).status is status


def test_limits_are_the_callers() -> None:
    machine = StreamStateMachine(0.0, limits=Limits(9.0, 10.0, 5.0), stale_s=1.0, corrupt_share=0.5, min_coverage=0.1)
    for event in (Event.OPENING, Event.OPENED, Event.FRAME):
        machine.on(event, 0.0)
    assert seen_as(machine, 9.9, replace(FINE, facts=PictureFacts(black_s=4.9)))[1] is Condition.OK
    assert seen_as(machine, 9.9, replace(FINE, corrupt_share=0.5, coverage=0.1)) == (Status.OK, Condition.OK)
    assert seen_as(machine, 9.9, replace(FINE, sample_age_s=1.1))[0] is Status.UNKNOWN
    assert seen_as(machine, 10.0)[1] is Condition.LOST
    machine.clocks.heard(5.0)
    assert seen_as(machine, 10.0)[1] is Condition.NO_VIDEO


observations = st.builds(
    Observation,
    facts=st.builds(PictureFacts, still_s=st.floats(0, 20), black_s=st.floats(0, 20)),
    sample_age_s=st.none() | st.floats(0, 10),
    facts_age_s=st.none() | st.floats(0, 10),
    corrupt_share=st.none() | st.floats(0, 1),
    coverage=st.floats(0, 1),
    warming_up=st.booleans(),
    shed=st.booleans(),
)


@settings(max_examples=50)
@given(st.lists(st.tuples(st.sampled_from(Event), st.floats(0, 5), observations), max_size=40))
def test_blind_stream_never_looks_fine(trace: list[tuple[Event, float, Observation]]) -> None:
    machine = StreamStateMachine(0.0)
    now_s, picture_s = 0.0, None
    for event, wait_s, seen in trace:
        now_s += wait_s
        try:
            machine.on(event, now_s)
        except ValueError:
            continue
        if event is Event.FRAME:
            picture_s = now_s
        judgement = machine.judge(now_s, seen)
        if machine.link is not Link.LIVE:
            assert judgement.status is Status.UNKNOWN
            assert judgement.condition in (Condition.CONNECTING, Condition.NO_VIDEO, Condition.LOST)
        else:
            assert picture_s is not None
            assert now_s - picture_s < 3
        if judgement.status is Status.OK:
            assert judgement.condition is Condition.OK
            assert seen.sample_age_s is not None
            assert seen.sample_age_s <= 3
