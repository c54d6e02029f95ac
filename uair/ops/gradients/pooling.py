"""Gradients of pooling: to the first greatest element of each window, or to all of its elements alike."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops._windows import inner_axes, padded
from uair.ops.gradients.base import Parts, part


def max_pool(op: Any, g: Array, x: Array, *, y: Array) -> Array:
    """Of equal elements the first in the window gets it."""
    elements, views = _padded(op, widened(x), -np.inf)
    result = np.zeros(elements.shape, g.dtype)
    best, left = widened(y), np.ones(y.shape, np.bool_)
    for view in views:
        hit = left & (elements[view] == best)
        left &= ~hit
        result[view] += np.where(hit, g, g.dtype.type(0))
    return _inside(op, result, x)


def max_pool_indices(op: Any, g: tuple[Array, Array], x: Array, *, indices: Array) -> Array:
    """To the places that were found."""
    places = indices
    if op.column_major:
        size = math.prod(x.shape[2:])
        within = np.unravel_index(places % size, x.shape[2:], order="F")
        places = places - places % size + np.ravel_multi_index(within, x.shape[2:])
    counted = np.bincount(places.ravel(), g[0].ravel(), x.size)
    return counted.reshape(x.shape).astype(g[0].dtype)


def avg_pool(op: Any, g: Array, x: Array) -> Array:
    """Every element of a window gets the same part."""
    elements, views = _padded(op, np.broadcast_to(g.dtype.type(0), x.shape), 0)
    result = np.zeros(elements.shape, g.dtype)
    share = g / op.counts(x.shape[2:]).astype(g.dtype)
    for view in views:
        result[view] += share
    return _inside(op, result, x)


def _padded(op: Any, x: Array, fill: float) -> tuple[Array, Iterator[tuple[slice, ...]]]:
    """X with the padding that the windows meet, and for each tap of the window the view of the elements it meets."""
    extents, pads = op.extents_and_pads(x.shape[2:])
    reach = [
        (extent - 1) * s + d * (k - 1) + 1
        for extent, s, d, k in zip(extents, op.strides, op.dilations, op.kernel, strict=True)
    ]
    before = pads[: len(extents)]
    after = [max(r - b - d, 0) for r, b, d in zip(reach, before, x.shape[2:], strict=True)]
    views = (
        inner_axes(
            slice(t * d, t * d + (extent - 1) * s + 1, s)
            for t, d, s, extent in zip(tap, op.dilations, op.strides, extents, strict=True)
        )
        for tap in itertools.product(*map(range, op.kernel))
    )
    return padded(x, before, after, fill), views


def _inside(op: Any, result: Array, x: Array) -> Array:
    """Without the padding."""
    _, pads = op.extents_and_pads(x.shape[2:])
    return result[inner_axes(slice(b, b + d) for b, d in zip(pads, x.shape[2:], strict=False))]


def global_avg(op: Any, g: Array, x: Array) -> Array:
    """Every element of an image gets the same part."""
    return np.broadcast_to(g / g.dtype.type(math.prod(x.shape[2:])), x.shape)


def global_max(op: Any, g: Array, x: Array) -> Array:
    """The first greatest element of each image."""
    rows = widened(x).reshape(*x.shape[:2], math.prod(x.shape[2:]))
    result = np.zeros(rows.shape, g.dtype)
    first = rows.argmax(axis=-1)[..., None]
    np.put_along_axis(result, first, g.reshape(first.shape), axis=-1)
    return result.reshape(x.shape)


GRADIENTS: Mapping[str, Parts] = {
    **dict.fromkeys(("MaxPool1D", "MaxPool2D", "MaxPool3D"), {"x": part(max_pool, "x y")}),
    **dict.fromkeys(("AvgPool1D", "AvgPool2D", "AvgPool3D"), {"x": part(avg_pool)}),
    "GlobalAvgPool": {"x": part(global_avg)},
    "GlobalMaxPool": {"x": part(global_max, "x")},
    "MaxPoolIndices": {"x": part(max_pool_indices, "indices")},
}
