"""Parity and speed on an NVIDIA GPU: TensorRT in fp16 and int8 beside PyTorch in fp16, and how near the roof they are.

Then from packets to samples of 1080p25 H.264 feeds by each decoder: the CPU, NVDEC with its pictures copied, and NVDEC
with its pictures kept and cut on the GPU. Needs torch with CUDA, tensorrt and onnx; no network. Weights are random:
they cost the same. Without a GPU it says so and ends with status 1. It has not been run on a GPU yet.

    python -m benchmarks.gpu [--json] [--tflops 790] [--bandwidth 4.3]
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_pictures import measure_ways, ways_table
from engines.backbone import Trunk
from engines.base import FeatureEngine, Precision
from engines.bundle import (
    BUNDLED,
    Bundle,
    HeadPart,
    InputPart,
    Manifest,
    TrunkPart,
    bundles_folder,
    load_bundle,
    write_bundle,
)
from engines.errors import EngineError
from engines.export import export_onnx
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.capacity import make_clip

#: What large matrix products and copies were measured to reach on an H200: fp16 TFLOP/s and TB/s.
TFLOPS, BANDWIDTH_TBS = 790.0, 4.3
_UNFILLED = "0" * 64
_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Case:
    """One network and input."""

    name: str
    depth: int
    picture: tuple[int, int, int]
    batch: int


CASES = (
    Case("ResNet-18 128x128", 18, (3, 128, 128), 64),
    Case("ResNet-50 224x224", 50, (3, 224, 224), 64),
    Case("ResNet-50 1080p full frame", 50, (3, 1080, 1920), 8),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One engine on one case.

    Attributes:
        pictures_per_s: From host memory to features in host memory.
        of_roof: That over the roofline's rate in fp16.
        difference: Relative L2 distance of the features from torch's in f32.
    """

    case: str
    engine: str
    pictures_per_s: float
    of_roof: float
    difference: float


@dataclass(frozen=True, slots=True)
class Work:
    """What one picture takes: operations (two a multiply-add) and bytes in and out of each convolution, in fp16."""

    flop: float
    bytes: float

    def roof(self, tflops: float, bandwidth_tbs: float) -> float:
        """Most pictures a second by arithmetic and memory; weights are read once a batch, and left out."""
        return min(tflops * 1e12 / self.flop, bandwidth_tbs * 1e12 / self.bytes)


def work_of(depth: int, picture: tuple[int, int, int]) -> Work:
    """Counts a trunk's convolutions, without computing any."""
    flop = moved = 0.0

    def count(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
        nonlocal flop, moved
        assert isinstance(module, torch.nn.Conv2d)
        flop += 2.0 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]
        moved += 2.0 * (inputs[0].numel() + output.numel())

    with torch.device("meta"):
        trunk = Trunk(depth).eval()
        for module in trunk.modules():
            if isinstance(module, torch.nn.Conv2d):
                module.register_forward_hook(count)
        trunk(torch.zeros((1, *picture), dtype=torch.uint8))
    return Work(flop, moved)


def random_bundle(folder: Path, case: Case) -> tuple[Bundle, Trunk]:
    """A bundle of a trunk with random weights, its batch normalisation settled on noise, and that trunk."""
    torch.manual_seed(0)
    trunk = Trunk(case.depth)
    with torch.no_grad():
        for _ in range(3):
            trunk(torch.randint(0, 256, (4, 3, 128, 128), dtype=torch.uint8))
    trunk.eval()
    part = InputPart.parse("full")
    export_onnx(trunk, part.spec(), folder / "trunk.onnx")
    size = trunk.feature_size
    rng = np.random.default_rng(0)
    shapes = {"fc_w": (8, size), "fc_b": (8,), "w_ih": (12, 8), "w_hh": (12, 4), "b_ih": (12,), "b_hh": (12,)}
    head: dict[str, Any] = {name: rng.standard_normal(shape) for name, shape in {**shapes, "q_w": (4,)}.items()}
    head["q_b"] = np.array(0.0)
    manifest = Manifest(
        name="random",
        version="0",
        input=part,
        trunk=TrunkPart(file="trunk.onnx", sha256=_UNFILLED, depth=case.depth, width=1.0, feature_size=size),
        head=HeadPart(file="head.npz", sha256=_UNFILLED, kind="vsfa"),
    )
    return write_bundle(folder, manifest, head, folder / "trunk.onnx"), trunk


def activation_ranges(trunk: Trunk, graph: bytes, pixels: np.ndarray, device: str) -> dict[str, float]:
    """Largest magnitude of each convolution's input on the pixels, by the graph's node names; the first stays out."""
    from engines.low_precision import convolutions

    largest: list[float] = []
    hooks = [
        module.register_forward_pre_hook(lambda _, inputs: largest.append(float(inputs[0].abs().max())))
        for module in trunk.modules()
        if isinstance(module, torch.nn.Conv2d)
    ]
    with torch.inference_mode():
        trunk.to(device)(torch.from_numpy(pixels).to(device))
    for hook in hooks:
        hook.remove()
    # Both are in the order of execution: the graph is a trace of the trunk.
    found = dict(zip(convolutions(graph), largest, strict=True))
    return dict(list(found.items())[1:])


class TorchGraph:
    """PyTorch in fp16, channels last, as one CUDA graph."""

    def __init__(self, trunk: Trunk, shape: tuple[int, ...]) -> None:
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        self._trunk = trunk.cuda().to(memory_format=torch.channels_last)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self._forward()
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._output = self._forward()

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        """(B, 3, H, W) uint8 -> (B, F) float32; B is what it was made for."""
        self._pixels.copy_(torch.from_numpy(pixels))
        self._graph.replay()
        features: np.ndarray = self._output.float().cpu().numpy()
        return features

    def _forward(self) -> torch.Tensor:
        # The cache of cast weights must not outlive a pass that is captured.
        with torch.inference_mode(), torch.autocast("cuda", torch.float16, cache_enabled=False):
            output: torch.Tensor = self._trunk(self._pixels.contiguous(memory_format=torch.channels_last))
        return output


def rate(infer: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray, seconds: float = _SECONDS) -> float:
    """Pictures a second, after a warm-up."""
    for _ in range(3):
        infer(pixels)
    started_s = time.perf_counter()
    count = 0
    while time.perf_counter() - started_s < seconds:
        infer(pixels)
        count += len(pixels)
    return count / (time.perf_counter() - started_s)


def difference(features: np.ndarray, exact: np.ndarray) -> float:
    """Relative L2 distance."""
    return float(np.linalg.norm(features - exact) / np.linalg.norm(exact))


def measure(case: Case, folder: Path, tflops: float, bandwidth_tbs: float) -> list[Row]:
    """Every engine on one case.

    Raises:
        EngineError: TensorRT is missing or refuses.
    """
    from engines.tensorrt import INT8_RANGES, TensorRtEngine

    bundle, trunk = random_bundle(folder, case)
    pixels = np.random.default_rng(1).integers(16, 236, (case.batch, *case.picture), dtype=np.uint8)
    few = pixels[: min(4, case.batch)]
    found = activation_ranges(trunk, bundle.trunk_path.read_bytes(), few, "cuda")
    (folder / INT8_RANGES).write_text(json.dumps(found))
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    with torch.inference_mode():
        exact = trunk.cuda()(torch.from_numpy(few).cuda()).cpu().numpy()
    roof = work_of(case.depth, case.picture).roof(tflops, bandwidth_tbs)
    rows = []

    def add(name: str, infer: Callable[[np.ndarray], np.ndarray]) -> None:
        per_s = rate(infer, pixels)
        rows.append(Row(case.name, name, per_s, per_s / roof, difference(infer(pixels)[: len(few)], exact)))

    for precision in (Precision.F16, Precision.INT8):
        engine: FeatureEngine = TensorRtEngine(
            bundle, precision, cache=folder / "plans", largest=max(1, case.batch // 2), picture=case.picture
        )
        try:
            add(f"tensorrt {precision}", engine.infer)
        finally:
            engine.close()
    add("torch f16 channels_last, CUDA graph", TorchGraph(trunk, pixels.shape).infer)
    return rows


def table(rows: list[Row]) -> str:
    """Markdown; the last column is each rate over that of the case's last engine, which is PyTorch."""
    lines = [
        "| case | engine | pictures/s | of the roof | feature difference | over torch |",
        "|---|---|---|---|---|---|",
    ]
    last = {row.case: row.pictures_per_s for row in rows}
    for row in rows:
        ratio = row.pictures_per_s / last[row.case]
        lines.append(
            f"| {row.case} | {row.engine} | {row.pictures_per_s:,.0f} | {row.of_roof:.2f} | {row.difference:.4f} "
            f"| {ratio:.2f} |"
        )
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description="parity and speed on an NVIDIA GPU")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--tflops", type=float, default=TFLOPS, help="the device's fp16 arithmetic, TFLOP/s")
    parser.add_argument("--bandwidth", type=float, default=BANDWIDTH_TBS, help="its memory, TB/s")
    args = parser.parse_args(arguments)
    if not torch.cuda.is_available():
        print("no NVIDIA GPU that torch can use: nothing was measured", file=sys.stderr)
        return 1
    rows: list[Row] = []
    for case in CASES:
        with tempfile.TemporaryDirectory(prefix="vqwatch-gpu-") as folder:
            try:
                rows += measure(case, Path(folder), args.tflops, args.bandwidth)
            except EngineError as error:
                print(f"{case.name}: {error}", file=sys.stderr)
                return 1
    with tempfile.TemporaryDirectory(prefix="vqwatch-gpu-") as folder:
        clip = Path(folder) / "clip.mp4"
        make_clip(clip, 1920, 1080)
        ways = measure_ways(clip, BundleScoring.of(load_bundle(bundles_folder() / BUNDLED)))
    if args.json:
        print(json.dumps({"engines": [asdict(row) for row in rows], "decoders": [asdict(way) for way in ways]}))
    else:
        print(table(rows), ways_table(ways), sep="\n\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
