"""Stream-hours on a fake clock: whole books of rules against the oracle, second by second.

``python -m tests.monitor.core.alert_hours --hours 100000`` prints how many hours and events it played, and what
computing that took; a difference ends it with the seed of the trace that shows it.

A trace is a day of one stream: hours of health, faults of seconds to minutes, stretches that flap and ones that are
blind, on three metrics of which some explain others, so that every time of a rule, its damping and its forgetting are
reached over and over.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import sys
import time
from dataclasses import dataclass
from itertools import count

from monitor.core.alert_book import AlertBook
from monitor.core.alerts import AlertRule
from monitor.types import AlertEvent, Severity, StreamId
from tests.monitor.core.alert_oracle import Event, Values, oracle

STEP_S = 1.0
HOURS_A_TRACE = 24
METRICS = ("lost", "black", "drop")
#: An aggregate level of each kind: healthy, between the levels of a rule, breached, blind.
_LEVELS: tuple[float | None, ...] = (0.0, 12.0, 20.0, None)


@dataclass
class Total:
    """What was played."""

    hours: float = 0.0
    raises: int = 0
    clears: int = 0
    cpu_s: float = 0.0


def book_of(chance: random.Random) -> list[AlertRule]:
    """Three rules, the later ones explained by the earlier."""

    def rule(name: str, *inhibited_by: str) -> AlertRule:
        return AlertRule(
            name,
            name,
            15.0,
            chance.choice([15.0, 10.0, 5.0]),
            float(chance.choice([0, 1, 2, 5, 10, 30])),
            float(chance.choice([0, 1, 5, 10, 20, 60, 400])),
            Severity.MINOR,
            inhibited_by=inhibited_by,
        )

    return [rule("lost"), rule("black", "lost"), rule("drop", "lost", "black")]


def metric_of(chance: random.Random, seconds: int) -> list[float | None]:
    """One metric of one day."""
    values: list[float | None] = []
    while len(values) < seconds:
        kind = chance.random()
        if kind < 0.45:  # health, at times long enough for damping to be forgotten
            values += [0.0] * int(chance.expovariate(1 / 900))
        elif kind < 0.75:  # a fault
            values += [20.0] * int(chance.expovariate(1 / 40))
        elif kind < 0.85:
            values += [None] * int(chance.expovariate(1 / 30))
        else:  # flapping, with all levels
            for _ in range(chance.randrange(2, 60)):
                values += [chance.choice(_LEVELS)] * chance.randrange(1, 12)
    return values[:seconds]


def said(events: list[AlertEvent]) -> list[Event]:
    """The events of a book, as the oracle names them."""
    return sorted(
        Event(event.raised_at if event.cleared_at is None else event.cleared_at, event.rule, event.status)
        for event in events
    )


def play(seed: int, hours: float) -> Total:
    """One trace through a book and through the oracle.

    Raises:
        AssertionError: They differ, or raises and clears do not alternate.
    """
    chance = random.Random(seed)
    rules = book_of(chance)
    began = time.process_time()
    columns = [metric_of(chance, int(hours * 3600)) for _ in METRICS]
    trace: list[Values] = [dict(zip(METRICS, row, strict=True)) for row in zip(*columns, strict=True)]
    numbers = count()
    book = AlertBook(StreamId("one"), rules, lambda: f"id{next(numbers)}")
    events = [event for n, values in enumerate(trace) for event in book.step(n * STEP_S, n * STEP_S, values)]
    up: dict[str, str] = {}
    for number, event in enumerate(events, start=1):
        assert event.seq == number, seed
        if event.status == "raised":
            assert event.rule not in up, seed
            up[event.rule] = event.id
        else:
            assert up.pop(event.rule, None) == event.id, seed
    assert said(events) == oracle(rules, trace, lambda rule, at_s: True, STEP_S), f"seed {seed}"
    raises = sum(event.status == "raised" for event in events)
    return Total(hours, raises, len(events) - raises, time.process_time() - began)


def _day(seed: int) -> Total:
    return play(seed, HOURS_A_TRACE)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--hours", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    args = parser.parse_args()
    traces = -(-args.hours // HOURS_A_TRACE)
    total, began = Total(), time.monotonic()
    with multiprocessing.Pool(args.processes) as pool:
        for done in pool.imap_unordered(_day, range(args.seed, args.seed + traces), chunksize=4):
            total.hours += done.hours
            total.raises += done.raises
            total.clears += done.clears
            total.cpu_s += done.cpu_s
    print(
        f"{total.hours:.0f} stream-hours equal the oracle: {total.raises} raises, {total.clears} clears; "
        f"{total.cpu_s:.0f} s of computing in {time.monotonic() - began:.0f} s"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
