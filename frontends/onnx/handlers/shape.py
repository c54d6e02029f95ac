"""Operators that move elements.

What was an attribute in early versions (axes, pads, starts) is an operand later; a known operand becomes an attribute
again.
"""

from __future__ import annotations

import numpy as np

from uair.frontends.onnx.errors import OnnxRuntimeOperandError
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, Shape, ceil_div, floor_div, product
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Concat,
    DepthToSpace,
    Equal,
    Expand,
    Pad,
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
)

FAMILY = Family()

_SHAPE_VERSIONS = (13, 21, 23, 24, 25)
_PAD_MODES = {c: c for c in ("constant", "reflect", "edge", "wrap")}


# ------------------------------------------------------------------------- Reshape
@FAMILY.op("Reshape", 1)
def _reshape_1(n: OnnxNode) -> Result:
    n.attributes.required("shape")
    return reshaped(n, n[0], n.attributes.integers("shape", ()))


@FAMILY.op("Reshape", 5, 13, 14, 19, 21, 23, 24, 25)
def _reshape(n: OnnxNode) -> Result:
    """0 copies the operand's extent, unless `allowzero` (14)."""
    x, keeps_zero = n[0], n.attributes.flag("allowzero")
    target = n.dims(1)
    if target is not None:
        return reshaped(n, x, target, allow_zero=keeps_zero)
    return n(Reshape(), x, n[1] if keeps_zero else _copied_zeros(n, x, n[1]))


def reshaped(n: OnnxNode, x: Tensor, target: Shape, *, allow_zero: bool = False) -> Tensor:
    """A Reshape to a known shape, with 0 replaced by what it stands for."""
    shape: list[Dim] = list(target)
    if not allow_zero and 0 in shape:
        own = n.shape(x)
        for i, d in enumerate(shape):
            if isinstance(d, int) and d == 0:
                if i >= len(own):
                    n.refuse(f"extent {i} of the shape {list(target)} is 0, but the operand has {len(own)} axes")
                shape[i] = own[i]
    return n(Reshape(shape=tuple(shape)), x)


def _copied_zeros(n: OnnxNode, x: Tensor, shape: Tensor) -> Tensor:
    """A shape computed at run time, with the operand's extents where it is 0."""
    length = n.shape(shape)[0]
    rank = n.rank(x)
    if not isinstance(length, int):
        return shape
    zero = constant(np.zeros(max(length, 1), np.int64)[: max(length - rank, 0)])
    own: Tensor = n(ShapeOf(end=min(rank, length)), x)
    if length > rank:
        own = n(Concat(axis=0), own, zero)
    return n(Where(), n(Equal(), shape, constant(np.array(0, np.int64))), own, shape)


def flattened(n: OnnxNode, x: Tensor, axis: int) -> Tensor:
    """The operand as a matrix of its axes before and from `axis`."""
    shape = n.shape(x)
    return n(Reshape(shape=(product(shape[:axis]), product(shape[axis:]))), x)


@FAMILY.op("Flatten", 1, 9, 11, 13, 21, 23, 24, 25)
def _flatten(n: OnnxNode) -> Result:
    x = n[0]
    rank = n.rank(x)
    axis = n.attributes.integer("axis", 1)
    if not -rank <= axis <= rank:
        n.refuse(f"axis {axis} is out of range for rank {rank}")
    return flattened(n, x, axis + rank if axis < 0 else axis)


# --------------------------------------------------------------------- axes of extent 1
def aligned(n: OnnxNode, t: Tensor, rank: int, axis: int | None) -> Tensor:
    """A tensor whose axes stand at `axis` of a tensor of that rank (default: at its end), with ones behind them."""
    own = n.rank(t)
    first = rank - own if axis is None else n.axis(axis, rank)
    if first < 0 or first + own > rank:
        n.refuse(f"an operand of {own} axes does not fit at axis {axis} of {rank}")
    behind = rank - first - own
    return n(Unsqueeze(axes=tuple(range(own, own + behind))), t) if behind else t


def _listed_axes(n: OnnxNode) -> tuple[int, ...] | None:
    """The axes: an attribute before version 13, an operand since."""
    if n.version < 13:
        return n.attributes.integers("axes", None)
    return None if n.optional(1) is None else n.integers(1, "axes")


@FAMILY.op("Squeeze", 1, 11, *_SHAPE_VERSIONS)
def _squeeze(n: OnnxNode) -> Result:
    x = n[0]
    axes = _listed_axes(n)
    if axes is not None:
        return n(Squeeze(axes=n.axes(axes, n.rank(x))), x)
    shape = n.shape(x)
    if not all(isinstance(d, int) for d in shape):
        raise OnnxRuntimeOperandError(
            f"Squeeze without axes needs known extents, the operand has {list(shape)}",
            place=n.place,
            hint="export the model with fixed shapes, or with axes",
        )
    return n(Squeeze(axes=tuple(i for i, d in enumerate(shape) if d == 1)), x)


@FAMILY.op("Unsqueeze", 1, 11, *_SHAPE_VERSIONS)
def _unsqueeze(n: OnnxNode) -> Result:
    """Axes count in the result's rank."""
    if n.version < 13:
        n.attributes.required("axes")
    axes = _listed_axes(n)
    if axes is None:
        axes = n.integers(1, "axes")
    return n(Unsqueeze(axes=tuple(sorted(n.axes(axes, n.rank(n[0]) + len(axes))))), n[0])


# --------------------------------------------------------------------- joining, parting
@FAMILY.op("Concat", 1, 4, 11, 13)
def _concat(n: OnnxNode) -> Result:
    """In version 1 the axis is 1 unless given."""
    inputs = n.present()
    if n.version > 1:
        n.attributes.required("axis")
    ranked = next((t for t in inputs if t.type.shape is not None), inputs[0])
    return n(Concat(axis=n.axis(n.attributes.integer("axis", 1), n.rank(ranked))), *inputs)


@FAMILY.op("Split", 1, 2, 11, 13, 18)
def _split(n: OnnxNode) -> Result:
    """Sizes: an attribute, since 13 an operand (in 1 either), or equal parts; since 18 the last may be smaller."""
    x = n[0]
    axis = n.axis(n.attributes.integer("axis", 0), n.rank(x))
    sizes: Shape | None = n.attributes.integers("split", None) if n.version < 13 else None
    if sizes is None and n.optional(1) is not None:
        sizes = n.dims(1)
        if sizes is None:
            n.integers(1, "the sizes")
    if sizes is None:
        sizes = _equal_parts(n, n.extent(x, axis))
    if len(sizes) != len(n.proto.output):
        n.refuse(f"{len(sizes)} sizes are given for {len(n.proto.output)} results")
    return n.all(Split(axis=axis, sizes=sizes), x)


def _equal_parts(n: OnnxNode, extent: Dim) -> Shape:
    count = n.attributes.integer("num_outputs", len(n.proto.output))
    if count != len(n.proto.output):
        n.refuse(f"num_outputs is {count}, the node has {len(n.proto.output)} results")
    if not isinstance(extent, int):
        return (floor_div(extent, count),) * count
    if extent % count and n.version < 18:
        n.refuse(f"an extent of {extent} cannot be cut into {count} equal parts")
    part = ceil_div(extent, count)
    assert isinstance(part, int)
    return tuple(max(min(part, extent - i * part), 0) for i in range(count))


@FAMILY.op("Slice", 1)
def _slice_1(n: OnnxNode) -> Result:
    a = n.attributes
    a.required("starts")
    a.required("ends")
    starts, ends = a.integers("starts", ()), a.integers("ends", ())
    axes = n.axes(a.integers("axes", tuple(range(len(starts)))), n.rank(n[0]))
    return n(Slice(axes=axes, starts=starts, ends=ends, steps=(1,) * len(axes)), n[0])


@FAMILY.op("Slice", 10, 11, 13)
def _slice(n: OnnxNode) -> Result:
    """Operands: data, starts, ends, axes, steps; axes and steps must be known."""
    x = n[0]
    starts, ends = n.dims(1), n.dims(2)
    count = len(starts) if starts is not None else n.shape(n[1])[0]
    if n.optional(3) is not None:
        axes = n.axes(n.integers(3, "axes"), n.rank(x))
    elif isinstance(count, int):
        axes = tuple(range(count))
    else:
        axes = tuple(range(len(n.integers(1, "starts"))))
    steps = (1,) * len(axes) if n.optional(4) is None else n.integers(4, "steps")
    op = Slice(axes=axes, starts=starts, ends=ends, steps=steps)
    return n(op, x, None if starts is not None else n[1], None if ends is not None else n[2])


# --------------------------------------------------------------------------- padding
@FAMILY.op("Pad", 1, 2)
def _pad_2(n: OnnxNode) -> Result:
    name = "paddings" if n.version == 1 else "pads"
    n.attributes.required(name)
    mode = n.attributes.choice("mode", "constant", _PAD_MODES)
    value = n.attributes.number("value", 0.0)
    return n(Pad(pads=n.attributes.integers(name, ()), mode=mode, value=value), n[0])  # type: ignore[arg-type]


@FAMILY.op("Pad", 1, domain="com.microsoft")
@FAMILY.op("Pad", 11, 13, 18, 19, 21, 23, 24, 25)
def _pad(n: OnnxNode) -> Result:
    """Operands: data, pads, constant_value, axes (18)."""
    x = n[0]
    mode = n.attributes.choice("mode", "constant", _PAD_MODES)
    value = 0.0
    if n.optional(2) is not None and mode == "constant" and n.shape(n[2]) != (0,):
        known = n.scalar(2)
        if known is None:
            raise OnnxRuntimeOperandError(
                "Pad needs to know its padding value when the model is read, but input 2 is computed at run time",
                place=n.place,
                hint="make the value a constant",
            )
        value = known
    pads = n.dims(1)
    if n.optional(3) is not None:
        if pads is None:
            pads = n.integers(1, "pads")
        pads = _over_all_axes(n, pads, n.axes(n.integers(3, "axes"), n.rank(x)), n.rank(x))
    op = Pad(pads=pads, mode=mode, value=value)  # type: ignore[arg-type]
    return n(op, x, None if pads is not None else n[1])


def _over_all_axes(n: OnnxNode, pads: Shape, axes: tuple[int, ...], rank: int) -> Shape:
    if len(pads) != 2 * len(axes):
        n.refuse(f"pads has {len(pads)} numbers for {len(axes)} axes")
    full: list[Dim] = [0] * (2 * rank)
    for i, axis in enumerate(axes):
        full[axis], full[rank + axis] = pads[i], pads[len(axes) + i]
    return tuple(full)


# ------------------------------------------------------------------------ the others
@FAMILY.op("Transpose", 1, *_SHAPE_VERSIONS)
def _transpose(n: OnnxNode) -> Result:
    """Without `perm` the axes are reversed."""
    perm = n.attributes.integers("perm", None)
    if perm is None:
        perm = tuple(reversed(range(n.rank(n[0]))))
    return n(Transpose(perm=perm), n[0])


@FAMILY.op("Expand", 8, 13)
def _expand(n: OnnxNode) -> Result:
    shape = n.dims(1)
    return n(Expand(shape=shape), n[0]) if shape is not None else n(Expand(), n[0], n[1])


@FAMILY.op("Tile", 1)
def _tile_1(n: OnnxNode) -> Result:
    """Version 1 repeats along one axis."""
    rank = n.rank(n[0])
    repeats = [1] * rank
    repeats[n.axis(n.integer(2, "the axis"), rank)] = n.integer(1, "the number of tiles")
    return n(Tile(repeats=tuple(repeats)), n[0])


@FAMILY.op("Tile", 6, 13)
def _tile(n: OnnxNode) -> Result:
    repeats = n.dims(1)
    return n(Tile(repeats=repeats), n[0]) if repeats is not None else n(Tile(), n[0], n[1])


@FAMILY.op("Shape", 1, 13, 15, 19, 21, 23, 24, 25)
def _shape(n: OnnxNode) -> Result:
    """`start` and `end` exist since version 15."""
    return n(ShapeOf(start=n.attributes.integer("start", 0), end=n.attributes.integer("end", None)), n[0])


@FAMILY.op("Size", 1, 13, 19, 21, 23, 24, 25)
def _size(n: OnnxNode) -> Result:
    return n(SizeOf(), n[0])


@FAMILY.op("DepthToSpace", 1, 11, 13, 28)
def _depth_to_space(n: OnnxNode) -> Result:
    """`mode` exists since version 11; other ranks than 4 since 28."""
    n.attributes.required("blocksize")
    if n.rank(n[0]) != 4:
        n.unsupported("DepthToSpace of other than four axes is not supported")
    mode = n.attributes.choice("mode", "DCR", {"DCR": "DCR", "CRD": "CRD"})
    return n(DepthToSpace(block=n.attributes.integer("blocksize", 1), mode="CRD" if mode == "CRD" else "DCR"), n[0])


@FAMILY.op("SpaceToDepth", 1, 13, 28)
def _space_to_depth(n: OnnxNode) -> Result:
    n.attributes.required("blocksize")
    if n.rank(n[0]) != 4 or n.attributes.text("mode", "DCR") != "DCR":
        n.unsupported("SpaceToDepth of other than four axes is not supported")
    return n(SpaceToDepth(block=n.attributes.integer("blocksize", 1)), n[0])
