"""Algebraic identities."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.data import SplatData
from uair.ir.dims import static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Clip, Div, Maximum, Minimum, Mul, Neg, Pow, Relu, Sub
from uair.rewrite import NoMatch, Rule, no, of


def repeated_value(tensor: Tensor) -> float | None:
    """The number that a constant consists of; None when it has several, or is too large to be looked through."""
    return None if tensor.data is None else tensor.data.repeated_number


class DropNeutralElement(Rule):
    """x + 0, x - 0, x * 1, x / 1 and x ** 1 are x."""

    NEUTRAL = {Add: 0.0, Sub: 0.0, Mul: 1.0, Div: 1.0, Pow: 1.0}

    def pattern(self, x: Any, c: Any) -> Any:
        """A binary operator; commutative ones match in both orders through `check`."""
        return of(Add, Sub, Mul, Div, Pow)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """One operand is neutral and broadcasting does not change the other's type."""
        kept = self.kept(node)
        if kept is None:
            return no("no operand is the neutral element", node)
        return kept.type == node.output.type or no("the neutral operand broadcasts the other one", node)

    def rewrite(self, node: Node) -> Tensor:
        """The other operand."""
        kept = self.kept(node)
        assert kept is not None
        return kept

    def kept(self, node: Node) -> Tensor | None:
        """The operand beside the neutral one."""
        a, b = node.inputs
        assert a is not None and b is not None
        neutral = self.NEUTRAL[type(node.op)]  # type: ignore[index]
        if repeated_value(b) == neutral:
            return a
        return b if node.op.commutative and repeated_value(a) == neutral else None


class ProductWithZero(Rule):
    """A product of integers with 0 is 0; of floats it is not: infinity times 0 is NaN."""

    def pattern(self) -> Any:
        """A product."""
        return of(Mul)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Integers of a known shape, one of which is 0 everywhere."""
        if not node.output.type.dtype.is_integer:
            return no("the product is not one of integers", node)
        if not any(t is not None and repeated_value(t) == 0 for t in node.inputs):
            return no("no operand is 0", node)
        return node.output.type.is_static or no("the shape of the product is not known", node)

    def rewrite(self, node: Node) -> Tensor:
        """Zeros."""
        t = node.output.type
        return constant(SplatData(0, t.dtype, static(t.dims)))


class MergeRelus(Rule):
    """Relu(Relu(x)) is Relu(x)."""

    def pattern(self, x: Any) -> Any:
        """Two in a row."""
        return Relu()(Relu()(x))

    def rewrite(self, x: Tensor) -> Tensor:
        """One."""
        return Relu()(x)


class MergeClips(Rule):
    """Clip(Clip(x)), Clip(Relu(x)) and Relu(Clip(x)) are one Clip."""

    def pattern(self, x: Any) -> Any:
        """Neighbours of which at least one is a Clip."""
        inner = of(Clip, Relu)(x).named("inner")
        return [of(Clip)(inner).named("outer"), Relu()(of(Clip)(x).named("inner")).named("outer")]

    def check(self, x: Tensor) -> bool | NoMatch:
        """Bounds of integer tensors could be rounded."""
        return x.type.dtype.is_float or no("the operand is not a float tensor", x)

    def rewrite(self, x: Tensor, inner: Node, outer: Node) -> Tensor:
        """The inner bounds clipped by the outer ones."""
        low, high = _bounds(inner)
        outer_low, outer_high = _bounds(outer)
        low, high = max(low, outer_low), max(high, outer_low)
        low, high = min(low, outer_high), min(high, outer_high)
        if low == 0 and high == np.inf:
            return Relu()(x)
        return Clip(min=None if low == -np.inf else low, max=None if high == np.inf else high)(x)


class ClipFromBounds(Rule):
    """Maximum(x, c) and Minimum(x, c) with one number c are Clip; max(x, 0) is Relu."""

    def pattern(self, x: Any, c: Any) -> Any:
        """Either, in either order."""
        return of(Maximum, Minimum)(x, c).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """One operand is a single number and the other has the result's type."""
        return self.parts(node) is not None or no("no operand is one float number of broadcastable shape", node)

    def rewrite(self, node: Node) -> Tensor:
        """A Clip with that bound."""
        parts = self.parts(node)
        assert parts is not None
        x, bound = parts
        if isinstance(node.op, Minimum):
            return Clip(max=bound)(x)
        return Relu()(x) if bound == 0 else Clip(min=bound)(x)

    @staticmethod
    def parts(node: Node) -> tuple[Tensor, float] | None:
        """The tensor and the bound."""
        a, b = node.inputs
        assert a is not None and b is not None
        for x, c in ((a, b), (b, a)):
            value = repeated_value(c)
            if value is not None and not np.isnan(value) and x.type == node.output.type and x.type.dtype.is_float:
                return x, value
        return None


class DropDoubleNegation(Rule):
    """-(-x) is x."""

    def pattern(self, x: Any) -> Any:
        """Two in a row."""
        return Neg()(Neg()(x))

    def rewrite(self, x: Tensor) -> Tensor:
        """The operand."""
        return x


def _bounds(node: Node) -> tuple[float, float]:
    if isinstance(node.op, Relu):
        return 0.0, np.inf
    assert isinstance(node.op, Clip)
    return (
        -np.inf if node.op.min is None else node.op.min,
        np.inf if node.op.max is None else node.op.max,
    )


RULES = (DropNeutralElement, ProductWithZero, MergeRelus, MergeClips, ClipFromBounds, DropDoubleNegation)
