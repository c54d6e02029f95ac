"""Explicit quantization and integer products.

The QLinear operators become Dequantize, the operator, Quantize; the Integer ones stay exact.
"""

from __future__ import annotations

from typing import Any

from uair.frontends.onnx.handlers.convolution import check_kernel, spatial_rank, window
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.graph import Tensor, constant
from uair.ops import (
    Cast,
    Conv1D,
    Conv2D,
    Conv3D,
    Dequantize,
    DynamicQuantize,
    Expand,
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerMatMul,
    MatMul,
    Mul,
    Quantize,
    Sub,
    Unsqueeze,
)

FAMILY = Family()
_CONTRIB = "com.microsoft"

_CONVOLUTIONS: dict[int, Any] = {1: Conv1D, 2: Conv2D, 3: Conv3D}
_INTEGER_CONVOLUTIONS: dict[int, Any] = {1: IntegerConv1D, 2: IntegerConv2D, 3: IntegerConv3D}


def _place(n: OnnxNode, x: Tensor, scale: Tensor, since: int) -> tuple[int | None, int]:
    """The axis that the scale runs along, None for one scale; and how many neighbours share one, 0 for no blocks."""
    if n.rank(scale) == 0:
        return None, 0
    rank = n.rank(x)
    block_size = n.attributes.integer("block_size", 0) if n.version >= 21 else 0
    if block_size < 0:
        n.refuse(f"block_size is {block_size}")
    if block_size:
        return n.axis(n.attributes.integer("axis", 1), rank), block_size
    if n.rank(scale) != 1:
        n.refuse(f"the scale has {n.rank(scale)} axes, but there is no block_size")
    if n.version < since or not rank or (n.extent(scale, 0) == 1 and _is_per_tensor(n, x)):
        return None, 0
    axis = 0 if rank == 1 else n.attributes.integer("axis", 1)
    return n.axis(axis, rank), 0


def _is_per_tensor(n: OnnxNode, x: Tensor) -> bool:
    """Whether a scale of one element cannot be per axis."""
    axis, rank = n.attributes.integer("axis", 1), n.rank(x)
    return not -rank <= axis < rank or n.extent(x, axis % rank) != 1


def as_scalar(n: OnnxNode, t: Tensor | None) -> Tensor | None:
    """A tensor of one element without its axes."""
    return None if t is None else n.single(t)


@FAMILY.op("QuantizeLinear", 1, domain=_CONTRIB)
@FAMILY.op("QuantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28)
def _quantize(n: OnnxNode) -> Result:
    """The result's type is the zero point's, else `output_dtype` (21), else u8. Per axis since 13, blocks since 21.

    Division is in f32 before version 23 (what onnxruntime does where the specification is silent), from then on in
    the type `precision`, by default that of the scale.
    """
    scale, zero_point = n[1], n.optional(2)
    declared = n.attributes.integer("output_dtype", 0)
    dtype = DType.U8 if not declared else dtype_of(declared, n.place)
    if zero_point is not None:
        if declared and dtype is not zero_point.type.dtype:
            n.refuse(f"output_dtype is {dtype}, the zero point is {zero_point.type.dtype}")
        dtype = zero_point.type.dtype
    axis, block_size = _place(n, n[0], scale, since=1 if n.domain == _CONTRIB else 13)
    precision = _precision(n, scale.type.dtype)
    if scale.type.dtype is DType.I32:  # 23
        scale = n(Cast(to=DType.F64), scale)
    op = Quantize(
        dtype=dtype,
        axis=axis,
        block_size=block_size,
        precision=precision,
        saturate=n.attributes.flag("saturate", True),
    )
    if axis is None:
        return n(op, n[0], as_scalar(n, scale), as_scalar(n, zero_point))
    return n(op, n[0], scale, zero_point)


def _precision(n: OnnxNode, scale: DType) -> DType | None:
    """The type to divide in; None for f32."""
    declared = n.attributes.integer("precision", 0)
    if declared:
        chosen = dtype_of(declared, n.place)
        if not chosen.is_float or chosen.bits < 16:
            n.refuse(f"precision is {chosen}, which numbers cannot be divided in")
    elif n.version < 23 or scale is DType.F8E8M0:
        return None
    else:
        chosen = DType.F64 if scale is DType.I32 else scale
    return None if chosen is DType.F32 else chosen


def quantize(
    n: OnnxNode,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    *,
    dtype: DType,
    axis: int | None = None,
    block_size: int = 0,
) -> Tensor:
    """Quantize with scalar parameters as scalars, dividing in f32."""
    if axis is None:
        return n(Quantize(dtype=dtype), x, as_scalar(n, scale), as_scalar(n, zero_point))
    return n(Quantize(dtype=dtype, axis=axis, block_size=block_size), x, scale, zero_point)


def dequantize(
    n: OnnxNode,
    x: Tensor,
    scale: Tensor,
    zero_point: Tensor | None,
    axis: int | None = None,
    block_size: int = 0,
) -> Tensor:
    """Dequantize to f32 with scalar parameters as scalars; one zero point for several scales is repeated."""
    op = Dequantize(axis=axis, block_size=block_size, dtype=None if scale.type.dtype is DType.F32 else DType.F32)
    if axis is None:
        return n(op, x, as_scalar(n, scale), as_scalar(n, zero_point))
    if zero_point is not None and n.shape(zero_point) != n.shape(scale):
        zero_point = n(Expand(shape=n.shape(scale)), zero_point)
    return n(op, x, scale, zero_point)


@FAMILY.op("DequantizeLinear", 1, domain=_CONTRIB)
@FAMILY.op("DequantizeLinear", 10, 13, 19, 21, 23, 24, 25, 28)
def _dequantize(n: OnnxNode) -> Result:
    """The result has the scale's type unless `output_dtype` (23) says another one."""
    scale, zero_point = n[1], n.optional(2)
    declared = n.attributes.integer("output_dtype", 0)
    dtype = dtype_of(declared, n.place) if declared else scale.type.dtype
    axis, block_size = _place(n, n[0], scale, since=1 if n.domain == _CONTRIB else 13)
    op = Dequantize(axis=axis, block_size=block_size, dtype=None if dtype is scale.type.dtype else dtype)
    if axis is None:
        return n(op, n[0], as_scalar(n, scale), as_scalar(n, zero_point))
    return n(op, n[0], scale, zero_point)


@FAMILY.op("DynamicQuantizeLinear", 11)
def _dynamic_quantize(n: OnnxNode) -> Result:
    return n.all(DynamicQuantize(), n[0])


def _per_axis(n: OnnxNode, scale: Tensor, axis: int) -> int | None:
    shape = n.shape(scale)
    return axis if len(shape) == 1 and shape[0] != 1 else None


@FAMILY.op("QLinearConv", 10)
def _qlinear_conv(n: OnnxNode) -> Result:
    return qlinear_conv(n, n[0])


def qlinear_conv(n: OnnxNode, x: Tensor) -> Tensor:
    """Quantized convolution of x. The bias is i32 in units of x_scale * w_scale: added exactly as its real self."""
    w = n[3]
    rank = spatial_rank(n, x, w)
    check_kernel(n, w)
    op = _window_operator(n, rank, x, w)
    real_x = dequantize(n, x, n[1], n[2])
    axis = _per_axis(n, n[4], 0)
    real_w = dequantize(n, w, n[4], n[5], axis)
    bias = n.optional(8)
    if bias is not None:
        unit = n(Mul(), as_scalar(n, n[1]) or n[1], n[4] if axis is not None else as_scalar(n, n[4]))
        bias = n(Dequantize(axis=None if axis is None else 0), bias, unit)
    return quantize(n, n(op, real_x, real_w, bias), n[6], n[7], dtype=n[7].type.dtype)


def _window_operator(n: OnnxNode, rank: int, x: Tensor, w: Tensor) -> Any:
    op = _CONVOLUTIONS[rank](groups=n.attributes.integer("group", 1), **window(n, rank))
    if op.auto_pad != "notset":
        op = op.with_explicit_pads(n.shape(x)[2:], static(n.shape(w)[2:]))
    return op


@FAMILY.op("ConvInteger", 10)
def _conv_integer(n: OnnxNode) -> Result:
    """Exact i32 convolution; the weight's zero point may be per output channel."""
    x, w = n[0], n[1]
    rank = spatial_rank(n, x, w)
    check_kernel(n, w)
    w_zero = n.optional(3)
    if w_zero is not None and n.shape(w_zero) == (1,):
        w_zero = as_scalar(n, w_zero)
    op = _INTEGER_CONVOLUTIONS[rank](**_window_operator(n, rank, x, w).attributes)
    return n(op, x, w, as_scalar(n, n.optional(2)), w_zero)


@FAMILY.op("MatMulInteger", 10)
def _matmul_integer(n: OnnxNode) -> Result:
    return integer_product(n, n[0], n[1], n.optional(2), n.optional(3))


def integer_product(n: OnnxNode, a: Tensor, b: Tensor, a_zero: Tensor | None, b_zero: Tensor | None) -> Tensor:
    """Exact i32 product of 8-bit integers less their zero points; a's may be per row, b's per column.

    Quantizers list one zero point for each column, nearly always the same (0 for i8): that is one number.
    """
    a_zero, b_zero = _one_number(a_zero), _one_number(b_zero)
    if all(t is None or n.rank(t) == 0 or n.shape(t) == (1,) for t in (a_zero, b_zero)):
        return n(IntegerMatMul(), a, b, as_scalar(n, a_zero), as_scalar(n, b_zero))
    return n(MatMul(), _centred(n, a, a_zero, row=True), _centred(n, b, b_zero, row=False))


def _one_number(zero_point: Tensor | None) -> Tensor | None:
    """A constant of equal numbers as a scalar; others as they are."""
    if zero_point is None or zero_point.data is None or zero_point.data.size < 2:
        return zero_point
    values = zero_point.numpy().reshape(-1)
    return constant(values[0], zero_point.name) if (values == values[0]).all() else zero_point


def _centred(n: OnnxNode, t: Tensor, zero_point: Tensor | None, *, row: bool) -> Tensor:
    wide = n(Cast(to=DType.I32), t)
    if zero_point is None:
        return wide
    offset = n(Cast(to=DType.I32), zero_point)
    if row and n.rank(zero_point) == 1 and n.extent(zero_point, 0) != 1:
        offset = n(Unsqueeze(axes=(1,)), offset)
    return n(Sub(), wide, offset)


@FAMILY.op("QLinearMatMul", 10, 21)
def _qlinear_matmul(n: OnnxNode) -> Result:
    """Scales may be one per row of a and y and per column of b, also per matrix of a stack: [..., M, 1], [..., 1, N].

    Version 21 adds float8 operands and scales of f16 and bf16, with which is computed in f32.
    """
    a = dequantize(n, n[0], n[1], n[2], *_lines(n, n[0], n[1], row=True))
    b = dequantize(n, n[3], n[4], n[5], *_lines(n, n[3], n[4], row=False))
    y = n(MatMul(), a, b)
    axis, block_size = _lines(n, y, n[6], row=True)
    return quantize(n, y, n[6], n[7], dtype=n[7].type.dtype, axis=axis, block_size=block_size)


def _lines(n: OnnxNode, matrix: Tensor, scale: Tensor, *, row: bool) -> tuple[int | None, int]:
    """Axis and block size of a scale that holds for rows (columns) of a matrix: a whole line is a block."""
    rank = n.rank(matrix)
    if n.rank(scale) <= 1:
        return _per_axis(n, scale, rank - 2 if row else rank - 1), 0
    along = rank - 1 if row else rank - 2
    length = n.extent(matrix, along)
    if n.rank(scale) != rank or not isinstance(length, int):
        n.unsupported(
            f"{n.op_type}: a scale of shape {list(n.shape(scale))} needs a matrix of as many axes and known extents"
        )
    return along, length
