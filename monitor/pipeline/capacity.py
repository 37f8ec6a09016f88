"""How many streams this machine holds: its parts measured alone, then the pipeline, in one run.

The parts share the same cores, so what they allow together is 1 / (1/decode + 1/preprocess + 1/engine); the
pipeline's throughput over that limit is its efficiency.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import psutil
from av.video.frame import PictureType

from engines.base import FeatureEngine
from engines.preprocess import PictureCutter
from monitor.ingest.hardware import Decoder, device_for
from monitor.ingest.mailbox import Mailbox, OverflowPolicy
from monitor.ingest.pyav_source import Decoded, PyAvSource
from monitor.ingest.source_thread import SourceThread
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.connection import SampledSource
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.sampler import StreamSampler
from monitor.pipeline.scored_stream import ScoredStream
from monitor.types import DropCause, PooledQuality, Sample, StreamId

#: Each part is measured for this long, after a warm-up of a fifth of it.
_PART_S = 2.0
_PIPELINE_S = 6.0
_LAG_S = 6.0
_LAG_LOAD = 0.8
#: Share of the samples due that must be scored for streams to count as held; the rest is the edge of the window.
_HELD = 0.98
CLIP_S = 12


@dataclass(frozen=True, slots=True)
class Capacity:
    """What was measured; rates are pictures a second, lags milliseconds from arrival to final pooled quality.

    ``streams`` is the most that ran in real time with every sample scored, ``tried`` each number tried and the share
    of its samples that was scored.
    """

    streams: int
    samples_per_s: float
    decode_alone_per_s: float
    preprocess_alone_per_s: float
    engine_alone_per_s: float
    limit_per_s: float
    efficiency: float
    lag_ms_p50: float
    lag_ms_p99: float
    lag_streams: int
    rss_mb_per_stream: float
    tried: tuple[tuple[int, float], ...] = ()


#: Codecs of the made clip: FFmpeg's encoder, its options, Mb/s at 1080p. H.264 has the fixed group of a broadcast's
#: encoder, three B pictures between others, one of which the other two refer to.
CODECS: dict[str, tuple[str, dict[str, str], float]] = {
    "h264": ("libx264", {"preset": "veryfast", "x264-params": "b-adapt=0:scenecut=0"}, 6.0),
    "hevc": ("libx265", {"preset": "ultrafast", "x265-params": "log-level=error"}, 4.0),
    "mpeg2": ("mpeg2video", {}, 12.0),
}


def make_clip(path: Path, width: int, height: int, fps: int = 25, *, codec: str = "h264") -> None:
    """A moving, noisy test picture at a broadcast's rate: as costly to decode as one. ``codec`` is one of `CODECS`."""
    encoder, options, megabits = CODECS[codec]
    graph = av.filter.Graph()
    chain = [
        graph.add("testsrc2", f"size={width}x{height}:rate={fps}"),
        graph.add("noise", "alls=10:allf=t"),
        graph.add("format", "yuv420p"),
        graph.add("buffersink"),
    ]
    for source, target in pairwise(chain):
        source.link_to(target)
    graph.configure()
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=fps)
        assert isinstance(stream, av.VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.bit_rate = int(megabits * 1e6 * width * height / (1920 * 1080))
        stream.gop_size = 2 * fps
        stream.options = {**options}
        for number in range(CLIP_S * fps):
            frame = graph.vpull()
            frame.pts, frame.time_base = number, Fraction(1, fps)
            # The test source asks for pictures that are coded by themselves; a broadcast predicts most of them.
            frame.pict_type = PictureType.NONE
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def measure(
    clip: Path, scoring: BundleScoring, engine: FeatureEngine, *, batch: int = 16, scale: float = 1.0
) -> Capacity:
    """Measures parts and pipeline, then looks for the streams that are held; takes about a minute and all cores.

    Args:
        clip: What every stream shows.
        scoring: The bundle.
        engine: Its engine; stays open.
        batch: Pictures a batch, for the engine alone.
        scale: Of the time that each part is given.

    Raises:
        SourceError: The clip cannot be read.
        EngineError: The engine fails.
    """
    cores = len(os.sched_getaffinity(0))
    part_s, pipeline_s, lag_s = _PART_S * scale, _PIPELINE_S * scale, _LAG_S * scale
    parts = measure_parts(clip, scoring, engine, cores, batch=batch, seconds=part_s)
    decode, preprocess, infer = (part.per_s for part in parts)
    limit = 1 / (1 / decode + 1 / preprocess + 1 / infer)
    base_mb = psutil.Process().memory_info().rss / 1e6
    readers = 2 * cores
    flat_out = asyncio.run(_pipeline(clip, scoring, engine, readers, paced=False, seconds=pipeline_s))
    rate, rss_mb = flat_out.scored / pipeline_s, flat_out.rss_mb
    streams, tried = int(rate / float(scoring.scoring.fps)), []
    while streams:
        share = asyncio.run(_pipeline(clip, scoring, engine, streams, paced=True, seconds=lag_s)).share(
            streams * float(scoring.scoring.fps) * lag_s
        )
        tried.append((streams, round(share, 3)))
        if share >= _HELD:
            break
        # What was scored is about what is held.
        streams = max(0, min(streams - 1, int(streams * share)))
    loaded = max(1, int(streams * _LAG_LOAD))
    lags = asyncio.run(_pipeline(clip, scoring, engine, loaded, paced=True, seconds=lag_s)).lags
    return Capacity(
        streams=streams,
        samples_per_s=rate,
        decode_alone_per_s=decode,
        preprocess_alone_per_s=preprocess,
        engine_alone_per_s=infer,
        limit_per_s=limit,
        efficiency=rate / limit,
        lag_ms_p50=float(np.quantile(lags, 0.5)) * 1000 if lags else 0.0,
        lag_ms_p99=float(np.quantile(lags, 0.99)) * 1000 if lags else 0.0,
        lag_streams=loaded,
        rss_mb_per_stream=max(0.0, rss_mb - base_mb) / readers,
        tried=tuple(tried),
    )


@dataclass(frozen=True, slots=True)
class Part:
    """One part of the pipeline by itself: pictures a second of wall time, and CPU seconds a picture of all threads."""

    per_s: float
    cpu_s: float


def measure_parts(
    clip: Path,
    scoring: BundleScoring,
    engine: FeatureEngine,
    threads: int,
    *,
    batch: int = 16,
    seconds: float = _PART_S,
) -> tuple[Part, Part, Part]:
    """Decoder, preprocessing (cut, side channel, detectors) and engine, one after the other.

    Args:
        clip: What is decoded.
        scoring: The bundle.
        engine: Its engine, with the threads that it was opened with.
        threads: In which decoding and preprocessing run side by side.
        batch: Pictures a batch of the engine.
        seconds: For each part, after a warm-up of a fifth of it.
    """
    decode = rate(threads, lambda: _decoder(clip), seconds)
    pictures = _first_pictures(clip, 40)
    preprocess = rate(threads, lambda: _preprocessor(scoring, pictures), seconds)
    pixels = np.stack([PictureCutter(scoring.input).pixels(picture) for picture in pictures[:batch]])
    return decode, preprocess, rate(1, lambda: _inferrer(engine, pixels), seconds)


@dataclass(frozen=True, slots=True)
class _Run:
    """Samples scored in the time and dropped, resident memory at its end, and lags of each pooled quality."""

    scored: int
    dropped: int
    rss_mb: float
    lags: list[float]

    def share(self, due: float) -> float:
        """Samples scored over those that real time has due; what was dropped is as if it had not been scored."""
        return max(0.0, min(1.0, self.scored / due) - self.dropped / due)


def rate(threads: int, make: Callable[[], Callable[[], int]], seconds: float) -> Part:
    """What a step that says how many pictures it did achieves, in so many threads."""
    stop = threading.Event()
    counting = threading.Event()

    def work() -> int:
        step, done = make(), 0
        while not stop.is_set():
            count = step()
            if counting.is_set():
                done += count
        return done

    with ThreadPoolExecutor(threads) as pool:
        working = [pool.submit(work) for _ in range(threads)]
        time.sleep(seconds / 5)
        counting.set()
        started, cpu_s = time.monotonic(), time.process_time()
        time.sleep(seconds)
        stop.set()
        total = max(1e-6, sum(work.result() for work in working))
        return Part(total / (time.monotonic() - started), (time.process_time() - cpu_s) / total)


def looped(clip: Path, decoder: Decoder = Decoder.CPU) -> Iterator[av.VideoFrame]:
    """Pictures of a clip that is decoded over and over, in one thread."""
    while True:
        with av.open(str(clip), hwaccel=device_for(decoder)) as container:
            stream = container.streams.video[0]
            stream.thread_type, stream.codec_context.thread_count = "NONE", 1
            yield from container.decode(stream)


def sampler_of(scoring: BundleScoring, emit: Callable[[Sample], None]) -> StreamSampler:
    """All that is done to a picture between decoder and engine, by what does it in the pipeline."""
    return StreamSampler(
        StreamId("part"),
        scoring.input,
        scoring.scoring.fps,
        with_side_channel=scoring.with_side_channel,
        emit=emit,
        on_drop=lambda *_: None,
    )


def _decoder(clip: Path) -> Callable[[], int]:
    decoding = looped(clip)

    def step() -> int:
        next(decoding)
        return 1

    return step


def _preprocessor(scoring: BundleScoring, pictures: Sequence[av.VideoFrame]) -> Callable[[], int]:
    sampler = sampler_of(scoring, lambda _: None)
    time_base = 1 / Fraction(scoring.scoring.fps)
    position = 0

    def step() -> int:
        nonlocal position
        picture = pictures[position % len(pictures)]
        sampler.push(Decoded(picture, position, time_base, 0.0, False))
        position += 1
        return 1

    return step


def _inferrer(engine: FeatureEngine, pixels: np.ndarray) -> Callable[[], int]:
    def step() -> int:
        engine.infer(pixels)
        return len(pixels)

    return step


def _first_pictures(clip: Path, count: int) -> list[av.VideoFrame]:
    with av.open(str(clip)) as container:
        pictures = []
        for picture in container.decode(video=0):
            pictures.append(picture)
            if len(pictures) == count:
                break
        return pictures


async def _pipeline(
    clip: Path, scoring: BundleScoring, engine: FeatureEngine, readers: int, *, paced: bool, seconds: float
) -> _Run:
    loop = asyncio.get_running_loop()
    inference = InferenceThread(_Kept(engine), scoring.head)
    batcher = Batcher(inference, max_wait_s=0.02 if paced else 0.0)
    batching = asyncio.create_task(batcher.run())
    lags: list[float] = []
    streams: list[ScoredStream] = []
    threads = []

    def wake() -> None:
        loop.call_soon_threadsafe(batcher.wake)

    def mailbox(on_drop: Callable[[Sample, DropCause], None]) -> Mailbox[Sample]:
        policy = OverflowPolicy.DROP_OLDEST if paced else OverflowPolicy.WAIT
        return Mailbox(75 if paced else 16, policy, on_item=wake, on_drop=on_drop)

    def reader(name: str) -> None:
        def pooled(_: int, quality: PooledQuality) -> None:
            received = stream.view().newest_received_s
            if received is not None:
                lags.append(time.monotonic() - received)

        stream = ScoredStream(StreamId(name), scoring.scoring, mailbox, on_pooled=pooled if paced else None)
        sampler = StreamSampler(
            StreamId(name),
            scoring.input,
            scoring.scoring.fps,
            with_side_channel=scoring.with_side_channel,
            emit=stream.emit,
            on_drop=stream.dropped_before,
        )
        source = PyAvSource(str(clip), stream=StreamId(name), live=False, paced=paced, loop=paced)
        thread = SourceThread(
            SampledSource(source, sampler),
            name=f"vqwatch-bench-{name}",
            epoch=1,
            loop=loop,
            on_frame=sampler.push,
            on_opened=lambda _: None,
            on_ended=lambda _: None,
        )
        streams.append(stream)
        threads.append(thread)
        batcher.add(stream)
        thread.start()

    for number in range(readers):
        reader(f"s{number}")
    await asyncio.sleep(1.0)  # decoders opened, first batches through
    before = sum(stream.ledger.balance().scored for stream in streams)
    dropped = sum(stream.ledger.balance().dropped_total for stream in streams)
    lags.clear()
    await asyncio.sleep(seconds)
    scored = sum(stream.ledger.balance().scored for stream in streams) - before
    dropped = sum(stream.ledger.balance().dropped_total for stream in streams) - dropped
    rss_mb = psutil.Process().memory_info().rss / 1e6
    for thread, stream in zip(threads, streams, strict=True):
        thread.stop()
        stream.mailbox.close()
    batcher.close()
    await batching
    await asyncio.to_thread(lambda: [thread.join(5.0) for thread in threads])
    inference.close()
    return _Run(scored, dropped, rss_mb, lags)


class _Kept:
    """An engine that several pipelines use in turn: closing is the owner's."""

    def __init__(self, engine: FeatureEngine) -> None:
        self.info = engine.info
        self.infer = engine.infer

    def close(self) -> None:
        """Keeps the engine open."""
