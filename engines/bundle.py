"""Bundles: a folder with a manifest and weights, everything that decides a score.

Anything that can change a number for the same input enters the numeric hash, which is published with each score;
prose (description, licence) does not.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from importlib import resources
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from engines.errors import BundleError
from engines.preprocess import InputMode, InputSpec

MANIFEST = "manifest.json"
#: The bundle that ships with vqwatch.
BUNDLED = "vqwatch-base"


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputPart(_Part):
    """The trunk's input; see ``engines.preprocess.InputSpec``."""

    mode: InputMode
    grid: int = 4
    patch: int = 32
    size: int = 0
    colour: Literal["yuv", "rgb"]

    @classmethod
    def parse(cls, text: str, colour: str = "rgb") -> InputPart:
        """An input as commands take it: ``full``, ``resize:SIDE`` or ``fragments:GRIDxPATCH``.

        Raises:
            ValueError: It is none of them, or cannot be cut; the message is one line.
        """
        mode, _, numbers = text.partition(":")
        sizes = {"full": (), "resize": ("size",), "fragments": ("grid", "patch")}.get(mode)
        values = numbers.split("x") if numbers else []
        if sizes is None or len(values) != len(sizes) or not all(v.isdecimal() and len(v) < 6 for v in values):
            raise ValueError(f"an input is full, resize:SIDE or fragments:GRIDxPATCH, not {text!r}")
        spec = InputSpec(InputMode(mode), colour=colour, **dict(zip(sizes, map(int, values), strict=True)))
        return cls.model_validate(asdict(spec))

    def spec(self) -> InputSpec:
        """The same as the cutter takes it."""
        return InputSpec(self.mode, self.grid, self.patch, self.size, self.colour)


class WeightsPart(_Part):
    """A file of weights and its SHA-256 (hex)."""

    file: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Int8Part(WeightsPart):
    """A quantised graph as OpenVINO keeps it: the graph (XML) and, apart, its numbers (BIN, the same name)."""

    numbers: WeightsPart


class TrunkPart(WeightsPart):
    """The ONNX graph: (B, 3, H, W) uint8 -> (B, feature_size) float32, mean | unbiased standard deviation."""

    depth: int
    width: float
    feature_size: int
    int8: Int8Part | None = None


class HeadPart(WeightsPart):
    """The temporal head's arrays (NPZ)."""

    kind: Literal["vsfa", "vsfa-lstm", "vsfa-frame", "bottleneck", "bagged-bottleneck", "bagged-wide"]
    bounded: bool = False


class PoolingPart(_Part):
    """Hysteresis pooling, and how many samples of an epoch are left out while the recurrence warms up."""

    tau: Annotated[int, Field(ge=1)] = 12
    beta: Annotated[float, Field(ge=0, le=1)] = 0.5
    warmup: Annotated[int, Field(ge=0)] = 0


class RungPart(HeadPart):
    """A head for fewer samples a second, to which a monitor without enough power falls back, and its pooling."""

    fps: Annotated[float, Field(gt=0, le=120)]
    pooling: PoolingPart


class DomainPart(WeightsPart):
    """What pictures the trunk was trained on: mean and deviation of its features (NPZ ``mean``, ``sd``) and a limit."""

    limit: Annotated[float, Field(gt=0)]


class StatePart(_Part):
    """Policy of the recurrent state over hours.

    Attributes:
        policy: See ``monitor.core.stream_head.StatePolicy``.
        period_s: Seconds between two restarts of one state (staggered).
        settle_s: Seconds behind a cut from which on a state speaks that has seen the new shot alone (staggered);
            None: cuts are nothing to it.
    """

    policy: Literal["continuous", "staggered"] = "continuous"
    period_s: Annotated[float, Field(gt=0)] = 10.0
    settle_s: Annotated[float, Field(gt=0)] | None = None

    @model_validator(mode="after")
    def _settles_in_time(self) -> StatePart:
        if self.settle_s is not None and self.settle_s > self.period_s / 2:
            raise ValueError(f"settle_s must be at most half of period_s, got {self.settle_s:g} and {self.period_s:g}")
        return self

    def period(self, fps: Fraction) -> int:
        """The period in samples, even."""
        return max(2, round(self.period_s * fps / 2) * 2)

    def settle(self, fps: Fraction) -> int | None:
        """The same of what a new shot takes to settle."""
        return None if self.settle_s is None else min(max(1, round(self.settle_s * fps)), self.period(fps) // 2)


class CalibrationPart(_Part):
    """From pooled quality to 0-100: a piecewise linear map through (quality, score) points, flat outside.

    Before it come the logistics, in turn, each (slope, offset) as x -> 1 / (1 + exp(-(slope x + offset))); a model
    that squashes its clip score, as MDTVSFA does, is thereby kept to the digit.
    """

    logistics: tuple[tuple[Annotated[float, Field(gt=0)], float], ...] = ()
    points: tuple[tuple[float, float], ...] = ((0.0, 0.0), (1.0, 100.0))

    @model_validator(mode="after")
    def _rising(self) -> CalibrationPart:
        qualities, scores = zip(*self.points, strict=True)
        if len(self.points) < 2 or any(np.diff(qualities) <= 0) or any(np.diff(scores) < 0):
            raise ValueError("calibration points must rise in quality and not fall in score")
        return self


class Manifest(_Part):
    """What a bundle is."""

    schema_version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
    version: str
    description: str = ""
    licence: str = ""
    input: InputPart
    sample_fps: Annotated[float, Field(gt=0, le=120)] = 25.0
    side_channel: int | None = None
    trunk: TrunkPart
    head: HeadPart
    pooling: PoolingPart = PoolingPart()
    state: StatePart = StatePart()
    calibration: CalibrationPart = CalibrationPart()
    #: Lower rates, falling; each has a head of its own, since a recurrence counts samples and not seconds.
    ladder: tuple[RungPart, ...] = ()
    domain: DomainPart | None = None
    #: Half-width in points of the 90 % interval of a score against the labels it was trained on, by cause.
    uncertainty: dict[str, float] = {}
    numeric_hash: str = ""

    @model_validator(mode="after")
    def _falling(self) -> Manifest:
        rates = [self.sample_fps, *(rung.fps for rung in self.ladder)]
        if any(b >= a for a, b in pairwise(rates)):
            raise ValueError("rates of the ladder must fall, each below the one before and below sample_fps")
        return self

    def compute_hash(self) -> str:
        """Hash of everything that can change a number: 12 hex digits."""
        prose = {"name", "version", "description", "licence", "numeric_hash", "uncertainty", "domain", "schema_version"}
        parts = self.model_dump(mode="json", exclude=prose)
        for part in (parts["trunk"], parts["head"], *parts["ladder"]):
            del part["file"]
        parts["trunk"].pop("int8", None)
        if not parts["calibration"]["logistics"]:
            # Bundles that were made before there were any keep their hash.
            del parts["calibration"]["logistics"]
        if not parts["ladder"]:
            del parts["ladder"]
        if parts["state"]["settle_s"] is None:
            del parts["state"]["settle_s"]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle whose files were read and verified.

    Attributes:
        path: Its folder.
        manifest: What it is.
        head_arrays: Arrays of the head, as ``monitor.core.head.make_head`` takes them.
        rung_arrays: Of each head of the ladder, in the manifest's order.
        domain_arrays: ``mean`` and ``sd`` of the domain's features; empty without a domain.
    """

    path: Path
    manifest: Manifest
    head_arrays: dict[str, npt.NDArray[np.floating]]
    rung_arrays: tuple[dict[str, npt.NDArray[np.floating]], ...] = ()
    domain_arrays: Mapping[str, npt.NDArray[np.floating]] = field(default_factory=dict)

    @property
    def model_id(self) -> str:
        """``name@hash``, published with each score."""
        return f"{self.manifest.name}@{self.manifest.numeric_hash}"

    @property
    def trunk_path(self) -> Path:
        """The ONNX graph."""
        return self.path / self.manifest.trunk.file

    def calibrate(self, quality: float) -> float:
        """Pooled quality -> score, 0-100."""
        for slope, offset in self.manifest.calibration.logistics:
            # tanh does not overflow where exp would.
            quality = 0.5 * (1.0 + math.tanh(0.5 * (slope * quality + offset)))
        qualities, scores = zip(*self.manifest.calibration.points, strict=True)
        return float(np.interp(quality, qualities, scores))


def bundles_folder() -> Path:
    """Folder of the bundles inside the installed package."""
    return Path(str(resources.files("engines") / "models"))


def list_bundles(folders: list[Path]) -> list[Path]:
    """Folders below the given ones that hold a manifest, by name."""
    found = [m.parent for folder in folders if folder.is_dir() for m in sorted(folder.glob(f"*/{MANIFEST}"))]
    return sorted(found, key=lambda path: path.name)


def find_bundle(name: str, folders: list[Path]) -> Path:
    """A bundle by the path of its folder, or by name in the given folders and then among those that ship.

    Raises:
        BundleError: There is none; the message names those there are.
    """
    if "/" in name or Path(name).is_dir():
        return Path(name)
    known = list_bundles([*folders, bundles_folder()])
    for path in known:
        if path.name == name:
            return path
    names = ", ".join(path.name for path in known) or "none"
    raise BundleError(f"no model named {name!r}; known: {names}")


def load_bundle(path: Path) -> Bundle:
    """Reads and verifies a bundle.

    Raises:
        BundleError: Something is missing, damaged, or not what the manifest says; the message names the file.
    """
    manifest = read_manifest(path)
    int8 = manifest.trunk.int8
    domain = manifest.domain
    extras = (*((int8, int8.numbers) if int8 else ()), *((domain,) if domain else ()))
    for part in (manifest.trunk, manifest.head, *manifest.ladder, *extras):
        verify(path / part.file, part.sha256)
    expected = manifest.compute_hash()
    if manifest.numeric_hash != expected:
        raise BundleError(
            f"{path / MANIFEST}: numeric_hash is {manifest.numeric_hash or 'missing'}, but the contents give {expected}"
        )
    rungs = tuple(_arrays_of(path / rung.file) for rung in manifest.ladder)
    known = _arrays_of(path / domain.file) if domain else {}
    return Bundle(path, manifest, _arrays_of(path / manifest.head.file), rungs, known)


def _arrays_of(file: Path) -> dict[str, npt.NDArray[np.floating]]:
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in arrays.files}
    except (OSError, ValueError) as error:
        raise BundleError(f"{file}: not an NPZ file of arrays: {error}") from error


def read_manifest(path: Path) -> Manifest:
    """Reads a bundle's manifest alone.

    Raises:
        BundleError: It is missing or invalid; the message names the first key that is wrong.
    """
    file = path / MANIFEST
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except FileNotFoundError:
        raise BundleError(f"{path}: no {MANIFEST} there") from None
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "file"
        raise BundleError(f"{file}: {where}: {first['msg']}") from error


def sha256_of(file: Path) -> str:
    """SHA-256 of a file, hex."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def verify(file: Path, sha256: str) -> None:
    """Checks a file against its SHA-256.

    Raises:
        BundleError: It is missing or differs.
    """
    try:
        actual = sha256_of(file)
    except OSError as error:
        raise BundleError(f"{file}: {error.strerror}") from error
    if actual != sha256:
        raise BundleError(f"{file}: SHA-256 is {actual[:12]}..., the manifest says {sha256[:12]}...")


def write_bundle(
    path: Path,
    manifest: Manifest,
    head_arrays: dict[str, npt.NDArray[np.floating]],
    trunk: Path,
    rung_arrays: Sequence[dict[str, npt.NDArray[np.floating]]] = (),
    domain_arrays: dict[str, npt.NDArray[np.floating]] | None = None,
) -> Bundle:
    """Writes a bundle: copies the graph, saves the head, fills in hashes; returns it as loaded again.

    Args:
        path: Folder to make.
        manifest: Its hashes may be zeros.
        head_arrays: The head.
        trunk: ONNX file, which may already lie in the folder; beside it lies an int8 graph that the manifest names.
        rung_arrays: Heads of the manifest's ladder, in its order.
        domain_arrays: ``mean`` and ``sd`` of the manifest's domain.
    """
    path.mkdir(parents=True, exist_ok=True)
    target = path / manifest.trunk.file
    _copy(trunk, target)
    int8 = manifest.trunk.int8
    if int8 is not None:
        for file in (int8.file, int8.numbers.file):
            _copy(trunk.parent / file, path / file)
        numbers = int8.numbers.model_copy(update={"sha256": sha256_of(path / int8.numbers.file)})
        int8 = int8.model_copy(update={"sha256": sha256_of(path / int8.file), "numbers": numbers})
    parts: list[tuple[WeightsPart, dict[str, npt.NDArray[np.floating]]]] = [(manifest.head, head_arrays)]
    parts += zip(manifest.ladder, rung_arrays, strict=True)
    domain = manifest.domain
    if domain is not None:
        parts.append((domain, domain_arrays or {}))
    for part, arrays in parts:
        np.savez(path / part.file, **arrays)  # type: ignore[arg-type]
    filled = manifest.model_copy(
        update={
            "trunk": manifest.trunk.model_copy(update={"sha256": sha256_of(target), "int8": int8}),
            "head": manifest.head.model_copy(update={"sha256": sha256_of(path / manifest.head.file)}),
            "domain": domain and domain.model_copy(update={"sha256": sha256_of(path / domain.file)}),
            "ladder": tuple(r.model_copy(update={"sha256": sha256_of(path / r.file)}) for r in manifest.ladder),
        }
    )
    filled = filled.model_copy(update={"numeric_hash": filled.compute_hash()})
    (path / MANIFEST).write_text(filled.model_dump_json(indent=1) + "\n")
    return load_bundle(path)


def _copy(source: Path, target: Path) -> None:
    if source.resolve() != target.resolve():
        target.write_bytes(source.read_bytes())
