"""Pictures in, features out: bundles, preprocessing and inference engines.

Stateless by design. Nothing here knows a stream, a clock, a queue, a broker or a configuration file.
"""

from engines.base import EngineInfo, FeatureEngine, Precision
from engines.bundle import Bundle, find_bundle, load_bundle
from engines.errors import BundleError, EngineError, EngineUnavailable, PictureError

__all__ = [
    "Bundle",
    "BundleError",
    "EngineError",
    "EngineInfo",
    "EngineUnavailable",
    "FeatureEngine",
    "PictureError",
    "Precision",
    "find_bundle",
    "load_bundle",
    "open_engine",
]


def open_engine(
    bundle: Bundle, name: str = "openvino", precision: Precision = Precision.AUTO, threads: int = 0
) -> FeatureEngine:
    """Opens a bundle's trunk on this machine.

    Args:
        bundle: A verified bundle.
        name: ``openvino``, ``tensorrt`` or ``torch``.
        precision: What to compute in.
        threads: CPU threads; 0: as many as the process has cores.

    Raises:
        EngineError: It cannot be opened here; the message says why.
    """
    # Imported late: each needs a library that the others do without.
    if name == "openvino":
        from engines.openvino import OpenVinoEngine

        return OpenVinoEngine(bundle, precision, threads)
    if name == "torch":
        from engines.torch_reference import TorchEngine

        return TorchEngine(bundle, precision)
    if name == "tensorrt":
        from engines.tensorrt import TensorRtEngine

        return TensorRtEngine(bundle, precision)
    raise EngineUnavailable(f"unknown engine {name!r}; known are openvino, tensorrt and torch")
