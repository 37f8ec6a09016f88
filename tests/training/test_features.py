"""``python -m training features``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from training import __main__ as front  # noqa: E402
from training.feature_set import read_feature_set  # noqa: E402

pytestmark = pytest.mark.train


@pytest.fixture
def data_set(tmp_path: Path, clip_maker: Callable[..., Path]) -> list[str]:
    """Arguments for two small clips."""
    rows = ["file,score,content,stem,distortion"]
    for name, size in (("a", (160, 128)), ("b", (192, 144))):
        clip_maker(tmp_path / "videos" / f"{name}.mp4", seconds=0.4, size=size)
        rows.append(f"{name}.mp4,{len(rows)}.5,{name},stem-{name},judder")
    (tmp_path / "scores.csv").write_text("\n".join(rows) + "\n")
    return ["--dataset", "manifest", "--scores", str(tmp_path / "scores.csv"), "--videos", str(tmp_path / "videos")]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Path:
    (tmp_path / "videos").mkdir()
    return tmp_path


def features(tmp_path: Path, data_set: list[str], *more: str, trunk: str = "random:18") -> int:
    where = ["--cache", str(tmp_path / "cache"), "--out", str(tmp_path / "out"), "--jobs", "1"]
    return front.main(["features", *data_set, "--trunk", trunk, *where, *more])


def test_there_is_an_index_for_each_rate(
    tmp_path: Path, data_set: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    rates = ["--fps", "native", "30000/1001", "5.0", "5"]
    assert features(tmp_path, data_set, "--width", "0.0625", *rates, "--domain", "here") == 0
    indices = [Path(line) for line in capsys.readouterr().out.splitlines()]
    name = "random-resnet18-x0.0625-fragments4x32"
    assert [index.name for index in indices] == [f"{name}-{rate}.csv" for rate in ("native", "30000_1001", "5")]
    sets = [read_feature_set(index) for index in indices]
    assert [[len(array) for array in data.features] for data in sets] == [[10, 10], [12, 12], [2, 2]]
    assert sets[0].names == ("a", "b")
    assert (sets[0].stems, sets[0].domains) == (("stem-a", "stem-b"), ("here", "here"))
    made_of = json.loads(indices[2].with_suffix(".json").read_text())
    assert (made_of["fps"], made_of["precision"], made_of["engine"]) == ("5", "f32", "openvino")
    # The trunk can be named by its folder from now on, and is the same one.
    assert features(tmp_path, data_set, "--fps", "5", trunk=made_of["folder"]) == 0
    assert capsys.readouterr().out == f"{indices[2]}\n"
    assert json.loads(indices[2].with_suffix(".json").read_text()) == made_of


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--fps", "fast"], 2, "frame rate"),
        (["--fps", "0"], 2, "frame rates"),
        (["--trunk", "random:34"], 2, "KIND:DEPTH"),
        (["--trunk", "random:18", "--input", "fragments:4x31"], 2, "even patch"),
        (["--trunk", "random:18", "--input", "whole"], 2, "input"),
        (["--trunk", "random:18", "--weights", "w.npz"], 2, "takes no weights"),
        (["--trunk", "imagenet:18", "--width", "0.5"], 2, "width 1"),
        (["--trunk", "no-such-bundle"], 1, "no-such-bundle"),
        (["--trunk", "trained:18", "--weights", "absent.npz"], 1, "absent.npz"),
        (["--scores", "absent.csv"], 1, "absent.csv"),
        (["--videos", "absent"], 1, "2 problems"),
    ],
)
def test_what_cannot_be_done_is_one_line(
    tmp_path: Path,
    data_set: list[str],
    capsys: pytest.CaptureFixture[str],
    more: list[str],
    status: int,
    message: str,
) -> None:
    assert features(tmp_path, data_set, *more) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m training: error: ")
    assert captured.err.count("\n") == 1
    assert message in captured.err
    assert not (tmp_path / "out").exists()
    assert not list((tmp_path / "cache").rglob("*.npy"))


@pytest.mark.parametrize("jobs", ["0", "-1", "two"])
def test_an_impossible_number_of_processes_is_a_usage_error(
    tmp_path: Path, data_set: list[str], capsys: pytest.CaptureFixture[str], jobs: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        features(tmp_path, data_set, "--jobs", jobs)
    assert caught.value.code == 2
    assert "process" in capsys.readouterr().err


def test_broken_clips_are_named_and_leave_no_index(
    tmp_path: Path, data_set: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "ab":
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(b"no video")
    assert features(tmp_path, data_set, "--width", "0.0625") == 1
    told = capsys.readouterr().err.splitlines()[-1]
    assert "features: 2 problems: a.mp4: " in told
    assert "b.mp4: " in told
    assert not (tmp_path / "out").exists()


def test_clips_of_one_name_are_refused_before_they_are_read(
    tmp_path: Path, clip_maker: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "xy":
        (tmp_path / "videos" / name).mkdir()
        clip_maker(tmp_path / "videos" / name / "1.mp4", seconds=0.2)
    (tmp_path / "scores.csv").write_text("file,score,content\nx/1.mp4,1,x\ny/1.mp4,2,y\n")
    arguments = [
        "--dataset",
        "manifest",
        "--scores",
        str(tmp_path / "scores.csv"),
        "--videos",
        str(tmp_path / "videos"),
    ]
    assert features(tmp_path, arguments, "--width", "0.0625") == 1
    assert "1: name used twice" in capsys.readouterr().err
    assert not list((tmp_path / "cache").rglob("*.npy"))
