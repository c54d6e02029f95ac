"""Gradients of reductions and running sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import attrs
import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops.gradients.base import Parts, part
from uair.ops.gradients.elementwise import ROUNDING

Slope = Callable[[Array, Array, tuple[int, ...]], Any]


def _spread(op: Any, reduced: Array, axes: tuple[int, ...]) -> Array:
    """A result, or its gradient, with the reduced axes back."""
    return reduced if op.keepdims else np.expand_dims(reduced, axes)


def total(op: Any, g: Array, x: Array, axes: Array | None = None) -> Array:
    """Every element counts once."""
    return np.broadcast_to(_spread(op, g, op.reduced_axes(x, axes)), x.shape)


def average(op: Any, g: Array, x: Array, axes: Array | None = None) -> Array:
    """Every element counts by their number."""
    gone = op.reduced_axes(x, axes)
    count = math.prod(x.shape[a] for a in gone)
    return np.broadcast_to(_spread(op, g, gone) / g.dtype.type(count), x.shape)


def _slope(slope: Slope, reads: str) -> Parts:
    """A reduction whose derivative is a function of the elements and, where `reads` has it, the result."""

    def function(op: Any, g: Array, x: Array, axes: Array | None = None, *, y: Array | None = None) -> Array:
        gone = op.reduced_axes(x, axes)
        result = widened(x) if y is None else _spread(op, widened(y), gone)
        return np.asarray(_spread(op, g, gone) * slope(widened(x), result, gone))

    return {"x": part(function, f"axes {reads}")}


def _shared(x: Array, y: Array, axes: tuple[int, ...]) -> Any:
    """Equal extremes share the gradient."""
    hit = (x == y).astype(x.dtype)
    return hit / hit.sum(axis=axes, keepdims=True)


def _others(x: Array, y: Array, axes: tuple[int, ...]) -> Any:
    """The product of all the others, from both sides, so that zeros do no harm."""
    kept = [a for a in range(x.ndim) if a not in axes]
    order = (*kept, *axes)
    rows = np.transpose(x, order).reshape(*(x.shape[a] for a in kept), math.prod(x.shape[a] for a in axes))
    ones = np.ones((*rows.shape[:-1], 1), x.dtype)
    before = np.concatenate([ones, np.cumprod(rows, axis=-1)[..., :-1]], axis=-1)
    after = np.concatenate([np.cumprod(rows[..., ::-1], axis=-1)[..., ::-1][..., 1:], ones], axis=-1)
    products = (before * after).reshape([x.shape[a] for a in order])
    return np.transpose(products, np.argsort(order))


def _direction(x: Array, y: Array, axes: tuple[int, ...]) -> Any:
    """The elements by their norm; 0 for 0, as in PyTorch."""
    return np.where(y == 0, x.dtype.type(0), x / y)


def running_sum(op: Any, g: Array, x: Array, axis: Array | None = None) -> Array:
    """Sums from the other end."""
    return np.asarray(attrs.evolve(op, reverse=not op.reverse).evaluate(g, axis))


GRADIENTS: Mapping[str, Parts] = {
    "ReduceSum": {"x": part(total, "axes")},
    "ReduceMean": {"x": part(average, "axes")},
    "ReduceMax": _slope(_shared, "x y"),
    "ReduceMin": _slope(_shared, "x y"),
    "ReduceProd": _slope(_others, "x"),
    "ReduceL1": _slope(lambda x, y, axes: np.sign(x), "x"),
    "ReduceL2": _slope(_direction, "x y"),
    "ReduceLogSumExp": _slope(lambda x, y, axes: np.exp(x - y), "x y"),
    "ReduceSumSquare": _slope(lambda x, y, axes: 2 * x, "x"),
    "CumSum": {"x": part(running_sum, "axis")},
    **dict.fromkeys(("ArgMax", "ArgMin"), ROUNDING),
}
