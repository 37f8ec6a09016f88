"""Reading of data sets and raw video."""

from __future__ import annotations

import csv
import tracemalloc
from collections import Counter
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from monitor.types import CAUSES
from training import clips, datasets
from training.clips import Clip
from training.errors import DataError

HALVES = {
    "1Runner_1": {"1Runner_1_p1_", "1Runner_1_p2_"},
    "Kickoff": {"Kickoffp1_", "Kickoffp2_"},
    "KickoffNarrow": {"KickoffNarrowp1_", "KickoffNarrowp2_"},
    "LongJump1": {"LongJump1__", "LongJump1p2__"},
    "LongJump2": {"LongJump2__", "LongJump2p2__"},
    "LongJump3": {"LongJump3p1__", "LongJump3p2__"},
    "QuarterBackSneak": {"QuarterBackSneakp1_", "QuarterBackSneakp2_"},
    "TouchdownDay": {"TouchdownDayp1_", "TouchdownDayp2_"},
    "TouchdownPass": {"TouchdownPassp1_", "TouchdownPassp2_"},
    "bbpoint": {"bbpointp1_", "bbpointp2_"},
    "crowdgreen": {"crowdgreenp1_", "crowdgreenp2_"},
    "ntbasketball": {"ntbasketballp1_", "ntbasketballp2_"},
}
WHOLE = (
    "1Runner 2Runners 3Runners_male Discus_1 Discus_male Flips_2 Football Hammer Hurdles Hurdles_2 Jockey "
    "JumpRope JumpRope_2 MCML03basketball Runners Soccer csrc11 netflixcrowdrun skateboarding src05 src09"
).split()


def write_csv(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def blank(path: Path, size: int) -> None:
    """A file of zeros that takes no room on disk."""
    with path.open("wb") as file:
        file.truncate(size)


LIVE_HEADER = "video,distortion,distortionType,resolution,MOS,DMOS"
FRAME_1080 = 1920 * 1080 * 3 // 2


@pytest.fixture
def live_folder(tmp_path: Path, shared_dir: Path) -> tuple[Path, Path]:
    scores = shared_dir / "reference" / "live_apv_scores.csv"
    with scores.open(newline="") as file:
        for row in csv.DictReader(file):
            blank(tmp_path / row["video"], FRAME_1080 * (4 if "_2160_" in row["video"] else 1))
    return scores, tmp_path


def test_all_live_apv_contents_and_versions_are_read(live_folder: tuple[Path, Path]) -> None:
    found = datasets.live_apv(*live_folder)
    assert len(found) == 315
    assert set(Counter(clip.content for clip in found).values()) == {7}
    assert len({clip.content for clip in found}) == 45
    for content in {clip.content for clip in found}:
        kinds = {clip.distortion for clip in found if clip.content == content}
        assert kinds == set(CAUSES) - {"blur", "noise"}
    per_size = Counter((clip.width, clip.height, clip.fps) for clip in found if clip.distortion == "clean")
    assert per_size == {(3840, 2160, 30): 23, (1920, 1080, 30): 15, (1920, 1080, 25): 7}
    assert min(clip.label for clip in found) == pytest.approx(16.89032741)


def test_live_apv_halves_share_a_stem_and_nothing_else_does(live_folder: tuple[Path, Path]) -> None:
    members: dict[str, set[str]] = {}
    for clip in datasets.live_apv(*live_folder):
        members.setdefault(clip.stem, set()).add(clip.content.split("2160")[0].split("1080")[0])
    assert {stem: names for stem, names in members.items() if len(names) > 1} == HALVES
    assert sorted(stem for stem, names in members.items() if len(names) == 1) == sorted(WHOLE)
    assert len(members) == 33


def test_live_apv_accepts_the_other_frame_rate_in_the_file_name(tmp_path: Path) -> None:
    scores = write_csv(tmp_path / "s.csv", LIVE_HEADER, "bbpointp1_1080_25fps_a.yuv,a,aliasing,1080p,26.3,37.4")
    blank(tmp_path / "bbpointp1_1080_30fps_a.yuv", FRAME_1080)
    (clip,) = datasets.live_apv(scores, tmp_path)
    assert clip.path.name == "bbpointp1_1080_30fps_a.yuv"
    assert clip.content == "bbpointp1_1080_25fps"
    assert clip.fps == 25


def test_every_fault_is_named_in_one_error(tmp_path: Path) -> None:
    scores = write_csv(
        tmp_path / "s.csv",
        LIVE_HEADER,
        "gone_1080_30fps_a.yuv,a,aliasing,1080p,50,0",
        "short_1080_30fps_c.yuv,c,compression,1080p,50,0",
        "none_1080_30fps_d.yuv,d,framedrop,1080p,50,0",
        "liar_1080_30fps_f.yuv,f,judder,1080p,50,0",
        "tall_1080_30fps_i.yuv,i,interlacing,4k,50,0",
        "mute_1080_30fps_j.yuv,j,judder,1080p,nan,0",
        "odd name.yuv,o,original,1080p,50,0",
    )
    blank(tmp_path / "short_1080_30fps_c.yuv", FRAME_1080 + 10)
    blank(tmp_path / "none_1080_30fps_d.yuv", 0)
    with pytest.raises(DataError) as caught:
        datasets.live_apv(scores, tmp_path)
    assert len(caught.value.problems) == 7
    text = str(caught.value)
    assert "\n" not in text
    for part in ("gone_1080_30fps_a.yuv: missing", "short_1080_30fps_c.yuv: truncated", "none_", "liar_"):
        assert part in text
    for part in ("tall_", "line 7: score is nan", "odd name"):
        assert part in text


def test_a_clip_listed_twice_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"x")
    scores = write_csv(tmp_path / "m.csv", "file,score,content", "a.mp4,1,a", "a.mp4,2,b")
    with pytest.raises(DataError, match=r"a\.mp4: listed twice"):
        datasets.manifest(scores, tmp_path)


def test_missing_columns_are_named(tmp_path: Path) -> None:
    scores = write_csv(tmp_path / "m.csv", "file,mos", "a.mp4,1")
    with pytest.raises(DataError, match=r"no column 'score'; no column 'content'"):
        datasets.manifest(scores, tmp_path)


def test_an_empty_list_and_an_absent_one_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no clips"):
        datasets.manifest(write_csv(tmp_path / "m.csv", "file,score,content"), tmp_path)
    with pytest.raises(DataError, match="cannot be read"):
        datasets.manifest(tmp_path / "absent.csv", tmp_path)


def test_konvid_videos_are_named_by_flickr_id(tmp_path: Path) -> None:
    (tmp_path / "10003.mp4").write_bytes(b"x")
    scores = write_csv(tmp_path / "KoNViD_1k_mos.csv", "flickr_id,mos", "10003,3.2")
    (clip,) = datasets.konvid_1k(scores, tmp_path)
    assert (clip.path.name, clip.content, clip.label, clip.raw) == ("10003.mp4", "10003", 3.2, False)


def test_lsvq_names_may_hold_folders(tmp_path: Path) -> None:
    (tmp_path / "yfcc-batch2").mkdir()
    (tmp_path / "yfcc-batch2" / "12.mp4").write_bytes(b"x")
    scores = write_csv(tmp_path / "l.csv", "name,height,mos,is_test", "yfcc-batch2/12,720,61.5,False")
    (clip,) = datasets.lsvq(scores, tmp_path)
    assert clip.path == tmp_path / "yfcc-batch2" / "12.mp4"
    assert clip.label == 61.5


def test_manifest_carries_what_raw_video_needs(tmp_path: Path) -> None:
    blank(tmp_path / "a.yuv", 64 * 36 * 3)
    scores = write_csv(
        tmp_path / "m.csv",
        "file,score,content,width,height,fps,pix_fmt,stem,distortion",
        "a.yuv,0.5,match,64,36,30000/1001,yuv420p,stadium,judder",
    )
    (clip,) = datasets.manifest(scores, tmp_path)
    assert clip == Clip(tmp_path / "a.yuv", "match", "stadium", 0.5, "judder", 64, 36, Fraction(30000, 1001), "yuv420p")
    bare = write_csv(tmp_path / "n.csv", "file,score,content", "a.yuv,0.5,match")
    with pytest.raises(DataError, match="raw video needs width, height and fps"):
        datasets.manifest(bare, tmp_path)


@pytest.mark.parametrize(("column", "value"), [("fps", "1/0"), ("width", "wide"), ("fps", "-5"), ("width", "63")])
def test_impossible_raw_geometry_is_an_error(tmp_path: Path, column: str, value: str) -> None:
    blank(tmp_path / "a.yuv", 64 * 36 * 3)
    cells = {"width": "64", "height": "36", "fps": "25"} | {column: value}
    scores = write_csv(
        tmp_path / "m.csv", "file,score,content,width,height,fps", "a.yuv,1,a," + ",".join(cells.values())
    )
    with pytest.raises(DataError):
        datasets.manifest(scores, tmp_path)


def raw_clip(path: Path, frames: int, width: int = 70, height: int = 54, fps: str = "30000/1001") -> Clip:
    data = np.random.default_rng(0).integers(0, 256, frames * width * height * 3 // 2, dtype=np.uint8)
    path.write_bytes(data.tobytes())
    return Clip(path, "c", "c", 1.0, None, width, height, Fraction(fps), "yuv420p")


def test_raw_planes_are_the_bytes_of_the_file(tmp_path: Path) -> None:
    clip = raw_clip(tmp_path / "a.yuv", 3)
    kept = list(clips.read_raw_planes(clip))
    assert [plane.shape for plane in kept[0]] == [(54, 70), (27, 35), (27, 35)]
    assert b"".join(plane.tobytes() for planes in kept for plane in planes) == clip.path.read_bytes()


def test_raw_frames_carry_planes_and_exact_time_stamps(tmp_path: Path) -> None:
    clip = raw_clip(tmp_path / "a.yuv", 5)
    frames = list(clips.read_raw_yuv(clip))
    assert [frame.pts for frame in frames] == [0, 3003, 6006, 9009, 12012]
    assert all(frame.time_base == Fraction(1, 90000) for frame in frames)
    planes = [np.concatenate([p.reshape(-1) for p in ps]) for ps in clips.read_raw_planes(clip)]
    for frame, flat in zip(frames, planes, strict=True):
        assert frame.format.name == "yuv420p"
        np.testing.assert_array_equal(frame.to_ndarray().reshape(-1), flat)


def test_a_file_that_shrinks_while_read_is_an_error(tmp_path: Path) -> None:
    clip = raw_clip(tmp_path / "a.yuv", 2)
    clip.path.write_bytes(clip.path.read_bytes()[:-1])
    with pytest.raises(DataError, match="truncated"):
        list(clips.read_raw_yuv(clip))


def test_reading_2160p_holds_about_one_frame(tmp_path: Path) -> None:
    frame_bytes = 3840 * 2160 * 3 // 2
    blank(tmp_path / "a.yuv", 6 * frame_bytes)
    clip = Clip(tmp_path / "a.yuv", "c", "c", 1.0, None, 3840, 2160, Fraction(30))
    tracemalloc.start()
    try:
        count = sum(1 for _ in clips.read_raw_planes(clip))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 6
    assert peak < 2.5 * frame_bytes


def test_containers_and_raw_files_are_read_the_same_way(tmp_path: Path) -> None:
    raw = raw_clip(tmp_path / "a.yuv", 4, 64, 48, "25")
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for frame in clips.read_raw_yuv(raw):
            frame.pts = None
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    boxed = [frame.to_ndarray() for frame in clips.read_frames(Clip(path, "c", "c", 1.0))]
    np.testing.assert_array_equal(boxed, [frame.to_ndarray() for frame in clips.read_frames(raw)])
    for ours, theirs in zip(clips.read_planes(raw), clips.read_planes(Clip(path, "c", "c", 1.0)), strict=True):
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_array_equal(a, b)


def test_a_damaged_container_is_a_data_error(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"not a video" * 100)
    with pytest.raises(DataError, match=r"a\.mp4: 1 problem: cannot be decoded"):
        list(clips.read_frames(Clip(tmp_path / "a.mp4", "c", "c", 1.0)))
