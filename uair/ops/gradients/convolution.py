"""Gradients of convolutions: convolution and transposed convolution are each other's adjoints."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops._convolve import Geometry, convolve, convolve_transposed
from uair.ops._precision import widened
from uair.ops._windows import inner_axes, padded
from uair.ops.gradients.base import Parts, part


def conv_x(op: Any, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """The transposed convolution of g with the same weight: every result element lands where it came from."""
    geometry = op.geometry(x.shape[2:], w.shape[2:])
    return convolve_transposed(g, widened(w), None, attrs.evolve(geometry, extents=x.shape[2:]))


def conv_w(op: Any, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Of every tap the products of g with what the tap met."""
    geometry = op.geometry(x.shape[2:], w.shape[2:])
    return taps(g, padded(widened(x), geometry.begins, geometry.ends), geometry).reshape(w.shape)


def conv_bias(op: Any, g: Array, x: Array, w: Array, bias: Array) -> Array:
    """The sum over everything but the channels."""
    return np.asarray(g.sum(axis=(0, *range(2, g.ndim))))


def transposed_x(op: Any, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """The convolution of g with the same weight."""
    geometry = op.geometry(x.shape[2:], w.shape[2:])
    return convolve(g, widened(w), None, attrs.evolve(geometry, extents=x.shape[2:]))


def transposed_w(op: Any, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """As of a convolution from g to x."""
    geometry = attrs.evolve(op.geometry(x.shape[2:], w.shape[2:]), extents=x.shape[2:])
    return taps(widened(x), padded(g, geometry.begins, geometry.ends), geometry).reshape(w.shape)


def taps(y: Array, x: Array, geometry: Geometry) -> Array:
    """Sums of products of y: [N, M, extents...] with the elements of x: [N, C, padded...] that each tap meets.

    Returns:
        [groups, M/groups, C/groups, taps].
    """
    groups, n = geometry.groups, len(y)
    count = math.prod(geometry.extents)
    rows = y.reshape(n, groups, y.shape[1] // groups, count)
    found: list[Array] = []
    for offsets in itertools.product(*(range(k) for k in geometry.kernel)):
        met = x[
            inner_axes(
                slice(o * d, o * d + (extent - 1) * s + 1, s)
                for o, d, s, extent in zip(offsets, geometry.dilations, geometry.strides, geometry.extents, strict=True)
            )
        ]
        columns = met.reshape(n, groups, x.shape[1] // groups, count)
        found.append(np.matmul(rows, columns.swapaxes(-1, -2)).sum(axis=0))
    return np.stack(found, axis=-1)


_CONVOLUTION: Parts = {"x": part(conv_x, "w"), "w": part(conv_w, "x"), "bias": part(conv_bias)}
_TRANSPOSED: Parts = {"x": part(transposed_x, "w"), "w": part(transposed_w, "x"), "bias": part(conv_bias)}

GRADIENTS: Mapping[str, Parts] = {
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), _CONVOLUTION),
    **dict.fromkeys(("ConvTranspose1D", "ConvTranspose2D", "ConvTranspose3D"), _TRANSPOSED),
}
