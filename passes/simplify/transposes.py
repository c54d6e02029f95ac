"""Permutations of axes."""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import Reshape, Transpose
from uair.rewrite import NoMatch, Rule, no, of


class MergeTransposes(Rule):
    """Transpose(Transpose(x)) is one Transpose."""

    def pattern(self, x: Any) -> Any:
        """Two in a row; the first may have other users."""
        return of(Transpose)(of(Transpose)(x).named("inner").shared()).named("outer")

    def rewrite(self, x: Tensor, inner: Node, outer: Node) -> Tensor:
        """The composed permutation."""
        first, second = inner.op, outer.op
        assert isinstance(first, Transpose) and isinstance(second, Transpose)
        perm = tuple(first.perm[i] for i in second.perm)
        return x if perm == tuple(range(len(perm))) else Transpose(perm=perm)(x)


class ReshapeFromTranspose(Rule):
    """A Transpose that only moves axes of extent 1 is a Reshape."""

    def pattern(self, x: Any) -> Any:
        """Any Transpose."""
        return of(Transpose)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """The axes longer than 1 keep their order."""
        assert isinstance(node.op, Transpose)
        if x.type.shape is None or sum(not isinstance(d, int) for d in x.type.shape) > 1:
            return no("more than one extent of the operand is open: a Reshape would have to compute them", x)
        moved = [axis for axis in node.op.perm if x.type.dims[axis] != 1]
        return moved == sorted(moved) or no("it changes the order of elements", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """A Reshape to the same result."""
        return Reshape(shape=node.output.type.dims)(x)


RULES = (MergeTransposes, ReshapeFromTranspose)
