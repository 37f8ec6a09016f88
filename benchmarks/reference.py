"""Times VSFA's published way of working and vqwatch on the same clip, in the same run, on the CPU.

VSFA as described (Li, Jiang, Jiang, "Quality Assessment of In-the-Wild Videos", ACM MM 2019): the whole clip is decoded
to RGB, normalised with ImageNet's statistics, and put through a ResNet-50 in f32 at its native size, in batches; of the
last convolutional layer the spatial mean and standard deviation are kept (4096 numbers a picture); then come
a Linear layer to 128, a GRU of 32, a Linear layer to one quality, and the temporal pooling over 12 pictures. Weights
are random here: they cost the same.

    python -m benchmarks.reference CLIP [--pictures N] [--json]
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import av
import numpy as np
import torch

from engines.backbone import IMAGENET_MEAN, IMAGENET_SD, Trunk
from engines.bundle import BUNDLED
from monitor.commands.model_arguments import open_model
from monitor.core.hysteresis import pool_offline
from monitor.ingest.pyav_source import PyAvSource
from monitor.pipeline.batcher import Batcher
from monitor.pipeline.inference import InferenceThread
from monitor.pipeline.offline import score_source
from monitor.types import StreamId

_REDUCED, _HIDDEN = 128, 32


@dataclass(frozen=True, slots=True)
class Comparison:
    """Pictures and wall-clock seconds of both, decoding included.

    Attributes:
        reference_pictures: Pictures that the reference took: the clip, or its beginning.
        reference_s: What it took for them.
        pictures: Pictures of the clip that vqwatch decoded, all of them scored.
        vqwatch_s: What that took, without opening the engine.
        ratio: Pictures a second of vqwatch over those of the reference.
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


class Reference:
    """The published pipeline with weights of a seed.

    Args:
        depth: Of the ResNet; 50 is the published one.
        batch: Pictures at once.
    """

    def __init__(self, depth: int = 50, batch: int = 8) -> None:
        torch.manual_seed(0)
        self._batch = batch
        self._trunk = Trunk(depth, colour="rgb").eval()
        self._fc = torch.nn.Linear(self._trunk.feature_size, _REDUCED)
        self._gru = torch.nn.GRU(_REDUCED, _HIDDEN, batch_first=True)
        self._q = torch.nn.Linear(_HIDDEN, 1)

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

    def _features(self, pictures: torch.Tensor) -> torch.Tensor:
        trunk = self._trunk
        x = trunk.maxpool(trunk.relu(trunk.bn1(trunk.conv1(pictures))))
        x = trunk.layer4(trunk.layer3(trunk.layer2(trunk.layer1(x)))).flatten(2)
        return torch.cat([x.mean(dim=2), x.std(dim=2)], dim=1)


def compare(clip: Path, *, model: str = BUNDLED, precision: str = "auto", pictures: int | None = None) -> Comparison:
    """Runs both, vqwatch first.

    Args:
        clip: A recording.
        model: vqwatch's bundle.
        precision: Its engine's arithmetic.
        pictures: The reference takes only so many; its cost a picture does not depend on how many there are.

    Raises:
        MonitorError: The clip cannot be read, or there is no such model.
        EngineError: The engine cannot be opened.
    """
    scoring, engine = open_model(model, "openvino", precision, 0)

    async def run() -> tuple[int, int, int, float]:
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
        assert result.info is not None
        return result.info.width, result.info.height, result.frames, took_s

    width, height, frames, took_s = asyncio.run(run())
    reference = Reference()
    started_s = time.monotonic()
    _, taken = reference.score(clip, pictures)
    reference_s = time.monotonic() - started_s
    return Comparison(
        clip=clip.name,
        width=width,
        height=height,
        engine=engine.info.name,
        precision=str(engine.info.precision),
        reference_pictures=taken,
        reference_s=round(reference_s, 3),
        pictures=frames,
        vqwatch_s=round(took_s, 3),
        ratio=round((frames / took_s) / (taken / reference_s), 2),
    )


def main(arguments: list[str] | None = None) -> int:
    """Prints the comparison."""
    parser = argparse.ArgumentParser(description="VSFA's published way of working and vqwatch on one clip")
    parser.add_argument("clip", type=Path)
    parser.add_argument("--model", default=BUNDLED, metavar="NAME|DIR")
    parser.add_argument("--precision", default="auto", choices=("auto", "f32", "bf16", "int8"))
    parser.add_argument("--pictures", type=int, metavar="N", help="the reference takes the first N pictures only")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(arguments)
    if not args.clip.is_file():
        print(f"{args.clip}: no such file", file=sys.stderr)
        return 2
    found = compare(args.clip, model=args.model, precision=args.precision, pictures=args.pictures)
    if args.json:
        print(json.dumps(asdict(found)))
        return 0
    print(f"{found.clip}, {found.width}x{found.height}, decoding included")
    rate = found.reference_pictures / found.reference_s
    print(f"VSFA as published (ResNet-50, f32, native size)  {rate:9.2f} pictures/s over {found.reference_pictures}")
    print(
        f"vqwatch ({found.engine} {found.precision})  {found.pictures / found.vqwatch_s:9.2f} pictures/s "
        f"over {found.pictures}"
    )
    print(f"ratio  {found.ratio:.1f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
