"""Images: sampling at computed places, regions, boxes, blocks, and image files.

AffineGrid, CenterCropPad and MaxUnpool are spelled out in simpler operators, by constants where the sizes are known.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.frontends.onnx.handlers.convolution import check_kernel
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, is_static, normal, product, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Add,
    Cast,
    Concat,
    DecodeImage,
    DeformConv,
    Div,
    Equal,
    Expand,
    Fold,
    Gather,
    GridSample,
    IntDiv,
    MatMul,
    MaxRoiPool,
    Mod,
    Mul,
    NonMaxSuppression,
    Pad,
    Range,
    ReduceProd,
    Reshape,
    RoiAlign,
    ScatterElements,
    ShapeOf,
    Slice,
    Sub,
    Unsqueeze,
)

FAMILY = Family()

_SAMPLE_MODES: dict[str, Any] = {
    "linear": "linear", "bilinear": "linear", "nearest": "nearest", "cubic": "cubic", "bicubic": "cubic"
}  # fmt: skip
_PADDINGS: dict[str, Any] = {c: c for c in ("zeros", "border", "reflection")}
_POOLINGS: dict[str, Any] = {c: c for c in ("avg", "max")}
_PIXELS: dict[str, Any] = {"RGB": "rgb", "BGR": "bgr", "Grayscale": "gray"}


# ------------------------------------------------------------------------ sampling
@FAMILY.op("GridSample", 16, 20, 22)
@FAMILY.op("GridSample", 1, domain="com.microsoft")
def _grid_sample(n: OnnxNode) -> Result:
    """Version 16 and com.microsoft call the modes bilinear and bicubic, 20 linear and cubic."""
    a = n.attributes
    names = ("linear", "nearest", "cubic") if n.version >= 20 else ("bilinear", "nearest", "bicubic")
    op = GridSample(
        mode=a.choice("mode", "linear", {name: _SAMPLE_MODES[name] for name in names}),
        padding=a.choice("padding_mode", "zeros", _PADDINGS),
        align_corners=a.flag("align_corners"),
    )
    return n(op, n[0], n[1])


@FAMILY.op("AffineGrid", 20)
def _affine_grid(n: OnnxNode) -> Result:
    """Places from -1 to 1 along every axis of the image, and 1, times the matrices. Operands: theta, size."""
    theta, sizes = n[0], n.dims(1)
    rank = n.rank(theta)
    columns = n.extent(theta, 2) if rank == 3 else None
    if isinstance(columns, int) and columns in (3, 4):
        axes = columns - 1
    elif sizes is not None and len(sizes) in (4, 5):
        axes = len(sizes) - 2
    else:
        n.unsupported("AffineGrid needs to know whether it is over two or three axes", "declare the shape of theta")
    corners = n.attributes.flag("align_corners")
    matrices = theta if theta.type.dtype is DType.F64 else n.cast(theta, DType.F32)
    dtype = matrices.type.dtype
    if sizes is not None and is_static(sizes[2:]):
        places = constant(_positions(static(sizes[2:]), corners).astype(dtype.numpy))
        rows = n(MatMul(trans_b=True), places, matrices)
        grid = n(Reshape(shape=(sizes[0], *sizes[2:], axes)), rows)
    else:
        extents = [n(Gather(axis=0), n[1], constant(np.array(2 + i, np.int64))) for i in range(axes)]
        rows = n(MatMul(trans_b=True), _computed_positions(n, extents, dtype, corners), matrices)
        spatial = n(Slice(axes=(0,), starts=(2,), ends=(2 + axes,), steps=(1,)), n[1])
        batch = n(Slice(axes=(0,), starts=(0,), ends=(1,), steps=(1,)), n[1])
        grid = n(Reshape(), rows, n(Concat(axis=0), batch, spatial, constant(np.array([axes], np.int64))))
    return n.cast(grid, theta.type.dtype)


def _axis_positions(extent: int, align_corners: bool) -> Any:
    """From -1 to 1, at the centres of the outer elements or at their edges; an extent of 1 is at -1, or at 0."""
    if align_corners:
        return -1 + np.arange(extent) * (2 / (extent - 1) if extent > 1 else 0.0)
    return (2 * np.arange(extent) + 1) / max(extent, 1) - 1


def _positions(extents: tuple[int, ...], align_corners: bool) -> Any:
    """For every place of an image its homogeneous coordinates, the last axis first: [places, axes + 1]."""
    lines = [_axis_positions(extent, align_corners) for extent in extents]
    grids = np.meshgrid(*lines, indexing="ij")
    return np.stack([g.reshape(-1) for g in (*reversed(grids), np.ones_like(grids[0]))], axis=1)


def _computed_positions(n: OnnxNode, extents: list[Tensor], dtype: DType, align_corners: bool) -> Tensor:
    """`_positions` over extents that are known only at run time: i64 scalars."""
    zero, one = constant(np.array(0, np.int64)), constant(np.array(1, np.int64))
    whole = n(Concat(axis=0), *(n(Unsqueeze(axes=(0,)), d) for d in extents))
    parts: list[Tensor] = []
    for axis, extent in reversed(list(enumerate(extents))):
        index = n(Cast(to=dtype), n(Range(), zero, extent, one))
        size = n(Cast(to=dtype), extent)
        if align_corners:
            steps = n(Sub(), size, n.like(1, size))
            steps = n(Add(), steps, n(Cast(to=dtype), n(Equal(), extent, one)))  # an extent of 1 has no steps
            line = n(Sub(), n(Div(), n(Mul(), index, n.like(2, index)), steps), n.like(1, index))
        else:
            doubled = n(Add(), n(Mul(), index, n.like(2, index)), n.like(1, index))
            line = n(Sub(), n(Div(), doubled, size), n.like(1, index))
        behind = tuple(range(1, len(extents) - axis))
        parts.append(n(Expand(), n(Unsqueeze(axes=behind), line) if behind else line, whole))
    parts.append(n(Expand(), n.like(1, parts[0]), whole))
    columns = [n(Reshape(shape=(-1, 1)), part) for part in parts]
    return n(Concat(axis=1), *columns)


@FAMILY.op("DeformConv", 19, 22)
def _deform_conv(n: OnnxNode) -> Result:
    """Operands: X, W, offset, B, mask."""
    a = n.attributes
    check_kernel(n, n[1])
    op = DeformConv(
        strides=a.integers("strides", ()),
        pads=a.integers("pads", ()),
        dilations=a.integers("dilations", ()),
        groups=a.integer("group", 1),
        offset_groups=a.integer("offset_group", 1),
    )
    return n(op, n[0], n[1], n[2], n.optional(3), n.optional(4))


# ------------------------------------------------------------------------ regions and boxes
@FAMILY.op("RoiAlign", 10, 16, 22)
def _roi_align(n: OnnxNode) -> Result:
    """Version 10 knows no half-pixel shift."""
    a = n.attributes
    shifted = {"half_pixel": True, "output_half_pixel": False}
    op = RoiAlign(
        mode=a.choice("mode", "avg", _POOLINGS),
        height=a.integer("output_height", 1),
        width=a.integer("output_width", 1),
        sampling_ratio=a.integer("sampling_ratio", 0),
        spatial_scale=a.number("spatial_scale", 1.0),
        half_pixel=n.version >= 16 and a.choice("coordinate_transformation_mode", True, shifted),
    )
    return n(op, n[0], n[1], n[2])


@FAMILY.op("MaxRoiPool", 1, 22)
def _max_roi_pool(n: OnnxNode) -> Result:
    n.attributes.required("pooled_shape")
    pooled = n.attributes.integers("pooled_shape", ())
    if len(pooled) != 2:
        n.refuse(f"pooled_shape has {len(pooled)} numbers, needs height and width")
    scale = n.attributes.number("spatial_scale", 1.0)
    return n(MaxRoiPool(height=pooled[0], width=pooled[1], spatial_scale=scale), n[0], n[1])


@FAMILY.op("NonMaxSuppression", 10, 11)
def _non_max_suppression(n: OnnxNode) -> Result:
    """Operands: boxes, scores, the most boxes a class, IoU threshold, score threshold."""
    op = NonMaxSuppression(center=n.attributes.flag("center_point_box"))
    return n(op, n[0], n[1], *(n.optional(i) for i in (2, 3, 4)))


# ------------------------------------------------------------------------ blocks and unpooling
@FAMILY.op("Col2Im", 18)
def _col2im(n: OnnxNode) -> Result:
    """Operands: input, image_shape, block_shape."""
    a = n.attributes
    extents, kernel = n.dims(1), n.dims(2)
    known = kernel is not None and is_static(kernel)
    op = Fold(
        extents=extents,
        kernel=static(kernel) if kernel is not None and known else None,
        strides=a.integers("strides", ()),
        pads=a.integers("pads", ()),
        dilations=a.integers("dilations", ()),
    )
    return n(op, n[0], None if extents is not None else n[1], None if known else n[2])


@FAMILY.op("MaxUnpool", 9, 11, 22)
def _max_unpool(n: OnnxNode) -> Result:
    """Every element at its place in zeros. Operands: X, indices, output_shape.

    The indices count in the shape that kernel, strides and pads give. Where `output_shape` is another, the elements
    keep their coordinates.
    """
    x, indices = n[0], n[1]
    n.attributes.required("kernel_shape")
    kernel = n.attributes.integers("kernel_shape", ())
    rank = n.rank(x)
    strides = n.attributes.integers("strides", (1,) * len(kernel))
    pads = n.attributes.integers("pads", (0,) * (2 * len(kernel)))
    if not len(kernel) == len(strides) == len(pads) // 2 == rank - 2:
        n.refuse(f"kernel_shape, strides and pads must be for {rank - 2} axes")
    shape = n.shape(x)
    pooled: tuple[Dim, ...] = (
        *shape[:2],
        *(
            normal((d - 1) * s - pads[i] - pads[len(kernel) + i] + k)
            for i, (d, s, k) in enumerate(zip(shape[2:], strides, kernel, strict=True))
        ),
    )
    wanted = None if n.optional(2) is None else n.dims(2)
    if wanted is not None and len(wanted) != rank:
        n.refuse(f"output_shape has {len(wanted)} numbers, X has rank {rank}")
    if n.optional(2) is None or wanted == pooled:
        return n(Reshape(shape=pooled), _scattered(n, x, indices, product(pooled), None))
    moved = _moved(n, indices, pooled, wanted)
    if wanted is not None:
        return n(Reshape(shape=wanted), _scattered(n, x, moved, product(wanted), None))
    size = n(ReduceProd(axes=(0,)), n[2])
    return n(Reshape(), _scattered(n, x, moved, None, size), n[2])


def _scattered(n: OnnxNode, x: Tensor, indices: Tensor, size: Dim | None, computed: Tensor | None) -> Tensor:
    """A row of zeros with the elements of x at `indices`; its length is `size`, or the list of one in `computed`."""
    zero = n.like(0, x)
    if isinstance(size, int):
        zeros = n.filled(np.zeros((), x.type.dtype.numpy), x.type.dtype, (size,))
    elif size is not None:
        zeros = n(Expand(shape=(size,)), zero)
    else:
        zeros = n(Expand(), zero, computed)
    flat = Reshape(shape=(-1,))
    return n(ScatterElements(axis=0), zeros, n(flat, indices), n(flat, x))


def _moved(n: OnnxNode, indices: Tensor, old: tuple[Dim, ...], new: tuple[Dim, ...] | None) -> Tensor:
    """Places counted in the shape `old`, counted in the shape `new` (that operand 2 holds)."""
    if not is_static(old[1:]):
        n.unsupported("MaxUnpool with output_shape needs known extents", "fix the model's input shapes")
    rest = indices
    coordinates: list[Tensor] = []
    for extent in reversed(static(old[1:])):
        number = constant(np.array(extent, np.int64))
        coordinates.append(n(Mod(), rest, number))
        rest = n(IntDiv(), rest, number)
    place = rest
    for i, coordinate in enumerate(reversed(coordinates), 1):
        known = None if new is None else new[i]
        if isinstance(known, int):
            extent_there = constant(np.array(known, np.int64))
        else:
            extent_there = n(Gather(axis=0), n[2], constant(np.array(i, np.int64)))
        place = n(Add(), n(Mul(), place, extent_there), coordinate)
    return place


@FAMILY.op("CenterCropPad", 18)
def _center_crop_pad(n: OnnxNode) -> Result:
    """Per axis a Slice about the middle, or zeros on both sides. Operands: input, shape."""
    x = n[0]
    rank = n.rank(x)
    given = n.attributes.integers("axes", None)
    axes = tuple(range(rank)) if given is None else n.axes(given, rank)
    target = n.dims(1)
    if target is not None and len(target) != len(axes):
        n.refuse(f"shape has {len(target)} numbers for {len(axes)} axes")
    known = [n.extent(x, axis) for axis in axes]
    if target is None or not is_static(target) or not is_static(known):
        cropped = _computed_crop(n, x, axes, rank)
        if target is None:
            return cropped
        shape = list(n.shape(x))
        for axis, wanted in zip(axes, target, strict=True):
            shape[axis] = wanted
        return n(Reshape(shape=tuple(shape)), cropped)  # it has this shape: now its type says so
    if min(static(target), default=0) < 0:
        n.refuse(f"shape must not be negative, got {list(target)}")
    before, after = [0] * rank, [0] * rank
    for axis, extent, wanted in zip(axes, static(known), static(target), strict=True):
        # Half of the difference, towards zero, in front: the odd element is cropped, or put in, behind.
        before[axis] = int((wanted - extent) / 2)
        after[axis] = wanted - extent - before[axis]
    return n(Pad(pads=(*before, *after)), x) if any(before) or any(after) else x


def _computed_crop(n: OnnxNode, x: Tensor, axes: tuple[int, ...], rank: int) -> Tensor:
    """The padding (negative: cropping) computed from the shapes."""
    wanted = n.cast(n[1], DType.I64)
    order = constant(np.array(axes, np.int64))
    difference = n(Sub(), wanted, n(Gather(axis=0), n(ShapeOf(), x), order))
    before = n(IntDiv(), difference, constant(np.array(2, np.int64)))
    after = n(Sub(), difference, before)
    places = np.full(2 * rank, 2 * len(axes), np.int64)
    for i, axis in enumerate(axes):
        places[axis], places[rank + axis] = i, len(axes) + i
    numbers = n(Concat(axis=0), before, after, constant(np.zeros(1, np.int64)))
    return n(Pad(), x, n(Gather(axis=0), numbers, constant(places)))


# ------------------------------------------------------------------------ files
@FAMILY.op("ImageDecoder", 20)
def _image_decoder(n: OnnxNode) -> Result:
    return n(DecodeImage(pixel_format=n.attributes.choice("pixel_format", "rgb", _PIXELS)), n[0])
