"""Elementwise functions by others."""

from __future__ import annotations

from typing import Any

from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops import (
    Abs,
    Add,
    Clip,
    Div,
    Exp,
    HardSigmoid,
    Maximum,
    Minimum,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceSum,
    Relu,
    Reshape,
    Rsqrt,
    Sigmoid,
    Softmax,
    Softplus,
    Sqrt,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.passes.rewrites._common import number
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of

DEEPEST = 8
"""Producers that are looked through for a proof."""
KEEPING = (Reshape, Squeeze, Unsqueeze, Transpose, ReduceMax, ReduceMin, ReduceMean, ReduceSum)
"""Operators whose results are positive (or not negative) when their operands are."""


class MinimumByMaximum(Rule):
    """min(a, b) is -max(-a, -b)."""

    def pattern(self, a: Any, b: Any) -> Any:
        """Any minimum."""
        return of(Minimum)(a, b).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Of floats: the negative of the least integer is itself."""
        return node.output.type.dtype.is_float or no("it is of integers", node)

    def rewrite(self, a: Tensor, b: Tensor) -> Tensor:
        """Three negations, of which constants' are folded."""
        return Neg()(Maximum()(Neg()(a), Neg()(b)))


class ReciprocalByPower(Rule):
    """1 / x is (x ** -0.5) ** 2 for x > 0."""

    def pattern(self, x: Any) -> Any:
        """The operator."""
        return of(Reciprocal)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """The operand is positive whatever the input is."""
        if x.type.dtype is not DType.F32:
            return no("its element type is not f32", node)
        return is_positive(x) or no("its operand may be negative or zero", node)

    def rewrite(self, x: Tensor) -> Tensor:
        """The square of the power."""
        root = Pow()(x, number(-0.5))
        return Mul()(root, root)


class RsqrtByPower(Rule):
    """1 / sqrt(x) is x ** -0.5."""

    def pattern(self, x: Any) -> Any:
        """The operator."""
        return of(Rsqrt)(x).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """In f32."""
        return node.output.type.dtype is DType.F32 or no("its element type is not f32", node)

    def rewrite(self, x: Tensor) -> Tensor:
        """The power."""
        return Pow()(x, number(-0.5))


def is_positive(x: Tensor, depth: int = DEEPEST) -> bool:
    """Whether every element is greater than 0 for every input of the model, as far as the producers tell.

    In the arithmetic of real numbers: a sum of squares and an epsilon is positive, though float16 may round both to 0.
    """
    data = x.data
    if data is not None:
        value = repeated_value(x)
        return value > 0 if value is not None else bool((x.numpy() > 0).all())
    node = x.producer
    if node is None or depth == 0:
        return False
    operands = [t for t in node.inputs if t is not None]
    if isinstance(node.op, (Exp, Sigmoid, Softplus, Softmax)):
        return True
    if isinstance(node.op, Clip):
        return node.op.min is not None and node.op.min > 0
    if isinstance(node.op, Maximum):
        return any(is_positive(t, depth - 1) for t in operands)
    if isinstance(node.op, Add):
        a, b = operands
        return (is_positive(a, depth - 1) and is_not_negative(b, depth - 1)) or (
            is_positive(b, depth - 1) and is_not_negative(a, depth - 1)
        )
    if isinstance(node.op, (Mul, Div)):
        return all(is_positive(t, depth - 1) for t in operands)
    return isinstance(node.op, (Sqrt, Pow, *KEEPING)) and is_positive(operands[0], depth - 1)


def is_not_negative(x: Tensor, depth: int = DEEPEST) -> bool:
    """Whether no element is below 0 for any input of the model, as far as the producers tell."""
    if is_positive(x, depth):
        return True
    if x.data is not None:
        return bool((x.numpy() >= 0).all())
    node = x.producer
    if node is None or depth == 0:
        return False
    operands = [t for t in node.inputs if t is not None]
    if isinstance(node.op, (Relu, Abs, Sqrt, HardSigmoid)):
        return True
    if isinstance(node.op, Clip):
        return node.op.min is not None and node.op.min >= 0
    if isinstance(node.op, Mul) and operands[0] is operands[1]:
        return True
    if isinstance(node.op, Pow) and len(operands) > 1:
        return repeated_value(operands[1]) == 2 or is_not_negative(operands[0], depth - 1)
    if isinstance(node.op, (Add, Mul, Div)):
        return all(is_not_negative(t, depth - 1) for t in operands)
    return isinstance(node.op, KEEPING) and is_not_negative(operands[0], depth - 1)


RULES = (MinimumByMaximum, ReciprocalByPower, RsqrtByPower)
