"""What a study runs: the configurations of Tables 1 and 2 and of Figure 4, each with every seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from training.feature_extraction import NATIVE, RATES
from training.models import ROWS

#: Depth of the trunk in Table 1 and Figure 4, and the row that Table 2 and Figure 4 vary.
REFERENCE_DEPTH, REFERENCE_ROW = 50, "sub-GRU"
STUDY_DEPTHS = (18, 50, 101)


@dataclass(frozen=True, slots=True)
class Configuration:
    """One cell of a table, before it has runs.

    Attributes:
        trunk_kind: ``imagenet``, ``trained`` or ``random``.
        by: What splits keep together.
        row: Name in ``training.models.ROWS``.
        depth: Of the trunk.
        rate: ``native`` or frames per second.
    """

    trunk_kind: str
    by: str
    row: str
    depth: int
    rate: str

    def folder(self, runs: Path, seed: int) -> Path:
        """Folder of one run; seeds of one configuration lie side by side."""
        return runs / self.trunk_kind / self.by / f"resnet{self.depth}-{self.rate}" / f"{self.row}-seed{seed}"


def configurations(trunk_kind: str, by: str) -> list[Configuration]:
    """Every cell of the tables with one kind of trunk and one way to split; none is there twice."""
    wanted = [(row, REFERENCE_DEPTH, NATIVE) for row in ROWS]
    wanted += [(REFERENCE_ROW, depth, NATIVE) for depth in STUDY_DEPTHS if depth != REFERENCE_DEPTH]
    wanted += [(REFERENCE_ROW, REFERENCE_DEPTH, rate) for rate in RATES if rate != NATIVE]
    return [Configuration(trunk_kind, by, *cell) for cell in wanted]


def rates_of(depth: int) -> tuple[str, ...]:
    """Frame rates at which a depth's features are needed."""
    return RATES if depth == REFERENCE_DEPTH else (NATIVE,)


def plan(kinds: Sequence[str], groupings: Sequence[str]) -> list[Configuration]:
    """All configurations, the most telling first, so that a study that is stopped has whole tables.

    Args:
        kinds: Kinds of trunk; the first is the subject and gets every grouping, the others are controls and get
            the first grouping alone.
        groupings: ``content``, ``stem``.
    """
    found = [cell for by in groupings for cell in configurations(kinds[0], by)]
    return found + [cell for kind in kinds[1:] for cell in configurations(kind, groupings[0])]
