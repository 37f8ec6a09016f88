"""Trunks on disk."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the train extra (torch)")

from engines import BundleError, Precision, find_bundle, load_bundle, open_engine  # noqa: E402
from engines.backbone import Trunk  # noqa: E402
from engines.preprocess import InputMode, InputSpec  # noqa: E402
from training import trunk_graph  # noqa: E402
from training.errors import DataError  # noqa: E402
from training.trunk_graph import TrunkGraph, write_trunk  # noqa: E402

pytestmark = pytest.mark.train

SPEC = InputSpec(InputMode.FRAGMENTS, grid=2, patch=32)


def small_trunk() -> Trunk:
    torch.manual_seed(0)
    return Trunk(18, width=0.0625, colour="yuv").eval()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> TrunkGraph:
    return write_trunk(small_trunk(), SPEC, tmp_path_factory.mktemp("trunk") / "t", "small")


@pytest.fixture
def copy(kept: TrunkGraph, tmp_path: Path) -> Path:
    """A folder that may be spoiled."""
    return Path(shutil.copytree(kept.folder, tmp_path / "copy"))


def test_a_trunk_comes_back_as_it_was_written(kept: TrunkGraph, copy: Path) -> None:
    assert TrunkGraph.load(kept.folder) == kept
    assert TrunkGraph.find(str(copy)) == replace(kept, folder=copy)
    # Where it lies is no part of what it is.
    assert TrunkGraph.load(copy).identity == kept.identity
    assert (kept.depth, kept.width, kept.feature_size, kept.input) == (18, 0.0625, 64, SPEC)


def test_engines_run_it_without_a_head(kept: TrunkGraph) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 64, 64), dtype=np.uint8)
    engine = open_engine(kept.bundle(), precision=Precision.F32)
    with torch.no_grad():
        expected = small_trunk()(torch.from_numpy(pixels)).numpy()
    np.testing.assert_allclose(engine.infer(pixels), expected, rtol=1e-3, atol=1e-4)


def test_the_same_trunk_is_the_same_graph_and_another_input_another_identity(kept: TrunkGraph, tmp_path: Path) -> None:
    again = write_trunk(small_trunk(), SPEC, tmp_path / "again", "other name")
    assert again.sha256 == kept.sha256
    assert again.identity == kept.identity
    inputs = [replace(SPEC, colour="rgb"), replace(SPEC, grid=4), InputSpec(InputMode.RESIZE, size=32, colour="rgb")]
    assert len({replace(kept, input=spec).identity for spec in inputs} | {kept.identity}) == 4


def test_a_graph_that_is_not_the_recorded_one_is_refused(copy: Path) -> None:
    graph = copy / trunk_graph.GRAPH
    graph.write_bytes(graph.read_bytes()[:-1])
    with pytest.raises(BundleError, match=r"trunk\.onnx"):
        TrunkGraph.load(copy)
    graph.unlink()
    with pytest.raises((BundleError, OSError), match=r"trunk\.onnx"):
        TrunkGraph.load(copy)


@pytest.mark.parametrize("key", ["name", "depth", "input", "sha256"])
def test_a_record_that_lacks_something_is_named(copy: Path, key: str) -> None:
    file = copy / trunk_graph.RECORD
    record = json.loads(file.read_text())
    del record[key]
    file.write_text(json.dumps(record))
    with pytest.raises(DataError, match=r"trunk\.json: 1 problem: is no record of a trunk"):
        TrunkGraph.load(copy)
    file.write_text("{")
    with pytest.raises(DataError, match="is no record of a trunk"):
        TrunkGraph.load(copy)


def test_an_interrupted_export_leaves_no_record(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped(trunk: Trunk, spec: InputSpec, path: Path) -> None:
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(trunk_graph, "export_onnx", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_trunk(small_trunk(), SPEC, copy, "small")
    assert not (copy / trunk_graph.RECORD).exists()


def test_a_bundle_is_a_trunk_too(tmp_path: Path) -> None:
    found = TrunkGraph.find("vqwatch-base")
    bundle = load_bundle(find_bundle("vqwatch-base", []))
    assert found.input == bundle.manifest.input.spec()
    assert (found.sha256, found.feature_size) == (bundle.manifest.trunk.sha256, bundle.manifest.trunk.feature_size)
    with pytest.raises(BundleError, match="no-such"):
        TrunkGraph.find("no-such")
    with pytest.raises(BundleError):
        TrunkGraph.find(str(tmp_path))
