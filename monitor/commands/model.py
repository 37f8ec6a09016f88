"""``vqwatch model``: the models that are installed, and bringing in others."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from engines.bundle import bundles_folder, list_bundles, read_manifest
from monitor.commands import model_import


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's arguments."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="name, identity and input of each model")
    listing.add_argument("--json", action="store_true", help="one JSON array")
    listing.add_argument("--data-dir", type=Path, metavar="DIR", help="also look in DIR/models")
    model_import.add_arguments(
        actions.add_parser("import", help="a model's folder, or published VSFA weights and a ResNet's")
    )


def run(args: argparse.Namespace) -> int:
    """Does one action."""
    return model_import.run(args) if args.action == "import" else _list(args)


def _list(args: argparse.Namespace) -> int:
    folders = [bundles_folder(), *([args.data_dir / "models"] if args.data_dir else [])]
    rows = []
    for path in list_bundles(folders):
        manifest = read_manifest(path)
        rows.append(
            {
                "name": manifest.name,
                "version": manifest.version,
                "model": f"{manifest.name}@{manifest.numeric_hash}",
                "trunk": f"resnet{manifest.trunk.depth} x{manifest.trunk.width:g}",
                "input": str(manifest.input.mode),
                "sample_fps": manifest.sample_fps,
                "state": manifest.state.policy,
                "path": str(path),
            }
        )
    if args.json:
        print(json.dumps(rows))
        return 0
    for row in rows:
        print(
            f"{row['model']}  version {row['version']}, {row['trunk']}, {row['input']}, {row['sample_fps']:g} fps, "
            f"{row['state']}\n  {row['path']}"
        )
    return 0
