"""The inference thread: exactly one thread owns the engine; features and the head's stateless half run there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from engines.base import FeatureEngine
from monitor.core.head import Head
from monitor.types import F64, Sample


class InferenceThread:
    """Runs batches of samples through engine and ``head.reduce`` off the event loop.

    Args:
        engine: Used in this object's own thread only.
        head: Its ``reduce`` is called in that thread; ``step`` never is.
        clock: Monotonic seconds.
    """

    def __init__(self, engine: FeatureEngine, head: Head, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.engine = engine
        self.head = head
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vqwatch-engine")
        #: Seconds spent in the engine, and pictures that went through it, since the start.
        self.busy_s = 0.0
        self.pictures = 0

    async def reduce(self, samples: Sequence[Sample]) -> F64:
        """Features of samples of one input shape, reduced: (B, D) float64, row i of sample i.

        Raises:
            EngineError: The engine failed on this batch.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, samples)

    def _run(self, samples: Sequence[Sample]) -> F64:
        started = self._clock()
        try:
            features = self.engine.infer(np.stack([s.pixels for s in samples]))
            side = [s.side for s in samples if s.side is not None]
            return self.head.reduce(features, np.stack(side) if side else None)
        finally:
            self.busy_s += self._clock() - started
            self.pictures += len(samples)

    def close(self) -> None:
        """Ends the thread after the batch in hand; the engine is closed in it."""
        self._thread.submit(self.engine.close)
        self._thread.shutdown(wait=True)
