"""``python -m training study``: stopped, gone on with, refused, reported."""

from __future__ import annotations

import argparse
import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")
pytest.importorskip("sklearn", reason="needs the train extra (scikit-learn)")
pytest.importorskip("matplotlib", reason="needs the train extra (matplotlib)")

from engines.backbone import Trunk  # noqa: E402
from training import __main__ as front  # noqa: E402
from training import chipqa_baseline, study, trunk_sources  # noqa: E402
from training.chipqa_svr import ChipqaRegressor  # noqa: E402
from training.errors import DataError, UsageError  # noqa: E402
from training.features import index_features  # noqa: E402
from training.study_plan import STUDY_DEPTHS  # noqa: E402
from training.study_settings import SETTINGS, Stages, compare_settings, keep_settings  # noqa: E402
from training.synthesis import SPEC  # noqa: E402
from training.trunk import pack_weights  # noqa: E402
from training.trunk_sources import settle_statistics  # noqa: E402

pytestmark = pytest.mark.train

WIDTH = 0.0625
CONTENTS = ("river", "street", "forest", "harbour", "kitchen")
RUNS = 10 * 2


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> Path:
    folder = tmp_path_factory.mktemp("sources")
    for number, name in enumerate(CONTENTS):
        clip_maker(folder / f"{name}.mp4", size=(640, 360), fps=24 + number, seconds=1.1)
    return folder


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small trunks in place of those that the package carries."""
    folder = tmp_path_factory.mktemp("weights")
    for depth in STUDY_DEPTHS:
        torch.manual_seed(depth)
        trunk = Trunk(depth, width=WIDTH, colour="yuv")
        settle_statistics(trunk, SPEC, depth)
        pack_weights(trunk, folder / f"resnet{depth}.npz")
    return folder


@pytest.fixture
def arguments(sources: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setattr(trunk_sources, "WEIGHTS", weights)
    monkeypatch.setattr(trunk_sources, "SMALL", WIDTH)
    made = ["--sources", str(sources), "--height", "144", "--seconds", "1", "--types", "judder", "--levels", "3"]
    much = ["--by", "content", "--seeds", "0-1", "--epochs", "1", "--jobs", "1", "--no-control"]
    return ["study", "--dataset", "standin", "--out", str(tmp_path / "out"), "--trunks", "trained", *made, *much]


def stamps(folder: Path, pattern: str) -> dict[Path, int]:
    return {file: file.stat().st_mtime_ns for file in folder.rglob(pattern)}


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_study_that_is_stopped_goes_on_and_ends_in_a_report(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    extracted: list[object] = []

    def stopped(*args: object, **kwargs: object) -> dict[str, Path]:
        if extracted:
            raise KeyboardInterrupt
        extracted.append(args)
        return index_features(*args, **kwargs)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(study, "index_features", stopped)
        assert front.main(arguments) == 130
    clips, features = stamps(out / "standin" / "clips", "*.mp4"), stamps(out / "features", "*.npy")
    assert len(clips) == len(features) == 10  # one trunk at one rate

    def stopped_again(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(study, "cached_statistics", stopped_again)
        assert front.main(arguments) == 130
    assert stamps(out / "standin" / "clips", "*.mp4") == clips
    assert features.items() < stamps(out / "features", "*.npy").items()
    assert len(stamps(out / "features", "*.npy")) == 10 * (1 + 5 + 1)
    runs = stamps(out / "runs", "metrics.json")
    assert len(runs) == RUNS
    assert not (out / "report").exists()

    # A run that was stopped is made again, and comes out the same; nothing else is.
    lost = next(iter(runs)).parent
    kept = (lost / "predictions.csv").read_bytes()
    (lost / "metrics.json").unlink()
    quick = functools.partial(ChipqaRegressor, gammas=(1e-2,), costs=(8.0,))
    monkeypatch.setattr(chipqa_baseline, "ChipqaRegressor", quick)
    capsys.readouterr()
    assert front.main(arguments) == 0
    report = out / "report" / "report.md"
    assert capsys.readouterr().out == f"{report}\n"
    again = stamps(out / "runs", "metrics.json")
    assert {file for file in again if again[file] != runs.get(file)} == {lost / "metrics.json"}
    assert (lost / "predictions.csv").read_bytes() == kept
    assert len(list(out.glob("runs/chipqa/content/*/predictions.csv"))) == 2
    assert len(stamps(out / "chipqa", "*.npz")) == 10
    assert "pseudo-label" in report.read_text()
    assert {"table1.csv", "table2.csv", "runs.csv", "claims.csv"} <= {file.name for file in report.parent.iterdir()}

    # The same folder is no other study's.
    settings = (out / "settings.json").read_text()
    for more in (["--epochs", "2"], ["--recipe", "published"], ["--levels", "1"]):
        capsys.readouterr()
        assert front.main([*arguments, *more]) == 2
        assert capsys.readouterr().err.splitlines()[-1].startswith("python -m training: error: ")
    assert (out / "settings.json").read_text() == settings
    assert stamps(out / "runs", "metrics.json") == again


BASE = ["--dataset", "live-apv", "--scores", "absent.csv", "--videos", "."]


@pytest.mark.parametrize(
    ("more", "status", "message"),
    [
        (["--dataset", "live-apv"], 2, "--scores and --videos"),
        (["--dataset", "standin"], 2, "--sources"),
        (["--dataset", "standin", "--sources", ".", "--seconds", "0"], 2, "--seconds"),
        (["--dataset", "standin", "--sources", "absent"], 1, "absent"),
        ([*BASE, "--epochs", "0"], 2, "--epochs"),
        ([*BASE, "--input", "whole"], 2, "input"),
        ([*BASE, "--trunks", "imagenet", "--weights", "absent"], 2, "resnet18"),
        (BASE, 1, "absent.csv"),
        (["--dataset", "manifest", "--scores", "four.csv", "--videos", "."], 2, "4 groups are too few"),
    ],
)
def test_what_cannot_be_studied_is_told_at_once(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    more: list[str],
    status: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "abcd":
        (tmp_path / f"{name}.mp4").write_bytes(b"x")
    (tmp_path / "four.csv").write_text("file,score,content\n" + "".join(f"{n}.mp4,1,{n}\n" for n in "abcd"))
    assert front.main(["study", "--out", "out", "--trunks", "trained", *more]) == status
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if not line.startswith("study: ")]
    assert captured.out == ""
    assert len(told) == 1
    assert message in told[0]
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("more", [["--jobs", "0"], ["--seeds", "4-1"], ["--by", "scene"], ["--dataset", "youtube"]])
def test_words_that_are_none_are_usage_errors(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        front.main(["study", "--out", str(tmp_path / "out"), *BASE, *more])
    assert caught.value.code == 2
    assert not (tmp_path / "out").exists()


def test_settings_are_added_to_and_never_changed(tmp_path: Path) -> None:
    file = tmp_path / "out" / SETTINGS
    keep_settings(file, {"recipe": {"lr": 1e-3}, "rates": (1, 2)})
    keep_settings(file, {"rates": (1, 2), "trunk": "a"})
    assert json.loads(file.read_text()) == {"recipe": {"lr": 1e-3}, "rates": [1, 2], "trunk": "a"}
    for other in ({"trunk": "b"}, {"recipe": {"lr": 1e-4}}):
        with pytest.raises(UsageError, match=f"other {next(iter(other))}"):
            keep_settings(file, other)
    file.write_text('{"recipe": ')
    with pytest.raises(DataError, match="no record of a study"):
        compare_settings(file, {})


def test_time_is_added_up_over_sessions(tmp_path: Path) -> None:
    file = tmp_path / "seconds.json"
    file.write_text('{"runs": 100.0, "features": 5.5}')
    stages = Stages(file)
    with stages.timed("runs"):
        pass
    with pytest.raises(KeyboardInterrupt), stages.timed("ChipQA"):
        raise KeyboardInterrupt
    seconds = json.loads(file.read_text())
    assert 100 <= seconds["runs"] < 101
    assert list(seconds) == ["runs", "features", "ChipQA"]


def test_the_weights_of_a_depth_are_one_file(tmp_path: Path) -> None:
    for name in ("resnet18-f37072fd.pth", "resnet50-0676ba61.pth", "resnet50-other.pth"):
        (tmp_path / name).touch()
    args = argparse.Namespace(weights=tmp_path)
    assert study._choice(args, "imagenet", 18, None).weights == tmp_path / "resnet18-f37072fd.pth"
    assert study._choice(args, "random", 101, None).weights is None
    for depth, count in ((50, 2), (101, 0)):
        with pytest.raises(UsageError, match=f"{count} files resnet{depth}"):
            study._choice(args, "imagenet", depth, None)
