"""``python -m training evaluate``: figures of finished runs, on their test part or on another data set."""

from __future__ import annotations

import argparse
import json
import math
from dataclasses import asdict
from pathlib import Path

import torch

from training.errors import DataError
from training.feature_set import FeatureSet, read_feature_set
from training.intervals import bootstrap_interval
from training.metrics import agreement, srocc
from training.trainer import load_run, predict


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN", help="folders of finished runs")
    parser.add_argument("--features", type=Path, required=True, metavar="INDEX.csv")
    parser.add_argument(
        "--side",
        choices=("test", "validation", "train", "all"),
        default="test",
        help="part of the run's own split; 'all' for a data set that the run never saw",
    )
    parser.add_argument("--resamples", type=int, default=2000, metavar="N", help="of the bootstrap by content")
    parser.add_argument("--json", action="store_true", help="print one JSON array")


def evaluate(run: Path, data: FeatureSet, side: str, resamples: int) -> dict[str, object]:
    """Figures of one run.

    Args:
        run: Folder of a finished run.
        data: Features with labels. Of several label sources, the run must know each by name; a run on one
            source scores any other single one in its own units.
        side: ``train``, ``validation``, ``test`` or ``all``.
        resamples: Of the bootstrap.

    Raises:
        DataError: Run and data do not go together.
    """
    head, criterion, split, config = load_run(run)
    if data.width != head.config.features:
        raise DataError(run.name, [f"was trained on {head.config.features} features, got {data.width}"])
    known = list(config["ranges"])  # type: ignore[call-overload]
    strangers = sorted(set(data.domains) - set(known))
    if strangers and (len(known) > 1 or len(set(data.domains)) > 1):
        raise DataError(run.name, [f"knows no label source {name!r}" for name in strangers])
    domains = torch.tensor([0 if strangers else known.index(name) for name in data.domains])
    by = str(config["by"])
    try:
        chosen = list(range(len(data.names))) if side == "all" else split.indices(data.groups(by))[side]
    except ValueError as error:
        raise DataError(run.name, [f"{error}; is it another data set? then use --side all"]) from error
    predicted = predict(head, criterion, data.features, domains, chosen)
    labels = data.labels[chosen]
    groups = [data.groups(by)[i] for i in chosen]
    interval = bootstrap_interval(predicted, labels, groups, srocc, resamples=resamples)
    kinds = sorted({data.distortions[i] for i in chosen} - {""})
    of_kind = {kind: [k for k, i in enumerate(chosen) if data.distortions[i] == kind] for kind in kinds}
    found: dict[str, object] = {"run": str(run), "side": side} | asdict(agreement(predicted, labels))
    found |= {"srocc_low": interval.low, "srocc_high": interval.high}
    found |= {f"srocc_{kind}": srocc(predicted[rows], labels[rows]) for kind, rows in of_kind.items()}
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in found.items()}


def run(args: argparse.Namespace) -> int:
    """Prints the figures of every run."""
    data = read_feature_set(args.features)
    found = [evaluate(folder, data, args.side, args.resamples) for folder in args.runs]
    if args.json:
        print(json.dumps(found, allow_nan=False))
        return 0
    for figures in found:
        parts = [f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}" for k, v in figures.items() if k != "run"]
        print(f"{figures['run']}: {', '.join(parts)}")
    return 0
