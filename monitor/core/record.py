"""What is remembered of one second of a stream: what its rules saw, and what explains it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from monitor.core.bands import BAND_NUMBERS
from monitor.core.metrics import METRICS
from monitor.types import CAUSES, Condition, Status, StreamState

STATUSES = tuple(Status)
CONDITIONS = tuple(Condition)
#: Metrics whose value over a minute is the mean; of all others it is the worst.
_MEANS = frozenset({"score", "score_10s", "score_60s", "coverage", "fps_in"})


@dataclass(frozen=True, slots=True)
class Record:
    """One second of a stream, or a minute of them.

    Attributes:
        ts: Unix ms.
        status: Whether its score could be trusted.
        condition: What the monitor saw.
        metrics: By name; a missing one, like None, is unknown.
        baseline: The stream's usual score, in points.
        cause: Most probable cause of bad quality.
        cause_p: Its probability.
        score_min: Lowest score within; the score itself for one second.
        seconds: Seconds it stands for.
    """

    ts: int
    status: Status
    condition: Condition
    metrics: Mapping[str, float | None]
    baseline: float | None = None
    cause: str | None = None
    cause_p: float | None = None
    score_min: float | None = None
    seconds: int = 1


@dataclass(frozen=True, slots=True)
class Field:
    """A number that is remembered: integers of 10**-decimals."""

    name: str
    decimals: int = 0


#: Words of the numbers that stand for some.
WORDS: dict[str, Mapping[int, str]] = {
    "status": dict(enumerate(map(str, STATUSES))),
    "condition": dict(enumerate(map(str, CONDITIONS))),
    "cause": dict(enumerate(CAUSES)),
    "band": {int(number): name for name, number in BAND_NUMBERS.items()},
}

#: Everything remembered of a record but its time, in the order of :func:`numbers_of`.
FIELDS: tuple[Field, ...] = (
    Field("status"),
    Field("condition"),
    Field("cause"),
    Field("cause_p", 3),
    Field("baseline", 2),
    Field("score_min", 2),
    Field("seconds"),
    *(Field(name, metric.decimals) for name, metric in METRICS.items()),
)


def record_of(state: StreamState, metrics: Mapping[str, float | None]) -> Record:
    """What is remembered of a state and of what the rules saw in the same second."""
    return Record(
        state.ts, state.status, state.condition, metrics, state.baseline, state.cause, state.cause_p,
        metrics.get("score"),
    )  # fmt: skip


def numbers_of(record: Record) -> list[float | None]:
    """The record as numbers, in the order of :data:`FIELDS`."""
    return [
        STATUSES.index(record.status),
        CONDITIONS.index(record.condition),
        None if record.cause is None else CAUSES.index(record.cause),
        record.cause_p,
        record.baseline,
        record.score_min,
        record.seconds,
        *(record.metrics.get(name) for name in METRICS),
    ]


def record_from(ts: int, numbers: Mapping[str, float | None]) -> Record:
    """The record of :func:`numbers_of`; numbers that are missing are unknown.

    Raises:
        ValueError: A status, condition or cause that does not exist.
    """
    try:
        cause = numbers.get("cause")
        return Record(
            ts,
            STATUSES[int(numbers.get("status") or 0)],
            CONDITIONS[int(numbers.get("condition") or 0)],
            {name: numbers.get(name) for name in METRICS},
            numbers.get("baseline"),
            None if cause is None else CAUSES[int(cause)],
            numbers.get("cause_p"),
            numbers.get("score_min"),
            int(numbers.get("seconds") or 1),
        )
    except IndexError as error:
        raise ValueError(f"unknown status, condition or cause at {ts}") from error


def minute_of(records: Sequence[Record], ts: int) -> Record:
    """Sums up the seconds of one minute.

    Args:
        records: At least one.
        ts: Start of the minute, unix ms.

    Returns:
        Means of scores, coverage and rate, the worst of everything else, and the most frequent cause.
    """
    causes = [record.cause for record in records if record.cause is not None]
    cause = max(CAUSES, key=causes.count) if causes else None
    metrics = {}
    for name, metric in METRICS.items():
        values = [value for record in records if (value := record.metrics.get(name)) is not None]
        worst = max if metric.bad == "above" else min
        metrics[name] = None if not values else _mean(values) if name in _MEANS else worst(values)
    return Record(
        ts,
        max((record.status for record in records), key=STATUSES.index),
        min((record.condition for record in records), key=_gravity),
        metrics,
        _mean([record.baseline for record in records if record.baseline is not None]),
        cause,
        _mean([record.cause_p for record in records if record.cause == cause and record.cause_p is not None]),
        min((record.score_min for record in records if record.score_min is not None), default=None),
        sum(record.seconds for record in records),
    )


def _gravity(condition: Condition) -> int:
    # Conditions stand in order of gravity, but for ok, which is first.
    return len(CONDITIONS) if condition is Condition.OK else CONDITIONS.index(condition)


def _mean(values: Iterable[float]) -> float | None:
    some = list(values)
    return sum(some) / len(some) if some else None
