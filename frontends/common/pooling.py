"""Adaptive pooling: the result's extents are given, window i goes from floor(i D / T) to ceil((i + 1) D / T).

D is the operand's extent, T the result's, as torch.nn.AdaptiveAvgPool2d and keras.layers.AdaptiveAveragePooling2D have
it. Operands are [N, C, spatial...] with known spatial extents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uair import ops
from uair.frontends.common.node import Emitter
from uair.ir.dims import product, static
from uair.ir.graph import Tensor, constant

Bounds = Sequence["tuple[int, int]"]


def even_window(extents: Sequence[int], targets: Sequence[int]) -> dict[str, Any] | None:
    """The attributes of the pooling that it is where every extent is a multiple of the result's; None elsewhere."""
    if any(not t or d % t for d, t in zip(extents, targets, strict=True)):
        return None
    kernel = tuple(d // t for d, t in zip(extents, targets, strict=True))
    return {"kernel": kernel, "strides": kernel, "pads": (0,) * (2 * len(kernel)), "ceil_mode": False}


def windows(extent: int, target: int) -> Bounds:
    """The first place of every window, and the one behind its last."""
    return [(i * extent // target, -(-(i + 1) * extent // target)) for i in range(target)]


def average(node: Emitter, x: Tensor, targets: Sequence[int]) -> Tensor:
    """The means of all windows, axis by axis."""
    for axis, (extent, target) in enumerate(zip(static(node.shape(x)[2:]), targets, strict=True), start=2):
        if target != extent:
            x = _averaged(node, x, axis, windows(extent, target))
    return x


def _averaged(node: Emitter, x: Tensor, axis: int, bounds: Bounds) -> Tensor:
    """The means of ranges of an axis, as a product with the matrix of the weights."""
    shape = node.shape(x)
    extent = shape[axis]
    assert isinstance(extent, int)
    weights = np.zeros((len(bounds), extent), x.type.dtype.numpy)
    for i, (start, end) in enumerate(bounds):
        weights[i, start:end] = 1 / (end - start)
    matrix = constant(weights)
    if axis == len(shape) - 1:
        return node(ops.MatMul(trans_b=True), x, matrix)
    inner = product(shape[axis + 1 :])
    rows = node.reshaped(x, (*shape[:axis], extent, inner)) if axis < len(shape) - 2 else x
    made = node(ops.MatMul(), matrix, rows)
    return node.reshaped(made, (*shape[:axis], len(bounds), *shape[axis + 1 :]))


def maximum(node: Emitter, x: Tensor, targets: Sequence[int]) -> Tensor:
    """The maxima of all windows, axis by axis."""
    for axis, (extent, target) in enumerate(zip(static(node.shape(x)[2:]), targets, strict=True), start=2):
        if target == extent:
            continue
        parts = [
            node(ops.ReduceMax(axes=(axis,)), node(ops.Slice(axes=(axis,), starts=(a,), ends=(b,), steps=(1,)), x))
            for a, b in windows(extent, target)
        ]
        x = parts[0] if len(parts) == 1 else node(ops.Concat(axis=axis), *parts)
    return x
