"""Bounds of slices: ONNX's in Python's, and the number of elements between them."""

from __future__ import annotations

from typing import Any

from uair.ir import dims
from uair.ir.dims import Dim

UNBOUNDED = 2**31 - 1
"""Slice bounds of at least this magnitude mean "to the end" whatever the extent (written as INT32_MAX or INT64_MAX)."""


def python_slice(extent: int, start: int, end: int, step: int) -> slice:
    """ONNX bounds as a Python slice."""
    if step > 0:
        return slice(start, end, step)
    first = min(max(start + extent if start < 0 else start, 0), extent - 1)  # where Python would find nothing
    last = max(end + extent if end < 0 else end, -1)
    if first <= last:
        return slice(0, 0, 1)
    return slice(first, None if last < 0 else last, step)


def slice_extent(extent: Dim | None, start: Dim, end: Dim, step: int) -> Dim | None:
    """Number of elements that Slice takes from an axis; None when that cannot be told."""
    if isinstance(extent, int) and isinstance(start, int) and isinstance(end, int):
        taken = python_slice(extent, start, end, step)
        return len(range(*taken.indices(extent)))
    if extent is None:
        return None
    low, high = (0, extent) if step > 0 else (-1, dims.normal(extent - 1))
    first, last = _clamped(start, extent, low, high), _clamped(end, extent, low, high)
    if first is not None and step < 0 and start != -1:
        first = dims.minimum(dims.maximum(first, 0), high)
    if first is None or last is None:
        return None
    if step > 0:
        return dims.maximum(0, dims.ceil_div(dims.normal(last - first), step))
    return dims.maximum(0, dims.ceil_div(dims.normal(first - last), -step))


def _clamped(bound: Dim, extent: Dim, low: Dim, high: Dim) -> Dim | None:
    """A bound counted from the beginning and clamped to [low, high]; None when its sign is not known."""
    if isinstance(bound, int):
        if abs(bound) >= UNBOUNDED:
            return high if bound > 0 else low
        negative: bool | None = bound < 0
    else:
        sign: Any = bound
        negative = sign.is_negative
    if negative is None:
        return None
    counted = dims.normal(extent + bound) if negative else bound
    if negative:
        return dims.maximum(counted, low)
    return dims.minimum(counted, high)
