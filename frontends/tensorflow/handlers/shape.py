"""Shapes, pieces and copies."""

from __future__ import annotations

import math

import numpy as np

from uair.frontends.tensorflow.handlers.convolution import dilated, image, restored
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dims import Dim, floor_div, is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Concat,
    DepthToSpace,
    Expand,
    Flip,
    Gather,
    Maximum,
    Pad,
    Range,
    Reshape,
    ShapeOf,
    SizeOf,
    Slice,
    SpaceToDepth,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
    Where,
)  # fmt: skip
from uair.ops import Less as LessThan

FAMILY = Family()


def as_i64(n: TfNode, i: int) -> Tensor:
    """Operand `i` in i64."""
    return n.cast(n[i], DType.I64)


@FAMILY.op("Shape")
def _shape(n: TfNode) -> Result:
    return n.cast(n(ShapeOf(), n[0]), n.dtype("out_type", "int32"))


@FAMILY.op("ShapeN")
def _shape_n(n: TfNode) -> Result:
    return [n.cast(n(ShapeOf(), x), n.dtype("out_type", "int32")) for x in n.tensors()]


@FAMILY.op("Size")
def _size(n: TfNode) -> Result:
    return n.cast(n(SizeOf(), n[0]), n.dtype("out_type", "int32"))


@FAMILY.op("Rank")
def _rank(n: TfNode) -> Result:
    return n.of(n.rank(n[0]), DType.I32)


@FAMILY.op("Reshape")
def _reshape(n: TfNode) -> Result:
    """An extent of 0 is 0."""
    x, dims = n[0], n.dims(n[1])
    if dims is None:
        return n(Reshape(), x, as_i64(n, 1))
    known = math.prod(d for d in dims if isinstance(d, int) and d > 0)
    if dims.count(-1) == 1 and 0 not in dims and x.data is not None and x.data.size % known == 0 and is_static(dims):
        dims = tuple(x.data.size // known if d == -1 else d for d in dims)  # weights stay stored
    return n.reshaped(x, dims)


@FAMILY.op("Squeeze")
def _squeeze(n: TfNode) -> Result:
    axes = n.ints("squeeze_dims") or n.ints("axis")
    if not axes:
        return n(Squeeze(axes=tuple(i for i, d in enumerate(n.shape(n[0])) if d == 1)), n[0])
    return n(Squeeze(axes=tuple(sorted(n.axes(axes, n.rank(n[0]))))), n[0])


@FAMILY.op("ExpandDims")
def _expand_dims(n: TfNode) -> Result:
    (axis,) = n.numbers(1, "the axis")
    return n(Unsqueeze(axes=(n.axis(axis, n.rank(n[0]) + 1),)), n[0])


@FAMILY.op("Transpose", "ConjugateTranspose")
def _transpose(n: TfNode) -> Result:
    return n.transposed(n[0], n.axes(n.numbers(1, "the order of the axes"), n.rank(n[0])))


@FAMILY.op("InvertPermutation")
def _invert_permutation(n: TfNode) -> Result:
    return n.of(np.argsort(n.numbers(0, "the permutation")), n[0].type.dtype)


@FAMILY.op("ConcatV2", "Concat")
def _concat(n: TfNode) -> Result:
    """The axis comes last, in version 1 first."""
    last = n.op_type == "ConcatV2"
    (axis,) = n.numbers(len(n) - 1 if last else 0, "the axis")
    parts = n.tensors(0, -1) if last else n.tensors(1)
    return n(Concat(axis=n.axis(axis, n.rank(parts[0]))), *parts)


@FAMILY.op("ConcatOffset")
def _concat_offset(n: TfNode) -> Result:
    (axis,) = n.numbers(0, "the axis")
    offsets: list[Tensor] = []
    total = 0
    for i in range(1, len(n)):
        shape = n.numbers(i, "a shape")
        offsets.append(n.of([total if a == axis else 0 for a in range(len(shape))], DType.I32))
        total += shape[axis]
    return offsets


@FAMILY.op("Pack")
def _pack(n: TfNode) -> Result:
    parts = n.tensors()
    axis = n.axis(n.integer("axis"), n.rank(parts[0]) + 1)
    return n(Concat(axis=axis), *(n(Unsqueeze(axes=(axis,)), x) for x in parts))


@FAMILY.op("Unpack")
def _unpack(n: TfNode) -> Result:
    axis = n.axis(n.integer("axis"), n.rank(n[0]))
    count = n.integer("num")
    if count == 1:
        return [n(Squeeze(axes=(axis,)), n[0])]
    return [n(Squeeze(axes=(axis,)), part) for part in n.all(Split(axis=axis, sizes=(1,) * count), n[0])]


@FAMILY.op("Split")
def _split(n: TfNode) -> Result:
    (axis,) = n.numbers(0, "the axis")
    count, place = n.integer("num_split"), n.axis(axis, n.rank(n[1]))
    extent = n.extent(n[1], place)
    if count == 1:
        return [n[1]]
    if isinstance(extent, int):
        if count < 1 or extent % count:
            n.refuse(f"{extent} elements cannot be split into {count} equal parts")
        return n.all(Split(axis=place, sizes=(extent // count,) * count), n[1])
    return n.all(Split(axis=place, parts=count), n[1])


@FAMILY.op("SplitV")
def _split_v(n: TfNode) -> Result:
    """A size of -1 is what is left."""
    (axis,) = n.numbers(2, "the axis")
    sizes, place = list(n.numbers(1, "the sizes")), n.axis(axis, n.rank(n[0]))
    extent = n.extent(n[0], place)
    if -1 in sizes:
        if not isinstance(extent, int):
            n.refuse("a size is left open along an axis whose extent is not known")
        sizes[sizes.index(-1)] = extent - sum(sizes) - 1
    return [n[0]] if len(sizes) == 1 else n.all(Split(axis=place, sizes=tuple(sizes)), n[0])


@FAMILY.op("Slice")
def _slice(n: TfNode) -> Result:
    """A size of -1 reaches to the end."""
    rank = n.rank(n[0])
    begin, size = n.dims(n[1]), n.dims(n[2])
    axes = tuple(range(rank))
    if begin is not None and size is not None and is_static(begin) and is_static(size):
        starts = static(begin)
        ends = tuple(np.iinfo(np.int64).max if s == -1 else b + s for b, s in zip(starts, static(size), strict=True))
        return n(Slice(axes=axes, starts=starts, ends=ends, steps=(1,) * rank), n[0])
    first, length = as_i64(n, 1), as_i64(n, 2)
    rest = n(LessThan(), length, n.of(0))
    end = n(Where(), rest, n.of(np.iinfo(np.int64).max), n(Add(), first, length))
    return n(Slice(), n[0], first, end, n.of(axes), n.of([1] * rank))


@FAMILY.op("StridedSlice")
def _strided_slice(n: TfNode) -> Result:
    """Bounds with masks for axes that are taken whole, new axes, and axes that one index selects from."""
    rank, steps = n.rank(n[0]), n.numbers(3, "the steps")
    masks = {name: n.integer(f"{name}_mask") for name in ("begin", "end", "ellipsis", "new_axis", "shrink_axis")}
    entries = len(steps)
    used = sum(not (masks["new_axis"] >> i & 1) and not (masks["ellipsis"] >> i & 1) for i in range(entries))
    plan = _StridePlan()
    axis = 0
    for i in range(entries):
        if masks["ellipsis"] >> i & 1:
            for _ in range(rank - used):
                plan.kept.append(None)
            axis += rank - used
        elif masks["new_axis"] >> i & 1:
            plan.kept.append("new")
        else:
            shrink = bool(masks["shrink_axis"] >> i & 1)
            plan.kept.append("drop" if shrink else None)
            plan.entries.append((i, axis, shrink, bool(masks["begin"] >> i & 1), bool(masks["end"] >> i & 1)))
            axis += 1
    plan.kept.extend([None] * (rank - axis))
    return _finished(n, _sliced(n, plan, steps), plan)


class _StridePlan:
    """What a StridedSlice does: (entry, axis, shrink, begin is open, end is open), and the fate of each result axis."""

    def __init__(self) -> None:
        self.entries: list[tuple[int, int, bool, bool, bool]] = []
        self.kept: list[str | None] = []


def _sliced(n: TfNode, plan: _StridePlan, steps: tuple[int, ...]) -> Tensor:
    x = n[0]
    begins, ends = n.dims(n[1]), n.dims(n[2])
    last = np.iinfo(np.int64).max
    taken = [e for e in plan.entries if e[2] or not (e[3] and e[4] and steps[e[0]] == 1)]
    if not taken:
        return x
    if begins is None or ends is None:
        return _sliced_at_run_time(n, taken, steps)
    starts: list[Dim] = []
    stops: list[Dim] = []
    for i, axis, shrink, open_begin, open_end in taken:
        back = steps[i] < 0 and not shrink
        begin: Dim = (last if back else 0) if open_begin and not shrink else begins[i]
        end: Dim = (-last if back else last) if open_end and not shrink else ends[i]
        if shrink:
            end = last if begin == -1 else begin + 1
        elif back and isinstance(end, int) and end < 0 and not open_end:
            extent = n.extent(x, axis)
            end = -last if isinstance(extent, int) and end < -extent else end
        starts.append(begin)
        stops.append(end)
    axes = tuple(e[1] for e in taken)
    strides = tuple(1 if e[2] else steps[e[0]] for e in taken)
    if is_static(starts) and is_static(stops):
        return n(Slice(axes=axes, starts=static(starts), ends=static(stops), steps=strides), x)
    return n(Slice(axes=axes, starts=tuple(starts), ends=tuple(stops), steps=strides), x)


def _sliced_at_run_time(n: TfNode, taken: list[tuple[int, int, bool, bool, bool]], steps: tuple[int, ...]) -> Tensor:
    """Bounds that are computed. An index that selects is gathered, where its sign does not matter."""
    x = n[0]
    begin, end = as_i64(n, 1), as_i64(n, 2)
    last = np.iinfo(np.int64).max
    for i, axis, shrink, open_begin, open_end in taken:
        one = [n(Slice(axes=(0,), starts=(i,), ends=(i + 1,), steps=(1,)), t) for t in (begin, end)]
        if shrink:
            x = n(Gather(axis=axis), x, one[0])
            continue
        start = n.of([last if steps[i] < 0 else 0]) if open_begin else one[0]
        stop = n.of([-last if steps[i] < 0 else last]) if open_end else one[1]
        x = n(Slice(), x, start, stop, n.of([axis]), n.of([steps[i]]))
    return x


def _finished(n: TfNode, x: Tensor, plan: _StridePlan) -> Tensor:
    """Drop the axes that an index selected from, and put the new ones in."""
    places = [kind for kind in plan.kept if kind != "new"]
    dropped = tuple(i for i, kind in enumerate(places) if kind == "drop")
    if dropped:
        x = n(Squeeze(axes=dropped), x)
    added = tuple(i for i, kind in enumerate(k for k in plan.kept if k != "drop") if kind == "new")
    return n(Unsqueeze(axes=added), x) if added else x


@FAMILY.op("BroadcastTo")
def _broadcast_to(n: TfNode) -> Result:
    return n(Expand(), n[0], as_i64(n, 1))


@FAMILY.op("BroadcastArgs")
def _broadcast_args(n: TfNode) -> Result:
    """The shape that two shapes broadcast to, of equal rank."""
    if n.shape(n[0]) != n.shape(n[1]):
        n.refuse("the shapes have different ranks")
    return n(Maximum(), n[0], n[1])


@FAMILY.op("Tile")
def _tile(n: TfNode) -> Result:
    return n(Tile(), n[0], as_i64(n, 1))


@FAMILY.op("Fill")
def _fill(n: TfNode) -> Result:
    return n(Expand(), n.single(n[1]), as_i64(n, 0))


@FAMILY.op("ZerosLike", "OnesLike")
def _like(n: TfNode) -> Result:
    value = n.like(0 if n.op_type == "ZerosLike" else 1, n[0])
    return n(Expand(), value, n(ShapeOf(), n[0]))


@FAMILY.op("Range")
def _range(n: TfNode) -> Result:
    return n(Range(), *(n.single(x) for x in n.tensors()))


@FAMILY.op("LinSpace")
def _lin_space(n: TfNode) -> Result:
    start, stop = n.scalar(0, "start"), n.scalar(1, "stop")
    (count,) = n.numbers(2, "num")
    if not 0 < count <= 1 << 24:
        n.refuse(f"{count} numbers")
    return n.of(np.linspace(start, stop, count), n[0].type.dtype)


@FAMILY.op("ReverseV2", "Reverse")
def _reverse(n: TfNode) -> Result:
    """Version 1 has a truth value for each axis."""
    if n.op_type == "Reverse":
        axes = tuple(i for i, flag in enumerate(n.numbers(1, "the axes")) if flag)
    else:
        axes = tuple(sorted(n.axes(n.numbers(1, "the axes"), n.rank(n[0]))))
    return n(Flip(axes=axes), n[0]) if axes else n[0]


@FAMILY.op("Roll")
def _roll(n: TfNode) -> Result:
    """Along each axis the last elements come to the front."""
    x = n[0]
    last = np.iinfo(np.int64).max
    for shift, axis in zip(n.numbers(1, "the shifts"), n.numbers(2, "the axes"), strict=True):
        place = n.axis(axis, n.rank(x))
        extent = n.extent(x, place)
        if isinstance(extent, int):
            shift = shift % extent if extent else 0
        if shift:
            parts = ((-shift, last), (0, -shift))
            pieces = [n(Slice(axes=(place,), starts=(a,), ends=(b,), steps=(1,)), x) for a, b in parts]
            x = n(Concat(axis=place), *pieces)
    return x


@FAMILY.op("Pad", "PadV2", "MirrorPad")
def _pad(n: TfNode) -> Result:
    """The numbers of each axis stand side by side: [rank, 2]."""
    rank = n.rank(n[0])
    pads = n.reshaped(n.transposed(as_i64(n, 1), (1, 0)), (2 * rank,))
    if n.op_type == "MirrorPad":
        return n(Pad(mode=n.text("mode").lower()), n[0], pads)  # type: ignore[arg-type]
    if n.op_type == "PadV2":
        return n(Pad(value=None), n[0], pads, n.single(n[2]))
    return n(Pad(), n[0], pads)


# ------------------------------------------------------------------------------------------------------------ blocks
@FAMILY.op("DepthToSpace", "SpaceToDepth")
def _blocks(n: TfNode) -> Result:
    """The order of channels is ONNX's DCR."""
    block = n.integer("block_size")
    op = DepthToSpace(block=block) if n.op_type == "DepthToSpace" else SpaceToDepth(block=block)
    return restored(n, n(op, image(n, n[0])))


def _crop_or_pad(n: TfNode, x: Tensor, pairs: np.ndarray, crop: bool) -> Tensor:
    """Cut or pad the axes 1, 2, ... by pairs of numbers."""
    sign = -1 if crop else 1
    rank, count = n.rank(x), len(pairs)
    rest = [0] * (rank - count - 1)
    before, behind = ([0, *(sign * int(p[i]) for p in pairs), *rest] for i in (0, 1))
    return n(Pad(pads=(*before, *behind)), x) if any((*before, *behind)) else x


@FAMILY.op("SpaceToBatchND", "SpaceToBatch")
def _space_to_batch(n: TfNode) -> Result:
    """Pixels of each block become images of their own: batch index is (place in the block) * N + n."""
    block = n.numbers(1, "the block") if n.op_type == "SpaceToBatchND" else (n.integer("block_size"),) * 2
    pads = np.reshape(n.numbers_2d(2 if n.op_type == "SpaceToBatchND" else 1), (len(block), 2))
    x = _crop_or_pad(n, n[0], pads, False)
    batch, *extents = n.shape(x)
    m = len(block)
    inner = [_exact(n, d, b) for d, b in zip(extents, block, strict=False)]
    split = [part for pair in zip(inner, block, strict=True) for part in pair]
    y = n(Reshape(shape=(batch, *split, *extents[m:])), x)
    perm = (*range(2, 2 * m + 1, 2), 0, *range(1, 2 * m, 2), *range(2 * m + 1, n.rank(y)))
    return n(Reshape(shape=(batch * int(np.prod(block)), *inner, *extents[m:])), n(Transpose(perm=perm), y))


@FAMILY.op("BatchToSpaceND", "BatchToSpace")
def _batch_to_space(n: TfNode) -> Result:
    """The way back, with crops; around a convolution the two are the convolution's dilations."""
    if n.op_type == "BatchToSpaceND":
        found = dilated(n)
        if found is not None:
            return found
    block = n.numbers(1, "the block") if n.op_type == "BatchToSpaceND" else (n.integer("block_size"),) * 2
    crops = np.reshape(n.numbers_2d(2 if n.op_type == "BatchToSpaceND" else 1), (len(block), 2))
    x = n[0]
    batch, *extents = n.shape(x)
    m, total = len(block), int(np.prod(block))
    images = _exact(n, batch, total)
    y = n(Reshape(shape=(*block, images, *extents)), x)
    pairs = [axis for i in range(m) for axis in (m + 1 + i, i)]
    perm = (m, *pairs, *range(2 * m + 1, n.rank(y)))
    outer = [d * b for d, b in zip(extents, block, strict=False)]
    return _crop_or_pad(n, n(Reshape(shape=(images, *outer, *extents[m:])), n(Transpose(perm=perm), y)), crops, True)


def _exact(n: TfNode, extent: Dim, by: int) -> Dim:
    """A size divided by a number."""
    if by < 1 or (isinstance(extent, int) and extent % by):
        n.refuse(f"{extent} cannot be divided into blocks of {by}")
    return floor_div(extent, by)
