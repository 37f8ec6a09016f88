"""``python -m training ablations``: what each part of the bundled model is worth on held-out contents."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from training import trunk as trunk_training
from training.base_head import figures, train_members
from training.head_data import TrunkReader, load_clips
from training.head_model import HeadVariant, predict
from training.workers import parse_jobs

#: Columns of the table.
_SHOWN = ("SROCC label", "pairs", "adjacent", "clean above 2+", "cause", "clean")


@dataclass(frozen=True, slots=True)
class Ablation:
    """One row.

    Attributes:
        name: What is different.
        trunk: ``wide``: the trained trunk's features and its own eight outputs; ``outputs``: these eight alone;
            ``random``: features and outputs of a trunk that was never trained.
        variant: What of the head there is.
    """

    name: str
    trunk: str = "wide"
    variant: HeadVariant = field(default_factory=HeadVariant)


ROWS = (
    Ablation("whole (sub-GRU, all features, side channel)"),
    Ablation("avg-GRU: plain mean for hysteresis pooling", variant=HeadVariant(pooling="mean")),
    Ablation("no-time: no recurrence, plain mean", variant=HeadVariant(cell="none", pooling="mean")),
    Ablation("side channel only", variant=HeadVariant(trunk=False)),
    Ablation("without the side channel", variant=HeadVariant(side=False)),
    Ablation("no-time without the side channel", variant=HeadVariant(cell="none", pooling="mean", side=False)),
    Ablation("bottleneck: the trunk's own eight outputs alone", trunk="outputs"),
    Ablation("untrained trunk", trunk="random"),
    Ablation("untrained trunk without the side channel", trunk="random", variant=HeadVariant(side=False)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--trunk", type=Path, required=True, metavar="PATH", help="weights from `trunk`, or a bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="ablations.md and .json go here")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="one head each")
    parser.add_argument("--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes")


def run(args: argparse.Namespace) -> int:
    """Trains every row with every seed and writes the table.

    It is written with each row, so that a run which is cut short keeps what it has done.
    """
    trunk = trunk_training.load(args.trunk)
    torch.manual_seed(0)
    untrained = trunk_training.TrunkModel(trunk.trunk.width, trunk.trunk.depth).eval()
    cache = args.data / "trunk-outputs"
    readers: dict[str, TrunkReader] = {
        "wide": trunk_training.WideReader(trunk, cache),
        "outputs": trunk_training.OutputReader(trunk, cache),
        "random": trunk_training.WideReader(untrained, cache),
    }
    found: dict[str, list[dict[str, float]]] = {}
    for kind, reader in readers.items():
        clips, scales = load_clips(args.data / "clips", reader, None)
        held, _ = load_clips(args.data / "clips-holdout", reader, scales)
        for row in ROWS:
            if row.trunk == kind:
                print(row.name, file=sys.stderr)
                heads = train_members(clips, args.seeds, args.epochs, args.jobs, row.variant)
                found[row.name] = [figures(*predict([head], held), held) for head in heads]
                _write(found, args.seeds, args.out)
    print((args.out / "ablations.md").read_text(), end="")
    return 0


def _write(found: dict[str, list[dict[str, float]]], seeds: Sequence[int], out: Path) -> None:
    done = {row.name: found[row.name] for row in ROWS if row.name in found}
    out.mkdir(parents=True, exist_ok=True)
    (out / "ablations.json").write_text(json.dumps({"seeds": seeds, "rows": done}, indent=1) + "\n")
    (out / "ablations.md").write_text(ablation_table(done))


def ablation_table(found: dict[str, Sequence[dict[str, float]]]) -> str:
    """Mean and standard deviation over seeds, as Markdown."""
    lines = ["| | " + " | ".join(_SHOWN) + " |", "|---|" + "---|" * len(_SHOWN)]
    for name, runs in found.items():
        cells = []
        for column in _SHOWN:
            values = [run[column] for run in runs if column in run]
            spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.3f}{spread}" if values else "")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
