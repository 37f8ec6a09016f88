"""A study with its figures worked out, once for every reader: text, CSV and pictures."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from training.intervals import PairedDifference
from training.published import TABLE_1, Entry, Table
from training.splits import GROUPINGS
from training.study_claims import Cells, Judged, difference, judge, key_of
from training.study_figures import Measured, measure, pair_accuracy, pair_margin
from training.study_results import TRUNK_KINDS, Predictions, Study

#: The reference condition, and what it is compared with to see what time modelling adds.
REFERENCE = TABLE_1.entry("sub-GRU")
WITHOUT_TIME = TABLE_1.entry("no-time")

#: A figure of a run, by type.
TypeFigure = Callable[[Predictions], dict[str, float]]


@dataclass(frozen=True, slots=True)
class Findings:
    """A study with its figures.

    Attributes:
        study: What was run.
        cells: Figures of every cell that has runs, by configuration.
        margin: Labels of one content closer than this are not taken as ordered, label units.
        resamples: Behind every bootstrap interval.
    """

    study: Study
    cells: Cells
    margin: float
    resamples: int

    @classmethod
    def of_study(cls, study: Study, resamples: int) -> Findings:
        """Work out all figures."""
        cells = {key_of(cell): measure(cell, resamples) for cell in study.cells if cell.runs}
        return cls(study, cells, pair_margin(study.cells), resamples)

    @property
    def kinds(self) -> list[str]:
        """Kinds of trunk that have runs; where only the baseline has, those it was filed under."""
        held = {one.cell.trunk_kind for one in self.cells.values() if one.cell.depth is not None}
        return [kind for kind in TRUNK_KINDS if kind in (held or {key[0] for key in self.cells})]

    @property
    def splits(self) -> list[str]:
        """Kinds of split that have runs; tables show the first."""
        return [by for by in GROUPINGS if any(key[1] == by for key in self.cells)]

    def line(self, kind: str, by: str, entry: Entry) -> Measured | None:
        """Figures of one line of a table, or None where it was not run."""
        cell = self.study.find(kind, by, entry.row, entry.depth, entry.rate)
        return None if cell is None else self.cells[key_of(cell)]

    def lines(self, kind: str, by: str, table: Table) -> list[Measured | None]:
        """Figures of every line of a table."""
        return [self.line(kind, by, entry) for entry in table.entries]

    def judged(self, kind: str, by: str, figure: str = "srocc") -> list[Judged]:
        """Every claim."""
        return judge(self.study, self.cells, kind, by, figure)

    def pair_shares(self, run: Predictions) -> dict[str, float]:
        """Accuracy within contents, by type; all pairs under ``study_figures.ALL_PAIRS``."""
        return {kind: pairs.share for kind, pairs in pair_accuracy(run, self.margin).items()}


def per_type(one: Measured, figure: TypeFigure) -> dict[str, list[float]]:
    """A figure of every run, nan where a run has none, by type."""
    runs = [figure(run) for run in one.cell.runs]
    return {kind: [run.get(kind, math.nan) for run in runs] for kind in sorted({kind for run in runs for kind in run})}


def type_gains(found: Findings, kind: str, by: str, figure: TypeFigure) -> dict[str, PairedDifference]:
    """By type, how much better the reference is than the head without time; empty where either was not run."""
    a, b = found.line(kind, by, REFERENCE), found.line(kind, by, WITHOUT_TIME)
    if a is None or b is None:
        return {}
    of_a, of_b = per_type(a, figure), per_type(b, figure)
    none_a, none_b = [math.nan] * len(a.cell.runs), [math.nan] * len(b.cell.runs)
    return {
        each: difference(a.cell, b.cell, of_a.get(each, none_a), of_b.get(each, none_b))
        for each in sorted(of_a.keys() | of_b.keys())
    }
