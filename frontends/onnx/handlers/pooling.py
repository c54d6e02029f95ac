"""Pooling. Lp pooling is spelled out with powers and average pooling."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import attrs

from uair.frontends.onnx.handlers.convolution import spatial_rank, window
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Abs,
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    Cast,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPoolIndices,
    Mul,
    Pow,
    ReduceSum,
    Sqrt,
    Transpose,
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


@FAMILY.op("NhwcMaxPool", 1, domain="com.microsoft")
def _nhwc_max_pool(n: OnnxNode) -> Result:
    """MaxPool of images whose channels come last."""
    rank = n.rank(n[0])
    first = n(Transpose(perm=(0, rank - 1, *range(1, rank - 1))), n[0])
    return n(Transpose(perm=(0, *range(2, rank), 1)), _pool(n, _MAX, first))


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


def _power(n: OnnxNode) -> float:
    """The attribute p: a float in version 1, an integer since."""
    p = n.attributes.number("p", 2.0) if n.version == 1 else float(n.attributes.integer("p", 2))
    if not p > 0 or math.isinf(p):
        n.refuse(f"p must be positive, is {p}")
    return p


def _norm(n: OnnxNode, total: Callable[[Tensor], Tensor]) -> Tensor:
    """total(|x|^p)^(1/p), computed in f32 when x is narrower: a power of an f16 number is soon out of range."""
    x, p = n[0], _power(n)
    wide = n(Cast(to=DType.F32), x) if x.type.dtype.bits < 32 else x
    if p == 2:
        y = n(Sqrt(), total(n(Mul(), wide, wide)))
    elif p == 1:
        y = total(n(Abs(), wide))
    else:
        y = n(Pow(), total(n(Pow(), n(Abs(), wide), n.like(p, wide))), n.like(1 / p, wide))
    return n.cast(y, x.type.dtype)


@FAMILY.op("LpPool", 1, 2, 11, 18, 22)
def _lp_pool(n: OnnxNode) -> Result:
    """The sum over a window is the mean, padding included, times its size. Version 1 may leave its extents out."""
    n.attributes.required("kernel_shape")
    size = math.prod(n.attributes.integers("kernel_shape", ()))
    pool = _padded_pool if n.attributes.flag("ceil_mode") else _mean_with_padding

    def total(powers: Tensor) -> Tensor:
        return n(Mul(), pool(n, powers), n.like(size, powers))

    return _norm(n, total)


def _mean_with_padding(n: OnnxNode, x: Tensor) -> Tensor:
    return average_pool(n, x, count_include_pad=True)


def _padded_pool(n: OnnxNode, x: Tensor) -> Tensor:
    """The mean over windows that may reach beyond the padding: it is made as long as they are."""
    rank = spatial_rank(n, x)
    kernel, attributes = n.attributes.integers("kernel_shape", ()), window(n, rank)
    if attributes["auto_pad"] != "notset":
        return _mean_with_padding(n, x)
    spatial, lists = n.shape(x)[2:], (kernel, attributes["strides"], attributes["dilations"])
    if any(len(v) != rank for v in lists) or len(attributes["pads"]) != 2 * rank:
        return _mean_with_padding(n, x)  # which says what is wrong
    if not is_static(spatial):
        n.unsupported(f"{n.op_type} with ceil_mode needs known extents", "fix the model's input shapes")
    op = _AVERAGE[rank](kernel=kernel, ceil_mode=True, count_include_pad=True, **attributes)
    counts, pads = op.extents_and_pads(static(spatial))
    ends = [
        max((count - 1) * s + d * (k - 1) + 1 - extent - begin, 0)
        for count, s, d, k, extent, begin in zip(
            counts, op.strides, op.dilations, kernel, static(spatial), pads[:rank], strict=True
        )
    ]
    return n(attrs.evolve(op, ceil_mode=False, pads=(*pads[:rank], *ends)), x)


@FAMILY.op("GlobalLpPool", 1, 2, 22)
def _global_lp_pool(n: OnnxNode) -> Result:
    axes = tuple(range(2, n.rank(n[0])))
    return _norm(n, lambda powers: n(ReduceSum(axes=axes), powers))


@FAMILY.op("GlobalAveragePool", 1, 22)
def _global_average(n: OnnxNode) -> Result:
    return n(GlobalAvgPool(), n[0])


@FAMILY.op("GlobalMaxPool", 1, 22)
def _global_max(n: OnnxNode) -> Result:
    return n(GlobalMaxPool(), n[0])
