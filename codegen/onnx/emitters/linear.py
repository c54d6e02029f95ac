"""Matrix products."""

from __future__ import annotations

import numpy as np

from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.data import derive
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType
from uair.ops.linear import Det, Einsum, Inverse, Linear, MatMul, Trilu

EMITTERS = Emitters()
EMITTERS.direct({Det: "Det"})


def swapped(x: Array) -> Array:
    """The last two axes exchanged, dense."""
    return np.ascontiguousarray(np.swapaxes(x, -1, -2))


def transposed(e: Emission, i: int) -> str:
    """Operand `i` with its last two axes exchanged; a constant is transposed when it is written, not by a node."""
    tensor = e.tensor(i)
    shape = e.shape(i)
    turned = (*shape[:-2], shape[-1], shape[-2])
    if tensor.data is None:
        return e.transpose(e.x(i), [*range(len(shape) - 2), len(shape) - 1, len(shape) - 2])
    extents = tuple(d for d in turned if isinstance(d, int))
    data = derive(swapped, (tensor.data,), tensor.type.dtype, extents)
    return e.graph.name(Tensor(TensorType(data.dtype, extents), f"{e.x(i)}_T", data))


@EMITTERS.of(MatMul)
def mat_mul(e: Emission, op: MatMul) -> None:
    """Gemm transposes for matrices of floats; otherwise the operands are transposed before."""
    if (op.trans_a or op.trans_b) and e.type().dtype.is_float and len(e.shape(0)) == len(e.shape(1)) == 2:
        e.result("Gemm", e.x(0), e.x(1), transA=int(op.trans_a), transB=int(op.trans_b), alpha=1.0, beta=1.0)
        return
    a = transposed(e, 0) if op.trans_a else e.x(0)
    b = transposed(e, 1) if op.trans_b else e.x(1)
    e.result("MatMul", a, b)


@EMITTERS.of(Linear)
def linear(e: Emission, op: Linear) -> None:
    """Gemm for rows of floats, MatMul and Add for more axes (and for integers, which Gemm's kernels seldom take)."""
    if len(e.shape()) == 2 and e.type().dtype.is_float:
        e.result("Gemm", *e.operands, alpha=1.0, beta=1.0, transA=0, transB=int(op.transpose_w))
        return
    matrix = transposed(e, 1) if op.transpose_w else e.x(1)
    if e.given(2):
        e.result("Add", e.op("MatMul", e.x(), matrix, type=e.y), e.x(2))
    else:
        e.result("MatMul", e.x(), matrix)


@EMITTERS.of(Einsum, since=12)
def einsum(e: Emission, op: Einsum) -> None:
    """The equation as it is."""
    e.result("Einsum", *e.operands, equation=op.equation)


@EMITTERS.of(Trilu)
def trilu(e: Emission, op: Trilu) -> None:
    """An operator from opset 14 on; before, a choice by a mask of column - row."""
    if e.opset >= 14:
        diagonal = e.literal(op.k, DType.I64) if op.k is not None else e.cast(e.number(1), DType.I64)
        e.result("Trilu", e.x(), diagonal, upper=int(op.upper))
        return
    rows, columns = e.shape()[-2:]
    dtype = e.type().dtype
    if op.k is not None and isinstance(rows, int) and isinstance(columns, int):
        mask = np.ones((rows, columns), np.bool_)
        kept = e.graph.literal(np.triu(mask, op.k) if op.upper else np.tril(mask, op.k))
    else:
        kept = symbolic_mask(e, op)
    if dtype is DType.BOOL:
        e.result("And", kept, e.x())
    else:
        e.result("Where", kept, e.x(), e.literal(np.zeros((), dtype.numpy), dtype))


def symbolic_mask(e: Emission, op: Trilu) -> str:
    """The mask from ranges, for extents known at run time."""
    zero, one = e.literal(0, DType.I64), e.literal(1, DType.I64)
    numbers: list[str] = []
    for d in e.shape()[-2:]:
        extent = e.op("Reshape", e.vector((d,)), e.ints([]), type=TensorType(DType.I64, ()))
        numbers.append(e.op("Range", zero, extent, one, type=TensorType(DType.I64, (d,))))
    rows, columns = numbers
    square = TensorType(DType.I64, e.shape()[-2:])
    distance = e.op("Sub", columns, e.unsqueeze(rows, (1,)), type=square)
    beside = -1 if op.upper else 1
    if op.k is not None:
        bound = e.literal(op.k + beside, DType.I64)
    else:
        bound = e.op("Add", e.cast(e.number(1), DType.I64), e.literal(beside, DType.I64))
    return e.op("Greater" if op.upper else "Less", distance, bound, type=square.with_dtype(DType.BOOL))


@EMITTERS.of(Inverse)
def inverse(e: Emission, op: Inverse) -> None:
    """Of onnxruntime's domain: ONNX itself has no inverse."""
    e.foreign("com.microsoft::Inverse", e.x())
