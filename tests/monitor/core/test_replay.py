"""Recorded seconds through rules: the same alerts as live."""

from __future__ import annotations

from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.alert_book import AlertBook, default_rules
from monitor.core.metrics import METRICS
from monitor.core.record import Record
from monitor.core.replay import Replay
from monitor.types import Condition, Status, StreamId

START_MS = 1_800_000_000_000
CAM = StreamId("cam")


def second(at_s: float, **metrics: float | None) -> Record:
    known = dict.fromkeys(METRICS) | {"lost": 0.0, "drop": 0.0, "black_s": 0.0} | metrics
    return Record(START_MS + round(at_s * 1000), Status.OK, Condition.OK, known, cause="blur", cause_p=0.5)


def replayed(records: list[Record]) -> list[tuple[str, float, float | None]]:
    replay = Replay(CAM, default_rules())
    for record in records:
        replay.push(record)
    begin_s = START_MS / 1000
    return [
        (one.event.rule, one.event.raised_at - begin_s, one.end_s - begin_s if one.cleared else None)
        for one in replay.incidents
    ]


runs = st.tuples(
    st.sampled_from([{}, {"drop": 20.0}, {"drop": 12.0}, {"lost": 1.0, "drop": None}, {"black_s": 30.0}]),
    st.integers(1, 45),
)


@settings(max_examples=40)
@given(some=st.lists(runs, min_size=1, max_size=12))
def test_a_replay_raises_and_clears_what_the_live_book_did_when_it_did(
    some: list[tuple[dict[str, float | None], int]],
) -> None:
    metrics = [values for values, seconds in some for _ in range(seconds)]
    records = [second(n, **values) for n, values in enumerate(metrics)]
    ids = count(1)
    book = AlertBook(CAM, default_rules(), lambda: str(next(ids)))
    live = [e for n, r in enumerate(records) for e in book.step(9.0 + n, r.ts / 1000, r.metrics, r.cause, r.cause_p)]
    replay = Replay(CAM, default_rules())
    for record in records:
        replay.push(record)
    newest = {event.id: event for event in live}
    assert [one.event for one in replay.incidents] == list(newest.values())


def test_a_gap_counts_neither_as_breach_nor_as_health() -> None:
    bad = [second(n, drop=20.0) for n in range(6)]
    assert replayed([*bad, *(second(600 + n, drop=20.0) for n in range(12))]) == [("quality", 610.0, None)]
    raised = [second(n, drop=20.0) for n in range(12)]
    healthy = [second(12 + n) for n in range(15)] + [second(1000 + n) for n in range(30)]
    assert replayed([*raised, *healthy]) == [("quality", 10.0, 1020.0)]


def test_what_is_up_at_the_end_lasts_until_the_last_second() -> None:
    replay = Replay(CAM, default_rules())
    for n in range(40):
        replay.push(second(n, drop=20.0))
    (one,) = replay.incidents
    assert (one.cleared, one.duration_s) == (False, 29.0)


def test_time_that_runs_backwards_is_refused() -> None:
    replay = Replay(CAM, default_rules())
    replay.push(second(5))
    with pytest.raises(ValueError, match="backwards"):
        replay.push(second(4))
