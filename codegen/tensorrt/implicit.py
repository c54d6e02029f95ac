"""The float model and the scales of a quantized one, for implicit quantization (TensorRT 8 and 10, and their DLA)."""

from __future__ import annotations

import attrs
import numpy as np

from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.names import Namer
from uair.ops import Dequantize, Quantize
from uair.quant.scheme import COMPUTE

LEGAL = r"[A-Za-z0-9_./-]+"
"""Names that stand unquoted in trtexec's lists, which are split at commas and colons, and in a calibration cache."""


@attrs.define(eq=False)
class FloatModel:
    """A model without Quantize and Dequantize.

    Attributes:
        module: the model.
        scales: scale of the tensors that were quantized.
        layers: the nodes that computed on integers.
    """

    module: Module
    scales: dict[Tensor, float] = attrs.Factory(dict[Tensor, float])
    layers: list[Node] = attrs.Factory(list[Node])


def float_model(module: Module) -> FloatModel:
    """Take quantization out of a copy of a module; weights keep the values that their integers stand for."""
    result = FloatModel(module.clone())
    for graph in result.module.all_graphs():
        for node in list(graph):
            if node.op_type in COMPUTE and _from_integers(node.inputs[0]) and _from_integers(node.inputs[1]):
                result.layers.append(node)
        for node in list(graph):
            if isinstance(node.op, Dequantize):
                _take_out(graph, node, result.scales)
        for node in reversed(list(graph)):
            if isinstance(node.op, (Quantize, Dequantize)) and not any(t.use_count for t in node.outputs):
                graph.remove(node)
    return result


def _from_integers(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Dequantize)


def _take_out(graph: Graph, node: Node, scales: dict[Tensor, float]) -> None:
    """Replace a Dequantize by what was quantized."""
    x, scale = node.inputs[0], node.inputs[1]
    assert isinstance(node.op, Dequantize) and x is not None and scale is not None
    before = x.producer
    if x.data is not None and scale.data is not None:
        op, shape = node.op, x.data.shape

        def real(integers: Array, factor: Array) -> Array:
            return np.asarray(op.evaluate(integers, factor), np.float32)

        graph.replace(node, [constant(ComputedData(real, (x.data, scale.data), DType.F32, shape), x.name)])
    elif before is not None and isinstance(before.op, Quantize) and before.inputs[0] is not None:
        source = before.inputs[0]
        if not source.is_constant:
            scales[source] = float(np.asarray(scale.numpy()).reshape(-1)[0])
        graph.replace(node, [source])


def unique_names(graph: Graph) -> dict[Tensor, str]:
    """Give every value a name of its own, which the ONNX writer then keeps; inputs and outputs have the interface's."""
    namer = Namer(LEGAL, default="value")
    names: dict[Tensor, str] = {}
    for name, tensor in zip(graph.input_names, graph.inputs, strict=True):
        namer.reserve(name)
        names[tensor] = name
    for name in graph.output_names:
        if name not in namer:
            namer.reserve(name)
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        if tensor.producer is not None:
            names.setdefault(tensor, name)
    for node in graph:
        for i, tensor in enumerate(node.outputs):
            if tensor not in names:
                default = node.name if node.name and i == 0 else f"{node.name or node.op_type}_{i}"
                names[tensor] = namer.unique(tensor.name, default)
    for tensor, name in names.items():
        tensor.name = name
    return names
