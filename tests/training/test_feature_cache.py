"""Cached features: found again by what they were made of, whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from engines import Precision, open_engine  # noqa: E402
from training import feature_cache  # noqa: E402
from training.clips import Clip  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.feature_cache import Extraction, digest_of, extract_all, extract_clip  # noqa: E402
from training.trunk_graph import TrunkGraph  # noqa: E402
from training.trunk_sources import choose_trunk  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture(scope="module")
def trunk(tmp_path_factory: pytest.TempPathFactory) -> TrunkGraph:
    return choose_trunk("random:18", None, 0.0625, None).make(tmp_path_factory.mktemp("trunks"))


@pytest.fixture
def work(trunk: TrunkGraph, tmp_path: Path) -> Extraction:
    return Extraction(trunk, ("native", "5"), tmp_path / "cache")


@pytest.fixture
def clips(tmp_path: Path, clip_maker: Callable[..., Path]) -> list[Clip]:
    sizes = {"a": (160, 128), "b": (192, 144), "c": (176, 144)}
    return [
        Clip(clip_maker(tmp_path / f"{name}.mp4", seconds=0.4, size=size), name, name, 1.0)
        for name, size in sizes.items()
    ]


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the clips that are decoded from now on."""
    names: list[str] = []
    extract = feature_cache.extract_features

    def counted(frames: object, rates: object, engine: object, spec: object, name: str) -> dict[str, np.ndarray]:
        names.append(name)
        return extract(frames, rates, engine, spec, name)  # type: ignore[arg-type]

    monkeypatch.setattr(feature_cache, "extract_features", counted)
    return names


def arrays(files: list[dict[str, Path]]) -> list[np.ndarray]:
    return [np.load(file) for by_rate in files for file in by_rate.values()]


def test_each_clip_has_a_file_for_each_rate(work: Extraction, clips: list[Clip]) -> None:
    found = extract_all(clips, work)
    assert [sorted(by_rate) for by_rate in found] == [["5", "native"]] * 3
    assert [array.shape for array in arrays(found)] == [(10, 64), (2, 64)] * 3
    assert all(array.dtype == np.float32 for array in arrays(found))
    assert len({file for by_rate in found for file in by_rate.values()}) == 6


def test_an_extraction_that_was_stopped_goes_on(
    work: Extraction, clips: list[Clip], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = feature_cache.extract_features

    def stopped(frames: object, rates: object, engine: object, spec: object, name: str) -> dict[str, np.ndarray]:
        if name == "c.mp4":
            raise KeyboardInterrupt
        return extract(frames, rates, engine, spec, name)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache, "extract_features", stopped)
        with pytest.raises(KeyboardInterrupt):
            extract_all(clips, work)
    assert decoded == ["a.mp4", "b.mp4"]
    before = {file: file.stat().st_mtime_ns for file in work.cache.rglob("*.npy")}
    assert len(before) == 4
    found = extract_all(clips, work)
    assert decoded == ["a.mp4", "b.mp4", "c.mp4"]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert len(arrays(found)) == 6


def test_a_kill_while_a_file_is_written_leaves_none_under_its_name(
    work: Extraction, clips: list[Clip], decoded: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def torn(file: object, array: np.ndarray) -> None:
        file.write(b"half of a header")  # type: ignore[attr-defined]
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(feature_cache.np, "save", torn)
        with pytest.raises(KeyboardInterrupt):
            extract_all(clips[:1], work)
    assert not list(work.cache.rglob("*.npy"))
    assert [array.shape for array in arrays(extract_all(clips[:1], work))] == [(10, 64), (2, 64)]


def test_only_the_rates_that_are_missing_are_made(work: Extraction, clips: list[Clip], decoded: list[str]) -> None:
    (first,) = extract_all(clips[:1], work)
    stamp = first["native"].stat().st_mtime_ns
    (second,) = extract_all(clips[:1], replace(work, rates=("native", "10")))
    assert len(decoded) == 2
    assert second["native"] == first["native"]
    assert second["native"].stat().st_mtime_ns == stamp
    assert np.load(second["10"]).shape == (4, 64)


def test_a_clip_of_another_name_is_not_read_again_and_a_changed_one_is(
    work: Extraction, clips: list[Clip], decoded: list[str]
) -> None:
    (before,) = extract_all(clips[:1], work)
    moved = replace(clips[0], path=clips[0].path.with_name("moved.mp4"))
    clips[0].path.rename(moved.path)
    assert extract_all([moved], work) == [before]
    assert decoded == ["a.mp4"]
    shutil.copyfile(clips[1].path, moved.path)
    (after,) = extract_all([moved], work)
    assert decoded == ["a.mp4", "moved.mp4"]
    assert not set(after.values()) & set(before.values())


def test_everything_that_makes_a_feature_names_its_file(work: Extraction, trunk: TrunkGraph) -> None:
    raw = Clip(Path("a.yuv"), "c", "c", 1.0, None, 64, 48, Fraction(25), "yuv420p")
    boxed = Clip(Path("a.mp4"), "c", "c", 1.0)
    other = replace(trunk, sha256="0" * 64)
    files = [
        work.file("d" * 64, raw, "native"),
        work.file("e" * 64, raw, "native"),
        work.file("d" * 64, raw, "5"),
        work.file("d" * 64, replace(raw, fps=Fraction(30)), "native"),
        work.file("d" * 64, replace(raw, width=48, height=64), "native"),
        work.file("d" * 64, boxed, "native"),
        replace(work, trunk=other).file("d" * 64, raw, "native"),
        replace(work, precision=Precision.BF16).file("d" * 64, raw, "native"),
        replace(work, engine="torch").file("d" * 64, raw, "native"),
    ]
    assert len(set(files)) == len(files)
    # Labels, groups and the path do not.
    same = replace(raw, path=Path("x/b.yuv"), label=2.0, content="d", stem="e", distortion="blur")
    assert work.file("d" * 64, same, "native") == files[0]


def test_raw_geometry_is_part_of_what_is_read(work: Extraction, tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(16, 236, 4 * 64 * 48 * 3 // 2, dtype=np.uint8)
    (tmp_path / "a.yuv").write_bytes(data.tobytes())
    clip = Clip(tmp_path / "a.yuv", "c", "c", 1.0, None, 64, 48, Fraction(25), "yuv420p")
    slow, turned = replace(clip, fps=Fraction(10)), replace(clip, width=48, height=64)
    found = extract_all([clip, slow, turned], work)
    assert [len(np.load(by_rate["5"])) for by_rate in found] == [1, 2, 1]
    native = [np.load(by_rate["native"]) for by_rate in found]
    np.testing.assert_array_equal(native[0], native[1])
    assert not np.allclose(native[0], native[2])


@pytest.mark.parametrize("jobs", [1, 2])
def test_all_broken_clips_are_named_and_the_good_ones_are_kept(
    work: Extraction, clips: list[Clip], tmp_path: Path, decoded: list[str], jobs: int
) -> None:
    whole = clips[0].path.read_bytes()
    (tmp_path / "x.mp4").write_bytes(whole[: len(whole) // 3])
    (tmp_path / "y.mp4").write_bytes(b"no video")
    broken = [Clip(tmp_path / f"{name}.mp4", name, name, 1.0) for name in "xy"]
    with pytest.raises(DataError) as caught:
        extract_all([broken[0], *clips, broken[1]], work, jobs)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["x.mp4", "y.mp4"]
    assert "\n" not in str(caught.value)
    decoded.clear()
    assert len(extract_all(clips, work)) == 3
    assert decoded == []


def test_many_processes_make_the_files_that_one_makes(work: Extraction, clips: list[Clip], tmp_path: Path) -> None:
    # Copies are one file in the cache, which two processes then make at once.
    copies = [replace(clips[0], path=tmp_path / f"copy{i}.mp4") for i in range(3)]
    for copy in copies:
        shutil.copyfile(clips[0].path, copy.path)
    one = extract_all([*clips, *copies], replace(work, cache=tmp_path / "one"), 1)
    two = extract_all([*clips, *copies], replace(work, cache=tmp_path / "two"), 2)
    names = [
        [{rate: file.relative_to(tmp_path / cache) for rate, file in each.items()} for each in found]
        for cache, found in (("one", one), ("two", two))
    ]
    assert names[0] == names[1]
    assert names[0][0] == names[0][3] == names[0][5]
    for ours, theirs in zip(arrays(one), arrays(two), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)
    assert not list(tmp_path.rglob("*.part"))


def test_digests_are_remembered_until_size_or_time_change(tmp_path: Path) -> None:
    file, cache = tmp_path / "a.yuv", tmp_path / "cache"
    file.write_bytes(b"first")
    first = digest_of(file, cache)
    status = file.stat()
    file.write_bytes(b"other")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert digest_of(file, cache) == first  # not read again
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    other = digest_of(file, cache)
    assert other != first
    file.write_bytes(b"longer than before")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert digest_of(file, cache) not in (first, other)
    # A record that was cut short is no record.
    for record in (cache / "digests").iterdir():
        record.write_text("")
    file.write_bytes(b"first")
    assert digest_of(file, cache) == first


def test_one_clip_needs_no_data_set(work: Extraction, clips: list[Clip], trunk: TrunkGraph) -> None:
    engine = open_engine(trunk.bundle(), precision=Precision.F32)
    files = extract_clip(clips[0], work, engine)
    assert np.load(files["native"]).shape == (10, trunk.feature_size)
