"""Sequences that are turned around twice."""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import Flip, Transpose
from uair.rewrite import NoMatch, Rule, RuleSet, no, of


class CancelFlips(Rule):
    """Flip of Flip along the same axes is nothing, also with a Transpose between them."""

    def pattern(self, x: Any) -> Any:
        """Two, or two around a Transpose."""
        inner = of(Flip)(x).named("inner").shared()
        return [of(Flip)(inner).named("outer"), of(Flip)(of(Transpose)(inner).named("turn").shared()).named("outer")]

    def check(self, inner: Node, outer: Node, turn: Node | None) -> bool | NoMatch:
        """The axes are the same ones."""
        assert isinstance(inner.op, Flip) and isinstance(outer.op, Flip)
        rank = outer.output.type.rank
        axes = {a % rank for a in outer.op.axes}
        if turn is not None:
            assert isinstance(turn.op, Transpose)
            axes = {turn.op.perm[a] for a in axes}
        return axes == {a % rank for a in inner.op.axes} or no("they turn other axes around", outer)

    def rewrite(self, x: Tensor, turn: Node | None) -> Tensor:
        """The operand, transposed where it was."""
        return x if turn is None else turn.op(x)


FLIPS = RuleSet([CancelFlips()])
