"""``python -m training head``: trains the bundled model's temporal heads on impaired clips, one bag a rate."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from monitor.core.domain import FeatureDomain
from monitor.types import F64
from training import trunk as trunk_training
from training.clip_agreement import Estimate, cause_outcomes, pair_outcomes, shares
from training.head_data import Clips, load_clips
from training.head_model import HeadModel, HeadVariant, predict
from training.head_training import train_head
from training.metrics import lcc, srocc
from training.sources import half_of
from training.synthesis import LADDER_FPS, SAMPLE_FPS
from training.workers import one_thread, parse_jobs, workers

#: Share of training clips that lie within the domain.
_KNOWN = 0.995


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--trunk", type=Path, required=True, metavar="PATH", help="weights from `trunk`, or a bundle")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the heads go (.pt)")
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3], help="members of a bag, one a seed")
    parser.add_argument("--jobs", type=parse_jobs, default=os.cpu_count() or 1, metavar="N", help="processes")
    parser.add_argument(
        "--rates",
        type=float,
        nargs="*",
        choices=LADDER_FPS,
        default=list(LADDER_FPS),
        metavar="FPS",
        help="rates below 25 that get a head of their own",
    )


def run(args: argparse.Namespace) -> int:
    """Trains a bag of heads for each rate, evaluates members and bags on the hold-out, and keeps all."""
    trunk = trunk_training.load(args.trunk)
    reader = trunk_training.WideReader(trunk, args.data / "trunk-outputs")
    report: dict[str, object] = {"seeds": args.seeds, "epochs": args.epochs}
    kept: dict[str, object] = {}
    for fps in (SAMPLE_FPS, *sorted(args.rates, reverse=True)):
        clips, scales = load_clips(args.data / "clips", reader, None, fps)
        held, _ = load_clips(args.data / "clips-holdout", reader, scales, fps)
        members = train_members(clips, args.seeds, args.epochs, args.jobs)
        found = {
            "bag": {
                "train": figures(*predict(members, clips), clips),
                "holdout": figures(*predict(members, held), held),
            },
            **{
                f"seed {seed}": {"holdout": figures(*predict([member], held), held)}
                for seed, member in zip(args.seeds, members, strict=True)
            },
        }
        report |= {"clips": len(clips.facts), "label_scales": scales, f"{fps:g} fps": found}
        print(json.dumps({f"{fps:g} fps": found["bag"]["holdout"]}, indent=1))
        kept[f"{fps:g}"] = {
            "members": [_tensors(member.arrays(trunk.outputs)) for member in members],
            "tau": members[0].tau,
            "warmup": members[0].warmup,
        }
        if fps == SAMPLE_FPS:
            kept["domain"] = fit_domain([reader.features(file) for file in sorted((args.data / "clips").glob("*.npz"))])
            # What the scale is fitted on, half of the hold-out; intervals, on all of it.
            fitting = held.take(np.flatnonzero([half_of(f.stem) == 0 for f in held.facts]))
            kept["train"] = _columns(predict(members, clips), clips)
            kept["fitting"] = _columns(predict(members, fitting), fitting)
            kept["holdout"] = _columns(predict(members, held), held)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(kept, args.out)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    return 0


def train_members(
    clips: Clips, seeds: Sequence[int], epochs: int, jobs: int, variant: HeadVariant | None = None
) -> list[HeadModel]:
    """One head a seed, several at once; each on one thread, so that a seed gives the same head on any machine."""
    train = partial(train_head, clips, epochs=epochs, variant=variant, quiet=True)
    with workers(min(jobs, len(seeds)), one_thread) as pool:
        made = [pool.submit(_train_member, train, seed) for seed in seeds]
        console = Console(stderr=True)
        return [one.result() for one in track(made, description=f"heads at {clips.fps:g} fps", console=console)]


def _train_member(train: Callable[..., HeadModel], seed: int) -> HeadModel:
    return train(seed=seed)


def fit_domain(groups: Sequence[npt.NDArray[np.float32]]) -> dict[str, object]:
    """What pictures the trunk knows, for ``monitor.core.domain.FeatureDomain``.

    Args:
        groups: (V, T, F) features of training clips, impaired ones too: damage is no reason to be unknown.

    Returns:
        ``mean`` and ``sd`` (F,) of every tenth sample, and ``limit``: what the mean distance of a clip stays below in
        99.5 % of them.
    """
    sampled = np.concatenate([group[:, ::10].reshape(-1, group.shape[-1]) for group in groups])
    mean, sd = sampled.mean(axis=0), sampled.std(axis=0)
    # A channel that never moved must not become a detector of rounding.
    sd = np.maximum(sd, 1e-3 * float(sd.max()))
    domain = FeatureDomain(mean, sd, 1.0)
    distances = [domain.distance(clip).mean() for group in groups for clip in group]
    limit = float(np.quantile(distances, _KNOWN))
    return {"mean": torch.from_numpy(mean), "sd": torch.from_numpy(sd), "limit": limit}


def figures(score: F64, causes: F64, clips: Clips) -> dict[str, float]:
    """Agreement with our own labels: ranks within content and type, causes, correlation over all clips."""
    outcomes = [*pair_outcomes(score, clips.facts, clips.group.tolist()), *cause_outcomes(causes, clips.facts)]
    found: dict[str, Estimate] = shares(outcomes)
    plain = {name: round(estimate.value, 4) for name, estimate in sorted(found.items())}
    return {
        "clips": len(score),
        "SROCC label": round(srocc(score, clips.label), 4),
        "LCC label": round(lcc(score, clips.label), 4),
        **plain,
        **{f"mean score level {v}": round(float(score[clips.level == v].mean()), 3) for v in np.unique(clips.level)},
    }


def _columns(predicted: tuple[F64, F64], clips: Clips) -> Tensor:
    """(4, N): score, label, level and named cause."""
    score, causes = predicted
    return torch.from_numpy(
        np.stack([score, clips.label, clips.level.astype(float), causes.argmax(axis=1).astype(float)])
    )


def _tensors(arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in arrays.items()}
