"""Cached frame features of a data set with its labels: what heads are trained and tested on.

On disk a feature set is a CSV index of ``.npy`` files, one per clip, (T, F) each, in any float type.
"""

from __future__ import annotations

import csv
import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.clips import Clip
from training.errors import DataError
from training.splits import GROUPINGS

Features = npt.NDArray[np.floating]

_COLUMNS = ("features", "score", "content", "stem", "distortion", "domain", "clip")
_REQUIRED = _COLUMNS[:3]


@dataclass(frozen=True, slots=True)
class FeatureSet:
    """Features and labels of n clips, in one order.

    Attributes:
        names: Clip names, unique.
        features: n arrays (T_i, F), T_i >= 1; may be memory maps.
        labels: (n,) float64 opinion scores, higher is better.
        contents: Content of every clip.
        stems: Recording that the content was cut from.
        distortions: Word of ``monitor.types.CAUSES``, or empty.
        domains: Name of the label source; clips of one domain share a scale of labels.
        made_of: What the features were made with (trunk, its identity and folder, fps, ...); empty where unknown.
    """

    names: tuple[str, ...]
    features: tuple[Features, ...]
    labels: npt.NDArray[np.float64]
    contents: tuple[str, ...]
    stems: tuple[str, ...]
    distortions: tuple[str, ...]
    domains: tuple[str, ...]
    made_of: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check that all parts fit.

        Raises:
            DataError: Names everything that does not.
        """
        parts = (self.features, self.labels, self.contents, self.stems, self.distortions, self.domains)
        if any(len(part) != len(self.names) for part in parts):
            raise DataError("feature set", [f"parts of different lengths: {[len(part) for part in parts]}"])
        if not self.names:
            raise DataError("feature set", ["no clips"])
        widths = {array.shape[1] for array in self.features if array.ndim == 2}
        common = max(widths, default=0)
        problems = [
            f"{name}: features must be (T >= 1, {common}), got {array.shape}"
            for name, array in zip(self.names, self.features, strict=True)
            if array.ndim != 2 or array.shape[0] < 1 or array.shape[1] != common
        ]
        problems += [f"{name}: listed twice" for name, count in Counter(self.names).items() if count > 1]
        problems += [
            f"{name}: score is {label}"
            for name, label in zip(self.names, self.labels, strict=True)
            if not math.isfinite(label)
        ]
        if problems:
            raise DataError("feature set", problems)

    @property
    def width(self) -> int:
        """F."""
        return int(self.features[0].shape[1])

    def groups(self, by: str) -> tuple[str, ...]:
        """Group of every clip for a split: ``content`` or ``stem``."""
        if by not in GROUPINGS:
            raise ValueError(f"clips are grouped by {' or '.join(GROUPINGS)}, not {by!r}")
        return self.contents if by == "content" else self.stems


def load_features(path: Path) -> Features:
    """One clip's features, as a read-only memory map.

    Raises:
        DataError: The file is missing, damaged, not (T >= 1, F) floats, or holds a value that is not finite.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(path.name, [f"cannot be read as .npy: {error}"]) from error
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.shape[0] < 1 or array.dtype.kind != "f":
        shape = f"{array.shape} {array.dtype}" if isinstance(array, np.ndarray) else "an archive"
        raise DataError(path.name, [f"features must be (T >= 1, F) floats, got {shape}"])
    if not np.isfinite(array).all():
        raise DataError(path.name, ["features hold values that are not finite"])
    return array


def read_feature_set(index: Path) -> FeatureSet:
    """Read an index and map its features.

    Args:
        index: CSV with the columns ``features`` (path relative to the index), ``score``, ``content`` and,
            where wanted, ``stem`` (default: content), ``distortion``, ``domain`` and ``clip`` (its name; default:
            the path).

    Raises:
        DataError: Names every row and file that cannot be used.
    """
    try:
        with index.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [column for column in _REQUIRED if column not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(index.name, [f"cannot be read: {error}"]) from error
    if missing:
        raise DataError(index.name, [f"no column {column!r}" for column in missing])
    kept: list[tuple[str, Features, float, dict[str, str]]] = []
    problems: list[str] = []
    for line, row in enumerate(rows, start=2):
        cells = {column: (row.get(column) or "").strip() for column in _COLUMNS}
        try:
            if not cells["features"] or not cells["content"]:
                raise ValueError("features and content must not be empty")
            array = load_features(index.parent / cells["features"])
            name = cells["clip"] or Path(cells["features"]).with_suffix("").as_posix()
            kept.append((name, array, float(cells["score"]), cells))
        except (ValueError, DataError) as error:
            problems.append(f"line {line}: {error}")
    if problems:
        raise DataError(index.name, problems)
    return FeatureSet(
        names=tuple(name for name, _, _, _ in kept),
        features=tuple(array for _, array, _, _ in kept),
        labels=np.array([label for _, _, label, _ in kept], dtype=np.float64),
        contents=tuple(cells["content"] for _, _, _, cells in kept),
        stems=tuple(cells["stem"] or cells["content"] for _, _, _, cells in kept),
        distortions=tuple(cells["distortion"] for _, _, _, cells in kept),
        domains=tuple(cells["domain"] for _, _, _, cells in kept),
        made_of=_made_of(index.with_suffix(".json")),
    )


def _made_of(record: Path) -> dict[str, str]:
    """What stands beside an index; an index made elsewhere has nothing there."""
    if not record.is_file():
        return {}
    try:
        return {str(key): str(value) for key, value in json.loads(record.read_text(encoding="utf-8")).items()}
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(record.name, [f"is no record of features: {error}"]) from error


def write_index(index: Path, clips: Sequence[Clip], files: Sequence[Path], domain: str = "") -> None:
    """Write the index of features; paths in it are relative to it, so both may be moved together.

    Args:
        index: CSV to write.
        clips: What the features are of.
        files: ``.npy`` file of every clip.
        domain: Name of the label source, for training on several.
    """
    with index.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow(_COLUMNS)
        for clip, file in zip(clips, files, strict=True):
            relative = Path(os.path.relpath(file, index.parent)).as_posix()
            # repr keeps every digit of the label.
            row = (relative, repr(clip.label), clip.content, clip.stem, clip.distortion or "", domain, clip.name)
            writer.writerow(row)
