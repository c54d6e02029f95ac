"""Weights as TensorRT reads them: float numbers between Quantize and Dequantize.

Integers behind DequantizeLinear are refused by reports of TensorRT 8; float weights behind a pair are read by every
version. The floats are the integers times the scale, so that the pair rounds none of them. Weights of 4 bits stay
integers: they are for TensorRT 10 and later, and for the sake of their size.
"""

from __future__ import annotations

import functools

import attrs
import numpy as np

from uair.ir.data import ComputedData
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Dequantize, Quantize
from uair.pipeline import Pass, PassContext


@attrs.frozen
class FloatWeights(Pass):
    """Put Quantize in front of Dequantize of a constant, whose data become floats."""

    def run(self, module: Module, context: PassContext) -> bool:
        """Rewrite every graph."""
        changed = False
        for graph in module.all_graphs():
            for node in list(graph):
                if _holds_integers(node) and context.fuel.draw(self.name, node):
                    _insert_quantize(graph, node, self.name)
                    changed = True
        return changed


def holds_four_bits(node: Node) -> bool:
    """Whether a node dequantizes a constant of 4 bits, which only TensorRT 10 and later read."""
    x = node.inputs[0] if node.inputs else None
    return isinstance(node.op, Dequantize) and x is not None and x.is_constant and x.type.dtype is DType.I4


def _holds_integers(node: Node) -> bool:
    x = node.inputs[0] if node.inputs else None
    return isinstance(node.op, Dequantize) and x is not None and x.is_constant and x.type.dtype is DType.I8


def _insert_quantize(graph: Graph, node: Node, maker: str) -> None:
    integers, scale, *zero_point = node.inputs
    assert isinstance(node.op, Dequantize) and integers is not None and scale is not None
    assert integers.data is not None and scale.data is not None
    axis = node.op.axis
    real = ComputedData(
        functools.partial(_real, axis=axis), (integers.data, scale.data), DType.F32, integers.data.shape
    )
    op = Quantize(axis=axis, dtype=DType.I8)
    name = f"{integers.name}_quantized" if integers.name else ""
    operands: list[Tensor | None] = [constant(real, integers.name), scale, *zero_point]
    quantize = Node(op, operands, name=name, loc=Location.fused([node.loc], by=maker), output_names=[name])
    graph.insert_before(node, quantize)
    node.set_input(0, quantize.output)


def _real(integers: Array, scale: Array, *, axis: int | None) -> Array:
    """What the integers stand for, in f32; one rounding, as DequantizeLinear does."""
    if axis is not None and scale.ndim:
        shape = [1] * integers.ndim
        shape[axis] = -1
        scale = scale.reshape(shape)
    real: Array = integers.astype(np.float32) * scale.astype(np.float32)
    return real
