"""A study's numbers as CSV: plain numbers, and an empty cell where there is none."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

from training.published import FIGURES as PUBLISHED_FIGURES
from training.published import TABLE_1, TABLES, Table
from training.study_claims import Judged
from training.study_figures import FIGURES, Measured, spread, within_type
from training.study_findings import REFERENCE, WITHOUT_TIME, Findings, TypeFigure, per_type, type_gains

Line = Sequence[str | int | float]

TABLE_COLUMNS = (
    *("row", "trunk_kind", "by", "figure", "mean", "sd", "runs", "bootstrap_low", "bootstrap_high"),
    *("published", "published_sd"),
)
RUN_COLUMNS = ("trunk_kind", "by", "row", "depth", "rate", "seed", "clips", "contents", *FIGURES)
CLAIM_COLUMNS = (
    *("claim", "trunk_kind", "by", "figure", "published", "mean", "sd", "low", "high", "runs", "wins", "verdict"),
)

TYPE_COLUMNS = ("row", "trunk_kind", "by", "figure", "distortion", "mean", "sd", "low", "high", "runs")


def write_rows(path: Path, header: Sequence[str], lines: Iterable[Line]) -> None:
    """Write one file; numbers that are not finite become empty cells."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, strict=True)
        writer.writerow(header)
        for line in lines:
            writer.writerow([_plain(value) for value in line])


def _plain(value: str | int | float) -> str | int:
    if isinstance(value, float):
        return f"{value:.6f}" if math.isfinite(value) else ""
    return value


def table_lines(table: Table, found: Iterable[tuple[str, str, Sequence[Measured | None]]]) -> Iterable[Line]:
    """Lines of `TABLE_COLUMNS`; what was not run has no line.

    Args:
        table: Which.
        found: Kind of trunk, kind of split, and the table's entries in order.
    """
    for kind, by, cells in found:
        for entry, one in zip(table.entries, cells, strict=True):
            if one is None:
                continue
            for figure in FIGURES:
                s, interval = one.spreads[figure], one.intervals.get(figure)
                low, high = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
                figures = (s.mean, s.sd, s.runs, low, high, entry.mean(figure), entry.sd(figure))
                yield (entry.label, kind, by, figure, *figures)


def run_lines(cells: Iterable[Measured]) -> Iterable[Line]:
    """Lines of `RUN_COLUMNS`, one per run of the study."""
    for one in cells:
        cell = one.cell
        name = (cell.trunk_kind, cell.by, cell.row, "" if cell.depth is None else cell.depth, cell.rate or "")
        for number, run in enumerate(cell.runs):
            figures = tuple(one.values[figure][number] for figure in FIGURES)
            yield (*name, run.seed, len(run.clips), len(set(run.contents)), *figures)


def claim_lines(kind: str, by: str, figure: str, judged: Iterable[Judged]) -> Iterable[Line]:
    """Lines of `CLAIM_COLUMNS`."""
    for one in judged:
        d = one.difference
        numbers = (one.published, d.mean, d.sd, d.low, d.high, d.runs, d.wins)
        yield (one.claim.name, kind, by, figure, *numbers, one.verdict)


def type_lines(found: Findings, kind: str, by: str) -> Iterable[Line]:
    """Lines of `TYPE_COLUMNS`: SROCC within types, and accuracy of pairs within contents.

    Lines of Table 1 have a standard deviation over runs, the difference of two has an interval, too.
    """
    figures: dict[str, TypeFigure] = {"srocc": within_type, "pairs": found.pair_shares}
    for name, figure in figures.items():
        for entry, one in zip(TABLE_1.entries, found.lines(kind, by, TABLE_1), strict=True):
            for each, values in ({} if one is None else per_type(one, figure)).items():
                s = spread(values)
                yield (entry.label, kind, by, name, each or "all", s.mean, s.sd, math.nan, math.nan, s.runs)
        row = f"{REFERENCE.label} − {WITHOUT_TIME.label}"
        for each, d in type_gains(found, kind, by, figure).items():
            yield (row, kind, by, name, each or "all", d.mean, d.sd, d.low, d.high, d.runs)


def write_tables(found: Findings, folder: Path) -> None:
    """Write all files of a study into a folder."""
    sections = [(kind, by) for by in found.splits for kind in found.kinds]
    for table in TABLES:
        held = [(kind, by, found.lines(kind, by, table)) for kind, by in sections]
        write_rows(folder / f"{table.name}.csv", TABLE_COLUMNS, table_lines(table, held))
    write_rows(folder / "runs.csv", RUN_COLUMNS, run_lines(found.cells.values()))
    types = (line for kind, by in sections for line in type_lines(found, kind, by))
    write_rows(folder / "by_type.csv", TYPE_COLUMNS, types)
    write_rows(
        folder / "claims.csv",
        CLAIM_COLUMNS,
        (
            line
            for kind, by in sections
            for figure in PUBLISHED_FIGURES
            for line in claim_lines(kind, by, figure, found.judged(kind, by, figure))
        ),
    )
