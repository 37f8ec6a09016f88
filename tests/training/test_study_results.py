"""Reading run folders, and finding cells of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.errors import DataError
from training.study_results import CHIPQA, Cell, Predictions, Study, read_run

HEADER = "clip,content,stem,distortion,side,label,prediction\n"
ROWS = (
    "a/1,a,s,judder,test,0.5,0.75\n"
    "b/1,b,s,judder,train,0.25,0.3\n"
    "c/1,c,t,judder,validation,0.75,0.3\n"
    "a/2,a,s,clean,test,0.95,0.25\n"
)


def folder_with(tmp_path: Path, text: str) -> Path:
    (tmp_path / "predictions.csv").write_text(text, encoding="utf-8")
    return tmp_path


def one(seed: int) -> Predictions:
    return Predictions(seed, ("a",), ("a",), ("a",), ("clean",), np.array([1.0]), np.array([1.0]))


def test_a_run_gives_its_test_side_alone_and_the_type_means_of_the_rest(tmp_path: Path) -> None:
    run = read_run(folder_with(tmp_path, HEADER + ROWS), 7)
    assert (run.seed, run.clips, run.contents, run.stems) == (7, ("a/1", "a/2"), ("a", "a"), ("s", "s"))
    assert run.distortions == ("judder", "clean")
    np.testing.assert_array_equal(run.labels, [0.5, 0.95])
    np.testing.assert_array_equal(run.predicted, [0.75, 0.25])
    np.testing.assert_array_equal(run.by_type, [0.5, np.nan])  # no clean clip outside the test side


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clip,content\n", "no column 'stem'"),
        (HEADER, "no clip on the test side"),
        (HEADER + "a,a,a,judder,test,high,0.5\n", "line 2: could not convert"),
        (HEADER + "a,a,a,judder,test,0.5\n", "line 2"),
        (HEADER + "a,a,a,judder,test,0.5,1\na,a,a,judder,test,0.5,1\n", "twice"),
    ],
)
def test_a_damaged_run_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_run(folder_with(tmp_path, text), 0)


def test_a_missing_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_run(tmp_path / "none", 0)


def test_parts_of_different_length_are_refused() -> None:
    with pytest.raises(ValueError, match="parts of"):
        Predictions(0, ("a",), ("a",), ("a",), ("clean",), np.zeros(1), np.zeros(2))


def test_the_baseline_counts_for_every_trunk_and_an_empty_cell_is_not_run() -> None:
    chipqa = Cell("imagenet", "content", CHIPQA, None, None, (one(0),))
    empty = Cell("trained", "content", "sub-GRU", 50, "native", ())
    own = Cell("random", "content", CHIPQA, None, None, (one(1),))
    study = Study("t", {}, (chipqa, empty, own))
    assert study.find("trained", "content", CHIPQA, None, None) is chipqa
    assert study.find("random", "content", CHIPQA, None, None) is own
    assert study.find("trained", "stem", CHIPQA, None, None) is None
    assert study.find("trained", "content", "sub-GRU", 50, "native") is None


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ([Cell("random", "stem", "avg-GRU", 50, "native", ())] * 2, "twice"),
        ([Cell("own", "stem", "avg-GRU", 50, "native", ())], "trunk_kind"),
        ([Cell("random", "stem", "avg-GRU", 50, "native", (one(0), one(0)))], "two runs of one seed"),
    ],
)
def test_a_study_that_contradicts_itself_is_refused(cells: list[Cell], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Study("t", {}, tuple(cells))
