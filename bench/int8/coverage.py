"""How much of a quantized ONNX file is on 8-bit integers: leaving layers in float is an easy way to be accurate."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import math
from pathlib import Path

import attrs
import onnx
from onnx import NodeProto

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")
MARKS = ("QuantizeLinear", "DequantizeLinear")


@attrs.frozen
class Coverage:
    """Shares of 1.

    Attributes:
        products: multiplications of operators with a constant weight whose data and weight are both 8-bit integers.
        activations: elements that nodes read (weights aside) through a DequantizeLinear.
    """

    products: float
    activations: float


def measure(path: Path) -> Coverage:
    """The coverage of a QDQ file; every shape in it must be known."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    makers = {name: node for node in graph.node for name in node.output}
    sizes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    constants = {t.name: list(t.dims) for t in graph.initializer}
    for node in graph.node:  # a weight behind DequantizeLinear is a weight
        if node.op_type == "Constant" or (node.op_type in MARKS and node.input[0] in constants):
            constants[node.output[0]] = constants.get(node.input[0], []) if node.input else []
    products, activations = [0.0, 0.0], [0.0, 0.0]
    for node in graph.node:
        if node.op_type in (*MARKS, "Constant"):
            continue
        for name in node.input:
            if name and name not in constants:
                activations[_is_integer(makers, name)] += math.prod(sizes.get(name, [1]))
        if node.op_type in PRODUCTS and (work := _work(node, constants, sizes)):
            products[all(_is_integer(makers, name) for name in node.input[:2])] += work
    return Coverage(products[1] / max(1.0, sum(products)), activations[1] / max(1.0, sum(activations)))


def _is_integer(makers: dict[str, NodeProto], name: str) -> bool:
    return name in makers and makers[name].op_type == "DequantizeLinear"


def _work(node: NodeProto, constants: dict[str, list[int]], sizes: dict[str, list[int]]) -> float:
    """Multiplications of a node with a constant weight; 0 for a product of two activations."""
    weight = next((constants[name] for name in node.input[:2] if constants.get(name)), None)
    if weight is None:
        return 0.0
    if node.op_type == "ConvTranspose":
        return math.prod(sizes.get(node.input[0], [1])) * math.prod(weight[1:])
    result = math.prod(sizes.get(node.output[0], [1]))
    if node.op_type == "Conv":
        return result * math.prod(weight[1:])
    return result * weight[1 if any(a.name == "transB" and a.i for a in node.attribute) else 0]
