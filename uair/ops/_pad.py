"""Padding and cropping of arrays; what it means is said by the operator Pad."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ops._cast import cast

PadMode: TypeAlias = Literal["constant", "reflect", "edge", "wrap", "symmetric"]


def pad(x: Array, pads: Sequence[int], mode: PadMode = "constant", value: float = 0.0) -> Array:
    """`x` with `pads` (in front of all axes, then behind them); negative numbers crop first."""
    rank = x.ndim
    sides = [(pads[a], pads[a + rank]) for a in range(rank)]
    crop = tuple(slice(max(-b, 0), x.shape[a] - max(-e, 0)) for a, (b, e) in enumerate(sides))
    added = [(max(b, 0), max(e, 0)) for b, e in sides]
    kept = x[crop]
    if not any(b or e for b, e in added):
        return kept
    if mode == "constant":
        shape = tuple(d + b + e for d, (b, e) in zip(kept.shape, added, strict=True))
        result = np.full(shape, _fill(value, x.dtype), x.dtype)
        result[tuple(slice(b, b + d) for d, (b, _) in zip(kept.shape, added, strict=True))] = kept
        return result
    for axis, (b, e) in enumerate(added):
        if b or e:
            kept = kept.take(_places(kept.shape[axis], b, e, mode), axis=axis)
    return kept


def _fill(value: float, dtype: np.dtype[Any]) -> Any:
    if dtype.kind == "O":
        return int(value)
    return cast(np.array(value, np.float64), DType.from_numpy(dtype), saturate=False)


def _places(extent: int, begin: int, end: int, mode: PadMode) -> Array:
    """For every place of the padded axis the place it repeats; mirrored again where the padding is longer than x."""
    places = np.arange(-begin, extent + end)
    if mode == "edge":
        return np.clip(places, 0, extent - 1)
    if mode == "wrap":
        return places % extent
    if mode == "symmetric":
        period = places % (2 * extent)
        return np.where(period < extent, period, 2 * extent - 1 - period)
    if extent == 1:
        return np.zeros_like(places)
    period = places % (2 * extent - 2)
    return np.where(period < extent, period, 2 * extent - 2 - period)
