"""``python -m training study``: every table of the study in one command, resumable stage by stage.

Stages: the data set (made, where it is the stand-in), trunks, features, ChipQA's statistics, runs, report. Each keeps
what it has made below the output folder, and asks only for what is missing.
"""

from __future__ import annotations

import argparse
import os
import platform
import shutil
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import as_completed
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch

import training.standin as standin
from engines.preprocess import InputSpec
from training.chipqa import ClipStatistics
from training.chipqa_baseline import cached_statistics, predict_split
from training.clips import Clip
from training.datasets import DATASETS
from training.errors import TrainingError, UsageError
from training.feature_cache import Extraction
from training.feature_set import FeatureSet, read_feature_set
from training.features import index_features
from training.imagenet import imagenet_available
from training.models import ROWS
from training.progress_bar import progress_bar
from training.seeds import parse_seeds
from training.splits import DEFAULT_SHARES, GROUPINGS, split_groups
from training.study_plan import STUDY_DEPTHS, Configuration, plan, rates_of
from training.study_report import write_report
from training.study_results import CHIPQA, Cell, Study, read_run
from training.study_settings import SETTINGS, Stages, check_splits, compare_settings, digest_of_clips, keep_settings
from training.trainer import METRICS_FILE, RECIPES, Recipe, train_run, write_predictions
from training.trunk_graph import TrunkGraph
from training.trunk_sources import TrunkChoice, choose_trunk, parse_input
from training.workers import one_thread, parse_jobs, workers

STANDIN = "standin"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--dataset", choices=[STANDIN, *DATASETS], required=True)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="everything goes here; rerun to go on")
    rated = parser.add_argument_group("a rated data set")
    rated.add_argument("--scores", type=Path, metavar="FILE.csv")
    rated.add_argument("--videos", type=Path, metavar="DIR")
    made = parser.add_argument_group("the stand-in set (as `standin`)")
    made.add_argument("--sources", type=Path, nargs="+", metavar="DIR", help="folders of clean clips and stills")
    standin.add_settings(made)
    parser.add_argument(
        "--trunks",
        choices=("auto", "imagenet", "trained"),
        default="auto",
        help="auto: ImageNet weights where all three depths can be had, else the small trunks trained here",
    )
    parser.add_argument("--weights", type=Path, metavar="DIR", help="local ImageNet weights, resnet50*.pth and so on")
    parser.add_argument("--input", metavar="MODE", help="full, resize:540, fragments:4x32 (default: by trunk)")
    parser.add_argument("--no-control", action="store_true", help="leave out the untrained trunks")
    parser.add_argument("--no-chipqa", action="store_true", help="leave out the ChipQA baseline")
    parser.add_argument(
        "--by", nargs="+", choices=GROUPINGS, default=list(GROUPINGS), help="what a split keeps together"
    )
    parser.add_argument("--seeds", type=parse_seeds, default=[0, 1, 2, 3, 4], metavar="0-4")
    parser.add_argument("--recipe", choices=[r for r in RECIPES if RECIPES[r].loss == "l1"], default="fast")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes")


def run(args: argparse.Namespace) -> int:
    """Runs what is missing, writes the report and prints its path."""
    recipe = RECIPES[args.recipe]
    if args.epochs is not None:
        if args.epochs < 1:
            raise UsageError("--epochs must be at least 1")
        recipe = replace(recipe, epochs=args.epochs)
    # All that can be refused is refused before anything is made.
    choices = _choices(args)
    settings: dict[str, object] = {"dataset": args.dataset, "recipe": asdict(recipe)}
    compare_settings(args.out / SETTINGS, settings)
    stages = Stages(args.out / "seconds.json")
    with stages.timed("data set"):
        clips, facts = _data_set(args)
    check_splits(clips, args.by)
    keep_settings(args.out / SETTINGS, settings | {"clips": digest_of_clips(clips)})
    kinds = list(choices)
    with stages.timed("features"):
        trunks = {
            kind: {depth: choice.make(args.out / "trunks") for depth, choice in of_kind.items()}
            for kind, of_kind in choices.items()
        }
        keep_settings(
            args.out / SETTINGS, {f"{kind}:{d}": t.identity for kind in kinds for d, t in trunks[kind].items()}
        )
        indices = {kind: _features(args, kind, trunks[kind], clips, facts) for kind in kinds}
    cells = plan(kinds, args.by)
    with stages.timed("runs"):
        _run_all(_jobs(cells, args.seeds, indices, args.out / "runs", recipe), args.jobs)
    baseline: list[Cell] = []
    if not args.no_chipqa:
        with stages.timed("ChipQA statistics"):
            statistics = cached_statistics(clips, args.out / "chipqa", "cpu", args.jobs)
        with stages.timed("ChipQA regression"):
            baseline = _chipqa(args, kinds[0], clips, statistics)
    facts |= _facts(args, recipe, stages, clips)
    report = _report(args, cells, baseline, facts)
    print(report)
    return 0


def _data_set(args: argparse.Namespace) -> tuple[list[Clip], dict[str, str]]:
    if args.dataset == STANDIN:
        folder = args.out / STANDIN
        scores = standin.make_standin(args.sources, folder, standin.settings_of(args), args.jobs)
        clips = DATASETS["manifest"](scores, folder / "clips")
        note = (
            "pseudo-labels, no opinions of people: severity ranks for temporal types, "
            f"{args.reference.upper()} for spatial ones, both placed by LIVE-APV's published group means; each row "
            "of the manifest names its source"
        )
        return clips, {"data set": "stand-in made of clean clips", "labels": note}
    return DATASETS[args.dataset](args.scores, args.videos), {"data set": args.dataset}


def _choices(args: argparse.Namespace) -> dict[str, dict[int, TrunkChoice]]:
    """Trunks by kind and depth; the first kind is the study's subject.

    Raises:
        UsageError: The arguments do not go together.
    """
    if args.dataset == STANDIN and not args.sources:
        raise UsageError("--dataset standin needs --sources")
    if args.dataset != STANDIN and not (args.scores and args.videos):
        raise UsageError(f"--dataset {args.dataset} needs --scores and --videos")
    if args.dataset == STANDIN:
        standin.settings_of(args)
    spec = parse_input(args.input) if args.input else None
    subject = args.trunks
    if subject == "auto":
        had = all(args.weights or imagenet_available(depth) for depth in STUDY_DEPTHS)
        subject = "imagenet" if had else "trained"
        print(f"study: trunks: {subject}", file=sys.stderr)
    kinds = [subject] if args.no_control else [subject, "random"]
    return {kind: {depth: _choice(args, kind, depth, spec) for depth in STUDY_DEPTHS} for kind in kinds}


def _choice(args: argparse.Namespace, kind: str, depth: int, spec: InputSpec | None) -> TrunkChoice:
    weights = _weights_file(args.weights, depth) if args.weights and kind == "imagenet" else None
    return choose_trunk(f"{kind}:{depth}", spec, None, weights)


def _weights_file(folder: Path, depth: int) -> Path:
    found = sorted(folder.glob(f"resnet{depth}*.pt*"))
    if len(found) != 1:
        raise UsageError(f"{folder} holds {len(found)} files resnet{depth}*.pth, one is needed")
    return found[0]


def _features(
    args: argparse.Namespace, kind: str, trunks: Mapping[int, TrunkGraph], clips: Sequence[Clip], facts: dict[str, str]
) -> dict[tuple[int, str], Path]:
    """Index by depth and rate."""
    indices: dict[tuple[int, str], Path] = {}
    names = []
    for depth, trunk in trunks.items():
        names.append(f"{trunk.name} ({trunk.identity}, {trunk.feature_size} features)")
        work = Extraction(trunk, rates_of(depth), args.out / "features")
        for rate, index in index_features(clips, work, args.out / "indices", args.jobs).items():
            indices[depth, rate] = index
    facts[f"trunks, {kind}"] = "; ".join(names)
    return indices


# --- runs ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Job:
    cell: Configuration
    seed: int
    index: Path
    folder: Path
    recipe: Recipe


def _jobs(
    cells: Sequence[Configuration],
    seeds: Sequence[int],
    indices: dict[str, dict[tuple[int, str], Path]],
    runs: Path,
    recipe: Recipe,
) -> list[_Job]:
    """Every run of the plan, finished ones included."""
    return [
        _Job(cell, seed, indices[cell.trunk_kind][cell.depth, cell.rate], cell.folder(runs, seed), recipe)
        for cell in cells
        for seed in seeds
    ]


_held: tuple[Path, FeatureSet] | None = None


def _run_job(job: _Job) -> float:
    """One run, in a worker process; returns its test SROCC."""
    global _held
    if _held is None or _held[0] != job.index:
        _held = job.index, read_feature_set(job.index)
    data = _held[1]
    if job.folder.exists():
        shutil.rmtree(job.folder)  # what a stop left behind
    try:
        split = split_groups(data.groups(job.cell.by), job.seed, DEFAULT_SHARES)
    except ValueError as error:
        raise UsageError(str(error)) from error
    head = ROWS[job.cell.row]
    return train_run(data, split, job.cell.by, head, job.recipe, job.seed, job.folder, job.cell.row).test.srocc


def _run_all(jobs: Sequence[_Job], processes: int) -> None:
    """Runs what is not finished.

    Raises:
        TrainingError: A run failed; the others are finished first.
    """
    todo = [job for job in jobs if not (job.folder / METRICS_FILE).is_file()]
    failed: list[str] = []
    with (
        progress_bar() as bar,
        workers(max(1, min(processes, len(todo))), one_thread) as pool,
    ):
        task = bar.add_task("runs", total=len(jobs), completed=len(jobs) - len(todo))
        running = {pool.submit(_run_job, job): job for job in todo}
        for done in as_completed(running):
            job = running[done]
            try:
                bar.update(task, description=f"{job.folder.name} {job.cell.trunk_kind} {done.result():.3f}")
            except TrainingError as error:
                failed.append(f"{job.folder}: {error}")
            bar.advance(task)
    if failed:
        raise TrainingError(f"{len(failed)} runs failed: {'; '.join(failed[:3])}")


def _chipqa(
    args: argparse.Namespace, kind: str, clips: Sequence[Clip], statistics: Sequence[ClipStatistics]
) -> list[Cell]:
    """The baseline on the very splits of the heads."""
    cells = []
    for by in args.by:
        runs = []
        for seed in args.seeds:
            folder = args.out / "runs" / "chipqa" / by / f"seed{seed}"
            file = folder / "predictions.csv"
            if not file.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                sides, predicted = predict_split(clips, statistics, seed, by)
                rows = [(clip.name, clip.content, clip.stem, clip.distortion or "", clip.label) for clip in clips]
                part = file.with_suffix(".part")
                write_predictions(part, rows, sides, predicted)
                part.replace(file)
            runs.append(read_run(folder, seed))
        cells.append(Cell(kind, by, CHIPQA, None, None, tuple(runs)))
    return cells


# --- report ----------------------------------------------------------------------------------------------------


def _report(
    args: argparse.Namespace, cells: Sequence[Configuration], baseline: list[Cell], facts: dict[str, str]
) -> Path:
    runs = args.out / "runs"
    found = [
        Cell(
            cell.trunk_kind,
            cell.by,
            cell.row,
            cell.depth,
            cell.rate,
            tuple(read_run(cell.folder(runs, seed), seed) for seed in args.seeds),
        )
        for cell in cells
    ]
    human = args.dataset not in (STANDIN, "manifest")
    title = f"The study on {'the stand-in set' if args.dataset == STANDIN else args.dataset}"
    return write_report(Study(title, facts, (*found, *baseline), human_labels=human), args.out / "report")


def _facts(args: argparse.Namespace, recipe: Recipe, stages: Stages, clips: Sequence[Clip]) -> dict[str, str]:
    contents, stems = {clip.content for clip in clips}, {clip.stem for clip in clips}
    kinds = sorted({clip.distortion for clip in clips if clip.distortion})
    spent = ", ".join(f"{name} {seconds / 60:.1f} min" for name, seconds in stages.seconds.items())
    schedule = f"{recipe.schedule}, {recipe.loss}" + (f", {recipe.components} components" if recipe.components else "")
    return {
        "clips": f"{len(clips)} of {len(contents)} contents, {len(stems)} stems: {', '.join(kinds) or 'unknown'}",
        "recipe": f"{recipe.epochs} epochs, batch {recipe.batch}, Adam {recipe.lr:g}, {schedule}",
        "splits": f"60/20/20 by hash of the name, seeds {', '.join(map(str, args.seeds))}",
        "time": f"{spent}; {args.jobs} processes",
        "versions": f"torch {torch.__version__}, numpy {np.__version__}, python {platform.python_version()}",
    }
