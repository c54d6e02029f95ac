"""Reading and writing elements by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import numpy as np

from uair import ops
from uair.frontends.torch.handlers.comparison import coordinates, truth
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import operand
from uair.frontends.torch.sizes import as_tensor
from uair.ir.dims import Dim, Shape, normal, product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops.base import broadcast_shapes

FAMILY = Family()
Combination = Literal["none", "add", "mul", "max", "min"]


# ------------------------------------------------------------------------------------------------ reading
@FAMILY.op("aten.embedding")
def _embedding(node: TorchNode) -> Tensor:
    return node(ops.Gather(axis=0), node.tensor("weight"), node.tensor("indices"))


@FAMILY.op("aten.index_select")
def _index_select(node: TorchNode) -> Tensor:
    x, indices = node.tensor("self"), node.tensor("index")
    if node.rank(x) == 0:
        return x
    indices = node.reshaped(indices, (1,)) if node.rank(indices) == 0 else indices
    return node(ops.Gather(axis=node.axis(node.get("dim"), node.rank(x))), x, indices)


@FAMILY.op("aten.gather")
def _gather(node: TorchNode) -> Tensor:
    x, indices = node.tensor("self"), node.tensor("index")
    if node.rank(x) == 0:
        return x if node.rank(indices) == 0 else node(ops.Expand(shape=node.shape(indices)), x)
    return node(ops.GatherElements(axis=node.axis(node.get("dim"), node.rank(x))), x, indices)


@FAMILY.op("aten.take_along_dim")
def _take_along_dim(node: TorchNode) -> Tensor:
    """Both operands are broadcast to each other but along the axis; without one both are one row."""
    x, indices, axis = node.tensor("self"), node.tensor("indices"), node.get("dim")
    if axis is None:
        return node(ops.GatherElements(axis=0), node.reshaped(x, (-1,)), node.reshaped(indices, (-1,)))
    at = node.axis(axis, node.rank(x))
    one, other = list(node.shape(x)), list(node.shape(indices))
    own, wanted = one[at], other[at]
    one[at] = other[at] = 1
    common = [d for d in broadcast_shapes(tuple(one), tuple(other)) if d is not None]
    x = node(ops.Expand(shape=(*common[:at], own, *common[at + 1 :])), x)
    return node(
        ops.GatherElements(axis=at), x, node(ops.Expand(shape=(*common[:at], wanted, *common[at + 1 :])), indices)
    )


@FAMILY.op("aten.take")
def _take(node: TorchNode) -> Tensor:
    return node(ops.Gather(axis=0), node.reshaped(node.tensor("self"), (-1,)), node.tensor("index"))


class Indexing:
    """What x[..., i, ..., j] says: tensors of indices for some axes, all of the others.

    Attributes:
        axes: the axes that are indexed.
        indices: for each its indices, i64, broadcastable to each other.
    """

    def __init__(self, node: TorchNode, x: Tensor, given: Sequence[Any]) -> None:
        self.node = node
        self.axes: list[int] = []
        self.indices: list[Tensor] = []
        axis = 0
        for index in given:
            if index is None:
                axis += 1
                continue
            parts = self._parts(index)
            self.axes += range(axis, axis + len(parts))
            self.indices += parts
            axis += len(parts)
        if axis > node.rank(x):
            node.refuse(f"{axis} axes are indexed of {node.rank(x)}")

    def _parts(self, index: Tensor) -> list[Tensor]:
        """A mask stands for the coordinates of what it holds."""
        if index.type.dtype in (DType.BOOL, DType.U8):
            if self.node.rank(index) == 0:
                self.node.refuse("a mask without axes is an index", "use torch.where")
            return coordinates(self.node, index)
        return [index]

    @property
    def first(self) -> int:
        """The axis at which the indexed ones stand in the result: the front unless they are neighbours."""
        apart = self.axes != list(range(self.axes[0], self.axes[0] + len(self.axes)))
        return 0 if apart else self.axes[0]

    def front(self, rank: int) -> tuple[int, ...]:
        """The permutation that puts the indexed axes first."""
        return (*self.axes, *(a for a in range(rank) if a not in self.axes))

    def common(self) -> tuple[list[Tensor], Shape]:
        """The indices broadcast to each other, and their shape."""
        shapes = [self.node.shape(i) for i in self.indices]
        joint = broadcast_shapes(*shapes)
        shape: Shape = tuple(d for d in joint if d is not None)
        if len(shape) < len(joint):
            shape = max(shapes, key=len)
        same = [
            node_i if s == shape else self.node(ops.Expand(shape=shape), node_i)
            for node_i, s in zip(self.indices, shapes, strict=True)
        ]
        return [self.node.cast(i, DType.I64) for i in same], shape

    def places(self) -> tuple[Tensor, Shape]:
        """The coordinates along a new last axis, and the shape of the indices."""
        same, shape = self.common()
        apart = [self.node(ops.Unsqueeze(axes=(len(shape),)), i) for i in same]
        return apart[0] if len(apart) == 1 else self.node(ops.Concat(axis=len(shape)), *apart), shape


@FAMILY.op("aten.index", "aten._unsafe_index")
def _index(node: TorchNode) -> Tensor:
    """One indexed axis is a Gather; several are put in front, where GatherND reads them."""
    x = node.tensor("self")
    how = Indexing(node, x, node.get("indices"))
    if not how.axes:
        return x
    if len(how.axes) == 1:
        return node(ops.Gather(axis=how.axes[0]), x, how.indices[0])
    places, shape = how.places()
    y = node(ops.GatherND(), node.transposed(x, how.front(node.rank(x))), places)
    return _moved(node, y, len(shape), how.first)


def _moved(node: TorchNode, y: Tensor, count: int, first: int) -> Tensor:
    """The first `count` axes moved behind the `first` ones that follow them."""
    rank = node.rank(y)
    if first == 0:
        return y
    behind = range(count, count + first)
    return node.transposed(y, (*behind, *range(count), *range(count + first, rank)))


@FAMILY.op("aten.masked_select")
def _masked_select(node: TorchNode) -> Tensor:
    x, mask = node.tensor("self"), node.tensor("mask")
    shape = cast(Shape, broadcast_shapes(node.shape(x), node.shape(mask)))
    if not shape:
        x, mask, shape = node.reshaped(x, (1,)), node.reshaped(mask, (1,)), (1,)
    x, mask = (t if node.shape(t) == shape else node(ops.Expand(shape=shape), t) for t in (x, mask))
    return node(ops.GatherND(), x, node(ops.Transpose(perm=(1, 0)), node(ops.NonZero(), mask)))


@FAMILY.op("aten.nonzero")
def _nonzero(node: TorchNode) -> Tensor:
    return node(ops.Transpose(perm=(1, 0)), node(ops.NonZero(), node.tensor("self")))


@FAMILY.op("aten.nonzero_numpy", "aten.argwhere")
def _nonzero_numpy(node: TorchNode) -> Result:
    return _nonzero(node) if "argwhere" in node.op_type else coordinates(node, node.tensor("self"))


# ------------------------------------------------------------------------------------------------ writing
@FAMILY.op("aten.index_put", "aten._unsafe_index_put", "aten._index_put_impl")
def _index_put(node: TorchNode) -> Tensor:
    """A mask with one value is a Where; else the indexed axes are put in front, where ScatterND writes."""
    x, given = node.tensor("self"), node.get("indices")
    values, add = node.cast(node.tensor("values"), x.type.dtype), bool(node.get("accumulate", False))
    masked = [i for i in given if i is not None and i.type.dtype is DType.BOOL]
    if len(given) == len(masked) == 1 and not add and all(d == 1 for d in node.shape(values)):
        mask = masked[0]
        missing = node.rank(x) - node.rank(mask)
        rank = node.rank(mask)
        mask = node(ops.Unsqueeze(axes=tuple(range(rank, rank + missing))), mask) if missing else mask
        return node(ops.Where(), mask, node.single(values), x)
    how = Indexing(node, x, given)
    rank = node.rank(x)
    front = how.front(rank)
    places, shape = how.places()
    turned = node.transposed(x, front)
    rest = node.shape(turned)[len(how.axes) :]
    first = how.first
    wanted = (*rest[:first], *shape, *rest[first:])
    values = values if node.shape(values) == wanted else node(ops.Expand(shape=wanted), values)
    order = (*range(first, first + len(shape)), *range(first), *range(first + len(shape), len(wanted)))
    made = _scattered(node, turned, places, node.transposed(values, order), "add" if add else "none")
    return node.transposed(made, tuple(front.index(a) for a in range(rank)))


def _scattered(node: TorchNode, x: Tensor, places: Tensor, values: Tensor, how: Combination) -> Tensor:
    if how != "none" and x.type.dtype is DType.BOOL:
        wide, more = node.cast(x, DType.I32), node.cast(values, DType.I32)
        return node.cast(node(ops.ScatterND(reduction=how), wide, places, more), DType.BOOL)
    return node(ops.ScatterND(reduction=how), x, places, values)


_REDUCTIONS: dict[str, Combination] = {
    "add": "add", "sum": "add", "mean": "add", "multiply": "mul", "prod": "mul", "amax": "max", "amin": "min",
}  # fmt: skip
_NEUTRAL = {"add": 0.0, "mul": 1.0, "max": float("-inf"), "min": float("inf")}
"""What changes nothing."""


@FAMILY.op("aten.scatter", "aten.scatter_add", "aten.scatter_reduce")
def _scatter(node: TorchNode) -> Tensor:
    """Values of which the indices take the first ones along every axis, or one for all."""
    x, indices = node.tensor("self"), node.tensor("index")
    how: Combination = "add" if "scatter_add" in node.op_type else "none"
    reduction = node.get("reduce")
    if reduction is not None:
        how = _combination(node)
    if node.rank(x) == 0:
        node.refuse("it writes into a tensor without axes", "use torch.where")
    source = node.get("src", node.get("value"))
    shape = node.shape(indices)
    if isinstance(source, Tensor) and node.rank(source):
        values = source
        if node.shape(source) != shape:
            n = len(shape)
            values = node(ops.Slice(axes=tuple(range(n)), starts=(0,) * n, ends=shape, steps=(1,) * n), source)
    else:
        values = node(ops.Expand(shape=shape), operand(node, source, x.type.dtype))
    axis = node.axis(node.get("dim"), node.rank(x))
    values = node.cast(values, x.type.dtype)
    if reduction == "mean" or not node.get("include_self", True):
        return _reduced(node, x, axis, indices, values)
    return node(ops.ScatterElements(axis=axis, reduction=how), x, indices, values)


def _combination(node: TorchNode) -> Combination:
    if node.get("reduce") not in _REDUCTIONS:
        node.refuse(f"a reduction by {node.get('reduce')!r} is not known")
    return _REDUCTIONS[node.get("reduce")]


def _reduced(node: TorchNode, x: Tensor, axis: int, indices: Tensor, values: Tensor) -> Tensor:
    """A mean of what is written to a place, or a reduction without what is there, where something is written."""
    how, dtype, kept = _combination(node), x.type.dtype, bool(node.get("include_self", True))
    mean = node.get("reduce") == "mean"
    if mean and not dtype.is_float:
        node.refuse("a mean of integers", "convert them to floating-point numbers first")
    zeros = node(ops.Expand(shape=node.shape(x)), constant(np.asarray(0)))
    ones = node(ops.Expand(shape=node.shape(indices)), constant(np.asarray(1)))
    count = node(ops.ScatterElements(axis=axis, reduction="add"), zeros, indices, ones)
    if not kept:
        low, high = dtype.range if dtype.is_integer else (-np.inf, np.inf)
        neutral = node.like(min(max(_NEUTRAL[how], low), high), x)
        x = node(ops.Where(), node(ops.Greater(), count, constant(np.asarray(0))), neutral, x)
    made = node(ops.ScatterElements(axis=axis, reduction=how), x, indices, values)
    if not mean:
        return made
    total = (
        node(ops.Add(), count, constant(np.asarray(1))) if kept else node(ops.Maximum(), count, constant(np.asarray(1)))
    )
    return node(ops.Div(), made, node.cast(total, dtype))


@FAMILY.op("aten.index_reduce")
def _index_reduce(node: TorchNode) -> Tensor:
    """Whole slices along one axis are combined with those of x."""
    x, source = node.tensor("self"), node.cast(node.tensor("source"), node.tensor("self").type.dtype)
    axis = node.axis(node.get("dim"), node.rank(x))
    shape: list[Dim] = [1] * node.rank(source)
    shape[axis] = node.extent(source, axis)
    places = node(ops.Expand(shape=node.shape(source)), node.reshaped(node.tensor("index"), tuple(shape)))
    return _reduced(node, x, axis, places, source)


@FAMILY.op("aten.index_add", "aten.index_copy", "aten.index_fill")
def _index_write(node: TorchNode) -> Tensor:
    """Whole slices along one axis, which is put in front."""
    x, indices = node.tensor("self"), node.reshaped(node.tensor("index"), (-1,))
    rank = node.rank(x)
    axis = node.axis(node.get("dim"), rank)
    perm = (axis, *(a for a in range(rank) if a != axis))
    turned = node.transposed(x, perm)
    if "index_fill" in node.op_type:
        shape = (*node.shape(indices), *node.shape(turned)[1:])
        values = node(ops.Expand(shape=shape), operand(node, node.get("value"), x.type.dtype))
    else:
        values = node.transposed(node.cast(node.tensor("source"), x.type.dtype), perm)
        if node.get("alpha", 1) != 1:
            values = node(ops.Mul(), values, operand(node, node.get("alpha"), x.type.dtype))
    places = node(ops.Unsqueeze(axes=(1,)), node.cast(indices, DType.I64))
    made = _scattered(node, turned, places, values, "add" if "index_add" in node.op_type else "none")
    return node.transposed(made, tuple(perm.index(a) for a in range(rank)))


@FAMILY.op("aten.slice_scatter")
def _slice_scatter(node: TorchNode) -> Tensor:
    """Self with a slice replaced: joined with what is before and behind it, or scattered for a step."""
    x, source = node.tensor("self"), node.tensor("src")
    axis = node.axis(node.get("dim", 0), node.rank(x))
    extent = node.extent(x, axis)
    start, step = node.get("start"), node.get("step", 1)
    count = node.extent(source, axis)
    source = node.cast(source, x.type.dtype)
    if count == extent:
        return source
    first: Dim = 0 if start is None else start
    if isinstance(first, int) and first < 0:
        first = normal(first + extent)
    if step != 1:
        perm = (axis, *(a for a in range(node.rank(x)) if a != axis))
        stop = normal(first + count * step)
        places = node(ops.Range(), *(as_tensor(node, v) for v in (first, stop, step)))
        places = node(ops.Unsqueeze(axes=(1,)), node.reshaped(places, (count,)))
        made = node(ops.ScatterND(), node.transposed(x, perm), places, node.transposed(source, perm))
        return node.transposed(made, tuple(perm.index(a) for a in range(node.rank(x))))
    behind = normal(first + count)
    parts = [_cut(node, x, axis, 0, first)] if first != 0 else []
    parts.append(source)
    if behind != extent:
        parts.append(_cut(node, x, axis, behind, extent))
    return node(ops.Concat(axis=axis), *parts)


def _cut(node: TorchNode, x: Tensor, axis: int, start: Dim, end: Dim) -> Tensor:
    return node(ops.Slice(axes=(axis,), starts=(start,), ends=(end,), steps=(1,)), x)


@FAMILY.op("aten.select_scatter")
def _select_scatter(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    axis = node.axis(node.get("dim"), node.rank(x))
    extent, at = node.extent(x, axis), node.get("index")
    at = normal(at + extent) if isinstance(at, int) and at < 0 else at
    source = node(ops.Unsqueeze(axes=(axis,)), node.cast(node.tensor("src"), x.type.dtype))
    parts = [_cut(node, x, axis, 0, at)] if at != 0 else []
    behind = normal(at + 1)
    parts.append(source)
    if behind != extent:
        parts.append(_cut(node, x, axis, behind, extent))
    return source if len(parts) == 1 else node(ops.Concat(axis=axis), *parts)


@FAMILY.op("aten.masked_scatter")
def _masked_scatter(node: TorchNode) -> Tensor:
    """The elements of the source in order where the mask holds: the n-th that holds reads the n-th element."""
    x, mask = node.tensor("self"), truth(node, node.tensor("mask"))
    shape = node.result.dims
    mask = mask if node.shape(mask) == shape else node(ops.Expand(shape=shape), mask)
    total = normal(product(shape))
    count = node(ops.CumSum(axis=0), node.cast(node.reshaped(mask, (total,)), DType.I64))
    places = node(ops.Maximum(), node(ops.Sub(), count, constant(np.asarray(1))), constant(np.asarray(0)))
    source = node.reshaped(node.tensor("source"), (-1,))
    places = node(ops.Minimum(), places, node(ops.Sub(), node(ops.SizeOf(), source), constant(np.asarray(1))))
    read = node.reshaped(node(ops.Gather(axis=0), source, places), shape)
    return node(ops.Where(), mask, node.cast(read, x.type.dtype), x)


# ------------------------------------------------------------------------------------------------ order
@FAMILY.op("aten.topk")
def _topk(node: TorchNode) -> Result:
    k = node.get("k")
    return _ordered(node, node.tensor("self"), k, bool(node.get("largest", True)))


@FAMILY.op("aten.sort")
def _sort(node: TorchNode) -> Result:
    x = node.tensor("self")
    return _ordered(node, x, _extent(node, x), bool(node.get("descending", False)))


@FAMILY.op("aten.argsort")
def _argsort(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return _ordered(node, x, _extent(node, x), bool(node.get("descending", False)))[1]


def _extent(node: TorchNode, x: Tensor) -> Dim:
    return node.extent(x, node.axis(node.get("dim", -1), node.rank(x))) if node.rank(x) else 1


def _ordered(node: TorchNode, x: Tensor, k: Any, largest: bool) -> tuple[Tensor, Tensor]:
    """The first k elements in order, and their places."""
    rank, dtype = node.rank(x), x.type.dtype
    if rank == 0:
        return x, constant(np.asarray(0))
    wide = node.cast(x, DType.U8) if dtype is DType.BOOL else x
    count = k if isinstance(k, int) else None
    op = ops.TopK(k=count, axis=node.axis(node.get("dim", -1), rank), largest=largest)
    values, places = node.all(op, wide, None if isinstance(k, int) else node.reshaped(node.number(k), (1,)))
    return node.cast(values, dtype), places


@FAMILY.op("aten.bucketize", "aten.searchsorted")
def _search(node: TorchNode) -> Tensor:
    """How many boundaries are less than each element (with `right`: not greater)."""
    edges = node.get("boundaries", node.get("sorted_sequence"))
    values = node.number(node.get("self"))
    if node.get("sorter") is not None:
        edges = node(ops.GatherElements(axis=node.rank(edges) - 1), edges, node.tensor("sorter"))
    if node.rank(edges) > 1:
        edges = node(ops.Unsqueeze(axes=(node.rank(edges) - 1,)), edges)
    right = bool(node.get("right", False)) or node.get("side") == "right"
    apart = node(ops.Unsqueeze(axes=(node.rank(values),)), values)
    apart, edges = node.cast(apart, DType.F64), node.cast(edges, DType.F64)
    below = node(ops.LessEqual() if right else ops.Less(), edges, apart)
    op = ops.ReduceSum(axes=(node.rank(values),), keepdims=False)
    return node.cast(node(op, node.cast(below, DType.I64)), node.result.dtype)


@FAMILY.op("aten.one_hot")
def _one_hot(node: TorchNode) -> Tensor:
    x, classes = node.tensor("self"), node.get("num_classes", -1)
    if not isinstance(classes, int) or classes < 0:
        node.refuse("the number of classes depends on the data", "give num_classes")
    return node(ops.OneHot(axis=-1, depth=classes), x, None, constant(np.asarray([0, 1])))
