"""Trains the bundled model's head: order within groups and spatial types, correlation, absolute labels, causes."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from monitor.types import CAUSES
from training.head_data import Clips
from training.head_model import HeadModel, HeadVariant, State
from training.labels import TEMPORAL
from training.synthesis import ClipFacts

_LR, _DECAY = 2e-3, 0.02
GROUPS_PER_BATCH = 10
#: Seconds of other material before a clip: on air no clip begins at state zero, and the monitor's staggered states
#: are 5 to 10 s old when they speak.
_BEFORE_S = (1.0, 6.0)
#: Share of batches that begin at state zero, as an epoch does.
_FRESH = 0.35
#: What is asked besides of clean versions of one content, to score alike, and of a clip behind others, to score as by
#: itself once so many seconds have passed.
_TIE, _PAST = 0.5, 1.0
_FORGOTTEN_S = 1.5
#: How much the order of different contents under one spatial type weighs: there the label is a full-reference value.
_ACROSS = 2.0
#: Shortest crop of a clip, as a share.
_LEAST = 0.75
#: How much naming a clean clip right weighs. There is one clean clip of a group and its benign variant beside five of
#: other levels; weighing 1.2, one of five held-out clean clips was named as something else.
_CLEAN_WEIGHT = 2.0


def train_head(
    clips: Clips, *, epochs: int, seed: int, variant: HeadVariant | None = None, quiet: bool = False
) -> HeadModel:
    """Trains one head.

    Args:
        clips: Of the training side.
        epochs: Passes over the groups.
        seed: Same seed, same head (on one thread).
        variant: For ablations.
        quiet: No progress bar.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = HeadModel(clips, variant)
    optimiser = torch.optim.AdamW(model.parameters(), lr=_LR, weight_decay=_DECAY)
    members = [np.flatnonzero(clips.group == g) for g in np.unique(clips.group)]
    per_batch = min(GROUPS_PER_BATCH, len(members))
    label, cause, level = torch.from_numpy(clips.label).float(), torch.from_numpy(clips.cause), clips.level
    temporal = torch.tensor([f.kind in TEMPORAL for f in clips.facts])
    spatial = torch.tensor([_spatial_type(f) for f in clips.facts])
    cause_weight = torch.from_numpy(np.where(level == 0, _CLEAN_WEIGHT, 0.3 + 0.22 * level)).float()
    for epoch in track(range(epochs), description="head", console=Console(stderr=True), disable=quiet):
        for group in optimiser.param_groups:
            group["lr"] = _LR * (0.5 + 0.5 * math.cos(math.pi * epoch / epochs))
        order = rng.permutation(len(members))
        model.train()
        for start in range(0, len(order) - per_batch + 1, per_batch):
            rows = np.concatenate([members[g] for g in order[start : start + per_batch]])
            state = None if rng.random() < _FRESH else _lead_in(model, clips, len(rows), rng)
            trunk, side = _crop(clips, rows, fresh=state is None, rng=rng)
            length = trunk.shape[1]
            q, logits, _ = model(trunk, side, sorted({length // 2 - 1, 3 * length // 4 - 1, length - 1}), state)
            score, of_group = model.pooled(q), torch.from_numpy(clips.group[rows])
            loss = score_loss(score, label[rows], of_group, temporal[rows])
            loss = loss + _ACROSS * across_loss(score, label[rows], of_group, spatial[rows])
            loss = loss + _TIE * tie_loss(score, of_group, torch.from_numpy(level[rows] == 0))
            if state is not None:
                remembered = q - _alone(model, trunk, side)
                loss = loss + _PAST * remembered[:, round(_FORGOTTEN_S * clips.fps) :].abs().mean()
            entropy = torch.stack(
                [
                    nn.functional.cross_entropy(logits[:, i], cause[rows], label_smoothing=0.05, reduction="none")
                    for i in range(logits.shape[1])
                ]
            ).mean(dim=0)
            weight = cause_weight[rows]
            loss = loss + 0.5 * (entropy * weight).sum() / weight.sum()
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
    model.eval()
    return model


@torch.no_grad()
def _lead_in(model: HeadModel, clips: Clips, count: int, rng: np.random.Generator) -> State:
    """The state that some seconds of other clips leave: back-propagation is cut where the clip itself begins."""
    samples = max(1, int(rng.uniform(*_BEFORE_S) * clips.fps))
    state: State | None = None
    while samples > 0:
        length = min(samples, clips.length)
        rows = rng.integers(len(clips.facts), size=count)
        trunk, side = torch.from_numpy(clips.trunk[rows, -length:]), torch.from_numpy(clips.side[rows, -length:])
        _, _, state = model(trunk, side, [], state)
        samples -= length
    assert state is not None
    return state


@torch.no_grad()
def _alone(model: HeadModel, trunk: Tensor, side: Tensor) -> Tensor:
    """Qualities (B, T) of the same pictures without a past."""
    model.eval()
    q, _, _ = model(trunk, side, [])
    model.train()
    return q


def _crop(clips: Clips, rows: npt.NDArray[np.int64], *, fresh: bool, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    length = int(rng.integers(int(clips.length * _LEAST), clips.length + 1))
    start = int(rng.integers(0, clips.length - length + 1))
    trunk, side = clips.trunk[rows, start : start + length], clips.side[rows, start : start + length]
    if not fresh and start == 0:
        # A clip's first picture has nothing to differ from and reads as still; behind a cut it would not.
        side = side.copy()
        side[:, 0] = side[:, 1]
    return torch.from_numpy(trunk), torch.from_numpy(side)


def tie_loss(score: Tensor, group: Tensor, clean: Tensor) -> Tensor:
    """Mean distance of the scores of clean versions of one content, plain and benign.

    Args:
        score: (B,) in [0, 1].
        group: (B,) whose content it is.
        clean: (B,) bool.
    """
    pair = (group[:, None] == group[None]) & clean[:, None] & clean[None]
    pair &= ~torch.eye(len(score), dtype=torch.bool)
    return (score[:, None] - score[None]).abs()[pair].sum() / max(1, int(pair.sum()))


def score_loss(score: Tensor, label: Tensor, group: Tensor, temporal: Tensor) -> Tensor:
    """Loss of clip scores.

    Args:
        score: (B,) in [0, 1].
        label: (B,) in [0, 1].
        group: (B,) pairs within a group are ranked.
        temporal: (B,) bool; these labels are loose.
    """
    hinge = _order_loss(score, label, group[:, None] == group[None])
    centred, target = score - score.mean(), label - label.mean()
    plcc = (centred * target).sum() / (centred.norm() * target.norm() + 1e-6)
    error = (score - label).abs()
    # Nothing is asked inside the dead band of a loose label.
    error = torch.where(temporal, 0.5 * torch.relu(error - 0.06), error)
    return 2 * hinge + 0.5 * (1 - plcc) + 1.5 * error.mean()


def across_loss(score: Tensor, label: Tensor, group: Tensor, spatial: Tensor) -> Tensor:
    """How far contents under the same spatial type stand in the wrong order; 0 where no two can be compared.

    Args:
        score: (B,) in [0, 1].
        label: (B,) in [0, 1].
        group: (B,) whose content it is.
        spatial: (B,) int64, the type; negative where the label is not a full-reference value.
    """
    same = (spatial[:, None] == spatial[None]) & (spatial[:, None] >= 0)
    return _order_loss(score, label, same & (group[:, None] != group[None]))


def _order_loss(score: Tensor, label: Tensor, pair: Tensor) -> Tensor:
    """Hinge over pairs (B, B) bool whose labels differ, with a margin by how much; its mean, 0 of none."""
    gap = label[:, None] - label[None]
    wrong = torch.relu((0.8 * gap).clamp(max=0.25) - (score[:, None] - score[None]))
    pair = pair & (gap > 0.02)
    return wrong[pair].sum() / max(1, int(pair.sum()))


def _spatial_type(facts: ClipFacts) -> int:
    """Index of the one spatial type that the clip is damaged by; -1 of all others."""
    if not facts.level or facts.second or facts.look or facts.kind in TEMPORAL:
        return -1
    return CAUSES.index(facts.kind)
