"""Values between the elements of an array: what GridSample and DeformConv read at fractional coordinates.

A coordinate counts elements: 0 is the first element of an axis, 0.5 lies midway to the second. A place that no
coordinate can name (NaN) has no weight of its own; whatever it reads is multiplied by NaN unless the mode is nearest.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Literal, TypeAlias

import numpy as np

from uair.ir.dtype import Array

SampleMode: TypeAlias = Literal["nearest", "linear", "cubic"]
SamplePadding: TypeAlias = Literal["zeros", "border", "reflection"]

CUBIC_A = -0.75
"""Parameter of the cubic kernel; PyTorch and ONNX have no other in GridSample."""


def pixel_coordinates(place: Array, extent: int, align_corners: bool) -> Array:
    """Coordinates of places given from -1 to 1: at the centres of the outer elements, or at their outer edges."""
    one, two = place.dtype.type(1), place.dtype.type(2)
    moved = place + one
    coordinates: Array = moved / two * place.dtype.type(extent - 1)
    return coordinates if align_corners else np.asarray((moved * place.dtype.type(extent) - one) / two)


def reflect(x: Array, low: float, high: float) -> Array:
    """`x` mirrored at `low` and `high` until it lies between them."""
    span = high - low
    if span <= 0:
        return np.full_like(x, low)
    outside = np.where(x < low, low - x, x - high)
    times = np.floor(outside / span)
    rest = outside - times * span
    from_low = (x < low) == (times % 2 == 0)
    mirrored = np.where(from_low, low + rest, high - rest)
    return np.where((x < low) | (x > high), mirrored, x).astype(x.dtype)


def borders(extent: int, align_corners: bool) -> tuple[float, float]:
    """Where reflection takes place along an axis."""
    return (0.0, extent - 1.0) if align_corners else (-0.5, extent - 0.5)


def bounded(x: Array, extent: int, padding: SamplePadding, align_corners: bool) -> Array:
    """Coordinates outside of an axis moved onto it, where the padding says so."""
    low, high = borders(extent, align_corners)
    if padding == "border":
        return np.where((x < low) | (x > high), np.clip(x, 0, extent - 1), x).astype(x.dtype)
    return reflect(x, low, high) if padding == "reflection" else x


def cubic_weights(t: Array) -> Array:
    """Weights [4, ...] of the elements at distance -1, 0, 1 and 2 from the one before the coordinate."""
    a = t.dtype.type(CUBIC_A)
    u = 1 - t
    near, far = t + 1, u + 1
    return np.stack([
        ((a * near - 5 * a) * near + 8 * a) * near - 4 * a,
        ((a + 2) * t - (a + 3)) * t * t + 1,
        ((a + 2) * u - (a + 3)) * u * u + 1,
        ((a * far - 5 * a) * far + 8 * a) * far - 4 * a,
    ])  # fmt: skip


def axis_taps(
    x: Array, extent: int, mode: SampleMode, padding: SamplePadding, align_corners: bool
) -> tuple[Array, Array | None]:
    """Elements along one axis that every coordinate reads, [taps, ...], -1 for none, and their weights, if any."""
    if mode == "nearest":
        x = bounded(np.rint(x), extent, padding, align_corners)
        return _indices(np.rint(x)[None], extent, padding, align_corners), None
    if mode == "linear" or padding == "reflection":
        x = bounded(x, extent, padding, align_corners)
    below = np.floor(x)
    t = x - below
    if mode == "linear":
        places, weights = np.stack([below, below + 1]), np.stack([1 - t, t])
    else:
        places, weights = np.stack([below - 1, below, below + 1, below + 2]), cubic_weights(t)
    return _indices(places, extent, padding, align_corners), weights


def _indices(places: Array, extent: int, padding: SamplePadding, align_corners: bool) -> Array:
    """Whole coordinates as indices (i64), -1 where there is no element."""
    if padding == "reflection":
        low, high = borders(extent, align_corners)
        places = np.trunc(reflect(places, low, high))
    inside: Array = np.nan_to_num(np.clip(places, -1, extent), nan=-1).astype(np.int64)
    if padding == "zeros":
        return np.where(inside < extent, inside, -1)
    return np.asarray(np.clip(inside, 0, extent - 1))


def sample(
    x: Array,
    coordinates: Sequence[Array],
    mode: SampleMode = "linear",
    padding: SamplePadding = "zeros",
    align_corners: bool = True,
) -> Array:
    """x: [N, C, spatial...] at P places an image, [N, C, P]; in x's type, which must have products unless nearest.

    Args:
        x: the images.
        coordinates: for every spatial axis the coordinates [N, P].
        mode: how elements are combined.
        padding: what lies outside.
        align_corners: whether reflection is about the outer elements, not about their edges.
    """
    n, c = x.shape[:2]
    extents = x.shape[2:]
    size = int(np.prod(extents))
    table = np.zeros((n * size + 1, c), x.dtype) if x.dtype != object else np.full((n * size + 1, c), "", object)
    table[:-1] = np.moveaxis(x.reshape(n, c, size), 1, 2).reshape(n * size, c)
    taps = [axis_taps(v, d, mode, padding, align_corners) for v, d in zip(coordinates, extents, strict=True)]
    first = np.arange(n)[:, None] * size
    result: Array | None = None
    for chosen in itertools.product(*(range(len(indices)) for indices, _ in taps)):
        row: Array = np.zeros_like(first)
        missing: Array = np.zeros(first.shape, np.bool_)
        weight: Array | None = None
        for (indices, weights), tap, extent in zip(taps, chosen, extents, strict=True):
            row = row * extent + indices[tap]
            missing = missing | (indices[tap] < 0)
            if weights is not None:
                weight = weights[tap] if weight is None else weight * weights[tap]
        values = np.take(table, np.where(missing, n * size, first + row).reshape(-1), axis=0)
        if weight is not None:
            values *= weight.reshape(-1, 1).astype(np.finfo(x.dtype).dtype)
        result = values if result is None else np.add(result, values, out=result)
    assert result is not None
    return np.moveaxis(result.reshape(n, coordinates[0].shape[1], c), 2, 1)
