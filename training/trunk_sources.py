"""Trunks by name: of a bundle or folder, with ImageNet weights, of this repository's training, or untrained."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from zipfile import BadZipFile

import numpy as np
import torch
from torch import nn

from engines.backbone import DEPTHS, Trunk, load_backbone_weights
from engines.bundle import InputPart, sha256_of
from engines.preprocess import InputMode, InputSpec
from training import trunk as trunk_training
from training.errors import DataError, UsageError
from training.imagenet import imagenet_state
from training.synthesis import SPEC
from training.trunk_graph import RECORD, TrunkGraph, write_trunk

KINDS = ("imagenet", "trained", "random")
#: Trunks that were trained here on impaired stills, and their width; no frame of any clip was in it.
WEIGHTS = Path(__file__).parent / "trunks"
#: Channel multiplier of small trunks.
SMALL = 0.25


@dataclass(frozen=True, slots=True)
class TrunkChoice:
    """A trunk that can be made.

    Attributes:
        kind: ``imagenet``, ``trained`` or ``random``.
        depth: Of the ResNet.
        input: What it takes.
        width: Channel multiplier.
        weights: Own file of weights; None for the usual place.
        seed: Of a random one.
    """

    kind: str
    depth: int
    input: InputSpec
    width: float = 1.0
    weights: Path | None = None
    seed: int = 0

    @property
    def name(self) -> str:
        """For folders: kind, depth, width, input, and what is not of the usual kind: own weights, another seed."""
        spec = self.input
        cut = {"full": "full", "resize": f"resize{spec.size}", "fragments": f"fragments{spec.grid}x{spec.patch}"}
        width = "" if self.width == 1 else f"-x{self.width:g}"
        own = f"-{sha256_of(self.weights)[:8]}" if self.weights else ""
        own += f"-seed{self.seed}" if self.seed else ""
        return f"{self.kind}-resnet{self.depth}{width}-{cut[spec.mode.value]}{own}"

    def make(self, folder: Path) -> TrunkGraph:
        """Exports it into ``folder / name``.

        A random trunk that is there is kept: its statistics are sums, whose last digits follow the machine's number
        of threads, and features in the cache are found by the graph's digest.

        Raises:
            DataError: There are no such weights, or they do not fit.
            TrainingError: ImageNet weights can be had from nowhere.
        """
        try:
            target = folder / self.name
        except OSError as error:
            raise DataError(str(self.weights), [f"cannot be read: {error.strerror}"]) from error
        if self.kind == "random" and (target / RECORD).is_file():
            return TrunkGraph.load(target)
        torch.manual_seed(self.seed)
        trunk = Trunk(self.depth, width=self.width, colour=self.input.colour)
        if self.kind == "imagenet":
            state = imagenet_state(self.depth, self.weights)
            try:
                load_backbone_weights(trunk, state)
            except ValueError as error:
                raise DataError(str(self.weights or f"resnet{self.depth}"), [str(error)]) from error
        elif self.kind == "trained":
            trunk.load_state_dict(trained_state(self.weights or default_weights(self.depth), self.depth, self.width))
        else:
            settle_statistics(trunk, self.input, self.seed)
        return write_trunk(trunk, self.input, target, self.name)


def default_weights(depth: int) -> Path:
    """Where the small trunk of a depth lies in this package."""
    return WEIGHTS / f"resnet{depth}.npz"


def trained_state(file: Path, depth: int, width: float) -> dict[str, torch.Tensor]:
    """Weights of a trunk: the package's half-precision archive, or a file of ``python -m training trunk``.

    Raises:
        DataError: It is missing, damaged, or of another architecture.
    """
    wanted = Trunk(depth, width=width).state_dict()
    try:
        if file.suffix == ".npz":
            # Opened here: numpy leaves a damaged archive open.
            with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                state = {name: torch.from_numpy(stored[name].astype(np.float32)) for name in stored.files}
        else:
            model = trunk_training.load(file)
            if (model.trunk.depth, model.trunk.width) != (depth, width):
                raise ValueError(f"ResNet-{model.trunk.depth} x{model.trunk.width:g}, wanted {depth} x{width:g}")
            return model.trunk.state_dict()
    except (OSError, ValueError, LookupError, TypeError, RuntimeError, EOFError, BadZipFile, UnpicklingError) as error:
        told = " ".join(str(error).split()) or type(error).__name__
        raise DataError(file.name, [f"holds no trunk: {told}"]) from error
    missing = [n for n, v in wanted.items() if not n.endswith("num_batches_tracked") and n not in state]
    wrong = [n for n, v in state.items() if n not in wanted or wanted[n].shape != v.shape]
    if missing or wrong:
        raise DataError(file.name, [f"is not a ResNet-{depth} x{width:g}: {', '.join([*missing, *wrong][:3])}"])
    for name, value in wanted.items():
        state.setdefault(name, value)
    return state


@torch.no_grad()
def settle_statistics(trunk: Trunk, spec: InputSpec, seed: int) -> None:
    """Gives an untrained trunk the batch statistics of seeded noise with the spectrum of pictures (1/f).

    Without them activations double with every block, and a deep trunk's features are numbers without meaning.
    """
    rng = np.random.default_rng(seed)
    side = 128
    radius = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side))) + 1 / side
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((32, 3, side, side))) / radius).real
    noise = (noise - noise.mean((2, 3), keepdims=True)) / noise.std((2, 3), keepdims=True)
    spread = np.array([50, 20, 20] if spec.colour == "yuv" else [55, 55, 55]).reshape(1, 3, 1, 1)
    pixels = torch.from_numpy(np.clip(noise * spread + 122, 0, 255).astype(np.uint8))
    norms = [module for module in trunk.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None  # the mean of what is seen, not a moving one
    trunk.train()
    trunk(pixels)
    trunk.eval()


def parse_input(text: str) -> InputSpec:
    """``full``, ``resize:540`` or ``fragments:4x32``; the first two are RGB, fragments are YUV.

    Raises:
        UsageError: It is none of these, or of impossible sizes.
    """
    try:
        return InputPart.parse(text, "yuv" if text.startswith("fragments") else "rgb").spec()
    except ValueError as error:
        raise UsageError(str(error)) from error


def choose_trunk(text: str, spec: InputSpec | None, width: float | None, weights: Path | None) -> TrunkChoice:
    """A trunk by ``imagenet:50``, ``trained:18`` or ``random:101``.

    Args:
        text: Kind and depth.
        spec: Input; default: full pictures for ImageNet weights, as VSFA, and the fragments that the small
            trunks were trained on for the others.
        width: Default: 1 for ImageNet weights, 0.25 for the others.
        weights: Own file.

    Raises:
        UsageError: No such kind or depth, or they do not go together.
    """
    kind, _, depth = text.partition(":")
    if kind not in KINDS or depth not in {str(d) for d in DEPTHS}:
        raise UsageError(f"a trunk is a folder, a bundle's name, or KIND:DEPTH ({', '.join(KINDS)}: 18, 50, 101)")
    if kind == "imagenet":
        if width not in (None, 1.0):
            raise UsageError("ImageNet weights are of width 1")
        default = InputSpec(InputMode.FULL, colour="rgb")
        spec = spec or default
        if spec.colour == "yuv":
            # The patches' planes are converted to the colours that the weights know.
            spec = InputSpec(spec.mode, spec.grid, spec.patch, spec.size, "rgb")
        return TrunkChoice(kind, int(depth), spec, 1.0, weights)
    if weights is not None and kind == "random":
        raise UsageError("a random trunk takes no weights")
    return TrunkChoice(kind, int(depth), spec or SPEC, SMALL if width is None else width, weights)
