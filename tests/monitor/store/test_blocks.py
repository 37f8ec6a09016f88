from __future__ import annotations

import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from monitor.core.metrics import METRICS
from monitor.core.record import FIELDS, Field, Record
from monitor.store.blocks import BadBlock, Rows, columns_in, records_in
from monitor.types import CAUSES, Condition, Status

START = 1_800_000_000_000


def value(decimals: int) -> st.SearchStrategy[float | None]:
    return st.none() | st.integers(0, 2**31 - 1).map(lambda n: round(n / 10**decimals, decimals))


records = st.builds(
    Record,
    ts=st.just(0),
    status=st.sampled_from(Status),
    condition=st.sampled_from(Condition),
    metrics=st.fixed_dictionaries({name: value(metric.decimals) for name, metric in METRICS.items()}),
    baseline=value(2),
    cause=st.none() | st.sampled_from(CAUSES),
    cause_p=value(3),
    score_min=value(2),
    seconds=st.integers(1, 60),
)


@settings(max_examples=30)
@given(some=st.lists(records, min_size=1, max_size=70))
def test_what_is_packed_comes_back_to_the_last_digit(some: list[Record]) -> None:
    rows, wanted = Rows(START), []
    for n, record in enumerate(some):
        wanted.append(replace(record, ts=START + n * 851))
        rows.put(wanted[-1])
    content = rows.packed(1)
    assert list(records_in(START, content, FIELDS)) == wanted
    assert list(Rows.unpacked(START, content, FIELDS).records()) == wanted
    scores = columns_in(START, content, FIELDS)["score"].tolist()
    assert [None if math.isnan(score) else score for score in scores] == [r.metrics["score"] for r in wanted]


def plain(ts: int, score: float) -> Record:
    return Record(ts, Status.OK, Condition.OK, dict.fromkeys(METRICS) | {"score": score})


def test_a_clock_that_was_set_back_replaces_what_it_had_said_later() -> None:
    rows = Rows(START)
    for n in range(10):
        rows.put(plain(START + n * 1000, n))
    rows.put(plain(START + 4500, 99))
    assert [(r.ts - START, r.metrics["score"]) for r in rows.records()] == [
        (0, 0), (1000, 1), (2000, 2), (3000, 3), (4000, 4), (4500, 99)
    ]  # fmt: skip


def test_a_minute_is_put_in_its_place() -> None:
    rows = Rows(START)
    for minute, score in ((0, 1.0), (2, 3.0), (1, 2.0), (2, 4.0)):
        rows.replace(plain(START + minute * 60_000, score))
    assert [r.metrics["score"] for r in rows.records()] == [1.0, 2.0, 4.0]


def test_a_block_of_other_fields_is_read_by_their_names() -> None:
    rows = Rows(START)
    rows.put(plain(START, 50.25))
    content = rows.packed(1)
    renamed = tuple(Field("gone", f.decimals) if f.name == "coverage" else f for f in FIELDS)
    (record,) = records_in(START, content, renamed)
    assert record.metrics["score"] == 50.25
    again = Rows.unpacked(START, content, renamed)
    assert [r.metrics["score"] for r in again.records()] == [50.25]


@pytest.mark.parametrize("damage", [b"", b"xx", b"\x01\x00\x02\x00\x18\x00garbage"])
def test_damaged_bytes_are_said_to_be_damaged(damage: bytes) -> None:
    with pytest.raises(BadBlock):
        list(records_in(START, damage, FIELDS))
    rows = Rows(START)
    rows.put(plain(START, 1))
    with pytest.raises(BadBlock):
        list(records_in(START, rows.packed(1)[:-3], FIELDS))
