"""Permutations around axes of extent 1 that come and go."""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import Squeeze, Transpose, Unsqueeze
from uair.rewrite import NoMatch, Rule, no, of


class MergeTransposesAroundSqueeze(Rule):
    """Transpose, Squeeze or Unsqueeze, Transpose need one Transpose, or none when the two cancel.

    A convolution over a sequence is one over an image of one row; with channels last, this is what is left of it.
    """

    def pattern(self, x: Any) -> Any:
        """The first Transpose may have other users: it stays for them."""
        inner = of(Transpose)(x).named("inner").shared()
        return of(Transpose)(of(Squeeze, Unsqueeze)(inner).named("middle")).named("outer")

    def check(self, x: Tensor, middle: Node) -> bool | NoMatch:
        """The axes are known."""
        op: Any = middle.op
        known = op.axes is not None and len(middle.inputs) == 1 and x.type.shape is not None
        return known or no("the axes that come or go are not known", middle)

    def rewrite(self, x: Tensor, inner: Node, middle: Node, outer: Node) -> Tensor:
        """The Squeeze or Unsqueeze first; an axis that comes is put where it ends, so that it needs no moving."""
        op: Any = middle.op
        assert isinstance(inner.op, Transpose) and isinstance(outer.op, Transpose)
        if isinstance(middle.op, Squeeze):
            rank = len(inner.op.perm)
            gone = {inner.op.perm[a % rank] for a in op.axes}
            kept = [a for a in range(rank) if a not in gone]
            first = [kept.index(a) for a in inner.op.perm if a not in gone]
            perm = tuple(first[p] for p in outer.op.perm)
            y = Squeeze(axes=tuple(sorted(gone)))(x)
            return y if perm == tuple(range(len(perm))) else Transpose(perm=perm)(y)
        rank = len(outer.op.perm)
        new = {a % rank for a in op.axes}
        old = [a for a in range(rank) if a not in new]
        order = [inner.op.perm[old.index(p)] for p in outer.op.perm if p not in new]
        y = x if order == sorted(order) else Transpose(perm=tuple(order))(x)
        return Unsqueeze(axes=tuple(i for i, p in enumerate(outer.op.perm) if p in new))(y)


RULES = (MergeTransposesAroundSqueeze,)
