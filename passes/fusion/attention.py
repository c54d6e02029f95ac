"""Rotary positions that exporters spell out, and heads that they repeat for attention."""

from __future__ import annotations

from typing import Any, TypeAlias

import attrs
import numpy as np

from uair.ir.dims import Dim, is_static
from uair.ir.graph import Node, Tensor
from uair.ops import (
    Add,
    Attention,
    Cast,
    Concat,
    Cos,
    Div,
    Expand,
    Gather,
    Mul,
    Neg,
    Reshape,
    RotaryEmbedding,
    Sin,
    Slice,
    Split,
    Squeeze,
    Sub,
    Unsqueeze,
)
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Rule, no, of

Bounds: TypeAlias = "tuple[int, int]"


# ------------------------------------------------------------------------------------------------ parts of features
def part(tensor: Tensor) -> tuple[Tensor, Bounds] | None:
    """What a tensor is a piece of, along the last axis, and from where to where; None when it is no piece."""
    node = tensor.producer
    x = node.inputs[0] if node is not None and isinstance(node.op, (Slice, Split)) else None
    if node is None or x is None or not x.type.shape or not isinstance(x.type.dims[-1], int):
        return None
    rank, extent = x.type.rank, x.type.dims[-1]
    if isinstance(node.op, Split):
        if node.op.axis % rank != rank - 1 or not all(t.type.shape for t in node.outputs):
            return None
        sizes = [t.type.dims[-1] for t in node.outputs[: tensor.index + 1]]
        known = [size for size in sizes if isinstance(size, int)]
        return (x, (sum(known[:-1]), sum(known))) if len(known) == len(sizes) else None
    op = node.op
    if not has_known_bounds(op) or [a % rank for a in op.axes] != [rank - 1] or op.steps != (1,):
        return None
    start, end = op.starts[0], op.ends[0]
    if not isinstance(start, int) or not isinstance(end, int):
        return None
    first, last, _ = slice(start, end).indices(extent)
    return x, (first, last)


def neighbours(a: Tensor, b: Tensor) -> tuple[Tensor, int] | None:
    """The tensor of which a is the front and b the rest along the last axis, and the extent of a; None otherwise."""
    front, back = part(a), part(b)
    if front is None or back is None or front[0] is not back[0]:
        return None
    x, size = front[0], front[1][1]
    return (x, size) if (front[1][0], back[1]) == (0, (size, x.type.dims[-1])) else None


# ------------------------------------------------------------------------------------------------ tables of angles
@attrs.frozen(eq=False)
class _Table:
    """A cosine or sine whose second half of features repeats the first.

    Attributes:
        base: a constant with equal halves, or the half that a Concat joins with itself.
        is_half: whether the base is the half already.
        steps: what is computed of it, last first: operators that leave the last axis in place.
    """

    base: Tensor
    is_half: bool
    steps: tuple[Node, ...]

    def half(self, size: int) -> Tensor:
        """The first half: the same steps on half of the base."""
        base = self.base
        x = base if self.is_half else _front(base, size)
        for node in reversed(self.steps):
            x = self._step(node, x, size)
        return x

    @staticmethod
    def _step(node: Node, x: Tensor, size: int) -> Tensor:
        if isinstance(node.op, (Reshape, Expand)):
            return type(node.op)(shape=(*node.output.type.dims[:-1], size))(x)
        main = _main_operand(node)
        return node.op(*(x if i == main else t for i, t in enumerate(node.inputs)))


def _front(x: Tensor, size: int) -> Tensor:
    return Slice(axes=(x.type.rank - 1,), starts=(0,), ends=(size,), steps=(1,))(x)


def _table(tensor: Tensor, size: int) -> _Table | None:
    """A tensor as a table of twice `size` features whose halves are equal; None when that is not seen."""
    steps: list[Node] = []
    while True:
        if tensor.is_constant:
            values = tensor.numpy()
            return (
                _Table(tensor, False, tuple(steps)) if np.array_equal(values[..., :size], values[..., size:]) else None
            )
        node = tensor.producer
        if node is None or not tensor.type.shape:
            return None
        if isinstance(node.op, Concat):
            return _doubled(node, tuple(steps))
        main = _main_operand(node)
        if main is None:
            return None
        operand = node.inputs[main]
        if operand is None or not operand.type.shape or operand.type.dims[-1] != 2 * size:
            return None
        steps.append(node)
        tensor = operand


def _doubled(node: Node, steps: tuple[Node, ...]) -> _Table | None:
    """The table that begins with a tensor joined with itself."""
    assert isinstance(node.op, Concat)
    first, *others = node.inputs
    twice = (
        len(others) == 1 and others[0] is first and node.op.axis % node.output.type.rank == node.output.type.rank - 1
    )
    return _Table(first, True, steps) if twice and first is not None else None


def _main_operand(node: Node) -> int | None:
    """Which operand's last axis is that of the result, feature by feature; None when there is none."""
    op, rank = node.op, node.output.type.rank
    if isinstance(op, (Cos, Sin, Neg, Cast)):
        return 0
    if isinstance(op, (Reshape, Expand)):
        return 0
    if isinstance(op, Unsqueeze):
        known = op.axes is not None and all(a % rank != rank - 1 for a in op.axes)
        return 0 if known else None
    if isinstance(op, Gather):
        table, indices = node.inputs
        assert table is not None and indices is not None
        is_last = table.type.shape is None or op.axis % table.type.rank == table.type.rank - 1
        return None if is_last else 0
    if isinstance(op, Slice):
        whole = has_known_bounds(op) and all(a % rank != rank - 1 for a in op.axes)
        return 0 if whole else None
    if isinstance(op, (Mul, Div)):
        numbers = [t is not None and t.data is not None and t.data.size == 1 for t in node.inputs]
        return {(False, True): 0, (True, False): 1 if isinstance(op, Mul) else None}.get((numbers[0], numbers[1]))
    return None


def _fits(x: Tensor, table: Tensor, features: int) -> bool | NoMatch:
    """Whether a table of so many features broadcasts to x, the same for all heads; x: [batch, heads, places, size]."""
    dims = (1,) * (4 - table.type.rank) + table.type.dims if table.type.shape is not None else ()
    batch, _, places, _ = x.type.dims
    good = len(dims) == 4 and dims[0] in (1, batch) and dims[1:] == (1, places, features)
    return good or no(f"{table!r} is no table [batch, 1, places, {features}]", table)


def _per_place(table: Tensor, x: Tensor) -> Tensor:
    """A table with x's batch and without the axis of the heads: [batch, places, half]."""
    batch, _, places, _ = x.type.dims
    own: Dim = table.type.dims[0] if table.type.rank == 4 else 1
    half = table.type.dims[-1]
    flat = table if table.type.dims == (own, places, half) else Reshape(shape=(own, places, half))(table)
    return flat if own == batch else Expand(shape=(batch, places, half))(flat)


def _is_rotatable(x: Tensor, size: int, result: Tensor) -> bool | NoMatch:
    """Whether x has heads and twice `size` features, and the result is of its type."""
    if x.type.shape is None or x.type.rank != 4 or x.type.dims[-1] != 2 * size:
        return no("what is rotated is not [batch, heads, places, size] with two equal halves", x)
    return result.type == x.type or no("the tables broadcast what is rotated", x)


# ------------------------------------------------------------------------------------------------ rules
class RecognizeRotaryEmbedding(Rule):
    """x cos + (-b, a) sin, where a and b are the halves of x and the tables have equal halves, is RotaryEmbedding."""

    def pattern(self, p: Any, q: Any, a: Any, b: Any, sin: Any) -> Any:
        """The sums and products in either order; p and q are x and the cosines."""
        turned = of(Concat)(Neg()(b), a).named("turned")
        return Add()(Mul()(p, q), Mul()(turned, sin)).named("root")

    def check(
        self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor, turned: Node, root: Node
    ) -> bool | NoMatch:
        """Halves of one tensor along the last axis, and tables that do not differ between the heads."""
        found = neighbours(a, b)
        if found is None or found[0] not in (p, q):
            return no("what is turned are not the halves of what is multiplied by the cosines", turned)
        x, size = found
        assert isinstance(turned.op, Concat)
        if turned.op.axis % turned.output.type.rank != turned.output.type.rank - 1:
            return no("the halves are not joined along the last axis", turned)
        answer = _is_rotatable(x, size, root.output)
        for table in (q if x is p else p, sin):
            answer = answer and _fits(x, table, 2 * size)
            if answer and _table(table, size) is None:
                answer = no(f"{table!r} is not seen to have equal halves", table)
        return answer

    def rewrite(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        found = neighbours(a, b)
        assert found is not None
        x, size = found
        tables = [_table(t, size) for t in (q if x is p else p, sin)]
        return RotaryEmbedding()(x, *(_per_place(t.half(size), x) for t in tables if t is not None))


class RecognizeRotaryHalves(Rule):
    """(a cos - b sin, b cos + a sin), where a and b are the halves of x, is RotaryEmbedding."""

    def pattern(self) -> Any:
        """All sums and products in either order."""
        real = Sub()(of(Mul)(...).named("ac"), of(Mul)(...).named("bs"))
        imaginary = Add()(of(Mul)(...).named("first"), of(Mul)(...).named("second"))
        return of(Concat)(real, imaginary).named("root")

    def check(self, ac: Node, bs: Node, first: Node, second: Node, root: Node) -> bool | NoMatch:
        """The four products are of two halves and two tables."""
        found = self.parts(ac, bs, first, second)
        if found is None:
            return no("the products are not of the halves of one tensor and two tables", root)
        x, size, cos, sin = found
        assert isinstance(root.op, Concat)
        if root.op.axis % root.output.type.rank != root.output.type.rank - 1:
            return no("the halves are not joined along the last axis", root)
        return _is_rotatable(x, size, root.output) and _fits(x, cos, size) and _fits(x, sin, size)

    def rewrite(self, ac: Node, bs: Node, first: Node, second: Node) -> Tensor:
        """One operator."""
        found = self.parts(ac, bs, first, second)
        assert found is not None
        x, _, cos, sin = found
        return RotaryEmbedding()(x, _per_place(cos, x), _per_place(sin, x))

    @staticmethod
    def parts(ac: Node, bs: Node, first: Node, second: Node) -> tuple[Tensor, int, Tensor, Tensor] | None:
        """What is rotated, the extent of a half, the cosines and the sines; None when the products do not fit."""
        others = [{*first.inputs}, {*second.inputs}]
        for a, cos in (ac.inputs, ac.inputs[::-1]):
            for b, sin in (bs.inputs, bs.inputs[::-1]):
                assert a is not None and b is not None and cos is not None and sin is not None
                found = neighbours(a, b)
                if found is not None and others in ([{b, cos}, {a, sin}], [{a, sin}, {b, cos}]):
                    return (*found, cos, sin)
        return None


class WidenRotaryEmbedding(Rule):
    """RotaryEmbedding of the first features, joined with the others, is RotaryEmbedding of all."""

    def pattern(self, turned: Any, rest: Any, cos: Any, sin: Any) -> Any:
        """The features that are turned come first."""
        return of(Concat)(of(RotaryEmbedding)(turned, cos, sin).named("rotary"), rest).named("root")

    def check(self, turned: Tensor, rest: Tensor, cos: Tensor, rotary: Node, root: Node) -> bool | NoMatch:
        """All of the operator's operand is turned, and the rest is what stands behind it."""
        found = neighbours(turned, rest)
        if found is None or root.output.type != found[0].type:
            return no("what is joined is not the whole of one tensor", root)
        assert isinstance(rotary.op, RotaryEmbedding)
        half = cos.type.dims[-1]
        return isinstance(half, int) and 2 * half == found[1] or no("only a part of the features is turned", rotary)

    def rewrite(self, turned: Tensor, rest: Tensor, cos: Tensor, sin: Tensor, rotary: Node) -> Tensor:
        """One operator."""
        found = neighbours(turned, rest)
        assert found is not None
        return rotary.op(found[0], cos, sin)


class GroupRepeatedHeads(Rule):
    """Attention over keys and values whose heads are repeated shares them: each group of heads has its own."""

    def pattern(self) -> Any:
        """Any attention."""
        return of(Attention)(...).named("attention")

    def check(self, attention: Node) -> bool | NoMatch:
        """Keys and values are repeated equally often, and no cache is joined to them."""
        if len(attention.inputs) > 4 and attention.inputs[4] is not None:
            return no("keys and values of the past have the repeated heads", attention)
        keys, values = (_repeated(t) for t in attention.inputs[1:3])
        if keys is None or values is None:
            return no("the heads of the keys or of the values are not repeated by Expand and Reshape", attention)
        same = keys.type.dims[:3] == values.type.dims[:3]
        return same or no("keys and values are not repeated equally often", attention)

    def rewrite(self, attention: Node) -> tuple[Tensor, ...]:
        """The same operator on what is repeated."""
        q, k, v, *others = attention.inputs
        keys, values = (_repeated(t) for t in (k, v))
        assert keys is not None and values is not None
        grouped = (Squeeze(axes=(2,))(t) for t in (keys, values))
        return tuple(attention.op.node(q, *grouped, *others).outputs)


def _repeated(tensor: Tensor | None) -> Tensor | None:
    """[batch, groups, 1, places, size], of which [batch, heads, places, size] repeats each group; None if it is not."""
    reshape = None if tensor is None else tensor.producer
    if tensor is None or reshape is None or not isinstance(reshape.op, Reshape) or reshape.inputs[0] is None:
        return None
    expand = reshape.inputs[0].producer
    x = expand.inputs[0] if expand is not None and isinstance(expand.op, Expand) else None
    if expand is None or x is None or x.type.shape is None or x.type.rank != 5 or tensor.type.rank != 4:
        return None
    batch, groups, one, places, size = x.type.dims
    times = expand.output.type.dims[2]
    if one != 1 or not is_static((groups, times)) or expand.output.type.dims != (batch, groups, times, places, size):
        return None
    return x if tensor.type.dims == (batch, groups * times, places, size) else None


RULES = (RecognizeRotaryEmbedding, RecognizeRotaryHalves, WidenRotaryEmbedding, GroupRepeatedHeads)
