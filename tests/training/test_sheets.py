"""The page of distortions says what the code does; its pictures exist and can be drawn again."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("scipy", reason="training needs scipy")
pytest.importorskip("matplotlib", reason="training needs matplotlib")
pytest.importorskip("PIL", reason="training needs Pillow")

from PIL import Image

from training.__main__ import main
from training.distortion_levels import PARAMETERS
from training.distortion_measures import MEASURES
from training.distortion_pictures import PANEL, Panel, Row, write_sheet, write_strip
from training.distortions import DISTORTIONS, distort, draw_codec, draw_gain_flicker
from training.errors import DataError
from training.pictures import Picture
from training.sheets import CASES, Case, fill, parameter_rows, show, table

PAGE = Path(__file__).parents[2] / "docs" / "distortions.md"
TEXT = PAGE.read_text(encoding="utf-8")


def rows_of(kind: str) -> list[str]:
    found = re.search(rf"<!-- table: {kind} -->\n(.*?)\n<!-- end -->", TEXT, re.DOTALL)
    assert found is not None, kind
    return found[1].splitlines()


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_the_page_gives_the_parameters_of_the_code(kind: str) -> None:
    rows = rows_of(kind)
    parameters = parameter_rows(kind)
    assert rows[2 : 2 + len(parameters)] == parameters


@pytest.mark.parametrize("kind", DISTORTIONS)
def test_the_page_gives_the_measure_of_each_variant_rising(kind: str) -> None:
    measured = [row for row in rows_of(kind) if row.startswith("| **measured:**")]
    assert len(measured) == sum(case.kind == kind for case in CASES)
    for row in measured:
        assert MEASURES[kind].name in row
        values = [float(cell) for cell in row.split("|")[2:-1]]
        assert len(values) == 5
        assert all(b > a for a, b in itertools.pairwise(values))


def test_every_picture_of_the_page_exists_and_no_other() -> None:
    linked = set(re.findall(r"\(images/distortions/([^)]+)\)", TEXT))
    drawn = {f"{case.name}-{what}.png" for case in CASES if case.drawn for what in ("sheet", "strip")}
    assert linked == drawn
    files = {path.name: path.stat().st_size for path in (PAGE.parent / "images" / "distortions").iterdir()}
    assert set(files) == drawn
    assert sum(files.values()) < 3_000_000


def test_a_parameter_of_the_code_is_its_value_at_the_level() -> None:
    # What is shown must be what is used: the tables of PARAMETERS are read by the distortions themselves.
    sigma = PARAMETERS["noise"][0].shown(5)
    grey = Picture(
        np.full((128, 128), 128, np.uint8), np.full((64, 64), 128, np.uint8), np.full((64, 64), 128, np.uint8)
    )
    noisy = next(iter(distort([grey], "noise", 5, seed=1)))
    assert noisy.y.std() == pytest.approx(float(sigma), rel=0.03)


def test_variants_are_shown_with_seeds_that_draw_them() -> None:
    for case in CASES:
        rng = np.random.default_rng(case.seed)
        if case.kind == "compression":
            assert draw_codec(rng) == case.variant
        elif case.kind == "flicker":
            assert draw_gain_flicker(rng) == (case.variant == "gain")


def moving(count: int = 12) -> list[Picture]:
    x, y = np.arange(256)[None], np.arange(160)[:, None]
    half = np.full((80, 128), 128, np.uint8)
    return [
        Picture((110 + 50 * np.sin((x + 4 * t) / 4) + 20 * np.sin(y / 7)).astype(np.uint8), half, half)
        for t in range(count)
    ]


@pytest.mark.parametrize(
    "case", [Case("blur", corner=(40, 20), moment=5), Case("judder", corner=(40, 20), moment=None)]
)
def test_a_case_is_drawn_and_measured(tmp_path: Path, case: Case) -> None:
    values = show(case, moving(), tmp_path)
    assert len(values) == 5
    assert values == sorted(values)
    assert values[4] > values[0] >= 0
    with Image.open(tmp_path / f"{case.name}-sheet.png") as sheet:
        assert sheet.width > 3 * PANEL[0]
        assert sheet.height > 2 * PANEL[1]
    with Image.open(tmp_path / f"{case.name}-strip.png") as strip:
        assert len(np.unique(np.asarray(strip.convert("L")))) > 10


def test_a_sheet_shows_native_pixels_unchanged(tmp_path: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (PANEL[1] // 2, PANEL[0] // 2), np.uint8)
    write_sheet(tmp_path / "s.png", [Panel("a", "b", np.repeat(pixels[..., None], 3, axis=2))], "c")
    with Image.open(tmp_path / "s.png") as sheet:
        shown = np.asarray(sheet.convert("L"))
    wanted = pixels.repeat(2, axis=0).repeat(2, axis=1)
    corners = np.argwhere(shown == wanted[0, 0])
    assert any(np.array_equal(shown[r : r + wanted.shape[0], c : c + wanted.shape[1]], wanted) for r, c in corners)


def test_a_strip_draws_a_row_for_each_level(tmp_path: Path) -> None:
    rows = [Row(f"level {n}", "1", np.full((8, 10), 90, np.uint8), np.arange(10.0)) for n in range(4)]
    write_strip(tmp_path / "few.png", rows[:2], 25.0, "m", "c")
    write_strip(tmp_path / "many.png", rows, 25.0, "m", "c")
    with Image.open(tmp_path / "few.png") as few, Image.open(tmp_path / "many.png") as many:
        assert many.height > few.height


def test_a_table_replaces_the_old_one_between_its_marks() -> None:
    page = "a\n<!-- table: blur -->\nold\n<!-- end -->\nb\n<!-- table: noise -->\nkept\n<!-- end -->\n"
    filled = fill(page, "blur", table("blur", {"": [1, 2, 3, 4, 5]}))
    assert "old" not in filled
    assert "kept" in filled
    assert "| **measured:** edge energy lost, % | 1 | 2 | 3 | 4 | 5 |" in filled
    with pytest.raises(DataError, match="0 places for the table of black"):
        fill(page, "black", "x")


def test_missing_scenes_are_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.md"
    assert main(["sheets", "--scenes", str(tmp_path), "--page", str(page)]) == 2
    assert "page.md is missing" in capsys.readouterr().err
    page.touch()
    assert main(["sheets", "--scenes", str(tmp_path), "--page", str(page), "--kinds", "blur"]) == 1
    assert "no clip of the scene city" in capsys.readouterr().err
