"""The inference thread: exactly one thread owns the engine; features and the head's stateless half run there."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from engines.base import FeatureEngine
from monitor.core.domain import FeatureDomain
from monitor.core.head import Head
from monitor.core.histogram import Histogram
from monitor.pipeline.feature_memory import FeatureMemory
from monitor.types import F32, F64, Sample

_DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Reduced(NamedTuple):
    """What is left of a batch's pictures.

    Attributes:
        inputs: B rows (D,) float64: what the recurrence of each sample's own head takes.
        distances: (B,) distance from the model's domain; None where the model knows none.
    """

    inputs: list[F64]
    distances: F64 | None


class InferenceThread:
    """Runs batches of samples through engine and ``head.reduce`` off the event loop.

    Args:
        engine: Used in this object's own thread only.
        head: Its ``reduce`` is called in that thread; ``step`` never is.
        domain: What pictures the model knows, where it says so.
        lower: Heads for samples of lower rates, by rung from 1.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        engine: FeatureEngine,
        head: Head,
        domain: FeatureDomain | None = None,
        *,
        lower: Sequence[Head] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.engine = engine
        #: By rung.
        self.heads = (head, *lower)
        self._domain = domain
        self._clock = clock
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="vqwatch-engine")
        self.memory = FeatureMemory()
        #: Seconds spent in the engine, and samples that went through it, since the start.
        self.busy_s = 0.0
        self.samples = 0
        #: Of each batch that went through it: seconds, and pictures.
        self.durations = Histogram(_DURATIONS_S)
        self.sizes = Histogram(_SIZES)
        self._started_s: float | None = None

    @property
    def computed(self) -> int:
        """Pictures that the engine computed: a sample that shows the one before again needs none."""
        return self.samples - self.memory.reused

    @property
    def running_s(self) -> float:
        """Seconds for which the batch in the engine has been there; 0 while there is none. From any thread."""
        started_s = self._started_s
        return 0.0 if started_s is None else self._clock() - started_s

    async def reduce(self, samples: Sequence[Sample]) -> Reduced:
        """Features of samples of one input shape, reduced; row i of sample i.

        Raises:
            EngineError: The engine failed on this batch.
        """
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._run, samples)

    def _run(self, samples: Sequence[Sample]) -> Reduced:
        self._started_s = started = self._clock()
        try:
            features = self.memory.features(samples, self.engine.infer)
            inputs = self._reduced(samples, features)
            return Reduced(inputs, None if self._domain is None else self._domain.distance(features))
        finally:
            self._started_s = None
            took_s = self._clock() - started
            self.busy_s += took_s
            self.samples += len(samples)
            self.durations.observe(took_s)
            self.sizes.observe(len(samples))

    def _reduced(self, samples: Sequence[Sample], features: F32) -> list[F64]:
        rows: dict[int, F64] = {}
        for rung in {s.rung for s in samples}:
            of = [i for i, s in enumerate(samples) if s.rung == rung]
            side = [row for i in of if (row := samples[i].side) is not None]
            rows |= zip(of, self.heads[rung].reduce(features[of], np.stack(side) if side else None), strict=True)
        return [rows[i] for i in range(len(samples))]

    def close(self) -> None:
        """Ends the thread after the batch in hand; the engine is closed in it."""
        self._thread.submit(self.engine.close)
        self._thread.shutdown(wait=True)
