"""Rotary positions that exporters spell out: of halves of the features, and of pairs that stand side by side.

Halves are LLaMA's and most models', pairs those of GPT-J, RoFormer and Cohere.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeAlias

import attrs
import numpy as np

from uair.ir.dims import Dim, Shape
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
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
from uair.passes.simplify.arithmetic import repeated_value
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
            x = self.step_on(node, x, size)
        return x

    @staticmethod
    def step_on(node: Node, x: Tensor, size: int) -> Tensor:
        """What a node computes, of half of its operand's features."""
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


def signed_sines(tensor: Tensor, size: int, interleaved: bool = False) -> Tensor | None:
    """The sines [..., size] of a table of twice as many, of which the first of every pair is negative; None otherwise.

    It is a constant, or the Concat of a tensor and its negative that `RotaryEmbedding` is spelled out with, maybe
    turned into another shape in front of the last axis.
    """
    if tensor.is_constant:
        values = tensor.numpy()
        a, b = (values[..., ::2], values[..., 1::2]) if interleaved else (values[..., :size], values[..., size:])
        return constant(np.ascontiguousarray(b), tensor.name) if np.array_equal(-a, b) else None
    node = tensor.producer
    if node is None or not tensor.type.shape or tensor.type.dims[-1] != 2 * size:
        return None
    join = node.inputs[0].producer if interleaved and isinstance(node.op, Reshape) and node.inputs[0] else node
    if join is not None and isinstance(join.op, Concat) and len(join.inputs) == 2:
        first, second = join.inputs
        is_last = join.op.axis % join.output.type.rank == join.output.type.rank - 1
        assert first is not None and second is not None
        opposite = is_last and second.type.shape == (*tensor.type.dims[:-1], size, 1)[: second.type.rank]
        if not opposite or second.type.rank != join.output.type.rank or not _is_negative(first, second):
            return None
        return Squeeze(axes=(second.type.rank - 1,))(second) if interleaved else second
    main = _main_operand(node)
    operand = None if main is None else node.inputs[main]
    found = None if operand is None else signed_sines(operand, size, interleaved)
    return None if found is None else _Table.step_on(node, found, size)


def _is_negative(first: Tensor, second: Tensor) -> bool:
    """Whether the first of two tensors of one shape is seen to be the negative of the second."""
    sources: list[Tensor] = []
    signs = 0
    for tensor in (first, second):
        while tensor.producer is not None and isinstance(tensor.producer.op, (Neg, Reshape, Squeeze, Unsqueeze)):
            signs += isinstance(tensor.producer.op, Neg)
            operand = tensor.producer.inputs[0]
            assert operand is not None
            tensor = operand
        sources.append(tensor)
    return sources[0] is sources[1] and signs % 2 == 1


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


class SwappedRotary(Rule):
    """What rules for x cos + swapped sin share, where the sines, not what they multiply, have the sign.

    So `RotaryEmbedding` is spelled out for ONNX before opset 23. Class attributes are those of `TurnedRotary`.
    """

    interleaved: ClassVar[bool]
    parts: Callable[[Tensor, Tensor], tuple[Tensor, int] | None]
    joined: Callable[[Node], bool | NoMatch]

    def check(
        self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor, turned: Node, root: Node
    ) -> bool | NoMatch:
        """Parts of one tensor, cosines that have every number twice, and sines that have it with both signs."""
        found = self.parts(a, b)
        if found is None or found[0] not in (p, q):
            return no("what is swapped are not the parts of what is multiplied by the cosines", turned)
        x, size = found
        answer = self.joined(turned) and is_rotatable(x, size, root.output)
        if not answer:
            return answer
        cos = q if x is p else p
        if table_of(cos, size, self.interleaved) is None or signed_sines(sin, size, self.interleaved) is None:
            return no("the tables are not cosines twice and sines with both signs", root)
        axis = heads_axis(x, (cos, sin), 2 * size)
        return axis if isinstance(axis, NoMatch) else True

    def replaced(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        found = self.parts(a, b)
        assert found is not None
        x, size = found
        cos = q if x is p else p
        axis = heads_axis(x, (cos, sin), 2 * size)
        cosines, sines = table_of(cos, size, self.interleaved), signed_sines(sin, size, self.interleaved)
        assert isinstance(axis, int) and cosines is not None and sines is not None
        return rotated(x, (cosines.half(size), sines), axis, self.interleaved)


class RecognizeSwappedRotaryHalves(SwappedRotary):
    """x cos + (b, a) (-sin, sin), where a and b are the halves of x, is RotaryEmbedding."""

    interleaved = False
    parts = staticmethod(neighbours)
    joined = staticmethod(_joins_halves)

    def pattern(self, p: Any, q: Any, a: Any, b: Any, sin: Any) -> Any:
        """The sums and products in either order; p and q are x and the cosines."""
        return Add()(Mul()(p, q), Mul()(of(Concat)(b, a).named("turned"), sin)).named("root")

    def rewrite(self, p: Tensor, q: Tensor, a: Tensor, b: Tensor, sin: Tensor) -> Tensor:
        """One operator on half of the tables."""
        return self.replaced(p, q, a, b, sin)


class RecognizeSwappedRotaryPairs(SwappedRotary):
    """x cos + (b, a) (-sin, sin) of every pair (a, b) that stands side by side is RotaryEmbedding."""

    interleaved = True
    parts = staticmethod(pairs)
    joined = staticmethod(is_interleaved)

    def pattern(self, p: Any, q: Any, a: Any, b: Any, sin: Any) -> Any:
        """The sums and products in either order; p and q are x and the cosines."""
        turned = of(Reshape)(of(Concat)(b, a)).named("turned")
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


RULES = (
    RecognizeRotaryPairs,
    RecognizeRotaryProducts,
    RecognizeRotaryEmbedding,
    RecognizeRotaryHalves,
    RecognizeSwappedRotaryHalves,
    RecognizeSwappedRotaryPairs,
    WidenRotaryEmbedding,
    WidenTurnedRotaryEmbedding,
)
