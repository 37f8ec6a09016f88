"""``python -m training score-features``: the monitor's own arithmetic on one clip's cached features."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from monitor.core.head import Head, make_head
from monitor.core.hysteresis import pool_offline
from monitor.types import F64
from training.errors import DataError
from training.feature_set import Features, load_features
from training.models import HEAD_KINDS, load_head, to_arrays


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--head", type=Path, required=True, metavar="FILE", help="VSFA.pt, or best.pt of a run")
    parser.add_argument("features", type=Path, metavar="FEATURES.npy", help="(T, F) floats, a row per frame")
    parser.add_argument("--json", action="store_true", help="print q, pooled and score as one JSON object")


def frame_quality(head: Head, features: Features) -> F64:
    """Frame quality of a clip from a zero state, one frame after the other: (T, F) -> (T,)."""
    state = np.zeros((1, head.state_size))
    q = np.empty(len(features))
    for t, reduced in enumerate(head.reduce(features, None)):
        output = head.step(reduced[None], state)
        state, q[t] = output.state, output.q[0]
    return q


def run(args: argparse.Namespace) -> int:
    """Prints the clip's score; with ``--json`` its frame quality before and after pooling as well."""
    trained = load_head(args.head)
    config = trained.config
    head = make_head(HEAD_KINDS[config.cell], to_arrays(trained))
    features = load_features(args.features)
    if features.shape[1] != head.feature_size:
        raise DataError(args.features.name, [f"(T, {head.feature_size}) needed, got {features.shape}"])
    q = frame_quality(head, features)
    pooled = pool_offline(q, config.tau, config.beta) if config.pooling == "hysteresis" else q
    score = float(pooled.mean())
    if config.bounded:
        score = float(1 / (1 + np.exp(-score)))
    if args.json:
        values = {"q": q.tolist(), "pooled": pooled.tolist(), "score": score}
        print(json.dumps(values, allow_nan=False))
    else:
        print(f"{score:.6f}")
    return 0
