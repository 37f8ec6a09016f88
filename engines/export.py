"""From a trained trunk to the one ONNX graph that every engine runs (torch and onnx; not needed at run time)."""

from __future__ import annotations

import warnings
from pathlib import Path

import onnx
import onnx.numpy_helper
import torch

from engines.backbone import Trunk, example_input
from engines.preprocess import InputSpec

OPSET = 17
_PARAMETERS = {"Conv": ("weight",), "BatchNormalization": ("weight", "bias", "running_mean", "running_var")}


def export_onnx(trunk: Trunk, spec: InputSpec, path: Path) -> None:
    """Writes the graph: input ``pixels`` (B, 3, H, W) uint8, output ``features`` (B, F) float32.

    Batch is dynamic; height and width are too where the input mode leaves them open. Batch normalisation is kept
    apart from the convolutions: engines fold it themselves, and the weights can be read back by name.
    """
    trunk.eval()
    axes: dict[str, dict[int, str]] = {"pixels": {0: "batch"}, "features": {0: "batch"}}
    if spec.fixed_shape is None:
        axes["pixels"] |= {2: "height", 3: "width"}
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter is announced as legacy; the newer one needs onnxscript and renames the weights.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            trunk,
            (example_input(spec),),
            str(path),
            input_names=["pixels"],
            output_names=["features"],
            dynamic_axes=axes,
            opset_version=OPSET,
            do_constant_folding=False,
            training=torch.onnx.TrainingMode.PRESERVE,
            dynamo=False,
        )
    onnx.checker.check_model(str(path))


def trunk_from_onnx(path: Path, *, depth: int, width: float, colour: str) -> Trunk:
    """The trunk whose weights an exported graph holds, in evaluation mode.

    Raises:
        ValueError: The graph was not made by ``export_onnx`` for this architecture.
    """
    graph = onnx.load(str(path)).graph
    values = {i.name: onnx.numpy_helper.to_array(i) for i in graph.initializer}
    for node in graph.node:
        # Equal tensors are stored once and handed on by Identity nodes.
        if node.op_type == "Identity" and node.input[0] in values:
            values[node.output[0]] = values[node.input[0]]
    stored: dict[str, torch.Tensor] = {}
    for node in graph.node:
        # The nodes, unlike the tensors, belong to one module each: their names carry it.
        for name, source in zip(_PARAMETERS.get(node.op_type, ()), node.input[1:], strict=False):
            if source in values:
                stored[f"{_module_of(node.name)}.{name}"] = torch.from_numpy(values[source].copy())
    trunk = Trunk(depth, width=width, colour=colour)
    wanted = {n: v for n, v in trunk.state_dict().items() if not n.endswith("num_batches_tracked")}
    for name, value in wanted.items():
        if name not in stored or stored[name].shape != value.shape:
            raise ValueError(f"{path}: not a graph of ResNet-{depth} x{width}: {name} is missing or of another shape")
    trunk.load_state_dict({name: stored[name] for name in wanted}, strict=False)
    trunk.eval()
    return trunk


def _module_of(node: str) -> str:
    """``/layer1/layer1.0/conv1/Conv`` -> ``layer1.0.conv1``: a scope repeats the one it is an item of."""
    parts: list[str] = []
    for scope in node.strip("/").split("/")[:-1]:
        if parts and scope.startswith(parts[-1] + "."):
            parts[-1] = scope
        else:
            parts.append(scope)
    return ".".join(parts)
