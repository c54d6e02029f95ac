"""The QOperator form of a quantized ONNX model: QLinearConv and QLinearMatMul in the place of Q/DQ around floats.

A Conv or MatMul whose operands are dequantized and whose result is quantized becomes one operator on integers. Both
forms compute y = saturate(round(acc * s_x * s_w / s_y) + z_y) with acc the exact sum; runtimes differ in the last step
of rounding at ties (https://onnx.ai/onnx/operators/onnx__QLinearConv.html).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import Any

import attrs
import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from uair.atomic import atomic_file
from uair.codegen.onnx.model import model_bytes
from uair.ir.dtype import Array
from uair.ir.module import Module

QLINEAR = {"Conv": "QLinearConv", "MatMul": "QLinearMatMul"}


def export_qlinear(module: Module, path: str | os.PathLike[str], *, opset: int) -> None:
    """Write a quantized module with QLinearConv and QLinearMatMul where they fit.

    Raises:
        NotExpressible, ModelTooLarge, OutputError: see `uair.codegen.onnx.export`.
    """
    model = ModelProto.FromString(model_bytes(module, opset=opset))
    use_qlinear(model)
    with atomic_file(path) as file:
        file.write(model.SerializeToString(deterministic=True))


@attrs.frozen
class _Integers:
    """What stands behind a DequantizeLinear, or in front of a QuantizeLinear: names of values, and the axis."""

    values: str
    scale: str
    zero: str
    axis: int


def use_qlinear(model: ModelProto) -> int:
    """Replace what can be replaced in the main graph of a model, in place; how many operators there are then.

    Left as they are: results that are not quantized or that are read in float, biases in float or of another scale than
    the product of the operands', scales that are computed, and matrices with a scale for each row.
    """
    return _Rewriter(model).run()


class _Rewriter:
    """A graph with its values by name."""

    def __init__(self, model: ModelProto) -> None:
        self.graph = model.graph
        self.constants: dict[str, TensorProto] = {t.name: t for t in self.graph.initializer}
        self.makers: dict[str, NodeProto] = {name: n for n in self.graph.node for name in n.output if name}
        self.readers: dict[str, list[NodeProto]] = {}
        for node in self.graph.node:
            for name in node.input:
                self.readers.setdefault(name, []).append(node)
        self.outputs = {value.name for value in self.graph.output}

    def run(self) -> int:
        """Replace; the number of new nodes."""
        made: dict[str, NodeProto] = {}  # by the result of the QuantizeLinear that it takes the place of
        for node in self.graph.node:
            found = self._qlinear(node) if node.op_type in QLINEAR and not node.domain else None
            if found is not None:
                made[found.output[0]] = found
        nodes = [made.get(node.output[0], node) if node.output else node for node in self.graph.node]
        self._keep(_needed(nodes, self.outputs))
        return len(made)

    def _qlinear(self, node: NodeProto) -> NodeProto | None:
        """The operator on integers for a node; None when there is none."""
        readers = self.readers.get(node.output[0], [])
        if len(readers) != 1 or readers[0].op_type != "QuantizeLinear" or node.output[0] in self.outputs:
            return None
        y, x, w = self._quantized(readers[0]), self._dequantized(node.input[0]), self._dequantized(node.input[1])
        if y is None or x is None or w is None or self._rank(x.scale) or self._rank(y.scale):
            return None
        if self._rank(w.scale) and not self._fits_channels(node, w):
            return None
        bias = node.input[2] if len(node.input) > 2 else ""
        integers = self._bias(bias, x, w) if bias else None
        if bias and integers is None:
            return None
        operands = [x.values, x.scale, x.zero, w.values, w.scale, w.zero, y.scale, y.zero]
        result = helper.make_node(
            QLINEAR[node.op_type], operands + ([integers] if integers else []), [readers[0].output[0]], name=node.name
        )
        result.doc_string = node.doc_string
        result.attribute.extend(node.attribute)
        return result

    def _fits_channels(self, node: NodeProto, w: _Integers) -> bool:
        """Whether one scale for each index of an axis is one for each channel of the result."""
        rank = len(self.constants[w.values].dims) if w.values in self.constants else 0
        axis = w.axis + rank if w.axis < 0 else w.axis
        return rank > 0 and axis == (0 if node.op_type == "Conv" else rank - 1)

    def _bias(self, name: str, x: _Integers, w: _Integers) -> str | None:
        """The i32 bias behind a value, when its scale is the product of the operands' scales."""
        b = self._dequantized(name, want_zero=False)
        if b is None or b.values not in self.constants:
            return None
        product = self._numbers(x.scale) * self._numbers(w.scale)
        scale = self._numbers(b.scale)
        same = np.array_equal(np.broadcast_to(scale, product.shape), product)
        zero = not b.zero or not self._numbers(b.zero).any()
        return b.values if same and zero and self.constants[b.values].data_type == TensorProto.INT32 else None

    # -------------------------------------------------------------------------------------------------------- values
    def _dequantized(self, name: str, *, want_zero: bool = True) -> _Integers | None:
        node = self.makers.get(name)
        if node is None or node.op_type != "DequantizeLinear" or node.domain:
            return None
        return self._parameters(node, node.input[0], want_zero=want_zero)

    def _quantized(self, node: NodeProto) -> _Integers | None:
        return self._parameters(node, node.output[0], want_zero=True)

    def _parameters(self, node: NodeProto, values: str, *, want_zero: bool) -> _Integers | None:
        """Constant parameters of a QuantizeLinear or DequantizeLinear; None when they are computed or in blocks."""
        attributes = {a.name: a.i for a in node.attribute}
        scale, zero = node.input[1], node.input[2] if len(node.input) > 2 else ""
        known = scale in self.constants and (not zero or zero in self.constants)
        if not known or attributes.get("block_size") or (want_zero and not zero):
            return None
        if zero and want_zero and self.constants[zero].data_type not in (TensorProto.INT8, TensorProto.UINT8):
            return None
        return _Integers(values, scale, zero, attributes.get("axis", 1))

    def _rank(self, name: str) -> int:
        return len(self.constants[name].dims)

    def _numbers(self, name: str) -> Array:
        return numpy_helper.to_array(self.constants[name])

    def _keep(self, nodes: Sequence[NodeProto]) -> None:
        """Let the graph consist of these nodes, and of the constants and types of what they name."""
        kept = [NodeProto.FromString(node.SerializeToString()) for node in nodes]
        used = {name for node in kept for name in (*node.input, *node.output)} | self.outputs
        used |= {name for node in kept for name in _inner_names(node)}
        del self.graph.node[:]
        self.graph.node.extend(kept)
        fields: tuple[Any, ...] = (self.graph.initializer, self.graph.value_info)
        for field in fields:
            staying = [each for each in field if each.name in used]
            del field[:]
            field.extend(staying)


def _needed(nodes: Sequence[NodeProto], outputs: Iterable[str]) -> list[NodeProto]:
    """Nodes of which something is read, in order."""
    wanted, kept = set(outputs), list[NodeProto]()
    for node in reversed(nodes):
        if any(name in wanted for name in node.output):
            kept.append(node)
            wanted.update((*node.input, *_inner_names(node)))
    return kept[::-1]


def _inner_names(node: NodeProto) -> set[str]:
    """Every value that the graphs inside a node read."""
    names: set[str] = set()
    for attribute in node.attribute:
        for graph in (attribute.g, *attribute.graphs):
            names.update(value.name for value in graph.output)
            for inner in graph.node:
                names.update((*inner.input, *_inner_names(inner)))
    return names
