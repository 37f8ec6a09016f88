"""Times VSFA's published way of working and vqwatch on the same clip, in the same run, on the CPU.

VSFA as described (Li, Jiang, Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019): the whole clip is decoded
to RGB, normalised with ImageNet's statistics, and put through a ResNet-50 in f32 at its native size, in batches; of the
last convolutional layer the spatial mean and standard deviation are kept (4096 numbers a picture); then come
a Linear layer to 128, a GRU of 32, a Linear layer to one quality, and the temporal pooling over 12 pictures. Weights
are random here: they cost the same.

With ``--resnet50`` the reference's own network, its weights and all, is put into bundles as well and runs in vqwatch in
int8: on fragments (7x7 of 32 px), and on full frames, which are the same pictures, so that scores can be compared.

    python -m benchmarks.reference CLIP [--pictures N] [--resnet50] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch

from engines import open_engine
from engines.backbone import IMAGENET_MEAN, IMAGENET_SD, Trunk
from engines.base import FeatureEngine, Precision
from engines.bundle import BUNDLED, Bundle, HeadPart, InputPart, Manifest, TrunkPart, write_bundle
from engines.export import export_onnx
from engines.preprocess import PictureCutter
from monitor.commands.model_arguments import open_model
from monitor.core.hysteresis import pool_offline
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.bundle_scoring import BundleScoring
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import ClipResult, score_source
from monitor.types import StreamId
from training.quantise import attempts, quantise, with_int8

_REDUCED, _HIDDEN = 128, 32
_GRAPH = "trunk.onnx"
#: `write_bundle` fills in what files are.
_UNFILLED = "0" * 64
_CALIBRATION = 6


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pictures and wall-clock seconds of both, decoding included.

    Attributes:
        reference_pictures: Pictures that the reference took: the clip, or its beginning.
        reference_s: What it took for them.
        pictures: Pictures of the clip that vqwatch decoded, all of them scored.
        vqwatch_s: What that took, without opening the engine.
        ratio: Pictures a second of vqwatch over those of the reference.
        model: vqwatch's.
        score: Of the clip by it, 0-100.
        reference_score: Of what the reference took of the clip, by its random weights.
    """

    clip: str
    width: int
    height: int
    engine: str
    precision: str
    reference_pictures: int
    reference_s: float
    pictures: int
    vqwatch_s: float
    ratio: float
    model: str
    score: float | None
    reference_score: float


class Reference:
    """The published pipeline with weights of a seed.

    Args:
        depth: Of the ResNet; 50 is the published one.
        batch: Pictures at once.
    """

    def __init__(self, depth: int = 50, batch: int = 8) -> None:
        torch.manual_seed(0)
        self._batch = batch
        self._trunk = Trunk(depth, colour="rgb")
        with torch.no_grad():
            # Batch normalisation settles on noise: activations of weights as they are drawn would grow layer by layer.
            for _ in range(3):
                self._trunk(torch.randint(0, 256, (4, 3, 64, 64), dtype=torch.uint8))
        self._trunk.eval()
        self._fc = torch.nn.Linear(self._trunk.feature_size, _REDUCED)
        self._gru = torch.nn.GRU(_REDUCED, _HIDDEN, batch_first=True)
        self._q = torch.nn.Linear(_HIDDEN, 1)
        with torch.no_grad():
            self._q.bias.fill_(0.5)  # in the middle of the scale, away from its ends

    def score(self, clip: Path, limit: int | None = None) -> tuple[float, int]:
        """Score of a clip's first pictures (None: of all), and how many there were."""
        with av.open(str(clip)) as container:
            # The whole clip is in memory before the first picture is looked at, as published.
            rgb = np.stack([p.to_ndarray(format="rgb24") for p in islice(container.decode(video=0), limit)])
        pictures = torch.from_numpy(rgb).permute(0, 3, 1, 2).float()
        pictures = (pictures - torch.tensor(IMAGENET_MEAN).view(1, 3, 1, 1)) / torch.tensor(IMAGENET_SD).view(
            1, 3, 1, 1
        )
        with torch.inference_mode():
            features = torch.cat([self._features(part) for part in pictures.split(self._batch)])
            hidden, _ = self._gru(self._fc(features).unsqueeze(0))
            q = self._q(hidden)[0, :, 0].double().numpy()
        return float(pool_offline(q).mean()), len(rgb)

    def bundle(self, folder: Path, size: str, fps: float) -> Bundle:
        """The same network as vqwatch runs it.

        Args:
            folder: Where it is written.
            size: Its input, as `InputPart.parse` takes it.
            fps: Samples a second.
        """
        part = InputPart.parse(size)
        folder.mkdir()
        export_onnx(self._trunk, part.spec(), folder / _GRAPH)
        layers = {"fc": self._fc, "q": self._q}
        arrays = {
            f"{name}_{kind}": array.detach().double().numpy()
            for name, layer in layers.items()
            for kind, array in (("w", layer.weight), ("b", layer.bias))
        }
        arrays |= {"q_w": arrays["q_w"][0], "q_b": arrays["q_b"][0]}
        names = {"w_ih": "weight_ih_l0", "w_hh": "weight_hh_l0", "b_ih": "bias_ih_l0", "b_hh": "bias_hh_l0"}
        arrays |= {name: getattr(self._gru, theirs).detach().double().numpy() for name, theirs in names.items()}
        trunk = self._trunk
        manifest = Manifest(
            name=f"resnet{trunk.depth}-{part.mode}",
            version="0",
            input=part,
            sample_fps=fps,
            trunk=TrunkPart(
                file=_GRAPH, sha256=_UNFILLED, depth=trunk.depth, width=1.0, feature_size=trunk.feature_size
            ),
            head=HeadPart(file="head.npz", sha256=_UNFILLED, kind="vsfa"),
        )
        return write_bundle(folder, manifest, arrays, folder / _GRAPH)

    def _features(self, pictures: torch.Tensor) -> torch.Tensor:
        trunk = self._trunk
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(pictures))))
        x = trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x)))).flatten(2)
        return torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)


@dataclass(frozen=True, slots=True)
class Taken:
    """What the reference made of a clip, and how long it took."""

    score: float
    pictures: int
    seconds: float


def time_reference(reference: Reference, clip: Path, pictures: int | None) -> Taken:
    """Times the reference on a clip's first pictures (None: on all); its cost a picture does not depend on how many."""
    started_s = time.monotonic()
    score, count = reference.score(clip, pictures)
    return Taken(score, count, time.monotonic() - started_s)


def compare(clip: Path, taken: Taken, scoring: BundleScoring, engine: FeatureEngine) -> Comparison:
    """Times vqwatch on the whole clip; the engine is closed.

    Raises:
        MonitorError: The clip cannot be read.
        EngineError: The engine fails.
    """

    async def run() -> tuple[ClipResult, float]:
        inference = InferenceThread(engine, scoring.head, scoring.domain)
        batcher = Batcher(inference, max_wait_s=0.0)
        batching = asyncio.create_task(batcher.run())
        source = PyAvSource(str(clip), stream=StreamId("clip"), live=False)
        started_s = time.monotonic()
        result = await score_source(
            source,
            batcher,
            spec=scoring.input,
            scoring=scoring.scoring,
            with_side_channel=scoring.with_side_channel,
            domain_limit=scoring.domain_limit,
        )
        took_s = time.monotonic() - started_s
        batcher.close()
        await batching
        inference.close()
        return result, took_s

    result, took_s = asyncio.run(run())
    assert result.info is not None
    return Comparison(
        clip=clip.name,
        width=result.info.width,
        height=result.info.height,
        engine=engine.info.name,
        precision=str(engine.info.precision),
        reference_pictures=taken.pictures,
        reference_s=round(taken.seconds, 3),
        pictures=result.frames,
        vqwatch_s=round(took_s, 3),
        ratio=round((result.frames / took_s) / (taken.pictures / taken.seconds), 2),
        model=scoring.bundle.manifest.name,
        score=None if result.score is None else round(result.score, 3),
        reference_score=round(100 * taken.score, 3),
    )


def in_int8(reference: Reference, folder: Path, clip: Path, size: str) -> tuple[BundleScoring, FeatureEngine]:
    """The reference's network in int8, its activations calibrated on the clip, and its engine."""
    pictures = []
    with av.open(str(clip)) as container:
        fps = float(container.streams.video[0].average_rate or 25)
        for picture in islice(container.decode(video=0), 0, None, 8):
            pictures.append(picture)
            if len(pictures) == _CALIBRATION:
                break
    bundle = reference.bundle(folder, size, fps)
    cutter = PictureCutter(bundle.manifest.input.spec())
    out = folder / "trunk.int8.xml"
    preset = attempts(bundle.trunk_path)["performance-pooling-kept"]
    quantise(bundle.trunk_path, np.stack([cutter.pixels(picture) for picture in pictures]), out, preset)
    quantised = with_int8(bundle, out)
    return BundleScoring.of(quantised), open_engine(quantised, "openvino", Precision.INT8)


def main(arguments: list[str] | None = None) -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description="VSFA's published way of working and vqwatch on one clip")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default=BUNDLED, metavar="NAME|DIR")
    parser.add_argument("--precision", default="auto", choices=("auto", "f32", "bf16", "int8"))
    parser.add_argument("--pictures", type=int, metavar="N", help="the reference takes the first N pictures only")
    parser.add_argument("--resnet50", action="store_true", help="run the reference's network in vqwatch, too")
    parser.add_argument("--json", action="store_true", help="an object a line for each of vqwatch's models")
    args = parser.parse_args(arguments)
    if not args.clip.is_file():
        print(f"{args.clip}: no such file", file=sys.stderr)
        return 2
    reference = Reference()
    scoring, engine = open_model(args.model, "openvino", args.precision, 0)
    with tempfile.TemporaryDirectory(prefix="vqwatch-reference-") as scratch:
        sizes = {"fragments": "fragments:7x32", "full": "full"} if args.resnet50 else {}
        models = [(scoring, engine)]
        models += [in_int8(reference, Path(scratch) / name, args.clip, size) for name, size in sizes.items()]
        taken = time_reference(reference, args.clip, args.pictures)
        found = [compare(args.clip, taken, *model) for model in models]
    if args.json:
        for one in found:
            print(json.dumps(asdict(one)))
        return 0
    first = found[0]
    rate = first.reference_pictures / first.reference_s
    print(f"{first.clip}, {first.width}x{first.height}, decoding included")
    print(f"{'VSFA as published (ResNet-50, f32, native size)':50}{rate:9.2f} pictures/s over {taken.pictures}, "
          f"score {first.reference_score:.2f}")  # fmt: skip
    for one in found:
        name = f"vqwatch, {one.model} ({one.engine} {one.precision})"
        print(f"{name:50}{one.pictures / one.vqwatch_s:9.2f} pictures/s over {one.pictures}, score {one.score:.2f}, "
              f"ratio {one.ratio:.1f}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
