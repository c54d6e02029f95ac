"""Integer convolutions and matrix products."""

from __future__ import annotations

from uair.codegen.onnx.emitters.convolution import IntegerConvolution, IntegerTransposed, transposed_window, window
from uair.codegen.onnx.emitters.linear import transposed
from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ops.integer import (
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
    IntegerLinear,
    IntegerMatMul,
)

EMITTERS = Emitters()
BIAS = 4


def require_bytes(e: Emission) -> None:
    """Refuse 16-bit integers, which ONNX multiplies in halves only."""
    if e.type().dtype.bits > 8:
        raise NotExpressible(f"ONNX has no products of {e.type().dtype}")


def channelwise(e: Emission, name: str, rank: int) -> str:
    """A vector [M] as [M, 1...], to broadcast with [N, M, spatial...]."""
    (extent,) = e.graph.types[name].dims
    shape: list[Dim] = [extent, *(1 for _ in range(rank - 2))]
    return e.reshape(name, shape)


@EMITTERS.of(IntegerConv1D, IntegerConv2D, IntegerConv3D)
def conv(e: Emission, op: IntegerConvolution) -> None:
    """ConvInteger has no bias."""
    require_bytes(e)
    operands = [e.x(0), e.x(1), e.optional(2), e.optional(3)]
    attributes = window(e, op)
    if e.given(BIAS):
        acc = e.op("ConvInteger", *operands, type=e.y, **attributes)
        e.result("Add", acc, channelwise(e, e.x(BIAS), len(e.shape())))
    else:
        e.result("ConvInteger", *operands, **attributes)


def centred(e: Emission, i: int, zero_point: int) -> str:
    """Operand minus zero point as f64, which is exact; so are the sums of fewer than 2^37 products."""
    wide = e.cast(e.x(i), DType.F64)
    return e.op("Sub", wide, e.cast(e.x(zero_point), DType.F64)) if e.given(zero_point) else wide


@EMITTERS.of(IntegerConvTranspose1D, IntegerConvTranspose2D, IntegerConvTranspose3D)
def conv_transpose(e: Emission, op: IntegerTransposed) -> None:
    """ONNX has no integer form: by way of f64 and i64, which wraps around to i32."""
    acc = e.op(
        "ConvTranspose",
        centred(e, 0, 2),
        centred(e, 1, 3),
        type=e.y.with_dtype(DType.F64),
        **transposed_window(e, op),
    )
    whole = e.cast(acc, DType.I64)
    if e.given(BIAS):
        whole = e.op("Add", whole, channelwise(e, e.cast(e.x(BIAS), DType.I64), len(e.shape())))
    e.result("Cast", whole, to=e.y.dtype)


@EMITTERS.of(IntegerLinear)
def linear(e: Emission, op: IntegerLinear) -> None:
    """MatMulInteger has no bias and does not transpose."""
    require_bytes(e)
    matrix = transposed(e, 1) if op.transpose_w else e.x(1)
    operands = [e.x(0), matrix, e.optional(2), e.optional(3)]
    if e.given(BIAS):
        e.result("Add", e.op("MatMulInteger", *operands, type=e.y), e.x(BIAS))
    else:
        e.result("MatMulInteger", *operands)


@EMITTERS.of(IntegerMatMul)
def mat_mul(e: Emission, op: IntegerMatMul) -> None:
    """MatMulInteger does not transpose."""
    require_bytes(e)
    a = transposed(e, 0) if op.trans_a else e.x(0)
    b = transposed(e, 1) if op.trans_b else e.x(1)
    e.result("MatMulInteger", a, b, e.optional(2), e.optional(3))
