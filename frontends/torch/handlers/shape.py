"""Shapes: views, permutations, cutting, joining, padding.

PyTorch records the shape of every result, so that -1, None and what is left out need no arithmetic here.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import operand
from uair.ir.dims import Dim, Shape, normal, product
from uair.ir.graph import Tensor, constant

FAMILY = Family()

_END = 2**31 - 1


# ------------------------------------------------------------------------------------------------ views
@FAMILY.op(
    "aten.view.default",
    "aten.view_copy.default",
    "aten._unsafe_view",
    "aten._reshape_alias",
    "aten._reshape_copy",
    "aten.flatten",
    "aten.ravel",
    "aten.reshape",
    "aten.reshape_as",
    "aten.unflatten",
    "aten.view_as",
)
def _view(node: TorchNode) -> Tensor:
    return node.reshaped(node.tensor("self"), node.result.dims)


@FAMILY.op("aten.as_strided", "aten.as_strided_copy")
def _as_strided(node: TorchNode) -> Tensor:
    node.refuse(
        "it reads memory by strides, which tensors here do not have",
        "use view, permute, unfold or indexing instead of torch.as_strided",
    )


@FAMILY.op("aten.expand", "aten.expand_as", "aten.broadcast_to", "aten.expand_copy")
def _expand(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return x if x.type.shape == node.result.shape else node(ops.Expand(shape=node.result.dims), x)


@FAMILY.op("aten.unsqueeze", "aten.unsqueeze_copy")
def _unsqueeze(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node(ops.Unsqueeze(axes=(node.axis(node.get("dim"), node.rank(x) + 1),)), x)


@FAMILY.op("aten.squeeze", "aten.squeeze_copy")
def _squeeze(node: TorchNode) -> Tensor:
    """Axes of another extent than 1 stay."""
    x = node.tensor("self")
    shape, given = node.shape(x), node.get("dim")
    named = range(len(shape)) if given is None else given if isinstance(given, tuple) else (given,)
    axes = [node.axis(a, len(shape)) for a in named]
    gone = tuple(sorted({a for a in axes if shape and shape[a] == 1}))
    return node(ops.Squeeze(axes=gone), x) if gone else x


# ------------------------------------------------------------------------------------------------ permutations
@FAMILY.op("aten.permute", "aten.permute_copy")
def _permute(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node.transposed(x, node.axes(node.get("dims"), node.rank(x)))


@FAMILY.op("aten.transpose", "aten.transpose_copy", "aten.swapaxes", "aten.swapdims")
def _transpose(node: TorchNode) -> Tensor:
    names = ("axis0", "axis1") if "axis0" in node.values else ("dim0", "dim1")
    return _swapped(node, *(node.get(n) for n in names))


@FAMILY.op("aten.t", "aten.t_copy", "aten.numpy_T", "aten.matrix_H", "aten.mT", "aten.mH", "aten.adjoint")
def _t(node: TorchNode) -> Tensor:
    """The last two axes exchanged; `numpy_T` reverses all of them, of a matrix that is the same."""
    rank = node.rank(node.tensor("self"))
    if "numpy_T" in node.op_type:
        return node.transposed(node.tensor("self"), tuple(reversed(range(rank))))
    return _swapped(node, -2, -1) if rank > 1 else node.tensor("self")


def _swapped(node: TorchNode, a: int, b: int) -> Tensor:
    x = node.tensor("self")
    rank = node.rank(x)
    if rank == 0:
        return x
    perm = list(range(rank))
    first, second = node.axis(a, rank), node.axis(b, rank)
    perm[first], perm[second] = perm[second], perm[first]
    return node.transposed(x, tuple(perm))


@FAMILY.op("aten.movedim", "aten.moveaxis")
def _movedim(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    rank = node.rank(x)
    source, target = (_listed(node.get(n)) for n in ("source", "destination"))
    placed = dict(zip(node.axes(target, rank), node.axes(source, rank), strict=True))
    rest = iter(a for a in range(rank) if a not in placed.values())
    return node.transposed(x, tuple(placed[a] if a in placed else next(rest) for a in range(rank)))


def _listed(value: int | tuple[int, ...] | None) -> tuple[int, ...]:
    return () if value is None else value if isinstance(value, tuple) else (value,)


@FAMILY.op("aten.flip", "aten.fliplr", "aten.flipud")
def _flip(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    rank = node.rank(x)
    named = {"aten.fliplr": (1,), "aten.flipud": (0,)}.get(node.op_type.rpartition(".")[0], node.get("dims"))
    axes = node.axes(_listed(named), rank) if rank else ()
    return node(ops.Flip(axes=axes), x) if axes else x


@FAMILY.op("aten.rot90")
def _rot90(node: TorchNode) -> Tensor:
    """Turned from the first axis towards the second by k quarters: a transposition and a flip."""
    x = node.tensor("self")
    rank, turns = node.rank(x), node.get("k", 1) % 4
    a, b = node.axes(node.get("dims", (0, 1)), rank)
    if turns == 0:
        return x
    if turns == 2:
        return node(ops.Flip(axes=(a, b)), x)
    return node(ops.Flip(axes=(a if turns == 1 else b,)), _swapped(node, a, b))


@FAMILY.op("aten.roll")
def _roll(node: TorchNode) -> Tensor:
    """Along every axis the last elements are put in front of the others."""
    x = node.tensor("self")
    shifts, axes = _listed(node.get("shifts")), _listed(node.get("dims"))
    if not axes:
        flat = node.reshaped(x, (product(node.shape(x)),))
        return node.reshaped(_rolled(node, flat, 0, shifts[0]), node.result.dims)
    for shift, axis in zip(shifts, node.axes(axes, node.rank(x)), strict=True):
        x = _rolled(node, x, axis, shift)
    return x


def _rolled(node: TorchNode, x: Tensor, axis: int, shift: int) -> Tensor:
    extent = node.extent(x, axis)
    if isinstance(extent, int):
        shift %= max(extent, 1)
    if shift == 0:
        return x
    front = normal(extent - shift) if shift > 0 else -shift
    first, last = node.all(ops.Split(axis=axis, sizes=(front, normal(extent - front))), x)
    return node(ops.Concat(axis=axis), last, first)


# ------------------------------------------------------------------------------------------------ cutting
@FAMILY.op("aten.slice", "aten.slice_copy")
def _slice(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    axis = node.axis(node.get("dim", 0), node.rank(x))
    start, end, step = node.get("start"), node.get("end"), node.get("step", 1)
    first: Dim = 0 if start is None else start
    last: Dim = _END if end is None or (isinstance(end, int) and end > _END) else end
    if x.type.shape == node.result.shape and step == 1:
        return x
    return node(ops.Slice(axes=(axis,), starts=(first,), ends=(last,), steps=(step,)), x)


@FAMILY.op("aten.narrow", "aten.narrow_copy")
def _narrow(node: TorchNode) -> Tensor:
    x, start = node.tensor("self"), node.get("start")
    axis = node.axis(node.get("dim"), node.rank(x))
    if isinstance(start, Tensor):
        node.refuse("the start is a tensor", "give narrow a number, or use index_select")
    first = normal(start + node.extent(x, axis)) if isinstance(start, int) and start < 0 else start
    if x.type.shape == node.result.shape:
        return x
    last = normal(first + node.get("length"))
    return node(ops.Slice(axes=(axis,), starts=(first,), ends=(last,), steps=(1,)), x)


@FAMILY.op("aten.select", "aten.select_copy")
def _select(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return _element(node, x, node.axis(node.get("dim"), node.rank(x)), node.get("index"))


def _element(node: TorchNode, x: Tensor, axis: int, index: Dim) -> Tensor:
    """One place of an axis, which is lost."""
    extent = node.extent(x, axis)
    if extent == 1:
        return node(ops.Squeeze(axes=(axis,)), x)
    if isinstance(index, int):
        if index < 0 and isinstance(extent, int):
            index += extent
        return node(ops.Gather(axis=axis), x, constant(np.asarray(index, np.int64)))
    return node(ops.Gather(axis=axis), x, node.number(index))


@FAMILY.op("aten.unbind", "aten.unbind_copy")
def _unbind(node: TorchNode) -> Result:
    x = node.tensor("self")
    axis = node.axis(node.get("dim", 0), node.rank(x))
    wanted = range(len(node.call.results))
    return [_element(node, x, axis, i) if node.wants(i) else None for i in wanted]


@FAMILY.op(
    "aten.chunk",
    "aten.split",
    "aten.split_copy",
    "aten.split_with_sizes",
    "aten.split_with_sizes_copy",
    "aten.tensor_split",
    "aten.unsafe_chunk",
    "aten.unsafe_split",
    "aten.unsafe_split_with_sizes",
)
def _split(node: TorchNode) -> Result:
    """The extents of the parts are those of the results."""
    return _parts(node, node.axis(node.get("dim", 0), node.rank(node.tensor("self"))))


@FAMILY.op("aten.hsplit")
def _hsplit(node: TorchNode) -> Result:
    return _parts(node, 1 if node.rank(node.tensor("self")) > 1 else 0)


@FAMILY.op("aten.vsplit")
def _vsplit(node: TorchNode) -> Result:
    return _parts(node, 0)


@FAMILY.op("aten.dsplit")
def _dsplit(node: TorchNode) -> Result:
    return _parts(node, 2)


def _parts(node: TorchNode, axis: int) -> Result:
    x = node.tensor("self")
    sizes = tuple(t.dims[axis] for t in node.call.types if t is not None)
    return [x] if len(sizes) == 1 else node.all(ops.Split(axis=axis, sizes=sizes), x)


@FAMILY.op("aten.unfold", "aten.unfold_copy")
def _unfold(node: TorchNode) -> Tensor:
    """Windows of `size` elements every `step` along an axis; their elements become the last axis."""
    x, size, step = node.tensor("self"), int(node.get("size")), int(node.get("step"))
    rank = node.rank(x)
    if rank == 0:
        return node.reshaped(x, node.result.dims)
    axis = node.axis(node.get("dimension"), rank)
    count = node.result.dims[axis]
    if not isinstance(count, int):
        node.refuse("the number of windows must be known", "export the model with that size fixed")
    places = np.arange(count, dtype=np.int64)[:, None] * step + np.arange(size, dtype=np.int64)
    windows = node(ops.Gather(axis=axis), x, constant(places))
    others = [a for a in range(rank + 1) if a != axis + 1]
    return node.transposed(windows, (*others, axis + 1))


@FAMILY.op("aten.diagonal", "aten.diagonal_copy", "aten.linalg_diagonal", "aten.diag")
def _diagonal(node: TorchNode) -> Tensor:
    """The elements (i, i + offset) of two axes; they become the last axis. `diag` of a vector makes a matrix."""
    x = node.tensor("A" if "A" in node.values else "self")
    rank, offset = node.rank(x), node.get("offset", node.get("diagonal", 0))
    if rank == 1:
        return _matrix(node, x, offset)
    first, second = (-2, -1) if "linalg" in node.op_type else (0, 1)
    a, b = node.axes((node.get("dim1", first), node.get("dim2", second)), rank)
    rows, columns = node.extent(x, a), node.extent(x, b)
    if not isinstance(rows, int) or not isinstance(columns, int):
        node.refuse("the extents of the two axes must be known", "export the model with these sizes fixed")
    others = tuple(i for i in range(rank) if i not in (a, b))
    last = node.transposed(x, (*others, a, b))
    count = max(min(rows, columns - offset) if offset >= 0 else min(rows + offset, columns), 0)
    first = offset if offset >= 0 else -offset * columns
    places = first + np.arange(count, dtype=np.int64) * (columns + 1)
    flat = node.reshaped(last, (*(node.extent(x, i) for i in others), rows * columns))
    return node(ops.Gather(axis=rank - 2), flat, constant(places))


def _matrix(node: TorchNode, x: Tensor, offset: int) -> Tensor:
    """The square matrix with a vector on one of its diagonals."""
    n = node.result.dims[0]
    if not isinstance(n, int):
        node.refuse("the extent must be known", "export the model with that size fixed")
    pads = (max(-offset, 0), max(offset, 0))
    column = node(ops.Pad(pads=pads), x) if any(pads) else x
    mask = constant(np.eye(n, k=offset).astype(x.type.dtype.numpy))
    return node(ops.Mul(), mask, node(ops.Unsqueeze(axes=(1,)), column))


# ------------------------------------------------------------------------------------------------ joining
@FAMILY.op("aten.cat", "aten.concat", "aten.concatenate")
def _cat(node: TorchNode) -> Tensor:
    """Empty vectors among tensors of more axes count for nothing."""
    dtype = node.result.dtype
    tensors = [node.cast(t, dtype) for t in node.tensors("tensors")]
    rank = len(node.result.dims)
    kept = [t for t in tensors if node.rank(t) == rank and not (rank > 1 and t.type.shape == (0,))]
    axis = node.axis(node.get("dim", 0), rank)
    return kept[0] if len(kept) == 1 else node(ops.Concat(axis=axis), *kept)


@FAMILY.op("aten.stack")
def _stack(node: TorchNode) -> Tensor:
    """Behind an inner axis the tensors are joined along it, which takes one reshape in all."""
    tensors = [node.cast(t, node.result.dtype) for t in node.tensors("tensors")]
    rank = node.rank(tensors[0])
    axis = node.axis(node.get("dim", 0), rank + 1)
    if axis < rank and len(tensors) > 1:
        return node.reshaped(node(ops.Concat(axis=axis), *tensors), node.result.dims)
    widened = [node(ops.Unsqueeze(axes=(axis,)), t) for t in tensors]
    return widened[0] if len(widened) == 1 else node(ops.Concat(axis=axis), *widened)


@FAMILY.op("aten.hstack", "aten.vstack", "aten.dstack", "aten.column_stack")
def _directed_stack(node: TorchNode) -> Tensor:
    name = node.op_type.split(".")[1]
    least = {"hstack": 1, "vstack": 2, "dstack": 3, "column_stack": 2}[name]
    tensors = [_at_least(node, node.cast(t, node.result.dtype), least, name) for t in node.tensors("tensors")]
    axis = {"hstack": 0 if node.rank(tensors[0]) == 1 else 1, "vstack": 0, "dstack": 2, "column_stack": 1}[name]
    return tensors[0] if len(tensors) == 1 else node(ops.Concat(axis=axis), *tensors)


def _at_least(node: TorchNode, x: Tensor, least: int, name: str) -> Tensor:
    """A tensor with the axes that NumPy's stacks want: a vector is a row, but a column of column_stack."""
    shape = node.shape(x)
    if len(shape) >= least:
        return x
    if least == 3:
        row = (1, *shape) if len(shape) == 1 else shape or (1, 1)
        return node.reshaped(x, (*row, 1))
    if name == "column_stack":
        return node.reshaped(x, (*(shape or (1,)), 1))
    return node.reshaped(x, (*[1] * (least - len(shape)), *shape))


@FAMILY.op("aten.repeat", "aten.tile")
def _repeat(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    given: Shape = node.get("repeats", node.get("dims"))
    shape = node.shape(x)
    repeats: Shape = (*[1] * (len(shape) - len(given)), *given)
    if len(repeats) > len(shape):
        x = node.reshaped(x, (*[1] * (len(repeats) - len(shape)), *shape))
    return x if all(r == 1 for r in repeats) else node(ops.Tile(repeats=repeats), x)


@FAMILY.op("aten.repeat_interleave.self_int")
def _repeat_interleave(node: TorchNode) -> Tensor:
    """Every element `repeats` times in a row: an axis behind it is expanded and joined with it."""
    x, repeats, axis = node.tensor("self"), node.get("repeats"), node.get("dim")
    if axis is None:
        x = node.reshaped(x, (product(node.shape(x)),))
        axis = 0
    shape = node.shape(x)
    place = node.axis(axis, len(shape)) + 1
    wide = node(ops.Unsqueeze(axes=(place,)), x)
    full = node(ops.Expand(shape=(*shape[:place], repeats, *shape[place:])), wide)
    return node.reshaped(full, node.result.dims)


@FAMILY.op("aten.broadcast_tensors")
def _broadcast_tensors(node: TorchNode) -> Result:
    """All expanded to the shape that they have in common."""
    return tuple(
        x if t is None else node(ops.Expand(shape=t.dims), x)
        for x, t in zip(node.tensors("tensors"), node.call.types, strict=True)
    )


# ------------------------------------------------------------------------------------------------ padding
_MODES = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}


def _padded(node: TorchNode, mode: str, value: float | None = 0.0) -> Tensor:
    """Pads are given from the last axis on, as (begin, end) pairs; negative ones crop."""
    x = node.tensor("self")
    rank = node.rank(x)
    begin: list[Dim] = [0] * rank
    end: list[Dim] = [0] * rank
    pads: Sequence[Dim] = node.get("pad", node.get("padding"))
    for i in range(len(pads) // 2):
        begin[rank - 1 - i], end[rank - 1 - i] = pads[2 * i], pads[2 * i + 1]
    amounts = (*begin, *end)
    if all(p == 0 for p in amounts):
        return x
    if isinstance(value, (bool, int, float)):
        return node(ops.Pad(pads=amounts, mode=_MODES[mode], value=float(value)), x)  # type: ignore[arg-type]
    filled = operand(node, value, x.type.dtype)  # type: ignore[arg-type]
    return node(ops.Pad(pads=amounts, value=None), x, None, filled)


@FAMILY.op("aten.pad")
def _pad(node: TorchNode) -> Tensor:
    value = node.get("value")
    return _padded(node, node.get("mode", "constant"), 0.0 if value is None else value)


@FAMILY.op("aten.constant_pad_nd")
def _constant_pad(node: TorchNode) -> Tensor:
    return _padded(node, "constant", node.get("value", 0.0))


@FAMILY.op("aten.reflection_pad1d", "aten.reflection_pad2d", "aten.reflection_pad3d")
def _reflection_pad(node: TorchNode) -> Tensor:
    return _padded(node, "reflect")


@FAMILY.op("aten.replication_pad1d", "aten.replication_pad2d", "aten.replication_pad3d")
def _replication_pad(node: TorchNode) -> Tensor:
    return _padded(node, "replicate")


@FAMILY.op("aten._pad_circular")
def _circular_pad(node: TorchNode) -> Tensor:
    return _padded(node, "circular")


# ------------------------------------------------------------------------------------------------ blocks
def _regrouped(node: TorchNode, x: Tensor, apart: Shape, perm: tuple[int, ...]) -> Tensor:
    """Axes taken apart, permuted, and joined to the shape of the result."""
    return node.reshaped(node.transposed(node.reshaped(x, apart), perm), node.result.dims)


@FAMILY.op("aten.pixel_shuffle")
def _pixel_shuffle(node: TorchNode) -> Tensor:
    x, r = node.tensor("self"), int(node.get("upscale_factor"))
    if node.rank(x) == 4:
        return node(ops.DepthToSpace(block=r, mode="CRD"), x)
    *lead, _, height, width = node.shape(x)
    n = len(lead)
    apart = (*lead, node.result.dims[n], r, r, height, width)
    return _regrouped(node, x, apart, (*range(n), *(n + i for i in (0, 3, 1, 4, 2))))


@FAMILY.op("aten.pixel_unshuffle")
def _pixel_unshuffle(node: TorchNode) -> Tensor:
    x, r = node.tensor("self"), int(node.get("downscale_factor"))
    *lead, channels, _, _ = node.shape(x)
    n = len(lead)
    height, width = node.result.dims[-2:]
    apart = (*lead, channels, height, r, width, r)
    return _regrouped(node, x, apart, (*range(n), *(n + i for i in (0, 2, 4, 1, 3))))


@FAMILY.op("aten.channel_shuffle", "aten.native_channel_shuffle")
def _channel_shuffle(node: TorchNode) -> Tensor:
    x, groups = node.tensor("self"), int(node.get("groups"))
    n, channels, *spatial = node.shape(x)
    if not isinstance(channels, int):
        node.refuse("the number of channels must be known", "export the model with that size fixed")
    apart = (n, groups, channels // groups, *spatial)
    return _regrouped(node, x, apart, (0, 2, 1, *range(3, 3 + len(spatial))))


def _both(node: TorchNode, name: str, default: int) -> tuple[int, int]:
    given = _listed(node.get(name)) or (default,)
    a, b = given * 2 if len(given) == 1 else given
    return int(a), int(b)


@FAMILY.op("aten.im2col")
def _im2col(node: TorchNode) -> Tensor:
    """Blocks of an image as columns: a depthwise convolution with one kernel per place of the block."""
    given = node.tensor("self")
    x = given if node.rank(given) == 4 else node(ops.Unsqueeze(axes=(0,)), given)
    kernel, dilation = _both(node, "kernel_size", 1), _both(node, "dilation", 1)
    padding, stride = _both(node, "padding", 0), _both(node, "stride", 1)
    channels = node.extent(x, 1)
    if not isinstance(channels, int):
        node.refuse("the number of channels must be known", "export the model with that size fixed")
    places = kernel[0] * kernel[1]
    one_hot = np.eye(places, dtype=x.type.dtype.numpy).reshape(places, 1, *kernel)
    weight = constant(np.tile(one_hot, (channels, 1, 1, 1)))
    op = ops.Conv2D(strides=stride, pads=(*padding, *padding), dilations=dilation, groups=channels)
    return node.reshaped(node(op, x, weight), node.result.dims)


@FAMILY.op("aten.col2im")
def _col2im(node: TorchNode) -> Tensor:
    given = node.tensor("self")
    x = given if node.rank(given) == 3 else node(ops.Unsqueeze(axes=(0,)), given)
    padding = _both(node, "padding", 0)
    op = ops.Fold(
        extents=tuple(node.get("output_size")),
        kernel=_both(node, "kernel_size", 1),
        strides=_both(node, "stride", 1),
        pads=(*padding, *padding),
        dilations=_both(node, "dilation", 1),
    )
    made = node(op, x)
    return made if x is given else node(ops.Squeeze(axes=(0,)), made)
