"""Parts of a tensor that are assigned, `y[..., :8] = a`, which exporters write as scatters to constant places.

DeepSeek-V3 and MiniCPM 3 put queries and keys together so, the part without positions and the part with them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.data import derive
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Reshape, ScatterElements, ScatterND, Slice
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import NoMatch, Rule, no, of

_MOST_PLACES = 1 << 24
"""Coordinates, and elements, of a constant that are looked at, at most."""
_LONGEST = 64
"""Assignments in a row."""
_SCATTERS = (ScatterND, ScatterElements)


@attrs.frozen(eq=False)
class Assigned:
    """What a ScatterND writes: a whole range of one axis.

    Attributes:
        updates: what is written, with as many elements.
        axis: of the range.
        start: of the range.
        end: of the range.
        shape: of the tensor that it is written into.
    """

    updates: Tensor
    axis: int
    start: int
    end: int
    shape: tuple[int, ...]

    def block(self) -> Tensor:
        """What is written, as a part of the tensor."""
        shape = (*self.shape[: self.axis], self.end - self.start, *self.shape[self.axis + 1 :])
        return self.updates if self.updates.type.dims == shape else Reshape(shape=shape)(self.updates)


def assigned(node: Node) -> Assigned | None:
    """What a scatter writes when that is a range of one axis; None for others."""
    x, indices, updates = node.inputs
    assert x is not None and indices is not None and updates is not None
    if node.attributes["reduction"] != "none" or not indices.is_constant or not x.type.is_static:
        return None
    if not indices.type.rank or not 0 < indices.type.size <= _MOST_PLACES or not updates.type.is_static:
        return None
    shape = static(x.type.dims)
    if isinstance(node.op, ScatterElements):
        axis = node.op.axis % len(shape)
        run = _run(indices.numpy(), axis, shape)
        return None if run is None else Assigned(updates, axis, *run, shape)
    box = _box(indices.numpy(), shape)
    cut = [axis for axis, (start, end) in enumerate(box or ()) if (start, end) != (0, shape[axis])]
    if box is None or len(cut) > 1:
        return None
    axis = cut[0] if cut else 0
    return Assigned(updates, axis, *box[axis], shape)


def _run(indices: Array, axis: int, shape: Sequence[int]) -> tuple[int, int] | None:
    """From where to where places along an axis go, when they are the same ones everywhere, in their order."""
    if (*indices.shape[:axis], *indices.shape[axis + 1 :]) != (*shape[:axis], *shape[axis + 1 :]):
        return None
    places = np.moveaxis(indices, axis, -1).reshape(-1, indices.shape[axis]).astype(np.int64)
    places = np.where(places < 0, places + shape[axis], places)
    start, count = int(places[0, 0]), places.shape[1]
    return (start, start + count) if bool((places == np.arange(start, start + count)).all()) else None


def _box(indices: Array, shape: Sequence[int]) -> list[tuple[int, int]] | None:
    """From where to where the coordinates of the first axes go, when they are all of a box in their order."""
    count = indices.shape[-1]
    places = indices.reshape(-1, count).astype(np.int64)
    places = np.where(places < 0, places + np.asarray(shape[:count]), places)
    first, last = places[0], places[-1]
    extents = last - first + 1
    if bool((extents <= 0).any()) or int(np.prod(extents)) != len(places):
        return None
    grid = places.reshape(*(int(n) for n in extents), count)
    for i in range(count):
        along = np.arange(first[i], last[i] + 1).reshape(-1, *(1,) * (count - 1 - i))
        if not bool((grid[..., i] == along).all()):
            return None
    return [(int(a), int(b) + 1) for a, b in zip(first, last, strict=True)]


class ConcatFromAssignments(Rule):
    """Assignments to ranges of one axis, one after the other, are a Concat of what is assigned."""

    def pattern(self) -> Any:
        """The last one."""
        return of(ScatterND, ScatterElements)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """Little is left of the tensor that they begin with, or it is a constant."""
        found = self.chain(root)
        if isinstance(found, NoMatch):
            return found
        base, written = found
        if base.data is not None and base.data.size > _MOST_PLACES:
            return no("the constant that is left in part is large", root)
        later = next(iter(root.output.users), None) if root.output.use_count == 1 else None
        if later is not None and isinstance(later.op, _SCATTERS) and not isinstance(self.chain(later), NoMatch):
            return no("another assignment follows, behind which all of them are seen", later)
        pieces = _pieces(written)
        axis = written[0].axis
        gaps = sum(isinstance(piece, tuple) and not _is_joined(base, axis, *piece) for piece in pieces)
        joins = len(pieces) > 1
        if not base.is_constant and gaps + joins > len(written):
            return no("more would be cut from the tensor than is assigned to it", root)
        return True

    def rewrite(self, root: Node) -> Tensor:
        """What is assigned, and what is left between."""
        found = self.chain(root)
        assert not isinstance(found, NoMatch)
        base, written = found
        axis = written[0].axis
        parts = [
            piece.block() if isinstance(piece, Assigned) else _part(base, axis, *piece) for piece in _pieces(written)
        ]
        return parts[0] if len(parts) == 1 else Concat(axis=axis)(*parts)

    @staticmethod
    def chain(root: Node) -> tuple[Tensor, list[Assigned]] | NoMatch:
        """The tensor that the assignments begin with, and what they write, in the order of the axis."""
        written: list[Assigned] = []
        node, base = root, root.output
        while isinstance(node.op, _SCATTERS) and len(written) < _LONGEST:
            given = assigned(node)
            before = node.inputs[0]
            if given is None or before is None:
                break
            if any(given.axis != w.axis or (given.start < w.end and w.start < given.end) for w in written):
                break
            written.append(given)
            base = before
            if before.producer is None or before.use_count != 1 or before.producer.graph is not root.graph:
                break
            node = before.producer
        if not written:
            return no("it does not write a range of one axis in order, or a size is open", root)
        return base, sorted(written, key=lambda w: w.start)


def _pieces(written: Sequence[Assigned]) -> list[Assigned | tuple[int, int]]:
    """What is written, and the ranges between that are left as they were."""
    pieces: list[Assigned | tuple[int, int]] = []
    at = 0
    for each in written:
        if at < each.start:
            pieces.append((at, each.start))
        pieces.append(each)
        at = each.end
    extent = written[0].shape[written[0].axis]
    return pieces if at == extent else [*pieces, (at, extent)]


def _part(base: Tensor, axis: int, start: int, end: int) -> Tensor:
    if base.data is None:
        return Slice(axes=(axis,), starts=(start,), ends=(end,), steps=(1,))(base)
    shape = tuple(end - start if i == axis else d for i, d in enumerate(base.data.shape))
    cut = functools.partial(_cut, axis=axis, start=start, end=end)
    return constant(derive(cut, (base.data,), base.data.dtype, shape), base.name)


def _cut(array: Array, axis: int, start: int, end: int) -> Array:
    places = (*(slice(None),) * axis, slice(start, end))
    return array[places]


def _is_joined(base: Tensor, axis: int, start: int, end: int) -> bool:
    """Whether a part of a tensor is one of those that a Concat makes for this alone."""
    join = base.producer
    if join is None or base.use_count != 1 or not isinstance(join.op, Concat) or join.op.axis % base.type.rank != axis:
        return False
    at = 0
    for piece in join.inputs:
        extent = None if piece is None or piece.type.shape is None else piece.type.dims[axis]
        if not isinstance(extent, int):
            return False
        if (at, at + extent) == (start, end):
            return True
        at += extent
    return False


class DropAssignmentToItself(Rule):
    """A part of a tensor that is assigned to where it was taken from: torch.export leaves such of `y[1:] += a`."""

    def pattern(self, x: Any, indices: Any, y: Any) -> Any:
        """A scatter of a Slice."""
        return of(ScatterND, ScatterElements)(x, indices, of(Slice)(y).named("cut").shared()).named("root")

    def check(self, x: Tensor, y: Tensor, cut: Node, root: Node) -> bool | NoMatch:
        """Both are of one tensor, and mean the same range."""
        given = assigned(root) if x is y else None
        if given is None:
            return no("it does not write a range of one axis of the tensor that is cut", root)
        op = cut.op
        if not has_known_bounds(op) or [a % x.type.rank for a in op.axes] != [given.axis] or op.steps != (1,):
            return no("what is written is not cut from the same axis by known bounds", cut)
        start, end = op.starts[0], op.ends[0]
        assert isinstance(start, int) and isinstance(end, int)
        same = slice(start, end).indices(given.shape[given.axis])[:2] == (given.start, given.end)
        return same or no("it is written to another place", cut)

    def rewrite(self, x: Tensor) -> Tensor:
        """The tensor."""
        return x


RULES = (DropAssignmentToItself, ConcatFromAssignments)
