"""Operators that move elements.

What was an attribute in early versions (axes, pads, starts) is an operand later; a known operand becomes an attribute
again.
"""

from __future__ import annotations

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, Shape, ceil_div, floor_div, is_static, maximum, minimum, normal, product, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Add,
    Cast,
    Concat,
    DepthToSpace,
    Equal,
    Expand,
    Gather,
    IntDiv,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Pad,
    Range,
    Reshape,
    ScatterElements,
    ShapeOf,
    SizeOf,
    Slice,
    SpaceToDepth,
    Split,
    Squeeze,
    Sub,
    Tile,
    Transpose,
    Unsqueeze,
    Where,
)
from uair.ops.base import MAX_RANK

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
    if target is not None and (keeps_zero or x.type.shape is not None or 0 not in target):
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
    length, rank = n.length(1), None if x.type.shape is None else n.rank(x)
    own: Tensor
    if length is not None and rank is not None:
        own = n(ShapeOf(end=min(rank, length)), x)
        if length > rank:
            own = n(Concat(axis=0), own, constant(np.zeros(length - rank, np.int64)))
    else:
        own = n(Concat(axis=0), n(ShapeOf(), x), constant(np.zeros(MAX_RANK, np.int64)))
        own = n(Slice(axes=(0,), starts=(0,), steps=(1,)), own, None, n(ShapeOf(), shape))
    return n(Where(), n(Equal(), shape, integer(0)), own, shape)


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
    """The axes when they are known: an attribute before version 13, an operand since."""
    if n.version < 13:
        return n.attributes.integers("axes", None)
    found = None if n.optional(1) is None else n.dims(1)
    return None if found is None or not is_static(found) else static(found)


@FAMILY.op("Squeeze", 1, 11, *_SHAPE_VERSIONS)
def _squeeze(n: OnnxNode) -> Result:
    """Without axes, every axis of extent 1."""
    x, axes = n[0], _listed_axes(n)
    if axes is not None:
        return n(Squeeze(axes=n.axes_of(axes, x)), x)
    return n(Squeeze(), x, n.optional(1) if n.version >= 13 else None)


@FAMILY.op("Unsqueeze", 1, 11, *_SHAPE_VERSIONS)
def _unsqueeze(n: OnnxNode) -> Result:
    """Axes count in the result's rank."""
    x = n[0]
    if n.version < 13:
        n.attributes.required("axes")
    axes = _listed_axes(n)
    if axes is None:
        return n(Unsqueeze(), x, n[1])
    if x.type.shape is not None:
        axes = tuple(sorted(n.axes(axes, n.rank(x) + len(axes))))
    return n(Unsqueeze(axes=axes), x)


# --------------------------------------------------------------------- joining, parting
@FAMILY.op("Concat", 1, 4, 11, 13)
def _concat(n: OnnxNode) -> Result:
    """In version 1 the axis is 1 unless given."""
    inputs = n.present()
    if n.version > 1:
        n.attributes.required("axis")
    ranked = next((t for t in inputs if t.type.shape is not None), inputs[0])
    return n(Concat(axis=n.axis_of(n.attributes.integer("axis", 1), ranked)), *inputs)


@FAMILY.op("Split", 1, 2, 11, 13, 18)
def _split(n: OnnxNode) -> Result:
    """Sizes: an attribute, since 13 an operand (in 1 either), or equal parts; since 18 the last may be smaller."""
    x, count = n[0], len(n.proto.output)
    axis = n.axis_of(n.attributes.integer("axis", 0), x)
    sizes: Shape | None = n.attributes.integers("split", None) if n.version < 13 else None
    computed: Tensor | None = None
    if sizes is None and n.optional(1) is not None:
        sizes, computed = _whole(n, 1)
    elif sizes is None and x.type.shape is None:
        computed = _computed_parts(n, x, axis)
    elif sizes is None:
        sizes = _equal_parts(n, n.extent(x, axis))
    length = len(sizes) if sizes is not None else computed.type.dims[0] if computed and computed.type.shape else count
    if isinstance(length, int) and length != count:
        n.refuse(f"{length} sizes are given for {count} results")
    return (
        n.all(Split(axis=axis, sizes=sizes), x)
        if sizes is not None
        else n.all(Split(axis=axis, parts=count), x, computed)
    )


def _whole(n: OnnxNode, i: int) -> tuple[Shape | None, Tensor]:
    """The numbers of an operand, when they are known, and itself; in version 1 it is of the data's type."""
    operand = n[i]
    if operand.type.dtype.is_integer:
        return n.dims(i), operand
    numbers = n.numbers(i)
    if numbers is not None:
        return tuple(map(int, numbers)), operand
    return None, n(Cast(to=DType.I64), operand)


def _part_count(n: OnnxNode) -> int:
    count = n.attributes.integer("num_outputs", len(n.proto.output))
    if count != len(n.proto.output):
        n.refuse(f"num_outputs is {count}, the node has {len(n.proto.output)} results")
    return count


def _equal_parts(n: OnnxNode, extent: Dim) -> Shape:
    """Sizes of equal parts; since version 18 all but the last have the size rounded up, as far as there is enough."""
    count = _part_count(n)
    if n.version < 18:
        if isinstance(extent, int) and extent % count:
            n.refuse(f"an extent of {extent} cannot be cut into {count} equal parts")
        return (floor_div(extent, count),) * count
    part = ceil_div(extent, count)
    if part == floor_div(extent, count):
        return (part,) * count
    rest = [normal(extent - i * part) for i in range(count)]
    return (part, *(maximum(minimum(part, r), 0) for r in rest[1:]))


def _computed_parts(n: OnnxNode, x: Tensor, axis: int) -> Tensor:
    """The same, computed at run time from an operand of unknown rank."""
    count = _part_count(n)
    extent = n(Gather(), n(ShapeOf(), x), constant(np.array([axis], np.int64)))
    part = n(IntDiv(), n(Add(), extent, integer(count - 1 if n.version >= 18 else 0)), integer(count))
    rest = n(Sub(), extent, n(Mul(), part, constant(np.arange(count, dtype=np.int64))))
    return n(Maximum(), n(Minimum(), part, rest), integer(0))


def integer(value: int) -> Tensor:
    """A constant scalar i64."""
    return constant(np.array(value, np.int64))


@FAMILY.op("Slice", 1)
def _slice_1(n: OnnxNode) -> Result:
    a = n.attributes
    a.required("starts")
    a.required("ends")
    starts, ends = a.integers("starts", ()), a.integers("ends", ())
    axes = n.axes_of(a.integers("axes", tuple(range(len(starts)))), n[0])
    return n(Slice(axes=axes, starts=starts, ends=ends, steps=(1,) * len(axes)), n[0])


@FAMILY.op("Slice", 10, 11, 13)
def _slice(n: OnnxNode) -> Result:
    """Operands: data, starts, ends, axes (all from the first), steps (1)."""
    axes, steps = (n.folded(i) if n.optional(i) is not None else None for i in (3, 4))
    count = next((c for c in map(n.length, (1, 2)) if c is not None), None)
    every = tuple(range(count)) if axes is None and count is not None else None
    if axes is None and every is None:
        axes = n(Range(), integer(0), n(SizeOf(), n[1]), integer(1))
    if count is None and n.optional(3) is not None:
        count = n.length(3)
    ones = (1,) * count if steps is None and count is not None else None
    if steps is None and ones is None:
        steps = n(Expand(), integer(1), n(ShapeOf(), n[1]))
    return n(Slice(axes=every, steps=ones), n[0], n.folded(1), n.folded(2), axes, steps)


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
    value = n.folded(2) if mode == "constant" and n.optional(2) is not None else None
    if value is not None and value.type.shape == (0,):
        value = None
    if value is None and x.type.dtype is DType.STRING:
        value = constant(np.array("", object))
    pads = n.folded(1) if n.optional(3) is None else _over_all_axes(n, x)
    op = Pad(mode=mode, value=0.0 if value is None else None)  # type: ignore[arg-type]
    return n(op, x, pads, value)


def _over_all_axes(n: OnnxNode, x: Tensor) -> Tensor:
    """Padding of all axes from that of some: a zero in front of and behind every other."""
    pads, axes, known = n(Cast(to=DType.I64), n.folded(1)), n(Cast(to=DType.I64), n[3]), n.dims(3)
    if known is None or not is_static(known) or x.type.shape is None:
        return _scattered(n, x, pads, axes)
    rank = n.rank(x)
    listed, length = n.axes(static(known), rank), n.length(1)
    if length not in (None, 2 * len(listed)):
        n.refuse(f"pads has {length} numbers for {len(listed)} axes")
    place = {axis: i for i, axis in enumerate(listed)}
    places = [place.get(a, 2 * len(listed)) for a in range(rank)]
    places += [place[a] + len(listed) if a in place else 2 * len(listed) for a in range(rank)]
    with_zero = n(Concat(axis=0), pads, constant(np.zeros(1, np.int64)))
    return n(Gather(), with_zero, constant(np.array(places, np.int64)))


def _scattered(n: OnnxNode, x: Tensor, pads: Tensor, axes: Tensor) -> Tensor:
    """The same where the axes are known only at run time: written into zeros at `axes` and, behind those, the rank."""
    rank = integer(n.rank(x)) if x.type.shape is not None else n(SizeOf(), n(ShapeOf(), x))
    length = n(Reshape(shape=(1,)), n(Mul(), rank, integer(2)))
    counted = n(Mod(), axes, rank)
    places = n(Concat(axis=0), counted, n(Add(), counted, rank))
    return n(ScatterElements(axis=0), n(Expand(), integer(0), length), places, pads)


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
    """Version 1 repeats along one axis, which must be known; the numbers are of the data's type."""
    rank = n.rank(n[0])
    (known, count), (places, _) = _whole(n, 1), _whole(n, 2)
    if places is None or len(places) != 1 or not isinstance(places[0], int):
        n.unsupported("Tile of opset 1 along an axis computed at run time is not supported", "make it a constant")
    axis = n.axis(places[0], rank)
    if known is not None:
        return n(Tile(repeats=(*(1,) * axis, *known[:1], *(1,) * (rank - axis - 1))), n[0])
    ones = [constant(np.ones(length, np.int64)) for length in (axis, rank - axis - 1)]
    return n(Tile(), n[0], n(Concat(axis=0), ones[0], n(Reshape(shape=(1,)), count), ones[1]))


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
    """`mode` exists since version 11."""
    n.attributes.required("blocksize")
    if n.rank(n[0]) != 4:
        n.unsupported("DepthToSpace of other than four axes is not supported")
    mode = n.attributes.choice("mode", "DCR", {"DCR": "DCR", "CRD": "CRD"})
    return n(DepthToSpace(block=n.attributes.integer("blocksize", 1), mode="CRD" if mode == "CRD" else "DCR"), n[0])


@FAMILY.op("SpaceToDepth", 1, 13, 28)
def _space_to_depth(n: OnnxNode) -> Result:
    """`mode` exists since version 28: CRD puts the channel before the place in the block."""
    n.attributes.required("blocksize")
    x, block = n[0], n.attributes.integer("blocksize", 1)
    if n.rank(x) != 4:
        n.unsupported("SpaceToDepth of other than four axes is not supported")
    mode = n.attributes.choice("mode", "DCR", {"DCR": "DCR", "CRD": "CRD"})
    return n(SpaceToDepth(block=block, mode="CRD" if mode == "CRD" else "DCR"), x)
