"""``python -m training features``: frame features of a data set, cached, and the index that ``train`` reads."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from engines.base import Precision
from training.clips import Clip, require_unique
from training.datasets import DATASETS
from training.feature_cache import Extraction, extract_all
from training.feature_extraction import RATES, parse_rate
from training.feature_set import write_index
from training.trunk_graph import TrunkGraph
from training.trunk_sources import choose_trunk, parse_input
from training.workers import parse_jobs


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    add_trunk_arguments(parser)
    parser.add_argument(
        "--fps", nargs="+", default=list(RATES), metavar="RATE", help="frame rates: native, 25, 30000/1001, ..."
    )
    parser.add_argument("--cache", type=Path, required=True, metavar="DIR", help="features of any trunk and set")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="an index per rate goes here")
    parser.add_argument("--domain", default="", help="name of the label source, for training on several")
    parser.add_argument("--engine", choices=("openvino", "torch"), default="openvino")
    parser.add_argument("--precision", choices=[p.value for p in Precision if p is not Precision.AUTO], default="f32")
    parser.add_argument(
        "--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes that decode"
    )


def add_trunk_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that name a trunk."""
    parser.add_argument(
        "--trunk",
        required=True,
        metavar="TRUNK",
        help="a bundle (name or folder), a folder of a trunk, or KIND:DEPTH: imagenet:50, trained:18, random:101",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE", help="weights for KIND:DEPTH, from a local file")
    parser.add_argument(
        "--input", metavar="MODE", help="for KIND:DEPTH: full, resize:540, fragments:4x32 (default: by kind)"
    )
    parser.add_argument("--width", type=float, help="for trained and random: channel multiplier (default: 0.25)")


def trunk_of(args: argparse.Namespace) -> TrunkGraph:
    """The trunk that the arguments name; one of KIND:DEPTH is exported below the cache."""
    if ":" not in args.trunk:
        return TrunkGraph.find(args.trunk)
    spec = parse_input(args.input) if args.input else None
    return choose_trunk(args.trunk, spec, args.width, args.weights).make(args.cache / "trunks")


def index_features(clips: Sequence[Clip], work: Extraction, out: Path, jobs: int, domain: str = "") -> dict[str, Path]:
    """Extracts what is missing and writes an index per rate.

    Args:
        clips: Of a data set.
        work: What with.
        out: ``<trunk>-<rate>.csv`` goes here, with what it was made of beside it as JSON.
        jobs: Processes.
        domain: Name of the label source.

    Returns:
        Index of each rate.

    Raises:
        DataError: Two clips share a name, so that an index could not tell them apart; or as `extract_all`.
    """
    require_unique("clips", (clip.name for clip in clips))
    files = extract_all(clips, work, jobs)
    out.mkdir(parents=True, exist_ok=True)
    indices = {}
    for rate in work.rates:
        index = out / f"{work.trunk.name}-{rate.replace('/', '_')}.csv"
        write_index(index, clips, [by_rate[rate] for by_rate in files], domain)
        made_of = {
            "trunk": work.trunk.name,
            "identity": work.trunk.identity,
            "folder": str(work.trunk.folder.resolve()),
            "fps": rate,
            "engine": work.engine,
            "precision": work.precision.value,
        }
        index.with_suffix(".json").write_text(json.dumps(made_of, indent=1) + "\n", encoding="utf-8")
        indices[rate] = index
    return indices


def run(args: argparse.Namespace) -> int:
    """Prints the index of each rate."""
    rates = tuple(dict.fromkeys(parse_rate(text) for text in args.fps))
    clips = DATASETS[args.dataset](args.scores, args.videos)
    trunk = trunk_of(args)
    print(f"{len(clips)} clips, {trunk.name} ({trunk.identity}), F = {trunk.feature_size}", file=sys.stderr)
    work = Extraction(trunk, rates, args.cache, args.engine, Precision(args.precision))
    for index in index_features(clips, work, args.out, args.jobs, args.domain).values():
        print(index)
    return 0
