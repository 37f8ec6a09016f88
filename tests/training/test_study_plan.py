"""What a study runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="needs the train extra (torch)")

from training.feature_extraction import RATES
from training.models import ROWS
from training.published import CLAIMS, FIGURE_4, TABLE_1, TABLES
from training.study_plan import Configuration, configurations, plan, rates_of

pytestmark = pytest.mark.train


def test_the_tables_are_ten_configurations_none_of_them_twice() -> None:
    cells = configurations("trained", "stem")
    assert len(cells) == len(set(cells)) == 10
    assert {(cell.trunk_kind, cell.by) for cell in cells} == {("trained", "stem")}
    assert Counter(cell.depth for cell in cells) == {50: 8, 18: 1, 101: 1}
    assert {cell.row for cell in cells} == set(ROWS)
    assert sorted(cell.rate for cell in cells if cell.row == "sub-GRU" and cell.depth == 50) == sorted(RATES)


def test_features_are_planned_for_every_configuration() -> None:
    assert all(cell.rate in rates_of(cell.depth) for cell in configurations("trained", "content"))
    assert rates_of(18) == ("native",)


def test_every_line_of_the_report_has_its_configuration() -> None:
    cells = {(cell.row, cell.depth, cell.rate) for cell in configurations("imagenet", "content")}
    entries = {(e.row, e.depth, e.rate) for table in TABLES for e in table.entries if e.depth is not None}
    assert entries <= cells
    assert len(TABLE_1.entries) > 3
    assert len(FIGURE_4.entries) == len(RATES)
    assert CLAIMS


def test_controls_get_the_first_grouping_alone_and_come_last() -> None:
    cells = plan(["trained", "random"], ["content", "stem"])
    assert len(cells) == len(set(cells)) == 30
    assert Counter((cell.trunk_kind, cell.by) for cell in cells) == {
        ("trained", "content"): 10,
        ("trained", "stem"): 10,
        ("random", "content"): 10,
    }
    assert [cell.trunk_kind for cell in cells[-10:]] == ["random"] * 10
    assert {cell.by for cell in plan(["trained", "random"], ["stem"])} == {"stem"}


def test_every_run_has_a_folder_of_its_own(tmp_path: Path) -> None:
    folders = {
        cell.folder(tmp_path, seed) for cell in plan(["trained", "random"], ["content", "stem"]) for seed in (0, 1)
    }
    assert len(folders) == 60
    one = Configuration("trained", "stem", "sub-GRU", 50, "25").folder(tmp_path, 3)
    assert one == tmp_path / "trained" / "stem" / "resnet50-25" / "sub-GRU-seed3"
