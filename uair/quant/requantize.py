"""Lowering what follows a sum of products: an activation and the Quantize of the next tensor as one Requantize."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ops import Clip, Linear, MatMul, Quantize, Relu, Requantize
from uair.ops.requantization import Arithmetic
from uair.quant.view import QuantizedView

MAKER = "lower-to-integer"
Requantization: TypeAlias = Literal["float", "fixed_point", "shift", "litert"]
"""An arithmetic of Requantize; "litert": those of LiteRT's reference kernels, which differ between kinds of layers."""


@attrs.frozen(eq=False)
class Tail:
    """What follows a node.

    Attributes:
        between: Relu or Clip, or nothing.
        quantize: the Quantize of the result, with one scale.
    """

    between: Node | None
    quantize: Node

    @property
    def scale(self) -> Array:
        """Of the result: f32 scalar."""
        return _given(self.quantize, 1).numpy().astype(np.float32)

    @property
    def zero_point(self) -> Tensor | None:
        """Of the result."""
        return self.quantize.inputs[2] if len(self.quantize.inputs) > 2 else None

    def bounds(self) -> tuple[int | None, int | None]:
        """The activation's limits as integers of the result: what Quantize makes of them; None for no limit."""
        limits: tuple[float | None, float | None] = (None, None)
        if self.between is not None:
            activation = self.between.op
            limits = (0.0, None) if isinstance(activation, Relu) else (_clip(activation).min, _clip(activation).max)
        op = self.quantize.op
        assert isinstance(op, Quantize)
        zero = None if self.zero_point is None else self.zero_point.numpy()
        low, high = (
            None if limit is None else int(op.evaluate(np.asarray(limit, np.float32), self.scale, zero))
            for limit in limits
        )
        return low, high


def _clip(op: object) -> Clip:
    assert isinstance(op, Clip)
    return op


def _given(node: Node, i: int) -> Tensor:
    tensor = node.inputs[i]
    assert tensor is not None
    return tensor


def find_tail(node: Node) -> Tail | None:
    """What alone uses a node's result and makes integers of it; None where there is no such thing."""
    user = _only_user(node)
    between = user if user is not None and isinstance(user.op, (Relu, Clip)) else None
    last = _only_user(between) if between is not None else user
    if last is None or not isinstance(last.op, Quantize) or last.op.axis is not None or last.op.dtype.bits > 16:
        return None
    return Tail(between, last) if all(t is None or t.is_constant for t in last.inputs[1:]) else None


def _only_user(node: Node) -> Node | None:
    uses = node.output.uses
    if len(uses) != 1:
        return None
    user, place = uses[0]
    return user if place == 0 and not user.is_return else None


def requantize(
    graph: Graph, view: QuantizedView, acc: Tensor, tail: Tail, requantization: Requantization, axis: int | None
) -> None:
    """Replace everything from a node to its Quantize by a Requantize of its sums.

    Args:
        graph: the graph.
        view: the node; it and its tail are removed.
        acc: its sums, with the bias.
        tail: what follows.
        requantization: how the Requantize rounds.
        axis: the channels of `acc` where there is one scale for each.
    """
    old = tail.quantize
    low, high = tail.bounds()
    arithmetic = arithmetic_of(view, requantization)
    assert isinstance(old.op, Quantize)
    op = Requantize(arithmetic=arithmetic, axis=axis, dtype=old.op.dtype, low=low, high=high)
    name = old.output.name or view.node.name
    scale = constant(result_scale(view, tail.scale, arithmetic), f"{name}_requantization")
    location = Location.fused([n.loc for n in (view.node, tail.between, old) if n is not None], by=MAKER)
    operands = [acc, scale, tail.zero_point] if tail.zero_point is not None else [acc, scale]
    made = Node(op, operands, name=view.node.name, loc=location, output_names=[old.output.name])
    graph.insert_before(old, made)
    graph.replace(old, [made.output])
    for node in (tail.between, view.node):
        if node is not None:
            graph.remove(node)


def arithmetic_of(view: QuantizedView, requantization: Requantization) -> Arithmetic:
    """The arithmetic of one node."""
    if requantization != "litert":
        return requantization
    return "fixed_point_once" if isinstance(view.node.op, (Linear, MatMul)) else "fixed_point"


def result_scale(view: QuantizedView, of_result: Array, arithmetic: Arithmetic) -> Array:
    """s_x * s_w / s_y, a scalar or one number per output channel: f32 for "float", f64 otherwise.

    In f64 the product of a matrix product's two single scales is that of f32, as in TFLite's
    GetQuantizedConvolutionMultiplier.
    """
    if arithmetic == "float":
        return np.asarray(view.accumulator_scale() / of_result, np.float32)
    if isinstance(view.node.op, (Linear, MatMul)) and not view.w.scale.ndim:
        return np.asarray(view.accumulator_scale().astype(np.float64) / of_result)
    scale = view.x.scale.astype(np.float64) * view.w.scale.astype(np.float64) / of_result.astype(np.float64)
    return np.asarray(view.repeated(np.asarray(scale)))
