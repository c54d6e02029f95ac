"""Rotary positions of pairs of features that stand side by side, as GPT-J, RoFormer and Cohere have them."""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import Add, Concat, Gather, Mul, Neg, Reshape, Slice, Split, Squeeze, Sub, Unsqueeze
from uair.passes.fusion.attention import RotaryProducts, TurnedRotary
from uair.passes.simplify.arithmetic import repeated_value
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, no, of


# ------------------------------------------------------------------------------------------------ every second feature
def every_second(tensor: Tensor) -> tuple[Tensor, int] | None:
    """What a tensor is every second feature of, and from which one on: 0 or 1; None when it is no such thing.

    An axis of extent 1 behind the features does not matter.
    """
    node = tensor.producer
    x = None if node is None else node.inputs[0]
    if node is None or x is None or not x.type.shape:
        return None
    if isinstance(node.op, (Squeeze, Unsqueeze, Reshape)):
        dims = tensor.type.shape
        same = dims is not None and (dims == (*x.type.shape, 1) or (*dims, 1) == x.type.shape)
        return every_second(x) if same and not isinstance(x.producer and x.producer.op, type(node.op)) else None
    if isinstance(node.op, Slice):
        return _by_slice(node, x)
    place = _place(node) if isinstance(node.op, Gather) else tensor.index if _halves(node) else None
    return None if place is None else _of_pair(node, x, place)


def _by_slice(node: Node, x: Tensor) -> tuple[Tensor, int] | None:
    op, extent = node.op, x.type.dims[-1]
    if not has_known_bounds(op) or [a % x.type.rank for a in op.axes] != [x.type.rank - 1] or op.steps != (2,):
        return None
    start, end = op.starts[0], op.ends[0]
    if not isinstance(start, int) or not isinstance(end, int) or not isinstance(extent, int) or extent % 2:
        return None
    first, last, _ = slice(start, end, 2).indices(extent)
    return (x, first) if first in (0, 1) and last >= extent - 1 + first else None


def _place(node: Node) -> int | None:
    """The one place of the last axis that a Gather takes."""
    x, index = node.inputs
    assert isinstance(node.op, Gather) and x is not None and index is not None
    value = repeated_value(index) if index.type.shape == () else None
    return None if value is None or node.op.axis % x.type.rank != x.type.rank - 1 else int(value) % 2


def _halves(node: Node) -> bool:
    """Whether a Split cuts the last axis into two of extent 1."""
    x = node.inputs[0]
    assert x is not None
    return isinstance(node.op, Split) and node.op.axis % x.type.rank == x.type.rank - 1 and len(node.outputs) == 2


def _of_pair(node: Node, x: Tensor, place: int) -> tuple[Tensor, int] | None:
    """What a Reshape has made [..., n, 2] of; `node` takes one of the two."""
    source = x.producer.inputs[0] if x.producer is not None and isinstance(x.producer.op, Reshape) else None
    *front, count, two = (0, *x.type.dims)
    if source is None or two != 2 or not isinstance(count, int) or source.type.shape != (*front[1:], 2 * count):
        return None
    return source, place


def pairs(a: Tensor, b: Tensor) -> tuple[Tensor, int] | None:
    """The tensor of which a has the first and b the second feature of every pair, and how many pairs there are."""
    first, second = every_second(a), every_second(b)
    if first is None or second is None or first[0] is not second[0] or (first[1], second[1]) != (0, 1):
        return None
    extent = first[0].type.dims[-1]
    return (first[0], extent // 2) if isinstance(extent, int) else None


def is_interleaved(merge: Node) -> bool | NoMatch:
    """Whether a Reshape of a Concat joins two tensors [..., n, 1] along the last axis, and merges it into the n."""
    stack = merge.inputs[0].producer if merge.inputs[0] is not None else None
    assert stack is not None and isinstance(stack.op, Concat)
    *front, count, two = (0, *stack.output.type.dims)
    if stack.op.axis % stack.output.type.rank != stack.output.type.rank - 1 or two != 2 or not isinstance(count, int):
        return no("the parts are not joined along a last axis of two", stack)
    merged = merge.output.type.shape == (*front[1:], 2 * count)
    return merged or no("the axis of two is not merged with the one in front of it", merge)


# ------------------------------------------------------------------------------------------------ rules
class RecognizeRotaryPairs(TurnedRotary):
    """x cos + turned sin, where (-b, a) of every pair (a, b) is turned, is RotaryEmbedding of pairs side by side."""

    interleaved = True
    parts = staticmethod(pairs)
    joined = staticmethod(is_interleaved)
    wanted = "every number twice"

    def pattern(self, p: Any, q: Any, a: Any, b: Any, sin: Any) -> Any:
        """The sums and products in either order; p and q are x and the cosines."""
        stack = of(Concat)(of(Unsqueeze, Reshape)(Neg()(b)), a)
        return Add()(Mul()(p, q), Mul()(of(Reshape)(stack).named("turned"), sin)).named("root")

    def rewrite(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        return self.replaced(p, q, a, b, sin)


class RecognizeRotaryProducts(RotaryProducts):
    """(a cos - b sin, b cos + a sin) of every pair (a, b) is RotaryEmbedding of pairs side by side.

    So is a product of complex numbers.
    """

    interleaved = True
    parts = staticmethod(pairs)
    joined = staticmethod(is_interleaved)

    def pattern(self) -> Any:
        """All sums and products in either order."""
        real = Sub()(of(Mul)(...).named("ac"), of(Mul)(...).named("bs"))
        imaginary = Add()(of(Mul)(...).named("first"), of(Mul)(...).named("second"))
        stack = of(Concat)(of(Unsqueeze, Reshape)(real), of(Unsqueeze, Reshape)(imaginary))
        return of(Reshape)(stack).named("root")

    def rewrite(self, ac: Node, bs: Node, first: Node, second: Node) -> Tensor:
        """One operator."""
        return self.replaced(ac, bs, first, second)


RULES = (RecognizeRotaryPairs, RecognizeRotaryProducts)
