"""Quantized operators of onnxruntime's domain com.microsoft, in terms of the canonical ones.

A QLinear operator is Dequantize, the operator, Quantize, within one unit of onnxruntime's integer kernels; the others
form exact integer sums. Source: onnxruntime's docs/ContribOperators.md of version 1.32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from uair.frontends.onnx.handlers.contrib_attention import embed_layer_norm, projected_attention
from uair.frontends.onnx.handlers.pooling import average_pool
from uair.frontends.onnx.handlers.quantization import (
    as_scalar,
    dequantize,
    integer_product,
    qlinear_conv,
    quantize,
)
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Handler, Result
from uair.ir.dims import product
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Add,
    Cast,
    Concat,
    Dequantize,
    DynamicQuantize,
    Gather,
    GlobalAvgPool,
    LeakyRelu,
    MatMul,
    Mul,
    ReduceMean,
    Reshape,
    Sigmoid,
    Softmax,
    Transpose,
    Where,
)
from uair.ops.base import Operator

FAMILY = Family("com.microsoft")


def _real(n: OnnxNode, i: int) -> Tensor:
    """Operand i, of scale i + 1 and optional zero point i + 2, as real numbers."""
    return dequantize(n, n[i], n[i + 1], n.optional(i + 2))


def _quantized(n: OnnxNode, x: Tensor, scale: int) -> Tensor:
    """Real numbers as the result, of that scale and the optional zero point behind it; of the first operand's type."""
    return quantize(n, x, n[scale], n.optional(scale + 1), dtype=n[0].type.dtype)


# ------------------------------------------------------------------- element by element
def _binary(operator: type[Operator]) -> Handler:
    return lambda n: _quantized(n, n(operator(), _real(n, 0), _real(n, 3)), 6)


FAMILY.add("QLinearAdd", (1,), _binary(Add))
FAMILY.add("QLinearMul", (1,), _binary(Mul))


@FAMILY.op("QLinearSigmoid", 1)
def _sigmoid(n: OnnxNode) -> Result:
    return _quantized(n, n(Sigmoid(), _real(n, 0)), 3)


@FAMILY.op("QLinearLeakyRelu", 1)
def _leaky_relu(n: OnnxNode) -> Result:
    return _quantized(n, n(LeakyRelu(alpha=n.attributes.number("alpha", 0.01)), _real(n, 0)), 3)


@FAMILY.op("QLinearWhere", 1)
def _where(n: OnnxNode) -> Result:
    chosen = n(Where(), n[0], _real(n, 1), _real(n, 4))
    return quantize(n, chosen, n[7], n[8], dtype=n[1].type.dtype)


@FAMILY.op("QLinearConcat", 1)
def _concat(n: OnnxNode) -> Result:
    """Operands: the result's scale and zero point, then tensor, scale and zero point of each part."""
    parts = [_real(n, i) for i in range(2, len(n.inputs), 3)]
    if not parts:
        n.refuse("there is nothing to concatenate")
    axis = n.axis(n.attributes.integer("axis", 0), n.rank(parts[0]))
    return quantize(n, n(Concat(axis=axis), *parts), n[0], n[1], dtype=n[1].type.dtype)


# ------------------------------------------------------------------- reduction, windows
@FAMILY.op("QLinearReduceMean", 1)
def _reduce_mean(n: OnnxNode) -> Result:
    axes = n.attributes.integers("axes", None)
    chosen = None if axes is None else n.axes(axes, n.rank(n[0]))
    mean = n(ReduceMean(axes=chosen, keepdims=n.attributes.flag("keepdims", True)), _real(n, 0))
    return _quantized(n, mean, 3)


@FAMILY.op("QLinearSoftmax", 1)
def _softmax(n: OnnxNode) -> Result:
    """Before opset 13 (attribute `opset`) all axes from `axis` on are one."""
    x, shape = _real(n, 0), n.shape(n[0])
    newer = n.attributes.integer("opset", 13) >= 13
    axis = n.axis(n.attributes.integer("axis", -1 if newer else 1), len(shape))
    if newer or axis == len(shape) - 1:
        y = n(Softmax(axis=axis), x)
    else:
        flat = n(Reshape(shape=(product(shape[:axis]), product(shape[axis:]))), x)
        y = n(Reshape(shape=shape), n(Softmax(axis=1), flat))
    return _quantized(n, y, 3)


def _channels_first(n: OnnxNode, x: Tensor, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """A computation over [N, C, ...] of an x that the attribute channels_last may say is [N, ..., C]."""
    if not n.attributes.flag("channels_last"):
        return compute(x)
    rank = n.rank(x)
    y = compute(n(Transpose(perm=(0, rank - 1, *range(1, rank - 1))), x))
    return n(Transpose(perm=(0, *range(2, rank), 1)), y)


@FAMILY.op("QLinearAveragePool", 1)
def _average_pool(n: OnnxNode) -> Result:
    include = n.attributes.flag("count_include_pad")
    mean = _channels_first(n, _real(n, 0), lambda x: average_pool(n, x, count_include_pad=include))
    return _quantized(n, mean, 3)


@FAMILY.op("QLinearGlobalAveragePool", 1)
def _global_average_pool(n: OnnxNode) -> Result:
    return _quantized(n, _channels_first(n, _real(n, 0), lambda x: n(GlobalAvgPool(), x)), 3)


@FAMILY.op("QLinearConv", 1)
def _conv(n: OnnxNode) -> Result:
    return _channels_first(n, n[0], lambda x: qlinear_conv(n, x))


# ------------------------------------------------------------------- products
@FAMILY.op("QGemm", 1)
def _gemm(n: OnnxNode) -> Result:
    """Operands: a, its scale and zero point, b, its own, an i32 addend in units of both scales, the result's own.

    Without these the result is f32. alpha multiplies the sum.
    """
    trans_a, trans_b = n.attributes.flag("transA"), n.attributes.flag("transB")
    b_scale, addend, alpha = n[4], n.optional(6), n.attributes.number("alpha", 1.0)
    columns = None if n.rank(b_scale) == 0 or n.shape(b_scale) == (1,) else 0 if trans_b else 1
    b = dequantize(n, n[3], b_scale, n[5], columns)
    y = n(MatMul(trans_a=trans_a, trans_b=trans_b), _real(n, 0), b)
    if addend is not None:
        unit = n(Mul(), as_scalar(n, n[1]), b_scale if columns is not None else as_scalar(n, b_scale))
        if columns is None:
            term = n(Dequantize(), addend, unit)
        else:
            term = n(Mul(), n(Cast(to=DType.F32), addend), unit)
        y = n(Add(), y, term)
    if alpha != 1:
        y = n(Mul(), y, n.like(alpha, y))
    if n.optional(7) is None:
        return y
    zero_point = n.optional(8)
    return quantize(n, y, n[7], zero_point, dtype=zero_point.type.dtype if zero_point is not None else DType.U8)


def _scaled_product(
    n: OnnxNode, a: tuple[Tensor, Tensor, Tensor | None], b: tuple[Tensor, Tensor, Tensor | None], bias: Tensor | None
) -> Tensor:
    """The exact integer product of two quantized matrices as real numbers, plus a bias, in the scales' type."""
    dtype = b[1].type.dtype
    sums = n(Cast(to=DType.F32), integer_product(n, a[0], b[0], a[2], b[2]))
    scales = [n.cast(t, DType.F32) for t in (a[1], b[1])]
    y = n(Mul(), sums, n(Mul(), as_scalar(n, scales[0]), _flat(n, scales[1])))
    if bias is not None:
        y = n(Add(), y, n.cast(bias, DType.F32))
    return n.cast(y, dtype)


def _flat(n: OnnxNode, scale: Tensor) -> Any:
    return as_scalar(n, scale) if n.shape(scale) == (1,) else scale


@FAMILY.op("MatMulIntegerToFloat", 1)
def _matmul_integer_to_float(n: OnnxNode) -> Result:
    return _scaled_product(n, (n[0], n[2], n.optional(4)), (n[1], n[3], n.optional(5)), n.optional(6))


@FAMILY.op("DynamicQuantizeMatMul", 1)
def _dynamic_quantize_matmul(n: OnnxNode) -> Result:
    a, scale, zero_point = n.all(DynamicQuantize(), n[0])
    return _scaled_product(n, (a, scale, zero_point), (n[1], n[2], n.optional(3)), n.optional(4))


@FAMILY.op("QAttention", 1)
def _attention(n: OnnxNode) -> Result:
    """Attention whose projection is an integer product."""
    if n.attributes.integer("do_rotary", 0) or n.attributes.integer("past_present_share_buffer", 0):
        n.unsupported("QAttention with rotary positions or a shared buffer is not supported")
    projected = _scaled_product(n, (n[0], n[3], n.optional(6)), (n[1], n[4], n.optional(7)), n[2])
    return projected_attention(n, projected, mask=5, past=8, bias=None)


# ------------------------------------------------------------------- embeddings
@FAMILY.op("QEmbedLayerNormalization", 1)
def _embed_layer_norm(n: OnnxNode) -> Result:
    """EmbedLayerNormalization whose tables, gamma and beta (operands 2 to 6) are quantized.

    The scale of operand i is i + 6, its zero point i + 11. Rows are dequantized after they are taken.
    """

    def real(i: int, x: Tensor) -> Tensor:
        return dequantize(n, x, n[i + 6], n.optional(i + 11))

    affine = (real(5, n[5]), real(6, n[6]))
    return embed_layer_norm(n, lambda i, places: real(i, n(Gather(axis=0), n[i], places)), affine, None)[:2]
