"""Matrix products with constants."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from uair.ir.data import derive
from uair.ir.dims import is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Linear, MatMul, Reshape, Transpose
from uair.passes.fusion.exact import exact, rounded
from uair.rewrite import NoMatch, Rule, no, of, optional

MOST_ADDED = 1 << 22
"""Elements of a sum of constants, at most: larger ones are not held in float64."""


class LinearFromMatMulAdd(Rule):
    """MatMul by a constant matrix, then Add of a constant vector, is Linear."""

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """The Add in either order."""
        return Add()(of(MatMul)(x, w).named("matmul"), b)

    def check(self, x: Tensor, w: Tensor, b: Tensor, matmul: Node) -> bool | NoMatch:
        """The matrix is [in, out], the summand [out]."""
        op = matmul.op
        assert isinstance(op, MatMul)
        if not (w.is_constant and b.is_constant):
            return no("the matrix or the summand is not a constant", matmul)
        if w.type.rank != 2 or x.type.shape is None or x.type.rank < 2 or op.trans_a:
            return no("Linear multiplies [..., in] by a matrix", matmul)
        out = w.type.dims[0 if op.trans_b else 1]
        sizes = b.type.dims
        if len(sizes) > matmul.output.type.rank or any(d != 1 for d in sizes[:-1]) or not sizes or sizes[-1] != out:
            return no(f"the summand is {b.type}, a bias would be [{out}]", b)
        return True

    def rewrite(self, x: Tensor, w: Tensor, b: Tensor, matmul: Node) -> Tensor:
        """Linear over the same matrix."""
        op = matmul.op
        assert isinstance(op, MatMul)
        bias = b if b.type.rank == 1 else constant(b.numpy().reshape(-1), b.name)
        return Linear(transpose_w=op.trans_b)(x, w, bias)


class FoldTransposeIntoLinear(Rule):
    """Linear of a flattened Transpose takes its operand as it lies: the weight's rows change places instead.

    A model with channels last flattens [N, H, W, C]; computed with channels first, a Transpose stands in front.
    """

    def pattern(self, x: Any, w: Any, b: Any) -> Any:
        """Transpose, Reshape to a matrix, Linear."""
        flat = of(Reshape)(of(Transpose)(x).named("transpose")).named("flat")
        return of(Linear)(flat, w, optional(b)).named("linear")

    def check(self, x: Tensor, w: Tensor, transpose: Node, flat: Node) -> bool | NoMatch:
        """The first axis stays, all others become one, whose extent is known."""
        assert isinstance(transpose.op, Transpose)
        if transpose.op.perm[0] != 0:
            return no("the Transpose moves the first axis", transpose)
        dims = flat.output.type.dims
        if len(dims) != 2 or dims[0] != x.type.dims[0] or not is_static(x.type.dims[1:]):
            return no("what is flattened is not all axes but the first", flat)
        return w.is_constant or no("the weight is not a constant", w)

    def rewrite(self, x: Tensor, w: Tensor, transpose: Node, flat: Node, linear: Node) -> Tensor:
        """Reshape and Linear."""
        assert isinstance(transpose.op, Transpose) and isinstance(linear.op, Linear) and w.data is not None
        turned = static(transpose.output.type.dims[1:])
        back = tuple(transpose.op.perm.index(axis) - 1 for axis in range(1, len(transpose.op.perm)))
        rows = 1 if linear.op.transpose_w else 0
        shape = w.data.shape

        def reordered(weight: Array) -> Array:
            parts = np.moveaxis(weight, rows, 0).reshape(*turned, -1)
            result: Array = np.moveaxis(parts.transpose(*back, len(turned)).reshape(-1, parts.shape[-1]), 0, rows)
            return np.ascontiguousarray(result)

        weight = constant(derive(reordered, (w.data,), w.data.dtype, shape), w.name)
        return linear.op(Reshape(shape=flat.output.type.dims)(x), weight, *linear.inputs[2:])


class MergeConstantSums(Rule):
    """Two constants that are added one after the other are added as one: embeddings and masks are written so."""

    def pattern(self, x: Any, first: Any, second: Any) -> Any:
        """The sums, each in either order."""
        return Add()(of(Add)(x, first).named("inner"), second).named("outer")

    def check(self, x: Tensor, first: Tensor, second: Tensor, outer: Node) -> bool | NoMatch:
        """Floats of moderate size, whose sum is no larger than the larger one."""
        if not (first.is_constant and second.is_constant) or x.is_constant:
            return no("what is added is not twice a constant", outer)
        if not first.type.dtype.is_float or not first.type.is_static or not second.type.is_static:
            return no("the constants are no floats of known shape", outer)
        shape = np.broadcast_shapes(static(first.type.dims), static(second.type.dims))
        size = max(first.type.size, second.type.size)
        return math.prod(shape) <= min(size, MOST_ADDED) or no("their sum is larger than each of them", outer)

    def rewrite(self, x: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """The sum with their sum, rounded once."""
        return Add()(x, rounded(exact(first) + exact(second), first.type.dtype, first.name))


RULES = (LinearFromMatMulAdd, FoldTransposeIntoLinear, MergeConstantSums)
