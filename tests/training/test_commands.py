"""``python -m training``: registration, errors and the commands over the trainer."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from training import __main__ as front  # noqa: E402
from training.clips import Clip  # noqa: E402
from training.errors import DataError, UsageError  # noqa: E402
from training.feature_set import write_index  # noqa: E402
from training.models import HeadConfig, QualityHead, save_head  # noqa: E402
from training.seeds import parse_seeds  # noqa: E402

pytestmark = pytest.mark.train


@pytest.mark.parametrize("name", list(front.COMMANDS))
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        front.main([name, "--help"])
    assert caught.value.code == 0
    assert name in capsys.readouterr().out


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys\nfrom training.__main__ import main\n"
        "try:\n    main(['--help'])\nexcept SystemExit:\n    pass\nsys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in front.COMMANDS)


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["train"], ["score-features", "--head"]])
def test_usage_errors_exit_with_two(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        front.main(arguments)
    assert caught.value.code == 2
    assert "error" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (UsageError("a wish"), 2),
        (DataError("index.csv", ["torn"]), 1),
        (OSError("disk full"), 1),
        (ModuleNotFoundError("no", name="sklearn"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors_are_one_line_with_a_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: BaseException, status: int
) -> None:
    def run(args: argparse.Namespace) -> int:
        raise error

    module = types.ModuleType("failing")
    module.add_arguments = lambda parser: None  # type: ignore[attr-defined]
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "failing", module)
    monkeypatch.setitem(front.COMMANDS, "fail", front.Command("failing", "fails"))
    assert front.main(["fail"]) == status
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("python -m training: error: ")
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize(("text", "found"), [("3", [3]), ("0-4", [0, 1, 2, 3, 4]), ("1,5,9", [1, 5, 9]), ("7-7", [7])])
def test_seeds_are_ranges_or_lists(text: str, found: list[int]) -> None:
    assert parse_seeds(text) == found


@pytest.mark.parametrize("text", ["", "a", "4-1", "1,1", "-3"])
def test_impossible_seeds_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        parse_seeds(text)


def test_score_features_prints_the_golden_figures(
    shared_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    golden = np.load(shared_dir / "reference" / "golden_head.npz")
    x = np.abs(np.random.default_rng(1100).standard_normal((100, 4096), dtype=np.float32)) * np.float32(0.5)
    np.save(tmp_path / "x.npy", x)
    head = str(shared_dir / "reference" / "VSFA.pt")
    assert front.main(["score-features", "--head", head, str(tmp_path / "x.npy"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert sorted(found) == ["pooled", "q", "score"]
    np.testing.assert_allclose(found["q"], golden["q64_100"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["pooled"], golden["tp64_100"], rtol=0, atol=1e-6)
    assert found["score"] == pytest.approx(float(golden["score64_100"]), abs=1e-6)


@pytest.mark.parametrize(("cell", "bounded"), [("gru", False), ("gru", True), ("lstm", False), ("none", True)])
def test_score_features_agrees_with_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], cell: str, bounded: bool
) -> None:
    torch.manual_seed(0)
    for pooling in ("mean", "hysteresis"):
        config = HeadConfig(features=6, reduced=5, hidden=4, cell=cell, pooling=pooling, tau=4, bounded=bounded)
        head = QualityHead(config)
        save_head(head, tmp_path / "h.pt")
        x = torch.randn(9, 6)
        np.save(tmp_path / "x.npy", x.numpy())
        assert front.main(["score-features", "--head", str(tmp_path / "h.pt"), str(tmp_path / "x.npy")]) == 0
        assert float(capsys.readouterr().out) == pytest.approx(head(x, [9]).item(), abs=2e-6)


def test_score_features_names_what_does_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gru, x = tmp_path / "gru.pt", tmp_path / "x.npy"
    save_head(QualityHead(HeadConfig(features=6)), gru)
    np.save(x, np.zeros((3, 5), np.float32))

    def attempt(head: Path, features: Path) -> tuple[int, str]:
        status = front.main(["score-features", "--head", str(head), str(features), "--json"])
        return status, capsys.readouterr().err

    assert attempt(gru, x) == (
        1,
        "python -m training: error: x.npy: 1 problem: (T, 6) needed, got (3, 5)\n",
    )
    status, text = attempt(tmp_path / "absent.pt", x)
    assert (status, "absent.pt" in text) == (1, True)


def small_index(folder: Path, shift: float = 0.0) -> Path:
    """Features of ten contents in three versions; the label is their level."""
    rng = np.random.default_rng(3)
    clips, files = [], []
    for i in range(30):
        level = rng.uniform(1, 5)
        array = (level + rng.normal(size=(6, 8))).astype(np.float16)
        files.append(folder / f"clip{i}.npy")
        np.save(files[-1], array)
        kind = ("clean", "judder", "flicker")[i % 3]
        clips.append(Clip(Path(f"clip{i}.yuv"), f"content{i // 3 + shift:g}", "s", level, kind))
    write_index(folder / "index.csv", clips, files)
    return folder / "index.csv"


def test_train_and_evaluate_work_hand_in_hand(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = small_index(tmp_path)
    common = ["train", "--features", str(index), "--out", str(tmp_path / "runs"), "--epochs", "2"]
    rows = ["--row", "no-time", "avg-GRU"]
    assert front.main([*common, *rows, "--seeds", "0-1", "--json"]) == 0
    trained = json.loads(capsys.readouterr().out)
    assert {row: [entry["seed"] for entry in entries] for row, entries in trained.items()} == {
        "no-time": [0, 1],
        "avg-GRU": [0, 1],
    }
    run = tmp_path / "runs" / "avg-GRU-seed1"
    evaluating = ["evaluate", str(run), "--features", str(index), "--resamples", "50"]
    assert front.main([*evaluating, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found["srocc"] == pytest.approx(trained["avg-GRU"][1]["srocc"])
    assert found["rmse"] == pytest.approx(trained["avg-GRU"][1]["rmse"], abs=1e-5)
    assert found["n"] == 6
    assert {"srocc_clean", "srocc_judder", "srocc_flicker", "srocc_low", "srocc_high"} <= set(found)
    assert front.main([*evaluating, "--side", "all"]) == 0
    assert f"{run}: side all, n 30" in capsys.readouterr().out

    assert front.main([*common, "--row", "no-time", "--seeds", "0"]) == 2
    assert "finished run" in capsys.readouterr().err


def test_the_table_has_means_spreads_and_paired_differences(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = small_index(tmp_path)
    arguments = ["train", "--features", str(index), "--out", str(tmp_path / "runs"), "--epochs", "1"]
    assert front.main([*arguments, "--row", "no-time", "sub-GRU", "--seeds", "0-1", "--tau", "3"]) == 0
    out = capsys.readouterr().out
    assert [line.split()[0] for line in out.splitlines()] == ["row", "no-time", "sub-GRU", "sub-GRU"]
    assert "±" in out
    assert "95 % interval" in out


def test_another_data_set_needs_side_all(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    index = small_index(tmp_path)
    assert front.main(["train", "--features", str(index), "--out", str(tmp_path / "r"), "--epochs", "1"]) == 0
    (tmp_path / "other").mkdir()
    other = small_index(tmp_path / "other", shift=100)
    run = str(tmp_path / "r" / "sub-GRU-seed0")
    capsys.readouterr()
    assert front.main(["evaluate", run, "--features", str(other)]) == 1
    assert "--side all" in capsys.readouterr().err
    assert front.main(["evaluate", run, "--features", str(other), "--side", "all", "--resamples", "20"]) == 0


@pytest.mark.parametrize("extra", [["--epochs", "0"], ["--tau", "0"], ["--by", "stem"]])
def test_impossible_training_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str]) -> None:
    index = small_index(tmp_path)
    assert front.main(["train", "--features", str(index), "--out", str(tmp_path / "r"), *extra]) == 2
    assert capsys.readouterr().err.count("\n") == 1
