"""Gradients of quantization: straight through, as if nothing was rounded, and none where a number is out of range.

The scale of Quantize and all zero points have no gradient. Source: PyTorch's fake_quantize.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np

from uair.ir.dtype import Array
from uair.ops.gradients.base import Parts, gradient_type, part
from uair.ops.quantization import along


def quantize(op: Any, g: Array, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """G / scale where x is in the range of the result's type; g is by the integers."""
    wide = gradient_type(x)
    factor = along(scale.astype(wide), x.shape, op.axis, op.block_size)
    quotient = x.astype(wide) / factor
    if zero_point is not None:
        quotient = quotient + along(zero_point.astype(wide), x.shape, op.axis, op.block_size)
    if op.dtype.is_float:
        limits: Any = ml_dtypes.finfo  # it has no annotations
        inside = np.abs(quotient) <= float(limits(op.dtype.numpy).max)
    else:
        least, greatest = op.dtype.range
        inside = (np.rint(quotient) >= least) & (np.rint(quotient) <= greatest)
    return np.where(inside, g / factor, 0).astype(wide)


def dequantize(op: Any, g: Array, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """G times scale, by the integers."""
    return np.asarray(g * along(scale.astype(gradient_type(scale)), x.shape, op.axis, op.block_size))


def dequantize_scale(op: Any, g: Array, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
    """The sums of g times the integers by the zero point that each scale was for."""
    whole = x.astype(g.dtype)
    if zero_point is not None:
        whole = whole - along(zero_point.astype(g.dtype), x.shape, op.axis, op.block_size)
    product = np.asarray(g * whole)
    if op.axis is None:
        return np.asarray(product.sum()).reshape(scale.shape)
    place = op.axis % x.ndim
    if op.block_size:
        return np.asarray(np.add.reduceat(product, range(0, x.shape[place], op.block_size), axis=place))
    return np.asarray(product.sum(axis=tuple(i for i in range(x.ndim) if i != place)))


GRADIENTS: Mapping[str, Parts] = {
    "Quantize": {"x": part(quantize, "x scale zero_point")},
    "Dequantize": {"x": part(dequantize, "scale"), "scale": part(dequantize_scale, "x zero_point")},
}
