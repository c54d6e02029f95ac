"""Arithmetic of shape computations: element by element over object arrays of ints, bools and symbolic sizes.

What an operation needs to know of a symbolic size and does not is a SymbolicValueError; the element is unknown then.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from uair.errors import SymbolicValueError
from uair.ir import dims
from uair.ir.bounds import interval
from uair.ir.dims import Dim
from uair.ir.dtype import Array


class Unknown:
    """An element of which nothing is known; equal to itself only."""

    __slots__ = ()

    def __bool__(self) -> bool:
        """Whether it is true.

        Raises:
            SymbolicValueError: always.
        """
        raise SymbolicValueError("a value that is needed is known only at run time")


def is_symbolic(*arrays: Array) -> bool:
    """Whether an operand holds Python objects (sizes, or strings) and not machine numbers."""
    return any(a.dtype == object for a in arrays)


def of_known(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` of known elements; of unknown ones, and where it cannot tell, the result is unknown."""

    def guarded(*values: Any) -> Any:
        if any(isinstance(v, Unknown) for v in values):
            return Unknown()
        try:
            return function(*values)
        except SymbolicValueError:
            return Unknown()

    return guarded


def elementwise(function: Callable[..., Any], *arrays: Array) -> Array:
    """`function` applied to the broadcast elements; an object array."""
    operands = [a.astype(object) for a in arrays]
    return np.asarray(np.frompyfunc(of_known(function), len(arrays), 1)(*operands), dtype=object)


def truth(function: Callable[..., bool], *arrays: Array) -> Array:
    """`function` applied to the broadcast elements; a bool array where all are known."""
    found = elementwise(function, *arrays)
    return found if any(isinstance(v, Unknown) for v in found.reshape(-1).tolist()) else found.astype(np.bool_)


def where(condition: Array, x: Array, y: Array) -> Array:
    """X or y for the broadcast elements; where the condition is unknown, what both agree on."""

    def choose(chosen: Any, a: Any, b: Any) -> Any:
        if not isinstance(chosen, Unknown):
            return a if chosen else b
        return a if a is b or (type(a) is type(b) is int and a == b) else Unknown()

    operands = [a.astype(object) for a in (condition, x, y)]
    return np.asarray(np.frompyfunc(choose, 3, 1)(*operands), dtype=object)


def integers(array: Array) -> Array:
    """An i64 array of the values.

    Raises:
        SymbolicValueError: one of them is symbolic.
    """
    if array.dtype == object and any(not isinstance(v, (int, np.integer)) for v in array.reshape(-1).tolist()):
        raise SymbolicValueError("numbers are needed, values depend on symbolic sizes or on the run")
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
    low, high = interval(value)
    if low > 0 or high < 0 or low == high == 0:
        return (low > 0) - (high < 0)
    raise SymbolicValueError(f"the sign of {value} depends on symbolic sizes")


def at_least_zero(a: Any) -> bool:
    """Whether a >= 0.

    Raises:
        SymbolicValueError: that depends on symbolic sizes.
    """
    value: Any = dims.normal(a)
    low, high = interval(value)
    if low < 0 <= high:
        raise SymbolicValueError(f"whether {value} is at least 0 depends on symbolic sizes")
    return low >= 0


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
    low, high = interval(difference)
    if low <= 0 <= high:
        raise SymbolicValueError(f"whether {a} equals {b} depends on symbolic sizes")
    return False


def less(a: Any, b: Any) -> bool:
    """Whether a < b.

    Raises:
        SymbolicValueError: that depends on symbolic sizes.
    """
    return not at_least_zero(a - b)


def floor_div(a: Any, b: Any) -> Dim:
    """floor(a / b). A divisor that depends on sizes counts as not 0: what 0 divides is left open.

    Raises:
        SymbolicValueError: b is 0.
    """
    if isinstance(dims.normal(b), int) and b == 0:
        raise SymbolicValueError(f"{a} is divided by 0")
    return dims.floor_div(a, b)


def trunc_div(a: Any, b: Any) -> Dim:
    """A / b rounded towards 0; see `floor_div`.

    Raises:
        SymbolicValueError: the sign of an operand depends on symbolic sizes.
    """
    if not at_least_zero(b):
        a, b = negative(a), negative(b)
    if interval(dims.normal(a))[1] <= 0:
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
