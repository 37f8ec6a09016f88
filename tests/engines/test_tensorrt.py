"""What of the TensorRT engine needs no GPU: names of its library, graphs in low precision, plans, batch sizes."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engines import Precision, tensorrt, tensorrt_plan
from engines.bundle import BUNDLED, Bundle, bundles_folder, load_bundle
from engines.errors import EngineError, EngineUnavailable
from engines.tensorrt_plan import bucket_of, buckets_to, build_plan, chunks, profiles_of

RECORDED = Path(__file__).parent / "data"
#: Classes of the variables that hold the library's objects in the two modules.
CLASSES = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
    "types": "DataType",
}


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle(bundles_folder() / BUNDLED)


def names_used() -> set[str]:
    """Every name of the library in our modules, as the recorded lists write it."""
    used: set[str] = set()
    for module in (tensorrt, tensorrt_plan):
        assert module.__file__ is not None
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if not isinstance(node, ast.Attribute):
                continue
            text = ast.unparse(node).removeprefix("self._")
            head, _, rest = text.partition(".")
            if not rest or rest == "__version__":  # which is the package's, not the bindings'
                continue
            if head == "trt":
                used.add(rest)
            elif head in CLASSES and "." not in rest:
                used.add(f"{CLASSES[head]}.{rest}")
    return used


@pytest.mark.parametrize("version", ["10", "11"])
def test_every_name_that_is_used_exists_in_the_bindings(version: str) -> None:
    known = set((RECORDED / f"tensorrt-{version}.txt").read_text().splitlines())
    used = names_used()
    assert {"NetworkDefinitionCreationFlag.STRONGLY_TYPED", "IExecutionContext.execute_async_v3"} <= used
    assert used - known == set()


@given(count=st.integers(1, 500), largest=st.integers(1, 100))
def test_every_picture_of_a_batch_goes_through_in_a_bucket_that_holds_it(count: int, largest: int) -> None:
    buckets = buckets_to(largest)
    assert buckets[-1] == largest
    assert list(buckets) == sorted(set(buckets))
    pieces = chunks(count, buckets)
    assert [i for start, end in pieces for i in range(start, end)] == list(range(count))
    for start, end in pieces:
        size = buckets[bucket_of(end - start, buckets)]
        assert end - start <= size
        assert size < 2 * (end - start) or size == min(buckets)


def test_a_batch_of_no_pictures_has_no_buckets() -> None:
    with pytest.raises(ValueError, match="at least one"):
        buckets_to(0)


def test_without_a_gpu_the_engine_says_so_and_touches_nothing(bundle: Bundle) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(EngineUnavailable, match="no NVIDIA GPU"):
        tensorrt.TensorRtEngine(bundle)


def test_int8_without_ranges_and_bf16_are_refused(bundle: Bundle) -> None:
    pytest.importorskip("onnx")
    with pytest.raises(EngineUnavailable, match="no ranges for int8"):
        tensorrt.typed_graph(bundle, Precision.INT8)
    with pytest.raises(EngineUnavailable, match="not bf16"):
        tensorrt.typed_graph(bundle, Precision.BF16)


def ranges(graph: bytes, pixels: np.ndarray) -> dict[str, float]:
    """Largest magnitude of each convolution's input on the pixels."""
    onnx = pytest.importorskip("onnx")
    from engines.low_precision import convolutions

    model = onnx.load_from_string(graph)
    inputs = convolutions(graph)
    tensors = sorted(set(inputs.values()))
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_tensor_value_info(t, onnx.TensorProto.FLOAT, None) for t in tensors)
    values = run(model.SerializeToString(), pixels)
    largest = {name: float(np.abs(value).max()) for name, value in zip(tensors, values, strict=True)}
    return {node: largest[tensor] for node, tensor in inputs.items()}


def run(graph: bytes, pixels: np.ndarray) -> list[np.ndarray]:
    import openvino as ov

    core = ov.Core()
    compiled = core.compile_model(core.read_model(graph), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return [np.array(value) for value in compiled(pixels).values()]


def test_low_precision_graphs_compute_the_same_features_to_their_rounding(bundle: Bundle) -> None:
    pytest.importorskip("onnx")
    from engines.low_precision import half_graph, int8_graph

    graph = bundle.trunk_path.read_bytes()
    pixels = np.random.default_rng(4).integers(16, 236, (3, 3, 128, 128), dtype=np.uint8)
    exact = run(graph, pixels)[0]

    def error(low: bytes) -> float:
        return float(np.linalg.norm(run(low, pixels)[0] - exact) / np.linalg.norm(exact))

    assert error(half_graph(graph)) < 0.005
    found = ranges(graph, pixels)
    assert 0.001 < error(int8_graph(graph, found)) < 0.2
    # A range that is far too small clips: the Q/DQ pairs are in the way of the pictures.
    assert error(int8_graph(graph, {name: value / 50 for name, value in found.items()})) > 0.3
    with pytest.raises(EngineError, match="no convolution"):
        int8_graph(graph, {"/nowhere/Conv": 1.0})


@pytest.mark.parametrize("kind", ["f32", "f16", "int8"])
def test_plans_are_built_from_the_typed_graphs(bundle: Bundle, kind: str) -> None:
    trt = pytest.importorskip("tensorrt_rtx", reason="needs tensorrt-rtx, which builds without a GPU")
    pytest.importorskip("onnx")
    from engines.low_precision import convolutions, half_graph, int8_graph

    graph = bundle.trunk_path.read_bytes()
    if kind != "f32":
        body = list(convolutions(graph))[1:]
        graph = half_graph(graph) if kind == "f16" else int8_graph(graph, dict.fromkeys(body, 6.0))
    plan = build_plan(trt, graph, profiles_of((3, 128, 128), buckets_to(2)))
    assert len(plan) > 100_000
    with pytest.raises(EngineError, match="does not take the graph"):
        build_plan(trt, graph[:-1000], profiles_of((3, 128, 128), (1,)))
