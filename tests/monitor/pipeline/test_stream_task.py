"""A stream's life with real sources and a real pipeline: overload, reconnection, what is told once a second."""

from __future__ import annotations

import asyncio
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from engines.base import EngineInfo, Precision
from engines.bundle import BUNDLED, bundles_folder, load_bundle
from monitor.core.alert_book import AlertBook, default_rules
from monitor.core.expected_format import ExpectedFormat
from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.stream_task import Second, StreamSettings, StreamTask
from monitor.types import Condition, DropCause, Status, StreamId, StreamInfo

pytestmark = [pytest.mark.realtime, pytest.mark.timeout(120)]


@pytest.fixture(scope="module")
def scoring() -> BundleScoring:
    return BundleScoring.of(load_bundle(bundles_folder() / BUNDLED))


class SlowEngine:
    """An engine that takes as long a picture as it is told to; its features are statistics of the pixels."""

    def __init__(self, feature_size: int, seconds_a_picture: float) -> None:
        self.info = EngineInfo("slow", "1", "cpu", Precision.F32, feature_size, "slow@0")
        self._seconds = seconds_a_picture

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        time.sleep(self._seconds * len(pixels))
        means = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
        return np.repeat(means[:, None], self.info.feature_size, axis=1)

    def close(self) -> None:
        pass


class Rig:
    def __init__(self, scoring: BundleScoring, seconds_a_picture: float) -> None:
        self.scoring = scoring
        engine = SlowEngine(scoring.head.feature_size, seconds_a_picture)
        self.inference = InferenceThread(engine, scoring.head)
        self.batcher = Batcher(self.inference, max_batch=8, max_wait_s=0.01)
        self.tasks: list[StreamTask] = []

    def add(
        self,
        file: Path,
        name: str,
        *,
        mailbox: int = 75,
        staleness: float | None = 3.0,
        expected: ExpectedFormat | None = None,
    ) -> StreamTask:
        settings = StreamSettings(StreamId(name), live=False, mailbox=mailbox, max_staleness_s=staleness)
        book = AlertBook(StreamId(name), default_rules(), lambda: "id")
        task = StreamTask(
            settings,
            lambda: PyAvSource(str(file), stream=StreamId(name), live=False, paced=True),
            self.scoring,
            self.batcher,
            book,
            on_info=lambda *_: None,
            expected=expected,
        )
        self.tasks.append(task)
        return task

    async def play(self, each: Callable[[], None] = lambda: None) -> None:
        batching = asyncio.create_task(self.batcher.run())
        running = [asyncio.create_task(task.run()) for task in self.tasks]
        while not all(task.done() for task in running):
            await asyncio.sleep(0.02)
            each()
        self.batcher.close()
        await batching
        self.inference.close()
        for task in running:
            task.result()


async def test_under_overload_every_tick_is_scored_dropped_for_a_cause_or_in_flight(
    scoring: BundleScoring, tmp_path: Path, clip_maker: Callable[..., Path]
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=4.0)
    rig = Rig(scoring, seconds_a_picture=0.05)  # 20 pictures a second where 75 are due
    tasks = [rig.add(clip, f"s{i}", mailbox=20) for i in range(3)]
    seen: list[int] = []
    await rig.play(lambda: seen.extend(task.scored.unaccounted() for task in tasks))
    assert len(seen) > 100
    assert set(seen) <= {0, 1}
    for task in tasks:
        balance = task.scored.ledger.balance()
        assert balance.due == 100
        assert balance.scored + balance.dropped_total == 100
        assert balance.in_flight == 0
        assert balance.dropped[DropCause.MAILBOX_FULL] > 20
        assert balance.scored > 10
    scored = [task.scored.ledger.balance().scored for task in tasks]
    assert max(scored) - min(scored) <= 12  # the engine is shared fairly


async def test_stale_samples_are_dropped_for_that_cause(
    scoring: BundleScoring, tmp_path: Path, clip_maker: Callable[..., Path]
) -> None:
    rig = Rig(scoring, seconds_a_picture=0.08)
    task = rig.add(clip_maker(tmp_path / "clip.mp4", seconds=3.0), "s", staleness=0.3)
    await rig.play()
    balance = task.scored.ledger.balance()
    assert balance.dropped[DropCause.STALE] > 10
    assert balance.scored + balance.dropped_total == balance.due == 75


async def test_with_room_to_spare_nothing_is_dropped_and_the_state_is_whole(
    scoring: BundleScoring, tmp_path: Path, clip_maker: Callable[..., Path]
) -> None:
    rig = Rig(scoring, seconds_a_picture=0.0)
    task = rig.add(clip_maker(tmp_path / "clip.mp4", seconds=3.0), "s", expected=ExpectedFormat("mpeg2video", width=9))
    seconds: list[Second] = []

    def each() -> None:
        if len(seconds) * 25 < task.counts.frames:
            seconds.append(task.second(time.time()))

    await rig.play(each)
    states = [second.state for second in seconds]
    assert seconds[-1].metrics["format_mismatch"] == 2
    assert seconds[-1].metrics["score"] == round(states[-1].score or 0, 2)
    assert task.finished.is_set()
    assert task.scored.ledger.balance().scored == 75
    last = states[-1]
    assert last.status is Status.OK
    assert last.condition is Condition.OK
    assert last.coverage == pytest.approx(1.0)
    assert last.score is not None
    assert last.band is not None
    assert last.age_ms is not None
    assert last.age_ms < 2000
    assert [s.seq for s in states] == list(range(len(states)))
    assert float(Fraction(last.sample_fps)) == 25.0


class Refusing:
    """A source that nobody can open."""

    heard_s = None
    received = 0
    sound = None

    def __init__(self, code: SourceCode) -> None:
        self._code = code

    def open(self, stop: threading.Event | None = None) -> StreamInfo:
        raise SourceError(f"rtsp://10.0.0.1/live: no data for {time.monotonic()} s", self._code)

    def frames(self, stop: threading.Event, epoch: int) -> Iterator[Decoded]:
        raise AssertionError

    def close(self) -> None:
        pass


async def test_a_feed_that_fails_again_and_again_is_told_once_a_kind_and_every_attempt_is_counted(
    scoring: BundleScoring, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(scoring, seconds_a_picture=0.0)
    codes = itertools.cycle((SourceCode.TIMEOUT, SourceCode.TIMEOUT, SourceCode.CONNECTION))
    now_s = [0.0]
    task = StreamTask(
        StreamSettings(StreamId("s"), live=True, max_backoff_s=0.25),
        lambda: Refusing(next(codes)),
        scoring,
        rig.batcher,
        AlertBook(StreamId("s"), default_rules(), lambda: "id"),
        on_info=lambda *_: None,
        clock=lambda: now_s[0],
    )
    # No pause between attempts but that of the threads.
    task._backoff.delay = lambda: 0.0  # type: ignore[method-assign]
    rig.tasks.append(task)

    def told() -> list[str]:
        return [record.getMessage().split(" rtsp:")[0] for record in caplog.records]

    def later() -> None:
        if sum(task.reconnects.values()) >= 12:
            now_s[0] = 61.0
        if len(told()) >= 4:
            task.stop()

    caplog.set_level(logging.WARNING, "vqwatch.stream")
    await rig.play(later)
    assert told()[:2] == [
        "stream=s event=lost code=timeout suppressed=0",
        "stream=s event=lost code=connection suppressed=0",
    ]
    again = {line.partition(" suppressed=")[0]: int(line.partition("suppressed=")[2]) for line in told()[2:4]}
    assert again.keys() == {"stream=s event=lost code=timeout", "stream=s event=lost code=connection"}
    assert again["stream=s event=lost code=timeout"] >= 6
    assert task.reconnects["timeout"] >= task.reconnects["connection"] >= 4
    assert sum(task.reconnects.values()) == task.reconnects["timeout"] + task.reconnects["connection"]


async def test_a_defect_in_the_decode_thread_is_one_streams_trouble(
    scoring: BundleScoring, tmp_path: Path, clip_maker: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    clip = clip_maker(tmp_path / "clip.mp4", seconds=2.0)
    rig = Rig(scoring, seconds_a_picture=0.0)
    good = rig.add(clip, "good")
    bad = rig.add(clip, "bad")

    def broken() -> PyAvSource:
        source = PyAvSource(str(clip), stream=StreamId("bad"), live=False)
        source.frames = lambda stop, epoch: (_ for _ in ()).throw(ZeroDivisionError("a defect"))  # type: ignore[method-assign]
        return source

    bad._connect = broken

    def stop_bad() -> None:
        if good.finished.is_set():
            bad.stop()

    await rig.play(stop_bad)
    assert good.scored.ledger.balance().scored == 50
    # It was tried again and again; one traceback says what there is to say.
    assert bad.reconnects["bug"] >= 2
    assert len([record for record in caplog.records if "event=bug" in record.getMessage()]) == 1
    assert bad.second(time.time()).state.status is Status.UNKNOWN
