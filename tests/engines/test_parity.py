"""Engines compute the same numbers from the same bundle."""

from __future__ import annotations

import itertools
import shutil
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import openvino
import pytest

from engines import BundleError, EngineError, EngineUnavailable, Precision, load_bundle, open_engine
from engines.bundle import BUNDLED, Bundle, HeadPart, InputPart, Manifest, TrunkPart, bundles_folder, write_bundle
from engines.openvino import OpenVinoEngine
from engines.preprocess import InputMode, PictureCutter
from monitor.core.head import make_head
from monitor.demo.scenes import SCENES, render

torch = pytest.importorskip("torch", reason="the reference engine needs torch")
pytestmark = [pytest.mark.train, pytest.mark.timeout(120)]

#: Relative to the features' spread. f32 engines differ by the order of their sums alone.
F32_TOLERANCE = 1e-4


def pictures(count: int, side: int = 128) -> np.ndarray:
    """Smooth random pictures: natural spectra rather than white noise, which no trunk ever sees."""
    rng = np.random.default_rng(5)
    coarse = rng.uniform(20, 230, (count, 3, side // 16 + 1, side // 16 + 1))
    fine = np.kron(coarse, np.ones((16, 16)))[..., :side, :side] + rng.normal(0, 4, (count, 3, side, side))
    return np.clip(fine, 0, 255).astype(np.uint8)


def scene_pictures(seed: int, seconds: float) -> np.ndarray:
    """Two pictures a second of each of the demo's scenes, as the bundled trunk takes them: what it was trained on."""
    cutter = PictureCutter(load_bundle(bundles_folder() / BUNDLED).manifest.input.spec())
    shown = (picture for scene in SCENES for picture in render(scene, seed, 640, 360, 2.0, seconds))
    return np.stack([cutter.cut(av.VideoFrame.from_ndarray(one, format="yuv420p")).pixels for one in shown])


def test_openvino_agrees_with_the_torch_reference_on_the_bundled_model() -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    batch = pictures(6)
    reference = open_engine(bundle, "torch").infer(batch)
    features = open_engine(bundle, "openvino", Precision.F32).infer(batch)
    assert features.shape == (6, bundle.manifest.trunk.feature_size)
    np.testing.assert_allclose(features, reference, atol=F32_TOLERANCE * float(reference.std()), rtol=0)


def test_features_do_not_depend_on_the_batch_they_came_in() -> None:
    engine = open_engine(load_bundle(bundles_folder() / BUNDLED), "openvino", Precision.F32)
    batch = pictures(5)
    together = engine.infer(batch)
    alone = np.concatenate([engine.infer(batch[i : i + 1]) for i in range(5)])
    np.testing.assert_allclose(together, alone, atol=F32_TOLERANCE * float(together.std()), rtol=0)


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_that_share_a_batch_give_each_picture_its_own_features(threads: int) -> None:
    engine = open_engine(load_bundle(bundles_folder() / BUNDLED), "openvino", Precision.F32, threads=threads)
    batch = pictures(14)
    together = engine.infer(batch)
    alone = np.concatenate([engine.infer(batch[i : i + 1]) for i in range(14)])
    np.testing.assert_allclose(together, alone, atol=F32_TOLERANCE * float(together.std()), rtol=0)
    with pytest.raises(EngineError, match="batch of"):
        engine.infer(np.zeros((14, 2, 128, 128), np.uint8))
    np.testing.assert_array_equal(engine.infer(batch), together)


needs_bf16 = pytest.mark.skipif(
    "BF16" not in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"), reason="this CPU has no native bf16"
)


@needs_bf16
def test_bf16_features_stay_close_to_the_exact_ones() -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    for batch in (scene_pictures(5, 2.0), pictures(12)):
        exact = open_engine(bundle, "openvino", Precision.F32).infer(batch)
        engine = open_engine(bundle, "openvino", Precision.BF16)
        assert engine.info.precision is Precision.BF16
        features = engine.infer(batch)
        assert not np.array_equal(features, exact)
        errors = features - exact
        assert np.sqrt((errors**2).mean()) <= 0.04 * exact.std()
        # Of a thousand features one may move further, where roundings add up; what is said of the pictures may not.
        tolerance = 0.15 * exact.std() + 0.05 * np.abs(exact)
        assert (np.abs(errors) > tolerance).mean() <= 0.001
        assert (np.abs(errors) <= 1.5 * tolerance).all()
        assert np.abs(qualities(bundle, features) - qualities(bundle, exact)).mean() <= 0.003


def qualities(bundle: Bundle, features: np.ndarray) -> np.ndarray:
    """Of each picture by itself, of a feed in which nothing moves: 0.01 is about a point and a half."""
    head = make_head(bundle.manifest.head.kind, bundle.head_arrays, bounded=bundle.manifest.head.bounded)
    reduced = head.reduce(features, np.zeros((len(features), head.side_size), np.float32))
    return head.step(reduced, np.zeros((len(features), head.state_size))).q


@needs_bf16
@pytest.mark.parametrize(("faster", "chosen"), [("bf16", Precision.BF16), ("f32", Precision.F32)])
def test_auto_computes_in_bf16_only_where_that_is_faster(
    faster: str, chosen: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    # Two clocks' readings for each inference of the trial: f32, then bf16.
    readings = itertools.cycle([0.0, 1.0, 0.0, 0.5] if faster == "bf16" else [0.0, 1.0, 0.0, 0.95])
    monkeypatch.setattr("engines.openvino.time.perf_counter", lambda: next(readings))
    engine = open_engine(bundle, "openvino")
    monkeypatch.undo()
    assert engine.info.precision is chosen
    batch = pictures(2)
    np.testing.assert_array_equal(engine.infer(batch), open_engine(bundle, "openvino", chosen).infer(batch))


def test_a_cpu_without_bf16_refuses_it_and_auto_computes_in_f32(monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    monkeypatch.setattr(openvino.Core, "get_property", lambda self, device, name: ["FP32", "INT8"])
    with pytest.raises(EngineUnavailable, match="bf16"):
        open_engine(bundle, "openvino", Precision.BF16)
    assert open_engine(bundle, "openvino").info.precision is Precision.F32


def without_int8(bundle: Bundle) -> Bundle:
    trunk = bundle.manifest.trunk.model_copy(update={"int8": None})
    return replace(bundle, manifest=bundle.manifest.model_copy(update={"trunk": trunk}))


def test_a_bundle_without_an_int8_graph_says_so() -> None:
    with pytest.raises(EngineUnavailable, match="int8"):
        OpenVinoEngine(without_int8(load_bundle(bundles_folder() / BUNDLED)), Precision.INT8)


def test_the_bundled_int8_graph_stays_close_to_the_exact_one() -> None:
    bundle = load_bundle(bundles_folder() / BUNDLED)
    batch = scene_pictures(5, 2.0)
    exact = open_engine(bundle, "openvino", Precision.F32).infer(batch)
    features = open_engine(bundle, "openvino", Precision.INT8).infer(batch)
    assert not np.array_equal(features, exact)
    assert (features * exact).sum() / np.linalg.norm(features) / np.linalg.norm(exact) > 0.99


def test_a_quantised_graph_runs_as_int8_and_a_damaged_one_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("nncf", reason="quantisation needs nncf")
    from training.quantise import attempts, quantise, with_int8

    folder = tmp_path / "bundle"
    shutil.copytree(bundles_folder() / BUNDLED, folder)
    exact = load_bundle(folder)
    batch = scene_pictures(5, 1.0)
    attempt = attempts(exact.trunk_path)["ends-kept-accurate-bias"]
    quantise(exact.trunk_path, scene_pictures(3, 2.0), folder / "trunk.int8.xml", attempt)
    manifest = with_int8(exact, folder / "trunk.int8.xml").manifest
    (folder / "manifest.json").write_text(manifest.model_dump_json())
    bundle = load_bundle(folder)
    assert bundle.model_id == exact.model_id
    engine = open_engine(bundle, "openvino", Precision.INT8)
    assert engine.info.precision is Precision.INT8
    reference = open_engine(bundle, "openvino", Precision.F32).infer(batch)
    features = engine.infer(batch)
    assert not np.array_equal(features, reference)
    cosine = (features * reference).sum() / np.linalg.norm(features) / np.linalg.norm(reference)
    assert cosine > 0.98
    numbers = folder / "trunk.int8.bin"
    numbers.write_bytes(numbers.read_bytes() + b"?")
    with pytest.raises(BundleError, match=r"trunk\.int8\.bin"):
        load_bundle(folder)


@pytest.mark.parametrize(("depth", "mode"), [(18, InputMode.FULL), (50, InputMode.RESIZE), (101, InputMode.FRAGMENTS)])
def test_every_depth_and_input_mode_exports_and_agrees(tmp_path: Path, depth: int, mode: InputMode) -> None:
    from engines.backbone import Trunk
    from engines.export import export_onnx

    torch.manual_seed(depth)
    part = InputPart(mode=mode, colour="rgb", grid=3, size=96 if mode is InputMode.RESIZE else 0)
    trunk = Trunk(depth, width=0.25, colour="rgb")
    trunk.train()
    with torch.no_grad():
        for _ in range(3):  # batch statistics, so that no layer is idle
            trunk(torch.from_numpy(pictures(4, 96)))
    trunk.eval()
    export_onnx(trunk, part.spec(), tmp_path / "trunk.onnx")
    manifest = Manifest(
        name="parity",
        version="1",
        input=part,
        trunk=TrunkPart(file="trunk.onnx", sha256="0" * 64, depth=depth, width=0.25, feature_size=trunk.feature_size),
        head=HeadPart(file="head.npz", sha256="0" * 64, kind="vsfa"),
    )
    bundle = write_bundle(
        tmp_path / "parity", manifest, {"fc_w": np.ones((2, trunk.feature_size))}, tmp_path / "trunk.onnx"
    )
    batch = pictures(3, 96)
    with torch.no_grad():
        expected = trunk(torch.from_numpy(batch)).numpy()
    np.testing.assert_allclose(open_engine(bundle, "torch").infer(batch), expected, atol=1e-5)
    features = open_engine(bundle, "openvino", Precision.F32).infer(batch)
    np.testing.assert_allclose(features, expected, atol=F32_TOLERANCE * max(1.0, float(expected.std())), rtol=1e-4)


def test_features_are_mean_then_unbiased_standard_deviation() -> None:
    from engines.backbone import mean_and_sd

    x = torch.randn(2, 5, 6, 7, generator=torch.Generator().manual_seed(1))
    features = mean_and_sd(x).numpy()
    flat = x.numpy().reshape(2, 5, -1)
    np.testing.assert_allclose(features[:, :5], flat.mean(axis=2), atol=1e-6)
    np.testing.assert_allclose(features[:, 5:], flat.std(axis=2, ddof=1), atol=1e-6)
