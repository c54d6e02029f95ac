"""Pooling over windows of images with the channels last."""

from __future__ import annotations

from typing import Any

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite.handlers.convolution import is_same, strides
from uair.frontends.tflite.litert import average, is_asked_for
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import AvgPool2D, MaxPool2D, Mul, Sqrt

FAMILY = Family()


def _window(n: TfliteNode) -> dict[str, Any]:
    kernel = (n.options.integer("filter_height"), n.options.integer("filter_width"))
    if min(kernel) < 1:
        n.refuse(f"the window must have an extent, it has {list(kernel)}")
    return {
        "kernel": kernel,
        "strides": strides(n, 2),
        "auto_pad": "same_upper" if is_same(n) else "notset",
    }


def _pooled(n: TfliteNode, x: Tensor, op: AvgPool2D | MaxPool2D) -> Tensor:
    if n.rank(x) != 4:
        n.refuse(f"an image of 4 axes is needed, it has {n.rank(x)}")
    first = channels_first(n, x)
    return channels_last(n, n(op.with_explicit_pads(n.shape(first)[2:], op.kernel), first))


@FAMILY.op("MAX_POOL_2D")
def _max_pool(n: TfliteNode) -> Result:
    return n.activated(_pooled(n, n[0], MaxPool2D(**_window(n))))


@FAMILY.op("AVERAGE_POOL_2D")
def _average_pool(n: TfliteNode) -> Result:
    """What is padded does not count."""
    op = AvgPool2D(**_window(n))
    if is_asked_for(n):
        return average(n, _pooled(n, n.cast(n.raw(0), DType.F32), op))
    return n.activated(_pooled(n, n[0], op))


@FAMILY.op("L2_POOL_2D")
def _l2_pool(n: TfliteNode) -> Result:
    """The root of the mean of squares."""
    x = n[0]
    return n.activated(n(Sqrt(), _pooled(n, n(Mul(), x, x), AvgPool2D(**_window(n)))))
