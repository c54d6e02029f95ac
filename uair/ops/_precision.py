"""In which type a result is computed: the rules that make `evaluate` exact and independent of the BLAS in use."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dtype import Array, DType

_EXACT_IN_F32 = 1 << 24
_EXACT_IN_F64 = 1 << 53


def compute_type(array: Array) -> np.dtype[Any]:
    """The type that a floating-point result is accumulated in: f32 for everything narrower than f32."""
    dtype = DType.from_numpy(array.dtype)
    return np.dtype(np.float32) if dtype.is_float and dtype.bits < 32 else array.dtype


def widened(array: Array) -> Array:
    """`array` in its compute type; the same array when it is in it already."""
    return array.astype(compute_type(array), copy=False)


def is_integral(array: Array) -> bool:
    """Whether the elements are integers."""
    return DType.from_numpy(array.dtype).is_integer


def magnitude(array: Array) -> int:
    """Greatest absolute value of an integer array; 0 when it is empty."""
    return max(abs(int(array.min())), abs(int(array.max()))) if array.size else 0


def product_type(a: Array, b: Array, terms: int) -> np.dtype[Any]:
    """The type in which sums of `terms` products of elements of `a` and `b` are formed.

    Floating point: the compute type. Integers: f32 or f64, which have fast matrix products, when every partial sum is
    provably an exact number of that type; otherwise i64 (whose wrap-around is that of every narrower integer type).
    """
    if not is_integral(a):
        return compute_type(a)
    bound = magnitude(a) * magnitude(b) * max(terms, 1)
    if bound <= _EXACT_IN_F32:
        return np.dtype(np.float32)
    return np.dtype(np.float64 if bound <= _EXACT_IN_F64 else np.int64)


def rounded(result: Array, dtype: np.dtype[Any]) -> Array:
    """A computed result in the type of the operator's result, rounded once; integers wrap around."""
    if result.dtype == dtype:
        return result
    if DType.from_numpy(dtype).is_integer:
        return result.astype(np.int64, copy=False).astype(dtype, copy=False)
    return result.astype(dtype)


def matmul(a: Array, b: Array) -> Array:
    """`np.matmul` in the type of the operands: exact for integers, rounded once for floats narrower than f32."""
    compute = product_type(a, b, a.shape[-1])
    return rounded(np.matmul(a.astype(compute, copy=False), b.astype(compute, copy=False)), a.dtype)
