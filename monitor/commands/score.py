"""``vqwatch score``: the live pipeline over recordings, faster than real time."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from contextlib import nullcontext
from typing import Any

from rich.console import Console

from engines.base import FeatureEngine
from monitor.commands.feed_arguments import add_deinterlace
from monitor.commands.model_arguments import add_model_arguments, open_model
from monitor.errors import MonitorError, SourceError
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.redact import redact
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import ClipResult, score_source
from monitor.types import StreamId


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="recordings; a live URL is scored until it ends")
    parser.add_argument("--json", action="store_true", help="one JSON object a file")
    parser.add_argument("--realtime", action="store_true", help="replay files at their own pace, as if live")
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds of wall-clock time")
    add_deinterlace(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Scores each file; 1 if any could not be scored."""
    scoring, engine = open_model(args.model, args.engine, args.precision, args.threads)
    return asyncio.run(_score_all(args, scoring, engine))


async def _score_all(args: argparse.Namespace, scoring: BundleScoring, engine: FeatureEngine) -> int:
    inference = InferenceThread(engine, scoring.head, scoring.domain)
    batcher = Batcher(inference, max_wait_s=0.0)
    running = asyncio.create_task(batcher.run(), name="vqwatch.batcher")
    failed = 0
    try:
        for file in args.files:
            try:
                result = await _score_one(args, scoring, batcher, file)
            except SourceError as error:
                failed += 1
                shown = redact(file)
                message = str(error)
                print(f"vqwatch: {message if shown in message else f'{shown}: {message}'}", file=sys.stderr)
                continue
            if args.json:
                print(json.dumps(as_json(redact(file), scoring, result)), flush=True)
            else:
                _print(redact(file), result)
    finally:
        batcher.close()
        await running
        inference.close()
    return 1 if failed else 0


async def _score_one(args: argparse.Namespace, scoring: BundleScoring, batcher: Batcher, file: str) -> ClipResult:
    live = "://" in file and not file.startswith("file://")
    source = PyAvSource(file, stream=StreamId("clip"), live=live, paced=args.realtime and not live)
    stop = asyncio.Event()
    timer = asyncio.get_running_loop().call_later(args.seconds, stop.set) if args.seconds else None
    progress = (
        Console(stderr=True).status(f"scoring {redact(file)}")
        if sys.stderr.isatty() and not args.json
        else nullcontext()
    )
    with progress:
        result = await score_source(
            source,
            batcher,
            spec=scoring.input,
            scoring=scoring.scoring,
            with_side_channel=scoring.with_side_channel,
            domain_limit=scoring.domain_limit,
            stop=stop,
            deinterlace=Deinterlace(args.deinterlace or Deinterlace.AUTO),
        )
    if timer is not None:
        timer.cancel()
    if not result.samples:
        raise MonitorError(f"{redact(file)}: no picture could be scored")
    return result


def as_json(file: str, scoring: BundleScoring, result: ClipResult) -> dict[str, Any]:
    """The published form of a result; what is unknown is left out."""
    fields: dict[str, Any] = {
        "file": file,
        "model": scoring.bundle.model_id,
        "score": _round(result.score, 4),
        "score_min_10s": _round(result.score_min_10s, 4),
        "samples": result.samples,
        "sample_fps": float(scoring.scoring.fps),
        "frames": result.frames,
        "duration_s": round(result.duration_s, 3),
        "elapsed_s": round(result.elapsed_s, 3),
        "causes": {name: round(p, 4) for name, p in result.causes.items()},
        "conditions": result.conditions,
        "out_of_domain": result.out_of_domain or None,
        "seconds": [{"t": t, "score": round(score, 3)} for t, score in result.seconds],
    }
    return {name: value for name, value in fields.items() if value is not None}


def _print(file: str, result: ClipResult) -> None:
    if result.score is None:
        print(f"{file}: no score")
        return
    cause = max(result.causes, key=lambda name: result.causes[name]) if result.causes else "-"
    pace = result.duration_s / result.elapsed_s if result.elapsed_s else 0.0
    print(
        f"{file}: score {result.score:.1f} (lowest 10 s {result.score_min_10s:.1f}), cause {cause}, "
        f"{result.duration_s:.1f} s in {result.elapsed_s:.1f} s ({pace:.1f}x)"
    )


def _round(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
