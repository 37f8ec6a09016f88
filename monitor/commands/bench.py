"""``vqwatch bench``: streams this machine holds, and how near that is to its parts' limit."""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import tempfile
from pathlib import Path
from typing import Any

from monitor.commands.model_arguments import add_model_arguments, open_model
from monitor.errors import MonitorError, UsageError
from monitor.pipeline.capacity import CODECS, Capacity, make_clip, measure

_SIZE = re.compile(r"^(\d{2,5})x(\d{2,5})$")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--size", default="1920x1080", metavar="WxH", help="of the test clip (1920x1080)")
    parser.add_argument("--codec", choices=tuple(CODECS), default="h264", help="of the test clip (h264)")
    parser.add_argument("--write", type=Path, metavar="FILE", help="also write what was found as Markdown")
    # For a look whether it works at all; its figures mean nothing.
    parser.add_argument("--scale", type=float, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--clip", type=Path, metavar="FILE", help="measure with this file instead of a made clip")
    add_model_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Measures and prints."""
    match = _SIZE.match(args.size)
    if match is None:
        raise UsageError(f"--size {args.size}: write it as 1920x1080")
    if args.clip is not None and not args.clip.is_file():
        raise UsageError(f"{args.clip}: no such file")
    if args.write is not None and not args.write.absolute().parent.is_dir():
        raise UsageError(f"{args.write}: no such folder")
    width, height = (int(side) // 2 * 2 for side in match.groups())
    scoring, engine = open_model(args.model, args.engine, args.precision, args.threads)
    try:
        with tempfile.TemporaryDirectory(prefix="vqwatch-bench-") as folder:
            clip = args.clip or Path(folder) / "clip.mp4"
            if args.clip is None:
                make_clip(clip, width, height, codec=args.codec)
            result = measure(clip, scoring, engine, scale=args.scale)
    finally:
        engine.close()
    size = str(args.clip) if args.clip is not None else f"{width}x{height}"
    fields = as_json(result, size, float(scoring.scoring.fps), engine.info.name, str(engine.info.precision))
    fields["codec"] = args.codec if args.clip is None else "file"
    if args.write is not None:
        try:
            args.write.write_text(as_markdown(fields, result))
        except OSError as error:
            raise MonitorError(f"{args.write}: {error.strerror}") from error
    if args.json:
        print(json.dumps(fields))
        return 0
    print(f"{size}, {fields['sample_fps']:g} samples a second, {fields['engine']} {fields['precision']}")
    print(f"streams held at every frame   {result.streams}")
    print(f"pipeline                      {result.samples_per_s:8.0f} samples/s")
    print(f"decode alone                  {result.decode_alone_per_s:8.0f} pictures/s, all cores")
    print(f"preprocess alone              {result.preprocess_alone_per_s:8.0f} pictures/s, all cores")
    print(f"engine alone                  {result.engine_alone_per_s:8.0f} pictures/s, all cores")
    print(f"limit of the parts together   {result.limit_per_s:8.0f} /s; the pipeline reaches {result.efficiency:.2f}")
    print(
        f"lag at {result.lag_streams} streams             "
        f"p50 {result.lag_ms_p50:.0f} ms, p99 {result.lag_ms_p99:.0f} ms (440 ms of it is pooling's look-ahead)"
    )
    print(f"memory a stream               {result.rss_mb_per_stream:8.0f} MB")
    return 0


def as_json(result: Capacity, size: str, fps: float, engine: str, precision: str) -> dict[str, Any]:
    """The published form."""
    return {
        "streams": result.streams,
        "resolution": size,
        "sample_fps": fps,
        "engine": engine,
        "precision": precision,
        "samples_per_s": round(result.samples_per_s, 1),
        "decode_alone_per_s": round(result.decode_alone_per_s, 1),
        "preprocess_alone_per_s": round(result.preprocess_alone_per_s, 1),
        "engine_alone_per_s": round(result.engine_alone_per_s, 1),
        "limit_per_s": round(result.limit_per_s, 1),
        "efficiency": round(result.efficiency, 3),
        "lag_ms_p50": round(result.lag_ms_p50, 1),
        "lag_ms_p99": round(result.lag_ms_p99, 1),
        "rss_mb_per_stream": round(result.rss_mb_per_stream, 1),
    }


def as_markdown(fields: dict[str, Any], result: Capacity) -> str:
    """A page of one run: the machine, the figures, what was tried."""
    rows = "\n".join(f"| `{name}` | {value} |" for name, value in fields.items())
    tried = ", ".join(f"{count} ({share:.1%} of the samples due were scored)" for count, share in result.tried)
    cores = len(os.sched_getaffinity(0))
    return f"""# What this machine holds

Written by `vqwatch bench --write FILE` (`make bench`) on {cores} cores, {platform.machine()}, Python \
{platform.python_version()}. Parts are measured alone, then together, in one run; they share the cores, so that \
`limit_per_s` = 1 / (1/decode + 1/preprocess + 1/engine), and `efficiency` is the pipeline's `samples_per_s` over it. \
Files are read in real time, as if live; lag is taken at {result.lag_streams} streams.

| | |
|---|---|
{rows}

Streams tried in real time: {tried or "none"}.
"""
