"""``python -m training chipqa``: the ChipQA baseline on a data set, on the study's own splits."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from training.chipqa import ClipStatistics, clip_statistics
from training.chipqa_svr import ChipqaRegressor
from training.clips import Clip, read_planes
from training.datasets import DATASETS
from training.errors import DataError, UsageError
from training.metrics import Agreement, agreement
from training.niqe import fit_pristine
from training.seeds import parse_seeds
from training.splits import DEFAULT_SHARES, GROUPINGS, split_groups


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="a file per clip; those there are not read again"
    )
    parser.add_argument("--seeds", type=parse_seeds, default=[0], metavar="0-4", help="one split each")
    parser.add_argument("--by", choices=GROUPINGS, default="content", help="what a split keeps together")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="where maps are made")
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON object")


def cached_statistics(clips: Sequence[Clip], cache: Path, device: str) -> list[ClipStatistics]:
    """Statistics of every clip, read from video where the cache has none yet.

    Raises:
        DataError: Two clips share a name, or a clip cannot be decoded or is too small or short.
    """
    if twice := [name for name, count in Counter(clip.name for clip in clips).items() if count > 1]:
        raise DataError("clips", [f"{name}: name used twice" for name in twice])
    cache.mkdir(parents=True, exist_ok=True)
    found = []
    for number, clip in enumerate(clips, start=1):
        path = cache / f"{clip.name}.npz"
        if not path.exists():
            print(f"{number} of {len(clips)}: {clip.path.name}", file=sys.stderr)
            try:
                statistics = clip_statistics(read_planes(clip), device=device)
            except DataError as error:
                raise DataError(clip.path.name, error.problems) from error
            # A file that is there is complete.
            part = path.with_name(path.stem + ".part.npz")
            statistics.save(part)
            part.replace(path)
        found.append(ClipStatistics.load(path))
    return found


def pristine_clips(clips: Sequence[Clip], train: Sequence[int]) -> list[int]:
    """Clips that stand for pristine video, of the training part alone.

    Those marked ``clean``; where none is, the best-scored quarter.
    """
    clean = [i for i in train if clips[i].distortion == "clean"]
    if clean:
        return clean
    best_first = sorted(train, key=lambda i: -clips[i].label)
    return best_first[: max(1, len(best_first) // 4)]


def evaluate_split(clips: Sequence[Clip], statistics: Sequence[ClipStatistics], seed: int, by: str) -> Agreement:
    """Train on a split's train and validation parts together, and test.

    The regressor needs no validation part (its grid search has folds of its own), so it gets both: 80 % of the
    contents, as published, and the same test clips as the heads have with this seed.

    Raises:
        UsageError: There are too few groups.
    """
    groups = [getattr(clip, by) for clip in clips]
    try:
        sides = split_groups(groups, seed, DEFAULT_SHARES).indices(groups)
        train = sides["train"] + sides["validation"]
        pristine = fit_pristine([statistics[i].sharp for i in pristine_clips(clips, train)])
        vectors = np.array([one.vector(pristine) for one in statistics])
        labels = np.array([clip.label for clip in clips])
        regressor = ChipqaRegressor(vectors[train], labels[train], [groups[i] for i in train])
    except ValueError as error:
        raise UsageError(str(error)) from error
    return agreement(regressor.predict(vectors[sides["test"]]), labels[sides["test"]])


def run(args: argparse.Namespace) -> int:
    """Prints the test figures over seeds."""
    clips = DATASETS[args.dataset](args.scores, args.videos)
    statistics = cached_statistics(clips, args.cache, args.device)
    found = {seed: evaluate_split(clips, statistics, seed, args.by) for seed in args.seeds}
    if args.json:
        plain = {
            seed: {k: v if np.isfinite(v) else None for k, v in asdict(result).items()}
            for seed, result in found.items()
        }
        print(json.dumps(plain, allow_nan=False))
        return 0
    for figure in ("srocc", "krocc", "lcc"):
        values = [getattr(result, figure) for result in found.values()]
        spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
        print(f"{figure.upper():6} {np.mean(values):.3f}{spread} over {len(values)} splits")
    return 0
