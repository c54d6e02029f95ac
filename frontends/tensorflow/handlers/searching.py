"""Places in sorted lists, and rows that are dealt out and put together again."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Concat,
    Div,
    Equal,
    Expand,
    Gather,
    Greater,
    GreaterEqual,
    Neg,
    NonZero,
    ReduceSum,
    ScatterND,
    Squeeze,
    Unsqueeze,
)

FAMILY = Family()


@FAMILY.op("Bucketize")
def _bucketize(n: TfNode) -> Result:
    """How many of the boundaries are not above the number."""
    x = n[0]
    bounds = n.of(np.array(n.floats("boundaries"), np.float32), DType.F32)
    above = n(GreaterEqual(), n(Unsqueeze(axes=(n.rank(x),)), n.cast(x, DType.F32)), bounds)
    return n(ReduceSum(axes=(n.rank(x),), keepdims=False), n.cast(above, DType.I32))


@FAMILY.op("LowerBound", "UpperBound")
def _bound(n: TfNode) -> Result:
    """How many elements of each sorted row are below each number, or not above it."""
    rows, values = n(Unsqueeze(axes=(1,)), n[0]), n(Unsqueeze(axes=(2,)), n[1])
    op = Greater() if n.op_type == "LowerBound" else GreaterEqual()
    return n(ReduceSum(axes=(2,), keepdims=False), n.cast(n(op, values, rows), n.dtype("out_type", "int32")))


@FAMILY.several("outputs", "DynamicPartition")
def _partition(n: TfNode) -> Result:
    """For every number the rows that have it, in order."""
    x, labels = n[0], n[1]
    if n.rank(labels) != 1:
        n.refuse("partitions must have one axis", "flatten the data and the partitions first")
    parts: list[Tensor] = []
    for k in range(n.integer("num_partitions", 1)):
        places = n(Squeeze(axes=(0,)), n(NonZero(), n(Equal(), labels, n.like(k, labels))))
        parts.append(n(Gather(axis=0), x, places))
    return parts


@FAMILY.op("DynamicStitch", "ParallelDynamicStitch")
def _stitch(n: TfNode) -> Result:
    """Rows put to their places; of several for one place the last one counts."""
    count = len(n) // 2
    places = [n.known(i) for i in range(count)]
    known = [p for p in places if p is not None]
    if len(known) < count or any(p.dtype == object for p in known):
        n.refuse("the places of the rows must be known when the model is read")
    size = max((int(p.max(initial=-1)) + 1 for p in known), default=0)
    rank = known[0].ndim
    tail = n.shape(n[count])[rank:]
    rows = [n.reshaped(n[count + i], (p.size, *tail)) for i, p in enumerate(known)]
    order = np.concatenate([p.reshape(-1) for p in known])
    last = {int(place): i for i, place in enumerate(order.tolist())}
    joined = rows[0] if len(rows) == 1 else n(Concat(axis=0), *rows)
    if sorted(last) == list(range(size)):
        return n(Gather(axis=0), joined, n.of([last[place] for place in range(size)]))
    zeros = n(Expand(shape=(size, *tail)), n.like(0, joined))
    chosen = n(Gather(axis=0), joined, n.of(list(last.values())))
    return n(ScatterND(), zeros, n.of(np.array(list(last))[:, None]), chosen)


@FAMILY.op("SegmentSum", "SegmentMean", "SegmentProd", "SegmentMax", "SegmentMin")
def _segment(n: TfNode) -> Result:
    """The rows of each segment, whose numbers are known, added up; a segment without rows has 0, of products 1."""
    x, kind = n[0], n.op_type.removeprefix("Segment")
    places = n.numbers(1, "the segments")
    size = max(places, default=-1) + 1
    shape = (size, *n.shape(x)[1:])
    indices = n.of(np.array(places, np.int64)[:, None])
    counts = np.maximum(np.bincount(np.array(places, np.int64), minlength=size), 1).reshape(-1, *[1] * (len(shape) - 1))
    if kind in ("Sum", "Mean", "Prod"):
        begin = n(Expand(shape=shape), n.like(1 if kind == "Prod" else 0, x))
        total = n(ScatterND(reduction="mul" if kind == "Prod" else "add"), begin, indices, x)
        return n(Div(), total, n.of(counts, x.type.dtype)) if kind == "Mean" else total
    if len(set(places)) < size:
        n.refuse("a segment has no rows", "number the segments without gaps")
    firsts = n.of([places.index(k) for k in range(size)])
    begin = n(Gather(axis=0), x, firsts)
    return n(ScatterND(reduction="max" if kind == "Max" else "min"), begin, indices, x)


@FAMILY.op("TensorScatterSub")
def _scatter_sub(n: TfNode) -> Result:
    return n(ScatterND(reduction="add"), n[0], n.cast(n[1], DType.I64), n(Neg(), n[2]))
