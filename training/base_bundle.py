"""``python -m training bundle``: makes the bundled model's folder of a trained trunk and head."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from engines.bundle import (
    CalibrationPart,
    HeadPart,
    InputPart,
    Manifest,
    PoolingPart,
    StatePart,
    TrunkPart,
    write_bundle,
)
from engines.export import export_onnx
from engines.preprocess import InputMode
from monitor.core.side_channel import SIDE_VERSION
from monitor.types import CAUSES, F64
from training import trunk as trunk_training
from training.base_head import WARMUP
from training.synthesis import SPEC

#: The published scale: what clean training material scores in the middle, and what the worst level 5 does.
SCORE_CLEAN, SCORE_WORST = 92.0, 8.0
_UNFILLED = "0" * 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--trunk", type=Path, required=True, metavar="FILE")
    parser.add_argument("--head", type=Path, required=True, metavar="FILE")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the bundle; its name is the model's"
    )
    parser.add_argument("--sources", type=Path, metavar="CSV", help="provenance that `synthesise` wrote; goes along")
    parser.add_argument("--version", default="1.0.0")


def run(args: argparse.Namespace) -> int:
    """Writes the bundle and prints its identity."""
    trunk = trunk_training.load(args.trunk)
    head = torch.load(args.head, map_location="cpu", weights_only=True)
    arrays = {name: value.numpy() for name, value in head["arrays"].items()}
    points = calibration_points(*head["train"].double().numpy())
    args.out.mkdir(parents=True, exist_ok=True)
    export_onnx(trunk.trunk, SPEC, args.out / "trunk.onnx")
    manifest = Manifest(
        name=args.out.name,
        version=args.version,
        description="Trained from random initialisation on self-made impairments; see MODEL_CARD.md",
        licence="Apache-2.0",
        input=InputPart(mode=InputMode.FRAGMENTS, grid=SPEC.grid, patch=SPEC.patch, colour="yuv"),
        sample_fps=25,
        side_channel=SIDE_VERSION,
        trunk=TrunkPart(
            file="trunk.onnx",
            sha256=_UNFILLED,
            depth=trunk.trunk.depth,
            width=trunk.trunk.width,
            feature_size=trunk.trunk.feature_size,
        ),
        head=HeadPart(file="head.npz", sha256=_UNFILLED, kind="bottleneck", bounded=True),
        pooling=PoolingPart(tau=12, beta=0.5, warmup=WARMUP),
        state=StatePart(policy="staggered", period_s=10),
        calibration=CalibrationPart(points=points),
        uncertainty=interval_by_cause(*head["holdout"].double().numpy(), points),
    )
    bundle = write_bundle(args.out, manifest, arrays, args.out / "trunk.onnx")
    if args.sources is not None:
        (args.out / "SOURCES.csv").write_bytes(args.sources.read_bytes())
    print(bundle.model_id)
    return 0


def calibration_points(score: F64, label: F64, level: F64) -> tuple[tuple[float, float], ...]:
    """Stretches the head's range to the published scale; regression to the mean leaves it narrower than the labels."""
    clean = round(float(np.median(score[level == 0])), 4)
    worst = round(float(np.quantile(score[level == 5], 0.1)), 4)
    return ((0.0, 0.0), (worst, SCORE_WORST), (clean, SCORE_CLEAN), (1.0, 100.0))


def interval_by_cause(score: F64, label: F64, cause: F64, points: tuple[tuple[float, float], ...]) -> dict[str, float]:
    """Half-width, by named cause, that covers 90 % of the hold-out's labels; in points, against our own labels."""
    qualities, scores = zip(*points, strict=True)
    shown = np.interp(score, qualities, scores)
    # Labels on the published scale: 0.95 is clean.
    target = label / 0.95 * SCORE_CLEAN
    error = np.abs(shown - target)
    overall = float(np.quantile(error, 0.9))
    result = {}
    for index, name in enumerate(CAUSES):
        of = error[cause == index]
        # Too few clips give no quantile of their own.
        result[name] = round(float(np.quantile(of, 0.9)) if len(of) >= 10 else overall, 1)
    return result
