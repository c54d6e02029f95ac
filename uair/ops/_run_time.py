"""Axes that only the run tells, in operators whose axes are attributes: for targets that know no others.

A result's rank may be unknown, its extents are computed from those of the operand.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant, named_unknowns
from uair.ops._compute import from_beginning
from uair.ops._forms import vector_length
from uair.ops.base import Operator


def named(axes: Tensor, rank: int) -> Tensor:
    """For each axis of a tensor whether the vector `axes` names it; negative ones count from the end. bool [rank]."""
    from uair.ops.comparison import Equal
    from uair.ops.reduction import ReduceAny
    from uair.ops.shape import Concat

    none = constant(np.array([rank]))  # so that the list is never empty
    places = Concat(axis=0)(from_beginning(axes, rank), none)
    hits = Equal()(constant(np.arange(rank).reshape(rank, 1)), places)
    return ReduceAny(axes=(1,), keepdims=False)(hits)


def reduced(x: Tensor, axes: Tensor, reduction: Callable[[tuple[int, ...]], Operator], *, keepdims: bool) -> Tensor:
    """A reduction over the axes in `axes`.

    Every axis becomes two: its own extent and 1, or 1 and its own extent where it is to be reduced. The second of each
    pair is what is reduced.

    Args:
        x: of known rank.
        axes: a vector.
        reduction: makes the operator that reduces given axes and drops them.
        keepdims: whether reduced axes stay with extent 1.
    """
    from uair.ops.elementwise import Identity, Where
    from uair.ops.shape import Concat, Reshape, ShapeOf, Unsqueeze

    rank = x.type.rank
    if rank == 0:
        return Identity()(x)
    count = vector_length(axes.type)
    if count in (0, rank):
        whole = reduction(tuple(range(count or 0)))(x)
        return Reshape(shape=(1,) * rank)(whole) if keepdims and count else whole
    mask, extents, one = named(axes, rank), ShapeOf()(x), constant(1)
    pairs = (Where()(mask, one, extents), Where()(mask, extents, one))
    target = Reshape(shape=(2 * rank,))(Concat(axis=1)(*(Unsqueeze(axes=(1,))(part) for part in pairs)))
    result: Tensor = reduction(tuple(range(1, 2 * rank, 2)))(Reshape()(x, target))
    return Reshape()(result, pairs[0] if keepdims else unnamed(extents, mask, count))


def unnamed(extents: Tensor, mask: Tensor, count: int | None) -> Tensor:
    """The extents where the mask, which has `count` true elements, is false."""
    from uair.ops.comparison import LogicalNot
    from uair.ops.indexing import Gather, NonZero
    from uair.ops.shape import Squeeze

    found = NonZero()(LogicalNot()(mask))
    if count is not None:
        found.type = found.type.with_shape((1, mask.type.dims[0] - count))
    return Gather()(extents, Squeeze(axes=(0,))(found))


def squeezed(op: Operator, x: Tensor, axes: Tensor | None) -> Tensor | None:
    """A Squeeze of the axes that `axes` names, as a Reshape; None for an unknown rank."""
    from uair.ops.elementwise import Identity
    from uair.ops.shape import Reshape, ShapeOf

    if axes is None or x.type.shape is None:
        return None
    rank, count = x.type.rank, vector_length(axes.type)
    if rank == 0 or count == 0:
        return Identity()(x)
    result = Reshape()(x, unnamed(ShapeOf()(x), named(axes, rank), count))
    (known,) = op.infer_types([x.type, axes.type])
    result.type = named_unknowns(known)
    return result


def unsqueezed(x: Tensor, axes: Tensor | None) -> Tensor | None:
    """An Unsqueeze with axes of extent 1 at the places of the result that `axes` names; None for an unknown rank."""
    from uair.ops.comparison import LogicalNot
    from uair.ops.conversion import Cast
    from uair.ops.elementwise import Maximum, Sub, Where
    from uair.ops.indexing import Gather
    from uair.ops.reduction import CumSum
    from uair.ops.shape import Reshape, ShapeOf

    count = None if axes is None else vector_length(axes.type)
    if axes is None or count is None or x.type.shape is None:
        return None
    rank = x.type.rank + count
    if x.type.rank == 0:
        return Reshape(shape=(1,) * rank)(x)
    mask = named(axes, rank)
    passed = CumSum(axis=0)(Cast(to=DType.I64)(LogicalNot()(mask)))
    own = Maximum()(Sub()(passed, constant(1)), constant(0))
    return Reshape()(x, Where()(mask, constant(1), Gather()(ShapeOf()(x), own)))
