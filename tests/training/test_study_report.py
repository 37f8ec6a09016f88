"""The report of synthetic studies whose answers are known."""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy.stats", reason="needs the train extra (scipy)")
pytest.importorskip("matplotlib", reason="needs the train extra (matplotlib)")

from PIL import Image

from training.study_csv import write_tables
from training.study_findings import Findings
from training.study_markdown import markdown
from training.study_report import write_report
from training.study_results import CHIPQA, Cell, Predictions, Study

pytestmark = pytest.mark.train

TYPES = ("judder", "blur", "clean")
#: Every run's predictions are its labels and this much noise.
NOISE = {"no-time": 3.0, "avg-GRU": 0.6, "sub-LSTM": 0.05, "sub-GRU": 0.05}


def run(seed: int, noise: float, contents: Sequence[int], drawn: int = 0) -> Predictions:
    at = [(content, kind) for content in contents for kind in TYPES for _ in range(2)]
    rng = np.random.default_rng([seed, drawn])
    labels = np.random.default_rng(seed).uniform(0.1, 0.9, len(at))
    predicted = labels + noise * rng.normal(size=len(at))
    return Predictions(
        seed,
        tuple(f"{content}/{number}" for number, (content, _) in enumerate(at)),
        tuple(f"c{content}" for content, _ in at),
        tuple(f"s{content // 2}" for content, _ in at),
        tuple(kind for _, kind in at),
        labels,
        predicted,
        np.array([TYPES.index(kind) / 3 for _, kind in at]),
    )


def table_1(kind: str = "trained", by: str = "content", seeds: int = 4) -> list[Cell]:
    return [
        Cell(kind, by, row, 50, "native", tuple(run(seed, noise, range(seed, seed + 6)) for seed in range(seeds)))
        for row, noise in NOISE.items()
    ]


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, strict=True))


def tables(study: Study, folder: Path) -> str:
    """CSV files in the folder, and the report's text, without the pictures, which take longest."""
    found = Findings.of_study(study, 20)
    write_tables(found, folder)
    return markdown(found, [])


def verdicts(folder: Path, kind: str = "trained", figure: str = "srocc") -> dict[str, str]:
    rows = read(folder / "claims.csv")
    return {r["claim"]: r["verdict"] for r in rows if (r["trunk_kind"], r["figure"]) == (kind, figure)}


def test_a_planted_ordering_holds_identical_rows_differ_by_nothing_and_the_rest_was_not_run(tmp_path: Path) -> None:
    text = tables(Study("Title | of a study", {"labels": "made\nup | here"}, tuple(table_1())), tmp_path)
    found = verdicts(tmp_path)
    assert found["sub-GRU − no-time"] == "holds (interval excludes 0)"
    assert found["sub-GRU − sub-LSTM"] == "no difference, interval includes 0"
    assert found["R50 − R18"] == found["ChipQA − VSFA"] == found["25 fps − native"] == "not run"
    assert text.index("## Verdicts") < text.index("## Table 1")
    assert "| sub-GRU − no-time | all time modelling together | +0.145 |" in text
    assert "never MOS" in text
    assert "Only splits by content were run" in text
    assert "No run used ImageNet weights" in text
    assert "| labels | made up \\| here |" in text
    assert "| R18 | not run | 0.759 |" in text
    assert "nan" not in text.lower()


def test_a_planted_reversal_is_called_one(tmp_path: Path) -> None:
    rows = {c.row: c.runs for c in table_1()}
    swapped = {"no-time": "sub-GRU", "sub-GRU": "no-time"}
    cells = [Cell("trained", "content", swapped[row], 50, "native", rows[row]) for row in swapped]
    tables(Study("t", {}, tuple(cells)), tmp_path)
    assert verdicts(tmp_path)["sub-GRU − no-time"] == "reversed (interval excludes 0)"


def test_one_seed_has_no_interval_and_says_so(tmp_path: Path) -> None:
    text = tables(Study("t", {}, tuple(table_1(seeds=1))), tmp_path)
    assert verdicts(tmp_path)["sub-GRU − no-time"] == "same direction, no interval from one run"
    assert "nan" not in text.lower()
    row = next(r for r in read(tmp_path / "table1.csv") if r["row"] == "sub-GRU" and r["figure"] == "srocc")
    assert row["sd"] == ""
    assert (row["runs"], row["published"], row["published_sd"]) == ("1", "0.804000", "0.060000")
    assert float(row["bootstrap_low"]) <= float(row["mean"]) <= float(row["bootstrap_high"])


def test_figures_that_do_not_exist_are_dashes_and_empty_cells(tmp_path: Path) -> None:
    flat = run(0, 0.0, range(6))
    flat = Predictions(0, flat.clips, flat.contents, flat.stems, ("",) * 36, flat.labels, np.full(36, 0.5))
    cell = Cell("random", "stem", "sub-GRU", 50, "native", (flat,))
    text = tables(Study("t", {}, (cell,)), tmp_path)
    assert "| sub-GRU | - " in text
    assert "name no types" in text
    assert "nan" not in text.lower()
    for path in tmp_path.glob("*.csv"):
        for row in read(path):
            for name in {"mean", "sd", "low", "high", "srocc", "rmse", "published"} & row.keys():
                assert row[name] == "" or math.isfinite(float(row[name])), (path, row)
    assert read(tmp_path / "runs.csv")[0]["srocc"] == ""


def test_every_picture_is_written_and_large_enough_to_read(tmp_path: Path) -> None:
    cells = table_1()
    runs = cells[3].runs
    cells += table_1("random")[:1]
    cells += [Cell("trained", "content", "sub-GRU", depth, "native", runs) for depth in (18, 101)]
    cells += [Cell("trained", "content", "sub-GRU", 50, rate, runs) for rate in ("25", "5")]
    cells.append(Cell("trained", "content", CHIPQA, None, None, runs))
    text = write_report(Study("t", {}, tuple(cells)), tmp_path, 20).read_text(encoding="utf-8")
    names = {"table1.png", "table2.png", "table3.png", "figure4.png", "claims.png", "by_type.png"}
    assert {path.name for path in tmp_path.glob("*.png")} == names
    for name in names:
        with Image.open(tmp_path / name) as picture:
            assert 600 <= picture.width <= 2400
            assert 400 <= picture.height <= 2400
            assert len(picture.convert("L").getcolors() or ()) > 20  # not blank
        assert f"({name})" in text


def test_the_control_tells_what_the_trunk_adds(tmp_path: Path) -> None:
    better, worse = table_1(), table_1("random")
    worse[3] = Cell("random", "content", "sub-GRU", 50, "native", worse[1].runs)
    text = tables(Study("t", {}, (*better, *worse)), tmp_path)
    assert "the trained trunk's features add to what random filters give" in text
    assert "claims run with both trunks" in text


def test_splits_by_stem_stand_beside_splits_by_content(tmp_path: Path) -> None:
    cells = (*table_1(), *table_1(by="stem"))
    text = tables(Study("t", {}, cells, human_labels=True), tmp_path)
    assert "contents on the test sides share their recording" in text
    line = next(line for line in text.splitlines() if line.startswith("| no-time, R50, native | trained |"))
    assert line.endswith("| +0.000 |")  # the same runs under both names
    assert "never MOS" not in text
    assert "opinions of people" in text


def test_an_empty_study_is_reported_as_such(tmp_path: Path) -> None:
    cells = (Cell("trained", "content", "sub-GRU", 50, "native", ()),)
    report = write_report(Study("t", {"recipe": "fast"}, cells), tmp_path / "new" / "folder", 20)
    text = report.read_text(encoding="utf-8")
    assert "Nothing was run yet." in text
    assert "| recipe | fast |" in text
    assert read(report.parent / "table1.csv") == []
