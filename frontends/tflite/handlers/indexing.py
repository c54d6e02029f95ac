"""Gathering, scattering, sorting, finding."""

from __future__ import annotations

import numpy as np

from uair.frontends.tflite.handlers.creation import expanded
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Cast,
    Concat,
    Expand,
    Gather,
    GatherND,
    GreaterEqual,
    Less,
    Maximum,
    Minimum,
    NonMaxSuppression,
    NonZero,
    OneHot,
    ReduceSum,
    Reshape,
    ReverseSequence,
    ScatterND,
    ShapeOf,
    Slice,
    Squeeze,
    TopK,
    Transpose,
    Unique,
    Unsqueeze,
    Where,
)

FAMILY = Family()


@FAMILY.op("GATHER")
def _gather(n: TfliteNode) -> Result:
    """With batch axes the indices of one batch element choose from it alone."""
    x, indices = n[0], n.i64(n.raw(1))
    rank = n.rank(x)
    axis, batch = n.axis(n.options.integer("axis"), rank), n.options.integer("batch_dims")
    batch = batch + n.rank(indices) if batch < 0 else batch
    if not batch:
        return n(Gather(axis=axis), x, indices)
    if not batch <= axis or batch > n.rank(indices):
        n.refuse(f"{batch} batch axes in front of axis {axis}")
    between = tuple(range(batch, axis))
    moved = n.transposed(x, (*range(batch), axis, *between, *range(axis + 1, rank)))
    taken = n(GatherND(batch_dims=batch), moved, n(Unsqueeze(axes=(-1,)), indices))
    own = n.rank(indices) - batch
    order = (
        *range(batch),
        *(batch + own + i for i in range(len(between))),
        *range(batch, batch + own),
        *range(batch + own + len(between), n.rank(taken)),
    )
    return n.transposed(taken, order)


@FAMILY.op("GATHER_ND")
def _gather_nd(n: TfliteNode) -> Result:
    return n(GatherND(), n[0], n.i64(n.raw(1)))


@FAMILY.op("SCATTER_ND")
def _scatter_nd(n: TfliteNode) -> Result:
    """Operands: coordinates, values, the shape; values at one place are added up."""
    updates = n[1]
    base = expanded(n, n.like(0, updates), n.raw(2))
    return n(ScatterND(reduction="add"), base, n.i64(n.raw(0)), updates)


@FAMILY.op("SPARSE_TO_DENSE")
def _sparse_to_dense(n: TfliteNode) -> Result:
    """Operands: coordinates, the shape, values (or one for all), the value elsewhere."""
    indices, values = n.i64(n.raw(0)), n[2]
    rank = n.rank(indices)
    if rank < 2:  # one coordinate, or a list of places in a vector
        indices = n(Reshape(shape=(1, 1) if rank == 0 else (-1, 1)), indices)
    base = expanded(n, n.single(n[3]), n.raw(1))
    if n.rank(values) == 0:
        count = n.extent(indices, 0)
        values = n(Expand(shape=(count,)), values)
    return n(ScatterND(), base, indices, values)


@FAMILY.op("TOPK_V2")
def _top_k(n: TfliteNode) -> Result:
    k = n.dims(n.raw(1))
    x = n[0]
    if k is not None and len(k) == 1 and isinstance(k[0], int):
        values, places = n.all(TopK(k=k[0], axis=-1), x)
    else:
        values, places = n.all(TopK(axis=-1), x, n(Reshape(shape=(1,)), n.i64(n.raw(1))))
    return values, n.as_declared(places, 1)


@FAMILY.op("ONE_HOT")
def _one_hot(n: TfliteNode) -> Result:
    """Negative indices mark nothing: they are moved behind the last place, where the canonical operator has none."""
    indices, depth = n.i64(n.raw(0)), n.i64(n.single(n.raw(1)))
    outside = n(Less(), indices, n.like(0, indices))
    indices = n(Where(), outside, depth, indices)
    values = n(Concat(axis=0), *(n(Reshape(shape=(1,)), n[i]) for i in (3, 2)))
    return n(OneHot(axis=n.options.integer("axis", -1)), indices, depth, values)


@FAMILY.op("WHERE")
def _where(n: TfliteNode) -> Result:
    """Coordinates of the elements that are not 0, [count, rank]."""
    return n.as_declared(n(Transpose(perm=(1, 0)), n(NonZero(), n[0])))


@FAMILY.op("UNIQUE")
def _unique(n: TfliteNode) -> Result:
    y, _, inverse, _ = n.all(Unique(sorted=False), n[0])
    return y, n.as_declared(inverse, 1)


@FAMILY.op("REVERSE_SEQUENCE")
def _reverse_sequence(n: TfliteNode) -> Result:
    o = n.options
    op = ReverseSequence(time_axis=o.integer("seq_dim"), batch_axis=o.integer("batch_dim"))
    return n(op, n[0], n.i64(n.raw(1)))


@FAMILY.op("BUCKETIZE")
def _bucketize(n: TfliteNode) -> Result:
    """How many boundaries are at most x."""
    x = n.cast(n[0], DType.F32)
    bounds = n.stored(np.array(n.options.numbers("boundaries"), np.float32))
    below = n(GreaterEqual(), n(Unsqueeze(axes=(-1,)), x), bounds)
    return n(ReduceSum(axes=(-1,), keepdims=False), n(Cast(to=DType.I32), below))


@FAMILY.op("DYNAMIC_UPDATE_SLICE")
def _update_slice(n: TfliteNode) -> Result:
    return updated(n, n[0], n[1], n.i64(n.raw(2)))


@FAMILY.op("STABLEHLO_DYNAMIC_UPDATE_SLICE")
def _hlo_update_slice(n: TfliteNode) -> Result:
    """The place is one operand for each axis."""
    starts = [n(Reshape(shape=(1,)), n.i64(n.raw(i))) for i in range(2, len(n))]
    return updated(n, n[0], n[1], n(Concat(axis=0), *starts))


@FAMILY.op("STABLEHLO_DYNAMIC_SLICE")
def _hlo_dynamic_slice(n: TfliteNode) -> Result:
    """The place is moved so that the part lies inside."""
    x, sizes = n[0], n.options.integers("slice_sizes")
    starts = n(Concat(axis=0), *(n(Reshape(shape=(1,)), n.i64(n.raw(i))) for i in range(1, len(n))))
    extents = n.shape(x)
    if not is_static(extents):
        n.refuse("the part of a tensor with open extents")
    limit = n.stored(np.array([d - s for d, s in zip(static(extents), sizes, strict=True)], np.int64))
    inside = n(Minimum(), n(Maximum(), starts, n.like(0, starts)), limit)
    ends = n(Add(), inside, n.stored(np.array(sizes, np.int64)))
    return n(Slice(axes=tuple(range(len(sizes))), steps=(1,) * len(sizes)), x, inside, ends)


def updated(n: TfliteNode, x: Tensor, update: Tensor, starts: Tensor) -> Tensor:
    """X with `update` written at a place, which is moved so that the update lies inside."""
    whole, part = n.shape(x), n.shape(update)
    if not is_static(whole) or not is_static(part):
        n.refuse("tensors with open extents are not supported")
    extents, sizes = static(whole), static(part)
    short = [axis for axis, (d, s) in enumerate(zip(extents, sizes, strict=True)) if d != s]
    if not short:
        return update
    limit = n.stored(np.array([d - s for d, s in zip(extents, sizes, strict=True)], np.int64))
    inside = n(Minimum(), n(Maximum(), starts, n.like(0, starts)), limit)
    if len(short) == 1:  # whole slices along one axis
        (axis,) = short
        order = (axis, *(a for a in range(len(extents)) if a != axis))
        back = tuple(order.index(a) for a in range(len(extents)))
        first = n(Slice(axes=(0,), starts=(axis,), ends=(axis + 1,), steps=(1,)), inside)
        places = n(Add(), n.stored(np.arange(sizes[axis], dtype=np.int64)[:, None]), first)
        return n.transposed(n(ScatterND(), n.transposed(x, order), places, n.transposed(update, order)), back)
    grid = np.stack(np.meshgrid(*(np.arange(s) for s in sizes), indexing="ij"), -1).astype(np.int64)
    return n(ScatterND(), x, n(Add(), n.stored(grid), inside), update)


@FAMILY.op("NON_MAX_SUPPRESSION_V4")
def _nms_v4(n: TfliteNode) -> Result:
    """Results: the places of the boxes, filled up with 0, and how many there are."""
    places, count = _suppressed(n)
    return n.as_declared(places, 0), n.as_declared(count, 1)


@FAMILY.op("NON_MAX_SUPPRESSION_V5")
def _nms_v5(n: TfliteNode) -> Result:
    """Results: places, scores, how many. Scores that decay with the overlap (sigma above 0) are not supported."""
    sigma = n.value_of(n.raw(5))
    if sigma is None or float(np.asarray(sigma).reshape(-1)[0]) != 0:
        n.refuse("scores that decay with the overlap (soft_nms_sigma) are not supported")
    places, count = _suppressed(n)
    taken = n(Gather(axis=0), n[1], places)
    rank = n(Less(), n.stored(np.arange(static(n.shape(places))[0], dtype=np.int64)), count)
    scores = n(Where(), rank, taken, n.like(0, taken))
    return n.as_declared(places, 0), scores, n.as_declared(count, 2)


def _suppressed(n: TfliteNode) -> tuple[Tensor, Tensor]:
    """Places of the boxes that remain, filled up with 0 to the most that are asked for, and their number, a scalar."""
    (most,) = n.integers(n.raw(2), "the number of boxes")
    if not 0 <= most <= 1 << 24:
        n.refuse(f"{most} boxes")
    boxes = n(Unsqueeze(axes=(0,)), n[0])
    scores = n(Unsqueeze(axes=(0, 1)), n[1])
    limit = n.stored(np.asarray(most, np.int64))
    found = n(NonMaxSuppression(), boxes, scores, limit, n.single(n[3]), n.single(n[4]))
    places = n(Squeeze(axes=(1,)), n(Slice(axes=(1,), starts=(2,), ends=(3,), steps=(1,)), found))
    count = n(Squeeze(axes=(0,)), n(ShapeOf(), places))
    padded = n(Concat(axis=0), places, n.stored(np.zeros(most, np.int64)))
    return n(Slice(axes=(0,), starts=(0,), ends=(most,), steps=(1,)), padded), count
