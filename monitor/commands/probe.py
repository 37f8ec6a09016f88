"""``vqwatch probe``: what is this feed, does it decode, one score; the exit status says."""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict

from engines.base import FeatureEngine
from monitor.commands.model_arguments import add_model_arguments, open_model
from monitor.errors import SourceCode, SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.redact import redact
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import ClipResult, score_source
from monitor.types import StreamId


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("url", metavar="URL", help="a feed or a file")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--seconds", type=float, default=3.0, metavar="N", help="wall-clock seconds to look (default 3)"
    )
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what the feed is; 1 if it cannot be opened, decoded or scored."""
    scoring, engine = open_model(args.model, args.engine, args.precision, args.threads)
    result = asyncio.run(_probe(args, scoring, engine))
    info = result.info
    if info is None or not result.samples:
        raise SourceError(f"{redact(args.url)}: no picture came", SourceCode.NO_VIDEO)
    cause = max(result.causes, key=lambda name: result.causes[name]) if result.causes else None
    if args.json:
        fields = {**asdict(info), "frames": result.frames, "samples": result.samples}
        fields |= {"score": None if result.score is None else round(result.score, 2), "cause": cause}
        fields |= {"conditions": result.conditions, "model": scoring.bundle.model_id}
        print(json.dumps({key: value for key, value in fields.items() if value is not None}))
        return 0
    rate = "unknown rate" if info.fps is None else f"{info.fps:.2f} fps"
    lines = "interlaced" if info.interlaced else "progressive"
    print(f"{info.url}: {info.protocol}, {info.codec} {info.width}x{info.height} {rate}, {lines}, {info.pixel_format}")
    print(f"audio: {info.audio_codec or 'none'}")
    print(f"decodes: {result.frames} pictures, {result.samples} samples; conditions {result.conditions}")
    if result.score is not None:
        print(f"score: {result.score:.1f}" + (f", cause {cause}" if cause else ""))
    return 0


async def _probe(args: argparse.Namespace, scoring: BundleScoring, engine: FeatureEngine) -> ClipResult:
    inference = InferenceThread(engine, scoring.head)
    batcher = Batcher(inference, max_wait_s=0.01)
    running = asyncio.create_task(batcher.run(), name="vqwatch.batcher")
    live = "://" in args.url and not args.url.startswith("file://")
    stop = asyncio.Event()
    asyncio.get_running_loop().call_later(args.seconds + (4.0 if live else 0.0), stop.set)
    source = PyAvSource(args.url, stream=StreamId("probe"), live=live)
    try:
        return await score_source(
            source,
            batcher,
            spec=scoring.input,
            scoring=scoring.scoring,
            with_side_channel=scoring.with_side_channel,
            stop=stop,
        )
    finally:
        batcher.close()
        await running
        inference.close()
