"""``vqwatch probe``: what is this feed, does it decode, one score; the exit status says."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import asdict

from engines.base import FeatureEngine
from monitor.commands.feed_arguments import add_feed_arguments, feed_keys
from monitor.commands.model_arguments import add_model_arguments, open_model
from monitor.config import StreamSection
from monitor.errors import SourceCode, SourceError
from monitor.ingest.programs import Program, ProgramStream, VideoChoice
from monitor.ingest.pyav_source import PyAvSource
from monitor.ingest.redact import redact
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.deinterlacer import Deinterlace
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import ClipResult, score_source
from monitor.types import StreamId, StreamInfo

#: Longest silence while opening, for each of its phases: whoever waits for the answer is a person or a script.
_OPEN_TIMEOUT_S = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("url", metavar="URL", help="a feed or a file")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument(
        "--seconds", type=float, default=1.5, metavar="N", help="wall-clock seconds to look, once open (default 1.5)"
    )
    add_feed_arguments(parser)
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Prints what the feed is; 1 if it cannot be opened, decoded or scored."""
    section = StreamSection(id="probe", url=args.url, **feed_keys(args))
    source = PyAvSource(
        args.url,
        stream=StreamId("probe"),
        live="://" in args.url and not args.url.startswith("file://"),
        open_timeout_s=_OPEN_TIMEOUT_S,
        options=section.source_options(),
        video=VideoChoice(section.program, section.video_pid, section.video_index),
    )
    chosen = not {"program", "video_pid", "video_index"}.isdisjoint(feed_keys(args))

    opened_s = 0.0

    def opened(info: StreamInfo) -> None:
        nonlocal opened_s
        opened_s = time.monotonic() - asked_s
        # At once: the score takes a moment more.
        if not args.json:
            print("\n".join(_feed_lines(info, source.programs, chosen=chosen)), flush=True)

    scoring, engine = open_model(args.model, args.engine, args.precision, args.threads)
    asked_s = time.monotonic()
    deinterlace = Deinterlace(section.deinterlace or Deinterlace.AUTO)
    result = asyncio.run(_probe(source, scoring, engine, args.seconds, opened, deinterlace))
    info = result.info
    if info is None or not result.samples:
        raise SourceError(f"{redact(args.url)}: no picture came", SourceCode.NO_VIDEO)
    cause = max(result.causes, key=lambda name: result.causes[name]) if result.causes else None
    if args.json:
        fields = {**asdict(info), "frames": result.frames, "samples": result.samples}
        fields |= {"score": None if result.score is None else round(result.score, 2), "cause": cause}
        fields |= {"conditions": result.conditions, "model": scoring.bundle.model_id}
        fields |= {"format_changes": result.format_changes, "repeated": result.repeated}
        fields |= {"packets": source.counters.packets, "undated_packets": source.counters.undated}
        fields["opened_s"] = round(opened_s, 2)
        fields["programs"] = [_without_none(asdict(program)) for program in source.programs]
        print(json.dumps(_without_none(fields)))
        return 0
    print("\n".join(_picture_lines(info, result, source.counters.undated)))
    print(f"decodes: {result.frames} pictures, {result.samples} samples; conditions {result.conditions}")
    if result.score is not None:
        print(f"score: {result.score:.1f}" + (f", cause {cause}" if cause else ""))
    return 0


def _feed_lines(info: StreamInfo, programs: tuple[Program, ...], *, chosen: bool) -> list[str]:
    """What the feed is; its programs where it has any, the stream that is read marked by a star."""
    rate = "unknown rate" if info.fps is None else f"{info.fps:.2f} fps"
    scan = "interlaced" if info.interlaced else "progressive"
    lines = [
        f"{info.url}: {info.protocol}, {info.codec} {info.width}x{info.height} {rate}, {scan}, {info.pixel_format}",
        f"audio: {info.audio_codec or 'none'}",
    ]
    for program in programs:
        if program.number is None and len(programs) == 1:
            continue
        heading = "in no program" if program.number is None else f"program {program.number}"
        name = f" {program.name!r}" if program.name else ""
        streams = [_stream_words(stream, with_pid=info.protocol != "hls") for stream in program.streams]
        lines.append(f"{heading}{name}: {', '.join(streams) or 'empty'}")
    videos = {stream.pid for program in programs for stream in program.streams if stream.kind == "video"}
    if len(videos) > 1 and not chosen:
        best = "the best variant" if info.protocol == "hls" else "the best video of the first program that has one"
        lines.append(f"looking at {best} (*); --program, --video-pid or --video-index choose another")
    return lines


def _picture_lines(info: StreamInfo, result: ClipResult, undated: int) -> list[str]:
    """What the pictures turned out to be, once some have been looked at."""
    flags = "interlaced" if info.interlaced else "progressive"
    content = {None: "untold, too little moved", True: "interlaced", False: "progressive"}[info.interlaced_content]
    scan = f"scan: flagged {flags}, content {content}, {'' if info.deinterlaced else 'not '}deinterlaced before scoring"
    if info.interlaced_content and not info.interlaced:
        scan += "; the combs are a fault"
    light = "" if info.transfer == "sdr" else " mapped to SDR before scoring"
    words = [info.colour or "matrix not told", "full range" if info.full_range else "limited range"]
    words.append(info.transfer.upper() + light)
    if info.pixel_aspect not in (None, "1:1"):
        words.append(f"pixels {info.pixel_aspect}")
    if info.rotation:
        words.append(f"to be turned by {info.rotation} degrees")
    lines = [scan, f"pictures: {', '.join(words)}"]
    if result.format_changes:
        rate = "" if info.fps is None else f", {info.fps:.2f} fps"
        lines.append(
            f"changed {result.format_changes} times; at last {info.width}x{info.height}{rate}, {info.pixel_format}"
        )
    if result.repeated:
        lines.append(f"repeats and gaps of the source: {result.repeated} samples")
    if undated and not info.interlaced:
        lines.append(f"packets without a decoding time stamp: {undated}")
    return lines


def _stream_words(stream: ProgramStream, *, with_pid: bool) -> str:
    size = f" {stream.width}x{stream.height}" if stream.width else ""
    pid = f" (PID {stream.pid})" if with_pid else ""
    return f"{'*' if stream.chosen else ''}{stream.kind} {stream.codec or 'unknown'}{size}{pid}"


def _without_none(fields: dict[str, object]) -> dict[str, object]:
    return {key: value for key, value in fields.items() if value is not None}


async def _probe(
    source: PyAvSource,
    scoring: BundleScoring,
    engine: FeatureEngine,
    seconds: float,
    on_opened: Callable[[StreamInfo], None],
    deinterlace: Deinterlace,
) -> ClipResult:
    inference = InferenceThread(engine, scoring.head, scoring.domain)
    batcher = Batcher(inference, max_wait_s=0.01)
    running = asyncio.create_task(batcher.run(), name="vqwatch.batcher")
    stop = asyncio.Event()

    def opened(info: StreamInfo) -> None:
        asyncio.get_running_loop().call_later(seconds, stop.set)
        on_opened(info)

    try:
        return await score_source(
            source,
            batcher,
            spec=scoring.input,
            scoring=scoring.scoring,
            with_side_channel=scoring.with_side_channel,
            domain_limit=scoring.domain_limit,
            stop=stop,
            on_opened=opened,
            deinterlace=deinterlace,
        )
    finally:
        batcher.close()
        await running
        inference.close()
