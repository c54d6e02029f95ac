"""Gradients of matrix products. Einsum, Det and Inverse: products of the other operands, and Jacobi's formula."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops._precision import widened
from uair.ops.gradients.base import Parts, part, summed_to
from uair.ops.linear import Linear, MatMul, Trilu


def matmul_a(op: MatMul, g: Array, a: Array, b: Array) -> Array:
    """Of a: g b^T, for matrices; rows and columns get their axis back first."""
    g, _, right = _matrices(op, g, a, b)
    result = np.matmul(g, right.swapaxes(-1, -2))
    return _fitted(result.swapaxes(-1, -2) if op.trans_a else result, a)


def matmul_b(op: MatMul, g: Array, a: Array, b: Array) -> Array:
    """Of b: a^T g."""
    g, left, _ = _matrices(op, g, a, b)
    if b.ndim <= 2:  # one matrix for all: one product over all rows
        left, g = (m.reshape(math.prod(m.shape[:-1]), m.shape[-1]) for m in (left, g))
    result = np.matmul(left.swapaxes(-1, -2), g)
    return _fitted(result.swapaxes(-1, -2) if op.trans_b else result, b)


def _matrices(op: MatMul, g: Array, a: Array, b: Array) -> tuple[Array, Array, Array]:
    """The gradient and both operands as the matrices that are multiplied."""
    left, right = widened(a), widened(b)
    if a.ndim == 1:
        left, g = left[None, :], np.expand_dims(g, -1 if b.ndim == 1 else -2)
    if b.ndim == 1:
        right, g = right[:, None], np.expand_dims(g, -1)
    left = left.swapaxes(-1, -2) if op.trans_a else left
    return g, left, right.swapaxes(-1, -2) if op.trans_b else right


def _fitted(result: Array, operand: Array) -> Array:
    """A matrix gradient in the shape of its operand."""
    if operand.ndim == 1:
        return np.asarray(result.sum(axis=tuple(range(result.ndim - 2))).reshape(operand.shape))
    return summed_to(result, operand.shape)


def linear_x(op: Linear, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Of x: g w."""
    matrix = widened(w) if op.transpose_w else widened(w).T
    return np.asarray(np.matmul(_rows(g), matrix).reshape(x.shape))


def linear_w(op: Linear, g: Array, x: Array, w: Array, bias: Array | None = None) -> Array:
    """Of w: g^T x."""
    result = np.matmul(_rows(g).T, _rows(widened(x)))
    return np.asarray(result if op.transpose_w else result.T)


def linear_bias(op: Linear, g: Array, x: Array, w: Array, bias: Array) -> Array:
    """The sum over all rows."""
    return np.asarray(_rows(g).sum(axis=0))


def _rows(x: Array) -> Array:
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


def trilu(op: Trilu, g: Array, x: Array, k: Array | None = None) -> Array:
    """The same triangle of the gradient."""
    return op.evaluate(g, k)


def det(op: Any, g: Array, x: Array, *, y: Array) -> Array:
    """Jacobi's formula: the determinant times the inverse, transposed."""
    inverse = np.linalg.inv(widened(x)).swapaxes(-1, -2)
    return np.asarray((g * widened(y))[..., None, None] * inverse)


def inverse(op: Any, g: Array, x: Array, *, y: Array) -> Array:
    """Of the inverse: -y^T g y^T."""
    transposed = widened(y).swapaxes(-1, -2)
    return np.asarray(-transposed @ g @ transposed)


GRADIENTS: Mapping[str, Parts] = {
    "MatMul": {"a": part(matmul_a, "b"), "b": part(matmul_b, "a")},
    "Linear": {"x": part(linear_x, "w"), "w": part(linear_w, "x"), "bias": part(linear_bias)},
    "Trilu": {"x": part(trilu, "k")},
    "Det": {"x": part(det, "x y")},
    "Inverse": {"x": part(inverse, "y")},
}
