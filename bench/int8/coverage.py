"""How much of a quantized ONNX file is on 8-bit integers: leaving layers in float is an easy way to be accurate."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx's own annotations leave type arguments open.

from __future__ import annotations

import math
from collections.abc import Container
from pathlib import Path

import attrs
import onnx
from onnx import NodeProto, TensorProto

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul", "ConvInteger", "MatMulInteger")
MARKS = ("QuantizeLinear", "DequantizeLinear")
SPELLED = ("Cast", "Sub", "Mul")
"""What makes a real weight of integers where no DequantizeLinear does."""


MOVES = ("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Flatten")
"""What leaves elements as they are."""


@attrs.frozen
class Coverage:
    """Shares of 1.

    Attributes:
        products: multiplications of operators with a constant weight whose data and weight are both 8-bit integers.
        activations: elements that nodes read (weights aside) through a DequantizeLinear, or as integers.
    """

    products: float
    activations: float


def measure(path: Path) -> Coverage:
    """The coverage of a QDQ file, also with ConvInteger and weights behind Mul(Cast); every shape must be known."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(path), data_prop=True).graph
    makers = {name: node for node in graph.node for name in node.output}
    sizes = {
        v.name: [d.dim_value or 1 for d in v.type.tensor_type.shape.dim]
        for v in (*graph.input, *graph.value_info, *graph.output)
    }
    sums = {v.name for v in graph.value_info if v.type.tensor_type.elem_type == TensorProto.INT32}
    integers = {name for name, node in makers.items() if _is_integer(node, sums)}
    constants = {t.name: list(t.dims) for t in graph.initializer}
    integers |= {t.name for t in graph.initializer if t.data_type in (TensorProto.INT8, TensorProto.UINT8)}
    for node in graph.node:  # a weight behind DequantizeLinear, or what stands for one, is a weight
        is_made = node.op_type in MARKS or (node.op_type in SPELLED and all(name in constants for name in node.input))
        if node.op_type == "Constant" or (is_made and node.input[0] in constants):
            constants[node.output[0]] = constants.get(node.input[0], []) if node.input else []
            integers.update(node.output if set(node.input[:1]) & integers else ())
    products, activations = [0.0, 0.0], [0.0, 0.0]
    for node in graph.node:
        if node.op_type in (*MARKS, "Constant") or node.output[0] in constants:
            continue
        if node.op_type in ("Add", *MOVES) and node.output[0] in sums:  # the bias of a ConvInteger, which has none
            continue
        if node.op_type in MOVES and node.input[0] in integers:
            integers.update(node.output)
        for name in node.input:
            if name and name not in constants:
                activations[name in integers] += math.prod(sizes.get(name, [1]))
        if node.op_type in PRODUCTS and (work := _work(node, constants, sizes)):
            products[all(name in integers for name in node.input[:2])] += work
    return Coverage(products[1] / max(1.0, sum(products)), activations[1] / max(1.0, sum(activations)))


def _is_integer(node: NodeProto, sums: Container[str]) -> bool:
    """Whether what a node gives stands for 8-bit integers: not what sums of products are dequantized to."""
    return node.op_type in MARKS and node.input[0] not in sums


def _work(node: NodeProto, constants: dict[str, list[int]], sizes: dict[str, list[int]]) -> float:
    """Multiplications of a node with a constant weight; 0 for a product of two activations."""
    weight = next((constants[name] for name in node.input[:2] if constants.get(name)), None)
    if weight is None:
        return 0.0
    if node.op_type == "ConvTranspose":
        return math.prod(sizes.get(node.input[0], [1])) * math.prod(weight[1:])
    result = math.prod(sizes.get(node.output[0], [1]))
    if node.op_type in ("Conv", "ConvInteger"):
        return result * math.prod(weight[1:])
    return result * weight[1 if any(a.name == "transB" and a.i for a in node.attribute) else 0]
