"""The ablations' table and rows."""

from __future__ import annotations

import pytest

pytest.importorskip("torch", reason="training needs torch")

from training.ablations import ROWS, ablation_table

pytestmark = pytest.mark.train


def test_the_table_gives_mean_and_spread_over_seeds() -> None:
    table = ablation_table(
        {"whole": [{"pairs": 0.8, "cause": 0.5}, {"pairs": 0.9, "cause": 0.5}], "less": [{"pairs": 0.6}]}
    )
    whole, less = table.splitlines()[2:]
    assert "0.850 ± 0.071" in whole
    assert "0.500 ± 0.000" in whole
    assert less.split("|")[3].strip() == "0.600"


def test_what_an_untrained_trunk_gives_is_never_read_through_its_untrained_outputs() -> None:
    assert {row.trunk for row in ROWS if "untrained" in row.name} == {"random"}
    assert len({row.name for row in ROWS}) == len(ROWS)
