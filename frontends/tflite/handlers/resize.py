"""Resampling of images with the channels last."""

from __future__ import annotations

from typing import Any

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.graph import Tensor
from uair.ops import Concat, Resize, ShapeOf

FAMILY = Family()


def _resized(n: TfliteNode, **attributes: Any) -> Tensor:
    x = channels_first(n, n[0])
    if n.rank(x) != 4:
        n.refuse(f"an image of 4 axes is needed, it has {n.rank(x)}")
    sizes = n.dims(n.raw(1))
    if sizes is None:
        front = n(ShapeOf(start=0, end=2), x)
        wanted = n(Concat(axis=0), front, n.i64(n.raw(1)))
        return channels_last(n, n(Resize(**attributes), x, wanted))
    if len(sizes) != 2:
        n.refuse(f"height and width are needed, got {len(sizes)} numbers")
    return channels_last(n, n(Resize(sizes=(*n.shape(x)[:2], *sizes), **attributes), x))


@FAMILY.op("RESIZE_BILINEAR")
def _bilinear(n: TfliteNode) -> Result:
    """Coordinates: those of corners aligned, of the centres of pixels, or neither (TensorFlow 1)."""
    if n.options.flag("align_corners"):
        return _resized(n, mode="linear", coordinate_mode="align_corners")
    centres = n.options.flag("half_pixel_centers")
    return _resized(n, mode="linear", coordinate_mode="half_pixel" if centres else "asymmetric")


@FAMILY.op("RESIZE_NEAREST_NEIGHBOR")
def _nearest(n: TfliteNode) -> Result:
    """Aligned corners round halves away from zero, the others take the place before."""
    if n.options.flag("align_corners"):
        return _resized(n, mode="nearest", coordinate_mode="align_corners", nearest_mode="round_prefer_ceil")
    centres = n.options.flag("half_pixel_centers")
    coordinates = "tf_half_pixel_for_nn" if centres else "asymmetric"
    return _resized(n, mode="nearest", coordinate_mode=coordinates, nearest_mode="floor")
