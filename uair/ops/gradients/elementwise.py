"""Gradients of arithmetic element by element. Operators that round have none: their derivative is 0 where it exists."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops.elementwise import Clip
from uair.ops.gradients.base import Part, Parts, part, summed_to

TWO_BY_ROOT_PI = 2 / math.sqrt(math.pi)


def of_x(derivative: Callable[[Any, Array], Any]) -> Parts:
    """The part of a function of one element whose derivative is had from the element."""

    def function(op: Any, g: Array, x: Array) -> Array:
        return np.asarray(g * derivative(op, widened(x)))

    return {"x": part(function, "x")}


def of_y(derivative: Callable[[Any, Array], Any]) -> Parts:
    """The part of a function of one element whose derivative is had from the result."""

    def function(op: Any, g: Array, x: Array, *, y: Array) -> Array:
        return np.asarray(g * derivative(op, widened(y)))

    return {"x": part(function, "y")}


# ------------------------------------------------------------------------- others
def clip(op: Clip, g: Array, x: Array) -> Array:
    """At a bound the gradient passes, as in PyTorch."""
    inside = np.ones(x.shape, np.bool_)
    if op.min is not None:
        inside &= widened(x) >= op.min
    if op.max is not None:
        inside &= widened(x) <= op.max
    return np.where(inside, g, g.dtype.type(0))


def identity(op: Any, g: Array, x: Array) -> Array:
    """The gradient itself."""
    return g


# ------------------------------------------------------------------------- binary
def add_a(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a + b."""
    return summed_to(g, a.shape)


def add_b(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a + b."""
    return summed_to(g, b.shape)


def sub_b(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a - b."""
    return summed_to(-g, b.shape)


def mul_a(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a * b."""
    return summed_to(g * widened(b), a.shape)


def mul_b(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a * b."""
    return summed_to(g * widened(a), b.shape)


def div_a(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of a / b."""
    return summed_to(g / widened(b), a.shape)


def div_b(op: Any, g: Array, a: Array, b: Array, *, y: Array) -> Array:
    """Of a / b."""
    return summed_to(-g * widened(y) / widened(b), b.shape)


def pow_a(op: Any, g: Array, a: Array, b: Array) -> Array:
    """The power below, times b; 0 for b = 0."""
    exponent = b.astype(g.dtype)
    slope = np.where(exponent == 0, g.dtype.type(0), exponent * np.power(widened(a), exponent - 1))
    return summed_to(g * slope, a.shape)


def pow_b(op: Any, g: Array, a: Array, b: Array, *, y: Array) -> Array:
    """a^b log(a); 0 where a^b is 0."""
    slope = np.where(y == 0, g.dtype.type(0), widened(y) * np.log(widened(a)))
    return summed_to(g * slope, b.shape).astype(b.dtype, copy=False)


def atan2_a(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of the ordinate."""
    a, b = widened(a), widened(b)
    return summed_to(g * b / (a * a + b * b), np.shape(a))


def atan2_b(op: Any, g: Array, a: Array, b: Array) -> Array:
    """Of the abscissa."""
    a, b = widened(a), widened(b)
    return summed_to(-g * a / (a * a + b * b), np.shape(b))


def mod_b(op: Any, g: Array, a: Array, b: Array, *, y: Array) -> Array:
    """Of a - q b with a whole q, which stays the same near a and b."""
    a, b = widened(a), widened(b)
    return summed_to(-g * np.rint((a - widened(y)) / b), b.shape)


def extreme(wins: Callable[[Array, Array], Any]) -> Parts:
    """Of the greater or smaller of two: the gradient of the one that is it, half to each of two equals."""

    def share(a: Array, b: Array, dtype: np.dtype[Any]) -> Array:
        return np.asarray(wins(a, b).astype(dtype) + (a == b) * dtype.type(0.5))

    def of_a(op: Any, g: Array, a: Array, b: Array) -> Array:
        return summed_to(g * share(a, b, g.dtype), a.shape)

    def of_b(op: Any, g: Array, a: Array, b: Array) -> Array:
        return summed_to(g * share(b, a, g.dtype), b.shape)

    return {"a": part(of_a, "a b"), "b": part(of_b, "a b")}


def where_x(op: Any, g: Array, condition: Array, x: Array, y: Array) -> Array:
    """Where the condition holds."""
    return summed_to(np.where(condition, g, g.dtype.type(0)), x.shape)


def where_y(op: Any, g: Array, condition: Array, x: Array, y: Array) -> Array:
    """Where it does not."""
    return summed_to(np.where(condition, g.dtype.type(0), g), y.shape)


ROUNDING: Mapping[str, Part] = {}
"""No operand has a derivative."""

GRADIENTS: Mapping[str, Parts] = {
    "Abs": of_x(lambda op, x: np.sign(x)),
    "Neg": {"x": part(lambda op, g, x: -g)},
    **dict.fromkeys(("Sign", "Ceil", "Floor", "Round", "Trunc"), ROUNDING),
    "Sqrt": of_y(lambda op, y: 0.5 / y),
    "Rsqrt": of_y(lambda op, y: -0.5 * y * y * y),
    "Reciprocal": of_y(lambda op, y: -y * y),
    "Exp": of_y(lambda op, y: y),
    "Expm1": of_y(lambda op, y: y + 1),
    "Log": of_x(lambda op, x: 1 / x),
    "Log1p": of_x(lambda op, x: 1 / (1 + x)),
    "Sin": of_x(lambda op, x: np.cos(x)),
    "Cos": of_x(lambda op, x: -np.sin(x)),
    "Tan": of_y(lambda op, y: 1 + y * y),
    "Asin": of_x(lambda op, x: 1 / np.sqrt(1 - x * x)),
    "Acos": of_x(lambda op, x: -1 / np.sqrt(1 - x * x)),
    "Atan": of_x(lambda op, x: 1 / (1 + x * x)),
    "Sinh": of_x(lambda op, x: np.cosh(x)),
    "Cosh": of_x(lambda op, x: np.sinh(x)),
    "Asinh": of_x(lambda op, x: 1 / np.sqrt(x * x + 1)),
    "Acosh": of_x(lambda op, x: 1 / np.sqrt(x * x - 1)),
    "Atanh": of_x(lambda op, x: 1 / (1 - x * x)),
    "Erf": of_x(lambda op, x: x.dtype.type(TWO_BY_ROOT_PI) * np.exp(-x * x)),
    "Identity": {"x": part(identity)},
    "Clip": {"x": part(clip, "x")},
    "Add": {"a": part(add_a), "b": part(add_b)},
    "Sub": {"a": part(add_a), "b": part(sub_b)},
    "Mul": {"a": part(mul_a, "b"), "b": part(mul_b, "a")},
    "Div": {"a": part(div_a, "b"), "b": part(div_b, "b y")},
    "Pow": {"a": part(pow_a, "a b"), "b": part(pow_b, "a y")},
    "Mod": {"a": part(add_a), "b": part(mod_b, "a b y")},
    "Maximum": extreme(np.greater),
    "Minimum": extreme(np.less),
    "Atan2": {"a": part(atan2_a, "a b"), "b": part(atan2_b, "a b")},
    "Where": {"x": part(where_x, "condition"), "y": part(where_y, "condition")},
}
