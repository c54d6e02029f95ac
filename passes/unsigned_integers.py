"""Integers of quantized networks as u8, for x86: what a kernel for u8 by i8 sums in 16 bits is exact for u8 by u8.

Processors without VNNI multiply u8 by i8 with VPMADDUBSW, which adds two products in a 16-bit integer and saturates it:
2 * 255 * 127 does not fit. onnxruntime's kernels do so for every i8 weight; those for u8 by u8 widen to 16 bits first
and are exact. Source: onnxruntime pull request 12088, and the documentation of its quantization; measured in
docs/targets/cpu.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, cast

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Dequantize, DynamicQuantizeLSTM, MatMul, Quantize
from uair.ops.base import Operator
from uair.pipeline import Pass, PassContext

SHIFT = 128
INTEGER = (
    "IntegerConv1D",
    "IntegerConv2D",
    "IntegerConv3D",
    "IntegerLinear",
    "IntegerMatMul",
)
"""Operators over x, w and their zero points, in this order."""


@attrs.frozen
class ShiftIntegers(Pass):
    """The walk over a module that both directions share.

    Attributes:
        signed: whether integers become i8.
    """

    signed: ClassVar[bool] = False

    def run(self, module: Module, context: PassContext) -> bool:
        """Shift the integers of every graph."""
        shift = Shift(self.name, to=DType.I8 if self.signed else DType.U8)
        changed = False
        for graph in module.all_graphs():
            for node in list(graph):
                readers = _readers(node, shift.origin)
                weights = [] if self.signed and not isinstance(node.op, Dequantize) else _constants(node, shift.origin)
                if not readers and not weights:
                    continue
                if not context.fuel.draw(self.name, node):
                    return changed
                if isinstance(node.op, Quantize):
                    shift.activation(node, readers)
                else:
                    shift.weights(node, weights)
                changed = True
        return changed


@attrs.frozen
class UnsignedIntegers(ShiftIntegers):
    """Let i8 integers be u8, greater by 128, with zero points that are too: the same real numbers.

    Changed are the constants behind Dequantize (weights), what stands between a Quantize and Dequantize nodes only
    (activations), and the constant weights of integer products whose other operand is u8, as it is in a dynamically
    quantized LSTM. Inputs, outputs, blocks, and
    integers that other operators use stay as they are, as do zero points that are computed, and matrices with one scale
    for each row.
    """


def _readers(node: Node, origin: DType) -> Sequence[Node]:
    """The Dequantize nodes behind a Quantize to `origin` that can be one to the other type; empty when it cannot."""
    if not isinstance(node.op, Quantize) or node.op.dtype is not origin or not _is_plain(node):
        return ()
    uses = node.output.uses
    fits = all(i == 0 and isinstance(user.op, Dequantize) and _is_plain(user) for user, i in uses)
    return [user for user, _ in uses] if fits else ()


def _is_plain(node: Node) -> bool:
    """Whether a Quantize or Dequantize has no blocks, and a zero point that is constant, or none and a known shape."""
    assert isinstance(node.op, (Quantize, Dequantize))
    scale, zero_point = node.inputs[1], _operand(node, 2)
    assert scale is not None
    known = scale.type.is_static if zero_point is None else zero_point.is_constant
    return known and not node.op.block_size


def _constants(node: Node, origin: DType) -> Sequence[tuple[int, int]]:
    """Places of the constants that a node reads and that can be shifted, each with the place of its zero point."""
    if isinstance(node.op, Dequantize):
        plain = _is_plain(node) and not _scales_rows(node, node.op.axis)
        places = [(0, 2)] if plain else []
    elif isinstance(node.op, DynamicQuantizeLSTM):
        places = [(1, 4), (2, 6)]
    else:
        x = _operand(node, 0)
        fits = node.op_type in INTEGER and x is not None and x.type.dtype is DType.U8
        places = [(1, 3)] if fits else []
    return [(i, j) for i, j in places if _is_constant(node.inputs[i], origin) and _is_known(_operand(node, j))]


def _is_known(zero_point: Tensor | None) -> bool:
    return zero_point is None or zero_point.is_constant


def _scales_rows(node: Node, axis: int | None) -> bool:
    """Whether the scales of a Dequantize go along what a matrix product sums: a float product in any case.

    onnxruntime puts its integer kernels there as well when there are zero points, and they fail (1.32).
    """
    rank = node.output.type.rank
    products = [user.op for user, i in node.output.uses if isinstance(user.op, MatMul) and i == 1]
    return axis is not None and any(axis % rank != rank - (2 if op.trans_b else 1) for op in products)


def _operand(node: Node, i: int) -> Tensor | None:
    return node.inputs[i] if i < len(node.inputs) else None


def _is_constant(tensor: Tensor | None, dtype: DType) -> bool:
    return tensor is not None and tensor.is_constant and tensor.type.dtype is dtype


class Shift:
    """Puts nodes over one 8-bit type in the place of those over the other; each constant is shifted once."""

    def __init__(self, maker: str, *, to: DType) -> None:
        self.origin = DType.I8 if to is DType.U8 else DType.U8
        self._to = to
        self._maker = maker
        self._made: dict[Tensor, Tensor] = {}

    def activation(self, node: Node, readers: Sequence[Node]) -> None:
        """A Quantize and the Dequantize nodes behind it."""
        assert isinstance(node.op, Quantize)
        operands = [*node.inputs[:2], self._offset(node, 2, node.inputs[1])]
        twin = self._before(node, attrs.evolve(cast(Any, node.op), dtype=self._to), operands)
        for reader in readers:
            scale = reader.inputs[1]
            self._instead(reader, [twin.output, scale, self._offset(reader, 2, scale)])
        assert node.graph is not None
        node.graph.remove(node)

    def weights(self, node: Node, places: Sequence[tuple[int, int]]) -> None:
        """A Dequantize of a constant, or an integer product with one; for `places` see `_constants`."""
        operands = [*node.inputs, *[None] * 4]
        scale = node.inputs[1] if isinstance(node.op, Dequantize) else None
        for place, offset in places:
            weight = operands[place]
            assert weight is not None
            operands[place], operands[offset] = self._shifted(weight), self._offset(node, offset, scale)
        self._instead(node, operands[: max(len(node.inputs), *(offset + 1 for _, offset in places))])

    def _instead(self, node: Node, operands: Sequence[Tensor | None]) -> None:
        twin = self._before(node, node.op, operands)
        assert node.graph is not None
        node.graph.replace(node, twin.outputs)

    def _before(self, node: Node, op: Operator, operands: Sequence[Tensor | None]) -> Node:
        location = Location.fused([node.loc], by=self._maker)
        twin = Node(op, operands, name=node.name, loc=location, output_names=[t.name for t in node.outputs])
        assert node.graph is not None
        node.graph.insert_before(node, twin)
        return twin

    def _offset(self, node: Node, i: int, scale: Tensor | None) -> Tensor:
        """The shifted zero point; in the shape of the scale when there was none."""
        given = _operand(node, i)
        if given is not None:
            return self._shifted(given)
        shape = () if scale is None else tuple(int(d) for d in scale.type.dims if isinstance(d, int))
        return constant(_shifted(np.zeros(shape, self.origin.numpy)))

    def _shifted(self, tensor: Tensor) -> Tensor:
        if tensor not in self._made:
            data = tensor.data
            assert data is not None
            self._made[tensor] = constant(derive(_shifted, (data,), self._to, data.shape), tensor.name)
        return self._made[tensor]


def _shifted(array: Array) -> Array:
    """The same bits but for the highest: i8 as u8, greater by 128, and u8 as i8, less by 128."""
    other = np.uint8 if array.dtype == np.int8 else np.int8
    result: Array = (array.view(np.uint8) ^ np.uint8(SHIFT)).view(other)
    return result
