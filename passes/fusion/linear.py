"""Matrix products with constants."""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Linear, MatMul
from uair.rewrite import NoMatch, Rule, no, of


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


RULES = (LinearFromMatMulAdd,)
