"""Cached features and their index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.clips import Clip
from training.errors import DataError
from training.feature_set import load_features, read_feature_set, write_index


def save(path: Path, *shape: int, dtype: str = "float32") -> Path:
    np.save(path, np.arange(np.prod(shape)).reshape(shape).astype(dtype))
    return path


def test_an_index_comes_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    files = [save(tmp_path / "f" / "a.npy", 3, 4), save(tmp_path / "f" / "b.npy", 5, 4, dtype="float16")]
    clips = [
        Clip(Path("a.yuv"), "match", "stadium", 1 / 3, "judder"),
        Clip(Path("b.yuv"), "run", "track", 60.0),
    ]
    write_index(tmp_path / "index.csv", clips, files, domain="apv")
    data = read_feature_set(tmp_path / "index.csv")
    assert data.names == ("a", "b")
    assert data.labels.tolist() == [1 / 3, 60.0]
    assert (data.contents, data.stems) == (("match", "run"), ("stadium", "track"))
    assert (data.distortions, data.domains) == (("judder", ""), ("apv", "apv"))
    assert data.width == 4
    np.testing.assert_array_equal(data.features[1], np.load(files[1]))
    assert data.groups("stem") == ("stadium", "track")
    with pytest.raises(ValueError, match="content or stem"):
        data.groups("fps")


def test_clips_are_named_by_the_index_and_not_by_where_their_features_lie(tmp_path: Path) -> None:
    shared = save(tmp_path / "0123abcd.npy", 3, 4)
    clips = [Clip(Path("x/original.mp4"), "m", "m", 1.0), Clip(Path("x/copy.mp4"), "m", "m", 2.0)]
    write_index(tmp_path / "index.csv", clips, [shared, shared])
    assert read_feature_set(tmp_path / "index.csv").names == ("original", "copy")
    (tmp_path / "bare.csv").write_text("features,score,content\n0123abcd.npy,1,x\n")
    assert read_feature_set(tmp_path / "bare.csv").names == ("0123abcd",)


def test_stem_and_domain_are_optional(tmp_path: Path) -> None:
    save(tmp_path / "a.npy", 1, 4)
    (tmp_path / "i.csv").write_text("features,score,content\na.npy,1,x\n")
    data = read_feature_set(tmp_path / "i.csv")
    assert (data.stems, data.domains) == (("x",), ("",))


def test_every_fault_is_named_in_one_error(tmp_path: Path) -> None:
    save(tmp_path / "good.npy", 2, 4)
    save(tmp_path / "flat.npy", 8)
    save(tmp_path / "none.npy", 0, 4)
    save(tmp_path / "whole.npy", 2, 4, dtype="int64")
    (tmp_path / "torn.npy").write_bytes((tmp_path / "good.npy").read_bytes()[:-3])
    np.save(tmp_path / "nan.npy", np.full((2, 4), np.nan, np.float32))
    rows = ["good.npy,1,a", "flat.npy,1,a", "none.npy,1,a", "whole.npy,1,a", "torn.npy,1,a", "nan.npy,1,a"]
    rows += ["absent.npy,1,a", "good.npy,high,a", "good.npy,1,"]
    (tmp_path / "i.csv").write_text("\n".join(["features,score,content", *rows]) + "\n")
    with pytest.raises(DataError) as caught:
        read_feature_set(tmp_path / "i.csv")
    assert [problem.split(":")[0] for problem in caught.value.problems] == [f"line {i}" for i in range(3, 11)]
    assert "\n" not in str(caught.value)


def test_widths_and_names_must_agree(tmp_path: Path) -> None:
    for name, width in (("a", 4), ("b", 3)):
        save(tmp_path / f"{name}.npy", 2, width)
    (tmp_path / "i.csv").write_text("features,score,content\na.npy,1,x\nb.npy,1,x\na.npy,nan,x\n")
    with pytest.raises(DataError) as caught:
        read_feature_set(tmp_path / "i.csv")
    assert len(caught.value.problems) == 3
    for part in ("b: features must be (T >= 1, 4), got (2, 3)", "a: listed twice", "a: score is nan"):
        assert part in str(caught.value)


@pytest.mark.parametrize("text", ["features,score\n", "features,score,content\n", ""])
def test_an_index_without_columns_or_clips_is_an_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "i.csv").write_text(text)
    with pytest.raises(DataError):
        read_feature_set(tmp_path / "i.csv")


def test_features_are_not_unpickled(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match=r"a\.npy"):
        load_features(tmp_path / "a.npy")
    np.savez(tmp_path / "b.npz", x=np.zeros((2, 2)))
    with pytest.raises(DataError, match="archive"):
        load_features(tmp_path / "b.npz")
