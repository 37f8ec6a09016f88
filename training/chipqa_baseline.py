"""``python -m training chipqa``: the ChipQA baseline on a data set, on the study's own splits."""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import as_completed
from dataclasses import asdict
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.chipqa import ClipStatistics, clip_statistics
from training.chipqa_svr import ChipqaRegressor
from training.clips import Clip, read_planes, require_unique
from training.datasets import DATASETS
from training.errors import DataError, UsageError
from training.feature_cache import digest_of, geometry_of
from training.metrics import Agreement, agreement
from training.niqe import fit_pristine
from training.progress_bar import progress_bar
from training.seeds import parse_seeds
from training.splits import DEFAULT_SHARES, GROUPINGS, split_groups
from training.workers import one_thread, parse_jobs, workers

F64 = npt.NDArray[np.float64]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--dataset", choices=list(DATASETS), required=True)
    parser.add_argument("--scores", type=Path, required=True, metavar="FILE.csv")
    parser.add_argument("--videos", type=Path, required=True, metavar="DIR")
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="a file per clip, found by its contents"
    )
    parser.add_argument("--seeds", type=parse_seeds, default=[0], metavar="0-4", help="one split each")
    parser.add_argument("--by", choices=GROUPINGS, default="content", help="what a split keeps together")
    parser.add_argument("--device", default="cpu", metavar="cpu|cuda", help="where maps are made")
    parser.add_argument("--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON object")


def cached_statistics(clips: Sequence[Clip], cache: Path, device: str, jobs: int = 1) -> list[ClipStatistics]:
    """Statistics of every clip, read from video where the cache has none yet.

    Args:
        clips: Of a data set; no two of one name.
        cache: A file per clip, found by the contents of the clip's file.
        device: Where maps are made.
        jobs: Processes; more than one use a thread each.

    Raises:
        DataError: Two clips share a name, or a clip cannot be decoded or is too small or short.
    """
    require_unique("clips", (clip.name for clip in clips))
    cache.mkdir(parents=True, exist_ok=True)
    files = [_file_of(clip, cache) for clip in clips]
    # Clips of equal contents share a file.
    missing = {file: clip for clip, file in zip(clips, files, strict=True) if not file.exists()}
    todo = [(clip, file, device) for file, clip in missing.items()]
    with progress_bar() as bar:
        task = bar.add_task("ChipQA statistics", total=len(clips), completed=len(clips) - len(todo))
        if jobs == 1 or len(todo) < 2:
            for work in todo:
                _keep_statistics(*work)
                bar.advance(task)
        else:
            with workers(min(jobs, len(todo)), one_thread) as pool:
                for done in as_completed([pool.submit(_keep_statistics, *work) for work in todo]):
                    done.result()
                    bar.advance(task)
    return [ClipStatistics.load(file) for file in files]


def _file_of(clip: Clip, cache: Path) -> Path:
    made_of = json.dumps([digest_of(clip.path, cache), geometry_of(clip)])
    return cache / f"{hashlib.sha256(made_of.encode()).hexdigest()[:32]}.npz"


def _keep_statistics(clip: Clip, file: Path, device: str) -> None:
    try:
        statistics = clip_statistics(read_planes(clip), device=device)
    except DataError as error:
        raise DataError(clip.path.name, error.problems) from error
    # A file that is there is complete.
    part = file.with_name(file.stem + ".part.npz")
    statistics.save(part)
    part.replace(file)


def pristine_clips(clips: Sequence[Clip], train: Sequence[int]) -> list[int]:
    """Clips that stand for pristine video, of the training part alone.

    Those marked ``clean``; where none is, the best-scored quarter.
    """
    clean = [i for i in train if clips[i].distortion == "clean"]
    if clean:
        return clean
    best_first = sorted(train, key=lambda i: -clips[i].label)
    return best_first[: max(1, len(best_first) // 4)]


def predict_split(
    clips: Sequence[Clip], statistics: Sequence[ClipStatistics], seed: int, by: str
) -> tuple[dict[str, list[int]], F64]:
    """Train on a split's train and validation parts together, and score every clip.

    The regressor needs no validation part (its grid search has folds of its own), so it gets both: 80 % of the
    contents, as published, and the same test clips as the heads have with this seed.

    Returns:
        Positions of each side's clips, and scores of all clips in label units, (n,) float64.

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
    return sides, regressor.predict(vectors)


def evaluate_split(clips: Sequence[Clip], statistics: Sequence[ClipStatistics], seed: int, by: str) -> Agreement:
    """Figures of `predict_split` on the test part."""
    sides, predicted = predict_split(clips, statistics, seed, by)
    test = sides["test"]
    return agreement(predicted[test], np.array([clips[i].label for i in test]))


def run(args: argparse.Namespace) -> int:
    """Prints the test figures over seeds."""
    clips = DATASETS[args.dataset](args.scores, args.videos)
    statistics = cached_statistics(clips, args.cache, args.device, args.jobs)
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
