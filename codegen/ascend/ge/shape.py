"""Shape operators, indexing and reductions: operands that are constants become attributes."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from uair.codegen.ascend.ge.ir import Value
from uair.codegen.ascend.ge.table import Emission, GeEmitters, NoGeForm
from uair.ir.dtype import DType
from uair.ops import (
    ArgMax,
    Concat,
    CumSum,
    DepthToSpace,
    Expand,
    Gather,
    GatherND,
    OneHot,
    Pad,
    ReduceMax,
    ReduceMean,
    ReduceMin,
    ReduceProd,
    ReduceSum,
    Reshape,
    Slice,
    SpaceToDepth,
    Split,
    Squeeze,
    Tile,
    TopK,
    Transpose,
    Unsqueeze,
)

EMITTERS = GeEmitters()
REDUCTIONS = {
    ReduceMean: "ReduceMeanD",
    ReduceSum: "ReduceSumD",
    ReduceMax: "ReduceMaxD",
    ReduceMin: "ReduceMinD",
    ReduceProd: "ReduceProdD",
}
Reduction: TypeAlias = ReduceMean | ReduceSum | ReduceMax | ReduceMin | ReduceProd


def known(value: Any, what: str) -> Any:
    """An attribute that must be known.

    Raises:
        NoGeForm: an operand gives it at run time.
    """
    if value is None:
        raise NoGeForm(f"{what} must be known when the file is written")
    return value


@EMITTERS.of(Reshape, Squeeze, Unsqueeze)
def reshape(e: Emission, op: Reshape | Squeeze | Unsqueeze) -> None:
    """Squeeze and Unsqueeze have operators of their own; a Reshape takes the shape as an operand."""
    shape = [int(d) for d in e.y.dims if isinstance(d, int)]
    rank = max(len(shape), len(e.shape()))
    if isinstance(op, Reshape) or op.axes is None:
        e.results("Reshape", [e.x(), e.literal(shape, DType.I64)], axis=0, num_axes=-1)
    elif isinstance(op, Squeeze):
        e.results("SqueezeV2", [e.x()], axis=[a % rank for a in op.axes])
    else:
        e.results("UnsqueezeV2", [e.x()], axis=sorted(a % rank for a in op.axes))


@EMITTERS.of(Transpose)
def transpose(e: Emission, op: Transpose) -> None:
    """TransposeD."""
    rank = len(e.shape())
    e.results("TransposeD", [e.x()], perm=list(op.perm or reversed(range(rank))))


@EMITTERS.of(Concat)
def concat(e: Emission, op: Concat) -> None:
    """ConcatD; a single piece is itself."""
    if len(e.operands) == 1:
        e.same(e.x())
        return
    e.results("ConcatD", e.operands, concat_dim=op.axis, N=len(e.operands))


@EMITTERS.of(Split)
def split(e: Emission, op: Split) -> None:
    """SplitD into equal pieces, SplitVD into others."""
    sizes = [t.type.dims[op.axis] for t in e.node.outputs]
    if len(set(sizes)) == 1:
        e.results("SplitD", [e.x()], split_dim=op.axis, num_split=len(sizes))
    else:
        e.results("SplitVD", [e.x()], size_splits=sizes, split_dim=op.axis, num_split=len(sizes))


@EMITTERS.of(Slice)
def slices(e: Emission, op: Slice) -> None:
    """SliceD for steps of 1, StridedSliceD for others; both with numbers for every axis."""
    shape = e.shape()
    starts, ends = known(op.starts, "the start of a slice"), known(op.ends, "the end of a slice")
    axes = op.axes if op.axes is not None else tuple(range(len(starts)))
    steps = op.steps if op.steps is not None else (1,) * len(starts)
    ranges = [range(size) for size in shape]
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        ranges[axis] = covered(shape[axis], start, end, step)
    if all(r.step == 1 for r in ranges):
        e.results("SliceD", [e.x()], offsets=[r.start for r in ranges], size=[len(r) for r in ranges])
        return
    backwards = [r.stop < 0 for r in ranges]  # down to the first element: no number says that, a bit of the mask does
    e.results(
        "StridedSliceD",
        [e.x()],
        begin=[r.start for r in ranges],
        end=[0 if back else r.stop for r, back in zip(ranges, backwards, strict=True)],
        strides=[r.step for r in ranges],
        begin_mask=0,
        end_mask=sum(1 << i for i, back in enumerate(backwards) if back),
        ellipsis_mask=0,
        new_axis_mask=0,
        shrink_axis_mask=0,
    )


def covered(size: int, start: int, end: int, step: int) -> range:
    """The positions of a slice; ends beyond an axis are moved into it, as ONNX defines."""
    start, end = (i + size if i < 0 else i for i in (start, end))
    low, high = (0, size) if step > 0 else (-1, size - 1)
    return range(min(max(start, 0), high), min(max(end, low), high), step)


@EMITTERS.of(Pad)
def pad(e: Emission, op: Pad) -> None:
    """PadD with zeros; PadV3 with other values and modes, its paddings begin and end of each axis in turn."""
    pads = known(op.pads, "the padding")
    rank = len(e.shape())
    pairs = [(int(pads[i]), int(pads[rank + i])) for i in range(rank)]
    if any(p < 0 for pair in pairs for p in pair):
        raise NoGeForm("negative padding is not written")
    value = op.value if not e.given(2) else e.constant(2).item()
    if op.mode == "constant" and value == 0:
        e.results("PadD", [e.x()], paddings=pairs)
        return
    if op.mode not in ("constant", "reflect", "edge"):
        raise NoGeForm(f"padding in mode {op.mode} is not written")
    flat = e.literal([p for pair in pairs for p in pair], DType.I64)
    fill = [e.literal(value, e.type().dtype)] if op.mode == "constant" else []
    e.results("PadV3", [e.x(), flat, *fill], mode=op.mode, paddings_contiguous=True)


@EMITTERS.of(Tile)
def tile(e: Emission, op: Tile) -> None:
    """TileD."""
    e.results("TileD", [e.x()], multiples=list(known(op.repeats, "the number of repetitions")))


@EMITTERS.of(Expand)
def expand(e: Emission, op: Expand) -> None:
    """BroadcastTo the result's shape, which is not always the one that was asked for."""
    e.results("BroadcastTo", [e.x(), e.literal(list(e.y.dims), DType.I64)])


@EMITTERS.of(DepthToSpace)
def depth_to_space(e: Emission, op: DepthToSpace) -> None:
    """DepthToSpace of images."""
    e.results("DepthToSpace", [e.x()], block_size=op.block, mode=op.mode, data_format="NCHW")


@EMITTERS.of(SpaceToDepth)
def space_to_depth(e: Emission, op: SpaceToDepth) -> None:
    """SpaceToDepth of images.

    Raises:
        NoGeForm: the channels come in front of the places in the block.
    """
    if op.mode != "DCR":
        raise NoGeForm(f"blocks in the order {op.mode} are not written")
    e.results("SpaceToDepth", [e.x()], block_size=op.block, data_format="NCHW")


# ------------------------------------------------------------------------------------------------------------ indexing
@EMITTERS.of(Gather)
def gather(e: Emission, op: Gather) -> None:
    """GatherV2D; negative indices count from the end in ONNX only, so those of constants are made positive."""
    e.results("GatherV2D", [e.x(0), indices(e, 1, e.shape()[op.axis])], axis=op.axis % len(e.shape()))


def indices(e: Emission, i: int, size: int) -> Value:
    """Indices along an axis of `size` elements."""
    tensor = e.tensor(i)
    if tensor.is_constant and (tensor.numpy() < 0).any():
        values = tensor.numpy()
        return e.literal(np.where(values < 0, values + size, values), tensor.type.dtype)
    return e.x(i)


@EMITTERS.of(GatherND)
def gather_nd(e: Emission, op: GatherND) -> None:
    """Without common axes."""
    if op.batch_dims:
        raise NoGeForm("GatherNd has no common axes")
    e.results("GatherNd", [e.x(0), e.x(1)])


@EMITTERS.of(TopK)
def top_k(e: Emission, op: TopK) -> None:
    """The indices have 32 bits."""
    values, positions = (t.type for t in e.node.outputs)
    k = e.literal(known(op.k, "the number of results"), DType.I32)
    made = e.builder.append(
        e.node.name,
        "TopK",
        [e.x(), k],
        [values, positions.with_dtype(DType.I32)],
        {"sorted": op.sorted, "largest": op.largest, "dim": op.axis},
    )
    wide = e.cast(made[1], positions.dtype)
    e.builder.values.update(zip(e.node.outputs, (made[0], wide), strict=True))


@EMITTERS.of(ArgMax)
def arg_max(e: Emission, op: ArgMax) -> None:
    """The axis vanishes."""
    if op.select_last:
        raise NoGeForm("ArgMaxV2 gives the first of equal elements")
    axis = op.axis % len(e.shape())
    shape = e.shape()[:axis] + e.shape()[axis + 1 :]
    operands = [e.x(), e.literal(axis, DType.I32)]
    if not op.keepdims:
        e.results("ArgMaxV2", operands, dtype=DType.I64)
        return
    flat = e.op("ArgMaxV2", operands, e.y.with_shape(shape), dtype=DType.I64)
    e.results("UnsqueezeV2", [flat], axis=[axis])


@EMITTERS.of(OneHot)
def one_hot(e: Emission, op: OneHot) -> None:
    """OneHotD with constant values."""
    off, on = e.constant(2)
    dtype = e.type(2).dtype
    e.results(
        "OneHotD",
        [e.x(0), e.literal(on, dtype), e.literal(off, dtype)],
        depth=known(op.depth, "the number of classes"),
        axis=op.axis,
    )


# ---------------------------------------------------------------------------------------------------------- reductions
@EMITTERS.of(*REDUCTIONS)
def reduction(e: Emission, op: Reduction) -> None:
    """Over constant axes, all when none are given."""
    if e.given(1) and not e.tensor(1).is_constant:
        raise NoGeForm("the axes of a reduction must be known")
    rank = len(e.shape())
    axes = range(rank) if op.axes is None else sorted(a % rank for a in op.axes)
    if not rank or (op.axes is not None and not op.axes):
        raise NoGeForm("a reduction over no axis is not written")
    e.results(REDUCTIONS[type(op)], [e.x()], axes=list(axes), keep_dims=op.keepdims)


@EMITTERS.of(CumSum)
def cum_sum(e: Emission, op: CumSum) -> None:
    """CumsumD."""
    axis = known(op.axis, "the axis of running sums")
    e.results("CumsumD", [e.x()], axis=axis, exclusive=op.exclusive, reverse=op.reverse)
