"""Slices that take whole axes, and slices of concatenations."""

from __future__ import annotations

import math
from typing import Any, Protocol, TypeAlias, TypeGuard

import numpy as np

from uair.ir.dims import Shape, is_static, static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Gather, GatherND, Reshape, Slice, Squeeze, Transpose
from uair.ops.base import Ints, Operator
from uair.rewrite import NoMatch, Rule, no, of

MOST_PLACES = 4096
"""Places that a constant index names, at most, that are looked at."""
VERY_END = 10**9
"""Bounds of this magnitude and more mean the very end, whatever the extent: tf2onnx writes 1000000000 for it."""

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
            whole = step == 1 and start == 0 and end == extent
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


class SliceFromGather(Rule):
    """A Gather of places that follow each other is a Slice, which needs no index and meets the rules for pieces."""

    def pattern(self, x: Any, index: Any) -> Any:
        """Any Gather."""
        return of(Gather)(x, index).named("node")

    def check(self, x: Tensor, index: Tensor, node: Node) -> bool | NoMatch:
        """The index is a constant with axes, and names consecutive places of a known extent."""
        assert isinstance(node.op, Gather)
        if not index.is_constant or not index.type.rank or not 0 < index.type.size <= MOST_PLACES:
            return no("the index is no constant with axes", index)
        extent = None if x.type.shape is None else x.type.dims[node.op.axis]
        if not isinstance(extent, int) or x.is_constant:
            return no("the extent is open, or all is constant", x)
        places = np.where(index.numpy() < 0, index.numpy() + extent, index.numpy())
        return bool(np.all(np.diff(places.reshape(-1)) == 1)) or no("the places do not follow each other", index)

    def rewrite(self, x: Tensor, index: Tensor, node: Node) -> Tensor:
        """From the first place to the last one, in the shape of the index."""
        assert isinstance(node.op, Gather)
        axis = node.op.axis % x.type.rank
        extent, first = x.type.dims[axis], int(index.numpy().reshape(-1)[0])
        assert isinstance(extent, int)
        start = first + extent if first < 0 else first
        taken = Slice(axes=(axis,), starts=(start,), ends=(start + index.type.size,), steps=(1,))(x)
        return taken if index.type.rank == 1 else Reshape(shape=node.output.type.dims)(taken)


class GatherFromGatherND(Rule):
    """Coordinates over the first axes, which are constants or of one axis, are places of one axis."""

    def pattern(self, x: Any, indices: Any) -> Any:
        """Coordinates without batch axes."""
        return GatherND()(x, indices).named("node")

    def check(self, x: Tensor, indices: Tensor, node: Node) -> bool | NoMatch:
        """One coordinate, or constants over known extents."""
        count = indices.type.dims[-1] if indices.type.shape else None
        if x.type.shape is None or not isinstance(count, int) or not 0 < count <= x.type.rank:
            return no("the number of axes that are indexed is not known", node)
        if count == 1:
            return True
        known = indices.is_constant and indices.type.size <= MOST_PLACES * count and is_static(x.type.dims[:count])
        return known or no("coordinates of several axes are not constants, or extents are open", indices)

    def rewrite(self, x: Tensor, indices: Tensor, node: Node) -> Tensor:
        """The axes as one, of which places are taken."""
        count = indices.type.dims[-1]
        assert isinstance(count, int)
        if count == 1:
            return Gather(axis=0)(x, Squeeze(axes=(indices.type.rank - 1,))(indices))
        extents, rest = static(x.type.dims[:count]), x.type.dims[count:]
        strides = np.cumprod((1, *extents[:0:-1]))[::-1]
        places = np.where(indices.numpy() < 0, indices.numpy() + np.asarray(extents), indices.numpy()) @ strides
        flat = Reshape(shape=(math.prod(extents), *rest))(x)
        return Gather(axis=0)(flat, constant(places.astype(np.int64), indices.name))


class SliceBeforeTranspose(Rule):
    """Slices of a Transpose that nothing else takes cut in front of it, so that less is moved."""

    def pattern(self, x: Any) -> Any:
        """A Slice behind a Transpose; others may take it, too."""
        return of(Slice)(of(Transpose)(x).named("turn").shared()).named("root")

    def check(self, turn: Node, root: Node) -> bool | NoMatch:
        """All that takes the Transpose cuts it by known bounds."""
        if not has_known_bounds(root.op):
            return no("bounds are computed at run time", root)
        cut = all(isinstance(user.op, Slice) for user in turn.output.users) and not turn.output.is_output
        return cut or no("something takes the whole Transpose", turn)

    def rewrite(self, x: Tensor, turn: Node, root: Node) -> Tensor:
        """The Slice, then the Transpose."""
        op = root.op
        assert isinstance(turn.op, Transpose) and has_known_bounds(op)
        axes = tuple(turn.op.perm[a] for a in op.axes)
        return turn.op(Slice(axes=axes, starts=op.starts, ends=op.ends, steps=op.steps)(x))


class DropEmptyPieces(Rule):
    """A Concat without the operands that hold nothing: models with an optional part of extent 0 leave them."""

    def pattern(self) -> Any:
        """Any Concat."""
        return of(Concat)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Some operands are empty, and others are not."""
        kept = _filled(node)
        return 0 < len(kept) < len(node.inputs) or no("no operand is empty, or all are", node)

    def rewrite(self, node: Node) -> Tensor:
        """The other ones."""
        kept = _filled(node)
        return kept[0] if len(kept) == 1 else node.op(*kept)


def _filled(concat: Node) -> list[Tensor]:
    """The operands whose extent along the axis is not 0."""
    assert isinstance(concat.op, Concat)
    axis = concat.op.axis
    return [t for t in concat.inputs if t is not None and (t.type.shape is None or t.type.dims[axis] != 0)]


RULES = (DropWholeAxes, SliceConcat, GatherFromGatherND, SliceFromGather, SliceBeforeTranspose, DropEmptyPieces)
