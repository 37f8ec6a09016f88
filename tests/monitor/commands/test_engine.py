"""What an operator is told of the engines of a machine."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engines.bundle import BUNDLED, bundles_folder, load_bundle
from engines.plan_cache import PlanCache, PlanKey
from monitor import cli

MODEL = load_bundle(bundles_folder() / BUNDLED).model_id
KEY = PlanKey("a" * 64, "tensorrt 11.4.0", "NVIDIA H200", "9.0", "580.65", "f16", (((1, 3, 128, 128),) * 3,))


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "vqwatch" / "plans"


def attempt(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["engine", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_each_engine_is_usable_or_says_why_not(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    PlanCache(cache).store(KEY, b"plan")
    status, out, _ = attempt(capsys, "list", "--json")
    assert status == 0
    told = json.loads(out)
    assert told["model"] == MODEL
    engines = {(one["engine"], one["precision"]): one for one in told["engines"]}
    assert engines["openvino", "f32"]["usable"]
    assert engines["openvino", "f32"]["device"] == "CPU"
    assert all(one["usable"] != ("reason" in one) for one in engines.values())
    assert [(plan["gpu"], plan["precision"]) for plan in told["plans"]] == [("NVIDIA H200", "f16")]


def test_the_list_is_one_line_an_engine_and_plan(capsys: pytest.CaptureFixture[str], cache: Path) -> None:
    status, out, _ = attempt(capsys, "list")
    lines = out.splitlines()
    assert status == 0
    assert lines[0].startswith("openvino  f32   yes, ")
    assert lines[-1] == f"plans in {cache}: none"


def test_an_engine_that_was_built_is_held_against_the_cpu(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = attempt(capsys, "build", "--engine", "openvino", "--json")
    assert status == 0
    assert "building openvino" in err
    told = json.loads(out)
    assert (told["engine"], told["model"]) == ("openvino", MODEL)
    assert told["largest_difference"] <= 0.02


def test_what_cannot_be_built_here_is_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = attempt(capsys, "build", "--engine", "openvino", "--precision", "f16")
    assert status == 1
    assert out == ""
    assert len(err.splitlines()) == 2
    status, _, err = attempt(capsys, "list", "--model", "nowhere")
    assert status == 2
    assert "nowhere" in err
