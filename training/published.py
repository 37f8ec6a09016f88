"""The published study's tables: which configurations each compares, its figures, and what it claims by them.

Source: Fontanel, Higham, Vallade, "On the Importance of Spatio-Temporal Learning for Video Quality Assessment"
(2023), on LIVE-APV (315 clips of 45 contents, opinion scores of people, ImageNet trunks, mean over five runs).
Figure 4 prints 10 and 5 fps as changes from 25 fps; they are added up here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from training.study_results import CHIPQA

CITATION = (
    "Fontanel, Higham, Vallade: On the Importance of Spatio-Temporal Learning for Video Quality Assessment (2023)"
)

#: The figures that the paper prints.
FIGURES = ("srocc", "krocc", "lcc")


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a table.

    Attributes:
        label: What the line is called.
        row: Head, as in ``training.models.ROWS``, or the baseline's name.
        depth: Layers of the trunk; None for the baseline.
        rate: Frame rate; None for the baseline.
        srocc: Published mean.
        krocc: Published mean; nan where not given.
        lcc: Published mean; nan where not given.
        srocc_sd: Published standard deviation over runs; nan where not given.
    """

    label: str
    row: str
    depth: int | None
    rate: str | None
    srocc: float
    krocc: float = math.nan
    lcc: float = math.nan
    srocc_sd: float = math.nan

    def mean(self, figure: str) -> float:
        """Published mean of a figure; nan where not given."""
        return float(getattr(self, figure)) if figure in FIGURES else math.nan

    def sd(self, figure: str) -> float:
        """Published standard deviation of a figure; nan where not given."""
        return self.srocc_sd if figure == "srocc" else math.nan


@dataclass(frozen=True, slots=True)
class Table:
    """One table of the study.

    Attributes:
        name: Stem of its files.
        title: Heading.
        entries: Its lines, in the paper's order.
    """

    name: str
    title: str
    entries: tuple[Entry, ...]

    def entry(self, label: str) -> Entry:
        """The line of a name."""
        return next(entry for entry in self.entries if entry.label == label)


TABLE_1 = Table(
    "table1",
    "Table 1: what the head does over time",
    (
        Entry("no-time", "no-time", 50, "native", 0.659, 0.482, 0.680),
        Entry("avg-GRU", "avg-GRU", 50, "native", 0.746, 0.558, 0.769),
        Entry("sub-LSTM", "sub-LSTM", 50, "native", 0.797, 0.610, 0.800),
        Entry("sub-GRU", "sub-GRU", 50, "native", 0.804, 0.619, 0.818, 0.060),
    ),
)
TABLE_2 = Table(
    "table2",
    "Table 2: depth of the trunk",
    (
        Entry("R18", "sub-GRU", 18, "native", 0.759, 0.575, 0.776),
        Entry("R50", "sub-GRU", 50, "native", 0.804, 0.619, 0.818),
        Entry("R101", "sub-GRU", 101, "native", 0.801, 0.611, 0.810),
    ),
)
TABLE_3 = Table(
    "table3",
    "Table 3: against the baseline",
    (
        Entry("VSFA", "sub-GRU", 50, "native", 0.80, srocc_sd=0.06),
        Entry("ChipQA", CHIPQA, None, None, 0.83, srocc_sd=0.04),
    ),
)
FIGURE_4 = Table(
    "figure4",
    "Figure 4: frame rate",
    (
        Entry("native", "sub-GRU", 50, "native", 0.804, 0.619, 0.818),
        Entry("25", "sub-GRU", 50, "25", 0.810, 0.626, 0.820),
        Entry("20", "sub-GRU", 50, "20", 0.806, 0.622, 0.820),
        Entry("10", "sub-GRU", 50, "10", 0.795, 0.607, 0.812),
        Entry("5", "sub-GRU", 50, "5", 0.773, 0.587, 0.779),
    ),
)
TABLES = (TABLE_1, TABLE_2, TABLE_3, FIGURE_4)


@dataclass(frozen=True, slots=True)
class Claim:
    """An ordering that the published figures state: line a minus line b of one table.

    Attributes:
        table: Where both lines are.
        a: Label of the line that is subtracted from.
        b: Label of the line that is subtracted.
        question: What the difference is about, in a few words.
    """

    table: Table
    a: str
    b: str
    question: str

    @property
    def name(self) -> str:
        """The difference, as it is printed."""
        unit = " fps" if self.table is FIGURE_4 else ""
        return f"{self.a}{unit} − {self.b}{unit if self.b != 'native' else ''}"

    def published(self, figure: str) -> float:
        """Published difference; nan where not given."""
        # The paper prints three digits; more would be rounding noise, and its sign is what counts.
        return round(self.table.entry(self.a).mean(figure) - self.table.entry(self.b).mean(figure), 3)


CLAIMS = (
    Claim(TABLE_1, "avg-GRU", "no-time", "a recurrent cell"),
    Claim(TABLE_1, "sub-GRU", "avg-GRU", "hysteresis instead of mean pooling"),
    Claim(TABLE_1, "sub-GRU", "sub-LSTM", "GRU instead of LSTM"),
    Claim(TABLE_1, "sub-GRU", "no-time", "all time modelling together"),
    Claim(TABLE_2, "R50", "R18", "a deeper trunk"),
    Claim(TABLE_2, "R101", "R50", "a still deeper trunk"),
    Claim(FIGURE_4, "25", "native", "25 fps instead of all frames"),
    Claim(FIGURE_4, "20", "25", "20 instead of 25 fps"),
    Claim(FIGURE_4, "10", "25", "10 instead of 25 fps"),
    Claim(FIGURE_4, "5", "25", "5 instead of 25 fps"),
    Claim(TABLE_3, "ChipQA", "VSFA", "hand-made features instead of VSFA"),
)
