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


class TransposesAroundUnits(Rule):
    """Two Transposes with a Reshape between them that only drops or adds axes of extent 1 can undo each other.

    Squeezing a spatial axis of images whose channels were moved to the end leaves this: the whole is a Reshape.
    """

    def pattern(self, x: Any) -> Any:
        """The last; what is before it may have other users."""
        inner = of(Transpose)(x).named("inner").shared()
        return of(Transpose)(of(Reshape)(inner).named("reshape").shared()).named("outer")

    def check(self, x: Tensor, inner: Node, reshape: Node, outer: Node) -> bool | NoMatch:
        """The axes longer than 1 come out in the order in which they went in."""
        assert isinstance(inner.op, Transpose) and isinstance(outer.op, Transpose)
        if x.type.shape is None or sum(not isinstance(d, int) for d in x.type.shape) > 1:
            return no("more than one extent of the operand is open: a Reshape would have to compute them", x)
        before, between = inner.output.type.dims, reshape.output.type.dims
        if [d for d in before if d != 1] != [d for d in between if d != 1]:
            return no("the Reshape does more than to drop or add axes of extent 1", reshape)
        came_from = iter([axis for axis, d in zip(inner.op.perm, before, strict=True) if d != 1])
        source = {axis: next(came_from) for axis, d in enumerate(between) if d != 1}
        moved = [source[axis] for axis in outer.op.perm if axis in source]
        return moved == sorted(moved) or no("together they change the order of elements", outer)

    def rewrite(self, x: Tensor, outer: Node) -> Tensor:
        """A Reshape to the same result."""
        return Reshape(shape=outer.output.type.dims)(x)


RULES = (MergeTransposes, ReshapeFromTranspose, TransposesAroundUnits)
