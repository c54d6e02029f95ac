"""Roots of sums of squares, in numbers that float16 holds.

Spectrograms end in sqrt(re^2 + im^2). In float16 the square of what is below 2^-7 is no normal number and loses its
last digits, that of what is below 2^-12 is 0, and that of what is above 256 overflows. Divided by the greater of |re|
and |im| first, as every good hypot does it, nothing leaves the range:

    sqrt(sum x_i^2) = m sqrt(sum (x_i / m)^2),  m = max(|x_i|, least normal number of float16)
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import attrs

from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops import Abs, Add, Clip, Div, Maximum, Mul, Reshape, Slice, Sqrt, Squeeze, Transpose, Unsqueeze
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of

MOVING = (Reshape, Slice, Squeeze, Transpose, Unsqueeze)
WIDEST = 4
"""Squares in a sum that are taken apart."""
LEAST_NORMAL = 2.0**-14
"""Of float16."""


@attrs.frozen
class RootOfSquares(RulePass):
    """Keep roots of sums of a few squares in the range of float16."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([StableRootOfSquares()])


@attrs.frozen(eq=False)
class _Norm:
    """sqrt(a^2 + b^2 + ...), found in a graph.

    Attributes:
        x: what is squared.
        moves: operators between the sum and the root that only move elements, the first first.
    """

    x: tuple[Tensor, ...]
    moves: tuple[Node, ...]


class StableRootOfSquares(Rule):
    """Sqrt(a * a + b * b) is computed on a / max(|a|, |b|); what only moves elements of the sum comes after it."""

    def pattern(self) -> Any:
        """Any root."""
        return of(Sqrt)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It is of a sum of two to four squares of tensors of one shape."""
        norm = _norm(node)
        if isinstance(norm, NoMatch):
            return norm
        return node.output.type.dtype is DType.F32 or no("it is not in float32", node)

    def rewrite(self, node: Node) -> Tensor:
        """The root for the ratios, times the divisor."""
        norm = _norm(node)
        assert not isinstance(norm, NoMatch)
        divisor = Clip(min=LEAST_NORMAL)(functools.reduce(Maximum(), [Abs()(x) for x in norm.x]))
        ratios = [Div()(x, divisor) for x in norm.x]
        y = Mul()(Sqrt()(functools.reduce(Add(), [Mul()(r, r) for r in ratios])), divisor)
        for move in norm.moves:
            y = move.op(y)
        return y


def _norm(root: Node) -> _Norm | NoMatch:
    """What a root is taken of."""
    moves: list[Node] = []
    total = root.inputs[0]
    while total is not None and total.producer is not None and isinstance(total.producer.op, MOVING):
        if len(total.producer.inputs) != 1:
            return no("a shape is computed", total.producer)
        moves.append(total.producer)
        total = total.producer.inputs[0]
    if total is None:
        return no("it is not of a sum", root)
    squared = _squares(total)
    if not 2 <= len(squared) <= WIDEST:
        return no(f"it is not of a sum of 2 to {WIDEST} squares", root)
    if any(x.type.shape != total.type.shape for x in squared):
        return no("the squares are not of one shape", root)
    if len({_divisor(x) for x in squared} - {None}) == 1 and all(map(_divisor, squared)):
        return no("they are ratios already", root)
    return _Norm(tuple(squared), tuple(reversed(moves)))


def _divisor(ratio: Tensor) -> Tensor | None:
    node = ratio.producer
    return node.inputs[1] if node is not None and isinstance(node.op, Div) else None


def _squares(total: Tensor) -> Sequence[Tensor]:
    """What is squared in a sum; empty when anything else is added."""
    node = total.producer
    if node is None:
        return ()
    if isinstance(node.op, Mul) and node.inputs[0] is not None and node.inputs[0] is node.inputs[1]:
        return (node.inputs[0],)
    if not isinstance(node.op, Add) or len(total.uses) != 1:
        return ()
    parts = [_squares(x) for x in node.inputs if x is not None]
    return tuple(x for part in parts for x in part) if all(parts) else ()
