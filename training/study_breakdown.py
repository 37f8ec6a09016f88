"""Where a study's figures come from: by distortion type, within contents, by the type alone, by kind of split."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from training.published import TABLE_1, TABLES, Entry
from training.splits import GROUPINGS
from training.study_figures import PAIR_MARGIN, spread, type_oracle, within_type
from training.study_findings import REFERENCE, WITHOUT_TIME, Findings, TypeFigure, per_type, type_gains
from training.study_text import between, grid, mean_text, number, picture


def breakdowns(found: Findings, pictures: Sequence[str]) -> Iterator[str]:
    """Lines of Markdown.

    Args:
        found: A study with at least one run.
        pictures: Names of the pictures that lie beside the report.
    """
    yield from _types(found, pictures)
    yield from _oracle(found)
    yield from _splits(found)


def _types(found: Findings, pictures: Sequence[str]) -> Iterator[str]:
    yield from ("## Where time modelling pays: by distortion type", "")
    yield (
        "SROCC among the clips of one type: only levels and contents differ, so telling types apart does not help. "
        "Mean over runs; a test side holds few clips of a type, so single cells are noisy. `-`: labels or predictions "
        "are constant or too few."
    )
    yield ""
    for kind in found.kinds:
        yield from _type_table(found, kind, within_type)
    yield from picture("by_type.png", "SROCC within types", pictures)
    yield from ("## Same content, different damage", "")
    yield (
        f"Share of pairs of clips of one content that are ordered as their labels, which differ by more than "
        f"{number(found.margin, 4)} ({PAIR_MARGIN:.0%} of the label range); 0.5 is chance. Under a type: its pairs "
        "with the clean clips of the content."
    )
    yield ""
    for kind in found.kinds:
        yield from _type_table(found, kind, found.pair_shares)


def _type_table(found: Findings, kind: str, figure: TypeFigure) -> list[str]:
    cells = found.lines(kind, found.splits[0], TABLE_1)
    values = {
        entry.label: per_type(one, figure) for entry, one in zip(TABLE_1.entries, cells, strict=True) if one is not None
    }
    types = sorted({each for of_line in values.values() for each in of_line})
    if not types:
        return [f"{kind} trunk: not run, or its clips name no types.", ""]
    lines = []
    for entry in TABLE_1.entries:
        if entry.label in values:
            means = [spread(values[entry.label].get(each, [])).mean for each in types]
            lines.append([entry.label, *(number(mean, 2) for mean in means)])
        else:
            lines.append([entry.label, *["not run"] * len(types)])
    gains = type_gains(found, kind, found.splits[0], figure)
    if gains:
        texts = [
            f"{number(d.mean, 2, sign=True)} {between(d.low, d.high, 2, sign=True)}" for d in map(gains.get, types) if d
        ]
        lines.append([f"{REFERENCE.label} − {WITHOUT_TIME.label} [95 %]", *texts])
    return grid([f"{kind} trunk", *(each or "all pairs" for each in types)], lines)


def _oracle(found: Findings) -> Iterator[str]:
    by = found.splits[0]
    yield from ("## Knowing the type alone", "")
    held = next((one for kind in found.kinds if (one := found.line(kind, by, REFERENCE))), None)
    oracle = None if held is None else type_oracle(held.cell)
    if oracle is None or oracle.runs == 0:
        yield from ("Not known: the runs at the reference condition hold no labels of the other sides.", "")
        return
    yield (
        "Predicting each test clip by the mean label of its type on the other sides gives SROCC "
        f"{mean_text(oracle)} over {oracle.runs} runs. It is a floor: a figure at or below it may owe everything to "
        "telling types apart."
    )
    below = [
        f"{entry.label} ({kind})"
        for kind in found.kinds
        for entry, one in zip(TABLE_1.entries, found.lines(kind, by, TABLE_1), strict=True)
        if one and one.spreads["srocc"].mean <= oracle.mean
    ]
    yield f"At or below it: {', '.join(below) if below else 'no row of Table 1'}."
    yield ""


def _splits(found: Findings) -> Iterator[str]:
    yield from ("## By content against by stem", "")
    if len(found.splits) < len(GROUPINGS):
        yield from (
            f"Only splits by {found.splits[0]} were run, so what the halves of one recording leak is not known.",
            "",
        )
        return
    stem_of = {
        content: stem
        for one in found.cells.values()
        for run in one.cell.runs
        for content, stem in zip(run.contents, run.stems, strict=True)
    }
    stems = list(stem_of.values())
    torn = sum(stems.count(stem) > 1 for stem in stems)
    if torn:
        yield (
            f"{torn} of {len(stem_of)} contents on the test sides share their recording with another of them. A split "
            "by content may train on one part of a recording and test on another; a split by stem cannot. The two have "
            "different test sides, so nothing is paired and no interval is given: weigh the change against the SDs."
        )
    else:
        yield (
            f"Each of the {len(stem_of)} contents on the test sides is a recording of its own, so there is nothing to "
            "leak and a change is the other draw of the splits."
        )
    yield ""
    # A configuration that is in several tables is listed once.
    entries: dict[tuple[str, int | None, str | None], Entry] = {}
    for entry in (entry for table in TABLES for entry in table.entries):
        entries.setdefault((entry.row, entry.depth, entry.rate), entry)
    lines = []
    for kind in found.kinds:
        for (row, depth, rate), entry in entries.items():
            content, stem = (found.line(kind, by, entry) for by in GROUPINGS)
            if content is None or stem is None or (depth is None and kind != found.kinds[0]):
                continue  # the baseline has no trunk: once is enough
            a, b = content.spreads["srocc"], stem.spreads["srocc"]
            name = row if depth is None else f"{row}, R{depth}, {rate}{'' if rate == 'native' else ' fps'}"
            lines.append(
                (name, "-" if depth is None else kind, mean_text(a), mean_text(b), number(b.mean - a.mean, sign=True))
            )
    if lines:
        yield from grid(("configuration", "trunk", "SROCC by content", "SROCC by stem", "change"), lines)
    else:
        yield from ("No configuration was run with both.", "")
