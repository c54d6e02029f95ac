"""Gradients of activation functions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops._erf import erf
from uair.ops._precision import widened
from uair.ops.gradients.base import Parts, part, summed_to
from uair.ops.gradients.elementwise import ROUNDING, of_x, of_y

QUICK = 1.702


def sigmoid(x: Array) -> Any:
    """1 / (1 + exp(-x))."""
    return 1 / (1 + np.exp(-x))


def swish_slope(x: Array, alpha: float) -> Any:
    """Of x sigmoid(alpha x)."""
    factor = x.dtype.type(alpha)
    s = sigmoid(factor * x)
    return s * (1 + factor * x * (1 - s))


def gelu_slope(op: Any, x: Array) -> Any:
    """Of Gelu, by its three formulas."""
    kind = x.dtype.type
    if op.approximate == "quick":
        return swish_slope(x, QUICK)
    if op.approximate == "tanh":
        root = kind(math.sqrt(2 / math.pi))
        t = np.tanh(root * (x + kind(0.044715) * x * x * x))
        return kind(0.5) * (1 + t + x * (1 - t * t) * root * (1 + kind(3 * 0.044715) * x * x))
    density = kind(1 / math.sqrt(2 * math.pi)) * np.exp(kind(-0.5) * x * x)
    return kind(0.5) * (1 + erf(x / math.sqrt(2)).astype(x.dtype)) + x * density


def mish_slope(op: Any, x: Array) -> Any:
    """Of x tanh(softplus(x))."""
    t = np.tanh(np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x))))
    return t + x * (1 - t * t) * sigmoid(x)


def hard_swish_slope(op: Any, x: Array) -> Any:
    """Of HardSwish: x / 3 + 1/2 between -3 and 3, 0 below, 1 above."""
    inner = x / x.dtype.type(3) + x.dtype.type(0.5)
    return np.where(x <= -3, x.dtype.type(0), np.where(x < 3, inner, x.dtype.type(1)))


def hard_sigmoid_slope(op: Any, x: Array) -> Any:
    """Alpha between both ends."""
    kind = x.dtype.type
    y = x * kind(op.alpha) + kind(op.beta)
    return np.where((y > 0) & (y < 1), kind(op.alpha), kind(0))


def elu_slope(op: Any, x: Array) -> Any:
    """1 above 0, alpha exp(x) below, times gamma for Selu."""
    kind = x.dtype.type
    gamma = kind(getattr(op, "gamma", 1.0))
    return gamma * np.where(x > 0, kind(1), kind(op.alpha) * np.exp(np.minimum(x, 0)))


def celu_slope(op: Any, x: Array) -> Any:
    """1 above 0, exp(x / alpha) below."""
    return np.where(x > 0, x.dtype.type(1), np.exp(np.minimum(x, 0) / x.dtype.type(op.alpha)))


def prelu_x(op: Any, g: Array, x: Array, slope: Array) -> Array:
    """1 above 0, the slope below."""
    return np.where(x > 0, g, g * widened(slope))


def prelu_slope(op: Any, g: Array, x: Array, slope: Array) -> Array:
    """X below 0."""
    return summed_to(g * np.minimum(widened(x), 0), slope.shape)


def softmax(op: Any, g: Array, x: Array, *, y: Array) -> Array:
    """Of Softmax: y (g - sum of g y)."""
    weighted = g * widened(y)
    return np.asarray(weighted - widened(y) * weighted.sum(axis=op.axis, keepdims=True))


def log_softmax(op: Any, g: Array, x: Array, *, y: Array) -> Array:
    """Of LogSoftmax: g - exp(y) times the sum of g."""
    return np.asarray(g - np.exp(widened(y)) * g.sum(axis=op.axis, keepdims=True))


GRADIENTS: Mapping[str, Parts] = {
    "Relu": of_y(lambda op, y: y > 0),
    "Sigmoid": of_y(lambda op, y: y * (1 - y)),
    "Tanh": of_y(lambda op, y: 1 - y * y),
    "HardSwish": of_x(hard_swish_slope),
    "Mish": of_x(mish_slope),
    "Softsign": of_x(lambda op, x: 1 / np.square(1 + np.abs(x))),
    "LeakyRelu": of_x(lambda op, x: np.where(x > 0, x.dtype.type(1), x.dtype.type(op.alpha))),
    "Elu": of_x(elu_slope),
    "Selu": of_x(elu_slope),
    "Celu": of_x(celu_slope),
    "ThresholdedRelu": of_x(lambda op, x: x > x.dtype.type(op.alpha)),
    "HardSigmoid": of_x(hard_sigmoid_slope),
    "Gelu": of_x(gelu_slope),
    "Swish": of_x(lambda op, x: swish_slope(x, op.alpha)),
    "Softplus": of_x(lambda op, x: sigmoid(x.dtype.type(op.beta) * x)),
    "PRelu": {"x": part(prelu_x, "x slope"), "slope": part(prelu_slope, "x")},
    "Softmax": {"x": part(softmax, "y")},
    "LogSoftmax": {"x": part(log_softmax, "y")},
    "Hardmax": ROUNDING,
}
