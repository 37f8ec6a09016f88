"""Scoring a recording: the live pipeline with waiting in place of dropping, and a summary at the end."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any

import numpy as np

from engines.preprocess import InputSpec
from monitor.core.scorer import ScoringSpec
from monitor.errors import SourceCode, SourceError
from monitor.ingest.mailbox import Mailbox, OverflowPolicy
from monitor.ingest.source_thread import Source, SourceThread
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.connection import SampledSource
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.sampler import StreamSampler
from monitor.pipeline.scored_stream import ScoredStream
from monitor.types import CAUSES, Condition, DropCause, PooledQuality, Sample, StreamId, StreamInfo

#: A black or unchanging picture, or a loop, counts as a condition from here on; shorter ones are editing.
CONDITION_HOLD_S = 1.0
_MAILBOX = 64


@dataclass(slots=True)
class ClipResult:
    """Scores of one recording, 0-100; None where nothing was scored.

    Attributes:
        info: What the recording is, with the pictures that came last and the frame rate as measured.
        format_changes: Times that the pictures' size, layout or colour changed.
        repeated: Ticks at which the source showed its last picture again, or left a gap.
        score: Mean over the clip, its first samples (the bundle's warm-up) left out.
        score_min_10s: Lowest mean over 10 s, or over all of a shorter clip.
        samples: Ticks scored.
        frames: Pictures decoded.
        duration_s: Media seconds scored.
        elapsed_s: Wall-clock seconds it took.
        causes: Mean probability of each cause.
        conditions: Media seconds in each condition that was seen.
        out_of_domain: Media seconds in which the model did not know such pictures, by reason.
        seconds: (start, score) of each media second.
        ended: Why a live source ended, if it did.
    """

    info: StreamInfo | None = None
    format_changes: int = 0
    repeated: int = 0
    score: float | None = None
    score_min_10s: float | None = None
    samples: int = 0
    frames: int = 0
    duration_s: float = 0.0
    elapsed_s: float = 0.0
    causes: dict[str, float] = field(default_factory=dict)
    conditions: dict[str, float] = field(default_factory=dict)
    out_of_domain: dict[str, float] = field(default_factory=dict)
    seconds: list[tuple[float, float]] = field(default_factory=list)
    ended: SourceError | None = None


async def score_source(
    source: Source,
    batcher: Batcher,
    *,
    spec: InputSpec,
    scoring: ScoringSpec,
    with_side_channel: bool,
    domain_limit: float | None = None,
    stop: asyncio.Event | None = None,
    on_opened: Callable[[StreamInfo], None] | None = None,
    deinterlace: Deinterlace = Deinterlace.AUTO,
) -> ClipResult:
    """Scores a source to its end (or until ``stop``); the batcher's ``run`` must be going.

    ``on_opened`` is told what the source is as soon as that is known; ``domain_limit`` is the model's, if it has one.

    Raises:
        SourceError: It could not be opened, or a recording broke before its end. The end of a live source is no error
            once pictures have come.
    """
    loop = asyncio.get_running_loop()
    started_s = time.monotonic()
    pooled: dict[int, list[PooledQuality]] = defaultdict(list)
    conditions: dict[Condition, int] = defaultdict(int)
    foreign: dict[str, int] = defaultdict(int)
    result = ClipResult()
    ended: asyncio.Future[Exception | None] = loop.create_future()

    def opened(info: StreamInfo) -> None:
        result.info = info
        if on_opened is not None:
            on_opened(info)

    def wake() -> None:
        loop.call_soon_threadsafe(batcher.wake)

    def mailbox(on_drop: Callable[[Sample, DropCause], None]) -> Mailbox[Sample]:
        return Mailbox(_MAILBOX, OverflowPolicy.WAIT, on_item=wake, on_drop=on_drop)

    def scored(sample: Sample) -> None:
        _count_conditions(sample, conditions)
        if (reason := stream.foreign) is not None:
            foreign[reason.value] += 1

    stream = ScoredStream(
        StreamId("clip"),
        scoring,
        mailbox,
        on_pooled=lambda epoch, quality: pooled[epoch].append(quality),
        on_scored=scored,
        domain_limit=domain_limit,
    )
    sampler = StreamSampler(
        stream.stream,
        spec,
        scoring.fps,
        with_side_channel=with_side_channel,
        emit=stream.emit,
        on_drop=stream.dropped_before,
        deinterlace=deinterlace,
    )
    thread = SourceThread(
        SampledSource(source, sampler),
        name="vqwatch-clip",
        epoch=0,
        loop=loop,
        on_frame=sampler.push,
        on_opened=opened,
        on_ended=lambda error: None if ended.done() else ended.set_result(error),
    )
    batcher.add(stream)
    thread.start()
    stopper = asyncio.ensure_future(stop.wait()) if stop is not None else None
    try:
        waiting: list[asyncio.Future[Any]] = [ended] if stopper is None else [ended, stopper]
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if not ended.done():
            thread.stop()
        error = await ended
        await _settled(stream, batcher)
    finally:
        if stopper is not None:
            stopper.cancel()
        thread.stop()
        stream.mailbox.close()
        batcher.remove(stream)
    if error is not None:
        over = isinstance(error, SourceError) and error.code in (SourceCode.ENDED, SourceCode.TIMEOUT)
        if not over or not sampler.counts.ticks:
            raise error
        assert isinstance(error, SourceError)
        result.ended = error
    stream.end_epoch()
    _summarise(result, pooled, conditions, stream, scoring)
    result.out_of_domain = {name: round(count / float(scoring.fps), 2) for name, count in foreign.items()}
    result.frames = sampler.counts.frames
    result.format_changes, result.repeated = sampler.format_changes, sampler.counts.repeated
    if result.info is not None:
        result.info = replace(result.info.showing(sampler.format), fps=sampler.frame_rate.fps or result.info.fps)
    result.elapsed_s = time.monotonic() - started_s
    if sampler.picture_error is not None and not result.samples:
        raise SourceError(sampler.picture_error, SourceCode.INVALID_DATA, transient=False)
    return result


async def _settled(stream: ScoredStream, batcher: Batcher) -> None:
    """Waits until every tick has its fate."""
    while stream.ledger.balance().in_flight:
        batcher.wake()
        await asyncio.sleep(0.005)


def _count_conditions(sample: Sample, conditions: dict[Condition, int]) -> None:
    facts = sample.facts
    if facts.black_s >= CONDITION_HOLD_S:
        conditions[Condition.BLACK] += 1
    elif max(facts.still_s, facts.loop_s) >= CONDITION_HOLD_S:
        conditions[Condition.FROZEN] += 1
    elif sample.corrupt:
        conditions[Condition.DECODE_ERRORS] += 1
    else:
        conditions[Condition.OK] += 1


def _summarise(
    result: ClipResult,
    pooled: dict[int, list[PooledQuality]],
    conditions: dict[Condition, int],
    stream: ScoredStream,
    scoring: ScoringSpec,
) -> None:
    fps: Fraction = scoring.fps
    offset = 0
    values: list[float] = []
    by_second: dict[int, list[float]] = defaultdict(list)
    for epoch in sorted(pooled):
        qualities = pooled[epoch]
        counted = [q for q in qualities if q.tick >= scoring.warmup] or qualities
        values += [q.value for q in counted]
        for quality in qualities:
            by_second[int((offset + quality.tick) / fps)].append(quality.value)
        offset += qualities[-1].tick + 1
    result.samples = stream.ledger.balance().scored
    result.duration_s = float(offset / fps)
    result.conditions = {name.value: round(count / float(fps), 2) for name, count in conditions.items()}
    if stream.cause_count:
        mean = stream.cause_sum / stream.cause_count
        result.causes = {name: float(p) for name, p in zip(CAUSES, mean, strict=True)}
    if not values:
        return
    result.score = scoring.calibrate(float(np.mean(values)))
    window = min(len(values), round(10 * fps))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    result.score_min_10s = scoring.calibrate(float((sums[window:] - sums[:-window]).min() / window))
    result.seconds = [
        (float(second), scoring.calibrate(float(np.mean(in_second)))) for second, in_second in sorted(by_second.items())
    ]
