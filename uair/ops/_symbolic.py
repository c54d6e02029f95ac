"""Arithmetic of shape computations: element by element over object arrays of ints, bools and symbolic sizes.

What a comparison needs to know of a symbolic size and does not is a SymbolicValueError; `ShapeValues` then takes the
value as unknown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uair.errors import SymbolicValueError
from uair.ir import dims
from uair.ir.dims import Dim
from uair.ir.dtype import Array


def is_symbolic(*arrays: Array) -> bool:
    """Whether an operand holds Python objects (sizes, or strings) and not machine numbers."""
    return any(a.dtype == object for a in arrays)


def elementwise(function: Callable[..., Any], *arrays: Array) -> Array:
    """`function` applied to the broadcast elements; an object array."""
    operands = [a.astype(object) for a in arrays]
    return np.asarray(np.frompyfunc(function, len(arrays), 1)(*operands), dtype=object)


def truth(function: Callable[..., bool], *arrays: Array) -> Array:
    """`function` applied to the broadcast elements; a bool array."""
    return elementwise(function, *arrays).astype(np.bool_)


def integers(array: Array) -> Array:
    """An i64 array of the values.

    Raises:
        SymbolicValueError: one of them is symbolic.
    """
    if array.dtype == object and any(not isinstance(v, (int, np.integer)) for v in array.reshape(-1).tolist()):
        raise SymbolicValueError(f"a number is needed, {array.tolist()} depends on symbolic sizes")
    return array.astype(np.int64, copy=False)


def add(a: Any, b: Any) -> Dim:
    """A + b."""
    return dims.normal(a + b)


def subtract(a: Any, b: Any) -> Dim:
    """A - b."""
    return dims.normal(a - b)


def multiply(a: Any, b: Any) -> Dim:
    """A * b."""
    return dims.normal(a * b)


def negative(a: Any) -> Dim:
    """-a."""
    return dims.normal(-a)


def sign(a: Any) -> int:
    """-1, 0 or 1.

    Raises:
        SymbolicValueError: the sign depends on symbolic sizes.
    """
    value: Any = dims.normal(a)
    if isinstance(value, int):
        return (value > 0) - (value < 0)
    for answer, known in ((1, value.is_positive), (-1, value.is_negative), (0, value.is_zero)):
        if known:
            return answer
    raise SymbolicValueError(f"the sign of {value} depends on symbolic sizes")


def at_least_zero(a: Any) -> bool:
    """Whether a >= 0.

    Raises:
        SymbolicValueError: that depends on symbolic sizes.
    """
    value: Any = dims.normal(a)
    if isinstance(value, int):
        return value >= 0
    if value.is_nonnegative is None:
        raise SymbolicValueError(f"whether {value} is at least 0 depends on symbolic sizes")
    return bool(value.is_nonnegative)


def equal(a: Any, b: Any) -> bool:
    """Whether two sizes, truth values or strings are equal.

    Raises:
        SymbolicValueError: that depends on symbolic sizes.
    """
    if isinstance(a, (str, bytes, int)) or isinstance(b, (str, bytes)):
        if isinstance(b, (str, bytes, int)):
            return bool(a == b)
    difference: Any = dims.normal(a - b)
    if isinstance(difference, int):
        return difference == 0
    if difference.is_zero is None:
        raise SymbolicValueError(f"whether {a} equals {b} depends on symbolic sizes")
    return bool(difference.is_zero)


def less(a: Any, b: Any) -> bool:
    """Whether a < b.

    Raises:
        SymbolicValueError: that depends on symbolic sizes.
    """
    return not at_least_zero(a - b)


def floor_div(a: Any, b: Any) -> Dim:
    """floor(a / b).

    Raises:
        SymbolicValueError: b is 0 or may be.
    """
    if sign(b) == 0:
        raise SymbolicValueError(f"{a} is divided by 0")
    return dims.floor_div(a, b)


def trunc_div(a: Any, b: Any) -> Dim:
    """A / b rounded towards 0.

    Raises:
        SymbolicValueError: the sign of an operand depends on symbolic sizes.
    """
    if sign(b) < 0:
        a, b = negative(a), negative(b)
    below: Any = dims.normal(a)
    if below < 0 if isinstance(below, int) else below.is_nonpositive:
        return negative(floor_div(negative(a), b))
    at_least_zero(a)  # or it is not known how to round
    return floor_div(a, b)


def floor_mod(a: Any, b: Any) -> Dim:
    """The remainder with the sign of b."""
    return subtract(a, multiply(b, floor_div(a, b)))


def trunc_mod(a: Any, b: Any) -> Dim:
    """The remainder with the sign of a."""
    return subtract(a, multiply(b, trunc_div(a, b)))


def shape_of(values: Any) -> tuple[Dim, ...]:
    """A shape from an operand that holds one."""
    array = np.asarray(values)
    if array.dtype == object:
        return tuple(v if isinstance(v, int) else dims.normal(v) for v in array.reshape(-1).tolist())
    return tuple(int(v) for v in array.reshape(-1).tolist())
