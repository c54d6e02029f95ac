"""Pooling. SAME padding is left out of averages, as in TensorFlow."""

from __future__ import annotations

from typing import Any

from uair.frontends.tensorflow.handlers.convolution import image, restored, spatial, window
from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.graph import Tensor
from uair.ops import AvgPool2D, AvgPool3D, MaxPool2D, MaxPool3D, MaxPoolIndices

FAMILY = Family()

_POOLS: dict[str, Any] = {
    "AvgPool": AvgPool2D,
    "AvgPool3D": AvgPool3D,
    "MaxPool": MaxPool2D,
    "MaxPool3D": MaxPool3D,
    "MaxPoolV2": MaxPool2D,
}


@FAMILY.op(*_POOLS)
def _pool(n: TfNode) -> Result:
    """MaxPoolV2 takes kernel and strides as operands."""
    x = image(n, n[0])
    operands = n.op_type == "MaxPoolV2"
    kernel = spatial(n, n.numbers(1, "the kernel") if operands else n.ints("ksize"), "ksize")
    strides = spatial(n, n.numbers(2, "the strides") if operands else n.ints("strides"), "strides")
    return restored(n, n(_POOLS[n.op_type](kernel=kernel, **window(n, x, kernel, strides)), x))


@FAMILY.several("output argmax", "MaxPoolWithArgmax")
def _max_pool_with_argmax(n: TfNode) -> Result:
    """Places count over [H, W, C] of an image, or over the whole batch."""
    x = image(n, n[0])
    kernel, strides = spatial(n, n.ints("ksize"), "ksize"), spatial(n, n.ints("strides"), "strides")
    y, places = n.all(MaxPoolIndices(kernel=kernel, **window(n, x, kernel, strides)), x)
    return [restored(n, y), n.cast(_channels_last_places(n, x, restored(n, places)), n.dtype("Targmax", "int64"))]


def _channels_last_places(n: TfNode, x: Tensor, places: Tensor) -> Tensor:
    """Places in [N, C, H, W] as places in [H, W, C], or in [N, H, W, C]."""
    from uair.ops import Add, IntDiv, Mod, Mul

    channels, height, width = (n.extent(x, i) for i in (1, 2, 3))
    if not (isinstance(channels, int) and isinstance(height, int) and isinstance(width, int)):
        n.refuse("the image's size must be known", "give the model's inputs fixed shapes")
    plane = n.like(height * width, places)
    floor, modulo = IntDiv(rounding="floor"), Mod(sign="divisor")
    at, rest = n(modulo, places, plane), n(floor, places, plane)
    channel = n(modulo, rest, n.like(channels, places))
    result = n(Add(), n(Mul(), at, n.like(channels, places)), channel)
    if n.flag("include_batch_in_index"):
        batch = n(floor, rest, n.like(channels, places))
        result = n(Add(), result, n(Mul(), batch, n.like(height * width * channels, places)))
    return result
