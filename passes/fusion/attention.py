"""Rotary positions that exporters spell out, and heads that they repeat for attention."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs
import numpy as np

from uair.ir.dims import Dim, Shape, is_static
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
    Transpose,
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
    """A cosine or sine that has every number twice: in the second half of features, or side by side.

    Attributes:
        base: a constant, or what a Concat joins with itself or an Expand repeats, with an axis of extent 1 then.
        step: at which distance the features of the base stand that are different; 0 when they all are.
        steps: what is computed of it, last first: operators that leave the last axis in place.
    """

    base: Tensor
    step: int
    steps: tuple[Node, ...]

    def half(self, size: int) -> Tensor:
        """The numbers once: the same steps on half of the base."""
        x = self.base
        if self.step:
            x = _some(x, size * self.step, self.step)
        elif x.type.dims[-1] == 1 != size:
            x = Squeeze(axes=(x.type.rank - 1,))(x)
        for node in reversed(self.steps):
            x = self._step(node, x, size)
        return x

    @staticmethod
    def _step(node: Node, x: Tensor, size: int) -> Tensor:
        if isinstance(node.op, (Reshape, Expand)):
            return type(node.op)(shape=(*node.output.type.dims[:-1], size))(x)
        main = _main_operand(node)
        return node.op(*(x if i == main else t for i, t in enumerate(node.inputs)))


def _some(x: Tensor, end: int, step: int) -> Tensor:
    return Slice(axes=(x.type.rank - 1,), starts=(0,), ends=(end,), steps=(step,))(x)


def table_of(tensor: Tensor, size: int, interleaved: bool = False) -> _Table | None:
    """A tensor as a table of twice `size` features that has every number twice; None when that is not seen."""
    steps: list[Node] = []
    while True:
        if tensor.is_constant:
            values = tensor.numpy()
            a, b = (values[..., ::2], values[..., 1::2]) if interleaved else (values[..., :size], values[..., size:])
            return _Table(tensor, 2 if interleaved else 1, tuple(steps)) if np.array_equal(a, b) else None
        node = tensor.producer
        if node is None or not tensor.type.shape:
            return None
        base = _repeated_pairs(node, size) if interleaved else _joined_with_itself(node)
        if base is not None:
            return _Table(base, 0, tuple(steps))
        main = _main_operand(node)
        if main is None:
            return None
        operand = node.inputs[main]
        if operand is None or not operand.type.shape or operand.type.dims[-1] != 2 * size:
            return None
        steps.append(node)
        tensor = operand


def _joined_with_itself(node: Node) -> Tensor | None:
    """What a Concat along the last axis joins with itself."""
    if not isinstance(node.op, Concat) or node.op.axis % node.output.type.rank != node.output.type.rank - 1:
        return None
    first, *others = node.inputs
    return first if len(others) == 1 and others[0] is first else None


def _repeated_pairs(node: Node, size: int) -> Tensor | None:
    """[..., size, 1], which is repeated twice along the last axis and then merged to [..., 2 size]."""
    repeated = node.inputs[0] if isinstance(node.op, Reshape) else None
    repeat = None if repeated is None else repeated.producer
    if repeated is None or repeat is None or repeated.type.shape is None:
        return None
    base = repeat.inputs[0] if isinstance(repeat.op, Expand) else _joined_with_itself(repeat)
    dims = (*node.output.type.dims[:-1], size)
    return base if base is not None and repeated.type.shape == (*dims, 2) and base.type.shape == (*dims, 1) else None


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


def heads_axis(x: Tensor, tables: Sequence[Tensor], features: int) -> int | NoMatch:
    """Which axis of x the heads are, 1 or 2: that along which the tables are the same. x has four axes."""
    for axis in (1, 2):
        wanted = tuple(1 if i == axis else x.type.dims[i] for i in (1, 2))
        if all(_is_table(t, x.type.dims[0], (*wanted, features)) for t in tables):
            return axis
    return no(f"the tables are not [batch, 1, places, {features}]", tables[0])


def _is_table(table: Tensor, batch: Dim, rest: Shape) -> bool:
    dims = (1,) * (4 - table.type.rank) + table.type.dims if table.type.shape is not None else ()
    return len(dims) == 4 and dims[0] in (1, batch) and dims[1:] == rest


def _per_place(table: Tensor, x: Tensor) -> Tensor:
    """A table with x's batch and without the axis of the heads: [batch, places, half]."""
    batch, _, places, _ = x.type.dims
    own: Dim = table.type.dims[0] if table.type.rank == 4 else 1
    half = table.type.dims[-1]
    flat = table if table.type.dims == (own, places, half) else Reshape(shape=(own, places, half))(table)
    return flat if own == batch else Expand(shape=(batch, places, half))(flat)


def is_rotatable(x: Tensor, size: int, result: Tensor) -> bool | NoMatch:
    """Whether x has heads and twice `size` features, and the result is of its type."""
    if x.type.shape is None or x.type.rank != 4 or x.type.dims[-1] != 2 * size:
        return no("what is rotated is not [batch, heads, places, size] with an even size", x)
    return result.type == x.type or no("the tables broadcast what is rotated", x)


def rotated(x: Tensor, tables: Sequence[Tensor], axis: int, interleaved: bool = False) -> Tensor:
    """RotaryEmbedding of x, whose heads are the given axis; tables hold every number once."""
    turn = Transpose(perm=(0, 2, 1, 3))
    turned = turn(x) if axis == 2 else x
    y = RotaryEmbedding(interleaved=interleaved)(turned, *(_per_place(t, turned) for t in tables))
    return turn(y) if axis == 2 else y


def _joins_halves(join: Node) -> bool | NoMatch:
    """Whether two halves are joined along the last axis."""
    assert isinstance(join.op, Concat)
    is_last = join.op.axis % join.output.type.rank == join.output.type.rank - 1
    return is_last or no("the halves are not joined along the last axis", join)


# ------------------------------------------------------------------------------------------------ rules
class TurnedRotary(Rule):
    """What rules for x cos + turned sin share; `a` and `b` are the parts of x of which `turned` is made.

    Class attributes:
        interleaved: whether the parts are every second feature, not halves.
        parts: what a and b are the parts of, and how many features each has.
        joined: whether what is turned is put together as x was cut.
        wanted: of a table, in words.
    """

    interleaved: ClassVar[bool]
    parts: Callable[[Tensor, Tensor], tuple[Tensor, int] | None]
    joined: Callable[[Node], bool | NoMatch]
    wanted: ClassVar[str]

    def check(
        self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor, turned: Node, root: Node
    ) -> bool | NoMatch:
        """Parts of one tensor, and tables that have every number twice and do not differ between the heads."""
        found = self.parts(a, b)
        if found is None or found[0] not in (p, q):
            of_x = "pairs" if self.interleaved else "halves"
            return no(f"what is turned are not the {of_x} of what is multiplied by the cosines", turned)
        x, size = found
        answer = self.joined(turned) and is_rotatable(x, size, root.output)
        if not answer:
            return answer
        tables = (q if x is p else p, sin)
        for table in tables:
            if table_of(table, size, interleaved=self.interleaved) is None:
                return no(f"{table!r} is not seen to have {self.wanted}", table)
        axis = heads_axis(x, tables, 2 * size)
        return axis if isinstance(axis, NoMatch) else True

    def replaced(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        found = self.parts(a, b)
        assert found is not None
        x, size = found
        tables = (q if x is p else p, sin)
        axis = heads_axis(x, tables, 2 * size)
        assert isinstance(axis, int)
        halves = [table_of(t, size, interleaved=self.interleaved) for t in tables]
        return rotated(x, [t.half(size) for t in halves if t is not None], axis, self.interleaved)


class RecognizeRotaryEmbedding(TurnedRotary):
    """x cos + (-b, a) sin, where a and b are the halves of x and the tables have equal halves, is RotaryEmbedding."""

    interleaved = False
    parts = staticmethod(neighbours)
    joined = staticmethod(_joins_halves)
    wanted = "equal halves"

    def pattern(self, p: Any, q: Any, a: Any, b: Any, sin: Any) -> Any:
        """The sums and products in either order; p and q are x and the cosines."""
        turned = of(Concat)(Neg()(b), a).named("turned")
        return Add()(Mul()(p, q), Mul()(turned, sin)).named("root")

    def rewrite(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        return self.replaced(p, q, a, b, sin)


class RotaryProducts(Rule):
    """What rules for (a cos - b sin, b cos + a sin) share; a and b are parts of x.

    Class attributes:
        interleaved: whether the parts are every second feature, not halves.
        parts: what a and b are the parts of, and how many features each has.
        joined: whether the results are put together as x was cut.
    """

    interleaved: ClassVar[bool]
    parts: Callable[[Tensor, Tensor], tuple[Tensor, int] | None]
    joined: Callable[[Node], bool | NoMatch]

    def check(self, ac: Node, bs: Node, first: Node, second: Node, root: Node) -> bool | NoMatch:
        """The four products are of the parts of one tensor and two tables."""
        found = products_of(self.parts, ac, bs, first, second)
        if found is None:
            of_x = "pairs" if self.interleaved else "halves"
            return no(f"the products are not of the {of_x} of one tensor and two tables", root)
        x, size, cos, sin = found
        answer = self.joined(root) and is_rotatable(x, size, root.output)
        axis = heads_axis(x, (cos, sin), size) if answer else answer
        return axis if isinstance(axis, NoMatch) else True

    def replaced(self, ac: Node, bs: Node, first: Node, second: Node) -> Tensor:
        """One operator."""
        found = products_of(self.parts, ac, bs, first, second)
        assert found is not None
        x, size, cos, sin = found
        axis = heads_axis(x, (cos, sin), size)
        assert isinstance(axis, int)
        return rotated(x, (cos, sin), axis, self.interleaved)


class RecognizeRotaryHalves(RotaryProducts):
    """(a cos - b sin, b cos + a sin), where a and b are the halves of x, is RotaryEmbedding."""

    interleaved = False
    parts = staticmethod(neighbours)
    joined = staticmethod(_joins_halves)

    def pattern(self) -> Any:
        """All sums and products in either order."""
        real = Sub()(of(Mul)(...).named("ac"), of(Mul)(...).named("bs"))
        imaginary = Add()(of(Mul)(...).named("first"), of(Mul)(...).named("second"))
        return of(Concat)(real, imaginary).named("root")

    def rewrite(self, ac: Node, bs: Node, first: Node, second: Node) -> Tensor:
        """One operator."""
        return self.replaced(ac, bs, first, second)


def products_of(
    parts: Callable[[Tensor, Tensor], tuple[Tensor, int] | None], ac: Node, bs: Node, first: Node, second: Node
) -> tuple[Tensor, int, Tensor, Tensor] | None:
    """What is rotated, half of its extent, the cosines and the sines; None when the products do not fit.

    Args:
        parts: what two tensors are the parts of, and how many features each has.
        ac: a cos, from which `bs` is subtracted.
        bs: b sin.
        first: b cos or a sin.
        second: the other one, which is added.
    """
    others = [{*first.inputs}, {*second.inputs}]
    for a, cos in (ac.inputs, ac.inputs[::-1]):
        for b, sin in (bs.inputs, bs.inputs[::-1]):
            assert a is not None and b is not None and cos is not None and sin is not None
            found = parts(a, b)
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


class WidenTurnedRotaryEmbedding(Rule):
    """The same where places and heads change their order around the operator."""

    def pattern(self, turned: Any, rest: Any, cos: Any, sin: Any) -> Any:
        """The features that are turned come first."""
        inner = of(RotaryEmbedding)(of(Transpose)(turned).named("there"), cos, sin).named("rotary")
        return of(Concat)(of(Transpose)(inner).named("back"), rest).named("root")

    def check(
        self, turned: Tensor, rest: Tensor, cos: Tensor, rotary: Node, there: Node, back: Node, root: Node
    ) -> bool | NoMatch:
        """All of the operator's operand is turned, the rest is what stands behind it, and the order comes back."""
        perms = [n.op.perm for n in (there, back) if isinstance(n.op, Transpose)]
        if perms != [(0, 2, 1, 3)] * 2:
            return no("it is not places and heads that change their order", there)
        found = neighbours(turned, rest)
        if found is None or root.output.type != found[0].type:
            return no("what is joined is not the whole of one tensor", root)
        half = cos.type.dims[-1]
        return isinstance(half, int) and 2 * half == found[1] or no("only a part of the features is turned", rotary)

    def rewrite(
        self, turned: Tensor, rest: Tensor, cos: Tensor, sin: Tensor, rotary: Node, there: Node, back: Node
    ) -> Tensor:
        """One operator."""
        found = neighbours(turned, rest)
        assert found is not None
        result: Tensor = back.op(rotary.op(there.op(found[0]), cos, sin))
        return result


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


RULES = (
    RecognizeRotaryEmbedding,
    RecognizeRotaryHalves,
    WidenRotaryEmbedding,
    WidenTurnedRotaryEmbedding,
    GroupRepeatedHeads,
)
