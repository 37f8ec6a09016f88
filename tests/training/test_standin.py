"""The stand-in set."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

pytest.importorskip("scipy", reason="needs the train extra (scipy)")

from PIL import Image

from training import __main__ as front
from training.clips import read_frames
from training.datasets import manifest
from training.errors import DataError, UsageError
from training.standin import COLUMNS, Settings, find_standin_contents, make_content, make_standin, read_content

pytestmark = pytest.mark.train

SETTINGS = Settings(("judder", "frame_drop", "blur"), (1, 3), 1.0, 256, 144, 7)
VERSIONS = 1 + 3 * 2
#: Rate of each source; the fast one is taken at 25, the long one gives two halves.
RATES = {"slow": 24, "pal": 25, "ntsc": 30, "fast": 50, "long": 25}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for name, fps in RATES.items():
        clip_maker(folder / f"{name}.mp4", size=(640, 360), fps=fps, seconds=2.2 if name == "long" else 1.2)
    (folder / "manifest.csv").write_text("file,licence,stem\npal.mp4,CC0,street\n")
    clip_maker(folder / "small.mp4", size=(300, 170), seconds=1.2)
    clip_maker(folder / "short.mp4", size=(640, 360), seconds=0.4)
    clip_maker(folder / "sound.mp4", video=False, audio=True)
    return folder


@pytest.fixture(scope="module")
def made(sources: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole set; not to be written to."""
    out = tmp_path_factory.mktemp("standin")
    make_standin([sources], out, SETTINGS, 1)
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_content_has_every_version(made: Path) -> None:
    found = rows(made)
    contents = {row["content"] for row in found}
    assert contents == {"slow", "pal", "ntsc", "fast", "long_p1", "long_p2"}
    wanted = {("clean", "0")} | {(kind, str(level)) for kind in SETTINGS.types for level in SETTINGS.levels}
    for content in contents:
        assert {(r["distortion"], r["level"]) for r in found if r["content"] == content} == wanted
    assert len(found) == len({row["file"] for row in found}) == 6 * VERSIONS
    assert len(manifest(made / "manifest.csv", made / "clips")) == len(found)


def test_halves_of_a_source_share_a_stem_and_manifests_may_name_it(made: Path) -> None:
    stems = {row["content"]: row["stem"] for row in rows(made)}
    assert stems["long_p1"] == stems["long_p2"] == "long"
    assert stems["pal"] == "street"
    assert len(set(stems.values())) == 5


def test_every_clip_has_as_many_pictures_at_its_sources_own_rate(made: Path) -> None:
    for row in rows(made):
        source = row["content"].removesuffix("_p1").removesuffix("_p2")
        fps = RATES[source] if RATES[source] < 47 else RATES[source] // 2
        assert (row["fps"], row["pictures"]) == (str(fps), str(fps))
        with av.open(str(made / "clips" / row["file"])) as container:
            stream = container.streams.video[0]
            assert (stream.width, stream.height, stream.average_rate) == (256, 144, fps)
            times = [frame.pts * frame.time_base for frame in container.decode(stream)]
        assert times == [Fraction(i, fps) for i in range(fps)]


def test_labels_fall_with_the_level_and_never_exceed_the_clean_clips(made: Path) -> None:
    found = {(row["content"], row["distortion"], int(row["level"])): float(row["score"]) for row in rows(made)}
    for (content, kind, level), score in found.items():
        clean = found[content, "clean", 0]
        assert 0 < score <= clean
        if kind in ("judder", "frame_drop"):
            assert score < clean
            if level == 3:
                assert score < found[content, kind, 1]


def test_every_label_says_what_it_is_made_of_and_calls_itself_no_opinion(made: Path) -> None:
    for row in rows(made):
        assert tuple(row) == COLUMNS
        assert row["source"]
        assert float(row["ssim_db"]) > 0
        assert float(row["motion"]) > 0
        if row["distortion"] == "clean":
            assert (row["label_source"], row["anchor"]) == ("clean", "")
        else:
            source, anchor = {"judder": ("rank", "LIVE"), "frame_drop": ("rank", "LIVE")}.get(
                row["distortion"], ("full-reference", "ours")
            )
            assert row["label_source"] == source
            assert row["anchor_source"].startswith(anchor)
            assert float(row["anchor"]) > 0
    assert {row["licence"] for row in rows(made) if row["content"] == "pal"} == {"CC0"}
    assert "mos" not in (made / "manifest.csv").read_text().lower()


def test_xpsnr_grades_spatial_types_where_it_is_asked_for(made: Path, sources: Path, tmp_path: Path) -> None:
    assert {row["xpsnr_db"] for row in rows(made)} == {""}
    settings = replace(SETTINGS, types=("blur",), levels=(3,), reference="xpsnr")
    make_standin([sources], tmp_path, settings, 1)
    by_ssim = {row["file"]: row for row in rows(made)}
    for row in rows(tmp_path):
        before = by_ssim[row["file"]]
        if row["distortion"] == "blur":
            assert row["label_source"] == "full-reference (XPSNR)"
            assert 10 < float(row["xpsnr_db"]) < 60
        else:
            assert row == before
        assert (tmp_path / "clips" / row["file"]).read_bytes() == (made / "clips" / row["file"]).read_bytes()
    with pytest.raises(UsageError, match="other settings"):
        make_standin([sources], tmp_path, replace(settings, reference="ssim"), 1)


def test_a_set_made_before_there_was_a_choice_goes_on(made: Path, sources: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made, tmp_path / "set"))
    record = json.loads((out / "standin.json").read_text())
    (out / "standin.json").write_text(json.dumps({k: v for k, v in record.items() if k != "reference"}))
    for file in (out / "facts").iterdir():
        told = [{k: v for k, v in row.items() if k != "xpsnr_db"} for row in json.loads(file.read_text())]
        file.write_text(json.dumps(told))
    make_standin([sources], out, SETTINGS, 1)
    assert (out / "manifest.csv").read_text() == (made / "manifest.csv").read_text()


def test_the_same_seed_gives_the_same_bytes_and_another_one_others(made: Path, sources: Path, tmp_path: Path) -> None:
    (content,) = [c for c in find_standin_contents([sources], SETTINGS) if c.name == "slow"]
    for seed in (7, 8):
        for folder in ("clips", "facts"):
            (tmp_path / str(seed) / folder).mkdir(parents=True)
        make_content(content, tmp_path / str(seed), replace(SETTINGS, seed=seed))
    same, other = (sorted((tmp_path / seed / "clips").iterdir()) for seed in ("7", "8"))
    assert len(same) == VERSIONS
    for file in same:
        assert file.read_bytes() == (made / "clips" / file.name).read_bytes()
    assert (tmp_path / "7" / "facts" / "slow.json").read_text() == (made / "facts" / "slow.json").read_text()
    assert any(a.read_bytes() != b.read_bytes() for a, b in zip(same, other, strict=True))


def test_the_set_is_of_moving_pictures(made: Path) -> None:
    """Damage is seen in the pictures, not in the labels alone."""
    clips = {clip.name: clip for clip in manifest(made / "manifest.csv", made / "clips")}
    shown = {
        name: [frame.to_ndarray()[:144].tobytes() for frame in read_frames(clips[f"pal_144_{name}"])]
        for name in ("clean", "judder3")
    }
    assert len(set(shown["clean"])) == 25
    assert shown["clean"] != shown["judder3"]


def test_an_interrupted_set_goes_on(made: Path, sources: Path, tmp_path: Path) -> None:
    out = Path(shutil.copytree(made, tmp_path / "set"))
    (out / "facts" / "pal.json").unlink()
    (out / "clips" / "pal_144_clean.mp4").unlink()
    (out / "clips" / "pal_144_blur1.mp4").write_bytes(b"half")
    (out / "manifest.csv").unlink()
    before = {file.name: file.stat().st_mtime_ns for file in (out / "clips").iterdir()}
    make_standin([sources], out, SETTINGS, 2)
    after = {file.name: file.stat().st_mtime_ns for file in (out / "clips").iterdir()}
    changed = {name for name in after if after[name] != before.get(name)}
    assert {name.split("_")[0] for name in changed} == {"pal"}
    assert len(changed) == VERSIONS
    for file in (*(made / "clips").iterdir(), made / "manifest.csv"):
        assert (out / file.relative_to(made)).read_bytes() == file.read_bytes()


def test_a_folder_holds_one_set(made: Path, sources: Path) -> None:
    before = (made / "standin.json").read_text()
    with pytest.raises(UsageError, match="other settings"):
        make_standin([sources], made, replace(SETTINGS, seed=8), 1)
    assert (made / "standin.json").read_text() == before


def test_too_few_contents_and_names_used_twice_are_told(sources: Path, tmp_path: Path) -> None:
    few = tmp_path / "few"
    few.mkdir()
    shutil.copy(sources / "pal.mp4", few)
    with pytest.raises(DataError, match="1 usable contents; a split needs 5"):
        find_standin_contents([few], SETTINGS)
    with pytest.raises(DataError, match="pal: name used twice"):
        find_standin_contents([sources, few], SETTINGS)


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--seconds", "0.2"], 2, "--seconds"),
        (["--height", "145"], 2, "--height"),
        (["--height", "720"], 1, "0 usable contents"),
        (["--sources", "absent"], 1, "absent"),
        (["--sources", "broken"], 1, "torn.mp4"),
    ],
)
def test_what_cannot_be_made_is_one_line(
    sources: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "torn.mp4").write_bytes(b"no video")
    assert front.main(["standin", "--sources", str(sources), "--out", "out", *more]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--types", "wobble"], ["--levels", "9"], ["--jobs", "0"], ["--seconds", "long"]])
def test_words_that_are_none_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        front.main(["standin", "--sources", str(tmp_path), "--out", str(tmp_path / "out"), *more])
    assert caught.value.code == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_still_is_a_content_seen_by_a_moving_camera(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (12, 20, 3), dtype=np.uint8))
    for name in ("a", "b", "c", "d", "e"):
        coarse.rotate(ord(name)).resize((640, 400)).save(tmp_path / f"still_{name}.png")
    found = find_standin_contents([tmp_path], SETTINGS)
    assert [(content.fps, content.source.is_video) for content in found] == [(Fraction(25), False)] * 5
    first, again = (read_content(found[0], (256, 144), 12) for _ in range(2))
    assert all((p.y == q.y).all() for p, q in zip(first, again, strict=True))
    steps = [np.abs(b.y.astype(int) - a.y).mean() for a, b in pairwise(first)]
    assert min(steps) > 0
