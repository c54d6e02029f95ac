"""Gathering, scattering, ordering."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.handlers.shape import as_i64
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ops import (
    Cast,
    Concat,
    Expand,
    Gather,
    GatherElements,
    GatherND,
    Greater,
    GreaterEqual,
    Less,
    LogicalAnd,
    NonZero,
    OneHot,
    ReduceSum,
    ReverseSequence,
    ScatterND,
    TopK,
    Transpose,
    Unique,
    Unsqueeze,
    Where,
)  # fmt: skip

FAMILY = Family()


@FAMILY.op("GatherV2", "Gather")
def _gather(n: TfNode) -> Result:
    """With batch_dims the leading axes are common to both operands."""
    x, indices = n[0], n[1]
    (axis,) = n.numbers(2, "the axis") if len(n) > 2 else (0,)
    axis = n.axis(axis, n.rank(x))
    batch = n.integer("batch_dims")
    batch = batch + n.rank(indices) if batch < 0 else batch
    if not batch:
        return n(Gather(axis=axis), x, indices)
    if batch == axis:
        return n(GatherND(batch_dims=batch), x, n(Unsqueeze(axes=(n.rank(indices),)), indices))
    rank, inner = n.rank(x), n.rank(indices) - batch
    front = n(Transpose(perm=(*range(batch), axis, *(a for a in range(batch, rank) if a != axis))), x)
    y = n(GatherND(batch_dims=batch), front, n(Unsqueeze(axes=(n.rank(indices),)), indices))
    between = axis - batch
    start = batch + inner
    order = (*range(batch), *range(start, start + between), *range(batch, start), *range(start + between, n.rank(y)))
    return n(Transpose(perm=order), y)


@FAMILY.op("GatherNd")
def _gather_nd(n: TfNode) -> Result:
    return n(GatherND(), n[0], n[1])


@FAMILY.op("ScatterNd")
def _scatter_nd(n: TfNode) -> Result:
    """Into zeros; what goes to one place is added up: of booleans it is true where one of them is."""
    updates = n[1]
    is_bool = updates.type.dtype is DType.BOOL
    numbers = n(Cast(to=DType.I32), updates) if is_bool else updates
    zeros = n(Expand(), n.like(0, numbers), as_i64(n, 2))
    total = n(ScatterND(reduction="add"), zeros, as_i64(n, 0), numbers)
    return n(Cast(to=DType.BOOL), total) if is_bool else total


@FAMILY.op("TensorScatterUpdate", "TensorScatterAdd", "TensorScatterMax", "TensorScatterMin")
def _tensor_scatter(n: TfNode) -> Result:
    modes = {"Update": "none", "Add": "add", "Max": "max", "Min": "min"}
    mode = modes[n.op_type.removeprefix("TensorScatter")]
    return n(ScatterND(reduction=mode), n[0], as_i64(n, 1), n[2])  # type: ignore[arg-type]


@FAMILY.op("UnsortedSegmentSum", "UnsortedSegmentMax", "UnsortedSegmentMin", "UnsortedSegmentProd", "SegmentSumV2")
def _unsorted_segment(n: TfNode) -> Result:
    """The rows of each segment added up; a segment without rows has the neutral element."""
    kind = n.op_type.removeprefix("UnsortedSegment").removeprefix("Segment").removesuffix("V2")
    (count,) = n.numbers(2, "the number of segments")
    x, rank = n[0], n.rank(n[1])
    shape = n.shape(x)[rank:]
    dtype = x.type.dtype
    low, high = dtype.range if dtype.is_integer else (np.finfo(np.float32).min, np.finfo(np.float32).max)
    neutral, mode = {"Sum": (0, "add"), "Prod": (1, "mul"), "Max": (low, "max"), "Min": (high, "min")}[kind]
    begin = n(Expand(shape=(count, *shape)), n.like(float(neutral), x))
    places = n(Unsqueeze(axes=(rank,)), as_i64(n, 1))
    return n(ScatterND(reduction=mode), begin, places, x)  # type: ignore[arg-type]


@FAMILY.op("OneHot")
def _one_hot(n: TfNode) -> Result:
    """A negative index gives a row of the off value, where the canonical operator counts from the end."""
    (depth,) = n.numbers(1, "depth")
    indices = n[0]
    axis = n.axis(n.integer("axis", -1), n.rank(indices) + 1)
    on, off = (n(Unsqueeze(axes=(0,)), n.single(n[i])) for i in (2, 3))
    inside = n(LogicalAnd(), n(GreaterEqual(), indices, n.like(0, indices)), n(Less(), indices, n.like(depth, indices)))
    safe = n(Where(), inside, indices, n.like(depth, indices))
    return n(OneHot(axis=axis, depth=depth), safe, None, n(Concat(axis=0), off, on))


@FAMILY.several("values indices", "TopK", "TopKV2")
def _top_k(n: TfNode) -> Result:
    op = TopK(axis=-1, sorted=n.flag("sorted", True))
    if n.op_type == "TopK":
        values, places = n.all(TopK(axis=-1, k=n.integer("k"), sorted=n.flag("sorted", True)), n[0])
    else:
        values, places = n.all(op, n[0], as_i64(n, 1))
    return [values, n.cast(places, n.dtype("index_type", "int32"))]


@FAMILY.op("Where")
def _where(n: TfNode) -> Result:
    """The places that are not zero, one a row."""
    return n(Transpose(perm=(1, 0)), n(NonZero(), n[0]))


@FAMILY.several("y idx", "Unique")
def _unique(n: TfNode) -> Result:
    y, _, inverse, _ = n.all(Unique(sorted=False), n[0])
    return [y, n.cast(inverse, n.dtype("out_idx", "int32"))]


@FAMILY.several("y idx count", "UniqueWithCounts")
def _unique_with_counts(n: TfNode) -> Result:
    y, _, inverse, counts = n.all(Unique(sorted=False), n[0])
    to = n.dtype("out_idx", "int32")
    return [y, n.cast(inverse, to), n.cast(counts, to)]


@FAMILY.op("ReverseSequence")
def _reverse_sequence(n: TfNode) -> Result:
    batch, time = n.integer("batch_dim"), n.integer("seq_dim")
    if {batch, time} == {0, 1}:
        return n(ReverseSequence(batch_axis=batch, time_axis=time), n[0], as_i64(n, 1))
    rank = n.rank(n[0])
    order = (batch, time, *(a for a in range(rank) if a not in (batch, time)))
    turned = n(ReverseSequence(batch_axis=0, time_axis=1), n(Transpose(perm=order), n[0]), as_i64(n, 1))
    return n(Transpose(perm=tuple(int(a) for a in np.argsort(order))), turned)


@FAMILY.op("InTopKV2")
def _in_top_k(n: TfNode) -> Result:
    """Whether fewer than k classes are above the target's."""
    (k,) = n.numbers(2, "k")
    target = n(GatherElements(axis=1), n[0], n(Unsqueeze(axes=(1,)), n[1]))
    above = n(Cast(to=DType.I64), n(Greater(), n[0], target))
    return n(Less(), n(ReduceSum(axes=(1,), keepdims=False), above), n.of(k))
