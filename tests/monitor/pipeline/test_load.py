"""What the load watch tells the decision-maker, and what it tells streams."""

from __future__ import annotations

import logging
from collections import Counter
from types import SimpleNamespace
from typing import Any

import pytest

from monitor.core.shedding import Shedding
from monitor.pipeline.load import LOOK_S, LoadWatch
from monitor.pipeline.reader import Readings
from monitor.types import StreamId

RATES = (25.0, 20.0, 12.5, 5.0, 5.0)


class Task:
    """As much of a stream's task as is looked at."""

    def __init__(self, *, live: bool = True) -> None:
        self.live, self.rung, self.readings = live, 0, Readings()
        balance = SimpleNamespace(dropped=Counter(), due=0)
        mailbox = SimpleNamespace(waiting_s=lambda: 0.0)
        self.scored = SimpleNamespace(ledger=SimpleNamespace(balance=lambda: balance), mailbox=mailbox)
        self.hurried: list[bool] = []

    def hurry(self, on: bool) -> None:
        self.hurried.append(on)


class Bench:
    """A load watch with a clock of its own and an engine that is never the reason."""

    def __init__(self, **tasks: Task) -> None:
        self.now_s = 0.0
        self.tasks: dict[StreamId, Any] = {StreamId(name): task for name, task in tasks.items()}
        self._engine: Any = SimpleNamespace(computed=0, busy_s=0.0)
        shedding = Shedding(RATES, dict.fromkeys(self.tasks, 0))
        self.watch = LoadWatch(shedding, self.tasks, self._engine, clock=lambda: self.now_s)

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / LOOK_S)):
            self.now_s += LOOK_S
            self._engine.computed += 10
            self._engine.busy_s += 0.005
            self.watch.look()


def test_one_reader_that_falls_behind_relieves_all_of_its_priority_down_to_decoding_in_part(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.WARNING, "vqwatch.load")
    slow, quick = Task(), Task()
    bench = Bench(a=slow, b=quick)
    bench.run(3)
    assert (slow.rung, quick.rung) == (0, 0)
    slow.readings = Readings(behind_s=0.4, spare=0.0)
    bench.run(1)
    assert (slow.rung, quick.rung) == (1, 1)
    bench.run(4)
    assert (slow.rung, quick.rung) == (4, 4)
    assert "rates=5x2 decoded_in_part=2 waited_ms=0 behind_ms=400" in caplog.text


def test_a_stream_without_pictures_is_behind_nothing() -> None:
    stalled, quick = Task(live=False), Task()
    stalled.readings = Readings(behind_s=0.4, spare=0.0)
    bench = Bench(a=stalled, b=quick)
    bench.run(10)
    assert quick.rung == 0


def test_rates_come_back_rung_by_rung_once_readers_keep_up() -> None:
    slow, quick = Task(), Task()
    bench = Bench(a=slow, b=quick)
    bench.run(3)
    slow.readings = Readings(behind_s=0.4, spare=0.0)
    bench.run(5)
    assert slow.rung == 4
    slow.readings = Readings(spare=0.6)
    rungs = []
    for _ in range(60):
        bench.run(1)
        rungs.append(slow.rung)
    assert sorted(set(rungs), reverse=True) == [4, 3, 2, 1, 0]
    assert rungs == sorted(rungs, reverse=True)
    assert rungs[-1] == 0
