"""TensorRT on an NVIDIA GPU: fp16, int8 or f32, from the bundle's own graph. Needs torch, tensorrt and onnx.

Not yet run on a GPU: the graph, the plan and all that needs no device are tested, the device's part is written after
the documentation of TensorRT 10 and 11.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import EngineInfo, Precision
from engines.bundle import Bundle
from engines.errors import EngineError, EngineUnavailable
from engines.plan_cache import PlanCache, PlanKey
from engines.tensorrt_plan import INPUT, OUTPUT, bucket_of, buckets_to, build_plan, chunks, profiles_of

#: Where a bundle keeps the ranges that int8 needs: JSON, convolution -> largest magnitude of its input.
INT8_RANGES = "int8-ranges.json"


def default_cache() -> Path:
    """Where plans are kept when nobody says otherwise: under XDG_CACHE_HOME, or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vqwatch" / "plans"


def device_and_version() -> tuple[str, str]:
    """The GPU's name and TensorRT's version.

    Raises:
        EngineUnavailable: No GPU, no driver, or a package is missing.
    """
    torch, trt = _libraries()
    return torch.cuda.get_device_properties(0).name, trt.__version__


def typed_graph(bundle: Bundle, precision: Precision) -> bytes:
    """The bundle's graph in a precision.

    Raises:
        EngineUnavailable: The onnx package or, for int8, the bundle's ranges are missing, or TensorRT has no such
            precision here.
    """
    graph = bundle.trunk_path.read_bytes()
    if precision is Precision.F32:
        return graph
    if precision not in (Precision.F16, Precision.INT8):
        raise EngineUnavailable(f"the tensorrt engine computes in f16, int8 or f32, not {precision}")
    try:
        from engines.low_precision import half_graph, int8_graph
    except ImportError as error:
        raise EngineUnavailable("the tensorrt engine needs: pip install onnx") from error
    if precision is Precision.F16:
        return half_graph(graph)
    try:
        ranges = json.loads((bundle.path / INT8_RANGES).read_text())
    except (OSError, ValueError) as error:
        raise EngineUnavailable(f"{bundle.model_id} ships no ranges for int8; use f16") from error
    return int8_graph(graph, ranges)


class TensorRtEngine:
    """Runs a bundle's trunk with TensorRT, one CUDA graph for each batch size of the buckets.

    A batch goes through in pieces of the largest bucket, two buffers deep: while the device is at one piece, the next
    is copied to it.

    Args:
        bundle: A verified bundle whose input has one fixed shape.
        precision: ``f16`` (also ``auto``), ``int8`` or ``f32``.
        cache: Where plans are kept.
        largest: Most pictures that go through at once.
        picture: Shape where the bundle leaves it open.

    Raises:
        EngineUnavailable: No GPU, no driver, or a package is missing.
        EngineError: The plan cannot be built or loaded.
    """

    def __init__(
        self,
        bundle: Bundle,
        precision: Precision = Precision.AUTO,
        *,
        cache: Path | None = None,
        largest: int = 32,
        picture: tuple[int, int, int] | None = None,
    ) -> None:
        precision = Precision.F16 if precision is Precision.AUTO else precision
        torch, trt = _libraries()
        self._torch, self._trt = torch, trt
        shape = bundle.manifest.input.spec().fixed_shape or picture
        if shape is None:
            raise EngineUnavailable(f"{bundle.model_id} takes pictures of any size; the tensorrt engine needs one size")
        self._picture = shape
        self._features = bundle.manifest.trunk.feature_size
        self._buckets = buckets_to(largest)
        graph = typed_graph(bundle, precision)
        profiles = profiles_of(shape, self._buckets)
        device = torch.cuda.get_device_properties(0)
        key = PlanKey(
            graph_sha256=hashlib.sha256(graph).hexdigest(),
            library=f"tensorrt {trt.__version__}",
            gpu=device.name,
            compute_capability=f"{device.major}.{device.minor}",
            driver=_driver(torch),
            precision=str(precision),
            profiles=profiles,
        )
        runtime = trt.Runtime(trt.Logger(trt.Logger.ERROR))
        loaded: list[Any] = []

        def accepts(plan: bytes) -> bool:
            engine = runtime.deserialize_cuda_engine(plan)
            if engine is None or not self._fits(engine):
                return False
            loaded[:] = [engine]
            return True

        plan = PlanCache(cache or default_cache()).fetch(key, lambda: build_plan(trt, graph, profiles), accepts)
        if not loaded and not accepts(plan):
            raise EngineError("TensorRT cannot load the plan that it has just built")
        self._runtime, self._engine = runtime, loaded[0]
        self._stream = torch.cuda.Stream()
        self._lanes: dict[tuple[int, int], _Lane] = {}
        self.info = EngineInfo(
            name="tensorrt",
            version=trt.__version__,
            device=device.name,
            precision=precision,
            feature_size=self._features,
            model_id=bundle.model_id,
        )

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``FeatureEngine.infer``."""
        if pixels.shape[1:] != self._picture:
            raise EngineError(f"this engine was built for pictures of {self._picture}, got {pixels.shape[1:]}")
        out = np.empty((len(pixels), self._features), np.float32)
        waiting: tuple[_Lane, int, int] | None = None
        try:
            for turn, (start, end) in enumerate(chunks(len(pixels), self._buckets)):
                lane = self._lane(bucket_of(end - start, self._buckets), turn % 2)
                lane.start(pixels[start:end])
                if waiting is not None:
                    _finish(waiting, out)
                waiting = lane, start, end
            if waiting is not None:
                _finish(waiting, out)
        except RuntimeError as error:
            # A CUDA error spoils the context: whoever owns this engine opens another.
            raise EngineError(f"TensorRT failed on a batch of {pixels.shape}: {str(error).splitlines()[0]}") from error
        return out

    def close(self) -> None:
        """See ``FeatureEngine.close``."""
        self._lanes.clear()
        del self._engine, self._runtime

    def _lane(self, bucket: int, turn: int) -> _Lane:
        key = bucket, turn
        if key not in self._lanes:
            size = self._buckets[bucket]
            shape = size, *self._picture
            self._lanes[key] = _Lane(self._torch, self._engine, bucket, shape, self._features, self._stream)
        return self._lanes[key]

    def _fits(self, engine: Any) -> bool:
        """Whether a plan is what its name says: a precision that fell back silently, or other tensors, are not."""
        types = self._trt.DataType
        names = {engine.get_tensor_name(i) for i in range(engine.num_io_tensors)}
        return (
            names == {INPUT, OUTPUT}
            and engine.num_optimization_profiles == len(self._buckets)
            and engine.get_tensor_dtype(INPUT) == types.UINT8
            and engine.get_tensor_dtype(OUTPUT) == types.FLOAT
        )


class _Lane:
    """Buffers, context and CUDA graph of one batch size. A context is bound to its profile and its addresses."""

    def __init__(
        self, torch: ModuleType, engine: Any, profile: int, shape: tuple[int, ...], features: int, stream: Any
    ) -> None:
        self._torch, self._stream = torch, stream
        self._host = torch.empty(shape, dtype=torch.uint8, pin_memory=True)
        self._result = torch.empty((shape[0], features), dtype=torch.float32, pin_memory=True)
        self._pixels = torch.zeros(shape, dtype=torch.uint8, device="cuda")
        self._output = torch.empty((shape[0], features), dtype=torch.float32, device="cuda")
        self._done = torch.cuda.Event()
        self._context = context = engine.create_execution_context()
        if context is None:
            raise RuntimeError("no memory for an execution context")
        stream.wait_stream(torch.cuda.current_stream())
        # One enqueue outside a capture after each change of shape: TensorRT may allocate then.
        ready = (
            context.set_optimization_profile_async(profile, stream.cuda_stream)
            and context.set_input_shape(INPUT, shape)
            and context.set_tensor_address(INPUT, self._pixels.data_ptr())
            and context.set_tensor_address(OUTPUT, self._output.data_ptr())
            and context.execute_async_v3(stream.cuda_stream)
        )
        stream.synchronize()
        if not ready:
            raise RuntimeError(f"TensorRT refuses a batch of {shape}")
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, stream=stream):
            if not context.execute_async_v3(stream.cuda_stream):
                raise RuntimeError("TensorRT refuses to be captured")

    def start(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Copies pictures to the device and sets it to work; rows beyond them keep what they held."""
        torch = self._torch
        self._done.synchronize()  # the copy before this one may still read the pinned buffer
        self._host[: len(pixels)].copy_(torch.from_numpy(np.ascontiguousarray(pixels)))
        with torch.cuda.stream(self._stream):
            self._pixels.copy_(self._host, non_blocking=True)
            self._graph.replay()
            self._result.copy_(self._output, non_blocking=True)
            self._done.record(self._stream)

    def wait(self) -> npt.NDArray[np.float32]:
        """The features of the batch that was started, valid until the next start."""
        self._done.synchronize()
        features: npt.NDArray[np.float32] = self._result.numpy()
        return features


def _finish(waiting: tuple[_Lane, int, int], out: npt.NDArray[np.float32]) -> None:
    lane, start, end = waiting
    out[start:end] = lane.wait()[: end - start]


def _libraries() -> tuple[ModuleType, ModuleType]:
    try:
        import torch
    except ImportError as error:
        raise EngineUnavailable("the tensorrt engine needs: pip install 'vqwatch[gpu]'") from error
    # Without a driver TensorRT's runtime returns nothing, or ends the process: it is asked for first.
    if not torch.cuda.is_available():
        raise EngineUnavailable("no NVIDIA GPU that torch can use")
    try:
        return torch, importlib.import_module("tensorrt")
    except ImportError as error:
        raise EngineUnavailable("the tensorrt engine needs: pip install 'vqwatch[gpu]'") from error


def _driver(torch: ModuleType) -> str:
    """The driver's version where the kernel module tells it, else the CUDA version torch was built for."""
    try:
        return Path("/sys/module/nvidia/version").read_text().strip()
    except OSError:
        return f"cuda {torch.version.cuda}"
