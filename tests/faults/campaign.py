"""Stalls made for real, and what a stream's task says of each: when it tells the fault, and when its end.

Real sockets, decoder, clocks and detectors; the engine is left out, since none of this waits for a score. States are
read once a second, as they are published.
"""

from __future__ import annotations

import asyncio
import json
import math
import platform
import random
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.core.alert_book import AlertBook, default_rules
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.reader_process import ProcessReaders
from monitor.pipeline.reader_server import ReaderServer
from monitor.pipeline.stream_task import StreamSettings, StreamTask
from monitor.types import Condition, StreamId
from tests.faults.report import show
from tests.fixtures.transport import Fault, Programme, TransportFeed

#: From the fault to the state that tells it, seconds; freezes and loops have their hold of 3 s on top.
DETECT_S = 5.0
HOLD_S = 3.0
RECOVER_S = 8.0


@dataclass(frozen=True)
class Expected:
    """What a fault must read as."""

    fault: Fault
    condition: Condition
    limit_s: float
    #: Conditions that may be told on the way there.
    on_the_way: frozenset[Condition] = frozenset()


_NEW_EPOCH = frozenset({Condition.WARMING_UP})
EXPECTED = (
    Expected(Fault.SILENT, Condition.LOST, DETECT_S),
    Expected(Fault.STUFFING, Condition.NO_VIDEO, DETECT_S),
    Expected(Fault.SCRAMBLED, Condition.NO_VIDEO, DETECT_S),
    Expected(Fault.CONSTANT_PTS, Condition.NO_VIDEO, DETECT_S),
    Expected(Fault.FROZEN, Condition.FROZEN, DETECT_S + HOLD_S),
    Expected(Fault.LOOP_GOP, Condition.FROZEN, DETECT_S + HOLD_S),
    Expected(Fault.LOOP_GOP_BACK, Condition.FROZEN, DETECT_S + HOLD_S, _NEW_EPOCH),
    Expected(Fault.LOOP_SECONDS, Condition.FROZEN, DETECT_S + HOLD_S),
    Expected(Fault.AUDIO_ONLY, Condition.NO_VIDEO, DETECT_S, frozenset({Condition.LOST})),
    Expected(Fault.CLOSED, Condition.LOST, DETECT_S),
)


@dataclass(frozen=True)
class Outcome:
    """One run of one fault; times in seconds, None where it did not happen.

    Attributes:
        fault: Its name.
        condition: What it was to be told as.
        limit_s: Within what time.
        detected_s: From the first wrong byte to the first state that told it.
        recovered_s: From the first right byte to the first state without a fault.
        wrong: Conditions told during the fault that were neither right, nor fine, nor a step on the way.
    """

    fault: str
    condition: str
    limit_s: float
    detected_s: float | None
    recovered_s: float | None
    wrong: tuple[str, ...]

    @property
    def right(self) -> bool:
        """Told as what it is, and told to be over."""
        return self.detected_s is not None and self.recovered_s is not None and not self.wrong

    @property
    def in_time(self) -> bool:
        """Right, and within the limit."""
        return self.right and self.detected_s is not None and self.detected_s <= self.limit_s


class NoEngine:
    """In the place of an inference thread; samples wait in their mailbox and grow old there."""


async def run_fault(
    expected: Expected,
    programme: Programme,
    scoring: BundleScoring,
    seed: int,
    server: ReaderServer,
    *,
    patience_s: float,
) -> Outcome:
    """One feed, one stream, one fault and its end."""
    source = random.Random(seed)
    batcher = Batcher(NoEngine())  # type: ignore[arg-type]
    with closing(TransportFeed(programme, seed=seed)) as feed:
        name = StreamId(expected.fault.value)
        task = StreamTask(
            StreamSettings(name, live=True),
            partial(PyAvSource, feed.url, stream=name, live=True),
            scoring,
            batcher,
            AlertBook(name, default_rules(), lambda: "id"),
            on_info=lambda *_: None,
            readers=partial(ProcessReaders, server),
            rng=random.Random(seed),
        )
        running = asyncio.create_task(task.run())
        try:
            return await _watched(expected, feed, task, source, patience_s)
        finally:
            task.stop()
            await running


async def _watched(
    expected: Expected, feed: TransportFeed, task: StreamTask, source: random.Random, patience_s: float
) -> Outcome:
    # Without an engine there is no score: a stream in which nothing is wrong goes on warming up.
    fine = (Condition.OK, Condition.WARMING_UP)

    due_s = time.monotonic()

    async def told() -> Condition:
        # States have seconds of their own: the fault falls anywhere between two of them.
        nonlocal due_s
        while due_s <= time.monotonic():
            due_s += 1.0
        await asyncio.sleep(due_s - time.monotonic())
        return task.second(time.time()).state.condition

    healthy = 0
    until = time.monotonic() + patience_s
    while healthy < 3:
        healthy = healthy + 1 if await told() in fine else 0
        if time.monotonic() > until:
            return Outcome(expected.fault, expected.condition, expected.limit_s, None, None, ("never healthy",))
    await asyncio.sleep(source.uniform(0.0, 1.0))
    feed.set_fault(expected.fault)
    wrong: list[str] = []
    detected_s: float | None = None
    until = time.monotonic() + patience_s
    lasting = 0
    # The fault goes on for a while after it was told: it must not be told as anything else then.
    while time.monotonic() < until and lasting < 6:
        condition = await told()
        if condition is expected.condition:
            if detected_s is None:
                detected_s = time.monotonic() - feed.fault_began_s
        elif condition not in fine and (detected_s is not None or condition not in expected.on_the_way):
            wrong.append(condition)
        elif detected_s is not None and condition not in expected.on_the_way:
            wrong.append(condition)
        lasting += detected_s is not None
    feed.set_fault(Fault.NONE)
    recovered_s: float | None = None
    until = time.monotonic() + patience_s
    while recovered_s is None and time.monotonic() < until:
        if await told() in fine:
            recovered_s = time.monotonic() - feed.fault_began_s
    return Outcome(
        expected.fault, expected.condition, expected.limit_s, detected_s, recovered_s, tuple(dict.fromkeys(wrong))
    )


async def run_campaign(
    programme: Programme,
    *,
    faults: Sequence[Expected] = EXPECTED,
    runs: int = 1,
    seed: int = 1,
    at_once: int = len(EXPECTED),
    patience_s: float = 30.0,
) -> list[Outcome]:
    """Every fault so many times, a few side by side, in an order and at moments that the seed gives."""
    scoring = replace(BundleScoring.of(load_bundle(bundles_folder() / BUNDLED)), with_side_channel=False)
    work = [(expected, seed * 1000 + n) for n in range(runs) for expected in faults]
    random.Random(seed).shuffle(work)
    room = asyncio.Semaphore(at_once)
    server = ReaderServer()

    async def one(expected: Expected, own_seed: int) -> Outcome:
        async with room:
            return await run_fault(expected, programme, scoring, own_seed, server, patience_s=patience_s)

    try:
        return list(await asyncio.gather(*(one(*item) for item in work)))
    finally:
        await asyncio.to_thread(server.close)


def percentile(values: Sequence[float], share: float) -> float | None:
    """Nearest-rank percentile; None of nothing."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] if ordered else None


def summary(outcomes: Sequence[Outcome]) -> list[dict[str, object]]:
    """One row a fault: runs, right, in time, detection and recovery p50 and p99."""
    rows: list[dict[str, object]] = []
    for expected in EXPECTED:
        own = [outcome for outcome in outcomes if outcome.fault == expected.fault]
        if not own:
            continue
        row: dict[str, object] = {"fault": expected.fault.value, "condition": expected.condition.value}
        row |= {"limit_s": expected.limit_s, "runs": len(own)}
        row |= {"right": sum(o.right for o in own), "in_time": sum(o.in_time for o in own)}
        for what in ("detected_s", "recovered_s"):
            values = [value for o in own if (value := getattr(o, what)) is not None]
            row |= {f"{what}_{name}": percentile(values, share) for name, share in (("p50", 0.5), ("p99", 0.99))}
        rows.append(row)
    return rows


def write_report(folder: Path, outcomes: Sequence[Outcome], *, runs: int, seed: int, at_once: int) -> None:
    """Writes ``fault-report.md`` and, with every single run, ``fault-report.json``."""
    rows = summary(outcomes)
    about = {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}",
        "runs_of_each": runs,
        "seed": seed,
        "at_once": at_once,
    }
    data = {**about, "summary": rows, "runs": [asdict(outcome) for outcome in outcomes]}
    path = folder / "fault-report.json"
    # What other campaigns found stays.
    data["campaigns"] = json.loads(path.read_text()).get("campaigns", {}) if path.is_file() else {}
    path.write_text(json.dumps(data, indent=1) + "\n")
    lines = [
        "# Fault report",
        "",
        "Written by `make faults`. Each fault is made on a real TCP feed; times run from the first wrong (or first",
        "right) byte to the state that tells it, of which there is one a second.",
        "",
        f"{about['made']}, {about['machine']}; {runs} runs of each, {at_once} side by side, seed {seed}.",
        "",
        "| fault | told as | limit | right | in time | detection p50 / p99 | recovery p50 / p99 |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        times = [_times(row, "detected_s"), _times(row, "recovered_s")]
        lines.append(
            f"| {row['fault']} | {row['condition']} | {row['limit_s']:.0f} s | {row['right']}/{row['runs']} "
            f"| {row['in_time']}/{row['runs']} | {times[0]} | {times[1]} |"
        )
    (folder / "fault-report.md").write_text("\n".join(lines) + "\n")
    show(folder)


def _times(row: dict[str, object], what: str) -> str:
    values = [row[f"{what}_{name}"] for name in ("p50", "p99")]
    return " / ".join("-" if value is None else f"{value:.1f} s" for value in values)
