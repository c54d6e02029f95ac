"""Logarithms of sums of squares, in numbers that float16 holds.

Spectrograms end in log(re^2 + im^2 + eps). In float16 the squares of quiet sounds and an eps below 6e-8 are 0, the
logarithm is minus infinity, and whatever is normalised with it NaN; the squares of loud ones overflow. Divided by the
greatest of |re|, |im| and sqrt(eps) first, as every good hypot does it, nothing leaves the range:

    log(sum x_i^2 + eps) = log(sum (x_i / m)^2 + (e / m)^2) + 2 log(m),  m = max(|x_i|, e),  e = sqrt(eps)

Everything is scaled by a power of two beforehand, so that e is a normal number of float16.
"""

from __future__ import annotations

import functools
import math
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Abs,
    Add,
    Clip,
    Div,
    Log,
    Maximum,
    Mul,
    ReduceSum,
    ReduceSumSquare,
    Reshape,
    Slice,
    Sqrt,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.passes.simplify.arithmetic import repeated_value
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of

MOVING = (Reshape, Squeeze, Transpose, Unsqueeze)
WIDEST = 4
"""Squares in a sum that are taken apart: real and imaginary part, perhaps of two channels."""
LEAST_NORMAL = 2.0**-14
"""Of float16."""
MARGIN = 4.0
"""How far above the least normal number the scaled e is at least."""


@attrs.frozen
class LogOfSquares(RulePass):
    """Keep logarithms of a few squares and a small constant in the range of float16."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([StableLogOfSquares()])


@attrs.frozen(eq=False)
class _Power:
    """log(sum of squares + eps), found in a graph.

    Attributes:
        x: what is squared.
        reduce: the sum.
        moves: operators between the sum and the logarithm that only move elements, the first first.
        eps: the constant.
    """

    x: Tensor
    reduce: Node
    moves: tuple[Node, ...]
    eps: float


class StableLogOfSquares(Rule):
    """Log(ReduceSum(x * x) + eps), also of Sqrt and square of the sum, is computed on x / max(|x|, sqrt(eps))."""

    def pattern(self) -> Any:
        """Any logarithm."""
        return of(Log)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It is of a sum of at most four squares along one axis, and a constant whose size float16 lacks."""
        power = _power(node)
        if isinstance(power, NoMatch):
            return power
        if node.output.type.dtype is not DType.F32:
            return no("it is not in float32", node)
        return power.eps < LEAST_NORMAL or no("the constant is large enough for float16", node)

    def rewrite(self, node: Node) -> Tensor:
        """The logarithm of the ratio and that of the divisor."""
        power = _power(node)
        assert not isinstance(power, NoMatch)
        scale = 2.0 ** max(0, math.ceil(math.log2(MARGIN * LEAST_NORMAL / math.sqrt(power.eps))))
        least = float(np.float32(math.sqrt(power.eps) * scale))
        axis = _axis(power.reduce)
        x = power.x if scale == 1 else Mul()(power.x, _number(scale))
        pieces = [Slice(axes=(axis,), starts=(i,), ends=(i + 1,), steps=(1,))(x) for i in range(_extent(power))]
        divisor = Clip(min=least)(functools.reduce(Maximum(), [Abs()(p) for p in pieces]))
        ratios = [Div()(p, divisor) for p in (*pieces, _number(least))]
        total = functools.reduce(Add(), [Mul()(r, r) for r in ratios])
        doubled = Mul()(Log()(divisor), _number(2.0))
        y = Add()(Log()(total), doubled)
        if scale != 1:
            y = Add()(y, _number(-2.0 * math.log(scale)))
        shape = power.reduce.output.type.shape
        if y.type.shape != shape:
            y = Reshape(shape=shape)(y)
        for move in power.moves:
            y = move.op(y)
        return y


def _number(value: float) -> Tensor:
    array: Array = np.asarray(value, np.float32)
    return constant(array)


def _axis(reduce: Node) -> int:
    axes = reduce.attributes["axes"]
    x = reduce.inputs[0]
    assert x is not None
    return int(axes[0]) % x.type.rank


def _extent(power: _Power) -> int:
    extent = power.x.type.dims[_axis(power.reduce)]
    assert isinstance(extent, int)
    return extent


def _power(log: Node) -> _Power | NoMatch:
    """What a logarithm is taken of."""
    add = _producer(log.inputs[0])
    if add is None or not isinstance(add.op, Add):
        return no("it is not of a sum with a constant", log)
    a, b = add.inputs
    assert a is not None and b is not None
    eps, power = next(((repeated_value(c), p) for p, c in ((a, b), (b, a)) if c.is_constant), (None, a))
    if eps is None or not eps > 0 or power.type.shape != add.output.type.shape:
        return no("the summand is not one positive number", add)
    moves: list[Node] = []
    node = _back(power, moves)
    if node is not None and _is_square(node):
        root = _back(node.inputs[0], moves)
        if root is None or not isinstance(root.op, Sqrt):
            return no("the square is not of a root", node)
        node = _back(root.inputs[0], moves)
    if node is None or not isinstance(node.op, (ReduceSum, ReduceSumSquare)):
        return no("what is added to is not a sum of squares", add)
    x = _squared(node)
    if x is None:
        return no("the sum is not of squares", node)
    axes = node.attributes["axes"]
    if axes is None or len(axes) != 1 or x.type.shape is None:
        return no("the sum is not along one axis", node)
    extent = x.type.shape[axes[0]]
    if not isinstance(extent, int) or not 1 <= extent <= WIDEST:
        return no(f"the sum is not of 1 to {WIDEST} squares", node)
    return _Power(x, node, tuple(reversed(moves)), eps)


def _producer(tensor: Tensor | None) -> Node | None:
    return None if tensor is None else tensor.producer


def _back(tensor: Tensor | None, moves: list[Node]) -> Node | None:
    """The producer of a tensor, past operators with one operand that only move elements; they are added to `moves`."""
    node = _producer(tensor)
    while node is not None and isinstance(node.op, MOVING) and len(node.inputs) == 1:
        moves.append(node)
        node = _producer(node.inputs[0])
    return node


def _is_square(node: Node) -> bool:
    return isinstance(node.op, Mul) and node.inputs[0] is node.inputs[1]


def _squared(reduce: Node) -> Tensor | None:
    """What is squared and summed."""
    if isinstance(reduce.op, ReduceSumSquare):
        return reduce.inputs[0]
    square = _producer(reduce.inputs[0])
    return square.inputs[0] if square is not None and _is_square(square) else None
