"""Resampling of images."""

from __future__ import annotations

from typing import Any, cast

import attrs

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import Concat, Resize, ShapeOf, Slice

FAMILY = Family()

_MODES: dict[str, dict[str, Any]] = {
    "ResizeBilinear": {"mode": "linear"},
    "ResizeBicubic": {"mode": "cubic"},
    "ResizeNearestNeighbor": {"mode": "nearest"},
}


@FAMILY.op("ResizeBilinear", "ResizeBicubic", "ResizeNearestNeighbor")
def _resize(n: TfNode) -> Result:
    """Corners aligned, pixels as squares (half_pixel_centers), or, from TensorFlow 1, neither.

    Bilinear and bicubic resampling gives f32. Bicubic: a = -0.5 with weights outside of the image left out when pixels
    are squares, -0.75 with the border continued otherwise (tensorflow/core/kernels/image/resize_bicubic_op.cc).
    """
    align, half = n.flag("align_corners"), n.flag("half_pixel_centers")
    attributes = dict(_MODES[n.op_type])
    attributes["coordinate_mode"] = "align_corners" if align else "half_pixel" if half else "asymmetric"
    if attributes["mode"] == "nearest":
        attributes["nearest_mode"] = "round_prefer_ceil" if align else "floor"
        if half and not align:
            attributes["coordinate_mode"] = "tf_half_pixel_for_nn"
    elif attributes["mode"] == "cubic":
        attributes |= {"cubic_a": -0.5 if half else -0.75, "exclude_outside": half}
    x = n[0] if attributes["mode"] == "nearest" else n.cast(n[0], DType.F32)
    return channels_last(n, resampled(n, Resize(**attributes), channels_first(n, x), n[1]))


def resampled(n: TfNode, op: Resize, x: Tensor, size: Tensor) -> Tensor:
    """An image with channels first in the size [height, width]."""
    dims = n.dims(size)
    if dims is not None and len(dims) == 2:
        return n(attrs.evolve(cast(Any, op), sizes=(*n.shape(x)[:2], *dims)), x)
    whole = n(ShapeOf(), x)
    first = n(Slice(axes=(0,), starts=(0,), ends=(2,), steps=(1,)), whole)
    return n(op, x, n(Concat(axis=0), first, n.cast(size, DType.I64)))
