"""``python -m training sizes``: what the trunk's width and its number of patches cost, and what they are worth.

Each is trained from random weights on the same pictures as often as the others, far less than the bundled trunk: the
table compares sizes, and is no claim about any of them when trained to the end.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from engines.base import Precision
from engines.openvino import OpenVinoEngine
from training.synthesis import SPEC
from training.trunk import Pictures, TrunkModel, evaluate, train
from training.trunk_graph import write_trunk

_PICTURES, _SECONDS = 4, 2.0
_NO_LIMIT_MIN = 1e6


@dataclass(frozen=True, slots=True)
class Size:
    """One trunk's.

    Attributes:
        width: Channel multiplier of the ResNet-18.
        grid: Patches a side, of those that the material has.
    """

    width: float
    grid: int


@dataclass(frozen=True, slots=True)
class Row:
    """One size's cost and worth.

    Attributes:
        size: Which.
        parameters: How many.
        core_ms: Of the engine in f32, a picture.
        balanced_accuracy: Of classes of held-out pictures, mean over seeds, 0-1.
        balanced_accuracy_level3: The same at level 3 and above.
        ssim_lcc: Correlation of its full-reference value with SSIM.
        spread: Standard deviation of the first over seeds; None of one.
    """

    size: Size
    parameters: int
    core_ms: float
    balanced_accuracy: float
    balanced_accuracy_level3: float
    ssim_lcc: float
    spread: float | None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="sizes.md and .json go here")
    parser.add_argument("--widths", type=float, nargs="+", default=[0.125, 0.25, 0.5], help="with all patches")
    parser.add_argument(
        "--grids", type=int, nargs="*", default=[2, 3], choices=range(1, SPEC.grid + 1), help="patches a side, at 0.25"
    )
    parser.add_argument("--epochs", type=float, default=1.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])


def run(args: argparse.Namespace) -> int:
    """Trains every size with every seed and writes the table, with each size: what is cut short keeps what it has."""
    shown, held = Pictures(args.data / "pictures"), Pictures(args.data / "pictures-holdout")
    sizes = [*(Size(width, SPEC.grid) for width in args.widths), *(Size(0.25, grid) for grid in args.grids)]
    args.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    for size in sizes:
        print(size, file=sys.stderr)
        rows.append(measure(size, shown, held, epochs=args.epochs, batch=args.batch, seeds=args.seeds))
        record = {"samples": int(args.epochs * len(shown)), "seeds": args.seeds, "rows": [asdict(row) for row in rows]}
        (args.out / "sizes.json").write_text(json.dumps(record, indent=1) + "\n")
        (args.out / "sizes.md").write_text(size_table(rows))
    print(size_table(rows), end="")
    return 0


def measure(size: Size, shown: Pictures, held: Pictures, *, epochs: float, batch: int, seeds: Sequence[int]) -> Row:
    """Trains one size with each seed, evaluates it, and times its graph."""
    found: list[dict[str, Any]] = []
    for seed in seeds:
        model, _ = train(
            shown.showing(size.grid), width=size.width, minutes=_NO_LIMIT_MIN, epochs=epochs, batch=batch, seed=seed
        )
        found.append(evaluate(model, held.showing(size.grid)))
    accuracies = [float(one["balanced_accuracy"]) for one in found]
    return Row(
        size,
        sum(value.numel() for value in model.trunk.parameters()),
        core_ms(model, size.grid),
        float(np.mean(accuracies)),
        float(np.mean([one["balanced_accuracy_level3"] for one in found])),
        float(np.mean([one["ssim_lcc"] for one in found])),
        float(np.std(accuracies, ddof=1)) if len(found) > 1 else None,
    )


def core_ms(model: TrunkModel, grid: int, seconds: float = _SECONDS) -> float:
    """Milliseconds of a core that a picture takes of the engine in f32, in batches of four, on one thread."""
    side = grid * SPEC.patch
    pixels = np.random.default_rng(0).integers(16, 236, (_PICTURES, 3, side, side), dtype=np.uint8)
    with tempfile.TemporaryDirectory(prefix="vqwatch-size-") as folder:
        graph = write_trunk(model.trunk.eval(), replace(SPEC, grid=grid), Path(folder), "size")
        engine = OpenVinoEngine(graph.bundle(), Precision.F32, threads=1)
        try:
            for _ in range(10):
                engine.infer(pixels)
            count, busy_s, until_s = 0, time.process_time(), time.monotonic() + seconds
            while time.monotonic() < until_s:
                engine.infer(pixels)
                count += _PICTURES
            return (time.process_time() - busy_s) * 1000 / count
        finally:
            engine.close()


def size_table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    lines = [
        "| width | patches | parameters | core-ms a picture | balanced accuracy | at level 3+ | LCC of SSIM |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        spread = "" if row.spread is None else f" ± {row.spread:.3f}"
        lines.append(
            f"| {row.size.width:g} | {row.size.grid} x {row.size.grid} | {row.parameters / 1e6:.2f} M "
            f"| {row.core_ms:.2f} | {row.balanced_accuracy:.3f}{spread} | {row.balanced_accuracy_level3:.3f} "
            f"| {row.ssim_lcc:.3f} |"
        )
    return "\n".join(lines) + "\n"
