"""The default engine: OpenVINO on the CPU, in f32, bf16 or int8."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from engines.base import EngineInfo, Precision
from engines.bundle import Bundle
from engines.errors import EngineError, EngineUnavailable
from engines.preprocess import InputSpec

log = logging.getLogger("vqwatch.engine")

#: What precisions are compared on: a batch as several feeds make one, so often that a disturbance shows in some alone.
_TRIAL_PICTURES, _TRIALS = 4, 8
#: bf16 must be faster by this much to be worth its rounding.
_WORTH = 1.1
#: Of a picture where the input has no size of its own.
_TRIAL_SHAPE = (3, 270, 480)


class OpenVinoEngine:
    """Runs a bundle's trunk with OpenVINO.

    Args:
        bundle: A verified bundle.
        precision: ``f32``, ``bf16``, ``int8`` (only where the bundle ships a quantised graph), or ``auto``: bf16 where
            the CPU has it and is faster with it, which is measured, else f32.
        threads: CPU threads of inference; 0 lets OpenVINO choose.

    Raises:
        EngineUnavailable: OpenVINO is not installed, the CPU lacks the precision, or the bundle has no int8 graph.
        EngineError: The graph cannot be compiled.
    """

    def __init__(self, bundle: Bundle, precision: Precision = Precision.AUTO, threads: int = 0) -> None:
        try:
            import openvino as ov
        except ImportError as error:
            raise EngineUnavailable("the openvino package is not installed") from error
        if precision is Precision.F16:
            raise EngineUnavailable("the openvino engine computes in f32, bf16 or int8, not f16")
        core = ov.Core()
        native_bf16 = "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        if precision is Precision.BF16 and not native_bf16:
            raise EngineUnavailable("this CPU has no native bf16; use f32")
        graph = bundle.trunk_path
        if precision is Precision.INT8:
            if bundle.manifest.trunk.int8 is None:
                raise EngineUnavailable(f"{bundle.model_id} ships no int8 graph; use f32")
            graph = bundle.path / bundle.manifest.trunk.int8.file
        try:
            if precision is not Precision.AUTO:
                self._compiled = _compile(core, graph, precision, threads)
            elif native_bf16:
                precision, self._compiled = _faster(core, graph, bundle.manifest.input.spec(), threads)
            else:
                precision, self._compiled = Precision.F32, _compile(core, graph, Precision.F32, threads)
        except RuntimeError as error:
            raise EngineError(f"{graph}: OpenVINO cannot compile it: {_first_line(error)}") from error
        self._request = self._compiled.create_infer_request()
        self.info = EngineInfo(
            name="openvino",
            version=ov.__version__.split("-")[0],
            device="CPU",
            precision=precision,
            feature_size=bundle.manifest.trunk.feature_size,
            model_id=bundle.model_id,
        )

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``FeatureEngine.infer``."""
        try:
            result = self._request.infer({0: pixels}, share_inputs=True)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch of {pixels.shape}: {_first_line(error)}") from error
        features: npt.NDArray[np.float32] = np.array(next(iter(result.values())), dtype=np.float32)
        if len(features) != len(pixels):
            raise EngineError(f"OpenVINO returned {len(features)} rows for {len(pixels)} pictures")
        return features

    def close(self) -> None:
        """See ``FeatureEngine.close``."""
        del self._request, self._compiled


def _compile(core: Any, graph: Path, precision: Precision, threads: int) -> Any:
    settings: dict[str, object] = {
        # OpenVINO's own default on a bf16 CPU is bf16, silently: the precision is always stated.
        "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": "1",
    }
    if threads:
        settings["INFERENCE_NUM_THREADS"] = threads
    return core.compile_model(core.read_model(str(graph)), "CPU", settings)


def _faster(core: Any, graph: Path, spec: InputSpec, threads: int) -> tuple[Precision, Any]:
    """Of f32 and bf16 the one that is faster here with this trunk: a narrow one gains nothing without tiles (AMX)."""
    pixels = np.full((_TRIAL_PICTURES, *(spec.fixed_shape or _TRIAL_SHAPE)), 100, np.uint8)
    compiled = {precision: _compile(core, graph, precision, threads) for precision in (Precision.F32, Precision.BF16)}
    requests = {precision: one.create_infer_request() for precision, one in compiled.items()}
    for request in requests.values():
        request.infer({0: pixels})  # allocates
    took_s = dict.fromkeys(requests, float("inf"))
    for _ in range(_TRIALS):
        for precision, request in requests.items():
            started_s = time.perf_counter()
            request.infer({0: pixels})
            took_s[precision] = min(took_s[precision], time.perf_counter() - started_s)
    ratio = took_s[Precision.F32] / took_s[Precision.BF16]
    chosen = Precision.BF16 if ratio >= _WORTH else Precision.F32
    log.debug("event=precision_chosen precision=%s f32_over_bf16=%.2f", chosen, ratio)
    return chosen, compiled[chosen]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
