"""Conversion between element types; what it means is said by the operator Cast."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from typing import Any

import ml_dtypes
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ops import _symbolic


def cast(x: Array, to: DType, saturate: bool = True, round_mode: str = "up") -> Array:
    """`x` in element type `to`; `saturate` and `round_mode` as the operator Cast has them.

    Raises:
        EvaluationError: a string does not spell a number.
    """
    if x.dtype == object:
        return _from_objects(x, to, saturate, round_mode)
    if x.dtype == to.numpy:
        return x
    if to is DType.STRING:
        return _to_strings(x)
    source = DType.from_numpy(x.dtype)
    if source.is_float and source.bits <= 8:
        x = x.astype(np.float32)  # holds every value; the types of ml_dtypes do not all convert to each other
    elif source.is_integer and source.bits < 8:
        x = x.astype(np.int8)
    with np.errstate(all="ignore"):
        if to is DType.BOOL:
            narrow = source.is_float and source.bits < 32
            return np.asarray(np.not_equal(x.astype(np.float32) if narrow else x, 0))
        if source.is_float and to.is_integer:
            return _to_integer(x, to)
        if to is DType.F8E8M0:
            return _to_power_of_two(x, saturate, round_mode)
        if to.is_float and to.bits <= 8:
            return _to_small_float(x, source, to, saturate)
        return x.astype(to.numpy)


def reinterpret(x: Array, to: DType) -> Array:
    """The bits of `x` as elements of another type of as many bits."""
    if to is DType.BOOL:
        return np.not_equal(np.ascontiguousarray(x).view(np.uint8), 0).reshape(x.shape)
    dense = np.ascontiguousarray(x)
    values: Array
    if to.bits >= 8:
        values = dense.view(to.numpy)
    else:
        codes = dense.view(np.uint8) & np.uint8((1 << to.bits) - 1)
        sign = np.uint8((1 << to.bits >> 1) if to.is_signed else 0)
        whole = (codes ^ sign).astype(np.int8) - sign.astype(np.int8)
        values = codes.view(to.numpy) if to.is_float else whole.astype(to.numpy)
    return values.reshape(x.shape)


def _to_integer(x: Array, to: DType) -> Array:
    """Truncate; wrap what does not fit as x86 does: by way of i32 up to i32 and u16, of i64 above."""
    whole = np.trunc(x.astype(np.float64))
    if to is DType.U64:
        upper = (whole >= 2.0**63) & (whole < 2.0**64)
        low = _within(np.where(upper, whole - 2.0**63, whole), 63).view(np.uint64)
        return np.where(upper, low + np.uint64(1 << 63), low)
    through = 63 if to.bits > 32 or to is DType.U32 else 31
    return _within(whole, through).astype(to.numpy)


def _within(whole: Array, exponent: int) -> Array:
    """As i64; NaN and what lies outside of [-2^exponent, 2^exponent) is -2^exponent."""
    limit = 2.0**exponent
    return np.where((whole >= -limit) & (whole < limit), whole, -limit).astype(np.int64)


def _to_small_float(x: Array, source: DType, to: DType, saturate: bool) -> Array:
    real = x if source.is_float else x.astype(np.float32)
    if saturate:
        wide = real.astype(np.float64 if real.dtype == np.float64 else np.float32, copy=False)
        least, greatest = finite_limits(to)
        real = np.clip(wide, wide.dtype.type(least), wide.dtype.type(greatest))
    return real.astype(to.numpy)


def _to_power_of_two(x: Array, saturate: bool, round_mode: str) -> Array:
    """To f8e8m0: rounded up, down, or to the nearest power of two (halfway up)."""
    wide = x.astype(np.float64)
    mantissa, exponent = np.frexp(wide)  # x = mantissa * 2^exponent, mantissa in [0.5, 1)
    above = {"up": mantissa > 0.5, "down": np.zeros_like(mantissa, bool), "nearest": mantissa >= 0.75}[round_mode]
    low, high = wide < 2.0**-127, wide > 2.0**127
    code = np.where(low, 0 if saturate else 255, np.where(high, 254 if saturate else 255, exponent + 126 + above))
    bits: Array = np.where(np.isnan(wide), 255, code).astype(np.uint8)
    return bits.view(DType.F8E8M0.numpy)


def finite_limits(to: DType) -> tuple[float, float]:
    """Least and greatest finite number of a floating-point type."""
    limits: Any = ml_dtypes.finfo  # it has no annotations
    info = limits(to.numpy)
    return float(info.min), float(info.max)


def _to_strings(x: Array) -> Array:
    dtype = DType.from_numpy(x.dtype)
    write: Callable[[Any], str] = str
    if dtype is DType.BOOL:
        write = _write_bool
    elif dtype.is_float:
        write = _write_float
        x = x.astype(np.float32) if x.dtype.isbuiltin != 1 else x
    result = np.empty(x.shape, object)
    result.reshape(-1)[:] = [write(v) for v in x.reshape(-1)]
    return result


def _write_bool(value: Any) -> str:
    return "1" if value else "0"


def _write_float(value: Any) -> str:
    number = float(value)
    if math.isnan(number):
        return "NaN"
    if math.isinf(number):
        return "INF" if number > 0 else "-INF"
    return str(value)


def _from_objects(x: Array, to: DType, saturate: bool, round_mode: str) -> Array:
    """From strings; sizes of shape computations (ints and symbolic expressions) stay what they are."""
    if to is DType.STRING:
        return x
    values = x.reshape(-1).tolist()
    if not values:
        return np.empty(x.shape, to.numpy)
    if not any(isinstance(v, (str, bytes)) for v in values):
        return _from_sizes(x, to)
    if to.is_integer:
        least = to.range[0]
        wrapped = [(_parse_integer(v) - least) % (1 << to.bits) + least for v in values]
        return np.array(wrapped, np.uint64 if to is DType.U64 else np.int64).astype(to.numpy).reshape(x.shape)
    return cast(np.array([_parse_float(v) for v in values]).reshape(x.shape), to, saturate, round_mode)


def _from_sizes(x: Array, to: DType) -> Array:
    if to is DType.BOOL:
        return _symbolic.truth(lambda v: _symbolic.sign(v) != 0, x)
    if to.is_integer:
        return _symbolic.elementwise(lambda v: int(v) if isinstance(v, bool) else v, x)
    return _symbolic.integers(x).astype(to.numpy)


def _parse_float(text: Any) -> float:
    try:
        return float(text)
    except ValueError:
        raise EvaluationError(f"Cast: {text!r} does not spell a number") from None


def _parse_integer(text: Any) -> int:
    """The whole number that a text spells; of another number what is left of its point."""
    with contextlib.suppress(ValueError):
        return int(text)
    number = _parse_float(text)
    if not math.isfinite(number):
        raise EvaluationError(f"Cast: {text!r} does not spell a whole number")
    return math.trunc(number)
