"""Resampling along one axis: which input elements a result element takes, with which weights.

Coordinates are computed in f32, as every runtime does: where a coordinate falls on a tie between two elements, f64
would choose differently. Source of the formulas: ONNX Resize, onnxruntime, Pillow (antialias).
"""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import attrs
import numpy as np

from uair.ir.dtype import Array

Mode: TypeAlias = Literal["nearest", "linear", "cubic"]
CoordinateMode: TypeAlias = Literal[
    "half_pixel",
    "asymmetric",
    "align_corners",
    "pytorch_half_pixel",
    "half_pixel_symmetric",
    "tf_half_pixel_for_nn",
    "tf_crop_and_resize",
]
NearestMode: TypeAlias = Literal["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]

_F32 = np.float32

# A coordinate this near to the middle between two elements is a tie: rounding errors of the scale must not decide.
TIE = _F32(1e-6)

# A length this near to a whole number, relative to it, is that number.
WHOLE = 1e-5


@attrs.frozen
class Sampling:
    """How coordinates map and how neighbours are weighted; the attributes of Resize."""

    mode: Mode
    coordinate_mode: CoordinateMode
    nearest_mode: NearestMode
    cubic_a: float
    exclude_outside: bool
    antialias: bool


def resized_length(extent: int, result: int, scale: float) -> float:
    """The product of extent and scale, which may be a fraction; `result`, its whole part, where only rounding differs.

    Source: ONNX Resize ("output_width the target length on the axis x which can be a fractional number when it is
    calculated out of a scale factor") and its backend tests. onnxruntime and PyTorch take the whole number.
    """
    length = float(_F32(extent) * _F32(scale))
    return float(result) if abs(length - result) <= WHOLE * result else length


def source_coordinates(
    extent: int, result: int, scale: float, mode: CoordinateMode, roi: tuple[float, float] = (0.0, 1.0)
) -> Array:
    """Coordinate in the input (f32) of every result element along an axis; `roi` is that of tf_crop_and_resize."""
    place: Array = np.arange(result, dtype=_F32)
    ratio, half, last = _F32(scale), _F32(0.5), _F32(extent - 1)
    if mode == "align_corners":
        return place if result <= 1 else np.asarray(place * last / _F32(resized_length(extent, result, scale) - 1))
    if mode == "tf_crop_and_resize":
        start, end = (_F32(v) for v in roi)
        if result <= 1:
            return np.full(result, half * (start + end) * last, _F32)
        beyond = place * (end - start) * last / _F32(resized_length(extent, result, scale) - 1)
        return np.asarray(start * last + beyond)
    if mode == "pytorch_half_pixel" and result <= 1:
        return np.zeros(result, _F32)
    if mode != "asymmetric":
        place += half
    place /= ratio
    if mode not in ("asymmetric", "tf_half_pixel_for_nn"):
        place -= half
    if mode == "half_pixel_symmetric":
        # The result is centred on the input when extent * scale is not whole.
        adjustment = _F32(result) / (ratio * _F32(extent))
        place += _F32(extent) / _F32(2) * (_F32(1) - adjustment)
    return place


def nearest_indices(x: Array, extent: int, mode: NearestMode) -> Array:
    """Index of the element nearest to every coordinate, within the axis."""
    below = np.floor(x)
    if mode == "floor":
        chosen = below
    elif mode == "ceil":
        chosen = np.ceil(x)
    else:
        beyond = x - below - _F32(0.5)
        up = beyond > TIE if mode == "round_prefer_floor" else beyond >= -TIE
        chosen = below + up
    return np.clip(chosen.astype(np.int64), 0, extent - 1)


def taps(x: Array, extent: int, scale: float, sampling: Sampling) -> tuple[Array, Array]:
    """Indices (i64) and weights (f32), both [taps, result], of the elements that every coordinate in x sums."""
    if sampling.antialias and scale < 1:
        return _antialiased(x, extent, scale, sampling)
    if sampling.mode == "linear":
        x = np.clip(x, _F32(0), _F32(extent - 1))
        below = np.floor(x)
        beyond = x - below
        first = below.astype(np.int64)
        return np.stack([first, np.minimum(first + 1, extent - 1)]), np.stack([_F32(1) - beyond, beyond])
    below = np.floor(x)
    indices = below.astype(np.int64) + np.arange(-1, 3)[:, None]
    weights = _cubic(x - below + np.arange(1, -3, -1, dtype=_F32)[:, None], sampling.cubic_a)
    return _bounded(indices, weights, extent, sampling.exclude_outside)


def _cubic(distance: Array, a: float) -> Array:
    """Keys' cubic convolution kernel: 1 at 0, 0 at the other whole numbers and beyond 2."""
    d = np.abs(distance)
    near = ((a + 2) * d - (a + 3)) * d * d + 1
    far = ((a * d - 5 * a) * d + 8 * a) * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0)).astype(_F32)


def _bounded(indices: Array, weights: Array, extent: int, exclude: bool) -> tuple[Array, Array]:
    """Elements outside of the axis are the border's, or excluded: weight 0, the others scaled to sum 1."""
    if exclude:
        weights = np.where((indices >= 0) & (indices < extent), weights, _F32(0))
        weights = weights / weights.sum(axis=0)
    return np.clip(indices, 0, extent - 1), weights


def _antialiased(x: Array, extent: int, scale: float, sampling: Sampling) -> tuple[Array, Array]:
    """The kernel stretched by 1/scale, its weights scaled to sum 1."""
    reach = math.ceil((1 if sampling.mode == "linear" else 2) / scale) + 1
    indices = np.floor(x).astype(np.int64) + np.arange(-reach, reach + 1)[:, None]
    distance = (indices - x.astype(np.float64)) * scale
    if sampling.mode == "linear":
        weights = np.maximum(1 - np.abs(distance), 0)
    else:
        weights = _cubic(distance, sampling.cubic_a)
    used = weights.any(axis=1)
    total = weights.sum(axis=0)
    return _bounded(indices[used], (weights[used] / total).astype(_F32), extent, sampling.exclude_outside)
