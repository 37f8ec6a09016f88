"""``python -m training synthesise``: makes the training material of the bundled model."""

from __future__ import annotations

import argparse
import multiprocessing
from pathlib import Path

from rich.console import Console
from rich.progress import track

from training.sources import find_contents, split_contents, write_provenance
from training.synthesis import DISTORTED, Job, clip_jobs, picture_jobs, run_job

HOLDOUT_SHARE = 0.14


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--sources",
        type=Path,
        nargs="+",
        required=True,
        metavar="DIR",
        help="folders of clean stills and clips",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the material goes")
    parser.add_argument("--pictures", type=int, default=500, metavar="N", help="batches of 30 trunk pictures")
    parser.add_argument("--groups", type=int, default=160, metavar="N", help="training groups of four clips")
    parser.add_argument("--holdout-groups", type=int, default=64, metavar="N", help="hold-out groups")
    parser.add_argument("--kinds", nargs="+", default=DISTORTED, choices=DISTORTED, help="impairments of the groups")
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), metavar="N", help="processes")
    parser.add_argument("--seed", type=int, default=1, metavar="N")


def run(args: argparse.Namespace) -> int:
    """Makes what is missing of the material and prints what it made."""
    contents = find_contents(args.sources)
    train, held = split_contents(contents, HOLDOUT_SHARE)
    print(f"{len(train)} contents to train on, {len(held)} held out")
    write_provenance(args.out / "sources.csv", train, held)
    jobs: list[Job] = [
        *picture_jobs(train, args.pictures, args.out / "pictures", args.seed),
        *picture_jobs(held, args.pictures // 10, args.out / "pictures-holdout", args.seed + 1),
        *clip_jobs(train, args.groups, args.out / "clips", args.seed + 2, args.kinds),
        *clip_jobs(held, args.holdout_groups, args.out / "clips-holdout", args.seed + 3, args.kinds),
    ]
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=20) as pool:
        for result in track(
            pool.imap(run_job, jobs), total=len(jobs), description="synthesising", console=Console(stderr=True)
        ):
            if result.startswith("skipped"):
                print(result)
    return 0
