"""A whole monitor whose engine becomes too slow, and fast again."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from engines.base import EngineInfo, Precision
from engines.bundle import BUNDLED, PoolingPart, RungPart, bundles_folder, load_bundle, write_bundle
from monitor.app import Monitor
from monitor.config import make_config
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.types import Status, StreamId, StreamState
from tests.e2e.conftest import Listener

FEEDS = ("a", "b", "c", "vip")
FULL_FPS = 10.0


class PacedEngine:
    """Takes as long for a picture as it is told to; its features are statistics of the pixels."""

    def __init__(self, feature_size: int) -> None:
        self.info = EngineInfo("paced", "1", "cpu", Precision.F32, feature_size, "paced@0")
        self.seconds_a_picture = 0.0

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        time.sleep(self.seconds_a_picture * len(pixels))
        means = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float32)
        return np.repeat(means[:, None], self.info.feature_size, axis=1)

    def close(self) -> None:
        pass


@pytest.fixture
def ladder(tmp_path: Path) -> BundleScoring:
    """The bundled trunk with one head for three rates: what matters here is when it changes, not what it says."""
    base = load_bundle(bundles_folder() / BUNDLED)
    head = base.manifest.head.model_dump(exclude={"file"})
    rungs = tuple(
        RungPart(**head, file=f"head-{fps:g}.npz", fps=fps, pooling=PoolingPart(tau=tau, warmup=tau))
        for fps, tau in ((8.0, 4), (4.0, 2))
    )
    update = {"sample_fps": FULL_FPS, "ladder": rungs, "pooling": PoolingPart(tau=5, warmup=5)}
    manifest = base.manifest.model_copy(update=update)
    arrays = base.head_arrays
    return BundleScoring.of(
        write_bundle(tmp_path / "ladder", manifest, arrays, base.trunk_path, [arrays, arrays], base.domain_arrays)
    )


@pytest.mark.slow
@pytest.mark.timeout(180)
async def test_twice_the_capacity_is_shed_openly_and_fairly_no_stream_goes_stale_and_full_rates_come_back(
    ladder: BundleScoring,
    clip_maker: Callable[..., Path],
    tmp_path: Path,
    free_port: Callable[..., int],
    listener: Callable[..., Listener],
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "vqwatch.load")
    clip = clip_maker(tmp_path / "clip.mp4", seconds=90.0, size=(160, 96), fps=int(FULL_FPS))
    port = free_port()
    config = make_config(
        {
            "broker": {"mqtt_port": port, "ws_port": 0},
            "http": {"enabled": False},
            "streams": [{"id": id_, "url": str(clip), "priority": int(id_ == "vip")} for id_ in FEEDS],
        }
    )
    engine = PacedEngine(ladder.head.feature_size)
    states: list[tuple[float, StreamId, StreamState]] = []
    monitor = Monitor(config, ladder, engine, on_state=lambda id_, state: states.append((time.monotonic(), id_, state)))
    running = asyncio.create_task(monitor.run())

    def newest() -> dict[StreamId, StreamState]:
        return {id_: state for _, id_, state in states[-len(FEEDS) :]}

    async def until(condition: Callable[[], bool], limit_s: float) -> float:
        started_s = time.monotonic()
        while not condition():
            assert time.monotonic() - started_s < limit_s, f"not within {limit_s} s: {newest()}"
            await asyncio.sleep(0.02)
        return time.monotonic() - started_s

    def scored() -> dict[str, int]:
        return {id_: task.scored.ledger.balance().scored for id_, task in monitor.streams.items()}

    try:
        await until(monitor.ready.is_set, 30)
        heard = await asyncio.to_thread(listener, port, "vqwatch/vqwatch/health")
        await until(lambda: len(states) > 4 and all(s.status is Status.OK for s in newest().values()), 30)
        assert {s.sample_fps for s in newest().values()} == {FULL_FPS}
        await asyncio.sleep(1.0)

        engine.seconds_a_picture = 1 / 20  # where 40 pictures a second are due
        declared_s = await until(lambda: json.loads(heard.heard[-1][1])["shed"] >= 0.3, 10)
        assert declared_s <= 2.0
        # The streams' states follow within their second.
        followed_s = await until(lambda: all(newest()[StreamId(f)].sample_fps < FULL_FPS for f in "abc"), 10)
        assert followed_s <= 1.5
        assert any("event=shedding shed=" in record.getMessage() for record in caplog.records)
        # 4 a second of three feeds leave the fourth all that it had.
        settled_s = time.monotonic() + 1.5
        await asyncio.sleep(1.5)
        before = scored()
        await asyncio.sleep(8.0)
        gained = {id_: count - before[id_] for id_, count in scored().items()}
        assert max(gained[f] for f in "abc") - min(gained[f] for f in "abc") <= 0.05 * 8 * 4 + 1
        assert gained["a"] == pytest.approx(8 * 4, abs=3)
        assert gained["vip"] >= 2 * gained["a"] - 3 or newest()[StreamId("vip")].sample_fps < FULL_FPS
        shedding = [state for at_s, _, state in states if at_s >= settled_s]
        assert {state.status for state in shedding} == {Status.DEGRADED}
        assert max(state.age_ms or 0 for state in shedding) < 3000
        assert all(state.score is not None for state in shedding)

        engine.seconds_a_picture = 0.0
        await until(lambda: all(s.sample_fps == FULL_FPS for s in newest().values()), 20)
        await until(lambda: all(s.status is Status.OK for s in newest().values()), 5)
        assert monitor.streams[StreamId("a")].scored.unaccounted() in (0, 1)
        # Not one second without a score on the way.
        first = next(at_s for at_s, _, state in states if state.status is Status.OK)
        assert all(state.score is not None for at_s, _, state in states if at_s > first + 1)
    finally:
        monitor.stop()
        await running
