from __future__ import annotations

import asyncio
from collections.abc import Iterable
from fractions import Fraction

import numpy as np
import pytest

from engines.base import EngineInfo, Precision
from engines.errors import EngineError
from monitor.core.head import VsfaHead
from monitor.core.stream_head import StatePolicy, StreamHead
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.inference import InferenceThread
from monitor.types import F64, DropCause, PictureFacts, Sample, StreamId


class MeanEngine:
    """A real engine of two features: mean and standard deviation of the pixels; counts what it was given."""

    info = EngineInfo("numpy", "1", "cpu", Precision.F32, 2, "test@0")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.fail_next = False

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        self.batches.append(len(pixels))
        if self.fail_next:
            self.fail_next = False
            raise EngineError("the device went away")
        flat = pixels.reshape(len(pixels), -1).astype(np.float32)
        return np.stack([flat.mean(1), flat.std(1)], axis=1) / 255

    def close(self) -> None:
        pass


def head() -> VsfaHead:
    rng = np.random.default_rng(3)
    return VsfaHead(
        {
            "fc_w": rng.standard_normal((4, 2)),
            "fc_b": rng.standard_normal(4),
            "w_ih": rng.standard_normal((9, 4)),
            "w_hh": rng.standard_normal((9, 3)),
            "b_ih": rng.standard_normal(9),
            "b_hh": rng.standard_normal(9),
            "q_w": rng.standard_normal(3),
            "q_b": np.array(0.0),
        }
    )


class Queue:
    """One stream's samples in memory."""

    def __init__(self, name: str, count: int, shape: tuple[int, int, int] = (3, 4, 4)) -> None:
        rng = np.random.default_rng(len(name))
        self.stream = StreamId(name)
        self.waiting = [
            Sample(StreamId(name), 1, t, t / 25, 0.0, rng.integers(0, 255, shape, dtype=np.uint8), None, PictureFacts())
            for t in range(count)
        ]
        self.state = StreamHead(3, StatePolicy.CONTINUOUS)
        self.got: list[tuple[int, float]] = []
        self.gone: list[tuple[int, DropCause]] = []

    def take(self, max_n: int) -> list[Sample]:
        taken, self.waiting = self.waiting[:max_n], self.waiting[max_n:]
        return taken

    def head_for(self, sample: Sample) -> StreamHead:
        return self.state

    def scored(self, sample: Sample, q: float, causes: F64, distance: float | None) -> None:
        self.got.append((sample.tick, q))

    def lost(self, samples: Iterable[Sample], cause: DropCause) -> None:
        self.gone += [(s.tick, cause) for s in samples]


async def drain(engine: MeanEngine, queues: list[Queue], max_batch: int = 8) -> Batcher:
    inference = InferenceThread(engine, head())
    batcher = Batcher(inference, max_batch=max_batch, max_wait_s=0)
    for queue in queues:
        batcher.add(queue)
    batcher.wake()
    running = asyncio.create_task(batcher.run())
    while any(queue.waiting for queue in queues):
        await asyncio.sleep(0)
    batcher.close()
    await running
    inference.close()
    return batcher


async def test_each_stream_is_scored_in_tick_order_whatever_shares_its_batches() -> None:
    alone = Queue("a", 40)
    await drain(MeanEngine(), [alone])
    together = [Queue("a", 40), Queue("bb", 23), Queue("ccc", 61)]
    await drain(MeanEngine(), together)
    assert [t for t, _ in together[0].got] == list(range(40))
    np.testing.assert_allclose([q for _, q in together[0].got], [q for _, q in alone.got], atol=1e-12)
    assert [len(queue.got) for queue in together] == [40, 23, 61]


async def test_a_busy_stream_cannot_starve_the_others() -> None:
    engine = MeanEngine()
    busy, quiet = Queue("busy", 400), Queue("quiet", 4)
    await drain(engine, [busy, quiet], max_batch=8)
    # Four samples a batch are the quiet stream's share: it is done with the first full batch.
    assert engine.batches[0] == 8
    assert len(quiet.got) == 4
    assert max(engine.batches) <= 8


async def test_pictures_of_different_sizes_go_through_in_batches_of_one_size() -> None:
    engine = MeanEngine()
    queues = [Queue("a", 6, (3, 4, 4)), Queue("bb", 6, (3, 8, 8))]
    await drain(engine, queues)
    assert sum(engine.batches) == 12
    assert [len(queue.got) for queue in queues] == [6, 6]


async def test_an_engine_failure_loses_its_batch_with_a_cause_and_the_next_is_scored() -> None:
    engine = MeanEngine()
    engine.fail_next = True
    queue = Queue("a", 20)
    batcher = await drain(engine, [queue], max_batch=8)
    assert batcher.counts.failures == 1
    assert [cause for _, cause in queue.gone] == [DropCause.ENGINE_ERROR] * 8
    assert [t for t, _ in queue.got] == list(range(8, 20))


async def test_a_batch_waits_for_company_no_longer_than_it_may() -> None:
    engine = MeanEngine()
    inference = InferenceThread(engine, head())
    batcher = Batcher(inference, max_batch=100, max_wait_s=0.01)
    queue = Queue("a", 3)
    batcher.add(queue)
    running = asyncio.create_task(batcher.run())
    batcher.wake()
    async with asyncio.timeout(5):
        while len(queue.got) < 3:
            await asyncio.sleep(0.001)
    batcher.close()
    await running
    inference.close()
    assert engine.batches == [3]


@pytest.mark.parametrize("count", [1, 2, 7])
async def test_what_is_waiting_at_the_end_is_still_scored(count: int) -> None:
    queue = Queue("a", count)
    await drain(MeanEngine(), [queue])
    assert len(queue.got) == count
    assert Fraction(len(queue.got), count) == 1
