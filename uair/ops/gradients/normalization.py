"""Gradients of normalizations.

With n the normalized x and h the gradient of n, that of x is (h - mean(h) - n mean(h n)) / sqrt(variance + epsilon);
without mean (RMSNorm) it is (h - n mean(h n)) / sqrt(mean square + epsilon).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops._compute import mean
from uair.ops._precision import widened
from uair.ops.gradients.base import Parts, part, summed_to

Axes = tuple[int, ...]


def _channelwise(parameter: Array, rank: int) -> Array:
    return widened(parameter).reshape(-1, *(1,) * (rank - 2))


def _over_channels(g: Array) -> Array:
    """[C]: summed over everything but axis 1."""
    return np.asarray(g.sum(axis=(0, *range(2, g.ndim))))


# ---------------------------------------------------------------- given statistics
def batch_x(op: Any, g: Array, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """The factor of the channel."""
    factor = widened(scale) / np.sqrt(widened(var) + g.dtype.type(op.epsilon))
    return np.asarray(g * _channelwise(factor, g.ndim))


def batch_scale(op: Any, g: Array, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """Of the factor."""
    centred = widened(x) - _channelwise(mean, g.ndim)
    return np.asarray(_over_channels(g * centred) / np.sqrt(widened(var) + g.dtype.type(op.epsilon)))


def batch_bias(op: Any, g: Array, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """Of the offset."""
    return _over_channels(g)


def batch_mean(op: Any, g: Array, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """Of the mean, taken as an operand of its own."""
    return -_over_channels(batch_x(op, g, x, scale, bias, mean, var))


def batch_var(op: Any, g: Array, x: Array, scale: Array, bias: Array, mean: Array, var: Array) -> Array:
    """Of the variance."""
    total = widened(var) + g.dtype.type(op.epsilon)
    centred = widened(x) - _channelwise(mean, g.ndim)
    return np.asarray(-0.5 * widened(scale) * _over_channels(g * centred) / (total * np.sqrt(total)))


# ------------------------------------------------------------- statistics of x itself
def normalized(x: Array, axes: Axes, epsilon: float, *, centre: bool) -> tuple[Array, Array]:
    """The normalized x, and the factor by which it was multiplied."""
    wide = widened(x)
    centred = wide - mean(wide, axes) if centre else wide
    factor = 1 / np.sqrt(mean(np.square(centred), axes) + wide.dtype.type(epsilon))
    return centred * factor, factor


def through(h: Array, x: Array, axes: Axes, epsilon: float, *, centre: bool = True) -> Array:
    """The gradient of x from that of the normalized x."""
    n, factor = normalized(x, axes, epsilon, centre=centre)
    result = h - n * mean(h * n, axes)
    if centre:
        result -= mean(h, axes)
    result *= factor
    return np.asarray(result)


def _trailing(op: Any, x: Array) -> Axes:
    return tuple(range(op.axis % x.ndim, x.ndim))


def _scaled(g: Array, scale: Array | None) -> Array:
    return g if scale is None else np.asarray(g * widened(scale))


def layer_x(op: Any, g: Array, x: Array, scale: Array | None = None, bias: Array | None = None) -> Array:
    """Of LayerNorm."""
    return through(_scaled(g, scale), x, _trailing(op, x), op.epsilon)


def layer_scale(op: Any, g: Array, x: Array, scale: Array, bias: Array | None = None) -> Array:
    """The normalized x times g, summed."""
    return summed_to(g * normalized(x, _trailing(op, x), op.epsilon, centre=True)[0], scale.shape)


def layer_bias(op: Any, g: Array, x: Array, scale: Array | None, bias: Array) -> Array:
    """G, summed."""
    return summed_to(g, bias.shape)


def rms_x(op: Any, g: Array, x: Array, scale: Array | None = None) -> Array:
    """Of RMSNorm."""
    return through(_scaled(g, scale), x, _trailing(op, x), op.epsilon, centre=False)


def rms_scale(op: Any, g: Array, x: Array, scale: Array) -> Array:
    """The normalized x times g, summed."""
    return summed_to(g * normalized(x, _trailing(op, x), op.epsilon, centre=False)[0], scale.shape)


Rows = Callable[[Any, Array], Array]


def _by_channel(rows: Rows) -> Parts:
    """The parts of a normalization of the rows of an array; scale and bias belong to the channels."""

    def of_x(op: Any, g: Array, x: Array, scale: Array | None = None, bias: Array | None = None) -> Array:
        h = g if scale is None else g * _channelwise(scale, g.ndim)
        return through(rows(op, h), rows(op, x), (2,), op.epsilon).reshape(x.shape)

    def of_scale(op: Any, g: Array, x: Array, scale: Array, bias: Array | None = None) -> Array:
        n, _ = normalized(rows(op, x), (2,), op.epsilon, centre=True)
        return _over_channels(g * n.reshape(x.shape))

    def of_bias(op: Any, g: Array, x: Array, scale: Array | None, bias: Array) -> Array:
        return _over_channels(g)

    return {"x": part(of_x, "x scale"), "scale": part(of_scale, "x"), "bias": part(of_bias)}


def _images(op: Any, x: Array) -> Array:
    return x.reshape(*x.shape[:2], math.prod(x.shape[2:]))


def _groups(op: Any, x: Array) -> Array:
    return x.reshape(len(x), op.groups, math.prod(x.shape[1:]) // op.groups)


GRADIENTS: Mapping[str, Parts] = {
    "BatchNorm": {
        "x": part(batch_x, "scale var"),
        "scale": part(batch_scale, "x mean var"),
        "bias": part(batch_bias),
        "mean": part(batch_mean, "scale var"),
        "var": part(batch_var, "x scale mean var"),
    },
    "LayerNorm": {"x": part(layer_x, "x scale"), "scale": part(layer_scale, "x"), "bias": part(layer_bias)},
    "RMSNorm": {"x": part(rms_x, "x scale"), "scale": part(rms_scale, "x")},
    "InstanceNorm": _by_channel(_images),
    "GroupNorm": _by_channel(_groups),
}
