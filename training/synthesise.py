"""``python -m training synthesise``: makes the training material of the bundled model."""

from __future__ import annotations

import argparse
import multiprocessing
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import track

from training.benign import LOOKS
from training.errors import UsageError
from training.sources import Content, find_contents, fits, split_contents, write_provenance
from training.synthesis import DISTORTED, HEIGHTS, MIXED, UNSEEN, make_controls, make_group, size_of
from training.trunk_pictures import make_pictures

HOLDOUT_SHARE = 0.14
#: Kinds of groups, in the order in which they take turns.
KINDS = (*DISTORTED, MIXED)


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
    parser.add_argument(
        "--groups", type=int, default=160, metavar="N", help="training groups: clean, benign, five levels"
    )
    parser.add_argument("--holdout-groups", type=int, default=64, metavar="N", help="hold-out groups")
    parser.add_argument(
        "--controls", type=int, default=16, metavar="N", help="hold-out contents in every benign variant"
    )
    parser.add_argument(
        "--kinds",
        nargs="+",
        default=KINDS,
        choices=(*KINDS, *UNSEEN),
        help=f"impairments of the groups; {' and '.join(UNSEEN)} of hold-out groups alone",
    )
    parser.add_argument(
        "--redraw", action="store_true", help="draw each level's impairment anew (codec, phases, kind of fault)"
    )
    parser.add_argument(
        "--by-filters",
        action="store_true",
        help="impair hold-out groups by FFmpeg's filters and other encoders: a code that training never used",
    )
    parser.add_argument(
        "--looks",
        nargs="+",
        default=[],
        choices=LOOKS,
        help="give training groups and trunk pictures these looks in turn: a night scene, drawn on twos, film's grain",
    )
    parser.add_argument(
        "--height",
        type=int,
        choices=HEIGHTS,
        help="pictures of this height alone, of contents that are large enough; drawn, and 1080 at most, without",
    )
    parser.add_argument("--jobs", type=int, default=multiprocessing.cpu_count(), metavar="N", help="processes")
    parser.add_argument("--seed", type=int, default=1, metavar="N")


def run(args: argparse.Namespace) -> int:
    """Makes what is missing of the material and prints what it made."""
    unseen = [kind for kind in args.kinds if kind in UNSEEN]
    if unseen and args.groups:
        raise UsageError(f"{unseen[0]} is no cause that can be trained: make such groups with --groups 0")
    if args.by_filters:
        if args.groups or args.pictures:
            raise UsageError("--by-filters is for hold-out groups alone: add --groups 0 --pictures 0")
        if unseen:
            raise UsageError(f"{unseen[0]} is made by no filter: leave it out of --kinds")
    contents = find_contents(args.sources)
    train, held = split_contents(contents, HOLDOUT_SHARE)
    print(f"{len(train)} contents to train on, {len(held)} held out")
    write_provenance(args.out / "sources.csv", train, held)
    if args.height:
        train, held = ([c for c in side if fits(c, size_of(args.height))] for side in (train, held))
        print(f"{len(train)} and {len(held)} are large enough for {args.height} rows")
        if not train + held:
            raise UsageError(f"no source is large enough for {args.height} rows")
    clips = partial(clip_jobs, kinds=args.kinds, redraw=args.redraw, height=args.height)
    jobs: list[Job] = [
        *picture_jobs(train, args.pictures, args.out / "pictures", args.seed, args.looks, args.height),
        *picture_jobs(held, -(-args.pictures // 10), args.out / "pictures-holdout", args.seed + 1, height=args.height),
        *clips(train, args.groups, args.out / "clips", args.seed + 2, looks=args.looks),
        *clips(held, args.holdout_groups, args.out / "clips-holdout", args.seed + 3, by_filters=args.by_filters),
        *control_jobs(held, args.controls, args.out / "controls-holdout", args.seed + 4, args.height),
    ]
    with multiprocessing.get_context("spawn").Pool(args.jobs, maxtasksperchild=20) as pool:
        for result in track(
            pool.imap(run_job, jobs), total=len(jobs), description="synthesising", console=Console(stderr=True)
        ):
            if result.startswith("skipped"):
                print(result)
    return 0


Job = tuple[Callable[..., str], tuple[object, ...]]


def clip_jobs(
    contents: list[Content],
    groups: int,
    out: Path,
    seed: int,
    kinds: Sequence[str] = KINDS,
    *,
    redraw: bool = False,
    looks: Sequence[str] = (),
    by_filters: bool = False,
    height: int | None = None,
) -> list[Job]:
    """Groups spread evenly over kinds, looks and contents; clips come up as often as six stills."""
    if not contents or not groups:
        return []
    rng = np.random.default_rng(seed)
    weights = np.array([6.0 if c.is_video else 1.0 for c in contents])
    order = rng.choice(len(contents), size=groups, p=weights / weights.sum())
    made = [
        partial(make_group, redraw=redraw, look=look, by_filters=by_filters, height=height) for look in looks or ("",)
    ]
    return [
        # Each kind gets all looks before the next kind comes.
        (made[i % len(made)], (contents[c], contents, kinds[i // len(made) % len(kinds)], out, seed * 100_000 + i))
        for i, c in enumerate(order)
    ]


def control_jobs(contents: list[Content], count: int, out: Path, seed: int, height: int | None = None) -> list[Job]:
    """Control groups, each of another content while there are any."""
    if not contents:
        return []
    order = np.random.default_rng(seed).permutation(len(contents)).tolist()
    made = partial(make_controls, height=height)
    return [(made, (contents[order[i % len(order)]], contents, out, seed * 100_000 + i)) for i in range(count)]


def picture_jobs(
    contents: list[Content],
    count: int,
    out: Path,
    seed: int,
    looks: Sequence[str] = (),
    height: int | None = None,
) -> list[Job]:
    """Batches of trunk pictures, each of one content and one look."""
    if not contents or not count:
        return []
    rng = np.random.default_rng(seed)
    order = np.concatenate([rng.permutation(len(contents)) for _ in range(count // len(contents) + 1)])[:count]
    made = [partial(make_pictures, look=look, height=height) for look in looks or ("",)]
    return [
        (made[i % len(made)], (contents[c], contents, out, seed * 100_000 + i)) for i, c in enumerate(order.tolist())
    ]


def run_job(job: Job) -> str:
    """Runs one job; a broken source is reported, not fatal."""
    function, arguments = job
    try:
        return function(*arguments)
    except (OSError, ValueError) as error:
        return f"skipped {arguments[0]}: {error}"
