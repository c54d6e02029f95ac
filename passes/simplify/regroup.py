"""Reshapes next to Transposes: what both do together, in terms of the factors that their axes have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from uair.ir.dims import Dim, Shape, floor_div, normal
from uair.ir.graph import Node, Tensor
from uair.ops import Reshape, Transpose
from uair.passes.simplify.parts import MOST_AXES
from uair.rewrite import NoMatch, Rule, no, of


@attrs.frozen
class Factors:
    """Extents of which the axes of two shapes of the same elements are products, in their common order.

    Attributes:
        extents: none is 1.
        before: for each axis of the first shape, which of them it is the product of.
        after: the same for the second shape.
    """

    extents: Shape
    before: Sequence[Sequence[int]]
    after: Sequence[Sequence[int]]


def common_factors(before: Shape, after: Shape) -> Factors | None:
    """The coarsest factors of two shapes of as many elements; None when an axis is cut across, or an extent is 0.

    [10, 2, 32] and [10, 8, 8] have the factors 10, 2, 4 and 8.
    """
    if 0 in before or 0 in after:
        return None
    extents: list[Dim] = []
    sides: tuple[list[list[int]], list[list[int]]] = ([[] for _ in before], [[] for _ in after])
    shapes, places, rest = (before, after), [0, 0], list[Dim]([1, 1])
    while True:
        for side in (0, 1):
            while rest[side] == 1 and places[side] < len(shapes[side]):
                rest[side] = shapes[side][places[side]]
                places[side] += 1
        if rest == [1, 1]:
            return Factors(tuple(extents), *sides)
        found = _common(*rest)
        if found is None:
            return None
        for side in (0, 1):
            sides[side][places[side] - 1].append(len(extents))
        extent, *rest = found
        extents.append(extent)


def _common(a: Dim, b: Dim) -> tuple[Dim, Dim, Dim] | None:
    """The lesser extent where it divides the other one, and what is left of each."""
    if 1 in (a, b):
        return None
    if a == b:
        return a, 1, 1
    for greater, lesser, swapped in ((a, b, False), (b, a, True)):
        left = floor_div(greater, lesser)
        if left != 0 and normal(left * lesser) == greater:
            return (lesser, 1, left) if swapped else (lesser, left, 1)
    return None


@attrs.frozen
class Moves:
    """A Reshape that splits axes, a Transpose, and a Reshape that merges axes; each may have nothing to do."""

    given: Shape
    split: Shape
    perm: tuple[int, ...]
    result: Shape

    @property
    def turned(self) -> Shape:
        """The shape behind the Transpose."""
        return tuple(self.split[p] for p in self.perm)

    @property
    def splits(self) -> bool:
        """Whether axes are split."""
        return self.split != self.given

    @property
    def merges(self) -> bool:
        """Whether axes are merged."""
        return self.turned != self.result

    @property
    def count(self) -> int:
        """How many nodes they are."""
        return self.splits + (self.perm != tuple(range(len(self.perm)))) + self.merges

    def apply(self, x: Tensor) -> Tensor:
        """The nodes behind x."""
        if self.splits:
            x = Reshape(shape=self.split)(x)
        if self.perm != tuple(range(len(self.perm))):
            x = Transpose(perm=self.perm)(x)
        return Reshape(shape=self.result)(x) if self.merges else x


def moves(given: Shape, first: Sequence[int], after: Shape, second: Sequence[int]) -> Moves | None:
    """What a Transpose by `first`, a Reshape to `after` and a Transpose by `second` do to a tensor of shape `given`.

    None when the Reshape cuts across the axes, or an extent is 0.
    """
    factors = common_factors(tuple(given[p] for p in first), after)
    if factors is None:
        return None
    order = [f for axis in range(len(given)) for f in factors.before[first.index(axis)]]
    turned = [f for axis in second for f in factors.after[axis]]
    split = tuple(factors.extents[f] for f in order)
    perm = tuple(order.index(f) for f in turned)
    result = tuple(after[p] for p in second)
    if tuple(d for d in given if d != 1) == split and perm == tuple(range(len(perm))):
        split, perm = given, tuple(range(len(given)))  # axes of extent 1 need no Reshape of their own
    return Moves(given, split, perm, result)


class TransposesAroundReshape(Rule):
    """Transpose, Reshape, Transpose where the Reshape only splits or only merges axes are one Transpose and it."""

    def pattern(self, x: Any) -> Any:
        """What is before the last one may have other users."""
        first = of(Transpose)(x).named("first").shared()
        return of(Transpose)(of(Reshape)(first).named("reshape")).named("second")

    def check(self, first: Node, reshape: Node, second: Node) -> bool | NoMatch:
        """One Transpose does it, of no more axes than devices take."""
        found = self.found(first, reshape, second)
        if found is None:
            return no("the Reshape cuts across axes", reshape)
        if len(found.perm) > max(MOST_AXES, len(_perm(first)), len(_perm(second))):
            return no(f"a Transpose of more than {MOST_AXES} axes would come of it", second)
        return found.count <= 2 or no("the Reshape both splits and merges axes", reshape)

    def rewrite(self, x: Tensor, first: Node, reshape: Node, second: Node) -> Tensor:
        """Reshape and Transpose, in the order that fits."""
        found = self.found(first, reshape, second)
        assert found is not None
        return found.apply(x)

    @staticmethod
    def found(first: Node, reshape: Node, second: Node) -> Moves | None:
        """What the three do."""
        x = first.inputs[0]
        assert x is not None
        if x.type.shape is None or reshape.output.type.shape is None:
            return None
        return moves(x.type.dims, _perm(first), reshape.output.type.dims, _perm(second))


class MergeBehindTranspose(Rule):
    """A Reshape that merges axes in front of a Transpose goes behind it where it meets another Reshape."""

    def pattern(self, x: Any) -> Any:
        """Reshape, Transpose, Reshape; the first one may have other users."""
        return of(Reshape)(of(Transpose)(of(Reshape)(x).named("first").shared()).named("turn")).named("root")

    def check(self, x: Tensor, first: Node, turn: Node) -> bool | NoMatch:
        """The first one does nothing but merge axes, of which there are as few as devices take."""
        found = self.found(x, first, turn)
        if found is None or found.splits:
            return no("it does more than to merge axes", first)
        return len(found.perm) <= MOST_AXES or no(f"a Transpose of more than {MOST_AXES} axes would come of it", turn)

    def rewrite(self, x: Tensor, first: Node, turn: Node, root: Node) -> Tensor:
        """The Transpose first."""
        found = self.found(x, first, turn)
        assert found is not None
        return Reshape(shape=root.output.type.dims)(Transpose(perm=found.perm)(x))

    @staticmethod
    def found(x: Tensor, first: Node, turn: Node) -> Moves | None:
        """What the first two do."""
        if x.type.shape is None or first.output.type.shape is None:
            return None
        return moves(x.type.dims, range(x.type.rank), first.output.type.dims, _perm(turn))


def _perm(node: Node) -> tuple[int, ...]:
    assert isinstance(node.op, Transpose)
    return node.op.perm


RULES = (TransposesAroundReshape, MergeBehindTranspose)
