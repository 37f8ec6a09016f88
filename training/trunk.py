"""Trains the bundled trunk: a small ResNet on impaired single pictures, supervised by what was done to them.

Three outputs share the features: the class of the impairment, the full-reference value (SSIM in dB), and the level.
The head later reads both: all of the features, and these eight numbers a picture.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import time
from copy import copy
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from engines.backbone import DEPTHS, Trunk
from engines.base import Precision
from engines.bundle import Bundle, load_bundle, sha256_of
from engines.export import trunk_from_onnx
from engines.openvino import OpenVinoEngine
from training.errors import TrainingError
from training.synthesis import SPEC, TRUNK_CLASSES
from training.trunk_graph import RECORD, TrunkGraph, write_trunk

#: SSIM in dB is divided by this so that its spread is near that of the class logits.
SSIM_SCALE_DB = 16.0
OUTPUTS = len(TRUNK_CLASSES) + 2


class TrunkModel(nn.Module):
    """The trunk with its own outputs: 6 class logits, SSIM/16, level."""

    def __init__(self, width: float, depth: int = 18) -> None:
        super().__init__()
        self.trunk = Trunk(depth, width=width, colour="yuv")
        self.outputs = nn.Linear(self.trunk.feature_size, OUTPUTS)
        if depth > 18:
            # Every block begins as the identity, so that a deep trunk learns from the first steps. Source: Goyal et
            # al., "Accurate, Large Minibatch SGD", 2017, section 5.1.
            for name, module in self.trunk.named_modules():
                if name.endswith("bn3"):
                    nn.init.zeros_(module.weight)  # type: ignore[arg-type]

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, 3, 128, 128) uint8 -> (B, 8)."""
        out: Tensor = self.outputs(self.trunk(pixels))
        return out


class Pictures:
    """All trunk pictures of a folder, kept in memory as uint8 (25 kB each)."""

    def __init__(self, folder: Path) -> None:
        files = sorted(folder.glob("*.npz"))
        if not files:
            raise FileNotFoundError(f"{folder}: no picture files; run `python -m training synthesise` first")
        parts = [np.load(file) for file in files]
        self.y = torch.from_numpy(np.concatenate([p["y"] for p in parts]))
        self.uv = torch.from_numpy(np.concatenate([p["uv"] for p in parts]))
        self.labels = torch.from_numpy(np.concatenate([p["label"] for p in parts]))

        self._side = SPEC.grid * SPEC.patch

    def __len__(self) -> int:
        return len(self.y)

    def showing(self, grid: int) -> Pictures:
        """The same, in the same memory, of which ``grid`` patches a side are shown: the first, in their order then."""
        fewer = copy(self)
        fewer._side = grid * SPEC.patch
        return fewer

    def batch(self, rows: Tensor, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """(B, 3, 128, 128) uint8 pixels and (B, 3) labels; augmented where a generator is given."""
        y = self.y[rows].unsqueeze(1)
        uv = self.uv[rows].repeat_interleave(2, 2).repeat_interleave(2, 3)
        pixels = torch.cat([y, uv], dim=1)
        if rng is not None:
            pixels = augment(pixels, rng)
        pixels = pixels[:, :, : self._side, : self._side]
        return pixels.contiguous(memory_format=torch.channels_last), self.labels[rows]


def augment(pixels: Tensor, rng: torch.Generator) -> Tensor:
    """Permutes and mirrors the patches, and moves luma and chroma a little.

    Patches are mirrored left to right only: upside down, field order and coding order would look new.
    """
    grid, patch = SPEC.grid, SPEC.patch
    b = len(pixels)
    tiles = pixels.view(b, 3, grid, patch, grid, patch).permute(0, 2, 4, 1, 3, 5).reshape(b, grid**2, 3, patch, patch)
    order = torch.rand(b, grid**2, generator=rng).argsort(dim=1)
    tiles = tiles[torch.arange(b)[:, None], order]
    mirrored = torch.rand(b, generator=rng) < 0.5
    tiles[mirrored] = tiles[mirrored].flip(-1)
    pixels = tiles.view(b, grid, grid, 3, patch, patch).permute(0, 3, 1, 4, 2, 5).reshape(b, 3, grid * patch, -1)
    gain = 1 + 0.16 * (torch.rand(b, 1, 1, 1, generator=rng) - 0.5)
    offset = 16 * (torch.rand(b, 1, 1, 1, generator=rng) - 0.5)
    chroma = 1 + 0.5 * (torch.rand(b, 1, 1, 1, generator=rng) - 0.5)
    shift = 10 * (torch.rand(b, 2, 1, 1, generator=rng) - 0.5)
    values = pixels.float()
    values[:, :1] = (values[:, :1] - 118) * gain + 118 + offset
    values[:, 1:] = (values[:, 1:] - 128) * chroma + 128 + shift
    return (values + 0.5).clamp(0, 255).to(torch.uint8)


def loss_of(outputs: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy weighted by level, and Huber losses of SSIM and (where impaired) of the level."""
    kind, level, ssim = labels[:, 0].long(), labels[:, 1], labels[:, 2]
    n = len(TRUNK_CLASSES)
    entropy = nn.functional.cross_entropy(outputs[:, :n], kind, label_smoothing=0.05, reduction="none")
    weight = torch.where(kind == 0, 2.4, 0.4 + level)
    loss = (entropy * weight).sum() / weight.sum()
    loss = loss + 2 * nn.functional.huber_loss(outputs[:, n], ssim / SSIM_SCALE_DB, delta=0.3)
    impaired = kind > 0
    if bool(impaired.any()):
        loss = loss + 2 * nn.functional.huber_loss(outputs[impaired, n + 1], level[impaired] / 5, delta=0.3)
    return loss


@torch.no_grad()
def evaluate(model: TrunkModel, pictures: Pictures) -> dict[str, object]:
    """Balanced class accuracy (all, and at level 3 and above), and agreement of the full-reference value."""
    model.eval()
    outputs = [model(pictures.batch(rows, None)[0]) for rows in torch.arange(len(pictures)).split(128)]
    out, labels = torch.cat(outputs), pictures.labels
    kind, level = labels[:, 0].long(), labels[:, 1]
    hit = out[:, : len(TRUNK_CLASSES)].argmax(dim=1) == kind
    recall, recall_strong = {}, {}
    for index, name in enumerate(TRUNK_CLASSES):
        of = kind == index
        strong = of & ((level >= 3) | (index == 0))
        recall[name] = round(float(hit[of].float().mean()), 3)
        recall_strong[name] = round(float(hit[strong].float().mean()), 3)
    ssim = np.corrcoef(out[:, len(TRUNK_CLASSES)].numpy(), labels[:, 2].numpy())[0, 1]
    return {
        "pictures": len(pictures),
        "balanced_accuracy": round(float(np.mean(list(recall.values()))), 4),
        "balanced_accuracy_level3": round(float(np.mean(list(recall_strong.values()))), 4),
        "recall": recall,
        "recall_level3": recall_strong,
        "ssim_lcc": round(float(ssim), 4),
    }


def train(
    pictures: Pictures,
    *,
    width: float,
    minutes: float,
    epochs: float,
    batch: int,
    seed: int,
    depth: int = 18,
    start: TrunkModel | None = None,
) -> tuple[TrunkModel, dict[str, float]]:
    """AdamW with a cosine over whichever of time and epochs ends first, and an average of the weights.

    ``start`` goes on from trained weights with a fresh optimiser.
    """
    torch.manual_seed(seed)
    rng = torch.Generator().manual_seed(seed)
    model = (start or TrunkModel(width, depth)).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.03)
    averaged: dict[str, Tensor] = {k: v.clone() for k, v in model.state_dict().items()}
    steps, started, total = 0, time.monotonic(), max(1, int(epochs * len(pictures) / batch))
    order = torch.empty(0, dtype=torch.long)
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("trunk", total=1.0)
        while True:
            done = max(steps / total, (time.monotonic() - started) / (minutes * 60))
            bar.update(task, completed=min(done, 1.0))
            if done >= 1:
                break
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * min(1.0, steps / 50 + 0.02) * (0.5 + 0.5 * np.cos(np.pi * done))
            if len(order) < batch:
                order = torch.randperm(len(pictures), generator=rng)
            rows, order = order[:batch], order[batch:]
            pixels, labels = pictures.batch(rows, rng)
            model.train()
            loss = loss_of(model(pixels), labels)
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            steps += 1
            decay = min(0.995, steps / (steps + 10))
            with torch.no_grad():
                for name, value in model.state_dict().items():
                    if value.is_floating_point():
                        averaged[name].lerp_(value, 1 - decay)
                    else:
                        averaged[name].copy_(value)
    model.load_state_dict(averaged)
    return model, {"steps": steps, "seconds": round(time.monotonic() - started, 1), "samples": steps * batch}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="what `synthesise` wrote")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="where the weights go (.pt)")
    parser.add_argument("--start", type=Path, metavar="PATH", help="go on from these weights, or a bundle's")
    parser.add_argument("--depth", type=int, choices=DEPTHS, default=18, help="of the ResNet")
    parser.add_argument("--width", type=float, default=0.25, help="channel multiplier of the ResNet")
    parser.add_argument("--minutes", type=float, default=15.0, help="time limit")
    parser.add_argument("--epochs", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=0, metavar="N", help="0: all cores")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--pack", type=Path, metavar="FILE.npz", help="also write the trunk alone, in half precision")


def run(args: argparse.Namespace) -> int:
    """Trains, evaluates on the hold-out and writes weights with their metrics beside them."""
    if args.threads:
        torch.set_num_threads(args.threads)
    pictures = Pictures(args.data / "pictures")
    start = load(args.start) if args.start else None
    width, depth = (start.trunk.width, start.trunk.depth) if start is not None else (args.width, args.depth)
    model, cost = train(
        pictures,
        width=width,
        depth=depth,
        minutes=args.minutes,
        epochs=args.epochs,
        batch=args.batch,
        seed=args.seed,
        start=start,
    )
    report: dict[str, object] = {"depth": depth, "width": width, "pictures": len(pictures), "seed": args.seed, **cost}
    if args.start is not None and args.start.is_file() and args.start.with_suffix(".json").is_file():
        report["before"] = json.loads(args.start.with_suffix(".json").read_text())
    report["holdout"] = evaluate(model, Pictures(args.data / "pictures-holdout"))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save({"depth": depth, "width": width, "state": model.state_dict()}, args.out)
    args.out.with_suffix(".json").write_text(json.dumps(report, indent=1) + "\n")
    if args.pack is not None:
        pack_weights(model.trunk, args.pack)
    print(json.dumps(report, indent=1))
    return 0


def pack_weights(trunk: Trunk, file: Path) -> None:
    """Writes a trunk as half-precision arrays, as ``training.trunk_sources`` reads them."""
    arrays = {
        name: value.numpy().astype(np.float16)
        for name, value in trunk.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(file, **arrays)


def load(path: Path) -> TrunkModel:
    """A trained trunk in evaluation mode, from a file that `trunk` wrote or from a bundle's folder.

    Raises:
        BundleError: The folder holds no bundle that is whole.
        TrainingError: The bundle's head keeps none of the trunk's own outputs.
    """
    if path.is_dir():
        return _of_bundle(load_bundle(path))
    stored = torch.load(path, map_location="cpu", weights_only=True)
    model = TrunkModel(stored["width"], stored.get("depth", 18))
    model.load_state_dict(stored["state"])
    model.eval()
    return model


def _of_bundle(bundle: Bundle) -> TrunkModel:
    part, arrays = bundle.manifest.trunk, bundle.head_arrays
    weight = arrays.get("member0.bottleneck_w")
    if weight is None or weight.shape != (OUTPUTS, part.feature_size):
        raise TrainingError(f"{bundle.path}: its head keeps no outputs of the trunk to go on from")
    model = TrunkModel(part.width, part.depth)
    trunk = trunk_from_onnx(bundle.trunk_path, depth=part.depth, width=part.width, colour=bundle.manifest.input.colour)
    model.trunk.load_state_dict(trunk.state_dict())
    model.outputs.weight.data = torch.from_numpy(np.array(weight, np.float32))
    model.outputs.bias.data = torch.from_numpy(np.array(arrays["member0.bottleneck_b"], np.float32))
    model.eval()
    return model


class FeatureReader:
    """The trunk's features of synthesised clips, through the engine that the monitor runs, kept on disk.

    Args:
        model: A trunk.
        cache: Folder for features, one file a group; found again by the trunk's weights and the group file's bytes.
    """

    def __init__(self, model: TrunkModel, cache: Path) -> None:
        digest = hashlib.sha256()
        for name, value in sorted(model.trunk.state_dict().items()):
            digest.update(name.encode() + value.contiguous().numpy().tobytes())
        self._folder = cache / digest.hexdigest()[:16]
        self._folder.mkdir(parents=True, exist_ok=True)
        kept = (self._folder / RECORD).is_file()
        graph = TrunkGraph.load(self._folder) if kept else write_trunk(model.trunk, SPEC, self._folder, "trunk")
        self._engine = OpenVinoEngine(graph.bundle(), Precision.F32)

    def read(self, group: Path) -> npt.NDArray[np.float32]:
        """Features of a group file's clips, (V, T, F) float32."""
        kept = self._folder / f"{sha256_of(group)[:24]}.npy"
        if kept.exists():
            stored: npt.NDArray[np.float32] = np.load(kept)
            return stored
        with np.load(group) as data:
            y, uv = data["y"], data["uv"]
        count, length = y.shape[:2]
        y, uv = y.reshape(-1, *y.shape[2:]), uv.reshape(-1, *uv.shape[2:])
        rows = []
        for start in range(0, len(y), 32):
            part = slice(start, start + 32)
            pixels = np.concatenate([y[part, None], uv[part].repeat(2, axis=2).repeat(2, axis=3)], axis=1)
            rows.append(self._engine.infer(pixels))
        features: npt.NDArray[np.float32] = np.concatenate(rows).reshape(count, length, -1).astype(np.float32)
        aside = kept.with_suffix(f".{os.getpid()}.part.npy")  # another training may read the same clips
        np.save(aside, features)
        aside.replace(kept)
        return features


class WideReader:
    """All that a head reads of the trunk for synthesised clips: its features, and behind them its own eight outputs.

    Args:
        model: A trained trunk.
        cache: Folder for features; see `FeatureReader`.
    """

    def __init__(self, model: TrunkModel, cache: Path) -> None:
        self._features = FeatureReader(model, cache)
        self._weight = model.outputs.weight.detach().numpy()
        self._bias = model.outputs.bias.detach().numpy()

    def features(self, group: Path) -> npt.NDArray[np.float32]:
        """All features of a group file's clips, (V, T, F) float32."""
        return self._features.read(group)

    def outputs(self, group: Path) -> npt.NDArray[np.float32]:
        """The trunk's own outputs, (V, T, 8) float32."""
        outputs: npt.NDArray[np.float32] = self.features(group) @ self._weight.T + self._bias
        return outputs

    def read(self, group: Path) -> npt.NDArray[np.float32]:
        """Both, (V, T, F + 8) float32."""
        return np.concatenate([self.features(group), self.outputs(group)], axis=2)


class OutputReader(WideReader):
    """The trunk's own eight outputs alone, for ablations."""

    def read(self, group: Path) -> npt.NDArray[np.float32]:
        """(V, T, 8) float32."""
        return self.outputs(group)
