"""Quantized convolutions whose results stay real, in the form that onnxruntime computes fastest.

onnxruntime computes a convolution between Dequantize and Quantize nodes on integers (QLinearConv), through Relu and
Clip. Where no Quantize follows (a HardSwish does, or a sum), it dequantizes operands and computes in float, and that
slowly: weights that a node computes are no constants, so that neither its blocked layout nor its packed weights serve.

Two other forms state the same numbers. For one group of channels it is ConvInteger, whose sums are dequantized: its
kernel for u8 by u8 is a matrix product, and exact. A depthwise convolution has no such kernel (each channel would be a
matrix product of its own); there integers of weights are multiplied by their scales by a Cast and a Mul, which
onnxruntime computes once, when it loads the model. Measured with onnxruntime 1.32, see docs/targets/cpu.md.
"""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Cast, IntegerConv2D, Mul, Reshape, Sub
from uair.ops.base import Operator
from uair.pipeline import Pass, PassContext
from uair.quant.integer import lower_to_integer
from uair.quant.requantize import find_tail
from uair.quant.scheme import CONVOLUTIONS, TRANSPOSED
from uair.quant.view import QuantizedOperand, QuantizedView, quantized_nodes


@attrs.frozen
class FoldableWeights(Pass):
    """Let weights of quantized convolutions that run in float be what a runtime computes once: Mul(Cast(w), scale).

    These are convolutions of several groups and transposed ones with a constant weight and no Quantize behind them
    (through Relu or Clip). Their operands have the same values as before.

    Attributes:
        dense: whether convolutions of one group are taken, too: for integers that `IntegerSums` does not take.
    """

    dense: bool = False

    def run(self, module: Module, context: PassContext) -> bool:
        """Change the weights of every graph."""
        changed = False
        for graph in module.all_graphs():
            for view in quantized_nodes(graph):
                if not self._takes(view):
                    continue
                if not context.fuel.draw(self.name, view.node):
                    return changed
                _fold_later(graph, view, self.name)
                changed = True
        return changed

    def _takes(self, view: QuantizedView) -> bool:
        kind = view.node.op_type
        if kind not in (*CONVOLUTIONS, *TRANSPOSED) or not view.w.integers.is_constant:
            return False
        if kind in CONVOLUTIONS and not self.dense and _groups(view) == 1:
            return False
        return find_tail(view.node) is None


@attrs.frozen
class IntegerSums(Pass):
    """Let quantized convolutions of one group sum integers where no Quantize follows: ConvInteger, and Dequantize.

    Taken are those of u8 by a constant u8 whose zero point is the same for all channels, as onnxruntime has them.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """Lower the convolutions of every graph."""
        found = 0

        def draw(view: QuantizedView) -> bool:
            nonlocal found
            drawn = _is_summed(view) and context.fuel.draw(self.name, view.node)
            found += drawn
            return drawn

        lowered = lower_to_integer(module, where=draw)
        if found:
            module.graphs = lowered.graphs
            for graph in module.all_graphs():
                for node in [node for node in graph if _is_of_column(node)]:
                    _as_row(graph, node, self.name)
        return found > 0


def _groups(view: QuantizedView) -> int:
    op: Any = view.node.op
    return int(op.groups)


def _is_summed(view: QuantizedView) -> bool:
    """Whether ConvInteger computes a node fast, and something reads its result in float."""
    operands = (view.x, view.w)
    if view.node.op_type not in CONVOLUTIONS or _groups(view) != 1 or any(o.dtype is not DType.U8 for o in operands):
        return False
    is_even = bool(np.all(view.w.zero_point == view.w.zero_point.flat[0]))
    return is_even and view.w.integers.is_constant and find_tail(view.node) is None


def _is_of_column(node: Node) -> bool:
    """Whether a node sums over images of one column by a kernel of one column: a convolution over a sequence."""
    op = node.op
    if not isinstance(op, IntegerConv2D) or op.auto_pad != "notset":
        return False
    x, w = node.inputs[:2]
    assert x is not None and w is not None
    alone = x.type.dims[3] == w.type.dims[3] == node.output.type.dims[3] == 1
    return alone and w.is_constant and w.type.dims[2] != 1 and op.pads[1] == op.pads[3] == 0


def _as_row(graph: Graph, node: Node, maker: str) -> None:
    """Let a node compute the same of images of one row.

    onnxruntime gathers windows of its integers row by row: of columns element by element, in 1.7 times the time
    (measured with onnxruntime 1.32, 256 channels, 512 places, a kernel of 5).
    """
    op: Any = node.op
    location = Location.fused([node.loc], by=maker)
    x, w, *others = node.inputs
    assert x is not None and w is not None

    def put(made: Operator, *operands: Tensor | None) -> Tensor:
        named = Node(made, operands, name=node.name, loc=location, output_names=[node.output.name])
        return graph.insert_before(node, named).output

    top, left, bottom, right = op.pads
    turned = attrs.evolve(op, strides=op.strides[::-1], dilations=op.dilations[::-1], pads=(left, top, right, bottom))
    row = put(Reshape(shape=(*x.type.dims[:2], 1, x.type.dims[2])), x)
    weight = constant(w.numpy().swapaxes(2, 3), w.name)
    sums = put(turned, row, weight, *others)
    graph.replace(node, [put(Reshape(shape=node.output.type.dims), sums)])


def _fold_later(graph: Graph, view: QuantizedView, maker: str) -> None:
    """Let a node read a weight that Cast and Mul make, and a bias that is a constant."""
    node, old = view.node, [tensor for tensor in view.node.inputs[1:] if tensor is not None]
    location = Location.fused([node.loc], by=maker)

    def put(op: Operator, *operands: Tensor) -> Tensor:
        made = Node(op, operands, name=node.name, loc=location, output_names=[old[0].name])
        return graph.insert_before(node, made).output

    weight = put(Cast(to=DType.F32), view.w.integers)
    if not view.w.is_symmetric:
        weight = put(Sub(), weight, constant(_along(view.w, view.w.zero_point), f"{old[0].name}_zero_point"))
    node.set_input(1, put(Mul(), weight, constant(_along(view.w, view.w.scale), f"{old[0].name}_scale")))
    if view.bias is not None:
        bias = (view.bias.integers.numpy() - view.bias.zero_point).astype(np.float32) * view.bias.scale
        node.set_input(2, constant(bias.astype(np.float32), old[1].name))
    for tensor in old:
        maker_of_old = tensor.producer
        if maker_of_old is not None and not tensor.use_count:
            graph.remove(maker_of_old)


def _along(operand: QuantizedOperand, numbers: Array) -> Array:
    """Numbers of channels, shaped to be broadcast with the operand."""
    real = numbers.astype(np.float32)
    if not real.ndim or operand.axis is None:
        return real
    return real.reshape([-1 if i == operand.axis else 1 for i in range(operand.integers.type.rank)])
