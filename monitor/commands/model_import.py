"""``vqwatch model import``: a bundle from elsewhere, or one made of published VSFA weights and a ResNet's."""

from __future__ import annotations

import argparse
import shutil
import tempfile
from pathlib import Path

from pydantic import ValidationError

from engines.bundle import (
    MANIFEST,
    Bundle,
    HeadPart,
    InputPart,
    Manifest,
    TrunkPart,
    load_bundle,
    write_bundle,
)
from engines.errors import BundleError, EngineUnavailable
from monitor.core.head import make_head
from monitor.errors import UsageError
from monitor.pipeline.bundle_scoring import BundleScoring

_UNFILLED = "0" * 64


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this action's arguments."""
    parser.add_argument("bundle", nargs="?", type=Path, metavar="FOLDER", help="a model's folder, to check and copy")
    weights = parser.add_argument_group("instead of FOLDER (needs torch: pip install 'vqwatch[train]')")
    weights.add_argument("--head", type=Path, metavar="VSFA.pt", help="released VSFA head")
    weights.add_argument("--backbone", type=Path, metavar="FILE.pth", help="ResNet weights in torchvision's format")
    weights.add_argument("--depth", type=int, choices=(18, 50, 101), default=50, help="of the ResNet (default 50)")
    weights.add_argument(
        "--input", default="full", metavar="MODE", help="full (default, as VSFA), resize:SIDE or fragments:GRIDxPATCH"
    )
    weights.add_argument("--fps", type=float, default=25.0, metavar="N", help="samples a second (default 25)")
    parser.add_argument("--name", help="of the model (default: the folder's own, or vsfa)")
    place = parser.add_mutually_exclusive_group(required=True)
    place.add_argument("--data-dir", type=Path, metavar="DIR", help="put it into DIR/models, where `run` looks")
    place.add_argument("--out", type=Path, metavar="DIR", help="make it this folder, for --model DIR")


def run(args: argparse.Namespace) -> int:
    """Makes the bundle and prints its identity and folder."""
    given = [option for option in ("head", "backbone") if getattr(args, option) is not None]
    if (args.bundle is not None) == bool(given) or len(given) == 1:
        raise UsageError("model import takes a model's folder, or both --head and --backbone")
    bundle = _copied(args) if args.bundle is not None else _made(args)
    print(f"{bundle.model_id}\n  {bundle.path}")
    return 0


def _folder(args: argparse.Namespace, name: str) -> Path:
    """Where the model goes; nothing is there yet."""
    folder: Path = args.out if args.out is not None else args.data_dir / "models" / name
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise UsageError(f"{folder} is there already; remove it, or give another --name or --out")
    return folder


def _valid(**fields: object) -> Manifest:
    """A manifest of options.

    Raises:
        UsageError: One of them cannot be.
    """
    try:
        return Manifest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise UsageError(f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error


def _copied(args: argparse.Namespace) -> Bundle:
    bundle = load_bundle(args.bundle)
    BundleScoring.of(bundle)
    manifest = bundle.manifest
    if args.name:
        manifest = _valid(**manifest.model_dump() | {"name": args.name})
    folder = _folder(args, manifest.name)
    try:
        # The manifest comes last: a folder without one is no model.
        shutil.copytree(args.bundle, folder, ignore=shutil.ignore_patterns(MANIFEST), dirs_exist_ok=True)
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=1) + "\n")
    except OSError as error:
        raise BundleError(f"{folder}: cannot be written: {error}") from error
    return load_bundle(folder)


def _made(args: argparse.Namespace) -> Bundle:
    try:
        taken = InputPart.parse(args.input)
    except ValueError as error:
        raise UsageError(str(error)) from error
    manifest = _valid(
        name=args.name or "vsfa",
        version="1",
        description=f"Imported: VSFA head of {args.head.name}, ResNet-{args.depth} of {args.backbone.name}",
        input=taken,
        sample_fps=args.fps,
        trunk=TrunkPart(file="trunk.onnx", sha256=_UNFILLED, depth=args.depth, width=1.0, feature_size=1),
        head=HeadPart(file="head.npz", sha256=_UNFILLED, kind="vsfa"),
    )
    folder = _folder(args, manifest.name)
    try:
        from engines.export import export_onnx
        from engines.vsfa_weights import read_trunk, read_vsfa_head
    except ImportError as error:
        raise EngineUnavailable(
            f"making a model of weights needs {error.name or 'torch'}: pip install 'vqwatch[train]'"
        ) from error
    head = read_vsfa_head(args.head)
    try:
        width = make_head(manifest.head.kind, head).feature_size
    except ValueError as error:
        raise BundleError(f"{args.head}: {error}") from error
    trunk = read_trunk(args.backbone, args.depth)
    if width != trunk.feature_size:
        raise BundleError(f"{args.head} takes {width} features, ResNet-{args.depth} gives {trunk.feature_size}")
    part = manifest.trunk.model_copy(update={"feature_size": trunk.feature_size})
    manifest = manifest.model_copy(update={"trunk": part})
    with tempfile.TemporaryDirectory(prefix="vqwatch-") as scratch:
        graph = Path(scratch) / manifest.trunk.file
        export_onnx(trunk, manifest.input.spec(), graph)
        try:
            return write_bundle(folder, manifest, dict(head), graph)
        except OSError as error:
            raise BundleError(f"{folder}: cannot be written: {error.strerror or error}") from error
