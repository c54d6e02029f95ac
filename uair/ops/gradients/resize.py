"""Gradient of resampling, which is linear: along each axis the product with the matrix that resamples, transposed."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from uair.ir.dtype import Array
from uair.ops.gradients.base import Parts, part
from uair.ops.resize import Resize


def resize(
    op: Resize,
    g: Array,
    x: Array,
    sizes: Array | None = None,
    scales: Array | None = None,
    roi: Array | None = None,
) -> Array:
    """Elements outside of x (tf_crop_and_resize) are constants, whose gradient goes nowhere."""
    extents, factors = op.targets(x.shape, sizes, scales)
    for axis, extent, scale, corners in op.changes(x.shape, extents, factors, roi):
        old = x.shape[axis]
        rows = op.along_axis(np.eye(old, dtype=g.dtype), 0, extent, scale, corners)
        rows = rows - op.along_axis(np.zeros((old, 1), g.dtype), 0, extent, scale, corners)
        g = np.moveaxis(np.tensordot(g, rows, axes=(axis, 0)), -1, axis)
    return g


GRADIENTS: Mapping[str, Parts] = {"Resize": {"x": part(resize, "sizes scales roi")}}
