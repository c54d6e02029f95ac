"""Pooling: windows, whole images, and windows that follow from the result's size."""

from __future__ import annotations

from typing import Any

from uair import ops
from uair.frontends.common import pooling as adaptive
from uair.frontends.keras.handlers.convolution import padding_of
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dims import is_static, static
from uair.ir.graph import Tensor
from uair.ops._windows import same_pads

FAMILY = Family()

_POOLS: dict[str, dict[int, Any]] = {
    "Max": {1: ops.MaxPool1D, 2: ops.MaxPool2D, 3: ops.MaxPool3D},
    "Average": {1: ops.AvgPool1D, 2: ops.AvgPool2D, 3: ops.AvgPool3D},
}


@FAMILY.op(*(f"{kind}Pooling{rank}D" for kind in _POOLS for rank in (1, 2, 3)))
def _pool(n: KerasNode) -> Result:
    """The padding of "same" takes no part: it never wins, and is not counted in the mean."""
    kind, rank = n.op_type.split("Pooling")[0], int(n.op_type[-2])
    x = n.image(n.x, rank)
    size = n.tuple_of("pool_size", rank, 2)
    strides = size if n.layer.config.get("strides") is None else n.tuple_of("strides", rank)
    return n.picture(pooled(n, x, kind, size, strides, same=padding_of(n) == "same"))


def pooled(
    n: KerasNode, x: Tensor, kind: str, size: tuple[int, ...], strides: tuple[int, ...], *, same: bool
) -> Tensor:
    """A pool over x [N, C, spatial...]."""
    spatial, rank = n.shape(x)[2:], len(size)
    n.require(min(size + strides) >= 1, "pool_size and strides must be at least 1")
    pads, auto = (0,) * (2 * rank), "notset"
    if same and is_static(spatial):
        pairs = [same_pads(e, k, s, 1, "same_upper") for e, k, s in zip(static(spatial), size, strides, strict=True)]
        pads = tuple(begin for begin, _ in pairs) + tuple(end for _, end in pairs)
    elif same:
        auto = "same_upper"
    op = _POOLS[kind][rank](kernel=size, strides=strides, pads=pads, dilations=(1,) * rank, auto_pad=auto)
    return n(op, x)


@FAMILY.op(*(f"Global{kind}Pooling{rank}D" for kind in _POOLS for rank in (1, 2, 3)))
def _global(n: KerasNode) -> Result:
    """The mean or maximum of every channel; the axes stay with keepdims."""
    rank = int(n.op_type[-2])
    given = n.x
    if rank == 1 and "Average" in n.op_type and (mask := _step_mask(n, given)) is not None:
        return _masked_mean(n, given, mask)
    x = n.image(given, rank)
    y = n(ops.GlobalMaxPool() if "Max" in n.op_type else ops.GlobalAvgPool(), x)
    return n.picture(y) if n.flag("keepdims") else n.reshaped(y, n.shape(y)[:2])


def _step_mask(n: KerasNode, x: Tensor) -> Tensor | None:
    return n.optional(1, "mask") or n.mask_of(x)


def _masked_mean(n: KerasNode, x: Tensor, mask: Tensor) -> Tensor:
    """The mean over the steps that count."""
    steps = 1 if n.channels_last else 2
    batch, count = n.shape(mask)
    weights = n.reshaped(n.cast(mask, x.type.dtype), (batch, count, 1) if n.channels_last else (batch, 1, count))
    keep = n.flag("keepdims")
    total = n(ops.ReduceSum(axes=(steps,), keepdims=keep), n(ops.Mul(), x, weights))
    return n(ops.Div(), total, n(ops.ReduceSum(axes=(steps,), keepdims=keep), weights))


@FAMILY.op(*(f"Adaptive{kind}Pooling{rank}D" for kind in _POOLS for rank in (1, 2, 3)))
def _adaptive(n: KerasNode) -> Result:
    """Pooling with one window, or over everything, where the extents divide."""
    greatest, rank = "Max" in n.op_type, int(n.op_type[-2])
    x = n.image(n.x, rank)
    spatial = n.shape(x)[2:]
    if not is_static(spatial):
        n.refuse("the extents must be known", "declare the shape of the model's input")
    size = n.tuple_of("output_size", rank)
    n.require(min(size) >= 1, "output_size must be at least 1")
    if max(size) == 1:
        return n.picture(n(ops.GlobalMaxPool() if greatest else ops.GlobalAvgPool(), x))
    window = adaptive.even_window(static(spatial), size)
    if window is not None:
        return n.picture(pooled(n, x, "Max" if greatest else "Average", window["kernel"], window["kernel"], same=False))
    return n.picture(adaptive.maximum(n, x, size) if greatest else adaptive.average(n, x, size))
