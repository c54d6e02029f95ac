"""Slices that take whole axes, and slices of concatenations."""

from __future__ import annotations

from typing import Any, Protocol, TypeAlias, TypeGuard

from uair.ir.dims import Shape, is_static
from uair.ir.graph import Node, Tensor
from uair.ops import Concat, Slice
from uair.ops.base import Ints, Operator
from uair.rewrite import NoMatch, Rule, no, of

VERY_END = 2**31 - 1
"""Bounds of this magnitude and more mean the very end, whatever the extent."""

Bounds: TypeAlias = "list[tuple[int, int]]"


class KnownSlice(Protocol):
    """A Slice that has all it needs in its attributes."""

    axes: Ints
    starts: Shape
    ends: Shape
    steps: Ints


def has_known_bounds(op: Operator) -> TypeGuard[KnownSlice]:
    """Whether an operator is a Slice none of whose bounds is an operand."""
    return isinstance(op, Slice) and None not in (op.axes, op.starts, op.ends, op.steps)


class DropWholeAxes(Rule):
    """A Slice forgets the axes of which it takes everything."""

    def pattern(self) -> Any:
        """Any Slice."""
        return of(Slice)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """An axis is taken whole."""
        if not has_known_bounds(node.op):
            return no("bounds are computed at run time", node)
        return len(_cut(node)) < len(node.attributes["axes"]) or no("it cuts something off every axis it names", node)

    def rewrite(self, node: Node) -> Tensor:
        """A Slice of the other axes, or the operand."""
        op, x, kept = node.op, node.inputs[0], _cut(node)
        assert x is not None and has_known_bounds(op)
        if not kept:
            return x
        starts, ends = tuple(op.starts[i] for i in kept), tuple(op.ends[i] for i in kept)
        axes, steps = tuple(op.axes[i] for i in kept), tuple(op.steps[i] for i in kept)
        return Slice(axes=axes, starts=starts, ends=ends, steps=steps)(x)


def _cut(node: Node) -> list[int]:
    """Positions in `axes` of those of which something is cut off, as far as is known."""
    op, x = node.op, node.inputs[0]
    assert x is not None and has_known_bounds(op)
    if x.type.shape is None:
        return list(range(len(op.axes)))
    kept: list[int] = []
    for i, (axis, start, end, step) in enumerate(zip(op.axes, op.starts, op.ends, op.steps, strict=True)):
        extent = x.type.shape[axis]
        if step != 1 or not isinstance(start, int) or not isinstance(end, int):
            whole = False
        elif isinstance(extent, int):
            whole = slice(start, end).indices(extent)[:2] == (0, extent)
        else:
            whole = start == 0 and end >= VERY_END
        if not whole:
            kept.append(i)
    return kept


class SliceConcat(Rule):
    """A Slice of a Concat along its axis takes the pieces it needs, and cuts only those that it needs in part.

    Done when the Concat has no other user (less is copied), or when one piece is all that is needed. Besides the
    saving: rknn-toolkit2 2.5.0 fails on chains of this form (IndexError in its rule remove_concat_slice).
    """

    def pattern(self) -> Any:
        """A Slice behind a Concat."""
        return of(Slice)(of(Concat)(...).named("concat").shared()).named("node")

    def check(self, concat: Node, node: Node) -> bool | NoMatch:
        """The slice cuts the axis of the Concat only, by known bounds."""
        pieces = _pieces(concat, node)
        if isinstance(pieces, NoMatch):
            return pieces
        taken = sum(start < end for start, end in pieces)
        if taken == 1 or concat.output.use_count == 1:
            return taken > 0 or no("the result is empty", node)
        return no("the Concat has other users, so that several pieces would be copied twice", concat)

    def rewrite(self, concat: Node, node: Node) -> Tensor:
        """The pieces side by side."""
        pieces = _pieces(concat, node)
        assert not isinstance(pieces, NoMatch) and isinstance(concat.op, Concat)
        axis, kept = concat.op.axis % node.output.type.rank, list[Tensor]()
        for tensor, (start, end) in zip(concat.inputs, pieces, strict=True):
            assert tensor is not None
            if (start, end) == (0, tensor.type.dims[axis]):
                kept.append(tensor)
            elif start < end:
                kept.append(Slice(axes=(axis,), starts=(start,), ends=(end,), steps=(1,))(tensor))
        return kept[0] if len(kept) == 1 else Concat(axis=axis)(*kept)


def _pieces(concat: Node, node: Node) -> Bounds | NoMatch:
    """For each operand of the Concat from where to where it is taken; equal bounds where it is not."""
    op, join = node.op, concat.op
    assert isinstance(join, Concat)
    if not has_known_bounds(op) or not is_static(op.starts) or not is_static(op.ends):
        return no("bounds are computed at run time", node)
    shapes = [None if t is None else t.type.shape for t in concat.inputs]
    rank = next((len(shape) for shape in shapes if shape is not None), 0)
    axis = join.axis % rank if rank else 0
    if [a % rank if rank else a for a in op.axes] != [axis] or op.steps != (1,):
        return no("it does not cut the axis of the Concat alone, with step 1", node)
    extents = [0 if shape is None else shape[axis] for shape in shapes]
    if None in shapes or not is_static(extents):
        return no("extents of the pieces are not known", concat)
    known = [int(e) for e in extents if isinstance(e, int)]
    start, end, _ = slice(op.starts[0], op.ends[0]).indices(sum(known))
    bounds: Bounds = []
    for extent in known:
        bounds.append((min(max(start, 0), extent), min(max(end, 0), extent)))
        start, end = start - extent, end - extent
    return bounds


RULES = (DropWholeAxes, SliceConcat)
