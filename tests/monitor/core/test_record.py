"""What is remembered of a second, as numbers and as text."""

from __future__ import annotations

import csv
import io

import pytest

from monitor.core.metrics import METRICS
from monitor.core.moments import moment_text, parse_moment
from monitor.core.record import FIELDS, Record, minute_of, numbers_of, record_from
from monitor.core.record_text import COLUMNS, BadRow, record_of_texts, texts_of
from monitor.types import Condition, Status

MINUTE_MS = 1_800_000_000_000 // 60_000 * 60_000


def second(n: int, score: float | None, **more: object) -> Record:
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    if score is not None:
        metrics |= {"score": score, "drop": max(0.0, 80 - score), "coverage": 1.0, "lost": 0.0, "band": 4.0}
    else:
        metrics["lost"] = 1.0
    fields = {"status": Status.OK, "condition": Condition.OK, "baseline": 80.0, "score_min": score} | more
    return Record(MINUTE_MS + n * 1000, metrics=metrics, **fields)  # type: ignore[arg-type]


def test_a_record_survives_numbers_and_text() -> None:
    for record in (
        second(1, 71.25, cause="blur", cause_p=0.5),
        second(2, None, status=Status.UNKNOWN, condition=Condition.LOST, baseline=None),
    ):
        known = {f.name: v for f, v in zip(FIELDS, numbers_of(record), strict=True) if v is not None}
        assert record_from(record.ts, known) == record
        file = io.StringIO()
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerow(texts_of("cam1", record))
        file.seek(0)
        (row,) = csv.DictReader(file)
        assert record_of_texts(row) == ("cam1", record)


def test_a_minute_is_the_mean_of_scores_the_worst_of_faults_and_the_usual_cause() -> None:
    seconds = [second(0, 80.0, cause="clean", cause_p=0.9), second(1, 70.0, cause="blur", cause_p=0.5)]
    seconds += [second(2, 60.0, cause="blur", cause_p=0.7)]
    seconds += [second(3, None, status=Status.UNKNOWN, condition=Condition.LOST)]
    minute = minute_of(seconds, MINUTE_MS)
    assert (minute.ts, minute.seconds, minute.status, minute.condition) == (MINUTE_MS, 4, "unknown", "lost")
    assert (minute.metrics["score"], minute.score_min) == (70.0, 60.0)
    assert (minute.metrics["drop"], minute.metrics["lost"], minute.metrics["silence_s"]) == (20.0, 1.0, None)
    assert (minute.cause, minute.cause_p) == ("blur", pytest.approx(0.6))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"time": ""}, "time: missing"),
        ({"time": "soon"}, "time: not a moment"),
        ({"stream": ""}, "stream: missing"),
        ({"score": "high"}, "score: not a number: 'high'"),
        ({"score": "nan"}, "score: not a number"),
        ({"condition": "odd"}, "condition: 'odd' is none of ok, connecting"),
        ({"cause": "rain"}, "cause: 'rain' is none of clean"),
    ],
)
def test_a_row_that_cannot_be_read_names_its_column(changes: dict[str, str], said: str) -> None:
    row = {name: "" if value is None else str(value) for name, value in texts_of("a", second(0, 50.0)).items()}
    with pytest.raises(BadRow, match=said):
        record_of_texts(row | changes)


NOW = parse_moment("2026-11-22T10:30:00Z", 0)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("2026-11-22T10:00:00.250Z", "2026-11-22T10:00:00.250Z"),
        ("2026-11-22 11:00+01:00", "2026-11-22T10:00:00.000Z"),
        ("2026-11-22", "2026-11-22T00:00:00.000Z"),
        ("90s", "2026-11-22T10:28:30.000Z"),
        ("1.5h", "2026-11-22T09:00:00.000Z"),
        ("3d", "2026-11-19T10:30:00.000Z"),
        ("today", "2026-11-22T00:00:00.000Z"),
        ("yesterday", "2026-11-21T00:00:00.000Z"),
        ("now", "2026-11-22T10:30:00.000Z"),
        ("1795343400000", "2026-11-22T10:30:00.000Z"),
    ],
)
def test_moments_are_read_as_people_write_them(text: str, meant: str) -> None:
    assert moment_text(parse_moment(text, NOW)) == meant


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "-5m", "5 minutes", "12"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a moment"):
        parse_moment(text, NOW)
