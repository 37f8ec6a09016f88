"""What alert rules may watch, and the value of each at one moment of one stream."""

from __future__ import annotations

from dataclasses import dataclass

from monitor.core.bands import band_number
from monitor.core.stream_state import Judgement, Link, Observation
from monitor.types import Condition, ScoreView, Status


@dataclass(frozen=True, slots=True)
class Metric:
    """One value that a rule may watch.

    Attributes:
        bad: "above": high values are bad; "below": low ones.
        decimals: Digits it is kept with. Rules see the rounded value, so that a replay of recorded values decides on
            the very same numbers.
        about: What it is, for people.
    """

    bad: str
    decimals: int
    about: str


#: Every metric by the name that rules use; those that are also published carry the payload's name.
METRICS: dict[str, Metric] = {
    "lost": Metric("above", 0, "1 while the condition is lost, else 0"),
    "no_video": Metric("above", 0, "1 while the condition is no_video, else 0"),
    "black_s": Metric("above", 2, "seconds for which the picture has been black, a logo in it allowed"),
    "still_s": Metric("above", 2, "seconds for which the content has not changed"),
    "loop_s": Metric("above", 2, "seconds for which the same few seconds have come round again"),
    "silence_s": Metric("above", 2, "seconds of silence; unknown where the sound is not looked at"),
    "corrupt_share": Metric("above", 4, "share of damaged pictures in the last 10 s, 0-1"),
    "drop": Metric("above", 2, "points by which the score is below the stream's own baseline"),
    "score": Metric("below", 2, "score of the last second, 0-100"),
    "score_10s": Metric("below", 2, "score of the last 10 s"),
    "score_60s": Metric("below", 2, "score of the last 60 s"),
    "score_min_60s": Metric("below", 2, "lowest one-second score of the last 60 s"),
    "band": Metric("below", 0, "band of the score: excellent, good, fair, poor, bad (5 to 1)"),
    "coverage": Metric("below", 3, "share of the pictures due in the last second that were scored, 0-1"),
    "fps_in": Metric("below", 2, "pictures a second that arrive"),
    "format_mismatch": Metric("above", 0, "facts of the feed that differ from `expect`; unknown without one"),
}


def stream_metrics(
    judgement: Judgement,
    seen: Observation,
    view: ScoreView,
    *,
    drop: float | None = None,
    fps_in: float | None = None,
    format_mismatch: int | None = None,
    silence_s: float | None = None,
) -> dict[str, float | None]:
    """Values of :data:`METRICS` at one moment, rounded; None is unknown.

    Nothing but the connection, the coverage, and black and frozen pictures, which are told from fresh facts alone, is
    known while the status is unknown: old facts must neither raise nor clear anything. A stream that connects for the
    first time is neither lost nor found. A live stream whose pictures are not scored in time has a coverage of 0, which
    is known.
    """
    metrics: dict[str, float | None] = dict.fromkeys(METRICS)
    condition, known = judgement.condition, judgement.status is not Status.UNKNOWN
    if condition is not Condition.CONNECTING:
        metrics["lost"] = float(condition is Condition.LOST)
        metrics["no_video"] = float(condition is Condition.NO_VIDEO)
    if judgement.link is Link.LIVE:
        metrics["format_mismatch"] = format_mismatch
        if condition is not Condition.WARMING_UP:
            metrics["coverage"] = seen.coverage if known else 0.0
    if condition not in (Condition.CONNECTING, Condition.LOST, Condition.NO_VIDEO):
        metrics["silence_s"] = silence_s
    if known or condition in (Condition.BLACK, Condition.FROZEN):
        # Known without a score, too: a loop whose time jumps back with each round never has one.
        metrics |= {
            "black_s": seen.facts.black_s,
            "still_s": seen.facts.still_s,
            "loop_s": seen.facts.loop_s,
        }
    if known:
        metrics |= {
            "corrupt_share": seen.corrupt_share,
            "drop": drop,
            "score": view.score,
            "score_10s": view.score_10s,
            "score_60s": view.score_60s,
            "score_min_60s": view.score_min_60s,
            "band": None if view.score is None else band_number(view.score),
            "fps_in": fps_in,
        }
    return {
        name: None if value is None else round(float(value), METRICS[name].decimals) for name, value in metrics.items()
    }
