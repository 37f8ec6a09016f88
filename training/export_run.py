"""``python -m training export``: a trained head of the study and its trunk become a bundle that the monitor runs."""

from __future__ import annotations

import argparse
import math
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from engines.bundle import (
    MANIFEST,
    Bundle,
    CalibrationPart,
    HeadPart,
    InputPart,
    Manifest,
    PoolingPart,
    StatePart,
    TrunkPart,
    sha256_of,
    write_bundle,
)
from engines.export import trunk_from_onnx
from training.errors import DataError, UsageError
from training.feature_extraction import NATIVE, parse_rate
from training.losses import ScaledL1Loss
from training.models import HEAD_KINDS, HeadConfig, to_arrays
from training.trainer import Criterion, load_run
from training.trunk_graph import TrunkGraph

#: Labels that reach no further than this could as well be of a scale that ends at 1, 5 or 10.
_SMALL_SCALE = 10.0
#: The scale that scores are shown on.
_AS_SHOWN: Final = (0.0, 100.0)
_UNFILLED = "0" * 64


@dataclass(frozen=True, slots=True)
class ExportedTrunk:
    """The trunk whose features a head was trained on, as a bundle takes it.

    Attributes:
        onnx: The graph.
        part: What the manifest says of it.
        input: What it takes.
        identity: Of ``TrunkGraph``; empty for a bare graph.
    """

    onnx: Path
    part: TrunkPart
    input: InputPart
    identity: str = ""

    @classmethod
    def of_graph(cls, graph: TrunkGraph) -> ExportedTrunk:
        """Of a folder of a trunk or a bundle."""
        part = _trunk_part(graph.sha256, graph.depth, graph.width, graph.feature_size)
        return cls(graph.onnx, part, InputPart.model_validate(asdict(graph.input)), graph.identity)

    @classmethod
    def of_file(cls, onnx: Path, *, depth: int, width: float, input: InputPart) -> ExportedTrunk:
        """Of a graph that ``engines.export`` wrote, by its path.

        Raises:
            DataError: It is not one of this depth and width.
        """
        try:
            trunk = trunk_from_onnx(onnx, depth=depth, width=width, colour=input.colour)
            digest = sha256_of(onnx)
        except Exception as error:
            # onnx raises what protobuf does, which is no common type.
            raise DataError(onnx.name, [f"is no graph of a trunk: {' '.join(str(error).split())}"]) from error
        return cls(onnx, _trunk_part(digest, depth, width, trunk.feature_size), input)


def _trunk_part(sha256: str, depth: int, width: float, feature_size: int) -> TrunkPart:
    return TrunkPart(file="trunk.onnx", sha256=sha256, depth=depth, width=width, feature_size=feature_size)


def calibration_of(criterion: Criterion, domain: int, scale: tuple[float, float]) -> CalibrationPart:
    """The map from a head's clip score, before any sigmoid of its own, to 0-100.

    It is that of `criterion.align`, then the line that takes the label scale to 0-100; exact, but for scores that
    would lie outside 0-100, which are cut there.

    Args:
        criterion: Of the run.
        domain: Label source, by number.
        scale: Labels that are shown as 0 and 100.

    Raises:
        UsageError: The run's map falls, so that its better clips would score lower.
    """
    low, high = scale
    factor = criterion.scale[domain].item()
    if isinstance(criterion, ScaledL1Loss):
        return CalibrationPart(points=((low / factor, 0.0), (high / factor, 100.0)))
    slope, offset, bias = criterion.slope.item(), criterion.offset.item(), criterion.bias[domain].item()
    if slope <= 0 or factor <= 0:
        raise UsageError("the run's map from its score to labels does not rise; it has not learned to score")
    return CalibrationPart(
        # The head's own sigmoid, which stands behind the mean over the clip, and the logistic of all domains.
        logistics=((1.0, 0.0), (slope, offset)),
        points=(((low - bias) / factor, 0.0), ((high - bias) / factor, 100.0)),
    )


def pooling_of(config: HeadConfig) -> PoolingPart:
    """A head's pooling; a window of one sample leaves qualities as they are, which is the plain mean."""
    tau = config.tau if config.pooling == "hysteresis" else 1
    return PoolingPart(tau=tau, beta=config.beta, warmup=0)


def export_run(
    run: Path,
    trunk: ExportedTrunk,
    out: Path,
    *,
    fps: float | None = None,
    scale: tuple[float, float] | None = None,
    domain: str | None = None,
    name: str | None = None,
    version: str = "1.0.0",
    description: str = "",
) -> Bundle:
    """Writes the bundle.

    Args:
        run: Folder of a finished run.
        trunk: What its features were made with.
        out: Folder to make.
        fps: Samples a second of its features; None: what the run says of them, or 25 where it says nothing.
        scale: Labels that are shown as 0 and 100; None: 0 and 100, where the run's labels reach beyond 10.
        domain: Label source whose scale is shown; None: the run's only one.
        name: Of the bundle; None: the folder's.
        version: Of the bundle.
        description: Put before what is written about the run and its scale.

    Raises:
        UsageError: Domain, scale, name or folder cannot be.
        DataError: Run and trunk do not go together.
    """
    head, criterion, _, config = load_run(run)
    ranges: dict[str, list[float]] = config["ranges"]  # type: ignore[assignment]
    if head.config.features != trunk.part.feature_size:
        raise DataError(
            run.name, [f"was trained on {head.config.features} features, the trunk gives {trunk.part.feature_size}"]
        )
    if (out / MANIFEST).exists():
        raise UsageError(f"{out} holds a model")
    made_of: dict[str, str] = config.get("features") or {}  # type: ignore[assignment]
    if made_of.get("identity") and trunk.identity and made_of["identity"] != trunk.identity:
        raise DataError(
            run.name, [f"was trained on features of {made_of['trunk']} ({made_of['identity']}), another trunk"]
        )
    fps = _fps(made_of.get("fps"), fps)
    domain = _domain(ranges, domain)
    scale = _scale(ranges[domain], scale)
    told = f"Head {config['row'] or head.config.cell} of seed {config['seed']}; {_mapping(scale)}."
    try:
        manifest = Manifest(
            name=out.name.lower() if name is None else name,
            version=version,
            description=" ".join([*([description] if description else []), told]),
            input=trunk.input,
            sample_fps=fps,
            trunk=trunk.part,
            # The sigmoid of a bounded head stands behind the clip's mean, hence in the calibration.
            head=HeadPart(file="head.npz", sha256=_UNFILLED, kind=HEAD_KINDS[head.config.cell], bounded=False),
            pooling=pooling_of(head.config),
            state=StatePart(policy="continuous"),
            calibration=calibration_of(criterion, list(ranges).index(domain), scale),
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return write_bundle(out, manifest, dict(to_arrays(head)), trunk.onnx)


def _fps(of_run: str | None, wanted: float | None) -> float:
    if wanted is None and of_run == NATIVE:
        raise UsageError("the run's features are at the clips' native rates, a bundle samples at one: --fps says which")
    known = float(Fraction(of_run)) if of_run not in (None, NATIVE) else None
    if wanted is not None and known is not None and wanted != known:
        raise UsageError(f"the run's features are at {known:g} samples a second, not {wanted:g}")
    return wanted or known or 25.0


def _domain(ranges: dict[str, list[float]], wanted: str | None) -> str:
    if wanted is None and len(ranges) == 1:
        return next(iter(ranges))
    if wanted not in ranges:
        known = ", ".join(repr(name) for name in ranges)
        need = "--domain says whose scale is shown" if wanted is None else f"no label source {wanted!r}"
        raise UsageError(f"{need}; the run's are {known}")
    return wanted


def _scale(labels: list[float], wanted: tuple[float, float] | None) -> tuple[float, float]:
    lowest, highest = labels
    if wanted is None:
        if lowest < 0 or not _SMALL_SCALE < highest <= 100:
            raise UsageError(
                f"the run's labels go from {lowest:g} to {highest:g}: --scale MIN,MAX says which are shown as 0 and 100"
            )
        return _AS_SHOWN
    if lowest < wanted[0] or highest > wanted[1]:
        raise UsageError(f"the run's labels go from {lowest:g} to {highest:g}, beyond --scale {_plain(wanted)}")
    return wanted


def _mapping(scale: tuple[float, float]) -> str:
    if scale == _AS_SHOWN:
        return "scores are its predicted labels, cut to 0-100"
    return f"scores are its predicted labels, {scale[0]:g} shown as 0 and {scale[1]:g} as 100, cut there"


def _plain(scale: tuple[float, float]) -> str:
    return f"{scale[0]:g},{scale[1]:g}"


def parse_scale(text: str) -> tuple[float, float]:
    """``MIN,MAX`` of a label scale, for argparse."""
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise argparse.ArgumentTypeError(f"a label scale is MIN,MAX, such as 1,5, not {text!r}")
    return low, high


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    parser.add_argument("run", type=Path, metavar="RUN", help="folder of a finished run")
    parser.add_argument(
        "--trunk",
        metavar="TRUNK",
        help="what its features were made with: folder of a trunk or bundle, a bundle's name, or FILE.onnx "
        "(default: as the run says)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the bundle")
    parser.add_argument("--fps", metavar="RATE", help="samples a second of its features (default: as the run says)")
    parser.add_argument(
        "--scale", type=parse_scale, metavar="MIN,MAX", help="labels that are shown as 0 and 100 (default: 0,100)"
    )
    parser.add_argument("--domain", metavar="NAME", help="of several label sources, the one whose scale is shown")
    parser.add_argument("--name", help="of the bundle (default: the folder's)")
    parser.add_argument("--version", default="1.0.0")
    parser.add_argument("--description", default="", help="prose for its manifest")
    group = parser.add_argument_group("what FILE.onnx is")
    group.add_argument("--depth", type=int, choices=(18, 50, 101))
    group.add_argument("--width", type=float, default=1.0)
    group.add_argument("--colour", choices=("rgb", "yuv"), default="rgb")
    group.add_argument("--input", metavar="MODE", help="full, resize:SIDE or fragments:GRIDxPATCH")


def run(args: argparse.Namespace) -> int:
    """Writes the bundle and prints its identity."""
    rate = None if args.fps is None else parse_rate(args.fps)
    if rate == NATIVE:
        raise UsageError("a bundle samples at one rate: --fps takes a number")
    bundle = export_run(
        args.run,
        _trunk(args),
        args.out,
        fps=None if rate is None else float(Fraction(rate)),
        scale=args.scale,
        domain=args.domain,
        name=args.name,
        version=args.version,
        description=args.description,
    )
    print(bundle.model_id)
    print(f"{args.out}: {bundle.manifest.description}", file=sys.stderr)
    return 0


def _trunk(args: argparse.Namespace) -> ExportedTrunk:
    if args.trunk is None:
        made_of: dict[str, str] = load_run(args.run)[3].get("features") or {}  # type: ignore[assignment]
        if "folder" not in made_of:
            raise UsageError(f"{args.run} does not say where its trunk is: --trunk does")
        return ExportedTrunk.of_graph(TrunkGraph.find(made_of["folder"]))
    if not args.trunk.endswith(".onnx"):
        return ExportedTrunk.of_graph(TrunkGraph.find(args.trunk))
    if args.depth is None or args.input is None:
        raise UsageError("a graph does not say what it takes: FILE.onnx needs --depth and --input")
    try:
        taken = InputPart.parse(args.input, args.colour)
    except ValueError as error:
        raise UsageError(str(error)) from error
    return ExportedTrunk.of_file(Path(args.trunk), depth=args.depth, width=args.width, input=taken)
