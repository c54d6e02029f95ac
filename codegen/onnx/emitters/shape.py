"""Shapes: reshaping, slicing, joining, padding. Sizes are operands or attributes of ONNX depending on the opset."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import helper

from uair.codegen.onnx.schema import ONNX_TYPE, NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim, Shape, is_static, static
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops.padding import MOST_PLACES, Pad, places
from uair.ops.shape import (
    Concat,
    DepthToSpace,
    Expand,
    Flip,
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
)

EMITTERS = Emitters()
_MODES_OF_SPACE = 28
EMITTERS.direct({Range: "Range", SizeOf: "Size"})
BACKWARDS = -(2**63) + 1  # the end of a slice that runs backwards through the first element


@EMITTERS.of(Reshape)
def reshape(e: Emission, op: Reshape) -> None:
    """A zero in ONNX's target copies the operand's extent, unless `allowzero` (opset 14) says that it means zero."""
    if op.shape is None and e.opset < 14 and e.type().is_static and e.type().size == 0:
        target = e.cast(e.x(1), DType.I64)
        remaining = e.op("Less", target, e.ints([0]), type=e.type(1).with_dtype(DType.BOOL))
        nothing(e, e.op("Where", remaining, e.ints([0]), target, type=e.type(1).with_dtype(DType.I64)))
        return
    if op.shape is None:
        e.result("Reshape", e.x(0), e.cast(e.x(1), DType.I64), allowzero=1 if e.opset >= 14 else None)
        return
    if 0 in op.shape and e.opset < 14 and not zeros_copied(op.shape, e.type().shape):
        nothing(e, e.vector(op.shape))
        return
    zero_means_zero = 0 in op.shape and e.opset >= 14
    target = e.vector(op.shape) if zero_means_zero else copying_target(e, op.shape)
    e.result("Reshape", e.x(), target, allowzero=int(zero_means_zero) if e.opset >= 14 else None)


def nothing(e: Emission, shape: str) -> None:
    """A tensor without elements whose shape is the value `shape`."""
    dtype = e.type().dtype
    value = helper.make_tensor("value", ONNX_TYPE[dtype], [1], bytes(dtype.numpy.itemsize), raw=True)
    e.result("ConstantOfShape", shape, value=helper.make_attribute("value", value))


def zeros_copied(target: Sequence[Dim], old: Sequence[Dim] | None) -> bool:
    """Whether every zero of the target stands where the operand has a zero too."""
    return old is not None and all(d != 0 or (i < len(old) and old[i] == 0) for i, d in enumerate(target))


def copying_target(e: Emission, target: Shape) -> str:
    """The target with few computed extents: copied (0) where the operand has the same one, one inferred (-1)."""
    old = e.type().shape or ()
    simple = [
        0 if not isinstance(d, int) and i < len(old) and old[i] == d else d
        for i, d in enumerate(target)
    ]  # fmt: skip
    unknown = [i for i, d in enumerate(simple) if not isinstance(d, int)]
    if len(unknown) == 1 and -1 not in simple and 0 not in target:
        simple[unknown[0]] = -1
    return e.vector(simple)


@EMITTERS.of(Expand)
def expand(e: Emission, op: Expand) -> None:
    """An extent that the operand has already is a 1 in ONNX's target: both broadcast."""
    if op.shape is None:
        e.result("Expand", e.x(0), e.x(1))
        return
    old = e.type().shape or ()
    lead = len(op.shape) - len(old)
    target = [1 if not isinstance(d, int) and i >= lead and old[i - lead] == d else d for i, d in enumerate(op.shape)]
    e.result("Expand", e.x(), e.vector(target))


@EMITTERS.of(Transpose)
def transpose(e: Emission, op: Transpose) -> None:
    """Transpose."""
    e.result("Transpose", e.x(), perm=op.perm)


@EMITTERS.of(Squeeze, Unsqueeze)
def change_rank(e: Emission, op: Squeeze | Unsqueeze) -> None:
    """The axes are an operand from opset 13 on; Squeeze has none for "all of extent 1".

    Raises:
        NotExpressible: computed axes before opset 13.
    """
    if op.axes is None and e.given(1):
        if e.opset < 13:
            raise NotExpressible(
                f"ONNX {op.op_type} has its axes as an attribute before opset 13, here they are computed",
                hint="choose a later opset, or make the axes a constant",
            )
        axes, length = e.cast(e.x(1), DType.I64), e.type(1).shape
        if length == (0,):
            e.result("Identity", e.x())
        else:
            e.result(op.op_type, e.x(), axes)
    elif op.axes is None:
        e.result("Squeeze", e.x())
    elif not op.axes:
        e.result("Identity", e.x())
    else:
        ahead = tuple(e.axis(a) for a in op.axes) if isinstance(op, Squeeze) else op.axes
        inputs, attributes = e.axes(ahead, since=13)
        e.result(op.op_type, e.x(), *inputs, **attributes)


@EMITTERS.of(Concat)
def concat(e: Emission, op: Concat) -> None:
    """Concat."""
    e.result("Concat", *e.operands, axis=e.axis(op.axis))


@EMITTERS.of(Split)
def split(e: Emission, op: Split) -> None:
    """The sizes are an operand from opset 13 on; before, those that are computed make it a row of slices."""
    axis = e.axis(op.axis)
    if e.opset >= 13:
        sizes = e.vector(op.sizes) if op.sizes is not None else e.cast(e.x(1), DType.I64)
        e.result("Split", e.x(), sizes, axis=axis)
    elif op.sizes is None:
        computed_slices(e, op, axis)
    elif is_static(op.sizes):
        e.result("Split", e.x(), split=op.sizes, axis=axis)
    else:
        slices(e, op.sizes, axis)


def computed_slices(e: Emission, op: Split, axis: int) -> None:
    """One Slice per part, between running sums of the sizes."""
    count = op.result_count()
    sizes, number = e.cast(e.x(1), DType.I64), TensorType(DType.I64, (1,))
    sums = e.op("CumSum", sizes, e.literal(0, DType.I64), type=TensorType(DType.I64, (count,)))
    start = e.ints([0])
    for i, tensor in enumerate(e.node.outputs):
        end, name = e.op("Gather", sums, e.ints([i]), type=number, axis=0), e.graph.name(tensor)
        e.graph.add("Slice", [e.x(), start, end, e.ints([axis])], [name], {}, f"{name}/Slice")
        start = end


def slices(e: Emission, sizes: Shape, axis: int) -> None:
    """One Slice per part."""
    start: Dim = 0
    for size, tensor in zip(sizes, e.node.outputs, strict=True):
        end = start + size
        inputs = [e.x(), e.vector((start,)), e.vector((end,)), e.ints([axis])]
        e.graph.add("Slice", inputs, [e.graph.name(tensor)], {}, f"{e.graph.name(tensor)}/Slice")
        start = end


@EMITTERS.of(Slice)
def slice_(e: Emission, op: Slice) -> None:
    """Slice; ends beyond the axis are clamped by ONNX too. Its operands all have one type."""
    starts = e.vector(op.starts) if op.starts is not None else e.cast(e.x(1), DType.I64)
    ends = e.vector(op.ends) if op.ends is not None else e.cast(e.x(2), DType.I64)
    axes = e.ints([e.axis(a) for a in op.axes]) if op.axes is not None else e.cast(e.x(3), DType.I64)
    steps = e.ints(op.steps) if op.steps is not None else e.cast(e.x(4), DType.I64)
    e.result("Slice", e.x(), starts, ends, axes, steps)


@EMITTERS.of(Flip)
def flip(e: Emission, op: Flip) -> None:
    """A slice that runs backwards."""
    axes = [e.axis(a) for a in op.axes]
    shape = e.type().shape
    ends = [BACKWARDS] * len(axes)
    if shape is not None:
        ends = [-d - 1 if isinstance(d := shape[a], int) else BACKWARDS for a in axes]
    e.result("Slice", e.x(), e.ints([-1] * len(axes)), e.ints(ends), e.ints(axes), e.ints([-1] * len(axes)))


@EMITTERS.of(Pad)
def pad(e: Emission, op: Pad) -> None:
    """ONNX has no symmetric padding, wraps from opset 19 on, and reflects once; else the padded axes are gathered."""
    lacking = {"symmetric": True, "wrap": e.opset < 19, "reflect": not reflects_once(e, op)}
    if lacking.get(op.mode, False):
        gathered_pad(e, op)
        return
    pads = e.vector(op.pads) if op.pads is not None else e.cast(e.x(1), DType.I64)
    value = None
    if op.mode == "constant":
        dtype = e.type().dtype
        value = e.graph.literal(np.asarray(op.value).astype(dtype.numpy)) if op.value is not None else e.number(2)
    e.result("Pad", e.x(), pads, value, mode=op.mode)


def reflects_once(e: Emission, op: Pad) -> bool:
    """Whether reflection never leaves the tensor, as far as is known, and nothing is cropped."""
    shape = e.shape()
    if op.pads is None:
        return True
    return all(
        not isinstance(amount, int) or (amount >= 0 and (not isinstance(extent, int) or amount < max(extent, 1)))
        for amount, extent in zip(op.pads, (*shape, *shape), strict=True)
    )


def gathered_pad(e: Emission, op: Pad) -> None:
    """Padding by constant indices, axis by axis.

    Raises:
        NotExpressible: shape or padding are known only at run time.
    """
    if op.pads is None or not is_static(op.pads) or not e.type().is_static:
        raise NotExpressible(f"Pad in mode {op.mode} needs a static shape and constant padding at opset {e.opset}")
    shape, name, rank = list(e.static_shape()), e.x(), len(e.static_shape())
    amounts = static(op.pads)
    for axis in range(rank):
        before, after = amounts[axis], amounts[rank + axis]
        if before or after:
            if shape[axis] + before + after > MOST_PLACES:
                raise NotExpressible(
                    f"Pad in mode {op.mode} to {shape[axis] + before + after} elements at opset {e.opset}"
                )
            indices = places(shape[axis], before, after, op.mode)
            shape[axis] = len(indices)
            name = e.op("Gather", name, e.ints(indices.tolist()), type=e.type().with_shape(tuple(shape)), axis=axis)
    e.result("Identity", name)


@EMITTERS.of(Tile)
def tile(e: Emission, op: Tile) -> None:
    """Tile."""
    e.result("Tile", e.x(), e.vector(op.repeats) if op.repeats is not None else e.x(1))


@EMITTERS.of(DepthToSpace)
def depth_to_space(e: Emission, op: DepthToSpace) -> None:
    """DepthToSpace with its mode."""
    e.result("DepthToSpace", e.x(), blocksize=op.block, mode=op.mode)


@EMITTERS.of(SpaceToDepth)
def space_to_depth(e: Emission, op: SpaceToDepth) -> None:
    """SpaceToDepth; its mode is an attribute from opset 28 on.

    Raises:
        NotExpressible: another mode before.
    """
    if op.mode == "DCR":
        e.result("SpaceToDepth", e.x(), blocksize=op.block)
    elif e.opset < _MODES_OF_SPACE:
        raise NotExpressible(f"SpaceToDepth in the order {op.mode} exists from opset {_MODES_OF_SPACE} on")
    else:
        e.result("SpaceToDepth", e.x(), blocksize=op.block, mode=op.mode)


@EMITTERS.of(ShapeOf)
def shape_of(e: Emission, op: ShapeOf) -> None:
    """`start` and `end` are attributes from opset 15 on; before, the whole shape is sliced."""
    if op.start == 0 and op.end is None:
        e.result("Shape", e.x())
    elif e.opset >= 15:
        e.result("Shape", e.x(), start=op.start, end=op.end)
    else:
        shape = e.type().shape
        whole = e.op("Shape", e.x(), type=TensorType(DType.I64, (len(shape),) if shape is not None else None))
        end = np.iinfo(np.int64).max if op.end is None else op.end
        e.result("Slice", whole, e.ints([op.start]), e.ints([int(end)]), e.ints([0]))
