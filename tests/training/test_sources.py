from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("PIL", reason="training needs pillow")
from PIL import Image

from training.sources import clean_clip, find_contents, split_contents, write_provenance

pytestmark = pytest.mark.train


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for name in "abcdefghijklmnop":
        values = np.kron(rng.integers(0, 255, (24, 40, 3), dtype=np.uint8), np.ones((20, 20, 1), np.uint8))
        Image.fromarray(values).save(tmp_path / f"still_{name}.png")
    Image.fromarray(np.zeros((100, 100, 3), np.uint8)).save(tmp_path / "small.png")
    (tmp_path / "manifest.csv").write_text(
        "file,origin,licence,attribution,stem\nstill_a.png,here,CC0-1.0,Somebody,shared\nstill_b.png,,,,shared\n"
    )
    return tmp_path


def test_small_material_is_left_out_and_an_empty_folder_is_named(folder: Path, tmp_path: Path) -> None:
    assert "small" not in {c.name for c in find_contents([folder])}
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match="empty"):
        find_contents([empty])


def test_a_stem_stands_on_one_side_and_added_material_moves_nothing(folder: Path) -> None:
    contents = find_contents([folder])
    assert {c.stem for c in contents if c.name in ("still_a", "still_b")} == {"shared"}
    train, held = split_contents(contents, 0.3)
    assert train
    assert held
    assert not {c.stem for c in train} & {c.stem for c in held}
    fewer_train, fewer_held = split_contents(contents[::2], 0.3)
    assert set(fewer_train) <= set(train)
    assert set(fewer_held) <= set(held)


def test_a_still_becomes_a_moving_clip_that_its_seed_repeats(folder: Path) -> None:
    contents = find_contents([folder])
    first = list(clean_clip(contents[0], contents, 6, (640, 360), np.random.default_rng(4)))
    again = list(clean_clip(contents[0], contents, 6, (640, 360), np.random.default_rng(4)))
    assert {p.y.shape for p in first} == {(360, 640)}
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a.y, b.y)
    assert np.abs(first[0].y.astype(int) - first[5].y).mean() > 0.5


def test_provenance_keeps_what_manifests_say_and_adds_up(folder: Path, tmp_path: Path) -> None:
    train, held = split_contents(find_contents([folder]), 0.3)
    file = tmp_path / "out" / "sources.csv"
    write_provenance(file, train, [])
    write_provenance(file, [], held)
    with file.open(newline="") as opened:
        rows = {row["file"]: row for row in csv.DictReader(opened)}
    assert len(rows) == len(train) + len(held)
    assert rows["still_a.png"]["licence"] == "CC0-1.0"
    assert {rows[f"{c.name}.png"]["side"] for c in held} == {"hold-out"}
