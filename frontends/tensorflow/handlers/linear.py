"""Matrix products."""

from __future__ import annotations

import numpy as np

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.ir.graph import Tensor
from uair.ops import Det, Einsum, Gather, Inverse, MatMul, Mul, ReduceSum, Sub, Transpose, Trilu, Unsqueeze

FAMILY = Family()


@FAMILY.op("MatMul")
def _matmul(n: TfNode) -> Result:
    """A stored matrix [in, out] becomes [out, in], as Linear has it in every framework."""
    b, turned = n[1], n.flag("transpose_b")
    if b.data is not None and not turned and len(b.type.dims) == 2:
        b, turned = n.transposed(b, (1, 0)), True
    return n(MatMul(trans_a=n.flag("transpose_a"), trans_b=turned), n[0], b)


@FAMILY.op("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
def _batch_matmul(n: TfNode) -> Result:
    """V3 may give another element type than its operands have."""
    a, b = n[0], n[1]
    if n.op_type == "BatchMatMulV3":
        to = n.dtype("Tout")
        a, b = n.cast(a, to), n.cast(b, to)
    return n(MatMul(trans_a=n.flag("adj_x"), trans_b=n.flag("adj_y")), a, b)


@FAMILY.op("Einsum")
def _einsum(n: TfNode) -> Result:
    return n(Einsum(equation=n.text("equation").replace(" ", "")), *n.tensors())


@FAMILY.op("MatrixBandPart", "BatchMatrixBandPart")
def _matrix_band_part(n: TfNode) -> Result:
    """The diagonals from `lower` below to `upper` above the main one; all of them where the number is negative."""
    (lower,), (upper,) = n.numbers(1, "num_lower"), n.numbers(2, "num_upper")
    x = n[0]
    if upper >= 0:
        x = n(Trilu(k=upper, upper=False), x)
    return n(Trilu(k=-lower, upper=True), x) if lower >= 0 else x


@FAMILY.op("MatrixInverse", "BatchMatrixInverse")
def _inverse(n: TfNode) -> Result:
    y = n(Inverse(), n[0])
    if not n.flag("adjoint"):
        return y
    rank = n.rank(y)
    return n(Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), y)


@FAMILY.op("MatrixDeterminant")
def _det(n: TfNode) -> Result:
    return n(Det(), n[0])


@FAMILY.op("Cross")
def _cross(n: TfNode) -> Result:
    def turned(i: int, by: int) -> Tensor:
        return n(Gather(axis=-1), n[i], n.of(np.roll([0, 1, 2], -by)))

    first = n(Mul(), turned(0, 1), turned(1, 2))
    return n(Sub(), first, n(Mul(), turned(0, 2), turned(1, 1)))


@FAMILY.op("MatrixDiagV3", "MatrixDiag", "MatrixDiagV2")
def _matrix_diag(n: TfNode) -> Result:
    """A square matrix with the elements on its diagonal."""
    size = n.extent(n[0], -1)
    if len(n) > 1 and n.numbers(1, "k") != (0,):
        n.refuse("only the main diagonal is supported")
    if not isinstance(size, int):
        n.refuse("the size of the diagonal must be known", "give the model's inputs fixed shapes")
    return n(Mul(), n(Unsqueeze(axes=(-1,)), n[0]), n.of(np.eye(size), n[0].type.dtype))


@FAMILY.op("MatrixDiagPart", "MatrixDiagPartV2", "MatrixDiagPartV3")
def _matrix_diag_part(n: TfNode) -> Result:
    rows, columns = n.extent(n[0], -2), n.extent(n[0], -1)
    if len(n) > 1 and n.numbers(1, "k") != (0,):
        n.refuse("only the main diagonal is supported")
    if not isinstance(rows, int) or not isinstance(columns, int):
        n.refuse("the size of the matrix must be known", "give the model's inputs fixed shapes")
    if rows != columns:
        n.refuse("only square matrices are supported")
    mask = n.of(np.eye(rows), n[0].type.dtype)
    return n(ReduceSum(axes=(-1,), keepdims=False), n(Mul(), n[0], mask))
