"""What rules see of a stream."""

from __future__ import annotations

import pytest

from monitor.core.metrics import METRICS, stream_metrics
from monitor.core.stream_state import Judgement, Link, Observation
from monitor.types import Condition, PictureFacts, ScoreView, Status

SEEN = Observation(PictureFacts(still_s=50, black_s=50), sample_age_s=9.0, corrupt_share=1.0, coverage=0.9)
VIEW = ScoreView(score=63.456789, score_10s=60.0, score_60s=61.0, score_min_60s=40.0)
LIVE = Judgement(Status.OK, Condition.OK, None, Link.LIVE)


def test_nothing_but_loss_is_known_of_a_blind_stream() -> None:
    lost = Judgement(Status.UNKNOWN, Condition.LOST, "timeout", Link.LOST)
    known = stream_metrics(lost, SEEN, VIEW, drop=5.0, fps_in=0.0, format_mismatch=2)
    assert known == dict.fromkeys(METRICS) | {"lost": 1.0, "no_video": 0.0}


def test_a_stream_that_connects_for_the_first_time_is_neither_lost_nor_found() -> None:
    new = Judgement(Status.UNKNOWN, Condition.CONNECTING, None, Link.CONNECTING)
    assert stream_metrics(new, SEEN, VIEW) == dict.fromkeys(METRICS)


def test_everything_is_known_of_a_healthy_stream_rounded_as_it_is_recorded() -> None:
    known = stream_metrics(LIVE, SEEN, VIEW, drop=5.001, fps_in=25.0, format_mismatch=1, silence_s=3.0)
    assert known == {
        "lost": 0.0,
        "no_video": 0.0,
        "black_s": 50,
        "still_s": 50,
        "loop_s": 0.0,
        "silence_s": 3.0,
        "corrupt_share": 1.0,
        "drop": 5.0,
        "score": 63.46,
        "score_10s": 60.0,
        "score_60s": 61.0,
        "score_min_60s": 40.0,
        "band": 4.0,
        "coverage": 0.9,
        "fps_in": 25.0,
        "format_mismatch": 1.0,
    }


@pytest.mark.parametrize(
    ("status", "condition", "coverage"),
    [
        (Status.UNKNOWN, Condition.OK, 0.0),  # pictures come, and none is scored in time
        (Status.UNKNOWN, Condition.WARMING_UP, None),
        (Status.DEGRADED, Condition.OK, 0.9),
    ],
)
def test_a_live_stream_that_is_not_scored_in_time_has_no_coverage(
    status: Status, condition: Condition, coverage: float | None
) -> None:
    assert stream_metrics(Judgement(status, condition, None, Link.LIVE), SEEN, VIEW)["coverage"] == coverage


def test_a_frozen_picture_is_known_without_a_score() -> None:
    seen = Observation(PictureFacts(loop_s=12.0, loop_period_s=1.0), sample_age_s=None, corrupt_share=0.0)
    known = stream_metrics(Judgement(Status.UNKNOWN, Condition.FROZEN, None, Link.LIVE), seen, VIEW, drop=3.0)
    assert (known["loop_s"], known["still_s"], known["drop"]) == (12.0, 0.0, None)


def test_silence_is_known_where_the_feed_is_there() -> None:
    assert stream_metrics(LIVE, SEEN, VIEW, silence_s=12.0)["silence_s"] == 12.0
    lost = Judgement(Status.UNKNOWN, Condition.LOST, None, Link.LOST)
    assert stream_metrics(lost, SEEN, VIEW, silence_s=12.0)["silence_s"] is None
