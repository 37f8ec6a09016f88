"""Whether a study's runs order two configurations as the published figures do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.intervals import PairedDifference, paired_difference
from training.published import CLAIMS, Claim, Entry
from training.study_figures import Measured
from training.study_results import Cell, Study

#: Test over training part of the 60/20/20 splits that the runs re-draw from one data set.
TEST_TO_TRAIN = 1 / 3

NOT_RUN = "not run"
NOT_PAIRED = "no test side in common"

Cells = Mapping[tuple[str, str, str, int | None, str | None], Measured]


@dataclass(frozen=True, slots=True)
class Judged:
    """A claim and what was measured.

    Attributes:
        claim: What is compared.
        difference: Over the runs that both lines have on the same test contents.
        published: Difference in the paper; nan where not given.
        verdict: In words.
    """

    claim: Claim
    difference: PairedDifference
    published: float
    verdict: str

    @property
    def run(self) -> bool:
        """Whether there is a number."""
        return self.difference.runs > 0

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval exists and does not hold 0."""
        return self.difference.low > 0 or self.difference.high < 0

    @property
    def same_direction(self) -> bool:
        """Whether the measured mean has the sign of the published difference; a zero has none."""
        return self.difference.mean * self.published > 0


def paired_runs(a: Cell, b: Cell) -> list[tuple[int, int]]:
    """Positions of the runs of a and b that share a seed and have the same contents on the test side."""
    of_seed = {run.seed: (number, set(run.contents)) for number, run in enumerate(b.runs)}
    return [
        (number, of_seed[run.seed][0])
        for number, run in enumerate(a.runs)
        if run.seed in of_seed and set(run.contents) == of_seed[run.seed][1]
    ]


def difference(a: Cell, b: Cell, values_a: Sequence[float], values_b: Sequence[float]) -> PairedDifference:
    """Mean of a - b over paired runs, with an interval widened for re-splits.

    Args:
        a: A cell.
        b: Another.
        values_a: One figure per run of a.
        values_b: One figure per run of b.
    """
    pairs = paired_runs(a, b)
    return paired_difference(
        [values_a[i] for i, _ in pairs], [values_b[j] for _, j in pairs], test_to_train=TEST_TO_TRAIN
    )


def verdict(found: PairedDifference, published: float) -> str:
    """What a measured difference says about a published one, in words."""
    if found.runs == 0:
        return "no figure"
    known = math.isfinite(found.low)
    excludes = found.low > 0 or found.high < 0
    interval = f"interval {'excludes' if excludes else 'includes'} 0" if known else "no interval from one run"
    if not published:  # zero: the paper's two lines are equal to the last digit
        return f"no published direction, {interval}"
    if math.isnan(published):
        return f"not published, {interval}"
    if found.mean == 0:
        return f"no difference, {interval}"
    same = found.mean * published > 0
    if excludes:
        return f"{'holds' if same else 'reversed'} ({interval})"
    return f"{'same' if same else 'opposite'} direction, {interval}"


def judge(study: Study, cells: Cells, trunk_kind: str, by: str, figure: str) -> list[Judged]:
    """Every claim of the paper, for one kind of trunk and of split.

    Args:
        study: What was run.
        cells: Its cells' figures, by configuration.
        trunk_kind: Kind of trunk.
        by: What the splits keep together.
        figure: Name of the figure.
    """

    def line(entry: Entry) -> Measured | None:
        cell = study.find(trunk_kind, by, entry.row, entry.depth, entry.rate)
        return None if cell is None else cells[key_of(cell)]

    judged = []
    for claim in CLAIMS:
        a, b = line(claim.table.entry(claim.a)), line(claim.table.entry(claim.b))
        published = claim.published(figure)
        if a is None or b is None:
            judged.append(Judged(claim, paired_difference([], []), published, NOT_RUN))
            continue
        found = difference(a.cell, b.cell, a.values[figure], b.values[figure])
        word = verdict(found, published) if paired_runs(a.cell, b.cell) else NOT_PAIRED
        judged.append(Judged(claim, found, published, word))
    return judged


def key_of(cell: Cell) -> tuple[str, str, str, int | None, str | None]:
    """Configuration of a cell."""
    return cell.trunk_kind, cell.by, cell.row, cell.depth, cell.rate
