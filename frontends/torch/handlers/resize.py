"""Resampling: interpolate in all its modes, and grid_sample."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from uair import ops
from uair.frontends.torch.node import Family, TorchNode
from uair.ir.dims import is_static
from uair.ir.graph import Tensor
from uair.ops.resize import scaled_extent

FAMILY = Family()

_NEAREST = {"mode": "nearest", "coordinate_mode": "asymmetric", "nearest_mode": "floor"}
_EXACT = {"mode": "nearest", "coordinate_mode": "half_pixel", "nearest_mode": "round_prefer_ceil"}
_LINEAR = {"mode": "linear", "coordinate_mode": "half_pixel"}
_CUBIC = {"mode": "cubic", "coordinate_mode": "half_pixel", "cubic_a": -0.75}
_SMOOTH_LINEAR = {**_LINEAR, "antialias": True, "exclude_outside": True}
_SMOOTH_CUBIC = {**_CUBIC, "cubic_a": -0.5, "antialias": True, "exclude_outside": True}
"""Antialiasing follows Pillow, whose cubic kernel has the parameter -0.5."""


def _resize(attributes: Mapping[str, Any]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        x = node.tensor("input" if "input" in node.values else "self")
        options = dict(attributes)
        if node.get("align_corners", False):
            options["coordinate_mode"] = "align_corners"
        return node(ops.Resize(**options, **_extents(node, x)), x)

    return handler


def _extents(node: TorchNode, x: Tensor) -> dict[str, Any]:
    """The extents of the result, or the scales: a scale that is given decides the coordinates, too.

    PyTorch rounds extent * scale down in f64, the operator in f32: where both differ the extents are given as well.
    """
    spatial = node.shape(x)[2:]
    scales = _scales(node, len(spatial))
    wanted = node.result.dims[2:]
    sizes = (*node.shape(x)[:2], *wanted)
    if scales is None:
        return {"sizes": sizes}
    given = {"scales": (1.0, 1.0, *scales)}
    if is_static(wanted) and [scaled_extent(d, s) for d, s in zip(spatial, scales, strict=True)] != list(wanted):
        return {**given, "sizes": sizes}
    return given


def _scales(node: TorchNode, rank: int) -> tuple[float, ...] | None:
    """The scale of every spatial axis, in either form of the operator; None when the extents alone are given."""
    given = node.get("scale_factors")
    if given is None:
        names = {1: ("scales",), 2: ("scales_h", "scales_w"), 3: ("scales_d", "scales_h", "scales_w")}[rank]
        given = tuple(node.get(name) for name in names)
        if any(s is None for s in given):
            return None
    if not all(isinstance(s, (int, float)) for s in given):
        node.refuse("the scale must be a number", "export the model with fixed sizes, or give `size`")
    return tuple(float(s) for s in given)


_MODES: dict[str, Mapping[str, Any]] = {
    "upsample_nearest1d": _NEAREST,
    "upsample_nearest2d": _NEAREST,
    "upsample_nearest3d": _NEAREST,
    "_upsample_nearest_exact1d": _EXACT,
    "_upsample_nearest_exact2d": _EXACT,
    "_upsample_nearest_exact3d": _EXACT,
    "upsample_linear1d": _LINEAR,
    "upsample_bilinear2d": _LINEAR,
    "upsample_trilinear3d": _LINEAR,
    "upsample_bicubic2d": _CUBIC,
    "_upsample_bilinear2d_aa": _SMOOTH_LINEAR,
    "_upsample_bicubic2d_aa": _SMOOTH_CUBIC,
}
for _name, _attributes in _MODES.items():
    FAMILY.add(f"aten.{_name}", _resize(_attributes))


_SAMPLE_MODES: tuple[Literal["linear", "nearest", "cubic"], ...] = ("linear", "nearest", "cubic")
_SAMPLE_PADDINGS: tuple[Literal["zeros", "border", "reflection"], ...] = ("zeros", "border", "reflection")


@FAMILY.op("aten.grid_sampler", "aten.grid_sampler_2d", "aten.grid_sampler_3d")
def _grid_sampler(node: TorchNode) -> Tensor:
    """The modes are numbers, in the order of torch.nn.functional.grid_sample's documentation."""
    op = ops.GridSample(
        mode=_SAMPLE_MODES[node.get("interpolation_mode")],
        padding=_SAMPLE_PADDINGS[node.get("padding_mode")],
        align_corners=bool(node.get("align_corners")),
    )
    return node(op, node.tensor("input"), node.tensor("grid"))
