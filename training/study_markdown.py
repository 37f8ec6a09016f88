"""A study's report as Markdown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from training.published import CLAIMS, FIGURE_4, TABLES, Entry, Table
from training.published import FIGURES as PUBLISHED_FIGURES
from training.study_breakdown import breakdowns
from training.study_claims import difference
from training.study_figures import FIGURES, Measured, groups_of
from training.study_findings import REFERENCE, Findings
from training.study_text import (
    between,
    control_text,
    figures_text,
    grid,
    kinds_text,
    labels_text,
    mean_text,
    number,
    order_text,
    picture,
    tally_text,
    trunk_text,
)


def markdown(found: Findings, pictures: Sequence[str]) -> str:
    """The whole report.

    Args:
        found: The study.
        pictures: Names of the pictures that lie beside it.
    """
    lines = [f"# {found.study.title}", "", labels_text(found.study.human_labels), ""]
    if found.cells:
        lines += _verdicts(found, pictures)
        lines += _trunks(found)
        lines += _tables(found, pictures)
        lines += breakdowns(found, pictures)
        lines += _method(found)
    else:
        lines += ["Nothing was run yet.", ""]
    lines += ["## Facts", "", *grid(("fact", "value"), list(found.study.facts.items()))]
    return "\n".join(lines).rstrip() + "\n"


def _published(entry: Entry, figure: str) -> str:
    sd = entry.sd(figure)
    return number(entry.mean(figure)) + (f" ± {number(sd)}" if math.isfinite(sd) else "")


def _verdicts(found: Findings, pictures: Sequence[str]) -> list[str]:
    by = found.splits[0]
    judged = {kind: found.judged(kind, by) for kind in found.kinds}
    header = ["difference of SROCC", "what it is about", "published"]
    for kind in judged:
        header += [f"measured, {kind} trunk [95 %]", f"verdict, {kind} trunk"]
    lines = []
    for position, claim in enumerate(CLAIMS):
        line = [claim.name, claim.question, number(claim.published("srocc"), sign=True)]
        for each in judged.values():
            d = each[position].difference
            line += [f"{number(d.mean, sign=True)} {between(d.low, d.high, sign=True)}", each[position].verdict]
        lines.append(line)
    text = ["## Verdicts", "", f"Splits by {by}; runs of one seed are paired.", "", *grid(header, lines)]
    text += [f"- {tally_text(kind, each)}" for kind, each in judged.items()]
    for kind in judged:
        said = figures_text({figure: found.judged(kind, by, figure) for figure in PUBLISHED_FIGURES})
        text += [f"- {kind} trunk: {said}"] if said else []
    return [*text, "", *picture("claims.png", "Differences and intervals", pictures)]


def _trunks(found: Findings) -> Iterator[str]:
    yield from ("## What the trunks allow to be said", "")
    by = found.splits[0]
    yield from (f"- **{kind}**: {trunk_text(kind)}" for kind in found.kinds)
    if said := kinds_text(found.kinds):
        yield f"- {said}"
    for kind in found.kinds:
        if kind != "random" and "random" in found.kinds:
            a, b = found.line(kind, by, REFERENCE), found.line("random", by, REFERENCE)
            gain = difference(a.cell, b.cell, a.values["srocc"], b.values["srocc"]) if a and b else None
            yield f"- {control_text(kind, found.judged(kind, by), found.judged('random', by), gain)}"
    yield ""


def _tables(found: Findings, pictures: Sequence[str]) -> Iterator[str]:
    for table in TABLES:
        yield from (f"## {table.title}", "")
        if table is FIGURE_4:
            yield (
                "Hysteresis counts its window in frames, so at a lower rate it spans more time and a clip has fewer "
                "frames: rate and pooling change together."
            )
            yield ""
        for kind in found.kinds:
            yield from _measured_table(found, kind, table)
        yield from picture(f"{table.name}.png", table.title, pictures)


def _measured_table(found: Findings, kind: str, table: Table) -> Iterator[str]:
    by = found.splits[0]
    cells = found.lines(kind, by, table)
    if not any(cells):
        yield from (f"{kind} trunk: not run.", "")
        return
    header = [f"{kind} trunk, by {by}"]
    for figure in PUBLISHED_FIGURES:
        header += [f"{FIGURES[figure]} [95 %]", "published"]
    header += [FIGURES["rmse"], FIGURES["plcc_fitted"], "runs"]
    yield from grid(header, [_line(entry, one) for entry, one in zip(table.entries, cells, strict=True)])
    means = [math.nan if one is None else one.spreads["srocc"].mean for one in cells]
    measured = [(entry.label, mean) for entry, mean in zip(table.entries, means, strict=True)]
    if said := order_text(measured, [(entry.label, entry.srocc) for entry in table.entries]):
        yield from (said, "")


def _line(entry: Entry, one: Measured | None) -> list[str]:
    line = [entry.label]
    for figure in PUBLISHED_FIGURES:
        if one is None:
            line.append("not run")
        else:
            interval = one.intervals[figure]
            line.append(f"{mean_text(one.spreads[figure])} {between(interval.low, interval.high, 2)}")
        line.append(_published(entry, figure))
    if one is None:
        return [*line, "-", "-", "0"]
    return [*line, mean_text(one.spreads["rmse"]), mean_text(one.spreads["plcc_fitted"]), str(len(one.cell.runs))]


def _method(found: Findings) -> Iterator[str]:
    yield from ("## How to read the figures", "")
    cells = [one.cell for one in found.cells.values()]
    tested = [len(set(groups_of(run, cell.by))) for cell in cells for run in cell.runs]
    drawn = [len({group for run in cell.runs for group in groups_of(run, cell.by)}) for cell in cells]
    yield (
        f"- Runs per configuration: {_range([len(cell.runs) for cell in cells])}; contents (stems, for splits by stem) "
        f"on one test side: {_range(tested)}; on any test side of a configuration: {_range(drawn)}."
    )
    yield "- `±` is the standard deviation over runs (n − 1), as the paper prints it. It is no interval of the mean."
    yield (
        f"- `[95 %]` beside a mean: percentile bootstrap ({found.resamples} resamples) of the mean over runs. Contents "
        "(stems) are drawn once for all runs, so runs that test the same contents do not count as new evidence. It "
        "takes the trained models as given: it holds the choice of test contents, not of training contents or seeds."
        + (" With fewer than about ten contents or stems it is too narrow." if min(drawn) < 10 else "")
    )
    yield (
        "- `[95 %]` beside a difference: Student's t over runs paired by seed, widened because re-splits of one data "
        "set overlap (Nadeau and Bengio 2003, test to training part 1:3). Verdicts rest on this one. The baseline "
        "trains on the validation part too, for which 1:3 is wide rather than narrow."
    )
    yield "- LCC and RMSE are of the raw predictions; `PLCC after logistic` follows a fit to the test side itself."
    yield f"- Files: {', '.join(f'`{name}.csv`' for name in (*(t.name for t in TABLES), 'claims', 'by_type', 'runs'))}."
    yield ""


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
