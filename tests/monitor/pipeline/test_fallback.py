"""An engine that fails is replaced, and comes back."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from engines.base import EngineInfo, Precision
from engines.errors import EngineError, EngineUnavailable
from monitor.pipeline.fallback import RETRY_S, FallbackEngine

PIXELS = np.zeros((2, 3, 4, 4), np.uint8)


class Device:
    """Opens engines of two kinds, and fails when told to."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.works = True
        self.opened = 0
        self.open_engines: list[str] = []
        self.tried = threading.Event()

    def better(self) -> Small:
        self.opened += 1
        self.tried.set()
        if not self.works:
            raise EngineUnavailable("no NVIDIA GPU that torch can use")
        return Small(self, "tensorrt")

    def other(self) -> Small:
        return Small(self, "openvino")

    def engine(self) -> FallbackEngine:
        return FallbackEngine(self.better, self.other, clock=lambda: self.now_s)


class Small:
    def __init__(self, device: Device, name: str) -> None:
        self.info = EngineInfo(name, "1", "d", Precision.F32, 1, "m@0")
        self._device = device
        device.open_engines.append(name)

    def infer(self, pixels: np.ndarray) -> np.ndarray:
        if self.info.name == "tensorrt" and not self._device.works:
            raise EngineError("the device is gone")
        return np.full((len(pixels), 1), float(self.info.name == "tensorrt"), np.float32)

    def close(self) -> None:
        self._device.open_engines.remove(self.info.name)


def try_again(device: Device, engine: FallbackEngine) -> None:
    """Lets one attempt run to its end and be noticed."""
    device.tried.clear()
    engine.infer(PIXELS)
    assert device.tried.wait(10)
    attempt = engine._attempt
    if attempt is not None:
        attempt.join(10)
    engine.infer(PIXELS)


def test_a_batch_on_which_the_device_fails_is_done_by_the_other_engine() -> None:
    device = Device()
    engine = device.engine()
    assert engine.infer(PIXELS).tolist() == [[1.0], [1.0]]
    assert engine.degraded is None
    device.works = False
    assert engine.infer(PIXELS).tolist() == [[0.0], [0.0]]
    assert engine.degraded == "the device is gone"
    assert engine.info.name == "openvino"
    assert device.open_engines == ["openvino"]


def test_it_is_tried_again_ever_more_seldom_and_goes_back_when_it_works() -> None:
    device = Device()
    device.works = False
    engine = device.engine()
    assert engine.degraded == "no NVIDIA GPU that torch can use"
    engine.infer(PIXELS)
    assert device.opened == 1
    device.now_s += RETRY_S
    try_again(device, engine)
    assert (device.opened, engine.info.name) == (2, "openvino")
    device.now_s += RETRY_S
    engine.infer(PIXELS)
    assert device.opened == 2  # twice as long this time
    device.works = True
    device.now_s += RETRY_S
    try_again(device, engine)
    assert device.opened == 3
    assert engine.degraded is None
    assert engine.infer(PIXELS).tolist() == [[1.0], [1.0]]
    assert device.open_engines == ["tensorrt"]
    engine.close()
    assert device.open_engines == []


def test_a_failure_of_the_other_engine_is_no_secret() -> None:
    device = Device()
    device.works = False
    engine = device.engine()

    def broken(pixels: np.ndarray) -> np.ndarray:
        raise EngineError("out of memory")

    engine._engine.infer = broken  # type: ignore[method-assign]
    with pytest.raises(EngineError, match="out of memory"):
        engine.infer(PIXELS)
