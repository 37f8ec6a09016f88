"""The default engine: OpenVINO on the CPU, in f32, bf16 or int8."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from functools import partial
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
#: A trunk that takes one thread longer for a picture gets all of them for each: it would tell too late.
_QUICK_S = 0.02
#: Pictures a thread is given at least: threads that share less take more of the processor's time than one alone
#: (the bundled trunk on two cores: 1.6 ms a picture for 0.9 in batches of one, 1.1 for 0.9 in batches of four).
_LEAST_PART = 4


class OpenVinoEngine:
    """Runs a bundle's trunk with OpenVINO.

    A small trunk runs in one thread, and a large batch in several that share its pictures, not its arithmetic: what is
    left of the processor is the decoders'. A large trunk has all threads for each picture.

    Args:
        bundle: A verified bundle.
        precision: ``f32``, ``bf16``, ``int8`` (only where the bundle ships a quantised graph), or ``auto``: bf16 where
            the CPU has it and is faster with it, which is measured, else f32.
        threads: CPU threads of inference; 0: all that the process may use.

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
        trial = _trial_pictures(bundle.manifest.input.spec())
        open_graph = partial(_open, core, graph, threads, trial)
        try:
            if precision is not Precision.AUTO:
                self._parts = open_graph(precision)
            elif native_bf16:
                precision, self._parts = _faster(open_graph, trial)
            else:
                precision, self._parts = Precision.F32, open_graph(Precision.F32)
        except RuntimeError as error:
            raise EngineError(f"{graph}: OpenVINO cannot compile it: {_first_line(error)}") from error
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
            features = self._parts.infer(pixels)
        except RuntimeError as error:
            raise EngineError(f"OpenVINO failed on a batch of {pixels.shape}: {_first_line(error)}") from error
        if len(features) != len(pixels):
            raise EngineError(f"OpenVINO returned {len(features)} rows for {len(pixels)} pictures")
        return features

    def close(self) -> None:
        """See ``FeatureEngine.close``."""
        del self._parts


class _Parts:
    """A compiled graph, and as many requests as may run at once, each on a part of the batch."""

    def __init__(self, compiled: Any) -> None:
        self._requests = [compiled.create_infer_request() for _ in range(int(compiled.get_property("NUM_STREAMS")))]

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        count = min(len(self._requests), max(1, len(pixels) // _LEAST_PART))
        if count == 1:
            result = self._requests[0].infer({0: pixels}, share_inputs=True)
            return np.array(next(iter(result.values())), dtype=np.float32)
        parts = np.array_split(pixels, count)
        running = []
        failed: list[RuntimeError] = []
        for request, part in zip(self._requests, parts, strict=False):
            try:
                request.start_async({0: part}, share_inputs=True)
                running.append(request)
            except RuntimeError as error:
                failed.append(error)
        for request in running:
            # All of them, whatever befell another: they read pictures that are let go after this.
            try:
                request.wait()
            except RuntimeError as error:
                failed.append(error)
        if failed:
            raise failed[0]
        return np.concatenate([np.array(request.get_output_tensor(0).data, dtype=np.float32) for request in running])


def _open(core: Any, graph: Path, threads: int, trial: npt.NDArray[np.uint8], precision: Precision) -> _Parts:
    """Compiles a graph for one thread a picture where that is quick enough."""
    threads = threads or _available()
    parts = _Parts(_compile(core, graph, precision, threads, streams=threads))
    if threads == 1:
        return parts
    parts.infer(trial[:1])  # allocates
    # The processor's time: others may be at work on this machine.
    began_s = time.process_time()
    parts.infer(trial[:1])
    if time.process_time() - began_s <= _QUICK_S:
        return parts
    return _Parts(_compile(core, graph, precision, threads, streams=1))


def _available() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _compile(core: Any, graph: Path, precision: Precision, threads: int, streams: int) -> Any:
    settings: dict[str, object] = {
        # OpenVINO's own default on a bf16 CPU is bf16, silently: the precision is always stated.
        "INFERENCE_PRECISION_HINT": "bf16" if precision is Precision.BF16 else "f32",
        "NUM_STREAMS": str(streams),
        "INFERENCE_NUM_THREADS": threads,
        # Decoders run on the same cores: a thread that may not move waits for them.
        "ENABLE_CPU_PINNING": False,
    }
    return core.compile_model(core.read_model(str(graph)), "CPU", settings)


def _trial_pictures(spec: InputSpec) -> npt.NDArray[np.uint8]:
    return np.full((_TRIAL_PICTURES, *(spec.fixed_shape or _TRIAL_SHAPE)), 100, np.uint8)


def _faster(open_graph: Callable[[Precision], _Parts], trial: npt.NDArray[np.uint8]) -> tuple[Precision, _Parts]:
    """Of f32 and bf16 the one that is faster here with this trunk: a narrow one gains nothing without tiles (AMX)."""
    opened = {precision: open_graph(precision) for precision in (Precision.F32, Precision.BF16)}
    for parts in opened.values():
        parts.infer(trial)  # allocates
    took_s = dict.fromkeys(opened, float("inf"))
    for _ in range(_TRIALS):
        for precision, parts in opened.items():
            started_s = time.perf_counter()
            parts.infer(trial)
            took_s[precision] = min(took_s[precision], time.perf_counter() - started_s)
    ratio = took_s[Precision.F32] / took_s[Precision.BF16]
    chosen = Precision.BF16 if ratio >= _WORTH else Precision.F32
    log.debug("event=precision_chosen precision=%s f32_over_bf16=%.2f", chosen, ratio)
    return chosen, opened[chosen]


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
