"""The default engine: OpenVINO on the CPU, in f32, bf16 or int8."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.base import EngineInfo, Precision
from engines.bundle import Bundle
from engines.errors import EngineError, EngineUnavailable


class OpenVinoEngine:
    """Runs a bundle's trunk with OpenVINO.

    Args:
        bundle: A verified bundle.
        precision: ``auto``, ``f32``, ``bf16`` or ``int8`` (only where the bundle ships a quantised graph).
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
        if precision is Precision.AUTO:
            precision = Precision.BF16 if native_bf16 else Precision.F32
        if precision is Precision.BF16 and not native_bf16:
            raise EngineUnavailable("this CPU has no native bf16; use f32")
        graph = bundle.trunk_path
        if precision is Precision.INT8:
            if bundle.manifest.trunk.int8 is None:
                raise EngineUnavailable(f"{bundle.model_id} ships no int8 graph; use f32")
            graph = bundle.path / bundle.manifest.trunk.int8.file
        # OpenVINO's own default on a bf16 CPU is bf16, silently: the precision is always stated.
        hint = "bf16" if precision is Precision.BF16 else "f32"
        settings: dict[str, object] = {
            "INFERENCE_PRECISION_HINT": hint,
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
        }
        if threads:
            settings["INFERENCE_NUM_THREADS"] = threads
        try:
            model = core.read_model(str(graph))
            self._compiled = core.compile_model(model, "CPU", settings)
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


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
