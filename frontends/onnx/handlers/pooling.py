"""Pooling. Lp pooling is spelled out with powers and average pooling."""

from __future__ import annotations

import math
from typing import Any

from uair.frontends.onnx.handlers.convolution import spatial_rank, window
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.graph import Tensor
from uair.ops import (
    Abs,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPoolIndices,
    Mul,
    Pow,
    ReduceSum,
)

FAMILY = Family()

_MAX: dict[int, Any] = {1: MaxPool1D, 2: MaxPool2D, 3: MaxPool3D}
_AVERAGE: dict[int, Any] = {1: AvgPool1D, 2: AvgPool2D, 3: AvgPool3D}


def _pool(n: OnnxNode, classes: dict[int, Any], x: Tensor, **more: Any) -> Tensor:
    n.attributes.required("kernel_shape")
    rank = spatial_rank(n, x)
    kernel = n.attributes.integers("kernel_shape", ())
    attributes = window(n, rank)
    op = classes[rank](kernel=kernel, ceil_mode=n.attributes.flag("ceil_mode"), **attributes, **more)
    if op.auto_pad != "notset":
        op = classes[rank](kernel=kernel, **attributes, **more)  # SAME says how many windows there are
        if len(kernel) == len(op.strides) == len(op.dilations) == rank:
            op = op.with_explicit_pads(n.shape(x)[2:], kernel)
    return n(op, x)


@FAMILY.op("MaxPool", 1, 8, 10, 11, 12, 22)
def _max_pool(n: OnnxNode) -> Result:
    """The second result, indices, exists since version 8; `storage_order` concerns only that."""
    if not n.wants(1):
        return _pool(n, _MAX, n[0])
    n.attributes.required("kernel_shape")
    rank = spatial_rank(n, n[0])
    kernel = n.attributes.integers("kernel_shape", ())
    ceil_mode = n.attributes.flag("ceil_mode")
    attributes = window(n, rank)
    if attributes["auto_pad"] != "notset":
        ceil_mode = False  # SAME says how many windows there are
    op = MaxPoolIndices(
        kernel=kernel, ceil_mode=ceil_mode, column_major=n.attributes.flag("storage_order"), **attributes
    )
    return n.all(op, n[0])


def average_pool(n: OnnxNode, x: Tensor, *, count_include_pad: bool) -> Tensor:
    """Average pooling of x with the node's window."""
    return _pool(n, _AVERAGE, x, count_include_pad=count_include_pad)


@FAMILY.op("AveragePool", 1, 7, 10, 11, 19, 22)
def _average_pool(n: OnnxNode) -> Result:
    return _pool(n, _AVERAGE, n[0], count_include_pad=n.attributes.flag("count_include_pad"))


@FAMILY.op("LpPool", 2, 11, 18, 22)
def _lp_pool(n: OnnxNode) -> Result:
    """(sum |x|^p)^(1/p): the mean over the whole window, padding included, times its size."""
    x, p = n[0], n.attributes.integer("p", 2)
    if n.attributes.flag("ceil_mode"):
        n.unsupported("LpPool with ceil_mode is not supported")
    n.attributes.required("kernel_shape")
    powers = n(Pow(), n(Abs(), x), n.like(p, x))
    mean = _pool(n, _AVERAGE, powers, count_include_pad=True)
    total = n(Mul(), mean, n.like(math.prod(n.attributes.integers("kernel_shape", ())), x))
    return n(Pow(), total, n.like(1 / p, x))


@FAMILY.op("GlobalLpPool", 2, 22)
def _global_lp_pool(n: OnnxNode) -> Result:
    x, p = n[0], n.attributes.integer("p", 2)
    axes = tuple(range(2, n.rank(x)))
    return n(Pow(), n(ReduceSum(axes=axes), n(Pow(), n(Abs(), x), n.like(p, x))), n.like(1 / p, x))


@FAMILY.op("GlobalAveragePool", 1, 22)
def _global_average(n: OnnxNode) -> Result:
    return n(GlobalAvgPool(), n[0])


@FAMILY.op("GlobalMaxPool", 1, 22)
def _global_max(n: OnnxNode) -> Result:
    return n(GlobalMaxPool(), n[0])
