"""Order statistics, running extremes, different elements, counts. PyTorch leaves the place of equal elements open."""

from __future__ import annotations

import numpy as np

from uair import ops
from uair.frontends.torch.handlers.normalization import norm
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import category, operand, promoted
from uair.frontends.torch.sizes import as_tensor
from uair.ir.dims import Dim, floor_div, normal, product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


def _whole(node: TorchNode, value: int) -> Tensor:
    return node.stored(np.asarray(value, np.int64))


def _flat(node: TorchNode, x: Tensor) -> Tensor:
    return node.reshaped(x, (normal(product(node.shape(x))),))


def _along(node: TorchNode, default: int = -1) -> tuple[Tensor, int]:
    """The operand, with an axis if it has none, and the axis that is meant."""
    x = node.tensor("self")
    if node.rank(x) == 0:
        return node.reshaped(x, (1,)), 0
    return x, node.axis(node.get("dim", default), node.rank(x))


def _given(node: TorchNode, *results: Tensor) -> Result:
    """Results in the shapes that PyTorch has, whatever became of the axis."""
    types = node.call.types
    return tuple(r if t is None else node.reshaped(r, t.dims) for r, t in zip(results, types, strict=False))


# ------------------------------------------------------------------------------------------------ order statistics
@FAMILY.op("aten.kthvalue")
def _kthvalue(node: TorchNode) -> Result:
    x, axis = _along(node)
    return _given(node, *_at(node, x, axis, normal(node.get("k") - 1)))


def _at(node: TorchNode, x: Tensor, axis: int, place: Dim) -> list[Tensor]:
    """The element at a place of those in ascending order along an axis, and where it stands; NaN come last."""
    k = normal(place + 1)
    op = ops.TopK(k=k if isinstance(k, int) else None, axis=axis, largest=False)
    found = node.all(op, x, None if isinstance(k, int) else node.reshaped(node.number(k), (1,)))
    return [node(ops.Gather(axis=axis), t, as_tensor(node, place)) for t in found]


@FAMILY.op("aten.median")
def _median(node: TorchNode) -> Result:
    """The lower of the two in the middle; NaN, and its place, where there is one."""
    x, axis = (_flat(node, node.tensor("self")), 0) if "dim" not in node.values else _along(node)
    value, place = _at(node, x, axis, floor_div(normal(node.extent(x, axis) - 1), 2))
    if x.type.dtype.is_float:
        nan = node(ops.IsNaN(), x)
        any_nan = node(ops.ReduceAny(axes=(axis,), keepdims=False), nan)
        value = node(ops.Where(), any_nan, node.like(float("nan"), x), value)
        first = node(ops.ArgMax(axis=axis, keepdims=False), node.cast(nan, DType.U8))
        place = node(ops.Where(), any_nan, first, place)
    return _given(node, value, place)


@FAMILY.op("aten.nanmedian")
def _nanmedian(node: TorchNode) -> Result:
    """The lower of the two in the middle of those that are no NaN, which come last in ascending order."""
    x, axis = (_flat(node, node.tensor("self")), 0) if "dim" not in node.values else _along(node)
    if not x.type.dtype.is_float:
        return _given(node, *_at(node, x, axis, floor_div(normal(node.extent(x, axis) - 1), 2)))
    extent = node.extent(x, axis)
    op = ops.TopK(k=extent if isinstance(extent, int) else None, axis=axis, largest=False)
    found = node.all(op, x, None if isinstance(extent, int) else node.reshaped(node.number(extent), (1,)))
    numbers = node.cast(node(ops.LogicalNot(), node(ops.IsNaN(), x)), DType.I64)
    count = node(ops.ReduceSum(axes=(axis,), keepdims=True), numbers)
    last = node(ops.Maximum(), node(ops.Sub(), count, _whole(node, 1)), _whole(node, 0))
    middle = node(ops.IntDiv(), last, _whole(node, 2))
    return _given(node, *(node(ops.GatherElements(axis=axis), t, middle) for t in found))


@FAMILY.op("aten.mode")
def _mode(node: TorchNode) -> Result:
    """The least of the elements that occur most often, and where the last of them stands."""
    x, axis = _along(node)
    rank = node.rank(x)
    turned = node.transposed(x, (*(a for a in range(rank) if a != axis), axis))
    equal = node(ops.Equal(), node(ops.Unsqueeze(axes=(rank,)), turned), node(ops.Unsqueeze(axes=(rank - 1,)), turned))
    counts = node(ops.ReduceSum(axes=(rank,), keepdims=False), node.cast(equal, DType.I64))
    most = node(ops.ReduceMax(axes=(rank - 1,), keepdims=True), counts)
    often = node(ops.Equal(), counts, most)
    greatest = node(ops.ReduceMax(axes=(rank - 1,), keepdims=True), turned)
    value = node(ops.ReduceMin(axes=(rank - 1,), keepdims=True), node(ops.Where(), often, turned, greatest))
    places = node.cast(node(ops.Equal(), turned, value), DType.U8)
    return _given(node, value, node(ops.ArgMax(axis=rank - 1, select_last=True), places))


# ------------------------------------------------------------------------------------------------ running
def _masked(node: TorchNode, fill: float | int) -> tuple[Tensor, int]:
    """Behind the axis another one: at place i the elements up to i of the axis, `fill` behind them; that new axis."""
    x, axis = _along(node)
    wide = node(ops.Unsqueeze(axes=(axis,)), x)
    upto = _upto(node, node.extent(x, axis), node.rank(x) - axis - 1)
    return node(ops.Where(), upto, wide, node.like(fill, x)), axis + 1


def _upto(node: TorchNode, extent: Dim, behind: int) -> Tensor:
    """Whether place j is at most i: [i, j, and as many axes behind]."""
    places = node.reshaped(node(ops.Range(), *(as_tensor(node, v) for v in (0, extent, 1))), (extent,))
    upto = node(ops.LessEqual(), places, node(ops.Unsqueeze(axes=(1,)), places))
    return node.reshaped(upto, (extent, extent, *[1] * behind))


@FAMILY.op("aten.cummax", "aten.cummin", "aten._cummax_helper", "aten._cummin_helper")
def _running_extreme(node: TorchNode) -> Result:
    """The greatest (least) element so far, and where the last of those stands.

    What is filled in behind can equal the value, too: only places up to that of the result count.
    """
    greatest, dtype = "cummax" in node.op_type, node.tensor("self").type.dtype
    if category(dtype) == 0:
        node.refuse("of bools", "convert them to integers first")
    limits = dtype.range if dtype.is_integer else (float("-inf"), float("inf"))
    x, axis = _masked(node, limits[0] if greatest else limits[1])
    value = node(
        ops.ReduceMax(axes=(axis,), keepdims=True) if greatest else ops.ReduceMin(axes=(axis,), keepdims=True), x
    )
    same = node(ops.Equal(), x, value)
    if dtype.is_float:
        same = node(ops.LogicalOr(), same, node(ops.IsNaN(), x))
    upto = _upto(node, node.extent(x, axis), node.rank(x) - axis - 1)
    counted = node.cast(node(ops.LogicalAnd(), same, upto), DType.U8)
    return _given(node, value, node(ops.ArgMax(axis=axis, select_last=True), counted))


@FAMILY.op("aten.logcumsumexp", "aten._logcumsumexp")
def _logcumsumexp(node: TorchNode) -> Result:
    x, axis = _masked(node, float("-inf"))
    return _given(node, node(ops.ReduceLogSumExp(axes=(axis,), keepdims=False), x))


# ------------------------------------------------------------------------------------------------ different elements
@FAMILY.op("aten._unique2", "aten._unique", "aten.unique_dim")
def _unique(node: TorchNode) -> Result:
    """In ascending order; how many there are the data decide."""
    x, dtype = node.tensor("self"), node.tensor("self").type.dtype
    axis = node.axis(node.get("dim"), node.rank(x)) if "dim" in node.values else None
    wide = node.cast(x, DType.U8) if dtype is DType.BOOL else x
    values, _, inverse, counts = node.all(ops.Unique(axis=axis), wide)
    if axis is None:
        inverse = node.reshaped(inverse, node.shape(x))
    return node.cast(values, dtype), inverse, counts


@FAMILY.op("aten.unique_consecutive", "aten.unique_dim_consecutive")
def _unique_consecutive(node: TorchNode) -> Result:
    """The first of every run of equal elements or slices."""
    x, dim = node.tensor("self"), node.get("dim")
    inverse_shape = node.shape(x)
    if dim is None:
        x, axis = _flat(node, x), 0
    else:
        axis = node.axis(dim, node.rank(x))
        inverse_shape = (node.extent(x, axis),)
    extent = node.extent(x, axis)
    if extent == 0:
        node.refuse("of no elements")

    def part(start: Dim, end: Dim) -> Tensor:
        return node(ops.Slice(axes=(axis,), starts=(start,), ends=(end,), steps=(1,)), x)

    changed = node(ops.NotEqual(), part(1, extent), part(0, normal(extent - 1)))
    others = tuple(a for a in range(node.rank(x)) if a != axis)
    changed = node(ops.ReduceAny(axes=others, keepdims=False), changed) if others else changed
    starts = node(ops.Concat(axis=0), node.stored(np.ones(1, np.bool_)), changed)
    first = node(ops.Squeeze(axes=(0,)), node(ops.NonZero(), starts))
    order = node(ops.Sub(), node(ops.CumSum(axis=0), node.cast(starts, DType.I64)), _whole(node, 1))
    ends = node(ops.Concat(axis=0), first, node.reshaped(as_tensor(node, extent), (1,)))
    behind = node(ops.Slice(axes=(0,), starts=(1,), ends=(np.iinfo(np.int64).max,), steps=(1,)), ends)
    counts = node(ops.Sub(), behind, first)
    return node(ops.Gather(axis=axis), x, first), node.reshaped(order, inverse_shape), counts


# ------------------------------------------------------------------------------------------------ counts
@FAMILY.op("aten.bincount")
def _bincount(node: TorchNode) -> Tensor:
    """How often each number occurs, or the sum of its weights; the length the data decide."""
    x, weights, least = (
        node.cast(node.tensor("self"), DType.I64),
        node.optional("weights"),
        int(node.get("minlength", 0)),
    )
    dtype = node.result.dtype
    longest = node(ops.Concat(axis=0), x, node.stored(np.asarray([least - 1], np.int64)))
    length = node(ops.Add(), node(ops.ReduceMax(axes=(0,), keepdims=True), longest), _whole(node, 1))
    zeros = node(ops.Expand(), node.stored(np.zeros(1, dtype.numpy)), length)
    added = node(ops.Expand(shape=node.shape(x)), node.stored(np.ones((), dtype.numpy)))
    added = added if weights is None else node.cast(weights, dtype)
    return node(ops.ScatterElements(axis=0, reduction="add"), zeros, x, added)


@FAMILY.op("aten.histc")
def _histc(node: TorchNode) -> Tensor:
    """How many elements are in each of equal intervals; the last one has its end, too."""
    x, bins = _flat(node, node.tensor("self")), int(node.get("bins", 100))
    low, high = operand(node, node.get("min", 0), x.type.dtype), operand(node, node.get("max", 0), x.type.dtype)
    if node.get("min", 0) == node.get("max", 0):
        low, high = (node(op(axes=(0,), keepdims=False), x) for op in (ops.ReduceMin, ops.ReduceMax))
        alike = node.cast(node(ops.Equal(), low, high), x.type.dtype)
        low, high = node(ops.Sub(), low, alike), node(ops.Add(), high, alike)
    scaled = node(ops.Mul(), node(ops.Sub(), x, low), node.like(bins, x))
    at = node.cast(node(ops.Floor(), node(ops.Div(), scaled, node(ops.Sub(), high, low))), DType.I64)
    at = node(ops.Where(), node(ops.Equal(), x, high), _whole(node, bins - 1), at)
    inside = node(ops.LogicalAnd(), node(ops.GreaterEqual(), x, low), node(ops.LessEqual(), x, high))
    at = node(ops.Where(), inside, at, _whole(node, -1))
    hit = node(ops.Equal(), node(ops.Unsqueeze(axes=(1,)), at), node.stored(np.arange(bins)))
    count = node(ops.ReduceSum(axes=(0,), keepdims=False), node.cast(hit, DType.I64))
    return node.cast(count, node.result.dtype)


@FAMILY.op("aten.repeat_interleave.Tensor", "aten.repeat_interleave.self_Tensor")
def _repeat_interleave(node: TorchNode) -> Tensor:
    """Numbers of places, each as often as `repeats` says, or what x has there."""
    repeats = node.cast(node.tensor("repeats"), DType.I64)
    x, axis = node.optional("self"), node.get("dim")
    if x is not None:
        x, axis = (_flat(node, x), 0) if axis is None else (x, node.axis(axis, node.rank(x)))
        repeats = node(ops.Expand(shape=(node.extent(x, axis),)), repeats)
    ends = node(ops.CumSum(axis=0), repeats)
    total = node(ops.ReduceSum(axes=(0,), keepdims=False), repeats)
    places = node(ops.Unsqueeze(axes=(1,)), node(ops.Range(), _whole(node, 0), total, _whole(node, 1)))
    before = node.cast(node(ops.LessEqual(), ends, places), DType.I64)
    order = node(ops.ReduceSum(axes=(1,), keepdims=False), before)
    return node.cast(order, node.result.dtype) if x is None else node(ops.Gather(axis=axis), x, order)


# ------------------------------------------------------------------------------------------------ bags of embeddings
@FAMILY.op("aten.embedding_bag", "aten._embedding_bag", "aten._embedding_bag_forward_only")
def _embedding_bag(node: TorchNode) -> Result:
    """Sums, means or maxima of the rows of each bag; a bag without rows gives zeros."""
    if any(node.wants(i) for i in (1, 2, 3)):
        node.refuse("more than the sums of the bags is used", "use torch.nn.functional.embedding_bag's result alone")
    table, indices, offsets = node.tensor("weight"), node.tensor("indices"), node.tensor("offsets")
    weights, mode = node.optional("per_sample_weights"), int(node.get("mode", 0))
    rows = node(ops.Gather(axis=0), table, indices)
    if weights is not None:
        rows = node(ops.Mul(), rows, node(ops.Unsqueeze(axes=(1,)), weights))
    member = _members(node, indices, offsets)
    return node(ops.Where(), *_bags(node, rows, member, mode)), None, None, None


def _members(node: TorchNode, indices: Tensor, offsets: Tensor) -> Tensor:
    """Whether an index, which is not the padding, belongs to a bag: [bags, indices]."""
    count = node.extent(indices, 0)
    starts, end = node.cast(offsets, DType.I64), node.reshaped(as_tensor(node, count), (1,))
    far = int(np.iinfo(np.int64).max)

    def part(t: Tensor, start: int, end: int) -> Tensor:
        return node(ops.Slice(axes=(0,), starts=(start,), ends=(end,), steps=(1,)), t)

    ends = (
        part(starts, 1, far) if node.get("include_last_offset") else node(ops.Concat(axis=0), part(starts, 1, far), end)
    )
    starts = part(starts, 0, -1) if node.get("include_last_offset") else starts
    places = node(ops.Range(), _whole(node, 0), as_tensor(node, count), _whole(node, 1))
    after = node(ops.GreaterEqual(), places, node(ops.Unsqueeze(axes=(1,)), starts))
    member = node(ops.LogicalAnd(), after, node(ops.Less(), places, node(ops.Unsqueeze(axes=(1,)), ends)))
    padding = node.get("padding_idx", -1)
    if padding is None or padding < 0:
        return member
    used = node(ops.NotEqual(), indices, node.stored(np.asarray(padding, indices.type.dtype.numpy)))
    return node(ops.LogicalAnd(), member, used)


def _bags(node: TorchNode, rows: Tensor, member: Tensor, mode: int) -> tuple[Tensor, Tensor, Tensor]:
    """Whether a bag has rows, [bags, 1], what they give, [bags, features], and zero."""
    apart = node(ops.Unsqueeze(axes=(2,)), member)
    count = node(ops.ReduceSum(axes=(1,), keepdims=True), node.cast(member, DType.I64))
    filled = node(ops.Greater(), count, _whole(node, 0))
    if mode == 2:
        chosen = node(ops.Where(), apart, rows, node.like(float("-inf"), rows))
        return filled, node(ops.ReduceMax(axes=(1,), keepdims=False), chosen), node.like(0, rows)
    total = node(ops.ReduceSum(axes=(1,), keepdims=False), node(ops.Where(), apart, rows, node.like(0, rows)))
    if mode == 1:
        total = node(ops.Div(), total, node.cast(node(ops.Maximum(), count, _whole(node, 1)), rows.type.dtype))
    return filled, total, node.like(0, rows)


# ------------------------------------------------------------------------------------------------ pairs
@FAMILY.op("aten._pdist_forward", "aten.pdist")
def _pdist(node: TorchNode) -> Tensor:
    """The distances of all pairs of rows, by the first row, then by the second."""
    x, p = node.tensor("self"), float(node.get("p", 2.0))
    rows = node.extent(x, 0)
    if not isinstance(rows, int):
        node.refuse("the number of rows must be known", "export the model with that size fixed")
    first, second = (node(ops.Gather(axis=0), x, node.stored(i)) for i in np.triu_indices(rows, 1))
    return norm(node, node(ops.Sub(), first, second), p, (1,), False)


@FAMILY.op("aten.dist")
def _dist(node: TorchNode) -> Tensor:
    """The norm of all elements of a difference."""
    apart = _flat(node, node(ops.Sub(), *promoted(node, node.tensor("self"), node.tensor("other"))))
    return norm(node, apart, float(node.get("p", 2)), (0,), False)


@FAMILY.op("aten.meshgrid")
def _meshgrid(node: TorchNode) -> Result:
    """Every vector along an axis of its own; by "xy" the first two axes change places."""
    vectors = [node.reshaped(v, (1,)) if node.rank(v) == 0 else v for v in node.tensors("tensors")]
    rank, places = len(vectors), list(range(len(vectors)))
    if node.get("indexing") == "xy" and rank > 1:
        places[:2] = 1, 0
    extents: list[Dim] = [0] * rank
    for vector, place in zip(vectors, places, strict=True):
        extents[place] = node.extent(vector, 0)
    made: list[Tensor] = []
    for vector, place in zip(vectors, places, strict=True):
        spread = node.reshaped(vector, tuple(extents[place] if a == place else 1 for a in range(rank)))
        made.append(node(ops.Expand(shape=tuple(extents)), spread))
    return made


@FAMILY.op("aten.cartesian_prod")
def _cartesian(node: TorchNode) -> Tensor:
    """All tuples of one element of each vector, the last one first to change."""
    vectors = node.tensors("tensors")
    if len(vectors) == 1:
        return vectors[0]
    extents, rank = [node.extent(v, 0) for v in vectors], len(vectors)
    columns: list[Tensor] = []
    for i, vector in enumerate(vectors):
        spread = node.reshaped(vector, tuple(extents[i] if a == i else 1 for a in range(rank)))
        whole = node(ops.Expand(shape=tuple(extents)), spread)
        columns.append(node(ops.Unsqueeze(axes=(1,)), node.reshaped(whole, (normal(product(extents)),))))
    return node(ops.Concat(axis=1), *columns)


# ------------------------------------------------------------------------------------------------ boxes
@FAMILY.op("torchvision.nms")
def _nms(node: TorchNode) -> Tensor:
    """The boxes that remain, by falling score."""
    boxes, scores = (node.cast(node.tensor(name), DType.F32) for name in ("dets", "scores"))
    boxes = node(ops.Unsqueeze(axes=(0,)), boxes)
    scores = node(ops.Unsqueeze(axes=(0, 1)), scores)
    threshold = node.stored(np.asarray(node.get("iou_threshold"), np.float32))
    found = node(ops.NonMaxSuppression(), boxes, scores, as_tensor(node, node.extent(boxes, 1)), threshold)
    return node(ops.Gather(axis=1), found, _whole(node, 2))
