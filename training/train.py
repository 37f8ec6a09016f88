"""``python -m training train``: heads of Table 1 on cached features, a run per row and seed."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np

from training.errors import UsageError
from training.feature_set import read_feature_set
from training.intervals import paired_difference
from training.models import ROWS
from training.seeds import parse_seeds
from training.splits import DEFAULT_SHARES, GROUPINGS, split_groups
from training.trainer import RECIPES, RunResult, train_run

_FIGURES = ("srocc", "krocc", "lcc")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument(
        "--features",
        type=Path,
        required=True,
        metavar="INDEX.csv",
        help="columns features, score, content, ...",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="a folder per run goes here")
    parser.add_argument("--row", nargs="+", choices=list(ROWS), default=["sub-GRU"], help="rows of the table")
    parser.add_argument("--recipe", choices=list(RECIPES), default="fast")
    parser.add_argument("--epochs", type=int, metavar="N", help="instead of the recipe's")
    parser.add_argument("--tau", type=int, metavar="FRAMES", help="window of the hysteresis (default: 12)")
    parser.add_argument("--seeds", type=parse_seeds, default=[0], metavar="0-4", help="one split and run each")
    parser.add_argument("--by", choices=GROUPINGS, default="content", help="what a split keeps together")
    parser.add_argument(
        "--tensorboard", action="store_true", help="also write TensorBoard events into each run's folder"
    )
    parser.add_argument("--json", action="store_true", help="print all figures as one JSON object")


def run(args: argparse.Namespace) -> int:
    """Trains and prints mean and standard deviation of the test figures over seeds, as the table does."""
    data = read_feature_set(args.features)
    recipe = RECIPES[args.recipe]
    if args.epochs is not None:
        if args.epochs < 1:
            raise UsageError("--epochs must be at least 1")
        recipe = replace(recipe, epochs=args.epochs)
    results: dict[str, list[RunResult]] = {}
    for row in args.row:
        head = replace(ROWS[row], bounded=recipe.loss == "mixed")
        if args.tau is not None:
            if args.tau < 1:
                raise UsageError("--tau must be at least 1")
            head = replace(head, tau=args.tau)
        results[row] = []
        for seed in args.seeds:
            try:
                split = split_groups(data.groups(args.by), seed, DEFAULT_SHARES)
            except ValueError as error:
                raise UsageError(str(error)) from error
            folder = args.out / f"{row}-seed{seed}"
            result = train_run(data, split, args.by, head, recipe, seed, folder, row, args.tensorboard)
            print(f"{folder}: test SROCC {result.test.srocc:.3f}", file=sys.stderr)
            results[row].append(result)
    print(json.dumps(_summary(results, args.seeds)) if args.json else _table(results))
    return 0


def _column(results: list[RunResult], figure: str) -> list[float]:
    return [getattr(result.test, figure) for result in results]


def _spread(values: list[float]) -> tuple[float, float]:
    """Mean, and standard deviation (n - 1) or nan."""
    sd = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return float(np.mean(values)), sd


def _table(results: dict[str, list[RunResult]]) -> str:
    lines = [f"{'row':10} {'runs':>4}  " + "  ".join(f"{figure.upper():>14}" for figure in _FIGURES)]
    for row, found in results.items():
        cells = [f"{mean:.3f} ± {sd:.3f}" for mean, sd in (_spread(_column(found, f)) for f in _FIGURES)]
        lines.append(f"{row:10} {len(found):>4}  " + "  ".join(f"{cell:>14}" for cell in cells))
    first, *others = results
    for row in others:
        # A 60/20/20 re-split of one data set: the runs overlap, so the interval is widened by test/train.
        d = paired_difference(_column(results[row], "srocc"), _column(results[first], "srocc"), test_to_train=1 / 3)
        lines.append(f"{row} - {first}: SROCC {d.mean:+.3f}, 95 % interval {d.low:+.3f} to {d.high:+.3f}")
    return "\n".join(lines)


def _summary(results: dict[str, list[RunResult]], used: list[int]) -> dict[str, object]:
    def plain(value: float) -> float | None:
        return value if np.isfinite(value) else None

    return {
        row: [
            {"seed": seed, "best_epoch": result.best_epoch}
            | {figure: plain(value) for figure, value in asdict(result.test).items()}
            for seed, result in zip(used, found, strict=True)
        ]
        for row, found in results.items()
    }
