"""The PyTorch engine: the reference that the others are checked against. Needs the ``train`` extra."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from engines.base import EngineInfo, Precision
from engines.bundle import Bundle
from engines.errors import EngineUnavailable


class TorchEngine:
    """Runs the trunk's definition (``engines.backbone``) with the weights of the bundle's own ONNX graph.

    Weights come out of the exported graph rather than from a file of their own, so that what is compared is two ways
    of computing the same numbers.

    Args:
        bundle: A verified bundle.
        precision: ``auto`` and ``f32`` are f32; ``bf16`` computes in bf16.

    Raises:
        EngineUnavailable: torch or onnx is missing, or the precision is not supported.
    """

    def __init__(self, bundle: Bundle, precision: Precision = Precision.AUTO) -> None:
        try:
            import torch

            from engines.export import trunk_from_onnx
        except ImportError as error:
            raise EngineUnavailable("the torch engine needs: pip install 'vqwatch[train]'") from error
        if precision not in (Precision.AUTO, Precision.F32, Precision.BF16):
            raise EngineUnavailable(f"the torch engine computes in f32 or bf16, not {precision}")
        self._torch = torch
        self._bf16 = precision is Precision.BF16
        manifest = bundle.manifest
        self._trunk = trunk_from_onnx(
            bundle.trunk_path,
            depth=manifest.trunk.depth,
            width=manifest.trunk.width,
            colour=manifest.input.colour,
        )
        self.info = EngineInfo(
            name="torch",
            version=torch.__version__,
            device="cpu",
            precision=Precision.BF16 if self._bf16 else Precision.F32,
            feature_size=manifest.trunk.feature_size,
            model_id=bundle.model_id,
        )

    def infer(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """See ``FeatureEngine.infer``."""
        torch = self._torch
        batch = torch.from_numpy(np.ascontiguousarray(pixels))
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=self._bf16):
            features: npt.NDArray[np.float32] = self._trunk(batch).float().numpy()
        return features

    def close(self) -> None:
        """See ``FeatureEngine.close``."""
        del self._trunk
