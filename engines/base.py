"""What an engine is: uint8 pictures in, features out."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

import numpy as np
import numpy.typing as npt


class Precision(StrEnum):
    """Arithmetic of an engine. ``auto`` takes bf16 where the CPU computes it natively, f32 elsewhere."""

    AUTO = "auto"
    F32 = "f32"
    BF16 = "bf16"
    F16 = "f16"
    INT8 = "int8"


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """What an engine is and runs.

    Attributes:
        name: ``openvino``, ``torch`` or ``tensorrt``.
        version: Of the library behind it.
        device: As the library calls it.
        precision: Never ``auto``: what it really computes in.
        feature_size: F.
        model_id: ``name@hash`` of its bundle.
    """

    name: str
    version: str
    device: str
    precision: Precision
    feature_size: int
    model_id: str


class FeatureEngine(Protocol):
    """Turns batches of pictures into features. One thread only; blocking; stateless between calls."""

    @property
    def info(self) -> EngineInfo:
        """What runs now."""
        ...

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """(B, 3, H, W) uint8, contiguous -> (B, F) float32, row i of picture i.

        Raises:
            EngineError: The device failed; a later call may work.
        """
        ...

    def close(self) -> None:
        """Releases the device; the engine must not be used after."""
        ...
