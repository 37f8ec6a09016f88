"""A trunk on disk: its ONNX graph and what it takes, as the monitor's engines run it; a bundle without a head.

A folder holds ``trunk.onnx`` and ``trunk.json``.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from engines.backbone import Trunk
from engines.bundle import (
    Bundle,
    HeadPart,
    InputPart,
    Manifest,
    TrunkPart,
    find_bundle,
    load_bundle,
    sha256_of,
    verify,
)
from engines.export import export_onnx
from engines.preprocess import InputMode, InputSpec
from training.errors import DataError

GRAPH, RECORD = "trunk.onnx", "trunk.json"
_NO_HEAD = HeadPart(file="none", sha256="0" * 64, kind="vsfa")


@dataclass(frozen=True, slots=True)
class TrunkGraph:
    """One trunk.

    Attributes:
        name: For people and for folders.
        folder: Where it lies.
        depth: Of the ResNet.
        width: Channel multiplier.
        feature_size: F.
        input: What it takes.
        sha256: Of the graph, hex.
    """

    name: str
    folder: Path
    depth: int
    width: float
    feature_size: int
    input: InputSpec
    sha256: str

    @property
    def onnx(self) -> Path:
        """The graph."""
        return self.folder / GRAPH

    @property
    def identity(self) -> str:
        """12 hex digits of everything that can change a feature of the same picture, but the precision."""
        record = json.dumps([self.sha256, asdict(self.input)], sort_keys=True)
        return hashlib.sha256(record.encode()).hexdigest()[:12]

    def bundle(self) -> Bundle:
        """As engines take it; it has no head to score with."""
        manifest = Manifest(
            name=self.name,
            version="0",
            input=InputPart(**asdict(self.input)),
            trunk=TrunkPart(
                file=GRAPH, sha256=self.sha256, depth=self.depth, width=self.width, feature_size=self.feature_size
            ),
            head=_NO_HEAD,
            numeric_hash=self.identity,
        )
        return Bundle(self.folder, manifest, {})

    @classmethod
    def load(cls, folder: Path) -> TrunkGraph:
        """Reads and verifies a folder: one of `write_trunk`, or a whole bundle.

        Raises:
            DataError: It is neither.
            BundleError: It is a bundle, but a damaged one, or the graph is not the recorded one.
        """
        file = folder / RECORD
        if not file.is_file():
            bundle = load_bundle(folder)
            part = bundle.manifest.trunk
            if part.file != GRAPH:
                raise DataError(str(folder), [f"its graph is {part.file}, not {GRAPH}"])
            spec = bundle.manifest.input.spec()
            return cls(bundle.manifest.name, folder, part.depth, part.width, part.feature_size, spec, part.sha256)
        try:
            record = json.loads(file.read_text(encoding="utf-8"))
            spec = InputSpec(InputMode(record["input"].pop("mode")), **record.pop("input"))
            found = cls(folder=folder, input=spec, **record)
        except (ValueError, KeyError, TypeError, AttributeError, OSError) as error:
            raise DataError(str(file), [f"is no record of a trunk: {error}"]) from error
        verify(found.onnx, found.sha256)
        return found

    @classmethod
    def find(cls, name: str) -> TrunkGraph:
        """By the path of its folder, or the name of a bundle that ships.

        Raises:
            DataError: The folder is neither a trunk nor a bundle.
            BundleError: There is no such bundle, or it is damaged.
        """
        return cls.load(Path(name) if Path(name).is_dir() else find_bundle(name, []))


def write_trunk(trunk: Trunk, spec: InputSpec, folder: Path, name: str) -> TrunkGraph:
    """Exports a trunk; an interrupted export leaves no record, and is done again."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / RECORD).unlink(missing_ok=True)
    export_onnx(trunk, spec, folder / GRAPH)
    made = TrunkGraph(name, folder, trunk.depth, trunk.width, trunk.feature_size, spec, sha256_of(folder / GRAPH))
    record = {
        "name": name,
        "depth": made.depth,
        "width": made.width,
        "feature_size": made.feature_size,
        "input": asdict(spec),
        "sha256": made.sha256,
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return made
