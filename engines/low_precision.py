"""The trunk's graph in less than f32, typed throughout: fp16, or int8 between Q/DQ pairs. Needs the onnx package.

Pixels are normalised in f32 and rounded once; mean and standard deviation of the last layer are computed in f32, since
sums over thousands of pixels overflow and lose digits in fp16. Batch normalisation is folded into the convolutions.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from engines.errors import EngineError

#: Between the first convolution and the last activation.
_BODY = ("Conv", "Relu", "MaxPool", "Add")
_F32 = npt.NDArray[np.float32]


def half_graph(graph: bytes) -> bytes:
    """The exported graph with its convolutional part in fp16.

    Raises:
        EngineError: It is no graph of ``engines.export``.
    """
    return _LowGraph(graph, np.dtype(np.float16), {}).write()


def int8_graph(graph: bytes, ranges: Mapping[str, float]) -> bytes:
    """The exported graph with int8 convolutions: weights per channel, activations per tensor, the rest in fp16.

    Args:
        graph: As exported.
        ranges: Largest magnitude of each convolution's input, by the convolution's node name; one that is not named
            stays in fp16.

    Raises:
        EngineError: It is no graph of ``engines.export``, or a range names no convolution or is not positive.
    """
    return _LowGraph(graph, np.dtype(np.float16), ranges).write()


def convolutions(graph: bytes) -> dict[str, str]:
    """Input tensor of each convolution, by its node name: where ranges are measured."""
    return {node.name: node.input[0] for node in onnx.load_from_string(graph).graph.node if node.op_type == "Conv"}


class _LowGraph:
    def __init__(self, graph: bytes, dtype: np.dtype[np.float16], ranges: Mapping[str, float]) -> None:
        self._model = onnx.load_from_string(graph)
        self._graph = self._model.graph
        self._dtype = dtype
        self._ranges = ranges
        self._values = {i.name: numpy_helper.to_array(i) for i in self._graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, npt.NDArray[np.generic]] = {}
        self._low: dict[str, str] = {}  # f32 tensor -> its low twin
        names = {node.name for node in self._graph.node if node.op_type == "Conv"}
        if not names:
            raise EngineError("the graph has no convolutions")
        for name, value in ranges.items():
            if name not in names or not value > 0:
                raise EngineError(f"range {value} of {name!r}: no convolution's, or not positive")

    def write(self) -> bytes:
        for node in self._graph.node:
            if node.op_type == "Identity" and node.input[0] in self._values:
                self._values[node.output[0]] = self._values[node.input[0]]
        folded = self._fold()
        body = {node.output[0] for node in folded if node.op_type in _BODY}
        low_outputs: dict[str, str] = {}
        for node in folded:
            if node.op_type in _BODY:
                self._lower(node)
                low_outputs[node.output[0]] = node.output[0]
                continue
            for position, name in enumerate(node.input):
                if name in body:
                    node.input[position] = self._raised(name)
            self._nodes.append(node)
        used = {name for node in self._nodes for name in node.input}
        kept = [i for i in self._graph.initializer if i.name in used]
        del self._graph.node[:], self._graph.initializer[:], self._graph.value_info[:]
        self._graph.node.extend(node for node in self._nodes if _is_used(node, used, self._graph))
        self._graph.initializer.extend(kept)
        self._graph.initializer.extend(numpy_helper.from_array(v, name) for name, v in self._weights.items())
        onnx.checker.check_model(self._model)
        content: bytes = self._model.SerializeToString()
        return content

    def _fold(self) -> list[onnx.NodeProto]:
        """Nodes with each batch normalisation inside the convolution before it."""
        by_input = {node.input[0]: node for node in self._graph.node if node.op_type == "BatchNormalization"}
        nodes = []
        for node in self._graph.node:
            if node.op_type == "BatchNormalization" or (node.op_type == "Identity" and node.input[0] in self._values):
                continue
            norm = by_input.get(node.output[0]) if node.op_type == "Conv" else None
            if norm is not None:
                scale, offset, mean, variance = (self._value(name) for name in norm.input[1:5])
                epsilon = next((a.f for a in norm.attribute if a.name == "epsilon"), 1e-5)
                factor = scale / np.sqrt(variance + epsilon)
                weight = self._value(node.input[1])
                names = f"{node.name}/weight", f"{node.name}/bias"
                self._values[names[0]] = (weight * factor[:, None, None, None]).astype(np.float32)
                self._values[names[1]] = (offset - mean * factor).astype(np.float32)
                attributes = list(node.attribute)
                node = helper.make_node("Conv", [node.input[0], *names], [norm.output[0]], name=node.name)  # noqa: PLW2901
                node.attribute.extend(attributes)
            nodes.append(node)
        return nodes

    def _value(self, name: str) -> _F32:
        if name not in self._values:
            raise EngineError(f"the graph has no constant {name!r}: it is not one that vqwatch exported")
        return np.asarray(self._values[name], np.float32)

    def _lower(self, node: onnx.NodeProto) -> None:
        """Takes a node of the body: its inputs from the body as they are, others cast, its weights low."""
        if node.op_type == "Conv":
            weights = [self._low_weight(node, name) for name in node.input[1:]]
            data = self._low_input(node.input[0])
            data = self._quantised(node.name, data)
            inputs = [data, *weights]
        else:
            inputs = [self._low_input(name) for name in node.input]
        del node.input[:]
        node.input.extend(inputs)
        self._low[node.output[0]] = node.output[0]
        self._nodes.append(node)

    def _low_input(self, name: str) -> str:
        if name not in self._low:
            self._low[name] = f"{name}/low"
            self._nodes.append(helper.make_node("Cast", [name], [self._low[name]], to=TensorProto.FLOAT16))
        return self._low[name]

    def _raised(self, name: str) -> str:
        raised = f"{name}/f32"
        if raised not in {node.output[0] for node in self._nodes[-40:]}:
            self._nodes.append(helper.make_node("Cast", [name], [raised], to=TensorProto.FLOAT))
        return raised

    def _low_weight(self, node: onnx.NodeProto, name: str) -> str:
        value = self._value(name)
        if value.ndim == 1 or node.name not in self._ranges:
            self._weights[name] = value.astype(self._dtype)
            return name
        scale = np.abs(value).max(axis=(1, 2, 3)) / 127
        # Rounded to what the graph holds first, so that quantising uses the very same scale.
        scale = np.maximum(scale, 1e-6).astype(self._dtype)
        levels = np.round(value / scale.astype(np.float32)[:, None, None, None])
        self._weights[f"{name}/int8"] = np.clip(levels, -127, 127).astype(np.int8)
        self._weights[f"{name}/scale"] = scale
        self._weights[f"{name}/zero"] = np.zeros(len(scale), np.int8)
        inputs = [f"{name}/int8", f"{name}/scale", f"{name}/zero"]
        self._nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/low"], axis=0))
        return f"{name}/low"

    def _quantised(self, conv: str, data: str) -> str:
        if conv not in self._ranges:
            return data
        scale, zero = f"{conv}/scale", f"{conv}/zero"
        self._weights[scale] = np.asarray(self._ranges[conv] / 127, self._dtype)
        self._weights[zero] = np.asarray(0, np.int8)
        self._nodes.append(helper.make_node("QuantizeLinear", [data, scale, zero], [f"{conv}/q"]))
        self._nodes.append(helper.make_node("DequantizeLinear", [f"{conv}/q", scale, zero], [f"{conv}/dq"]))
        return f"{conv}/dq"


def _is_used(node: onnx.NodeProto, used: set[str], graph: onnx.GraphProto) -> bool:
    outputs = {value.name for value in graph.output}
    return any(name in used or name in outputs for name in node.output)
