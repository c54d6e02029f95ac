"""Activations in pieces that models spell out with comparisons, maxima and Relu."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    Elu,
    Exp,
    Expm1,
    Greater,
    GreaterEqual,
    LeakyRelu,
    Maximum,
    Mul,
    Neg,
    PRelu,
    Relu,
    Sub,
    Where,
)
from uair.passes.fusion.activation import numbers
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of


class RecognizeLeakyRelu(Rule):
    """x where x > 0 and a * x elsewhere, and the greater one of x and a * x, are LeakyRelu."""

    def pattern(self, x: Any, zero: Any, slope: Any) -> Any:
        """The comparison with or without equality, or the maximum; the product in both orders, as in the quick Gelu."""
        positive = of(Greater, GreaterEqual)(x, zero)
        roots: list[Any] = []
        for scaled in (Mul()(x, slope), Mul()(slope, x)):
            roots += [Where()(positive, x, scaled).named("root"), Maximum()(x, scaled).named("root")]
        return roots

    def check(self, root: Node, x: Tensor, zero: Tensor | None, slope: Tensor) -> bool | NoMatch:
        """The slope is one number; under a maximum, one from 0 to 1."""
        value = repeated_value(slope)
        if value is None or not x.type.dtype.is_float:
            return no("the slope is not one number, or of integers", slope)
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        if zero is not None:
            return repeated_value(zero) == 0 or no("x is not compared with 0", zero)
        return 0 <= value <= 1 or no("the greater one of x and a * x is LeakyRelu for a from 0 to 1", slope)

    def rewrite(self, x: Tensor, slope: Tensor) -> Tensor:
        """One operator."""
        value = repeated_value(slope)
        assert value is not None
        return LeakyRelu(alpha=float(value))(x)


class RecognizeElu(Rule):
    """x where x > 0 and a * (exp(x) - 1) elsewhere is Elu."""

    def pattern(self, x: Any, zero: Any, one: Any, factor: Any, other: Any) -> Any:
        """With a factor or without, exp(x) - 1 in two operators or one; JAX replaces x > 0 first."""
        positive = of(Greater, GreaterEqual)(x, zero)
        roots: list[Any] = []
        for below in (Sub()(Exp()(x), one), Expm1()(x), Expm1()(Where()(positive, other, x))):
            roots += [Where()(positive, x, part).named("root") for part in (below, Mul()(below, factor))]
        return roots

    def check(self, root: Node, x: Tensor, zero: Tensor, one: Tensor | None, factor: Tensor | None) -> bool | NoMatch:
        """The constants are 0 and 1, and the factor is one number."""
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        if repeated_value(zero) != 0:
            return no("x is not compared with 0", zero)
        if factor is not None and repeated_value(factor) is None:
            return no("the factor is not one number", factor)
        return one is None or numbers(one=(one, 1.0))

    def rewrite(self, x: Tensor, factor: Tensor | None) -> Tensor:
        """One operator."""
        value = 1.0 if factor is None else repeated_value(factor)
        assert value is not None
        return Elu(alpha=float(value))(x)


class RecognizePRelu(Rule):
    """relu(x) - a * relu(-x), as Keras and MXNet write it, is PRelu."""

    def pattern(self, x: Any, slope: Any) -> Any:
        """The difference, or the sum with the slope negated."""
        below = Mul()(Relu()(Neg()(x)), slope)
        return [Sub()(Relu()(x), below).named("root"), Add()(Relu()(x), below).named("root")]

    def check(self, root: Node, x: Tensor, slope: Tensor) -> bool | NoMatch:
        """The slopes are a constant no larger than x."""
        if not slope.is_constant or not x.type.dtype.is_float:
            return no("the slopes are not a constant, or of integers", slope)
        return x.type == root.output.type or no("the slopes broadcast the operand", slope)

    def rewrite(self, root: Node, x: Tensor, slope: Tensor) -> Tensor:
        """One operator."""
        given = slope if isinstance(root.op, Sub) else constant(np.negative(slope.numpy()), slope.name)
        return PRelu()(x, given)


RULES = (RecognizeLeakyRelu, RecognizeElu, RecognizePRelu)
