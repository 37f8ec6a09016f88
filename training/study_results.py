"""What a study has found: the test side of every finished run, gathered into configurations.

Every table of the study is a selection of these cells. A study may be partial; what was not run is absent.
"""

from __future__ import annotations

import csv
import math
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from training.errors import DataError

F64 = npt.NDArray[np.float64]

TRUNK_KINDS = ("imagenet", "trained", "random")
#: The baseline's row; it has no trunk, depth or rate.
CHIPQA = "ChipQA"
#: Word for undamaged clips among the distortions.
CLEAN = "clean"

_TEXTS = ("clip", "content", "stem", "distortion", "side")
_NUMBERS = ("label", "prediction")


@dataclass(frozen=True, slots=True)
class Predictions:
    """The test side of one finished run, n clips in one order.

    Attributes:
        seed: Of the split and the run.
        clips: n names, unique.
        contents: Content of every clip.
        stems: Recording that the content was cut from.
        distortions: Type of every clip, ``clean`` for undamaged ones; empty where unknown.
        labels: (n,) float64, label units.
        predicted: (n,) float64, label units.
        by_type: (n,) float64, what knowing the type alone would predict: the mean label of the clip's type over
            the clips that are not on the test side, nan where there is none; None where those are not known.
    """

    seed: int
    clips: tuple[str, ...]
    contents: tuple[str, ...]
    stems: tuple[str, ...]
    distortions: tuple[str, ...]
    labels: F64
    predicted: F64
    by_type: F64 | None = None

    def __post_init__(self) -> None:
        """Check that all parts fit.

        Raises:
            ValueError: They differ in length, or a clip is there twice.
        """
        parts = [len(self.contents), len(self.stems), len(self.distortions), *self.labels.shape, *self.predicted.shape]
        if self.by_type is not None:
            parts += self.by_type.shape
        if any(length != len(self.clips) for length in parts):
            raise ValueError(f"predictions of {len(self.clips)} clips with parts of {parts}")
        if len(set(self.clips)) != len(self.clips):
            raise ValueError("predictions hold a clip twice")


@dataclass(frozen=True, slots=True)
class Cell:
    """One configuration.

    Attributes:
        trunk_kind: One of `TRUNK_KINDS`. The baseline has no trunk: its cell counts for every kind that has none
            of its own.
        by: What its splits keep together: ``content`` or ``stem``.
        row: Name in ``training.models.ROWS``, or `CHIPQA`.
        depth: Layers of the trunk, 18, 50 or 101; None for the baseline.
        rate: ``native``, or frames per second as a word, such as ``25``; None for the baseline.
        runs: In the order of seeds.
    """

    trunk_kind: str
    by: str
    row: str
    depth: int | None
    rate: str | None
    runs: tuple[Predictions, ...]


@dataclass(frozen=True, slots=True)
class Study:
    """Everything that was run.

    Attributes:
        title: Heading of the report.
        facts: Of the data set, the recipe, the labels' provenance, versions, times: printed as they are.
        cells: No two of one configuration.
        human_labels: Whether the labels are opinions of people. Otherwise the report calls them pseudo-labels.
    """

    title: str
    facts: dict[str, str]
    cells: tuple[Cell, ...]
    human_labels: bool = False

    def __post_init__(self) -> None:
        """Check that a configuration names one cell.

        Raises:
            ValueError: Two cells have one configuration, or a cell has two runs of one seed or an unknown trunk.
        """
        keys = Counter((c.trunk_kind, c.by, c.row, c.depth, c.rate) for c in self.cells)
        if twice := [key for key, count in keys.items() if count > 1]:
            raise ValueError(f"cells given twice: {twice}")
        for cell in self.cells:
            if cell.trunk_kind not in TRUNK_KINDS:
                raise ValueError(f"trunk_kind must be one of {', '.join(TRUNK_KINDS)}, not {cell.trunk_kind!r}")
            if len({run.seed for run in cell.runs}) != len(cell.runs):
                raise ValueError(f"cell {cell.trunk_kind}/{cell.by}/{cell.row} has two runs of one seed")

    def find(self, trunk_kind: str, by: str, row: str, depth: int | None, rate: str | None) -> Cell | None:
        """The cell of a configuration, or None where it was not run.

        For the baseline, depth and rate do not matter, and another kind's cell will do.
        """
        held = [c for c in self.cells if c.runs and c.by == by and c.row == row]
        if row == CHIPQA:
            return min(held, key=lambda c: c.trunk_kind != trunk_kind, default=None)
        wanted = (trunk_kind, depth, rate)
        return next((c for c in held if (c.trunk_kind, c.depth, c.rate) == wanted), None)


def read_run(folder: Path, seed: int) -> Predictions:
    """The test side of a folder that ``training.trainer.train_run`` wrote.

    Args:
        folder: Holds ``predictions.csv``.
        seed: Of the run.

    Raises:
        DataError: The file is missing or damaged, or has no clip on the test side.
    """
    path = folder / "predictions.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file, strict=True)
            if missing := [name for name in (*_TEXTS, *_NUMBERS) if name not in (reader.fieldnames or ())]:
                raise DataError(str(path), [f"no column {name!r}" for name in missing])
            rows = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(str(path), [f"cannot be read: {error}"]) from error
    test: list[dict[str, str]] = []
    numbers: list[tuple[float, float]] = []
    others: dict[str, list[float]] = defaultdict(list)
    problems = []
    for line, row in enumerate(rows, start=2):
        try:
            # A row that is cut short has None in place of its last cells.
            label, prediction = (float(row[name]) for name in _NUMBERS)
        except (TypeError, ValueError) as error:
            problems.append(f"line {line}: {error}")
            continue
        if row["side"] == "test":
            test.append(row)
            numbers.append((label, prediction))
        else:
            others[row["distortion"]].append(label)
    if not problems and not test:
        problems.append("no clip on the test side")
    if problems:
        raise DataError(str(path), problems)
    means = {kind: float(np.mean(values)) for kind, values in others.items()}
    try:
        return Predictions(
            seed=seed,
            clips=tuple(row["clip"] for row in test),
            contents=tuple(row["content"] for row in test),
            stems=tuple(row["stem"] for row in test),
            distortions=tuple(row["distortion"] for row in test),
            labels=np.array([label for label, _ in numbers]),
            predicted=np.array([prediction for _, prediction in numbers]),
            by_type=np.array([means.get(row["distortion"], math.nan) for row in test]),
        )
    except ValueError as error:
        raise DataError(str(path), [str(error)]) from error
