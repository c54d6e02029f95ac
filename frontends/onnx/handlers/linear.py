"""Matrix products."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dtype import Array
from uair.ir.graph import Tensor
from uair.ops import Add, Det, Einsum, Inverse, Linear, MatMul, Mul, Reshape, Squeeze, Transpose, Trilu

FAMILY = Family()


@FAMILY.op("MatMul", 1, 9, 13)
def _matmul(n: OnnxNode) -> Result:
    return n(MatMul(), n[0], n[1])


@FAMILY.op("Gemm", 1, 6, 7, 9, 11, 13)
def _gemm(n: OnnxNode) -> Result:
    """Products of A and B, which may be transposed, times alpha, plus beta times C; since 11 C may be left out."""
    return gemm(n)


def gemm(n: OnnxNode) -> Tensor:
    """Gemm as Linear: the factors go into constants where they can, and C is the bias where it is one row."""
    a = n.attributes
    x, w, c = n[0], n[1], n.optional(2)
    alpha, beta = a.number("alpha", 1.0), a.number("beta", 1.0)
    if n.rank(x) != 2 or n.rank(w) != 2:
        n.refuse(f"A and B must be matrices, have {n.rank(x)} and {n.rank(w)} axes")
    if a.flag("transA"):
        x = n(Transpose(perm=(1, 0)), x)
    op = Linear(transpose_w=a.flag("transB"))
    product_scale = 1.0
    if alpha != 1:
        if w.is_constant:
            w = scaled(n, w, alpha)
        else:
            product_scale = alpha
    if c is not None and beta == 0:
        c = None
    if c is not None and beta != 1:
        c = scaled(n, c, beta)
    bias = None if c is None or product_scale != 1 else _as_bias(n, c, w, op)
    result = n(op, x, w, bias)
    if product_scale != 1:
        result = n(Mul(), result, n.like(product_scale, result))
    return result if c is None or bias is not None else n(Add(), result, c)


def scaled(n: OnnxNode, t: Tensor, factor: float) -> Tensor:
    """A tensor times a number; constants are multiplied when somebody asks for them."""
    if not t.is_constant or not t.type.is_static:
        return n(Mul(), t, n.like(factor, t))
    shape = t.data.shape if t.data is not None else ()
    return n.transformed(t, functools.partial(_times, factor), shape)


def _times(factor: float, values: Array) -> Array:
    wide: Any = np.float64 if values.dtype.kind in "iuf" and values.dtype.itemsize >= 4 else np.float32
    return np.asarray((values.astype(wide) * wide(factor)).astype(values.dtype))


def _as_bias(n: OnnxNode, c: Tensor, w: Tensor, op: Linear) -> Tensor | None:
    """C as a bias of one number per column; None when it is something else."""
    columns = n.extent(w, 0 if op.transpose_w else 1)
    shape = n.shape(c)
    if shape == (columns,):
        return c
    if shape == (1, columns) or (len(shape) <= 2 and columns == 1 and set(shape) <= {1}):
        if c.data is not None and isinstance(columns, int):
            return n.transformed(c, functools.partial(np.reshape, shape=(columns,)), (columns,))
        return n(Squeeze(axes=(0,)), c) if len(shape) == 2 else n(Reshape(shape=(1,)), c)
    return None


@FAMILY.op("Einsum", 12, 28)
def _einsum(n: OnnxNode) -> Result:
    n.attributes.required("equation")
    return n(Einsum(equation=n.attributes.text("equation", "")), *n.present())


@FAMILY.op("Det", 11, 22)
def _det(n: OnnxNode) -> Result:
    return n(Det(), n[0])


@FAMILY.op("Inverse", 1, domain="com.microsoft")
def _inverse(n: OnnxNode) -> Result:
    return n(Inverse(), n[0])


@FAMILY.op("Trilu", 1, domain="com.microsoft")
@FAMILY.op("Trilu", 14)
def _trilu(n: OnnxNode) -> Result:
    upper = n.attributes.flag("upper", True)
    if n.optional(1) is None:
        return n(Trilu(upper=upper), n[0])
    return n(Trilu(k=None, upper=upper), n[0], n.folded(1))
