"""The batcher: samples of all streams, fairly, into batches for the engine; results back in order."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from engines.errors import EngineError
from monitor.core.stream_head import StreamHead, step_streams
from monitor.pipeline.inference import InferenceThread, Reduced
from monitor.types import F64, DropCause, Sample, StreamId

log = logging.getLogger("vqwatch.pipeline")


class SampleStream(Protocol):
    """What the batcher sees of a stream. All on the event loop."""

    stream: StreamId

    def take(self, max_n: int) -> list[Sample]:
        """Up to ``max_n`` waiting samples in tick order; they count as in flight from here."""
        ...

    def head_for(self, sample: Sample) -> StreamHead:
        """Recurrent state of the sample's grid."""
        ...

    def scored(self, sample: Sample, q: float, causes: F64, distance: float | None) -> None:
        """Takes a sample's head output and its distance from the model's domain, in tick order."""
        ...

    def lost(self, samples: Iterable[Sample], cause: DropCause) -> None:
        """These taken samples will get no score."""
        ...


@dataclass(slots=True)
class BatchCounts:
    """Batches and samples that went through, and engine failures."""

    batches: int = 0
    samples: int = 0
    failures: int = 0


class Batcher:
    """Collects samples round-robin over streams and scores them, one batch in the engine at a time.

    A batch goes out as soon as it is full, or ``max_wait_s`` after its first sample; while one is in the engine the
    next collects, so under load batches fill by themselves and waiting costs nothing.

    Args:
        inference: The engine's thread.
        max_batch: Most samples a batch.
        max_wait_s: Longest wait for more samples; pooling looks 11 samples ahead anyway.
    """

    def __init__(self, inference: InferenceThread, *, max_batch: int = 16, max_wait_s: float = 0.04) -> None:
        self._inference = inference
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._streams: list[SampleStream] = []
        self._first = 0  # whose turn it is to be asked first
        self._wake = asyncio.Event()
        self._closed = False
        self.counts = BatchCounts()
        #: Why the newest batch failed; None where it did not.
        self.trouble: EngineError | None = None
        #: Called after an engine failure, with the error; the batch's samples are lost, the next is tried.
        self.on_failure: Callable[[EngineError], None] | None = None

    def add(self, stream: SampleStream) -> None:
        """Starts asking a stream for samples."""
        self._streams.append(stream)

    def remove(self, stream: SampleStream) -> None:
        """Stops asking a stream."""
        self._streams.remove(stream)
        self._inference.memory.forget(stream.stream)

    def wake(self) -> None:
        """Samples are waiting somewhere. Event loop only."""
        self._wake.set()

    async def run(self) -> None:
        """Scores until ``close``; then what is waiting is scored too."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            batch = self._collect(self._max_batch)
            if batch and len(batch) < self._max_batch and not self._closed:
                await asyncio.sleep(self._max_wait_s)
                batch += self._collect(self._max_batch - len(batch))
            if batch:
                self._wake.set()  # there may be more; an empty round ends it
                await self._score(batch)
            elif self._closed:
                return

    def close(self) -> None:
        """Lets ``run`` end once nothing is waiting."""
        self._closed = True
        self._wake.set()

    def _collect(self, room: int) -> list[tuple[SampleStream, Sample]]:
        batch: list[tuple[SampleStream, Sample]] = []
        count = len(self._streams)
        if not count or room < 1:
            return batch
        self._first = (self._first + 1) % count
        order = self._streams[self._first :] + self._streams[: self._first]
        share = max(1, room // count)
        while room > 0:
            taken = 0
            for stream in order:
                samples = stream.take(min(share, room))
                batch += [(stream, sample) for sample in samples]
                room -= len(samples)
                taken += len(samples)
                if room <= 0:
                    break
            if not taken:
                break
        return batch

    async def _score(self, batch: list[tuple[SampleStream, Sample]]) -> None:
        by_shape: dict[tuple[int, ...], list[tuple[SampleStream, Sample]]] = {}
        for item in batch:
            by_shape.setdefault(item[1].pixels.shape, []).append(item)
        for group in by_shape.values():
            self.counts.batches += 1
            try:
                reduced = await self._inference.reduce([sample for _, sample in group])
            except EngineError as error:
                self.counts.failures += 1
                self.trouble = error
                for stream, sample in group:
                    stream.lost([sample], DropCause.ENGINE_ERROR)
                if self.on_failure is not None:
                    self.on_failure(error)
                continue
            self.trouble = None
            self._step(group, reduced)
            self.counts.samples += len(group)

    def _step(self, group: list[tuple[SampleStream, Sample]], reduced: Reduced) -> None:
        """Steps the streams' heads in rounds: one sample of each stream a round, in tick order."""
        waiting = list(range(len(group)))
        while waiting:
            seen: set[int] = set()
            now = [i for i in waiting if id(group[i][0]) not in seen and not seen.add(id(group[i][0]))]  # type: ignore[func-returns-value]
            waiting = [i for i in waiting if i not in set(now)]
            for rung in {group[i][1].rung for i in now}:
                self._step_rung([i for i in now if group[i][1].rung == rung], rung, group, reduced)

    def _step_rung(
        self, rows: list[int], rung: int, group: list[tuple[SampleStream, Sample]], reduced: Reduced
    ) -> None:
        heads = [group[i][0].head_for(group[i][1]) for i in rows]
        inputs = np.stack([reduced.inputs[i] for i in rows])
        shots = [group[i][1].facts.shot for i in rows]
        qualities, causes = step_streams(self._inference.heads[rung], heads, inputs, shots)
        for i, q, p in zip(rows, qualities.tolist(), causes, strict=True):
            stream, sample = group[i]
            stream.scored(sample, q, p, None if reduced.distances is None else float(reduced.distances[i]))
