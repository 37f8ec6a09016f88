"""What statuses, headers and errors mean to a webhook."""

from __future__ import annotations

import pytest

from monitor.publish.http_answers import Verdict, verdict_of

# 2026-11-22 10:00:00 UTC
NOW_S = 1_795_341_600.0


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(status, Verdict.DELIVERED) for status in (200, 201, 202, 204)]
    + [(status, Verdict.REFUSED) for status in (400, 401, 403, 404, 410, 413, 422, 499)]
    + [(status, Verdict.FAILED) for status in (301, 302, 304, 307, 408, 425, 429, 500, 502, 503, 504, 599, 999)],
)
def test_statuses_are_taken_refused_or_worth_another_attempt(status: int, verdict: Verdict) -> None:
    answer = verdict_of(status, {}, NOW_S)
    assert answer.verdict is verdict
    assert f"HTTP {status}" in answer.reason
    assert answer.retry_after_s == 0


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("30", 30.0),
        (" 0 ", 0.0),
        ("Sun, 22 Nov 2026 10:01:00 GMT", 60.0),
        ("Sun, 22 Nov 2026 09:00:00 GMT", 0.0),
        ("-5", 0.0),
        ("1e9", 0.0),
        ("soon", 0.0),
        ("", 0.0),
        ("٣", 0.0),
        ("Sun, 99 Nov 99999 10:01:00 GMT", 0.0),
    ],
)
def test_a_retry_after_is_a_number_or_a_date_and_anything_else_is_none(value: str, seconds: float) -> None:
    assert verdict_of(429, {"Retry-After": value}, NOW_S).retry_after_s == seconds


def test_a_number_without_end_is_still_a_number() -> None:
    assert 1e9 <= verdict_of(503, {"Retry-After": "9" * 5000}, NOW_S).retry_after_s < float("inf")
