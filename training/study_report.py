"""The report of a study: Markdown for a reader, CSV for another program, pictures for both."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from training.published import CLAIMS, FIGURE_4, FIGURES, TABLE_1, TABLES, Table
from training.study_csv import write_tables
from training.study_figures import Measured, spread, within_type
from training.study_findings import Findings, per_type
from training.study_markdown import markdown
from training.study_plots import Bar, Points, plot_claims, plot_map, plot_table
from training.study_results import Study

RESAMPLES = 1000

REPORT_FILE = "report.md"


def write_report(study: Study, folder: Path, resamples: int = RESAMPLES) -> Path:
    """Write ``report.md``, CSV files and pictures; what was not run is said to be so.

    Args:
        study: What was run; may be empty or partial.
        folder: Created where missing; files of these names are replaced.
        resamples: Of every bootstrap interval.

    Returns:
        Path of ``report.md``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = Findings.of_study(study, resamples)
    write_tables(found, folder)
    pictures = _write_pictures(found, folder) if found.cells else []
    report = folder / REPORT_FILE
    report.write_text(markdown(found, pictures), encoding="utf-8")
    return report


def _write_pictures(found: Findings, folder: Path) -> list[str]:
    """Names of the pictures written; a table without any run has none."""
    by = found.splits[0]
    names = []
    for table in TABLES:
        held = [(kind, found.lines(kind, by, table)) for kind in found.kinds]
        rows = [(f"{kind} trunk", _panels(table, cells)) for kind, cells in held if any(cells)]
        if rows:
            names.append(f"{table.name}.png")
            labels = [entry.label for entry in table.entries]
            plot_table(folder / names[-1], f"{table.title} (by {by})", labels, rows, connect=table is FIGURE_4)
    names.append("claims.png")
    plot_claims(folder / names[-1], f"Paired differences of SROCC (by {by})", _bars(found, by))
    maps = [(f"{kind} trunk", _type_means(found, kind, by)) for kind in found.kinds]
    types = sorted({each for _, rows in maps for row in rows for each in row})
    if types:
        names.append("by_type.png")
        panels = [(name, np.array([[row.get(t, math.nan) for t in types] for row in rows])) for name, rows in maps]
        heads = [entry.label for entry in TABLE_1.entries]
        plot_map(folder / names[-1], f"SROCC within a type, mean over runs (by {by})", heads, types, panels)
    return names


def _panels(table: Table, cells: Sequence[Measured | None]) -> list[tuple[str, Points]]:
    """A panel for every figure that the paper gives for this table."""
    panels = []
    for figure in FIGURES:
        published = np.array([entry.mean(figure) for entry in table.entries])
        if np.isfinite(published).any():
            measured = np.array([math.nan if one is None else one.spreads[figure].mean for one in cells])
            sd = np.array([math.nan if one is None else one.spreads[figure].sd for one in cells])
            published_sd = np.array([entry.sd(figure) for entry in table.entries])
            panels.append((figure.upper(), Points(measured, sd, published, published_sd)))
    return panels


def _bars(found: Findings, by: str) -> list[tuple[str, float, list[Bar]]]:
    judged = [(kind, found.judged(kind, by)) for kind in found.kinds]
    bars = []
    for position, claim in enumerate(CLAIMS):
        differences = [(kind, each[position].difference) for kind, each in judged]
        bars.append((claim.name, claim.published("srocc"), [Bar(k, d.mean, d.low, d.high) for k, d in differences]))
    return bars


def _type_means(found: Findings, kind: str, by: str) -> list[dict[str, float]]:
    """SROCC within every type, mean over runs, for every line of Table 1."""
    return [
        {} if one is None else {each: spread(values).mean for each, values in per_type(one, within_type).items()}
        for one in found.lines(kind, by, TABLE_1)
    ]
