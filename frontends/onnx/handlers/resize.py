"""Resampling: Upsample 1 to 9, Resize 10 to 19.

Upsample and Resize 10 know one way to compute coordinates (asymmetric; nearest by floor, where an axis shrinks by
ceil); Resize 11 has attributes for it with other defaults (half_pixel, round_prefer_floor), 18 adds axes, anti-aliasing
and aspect ratios.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import Dim, is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import Cast, Concat, Gather, Maximum, Minimum, Resize, ShapeOf
from uair.ops._resample import NearestMode

FAMILY = Family()

_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "cubic": "cubic"}
_COORDINATES = {
    c: c for c in ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric",
                   "tf_half_pixel_for_nn", "tf_crop_and_resize")
}  # fmt: skip
_NEAREST = {c: c for c in ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")}
_ASPECT = {c: c for c in ("stretch", "not_larger", "not_smaller")}


def _asymmetric(
    n: OnnxNode, x: Tensor, scales: tuple[float, ...] | None, operand: Tensor | None, nearest: NearestMode = "floor"
) -> Tensor:
    mode = n.attributes.choice("mode", "nearest", _MODES)
    op = Resize(scales=scales, mode=_mode(mode), coordinate_mode="asymmetric", nearest_mode=nearest)
    return n(op, x) if scales is not None else n(op, x, None, operand)


def _mode(text: str) -> Any:
    return text


@FAMILY.op("Upsample", 1)
def _upsample_1(n: OnnxNode) -> Result:
    """Version 1 enlarges the height and width of images."""
    a = n.attributes
    for name in ("height_scale", "width_scale"):
        a.required(name)
    if n.rank(n[0]) != 4:
        n.refuse(f"version 1 takes images of rank 4, X has rank {n.rank(n[0])}")
    return _asymmetric(n, n[0], (1.0, 1.0, a.number("height_scale", 1.0), a.number("width_scale", 1.0)), None)


@FAMILY.op("Upsample", 7)
def _upsample_7(n: OnnxNode) -> Result:
    n.attributes.required("scales")
    return _asymmetric(n, n[0], n.attributes.numbers("scales", ()), None)


@FAMILY.op("Upsample", 9, 10)
def _upsample(n: OnnxNode) -> Result:
    return _asymmetric(n, n[0], n.numbers(1), n[1])


@FAMILY.op("Resize", 10)
def _resize_10(n: OnnxNode) -> Result:
    """Axes that shrink take the element behind the coordinate (onnx 1.5's own test, onnxruntime), the others before."""
    x, scales = n[0], n.numbers(1)
    nearest = n.attributes.choice("mode", "nearest", _MODES) == "nearest"
    if not nearest or (scales is not None and min(scales, default=1.0) >= 1):
        return _asymmetric(n, x, scales, n[1])
    if scales is None:
        one = n.like(1, n[1])
        x = _asymmetric(n, x, None, n(Minimum(), n[1], one), "ceil")
        return _asymmetric(n, x, None, n(Maximum(), n[1], one))
    x = _asymmetric(n, x, tuple(min(s, 1.0) for s in scales), None, "ceil")
    return x if max(scales) <= 1 else _asymmetric(n, x, tuple(max(s, 1.0) for s in scales), None)


@FAMILY.op("Resize", 11, 13, 18, 19)
def _resize(n: OnnxNode) -> Result:
    """Operands: X, roi, scales, sizes. An empty list of scales stands for none, as in version 11."""
    a, x = n.attributes, n[0]
    coordinates = a.choice("coordinate_transformation_mode", "half_pixel", _COORDINATES)
    op_attributes: dict[str, Any] = {
        "mode": a.choice("mode", "nearest", _MODES),
        "coordinate_mode": coordinates,
        "nearest_mode": a.choice("nearest_mode", "round_prefer_floor", _NEAREST),
        "cubic_a": a.number("cubic_coeff_a", -0.75),
        "exclude_outside": a.flag("exclude_outside"),
        "antialias": a.flag("antialias"),
        "extrapolation": a.number("extrapolation_value", 0.0),
    }
    axes = a.integers("axes", None)
    rank = n.rank(x)
    places = tuple(range(rank)) if axes is None else n.axes(axes, rank)
    scales_given = n.optional(2) is not None and n.shape(n[2]) != (0,)
    sizes_given = n.optional(3) is not None and n.shape(n[3]) != (0,)
    if scales_given == sizes_given:
        n.refuse("either scales or sizes must be given")
    operands: list[Tensor | None]
    if scales_given:
        operands = [None, _scales(n, places, op_attributes)]
    else:
        operands = [_sizes(n, places, op_attributes), None]
    if coordinates == "tf_crop_and_resize":
        operands.append(_roi(n, places, op_attributes))
    return n(Resize(**op_attributes), x, *operands)


def _scales(n: OnnxNode, axes: tuple[int, ...], attributes: dict[str, Any]) -> Tensor | None:
    """Scales for all axes: as an attribute, or the operand that computes them."""
    rank = n.rank(n[0])
    scales = n.numbers(2)
    if scales is None:
        return _spread(n, n[2], constant(np.ones(rank, np.float32)), axes, rank)
    if len(scales) != len(axes):
        n.refuse(f"scales has {len(scales)} numbers for {len(axes)} axes")
    full = [1.0] * rank
    for axis, scale in zip(axes, scales, strict=True):
        full[axis] = scale
    attributes["scales"] = tuple(full)
    return None


def _sizes(n: OnnxNode, axes: tuple[int, ...], attributes: dict[str, Any]) -> Tensor | None:
    """Sizes for all axes, and the scales where the aspect ratio is kept and the extents are known."""
    shape = n.shape(n[0])
    policy = n.attributes.choice("keep_aspect_ratio_policy", "stretch", _ASPECT)
    sizes = n.dims(3)
    if policy != "stretch":
        attributes |= {"aspect": policy, "axes": axes}
    if sizes is None:
        return _spread(n, n(Cast(to=DType.I64), n[3]), n(ShapeOf(), n[0]), axes, len(shape))
    if len(sizes) != len(axes):
        n.refuse(f"sizes has {len(sizes)} numbers for {len(axes)} axes")
    full: list[Dim] = list(shape)
    for axis, size in zip(axes, sizes, strict=True):
        full[axis] = size
    attributes["sizes"] = tuple(full)
    if policy != "stretch" and is_static(shape) and is_static(full):
        extents, scales = Resize(**attributes).kept(static(shape), static(full))
        attributes |= {"aspect": "stretch", "axes": None, "sizes": extents, "scales": scales}
    return None


def _roi(n: OnnxNode, axes: tuple[int, ...], attributes: dict[str, Any]) -> Tensor | None:
    """Starts, then ends of the crop for all axes; axes that are not named are taken whole."""
    rank, count = n.rank(n[0]), len(axes)
    if n.optional(1) is None:
        n.refuse("tf_crop_and_resize needs roi")
    roi = n.numbers(1)
    if roi is not None:
        if len(roi) != 2 * count:
            n.refuse(f"roi has {len(roi)} numbers for {count} axes")
        full = [0.0] * rank + [1.0] * rank
        for i, axis in enumerate(axes):
            full[axis], full[rank + axis] = roi[i], roi[count + i]
        attributes["roi"] = tuple(full)
        return None
    given = n.cast(n[1], DType.F32)
    places = [2 * count] * rank + [2 * count + 1] * rank
    for i, axis in enumerate(axes):
        places[axis], places[rank + axis] = i, count + i
    values = n(Concat(axis=0), given, constant(np.array([0, 1], np.float32)))
    return n(Gather(axis=0), values, constant(np.array(places, np.int64)))


def _spread(n: OnnxNode, values: Tensor, rest: Tensor, axes: tuple[int, ...], rank: int) -> Tensor:
    """A list over all axes from one over `axes` and what holds for the others."""
    if axes == tuple(range(rank)):
        return values
    order = [len(axes) + i for i in range(rank)]
    for position, axis in enumerate(axes):
        order[axis] = position
    return n(Gather(axis=0), n(Concat(axis=0), values, rest), constant(np.array(order, np.int64)))
