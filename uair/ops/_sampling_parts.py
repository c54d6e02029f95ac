"""The arithmetic of `_sampling` spelled out in simpler operators, for targets that cannot sample."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import product, static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops._sampling import CUBIC_A, SampleMode, SamplePadding, borders
from uair.ops.comparison import Greater, Less, LogicalOr
from uair.ops.elementwise import Abs, Add, Cast, Clip, Floor, Mul, Round, Sub, Where
from uair.ops.indexing import GatherElements
from uair.ops.shape import Expand, Reshape, Unsqueeze


def _like(value: float, t: Tensor) -> Tensor:
    return constant(np.asarray(value).astype(t.type.dtype.numpy))


def scaled(x: Tensor, factor: float, addend: float = 0.0) -> Tensor:
    """The sum of factor * x and addend."""
    y = x if factor == 1 else Mul()(x, _like(factor, x))
    return Add()(y, _like(addend, y)) if addend else y


@attrs.frozen
class _Axis:
    """What one axis contributes: for every tap the index, the weight, and where there is no element."""

    indices: Sequence[Tensor]
    weights: Sequence[Tensor] | None
    outside: Sequence[Tensor] | None


def sampled(
    x: Tensor, coordinates: Sequence[Tensor], mode: SampleMode, padding: SamplePadding, align_corners: bool
) -> Tensor:
    """`_sampling.sample`: x [N, C, static extents...] at coordinates [N, P] along every axis; result [N, C, P]."""
    shape = x.type.dims
    extents = static(shape[2:])
    places = coordinates[0].type.dims[1]
    axes = [_axis(c, d, mode, padding, align_corners) for c, d in zip(coordinates, extents, strict=True)]
    flat = Reshape(shape=(*shape[:2], product(extents)))(x)
    result: Tensor | None = None
    for chosen in itertools.product(*(range(len(axis.indices)) for axis in axes)):
        index, weight, outside = axes[0].indices[chosen[0]], None, None
        for i, (axis, tap) in enumerate(zip(axes, chosen, strict=True)):
            if i:
                index = Add()(Mul()(index, _like(extents[i], index)), axis.indices[tap])
            if axis.weights is not None:
                weight = axis.weights[tap] if weight is None else Mul()(weight, axis.weights[tap])
            if axis.outside is not None:
                outside = axis.outside[tap] if outside is None else LogicalOr()(outside, axis.outside[tap])
        wide = Expand(shape=(*shape[:2], places))(Unsqueeze(axes=(1,))(index))
        value = GatherElements(axis=2)(flat, wide)
        if outside is not None:
            value = Where()(Unsqueeze(axes=(1,))(outside), _like(0, value), value)
        if weight is not None:
            value = Mul()(value, Unsqueeze(axes=(1,))(weight))
        result = value if result is None else Add()(result, value)
    assert result is not None
    return result


def _axis(x: Tensor, extent: int, mode: SampleMode, padding: SamplePadding, align_corners: bool) -> _Axis:
    low, high = borders(extent, align_corners)
    if mode == "nearest":
        x = Round()(x)
    if padding == "reflection":
        x = _reflected(x, low, high)
    elif padding == "border" and mode != "cubic":
        x = Clip(min=0, max=extent - 1)(x)
    if mode == "nearest":
        return _axis_of([x], None, extent, padding, (low, high))
    below = Floor()(x)
    t = Sub()(x, below)
    first, last = (0, 1) if mode == "linear" else (-1, 2)
    places = [scaled(below, 1, step) for step in range(first, last + 1)]
    weights = [scaled(t, -1, 1), t] if mode == "linear" else _cubic(t)
    return _axis_of(places, weights, extent, padding, (low, high))


def _axis_of(
    places: Sequence[Tensor],
    weights: Sequence[Tensor] | None,
    extent: int,
    padding: SamplePadding,
    limits: tuple[float, float],
) -> _Axis:
    outside = None
    if padding == "zeros":
        outside = [LogicalOr()(Less()(p, _like(0, p)), Greater()(p, _like(extent - 1, p))) for p in places]
    elif padding == "reflection":
        places = [_reflected(p, *limits) for p in places]
    indices = [Cast(to=DType.I64)(Clip(min=0, max=extent - 1)(p)) for p in places]
    return _Axis(indices, weights, outside)


def _reflected(x: Tensor, low: float, high: float) -> Tensor:
    """A triangular wave between `low` and `high`: high - |(|x - low| modulo twice the span) - span|."""
    span = high - low
    if span <= 0:
        return scaled(x, 0, low)
    distance = Abs()(scaled(x, 1, -low))
    periods = Floor()(scaled(distance, 1 / (2 * span)))
    rest = Sub()(distance, scaled(periods, 2 * span))
    return scaled(Abs()(scaled(rest, 1, -span)), -1, high)


def _cubic(t: Tensor) -> list[Tensor]:
    """The four weights of `_sampling.cubic_weights`."""
    a: Any = CUBIC_A
    u = scaled(t, -1, 1)

    def far(d: Tensor) -> Tensor:
        return scaled(Mul()(scaled(Mul()(scaled(d, a, -5 * a), d), 1, 8 * a), d), 1, -4 * a)

    def near(d: Tensor) -> Tensor:
        return scaled(Mul()(Mul()(scaled(d, a + 2, -(a + 3)), d), d), 1, 1)

    return [far(scaled(t, 1, 1)), near(t), near(u), far(scaled(u, 1, 1))]
