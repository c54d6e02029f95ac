"""Resampling: Upsample 7 and 9, Resize 10 to 19.

Upsample and Resize 10 know one way to compute coordinates (asymmetric, nearest by floor); Resize 11 has attributes for
it with other defaults (half_pixel, round_prefer_floor), 18 adds axes, anti-aliasing and aspect ratios.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, Shape
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import Cast, Concat, Gather, Resize

FAMILY = Family()

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
_COORDINATES = {
    c: c for c in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                   "tf_half_pixel_for_nn", "tf_crop_and_resize")
}  # fmt: skip
_NEAREST = {c: c for c in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")}
_ASPECT = {c: c for c in ("stretch", "not_larger", "not_smaller")}


def _asymmetric(n: OnnxNode, scales: tuple[float, ...] | None, operand: Tensor | None) -> Tensor:
    mode = n.attributes.choice("mode", "nearest", _MODES)
    op = Resize(scales=scales, mode=_mode(mode), coordinate_mode="asymmetric", nearest_mode="floor")
    return n(op, n[0]) if scales is not None else n(op, n[0], None, operand)


def _mode(text: str) -> Any:
    return text


@FAMILY.op("Upsample", 7)
def _upsample_7(n: OnnxNode) -> Result:
    n.attributes.required("scales")
    return _asymmetric(n, n.attributes.numbers("scales", ()), None)


@FAMILY.op("Upsample", 9, 10)
@FAMILY.op("Resize", 10)
def _upsample(n: OnnxNode) -> Result:
    return _asymmetric(n, n.numbers(1), n[1])


@FAMILY.op("Resize", 11, 13, 18, 19)
def _resize(n: OnnxNode) -> Result:
    """Operands: X, roi, scales, sizes. An empty list of scales stands for none, as in version 11."""
    a, x = n.attributes, n[0]
    coordinates = a.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES)
    if coordinates == "tf_crop_and_resize":
        n.unsupported("Resize with tf_crop_and_resize is not supported")
    op_attributes: dict[str, Any] = {
        "mode": a.choice("mode", "nearest", _MODES),
        "coordinate_mode": coordinates,
        "nearest_mode": a.choice("nearest_mode", "round_prefer_floor", _NEAREST),
        "cubic_a": a.number("cubic_coeff_a", -0.75),
        "exclude_outside": a.flag("exclude_outside"),
        "antialias": a.flag("antialias"),
    }
    axes = a.integers("axes", None)
    rank = n.rank(x)
    places = tuple(range(rank)) if axes is None else n.axes(axes, rank)
    scales_given = n.optional(2) is not None and n.shape(n[2]) != (0,)
    sizes_given = n.optional(3) is not None and n.shape(n[3]) != (0,)
    if scales_given == sizes_given:
        n.refuse("either scales or sizes must be given")
    if scales_given:
        return _by_scales(n, x, places, op_attributes)
    return _by_sizes(n, x, places, op_attributes)


def _by_scales(n: OnnxNode, x: Tensor, axes: tuple[int, ...], attributes: dict[str, Any]) -> Tensor:
    rank = n.rank(x)
    scales = n.numbers(2)
    if scales is None:
        return n(Resize(**attributes), x, None, _spread(n, n[2], constant(np.ones(rank, np.float32)), axes, rank))
    if len(scales) != len(axes):
        n.refuse(f"scales has {len(scales)} numbers for {len(axes)} axes")
    full = [1.0] * rank
    for axis, scale in zip(axes, scales, strict=True):
        full[axis] = scale
    return n(Resize(scales=tuple(full), **attributes), x)


def _by_sizes(n: OnnxNode, x: Tensor, axes: tuple[int, ...], attributes: dict[str, Any]) -> Tensor:
    from uair.ops import ShapeOf

    shape = n.shape(x)
    policy = n.attributes.choice("keep_aspect_ratio_policy", "stretch", _ASPECT)
    sizes = n.dims(3)
    if sizes is None:
        if policy != "stretch":
            n.unsupported("Resize that keeps the aspect ratio needs sizes known when the model is read")
        wanted = n(Cast(to=DType.I64), n[3])
        return n(Resize(**attributes), x, _spread(n, wanted, n(ShapeOf(), x), axes, len(shape)))
    if len(sizes) != len(axes):
        n.refuse(f"sizes has {len(sizes)} numbers for {len(axes)} axes")
    full: list[Dim] = list(shape)
    for axis, size in zip(axes, sizes, strict=True):
        full[axis] = size
    scales = None
    if policy != "stretch":
        full, scales = _keep_aspect(n, shape, axes, sizes, larger=policy == "not_smaller")
    return n(Resize(sizes=tuple(full), scales=scales, **attributes), x)


def _keep_aspect(
    n: OnnxNode, shape: Shape, axes: tuple[int, ...], sizes: Shape, *, larger: bool
) -> tuple[list[Dim], tuple[float, ...]]:
    """One scale for all axes: the least (or greatest) that sizes ask for; extents are rounded, halves upwards."""
    pairs = [(shape[axis], size) for axis, size in zip(axes, sizes, strict=True)]
    if not all(isinstance(d, int) and isinstance(s, int) and d > 0 for d, s in pairs):
        n.unsupported("Resize that keeps the aspect ratio needs known extents", "fix the model's input shapes")
    ratios = [s / d for d, s in pairs if isinstance(s, int) and isinstance(d, int)]
    scale = max(ratios) if larger else min(ratios)
    full: list[Dim] = list(shape)
    scales = [1.0] * len(shape)
    for axis in axes:
        extent = shape[axis]
        assert isinstance(extent, int)
        full[axis] = math.floor(scale * extent + 0.5)
        scales[axis] = scale
    return full, tuple(scales)


def _spread(n: OnnxNode, values: Tensor, rest: Tensor, axes: tuple[int, ...], rank: int) -> Tensor:
    """A list over all axes from one over `axes` and what holds for the others."""
    if axes == tuple(range(rank)):
        return values
    order = [len(axes) + i for i in range(rank)]
    for position, axis in enumerate(axes):
        order[axis] = position
    return n(Gather(axis=0), n(Concat(axis=0), values, rest), constant(np.array(order, np.int64)))
