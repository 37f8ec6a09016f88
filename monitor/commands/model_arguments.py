"""Arguments and set-up that every scoring command shares: which bundle, which engine."""

from __future__ import annotations

import argparse
from pathlib import Path

from engines import Precision, find_bundle, load_bundle, open_engine
from engines.base import FeatureEngine
from engines.bundle import BUNDLED
from engines.errors import BundleError
from monitor.errors import UsageError
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.fallback import FallbackEngine


def add_model_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds --model, --engine, --precision and --threads."""
    group = parser.add_argument_group("model")
    group.add_argument("--model", default=BUNDLED, metavar="NAME|DIR", help=f"bundle that scores (default {BUNDLED})")
    group.add_argument("--engine", choices=("openvino", "tensorrt", "torch"), default="openvino")
    group.add_argument("--precision", choices=("auto", "f32", "bf16", "f16", "int8"), default="auto")
    group.add_argument("--threads", type=int, default=0, metavar="N", help="CPU threads of inference (default: all)")


def open_model(
    model: str, engine: str, precision: str, threads: int, data_dir: Path | None = None, fps: float | None = None
) -> tuple[BundleScoring, FeatureEngine]:
    """Loads a bundle and opens its engine; ``fps`` is one of its rates, None its own.

    Raises:
        UsageError: There is no such bundle, or it has no such rate.
        EngineError: It is damaged, or cannot run here.
    """
    try:
        path = find_bundle(model, [data_dir / "models"] if data_dir else [])
    except BundleError as error:
        raise UsageError(str(error)) from error
    bundle = load_bundle(path)
    rates = (bundle.manifest.sample_fps, *(rung.fps for rung in bundle.manifest.ladder))
    if fps is not None and fps not in rates:
        made_for = " or ".join(f"{rate:g}" for rate in rates)
        raise UsageError(f"sampling.fps is {fps:g}, but {bundle.model_id} was made for {made_for} samples a second")
    scoring = BundleScoring.of(bundle, fps)
    wanted = Precision(precision)
    if engine != "tensorrt":
        return scoring, open_engine(scoring.bundle, engine, wanted, threads)
    # A GPU can be missing, busy or lost; feeds must be watched all the same.
    return scoring, FallbackEngine(
        lambda: open_engine(scoring.bundle, engine, wanted),
        lambda: open_engine(scoring.bundle, "openvino", Precision.AUTO, threads),
    )
