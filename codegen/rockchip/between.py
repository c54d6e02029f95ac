"""What the file states between operators that rknn-toolkit2 computes together.

At optimization_level 3 the toolkit computes a convolution together with the activation function or the sum behind it,
and rounds once, at the end: measured with 2.5.0, the simulator's results are those without QuantizeLinear and
DequantizeLinear between the two to the last integer, whatever their scale. Without them it takes the convolution's
result for float16, and fails or crashes. So the module has no such pair, and the file has one.

Its range is what the result's integers say about the convolution's: that of an activation function is inverted. The
numbers count where the toolkit does not join the two after all, and never at level 3 in what was measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ops import (
    Add,
    Clip,
    Conv2D,
    Dequantize,
    Elu,
    HardSigmoid,
    HardSwish,
    LeakyRelu,
    Mul,
    PRelu,
    Quantize,
    Relu,
    Sigmoid,
    Swish,
    Tanh,
)
from uair.ops.base import Operator

MAKER = "rockchip"
SATURATED: Mapping[type[Operator], float] = {Sigmoid: 8.0, Tanh: 4.0, Swish: 8.0, Elu: 8.0, HardSwish: 3.0}
"""Where a function is a constant within a step of 8 bits, on one side or on both."""
LEAST_SLOPE = 0.01


@attrs.frozen
class Interval:
    """The real numbers that the integers of a tensor stand for: from `low` to `high`."""

    low: float
    high: float


def state_between(graph: Graph) -> None:
    """Put Quantize and Dequantize between convolutions on integers and what is computed together with them."""
    for node in list(graph):
        found = interval_between(node)
        if found is not None:
            _insert(graph, node, found)


def interval_between(node: Node) -> Interval | None:
    """The range of a quantized convolution's result that goes into another operator as it is; None for other nodes.

    Before Relu, which the toolkit joins to whatever gives its operand, nothing is needed.
    """
    if not isinstance(node.op, Conv2D) or not all(_is_dequantized(t) for t in node.inputs[:2]):
        return None
    y = node.output
    users = list(y.users)
    if len(users) == 2:
        return _of_swish(y)
    if len(users) != 1 or isinstance(users[0].op, (Quantize, Relu)):
        return None
    last = quantizer(users[0].output) if len(users[0].outputs) == 1 else None
    if last is None:
        return None
    if isinstance(users[0].op, Add):
        return _summand(users[0], y, interval_of(last))
    inverse = INVERSES.get(type(users[0].op))
    return None if inverse is None else inverse(users[0], interval_of(last))


def _is_dequantized(tensor: Tensor | None) -> bool:
    return tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Dequantize)


def quantizer(tensor: Tensor) -> Node | None:
    """The Quantize that reads a tensor, also behind a Relu; None where there is none, or other things read it."""
    users = list(tensor.users)
    if len(users) == 1 and isinstance(users[0].op, Relu):
        users = list(users[0].output.users)
    known = [user for user in users if isinstance(user.op, Quantize) and user.op.axis is None]
    return known[0] if len(known) == len(users) == 1 else None


def interval_of(node: Node) -> Interval:
    """Of a Quantize or Dequantize with one constant scale and zero point for all of the tensor."""
    scale, zero = node.inputs[1], node.inputs[2] if len(node.inputs) > 2 else None
    assert scale is not None
    integers = (node.output if isinstance(node.op, Quantize) else _first(node)).type.dtype
    step, offset = float(scale.numpy()), 0 if zero is None else int(zero.numpy())
    low, high = integers.range
    return Interval((low - offset) * step, (high - offset) * step)


def _first(node: Node) -> Tensor:
    tensor = node.inputs[0]
    assert tensor is not None
    return tensor


def _of_swish(y: Tensor) -> Interval | None:
    """Of x in x * Sigmoid(x)."""
    gate, product = (next((u for u in y.users if isinstance(u.op, kind)), None) for kind in (Sigmoid, Mul))
    if gate is None or product is None or list(gate.output.users) != [product]:
        return None
    last = quantizer(product.output)
    return None if last is None else _upwards(product, interval_of(last), SATURATED[Swish])


def _summand(total: Node, y: Tensor, result: Interval) -> Interval | None:
    """What a sum and its other operand leave for one operand."""
    other = next((t for t in total.inputs if t is not y), None)
    maker = None if other is None else other.producer
    if maker is None or not isinstance(maker.op, Dequantize) or maker.op.axis is not None:
        return None
    known = interval_of(maker)
    return Interval(result.low - known.high, result.high - known.low)


def _upwards(_: Node, result: Interval, saturated: float) -> Interval:
    """Of functions that are all but constant below, and the identity above."""
    return Interval(-saturated, max(result.high, saturated))


def _leaky(node: Node, result: Interval) -> Interval:
    op = node.op
    assert isinstance(op, LeakyRelu)
    return Interval(result.low / max(op.alpha, LEAST_SLOPE), result.high)


def _prelu(node: Node, result: Interval) -> Interval:
    slope = node.inputs[1]
    least = float(np.min(slope.numpy())) if slope is not None and slope.is_constant else LEAST_SLOPE
    return Interval(result.low / max(least, LEAST_SLOPE), result.high)


def _clip(node: Node, result: Interval) -> Interval:
    op = node.op
    assert isinstance(op, Clip)
    return Interval(result.low if op.min is None else op.min, result.high if op.max is None else op.max)


def _hard_sigmoid(node: Node, result: Interval) -> Interval:
    del result
    op = node.op
    assert isinstance(op, HardSigmoid)
    ends = sorted(((0 - op.beta) / op.alpha, (1 - op.beta) / op.alpha))
    return Interval(*ends)


INVERSES: Mapping[type[Any], Callable[[Node, Interval], Interval]] = {
    Clip: _clip,
    Elu: lambda node, result: _upwards(node, result, SATURATED[Elu]),
    HardSigmoid: _hard_sigmoid,
    HardSwish: lambda node, result: _upwards(node, result, SATURATED[HardSwish]),
    LeakyRelu: _leaky,
    PRelu: _prelu,
    Sigmoid: lambda node, result: Interval(-SATURATED[Sigmoid], SATURATED[Sigmoid]),
    Swish: lambda node, result: _upwards(node, result, SATURATED[Swish]),
    Tanh: lambda node, result: Interval(-SATURATED[Tanh], SATURATED[Tanh]),
}


def _insert(graph: Graph, node: Node, interval: Interval) -> None:
    """Behind a node, a pair with the parameters of an interval that holds 0."""
    low, high = min(interval.low, 0.0), max(interval.high, 0.0)
    least, greatest = DType.I8.range
    scale = max((high - low) / (greatest - least), math.ulp(1.0))
    zero = min(max(round(least - low / scale), least), greatest)
    y, name = node.output, node.output.name or node.name
    users = y.uses
    parameters = [
        constant(np.asarray(scale, np.float32), f"{name}_scale"),
        constant(np.asarray(zero, np.int8), f"{name}_zero_point"),
    ]
    location = Location.fused([node.loc], by=MAKER)
    names = [f"{name}_quantized", f"{name}_dequantized"]
    quantize = Node(Quantize(dtype=DType.I8), [y, *parameters], name=names[0], loc=location, output_names=names[:1])
    dequantize = Node(Dequantize(), [quantize.output, *parameters], name=names[1], loc=location, output_names=names[1:])
    anchor = node.next or graph.end
    for made in (quantize, dequantize):
        graph.insert_before(anchor, made)
    for user, i in users:
        user.set_input(i, dequantize.output)
