"""A trained head becomes a bundle: in the monitor's own command it scores clips as the study does."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from engines import Precision, load_bundle, open_engine  # noqa: E402
from engines.preprocess import InputMode, InputSpec  # noqa: E402
from monitor import cli  # noqa: E402
from training import __main__ as front  # noqa: E402
from training.clips import Clip, read_frames  # noqa: E402
from training.errors import DataError, UsageError  # noqa: E402
from training.export_run import ExportedTrunk, calibration_of, export_run  # noqa: E402
from training.feature_extraction import extract_features  # noqa: E402
from training.feature_set import FeatureSet  # noqa: E402
from training.losses import MixedDomainsLoss  # noqa: E402
from training.models import ROWS  # noqa: E402
from training.splits import split_groups  # noqa: E402
from training.trainer import Recipe, load_run, predict, train_run  # noqa: E402
from training.trunk_graph import TrunkGraph  # noqa: E402
from training.trunk_sources import TrunkChoice  # noqa: E402

pytestmark = pytest.mark.train

SPEC = InputSpec(InputMode.FRAGMENTS, grid=2, patch=32, colour="yuv")
QUICK = Recipe(epochs=3, batch=4, lr=3e-3)


@dataclass(frozen=True)
class Material:
    clips: list[Path]
    trunk: TrunkGraph
    data: FeatureSet


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory, clip_maker: Callable[..., Path]) -> Material:
    """Eight short clips, a small seeded trunk, and its features at the monitor's rate; labels lie on 0-100."""
    folder = tmp_path_factory.mktemp("material")
    trunk = TrunkChoice("random", 18, SPEC, width=0.125, seed=3).make(folder)
    engine = open_engine(trunk.bundle(), "openvino", Precision.F32, 1)
    clips, features = [], []
    for number in range(8):
        # A rate other than the grid's, so that pictures are held and dropped too.
        shape = {"size": (320 + 32 * number, 180 + 16 * number), "fps": (25, 30)[number % 2]}
        path = clip_maker(folder / f"clip{number}.mp4", seconds=1.2, options={"crf": str(10 + 4 * number)}, **shape)
        clips.append(path)
        clip = Clip(path, f"content{number}", f"content{number}", 0.0, "clean")
        features.append(extract_features(read_frames(clip), ["25"], engine, SPEC)["25"])
    engine.close()
    names = tuple(path.stem for path in clips)
    labels = np.linspace(72.6, 16.9, len(clips))
    kinds, domains = ("",) * len(clips), ("",) * len(clips)
    return Material(clips, trunk, FeatureSet(names, tuple(features), labels, names, names, kinds, domains))


def train(data: FeatureSet, folder: Path, row: str = "sub-GRU", bounded: bool = False) -> Path:
    head = replace(ROWS[row], reduced=16, hidden=8, bounded=bounded)
    recipe = replace(QUICK, loss="mixed" if bounded else "l1")
    train_run(data, split_groups(data.contents, 0), "content", head, recipe, 0, folder, row)
    return folder


def evaluated(run: Path, data: FeatureSet) -> np.ndarray:
    """What `evaluate` agrees or disagrees with labels about."""
    head, criterion, _, _ = load_run(run)
    count = len(data.names)
    return predict(head, criterion, data.features, torch.zeros(count, dtype=torch.int64), range(count))


def shown(bundle: Path, clips: list[Path], capsys: pytest.CaptureFixture[str]) -> np.ndarray:
    """What `vqwatch score` prints."""
    capsys.readouterr()
    arguments = ["score", "--json", "--model", str(bundle), "--precision", "f32", "--threads", "1"]
    assert cli.main([*arguments, *map(str, clips)]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["file"] for line in lines] == [str(clip) for clip in clips]
    assert all(line["score"] is not None for line in lines)
    return np.array([line["score"] for line in lines])


@pytest.mark.parametrize(
    ("row", "bounded"),
    [("sub-GRU", False), ("avg-GRU", False), ("sub-LSTM", False), ("no-time", False), ("sub-GRU", True)],
)
def test_the_monitor_scores_clips_as_evaluate_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], material: Material, row: str, bounded: bool
) -> None:
    run = train(material.data, tmp_path / "run", row, bounded)
    out = tmp_path / "bundle"
    assert front.main(["export", str(run), "--trunk", str(material.trunk.folder), "--out", str(out)]) == 0
    expected = evaluated(run, material.data)
    assert np.all((expected > 1) & (expected < 99))
    assert np.ptp(expected[:5]) > 1e-2  # the clips are told apart at the precision of the comparison
    np.testing.assert_allclose(shown(out, material.clips[:5], capsys), expected[:5], rtol=0, atol=1e-3)


def test_the_scale_of_labels_is_shown_on_0_to_100(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], material: Material
) -> None:
    data = replace(material.data, labels=1 + material.data.labels / 25)
    run = train(data, tmp_path / "run")
    trunk = ExportedTrunk.of_graph(material.trunk)
    with pytest.raises(UsageError, match="--scale"):
        export_run(run, trunk, tmp_path / "unsaid")
    with pytest.raises(UsageError, match=r"beyond --scale 0,1"):
        export_run(run, trunk, tmp_path / "narrow", scale=(0.0, 1.0))
    export_run(run, trunk, tmp_path / "bundle", scale=(1.0, 5.0))
    expected = (evaluated(run, data) - 1) / 4 * 100
    np.testing.assert_allclose(shown(tmp_path / "bundle", material.clips[:2], capsys), expected[:2], rtol=0, atol=1e-3)
    assert "1 shown as 0 and 5 as 100" in load_bundle(tmp_path / "bundle").manifest.description


def test_predictions_beyond_the_scale_are_cut(tmp_path: Path, material: Material) -> None:
    run = train(material.data, tmp_path / "run")
    bundle = export_run(run, ExportedTrunk.of_graph(material.trunk), tmp_path / "bundle")
    assert [bundle.calibrate(q) for q in (-0.5, 0.0, 50 / 72.6, 2.0)] == pytest.approx([0, 0, 50, 100], abs=1e-4)


def test_of_several_label_sources_one_is_shown(tmp_path: Path, material: Material) -> None:
    labels, domains = material.data.labels.copy(), ("a", "b") * 4
    labels[1::2] /= 20
    run = train(replace(material.data, labels=labels, domains=domains), tmp_path / "run", bounded=True)
    trunk = ExportedTrunk.of_graph(material.trunk)
    with pytest.raises(UsageError, match=r"--domain.*'a', 'b'"):
        export_run(run, trunk, tmp_path / "unsaid")
    with pytest.raises(UsageError, match="no label source 'c'"):
        export_run(run, trunk, tmp_path / "unknown", domain="c")
    _, criterion, _, _ = load_run(run)
    bundle = export_run(run, trunk, tmp_path / "bundle", domain="b", scale=(0.0, 5.0))
    for raw in (-1.0, 0.2, 1.5):
        label = criterion.align(torch.sigmoid(torch.tensor([raw])), torch.tensor([1])).item()
        assert bundle.calibrate(raw) == pytest.approx(min(max(label * 20, 0), 100), abs=1e-4)


def test_a_map_that_falls_is_refused() -> None:
    criterion = MixedDomainsLoss([(0.0, 100.0)])
    with torch.no_grad():
        criterion.slope.neg_()
    with pytest.raises(UsageError, match="does not rise"):
        calibration_of(criterion, 0, (0.0, 100.0))


def test_a_graph_by_itself_needs_what_it_takes_to_be_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], material: Material
) -> None:
    run = train(material.data, tmp_path / "run")
    export_run(run, ExportedTrunk.of_graph(material.trunk), tmp_path / "known")
    (tmp_path / "lone.onnx").write_bytes(material.trunk.onnx.read_bytes())

    def attempt(*more: str) -> tuple[int, str]:
        arguments = ["export", str(run), "--trunk", str(tmp_path / "lone.onnx"), "--out", str(tmp_path / "lone")]
        status = front.main([*arguments, *more])
        return status, capsys.readouterr().err

    status, text = attempt()
    assert (status, "--depth and --input" in text) == (2, True)
    status, text = attempt("--depth", "50", "--input", "fragments:2x32", "--colour", "yuv")
    assert (status, "lone.onnx" in text, text.count("\n")) == (1, True, 1)
    status, text = attempt("--depth", "18", "--input", "resize:20")
    assert (status, "32 px" in text) == (2, True)
    assert attempt("--depth", "18", "--width", "0.125", "--input", "fragments:2x32", "--colour", "yuv")[0] == 0
    found, expected = load_bundle(tmp_path / "lone").manifest, load_bundle(tmp_path / "known").manifest
    assert found.numeric_hash == expected.numeric_hash


def test_the_run_and_the_trunk_must_fit(tmp_path: Path, material: Material) -> None:
    wider = TrunkChoice("random", 18, SPEC, width=0.25).make(tmp_path)
    run = train(material.data, tmp_path / "run")
    with pytest.raises(DataError, match=r"128 features, the trunk gives 256"):
        export_run(run, ExportedTrunk.of_graph(wider), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_what_cannot_be_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], material: Material) -> None:
    run, out = train(material.data, tmp_path / "run"), tmp_path / "Bundle"
    base = ["export", str(run), "--trunk", str(material.trunk.folder), "--out", str(out)]

    def attempt(arguments: list[str]) -> tuple[int, str]:
        status = front.main(arguments)
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return status, text

    assert attempt([*base, "--fps", "native"])[0] == 2
    assert attempt([*base, "--name", "Not A Name"])[0] == 2
    assert attempt(["export", str(tmp_path), *base[2:]])[0] == 1
    assert attempt([*base[:3], "no-such-trunk", *base[4:]])[0] == 1
    assert not out.exists()
    assert front.main([*base, "--fps", "30000/1001", "--description", "Of ours."]) == 0
    capsys.readouterr()
    manifest = load_bundle(out).manifest
    assert (manifest.name, manifest.sample_fps) == ("bundle", pytest.approx(29.97003, abs=1e-5))
    assert manifest.description.startswith("Of ours. Head sub-GRU of seed 0; ")
    status, text = attempt(base)
    assert (status, "holds a model" in text) == (2, True)


def test_predictions_of_the_run_are_what_was_compared(tmp_path: Path, material: Material) -> None:
    run = train(material.data, tmp_path / "run")
    with (run / "predictions.csv").open() as file:
        recorded = [float(row["prediction"]) for row in csv.DictReader(file)]
    np.testing.assert_allclose(recorded, evaluated(run, material.data), atol=1e-5)
