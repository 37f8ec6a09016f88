"""``python -m training head``: trains the bundled model's temporal head on impaired clips.

Eight trunk outputs and the side channel go through a GRU to frame quality and causes. The torch model computes just
what ``monitor.core.head.BottleneckHead`` computes; a test holds the two together.
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn

from monitor.types import CAUSES, F64
from training import trunk as trunk_training
from training.labels import TEMPORAL, labels, spatial_scales
from training.metrics import lcc, srocc
from training.models import hysteresis_pool
from training.synthesis import CLIP_LENGTH, ClipFacts

HIDDEN, TRUNK_IN, SIDE_IN = 32, 64, 64
#: Averages behind the causes forget over two seconds at 25 fps.
DECAY = 1 / 50
WARMUP = 12
_CLAMP = 6.0
#: Progress is no data: stdout holds the results alone.
_STDERR = Console(stderr=True)


@dataclass(frozen=True, slots=True)
class Clips:
    """Impaired clips as the head sees them.

    Attributes:
        trunk: (N, T, 8) float32 trunk outputs.
        side: (N, T, S) float32.
        facts: N records.
        label: (N,) float64.
        group: (N,) index of the group: one content under one kind of impairment.
    """

    trunk: npt.NDArray[np.float32]
    side: npt.NDArray[np.float32]
    facts: list[ClipFacts]
    label: F64
    group: npt.NDArray[np.int64]

    @property
    def cause(self) -> npt.NDArray[np.int64]:
        """(N,) index into CAUSES."""
        return np.array([CAUSES.index(f.kind) for f in self.facts])

    @property
    def level(self) -> npt.NDArray[np.int64]:
        """(N,) 0 for clean."""
        return np.array([f.level for f in self.facts])


def load_clips(
    folder: Path, reader: trunk_training.OutputReader, scales: dict[str, float] | None
) -> tuple[Clips, dict[str, float]]:
    """Reads group files and runs the trunk over them; label scales are fitted where none are given."""
    files = sorted(folder.glob("*.npz"))
    if not files:
        raise FileNotFoundError(f"{folder}: no clips; run `python -m training synthesise` first")
    trunk, side, facts, group = [], [], [], []
    for index, file in enumerate(track(files, description=f"trunk over {folder.name}", console=_STDERR)):
        with np.load(file) as data:
            trunk.append(reader.read(file))
            side.append(data["side"])
            facts += [ClipFacts(**f) for f in json.loads(str(data["facts"]))]
            group += [index] * len(trunk[-1])
    scales = scales or spatial_scales(facts)
    clips = Clips(np.concatenate(trunk), np.concatenate(side), facts, labels(facts, scales), np.array(group))
    return clips, scales


class HeadModel(nn.Module):
    """Torch form of the bottleneck head over whole sequences."""

    def __init__(self, clips: Clips) -> None:
        super().__init__()
        for name, values in (("trunk", clips.trunk), ("side", clips.side)):
            flat = torch.from_numpy(values.reshape(-1, values.shape[-1]))
            self.register_buffer(f"{name}_mean", flat.mean(0))
            self.register_buffer(f"{name}_sd", flat.std(0).clamp_min(1e-3))
        self.trunk_in = nn.Linear(clips.trunk.shape[-1], TRUNK_IN)
        self.side_in = nn.Linear(clips.side.shape[-1], SIDE_IN)
        self.gru = nn.GRU(TRUNK_IN + SIDE_IN, HIDDEN, batch_first=True)
        self.q = nn.Linear(HIDDEN, 1)
        self.cause = nn.Linear(3 * HIDDEN + TRUNK_IN + SIDE_IN, len(CAUSES))

    def forward(self, trunk: Tensor, side: Tensor, read_at: list[int]) -> tuple[Tensor, Tensor]:
        """(B, T, 8), (B, T, S) -> q (B, T) and cause logits (B, len(read_at), C) at the given samples."""
        trunk = ((trunk - self.trunk_mean) / self.trunk_sd).clamp(-_CLAMP, _CLAMP)
        side = ((side - self.side_mean) / self.side_sd).clamp(-_CLAMP, _CLAMP)
        if self.training:
            trunk = nn.functional.dropout(trunk, 0.3)
        left = torch.relu(self.trunk_in(trunk))
        if self.training:
            left = left * (torch.rand(len(left), 1, 1) > 0.2)
        x = torch.cat([left, torch.relu(self.side_in(side))], dim=2)
        if self.training:
            x = nn.functional.dropout(x, 0.2)
        hidden, _ = self.gru(x)
        mean_hidden, mean_input, peak = hidden[:, 0], x[:, 0], hidden[:, 0]
        logits = []
        for t in range(hidden.shape[1]):
            weight = max(1 / (t + 1), DECAY)
            mean_hidden = mean_hidden + weight * (hidden[:, t] - mean_hidden)
            mean_input = mean_input + weight * (x[:, t] - mean_input)
            if t:
                previous_mean = mean_hidden
                peak = torch.maximum(hidden[:, t], peak + DECAY * (previous_mean - peak))
            if t in read_at:
                logits.append(self.cause(torch.cat([mean_hidden, peak, hidden[:, t], mean_input], dim=1)))
        return torch.sigmoid(self.q(hidden)).squeeze(2), torch.stack(logits, dim=1)

    def arrays(self, outputs: nn.Linear) -> dict[str, npt.NDArray[np.floating]]:
        """The arrays of ``monitor.core.head.BottleneckHead``; ``outputs`` is the trunk's own last layer."""
        gru = self.gru
        named: dict[str, Tensor] = {
            "bottleneck_w": outputs.weight,
            "bottleneck_b": outputs.bias,
            "trunk_mean": self.trunk_mean,
            "trunk_sd": self.trunk_sd,
            "side_mean": self.side_mean,
            "side_sd": self.side_sd,
            "trunk_in_w": self.trunk_in.weight,
            "trunk_in_b": self.trunk_in.bias,
            "side_in_w": self.side_in.weight,
            "side_in_b": self.side_in.bias,
            "w_ih": gru.weight_ih_l0,
            "w_hh": gru.weight_hh_l0,
            "b_ih": gru.bias_ih_l0,
            "b_hh": gru.bias_hh_l0,
            "q_w": self.q.weight[0],
            "q_b": self.q.bias[0],
            "cause_w": self.cause.weight,
            "cause_b": self.cause.bias,
            "decay": torch.tensor(DECAY, dtype=torch.float64),
        }
        return {name: value.detach().cpu().numpy() for name, value in named.items()}


def train(clips: Clips, *, epochs: int, seed: int, groups_per_batch: int = 10) -> HeadModel:
    """Ranks within groups, correlation over the batch, loose absolute labels, and causes."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    model = HeadModel(clips)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.02)
    members = [np.flatnonzero(clips.group == g) for g in np.unique(clips.group)]
    groups_per_batch = min(groups_per_batch, len(members))
    label, cause, level = torch.from_numpy(clips.label).float(), torch.from_numpy(clips.cause), clips.level
    temporal = torch.tensor([f.kind in TEMPORAL for f in clips.facts])
    cause_weight = torch.from_numpy(np.where(level == 0, 1.2, 0.3 + 0.22 * level)).float()
    for epoch in track(range(epochs), description="head", console=_STDERR):
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * (0.5 + 0.5 * np.cos(np.pi * epoch / epochs))
        order = rng.permutation(len(members))
        model.train()
        for start in range(0, len(order) - groups_per_batch + 1, groups_per_batch):
            rows = np.concatenate([members[g] for g in order[start : start + groups_per_batch]])
            trunk, side, prefix = _sequences(clips, rows, rng)
            length = trunk.shape[1]
            q, logits = model(trunk, side, sorted({prefix + 49, prefix + 74, length - 1}))
            score = hysteresis_pool(q[:, prefix:])[:, WARMUP:].mean(dim=1)
            loss = _loss(score, label[rows], torch.from_numpy(clips.group[rows]), temporal[rows])
            entropy = sum(
                nn.functional.cross_entropy(logits[:, i], cause[rows], label_smoothing=0.05, reduction="none")
                for i in range(logits.shape[1])
            )
            weight = cause_weight[rows]
            loss = loss + 0.5 * (entropy * weight).sum() / weight.sum() / logits.shape[1]
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimiser.step()
    model.eval()
    return model


def _sequences(clips: Clips, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> tuple[Tensor, Tensor, int]:
    """Crops of the clips, half of the time behind another clip: on air no clip begins at state zero."""
    length = int(rng.integers(75, CLIP_LENGTH + 1))
    start = int(rng.integers(0, CLIP_LENGTH - length + 1))
    trunk, side = clips.trunk[rows, start : start + length], clips.side[rows, start : start + length]
    if rng.random() < 0.5:
        return torch.from_numpy(trunk), torch.from_numpy(side), 0
    before = rng.permutation(len(clips.facts))[: len(rows)]
    prefix = int(rng.integers(25, CLIP_LENGTH + 1))
    side = side.copy()
    # A clip's first picture has nothing to differ from and reads as still; behind a cut it would not.
    side[:, 0] = side[:, 1]
    trunk = np.concatenate([clips.trunk[before, -prefix:], trunk], axis=1)
    return (
        torch.from_numpy(trunk),
        torch.from_numpy(np.concatenate([clips.side[before, -prefix:], side], axis=1)),
        prefix,
    )


def _loss(score: Tensor, label: Tensor, group: Tensor, temporal: Tensor) -> Tensor:
    gap = label[:, None] - label[None]
    pair = (group[:, None] == group[None]) & (gap > 0.02)
    margin = (0.8 * gap).clamp(max=0.25)
    hinge = torch.relu(margin - (score[:, None] - score[None]))[pair].mean()
    centred, target = score - score.mean(), label - label.mean()
    plcc = (centred * target).sum() / (centred.norm() * target.norm() + 1e-6)
    error = (score - label).abs()
    # Temporal labels are loose: nothing is asked inside their dead band.
    error = torch.where(temporal, 0.5 * torch.relu(error - 0.06), error)
    return 2 * hinge + 0.5 * (1 - plcc) + 1.5 * error.mean()


@torch.no_grad()
def predict(model: HeadModel, clips: Clips) -> tuple[F64, F64]:
    """Clip scores (N,) in [0, 1] and cause probabilities (N, C) at the end of each clip."""
    model.eval()
    scores, causes = [], []
    for start in range(0, len(clips.facts), 200):
        part = slice(start, start + 200)
        q, logits = model(torch.from_numpy(clips.trunk[part]), torch.from_numpy(clips.side[part]), [CLIP_LENGTH - 1])
        scores.append(hysteresis_pool(q)[:, WARMUP:].mean(dim=1).double().numpy())
        causes.append(torch.softmax(logits[:, -1].double(), dim=1).numpy())
    return np.concatenate(scores), np.concatenate(causes)


def evaluate(score: F64, causes: F64, clips: Clips) -> dict[str, object]:
    """Agreement with our own labels: ranks within content and type, causes, correlation over all clips."""
    named, level, truth = causes.argmax(axis=1), clips.level, clips.cause
    right_all, right_near, right_clean, by_type = [], [], [], {}
    for group in np.unique(clips.group):
        rows = np.flatnonzero(clips.group == group)
        rows = rows[np.argsort(level[rows])]
        kind = clips.facts[rows[-1]].kind
        for i, a in enumerate(rows):
            for b in rows[i + 1 :]:
                right = float(score[a] > score[b])
                if level[a] == 0:
                    if level[b] >= 2:
                        right_clean.append(right)
                    continue
                right_all.append(right)
                by_type.setdefault(kind, []).append(right)
        between = [r for r in rows if level[r] > 0]
        right_near += [float(score[a] > score[b]) for a, b in itertools.pairwise(between)]
    strong = level >= 3
    return {
        "clips": len(score),
        "srocc_vs_label": round(srocc(score, clips.label), 4),
        "lcc_vs_label": round(lcc(score, clips.label), 4),
        "pairs": round(float(np.mean(right_all)), 4),
        "pairs_neighbouring": round(float(np.mean(right_near)), 4),
        "clean_over_level2_and_above": round(float(np.mean(right_clean)), 4),
        "pairs_by_type": {k: round(float(np.mean(v)), 3) for k, v in sorted(by_type.items())},
        "cause_level3_and_above": round(float((named == truth)[strong].mean()), 4),
        "cause_by_type": {
            CAUSES[c]: round(float((named == c)[strong & (truth == c)].mean()), 3)
            for c in range(1, len(CAUSES))
            if (strong & (truth == c)).any()
        },
        "clean_called_clean": round(float((named == 0)[level == 0].mean()), 4),
        "mean_score_by_level": {str(v): round(float(score[level == v].mean()), 3) for v in np.unique(level).tolist()},
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--trunk", type=Path, required=True, metavar="FILE", help="weights from `trunk`")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the head goes (.pt)")
    parser.add_argument("--epochs", type=int, default=40)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2], help="one head each; the first is kept")


def run(args: argparse.Namespace) -> int:
    """Trains a head a seed, evaluates each on the hold-out, keeps the first."""
    trunk = trunk_training.load(args.trunk)
    reader = trunk_training.OutputReader(trunk, args.data / "trunk-outputs")
    clips, scales = load_clips(args.data / "clips", reader, None)
    held, _ = load_clips(args.data / "clips-holdout", reader, scales)
    report: dict[str, object] = {"clips": len(clips.facts), "label_scales": scales, "seeds": {}}
    for seed in args.seeds:
        model = train(clips, epochs=args.epochs, seed=seed)
        result = {
            "train": evaluate(*predict(model, clips), clips),
            "holdout": evaluate(*predict(model, held), held),
        }
        report["seeds"][str(seed)] = result  # type: ignore[index]
        if seed == args.seeds[0]:
            train_score, _ = predict(model, clips)
            held_score, held_causes = predict(model, held)
            args.out.parent.mkdir(parents=True, exist_ok=True)
            torch.save(
                {
                    "arrays": {k: torch.from_numpy(np.array(v)) for k, v in model.arrays(trunk.outputs).items()},
                    "train": torch.from_numpy(np.stack([train_score, clips.label, clips.level.astype(float)])),
                    "holdout": torch.from_numpy(
                        np.stack([held_score, held.label, held_causes.argmax(axis=1).astype(float)])
                    ),
                },
                args.out,
            )
        print(json.dumps({seed: result["holdout"]}, indent=1))
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    return 0
