"""Which keys a query sees: for arrays, and as tensors for decompositions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import Dim
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ops._compute import converted
from uair.ops.base import Operator
from uair.ops.comparison import GreaterEqual, Less, LessEqual, LogicalAnd
from uair.ops.elementwise import Add, Sub
from uair.ops.shape import Range, Reshape, ShapeOf, Squeeze


@attrs.frozen
class Window:
    """The keys that a query at position p sees, by their positions.

    Attributes:
        left: how far back from p; None for no bound.
        right: how far ahead of p; None for no bound.
    """

    left: int | None
    right: int | None

    @property
    def is_bounded(self) -> bool:
        """Whether there is a bound at all."""
        return self.left is not None or self.right is not None


def visible(window: Window, queries: int, keys: int, offset: Any, lengths: Array | None) -> Array | None:
    """The keys that are seen, bool [queries, keys] or [batch, 1, queries, keys]; None when all are.

    Args:
        window: the bounds.
        queries: number of queries.
        keys: number of keys.
        offset: position of the first query: a number, or one for each batch element.
        lengths: how many keys each batch element has; None for all.
    """
    result: Array | None = None
    if window.is_bounded:
        first = np.asarray(offset, np.int64)
        first = first.reshape(-1, 1, 1, 1) if first.ndim else first
        ahead = np.arange(keys) - (np.arange(queries)[:, None] + first)
        result = np.ones(ahead.shape, np.bool_)
        if window.right is not None:
            result &= ahead <= window.right
        if window.left is not None:
            result &= ahead >= -window.left
    if lengths is not None:
        valid = np.arange(keys) < lengths.reshape(-1, 1, 1, 1)
        result = valid if result is None else result & valid
    return result


def i64(value: Any) -> Tensor:
    """An i64 constant."""
    return constant(np.asarray(value, np.int64))


def _applied(op: Operator, *operands: Tensor | None) -> Tensor:
    return op(*operands)


def positions(x: Tensor, axis: int, apply: Callable[..., Tensor] = _applied) -> Tensor:
    """0, 1, ... for every place along an axis of x; `apply` applies operators."""
    extent = x.type.dims[axis]
    if isinstance(extent, int):
        return i64(np.arange(extent))
    count = apply(Squeeze(axes=(0,)), apply(ShapeOf(start=axis, end=axis + 1), x))
    return apply(Reshape(shape=(extent,)), apply(Range(), i64(0), count, i64(1)))


def per_batch(t: Tensor) -> Tensor:
    """A vector over the batch, or a scalar, as [batch, 1, 1, 1]."""
    extent: Dim = t.type.dims[0] if t.type.rank else 1
    return Reshape(shape=(extent, 1, 1, 1))(converted(t, DType.I64))


def visible_tensor(window: Window, q: Tensor, k: Tensor, offset: Tensor | int, lengths: Tensor | None) -> Tensor | None:
    """`visible` as a tensor; a constant when everything is known. q and k: [batch, heads, places, size]."""
    queries, keys = q.type.dims[2], k.type.dims[2]
    if isinstance(offset, int) and lengths is None and isinstance(queries, int) and isinstance(keys, int):
        known = visible(window, queries, keys, offset, None)
        return None if known is None else constant(known)
    found: list[Tensor] = []
    key = positions(k, 2)
    if window.is_bounded:
        query = Reshape(shape=(queries, 1))(positions(q, 2))
        if not isinstance(offset, int) or offset:
            query = Add()(query, i64(offset) if isinstance(offset, int) else offset)
        if window.right is not None:
            found.append(LessEqual()(key, shifted(query, window.right)))
        if window.left is not None:
            found.append(GreaterEqual()(key, shifted(query, -window.left)))
    if lengths is not None:
        found.append(Less()(key, per_batch(lengths)))
    result: Tensor | None = None
    for part in found:
        result = part if result is None else LogicalAnd()(result, part)
    return result


def shifted(positions: Tensor, distance: int) -> Tensor:
    """Positions moved by a distance."""
    return Add()(positions, i64(distance)) if distance else positions


def first_position(past: Tensor | None, lengths: Tensor | None, q: Tensor, offset: Tensor | None) -> Tensor | int:
    """The position of the first query as far as it matters for the window."""
    if offset is not None:
        return per_batch(offset)
    if past is not None:
        extent = past.type.dims[2]
        return extent if isinstance(extent, int) else extent_of(past, 2)
    if lengths is not None:
        return Sub()(per_batch(lengths), extent_of(q, 2))
    return 0


def extent_of(x: Tensor, axis: int) -> Tensor:
    """The extent of an axis as a scalar i64."""
    extent = x.type.dims[axis]
    return i64(extent) if isinstance(extent, int) else Squeeze(axes=(0,))(ShapeOf(start=axis, end=axis + 1)(x))
