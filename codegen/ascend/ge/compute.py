"""Convolutions, products of matrices, pooling, normalization, and Ascend's own operators of quantized layers.

Strides and dilations have one number for each axis of `data_format`; pads are top, bottom, left, right for Conv2D, as
its documentation orders them, and so for pooling.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from uair.codegen.ascend.emitters import BIAS
from uair.codegen.ascend.ge.ir import Value
from uair.codegen.ascend.ge.table import Emission, GeEmitters, NoGeForm, ge_type
from uair.codegen.ascend.ops import AscendAntiQuant, AscendDequant, AscendQuant
from uair.ir.dtype import DType
from uair.ir.types import TensorType
from uair.ops import (
    LRN,
    AvgPool1D,
    AvgPool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    GlobalAvgPool,
    GlobalMaxPool,
    InstanceNorm,
    IntegerConv2D,
    IntegerConvTranspose2D,
    IntegerLinear,
    IntegerMatMul,
    LayerNorm,
    Linear,
    MatMul,
    MaxPool1D,
    MaxPool2D,
)
from uair.ops._windows import output_extent

EMITTERS = GeEmitters()
Conv: TypeAlias = Conv2D | IntegerConv2D
Transposed: TypeAlias = ConvTranspose2D | IntegerConvTranspose2D
_INTEGER = (IntegerConv2D, IntegerConvTranspose2D, IntegerLinear, IntegerMatMul)
IMAGE: dict[str, Any] = {"data_format": "NCHW"}


def ordered(pads: tuple[int, ...]) -> list[int]:
    """Top, bottom, left, right from top, left, bottom, right."""
    top, left, bottom, right = pads
    return [top, bottom, left, right]


def optional(e: Emission, i: int) -> list[Value]:
    """Operand `i` as the last one, when it is there."""
    return [e.x(i)] if e.given(i) else []


def require_quantized(e: Emission) -> None:
    """Integers come from AscendQuant, whose offset GE looks up; weights are constants with zero point 0.

    Raises:
        NoGeForm: they do not.
    """
    if not isinstance(e.node.op, _INTEGER):
        return
    x, weight = e.tensor(0), e.tensor(1)
    quantizer = x.producer.op if x.producer is not None else None
    if not isinstance(quantizer, AscendQuant) or not weight.is_constant or weight.type.dtype is not DType.I8:
        raise NoGeForm("integers must come from AscendQuant and meet an i8 constant", hint="quantize with UAIR")
    offset = int(e.constant(2)) if e.given(2) else 0
    if e.given(3) or offset != int(quantizer.offset):
        raise NoGeForm("the zero points must be that of the AscendQuant in front, and none of the weight")


def require_padding(op: Any) -> None:
    """Padding must be numbers.

    Raises:
        NoGeForm: it is not.
    """
    if getattr(op, "auto_pad", "notset") != "notset":
        raise NoGeForm("the padding must be numbers", hint="bind the model's input shapes (--shape)")


# -------------------------------------------------------------------------------------------------------- convolutions
@EMITTERS.of(Conv2D, IntegerConv2D)
def conv(e: Emission, op: Conv) -> None:
    """Grouped and depthwise ones too: GE has passes that tell them apart.

    offset_x stays 0 for quantized ones: GE takes it from the AscendQuant in front.
    """
    require_padding(op)
    require_quantized(e)
    bias = optional(e, BIAS if isinstance(op, IntegerConv2D) else 2)
    e.results("Conv2D", [e.x(0), e.x(1), *bias], **conv_attributes(op))


def conv_attributes(op: Conv | Transposed) -> dict[str, Any]:
    """Attributes that convolutions and transposed ones share."""
    return {
        "strides": [1, 1, *op.strides],
        "pads": ordered(op.pads),
        "dilations": [1, 1, *op.dilations],
        "groups": op.groups,
        "offset_x": 0,
        **IMAGE,
    }


@EMITTERS.of(Conv1D)
def conv_1d(e: Emission, op: Conv1D) -> None:
    """A convolution of images one pixel high."""
    require_padding(op)
    wide = Conv2D(
        strides=(1, *op.strides),
        pads=(0, op.pads[0], 0, op.pads[1]),
        dilations=(1, *op.dilations),
        groups=op.groups,
    )
    y = e.y.with_shape((e.y.dims[0], e.y.dims[1], 1, e.y.dims[2]))
    rows, filters = (e.op("UnsqueezeV2", [e.x(i)], row_type(e.x(i)), axis=[2]) for i in (0, 1))
    made = e.op("Conv2D", [rows, filters, *optional(e, 2)], y, **conv_attributes(wide))
    e.results("SqueezeV2", [made], axis=[2])


@EMITTERS.of(ConvTranspose1D)
def conv_transpose_1d(e: Emission, op: ConvTranspose1D) -> None:
    """A transposed convolution of images one pixel high."""
    wide = ConvTranspose2D(
        strides=(1, *op.strides),
        pads=(0, op.pads[0], 0, op.pads[1]),
        dilations=(1, *op.dilations),
        groups=op.groups,
    )
    y = e.y.with_shape((e.y.dims[0], e.y.dims[1], 1, e.y.dims[2]))
    rows, filters = (e.op("UnsqueezeV2", [e.x(i)], row_type(e.x(i)), axis=[2]) for i in (0, 1))
    sizes = {"input_size": list(y.dims), "output_padding": [0, 0, 0, *op.output_padding]}
    made = e.op("Conv2DTransposeD", [rows, filters, *optional(e, 2)], y, **sizes, **conv_attributes(wide))
    e.results("SqueezeV2", [made], axis=[2])


def row_type(value: Value) -> TensorType:
    """[N, C, 1, L] of [N, C, L]."""
    n, c, length = value.type.dims
    return value.type.with_shape((n, c, 1, length))


@EMITTERS.of(ConvTranspose2D, IntegerConvTranspose2D)
def conv_transpose(e: Emission, op: Transposed) -> None:
    """`input_size` is the shape of the result."""
    require_quantized(e)
    bias = optional(e, BIAS if isinstance(op, IntegerConvTranspose2D) else 2)
    e.results(
        "Conv2DTransposeD",
        [e.x(0), e.x(1), *bias],
        input_size=list(e.y.dims),
        output_padding=[0, 0, *op.output_padding],
        **conv_attributes(op),
    )


# ------------------------------------------------------------------------------------------------------------ products
@EMITTERS.of(Linear, IntegerLinear)
def linear(e: Emission, op: Linear | IntegerLinear) -> None:
    """MatMulV2 with bias for rows; BatchMatMulV2 and Add for more axes."""
    require_quantized(e)
    bias = optional(e, BIAS if isinstance(op, IntegerLinear) else 2)
    if len(e.shape()) == 2:
        e.results(
            "MatMulV2", [e.x(0), e.x(1), *bias], transpose_x1=False, transpose_x2=bool(op.transpose_w), offset_x=0
        )
        return
    attributes: dict[str, Any] = {"adj_x1": False, "adj_x2": bool(op.transpose_w), "offset_x": 0}
    if len(e.shape()) < 2:
        raise NoGeForm("a product of a vector is not written")
    if not bias:
        e.results("BatchMatMulV2", [e.x(0), e.x(1)], **attributes)
        return
    products = e.op("BatchMatMulV2", [e.x(0), e.x(1)], e.y, **attributes)
    e.results("Add", [products, *bias])


@EMITTERS.of(MatMul, IntegerMatMul)
def mat_mul(e: Emission, op: MatMul | IntegerMatMul) -> None:
    """MatMulV2 for matrices, BatchMatMulV2 for more axes."""
    require_quantized(e)
    a, b = len(e.shape(0)), len(e.shape(1))
    if min(a, b) < 2:
        raise NoGeForm("a product of a vector is not written")
    if a == b == 2:
        e.results("MatMulV2", [e.x(0), e.x(1)], transpose_x1=op.trans_a, transpose_x2=op.trans_b, offset_x=0)
    else:
        e.results("BatchMatMulV2", [e.x(0), e.x(1)], adj_x1=op.trans_a, adj_x2=op.trans_b, offset_x=0)


# ------------------------------------------------------------------------------------------------------------- pooling
def whole_pads(e: Emission, op: MaxPool2D | AvgPool2D) -> tuple[int, ...]:
    """Pads with which rounding down gives the extents of the result, so that ceil_mode need not be written."""
    require_padding(op)
    top, left, bottom, right = op.pads
    extra: list[int] = []
    for axis, (begin, end) in enumerate(((top, bottom), (left, right))):
        size, windows = e.shape()[2 + axis], e.y.dims[2 + axis]
        stride, reach = op.strides[axis], op.dilations[axis] * (op.kernel[axis] - 1) + 1
        floor = output_extent(size, op.kernel[axis], stride, op.dilations[axis], (begin, end))
        assert isinstance(windows, int)
        extra.append(end if floor == windows else (windows - 1) * stride + reach - size - begin)
    return top, left, extra[0], extra[1]


def pool_attributes(op: Any, pads: tuple[int, ...]) -> dict[str, Any]:
    """Attributes that the pooling operators share."""
    if any(d != 1 for d in op.dilations):
        raise NoGeForm("pooling has no dilations")
    return {
        "ksize": [1, 1, *op.kernel],
        "strides": [1, 1, *op.strides],
        "padding_mode": "CALCULATED",
        "pads": ordered(pads),
        "global_pooling": False,
        "ceil_mode": False,
        **IMAGE,
    }


@EMITTERS.of(MaxPool2D)
def max_pool(e: Emission, op: MaxPool2D) -> None:
    """The padding never wins, so more of it at the end does no harm."""
    e.results("MaxPoolV3", [e.x()], **pool_attributes(op, whole_pads(e, op)))


@EMITTERS.of(AvgPool2D)
def avg_pool(e: Emission, op: AvgPool2D) -> None:
    """`exclusive`: the padding does not count."""
    pads = whole_pads(e, op)
    if op.count_include_pad and pads != op.pads:
        raise NoGeForm("a mean that counts the padding, but not all of it, is not written")
    e.results("AvgPoolV2", [e.x()], exclusive=not op.count_include_pad, **pool_attributes(op, pads))


@EMITTERS.of(MaxPool1D, AvgPool1D)
def pool_1d(e: Emission, op: MaxPool1D | AvgPool1D) -> None:
    """Pooling of images one pixel high."""
    require_padding(op)
    if op.ceil_mode:
        raise NoGeForm("pooling of rows rounds down only")
    begin, end = op.pads
    y = e.y.with_shape((e.y.dims[0], e.y.dims[1], 1, e.y.dims[2]))
    rows = e.op("UnsqueezeV2", [e.x()], row_type(e.x()), axis=[2])
    common: dict[str, Any] = {"kernel": (1, *op.kernel), "strides": (1, *op.strides), "dilations": (1, *op.dilations)}
    if isinstance(op, MaxPool1D):
        made = e.op("MaxPoolV3", [rows], y, **pool_attributes(MaxPool2D(**common), (0, begin, 0, end)))
    else:
        attributes = pool_attributes(AvgPool2D(**common), (0, begin, 0, end))
        made = e.op("AvgPoolV2", [rows], y, exclusive=not op.count_include_pad, **attributes)
    e.results("SqueezeV2", [made], axis=[2])


@EMITTERS.of(GlobalAvgPool)
def global_avg_pool(e: Emission, op: GlobalAvgPool) -> None:
    """An operator of images; a mean for other ranks."""
    rank = len(e.shape())
    if rank == 4:
        e.results("GlobalAveragePool", [e.x()])
    else:
        e.results("ReduceMeanD", [e.x()], axes=list(range(2, rank)), keep_dims=True)


@EMITTERS.of(GlobalMaxPool)
def global_max_pool(e: Emission, op: GlobalMaxPool) -> None:
    """The greatest over the spatial axes."""
    e.results("ReduceMaxD", [e.x()], axes=list(range(2, len(e.shape()))), keep_dims=True)


# ------------------------------------------------------------------------------------------------------- normalization
@EMITTERS.of(BatchNorm)
def batch_norm(e: Emission, op: BatchNorm) -> None:
    """BatchNorm in inference, of images; its five further results are not read."""
    if len(e.shape()) != 4:
        raise NoGeForm("BatchNorm takes images")
    vector = e.type(3).with_dtype(DType.F32)
    e.results("BatchNorm", e.operands, [vector] * 5, epsilon=op.epsilon, is_training=False, **IMAGE)


@EMITTERS.of(LayerNorm)
def layer_norm(e: Emission, op: LayerNorm) -> None:
    """Scale and bias in the shape of the normalized axes; mean and variance are not read."""
    shape = e.shape()
    axis = op.axis % len(shape)
    scale, bias = (parameter(e, i, shape[axis:], fill) for i, fill in ((1, 1.0), (2, 0.0)))
    reduced = e.type().with_shape((*shape[:axis], *(1,) * (len(shape) - axis)))
    e.results(
        "LayerNorm",
        [e.x(), scale, bias],
        [reduced, reduced],
        begin_norm_axis=axis,
        begin_params_axis=axis,
        epsilon=op.epsilon,
    )


def parameter(e: Emission, i: int, shape: tuple[int, ...], fill: float) -> Value:
    """Operand `i` in exactly this shape; `fill` when it is not there."""
    dtype = e.type().dtype
    if not e.given(i):
        return e.literal(np.full(shape, fill), dtype)
    if e.shape(i) == shape:
        return e.x(i)
    return e.literal(np.broadcast_to(e.constant(i), shape), dtype)


@EMITTERS.of(InstanceNorm)
def instance_norm(e: Emission, op: InstanceNorm) -> None:
    """InstanceNorm of images; mean and variance are not read."""
    shape = e.shape()
    if len(shape) != 4:
        raise NoGeForm("InstanceNorm takes images")
    reduced = e.type().with_shape((*shape[:2], 1, 1))
    e.results("InstanceNorm", e.operands, [reduced, reduced], epsilon=op.epsilon, **IMAGE)


@EMITTERS.of(LRN)
def lrn(e: Emission, op: LRN) -> None:
    """Alpha is not divided by the number of neighbours, which must be odd."""
    if op.size % 2 == 0 or len(e.shape()) != 4:
        raise NoGeForm("LRN takes images and an odd number of channels")
    e.results(
        "LRN",
        [e.x()],
        depth_radius=op.size // 2,
        bias=op.bias,
        alpha=op.alpha / op.size,
        beta=op.beta,
        norm_region="ACROSS_CHANNELS",
    )


# -------------------------------------------------------------------------------------------------------- quantization
@EMITTERS.of(AscendQuant)
def quant(e: Emission, op: AscendQuant) -> None:
    """To INT8."""
    e.results(
        "AscendQuant",
        [e.x()],
        scale=float(op.scale),
        offset=float(op.offset),
        sqrt_mode=False,
        round_mode="Round",
        dst_type=ge_type(DType.I8),
    )


@EMITTERS.of(AscendDequant)
def dequant(e: Emission, op: AscendDequant) -> None:
    """From 32-bit sums."""
    e.results("AscendDequant", [e.x(0), e.x(1)], sqrt_mode=False, relu_flag=False, dtype=ge_type(op.dtype))


@EMITTERS.of(AscendAntiQuant)
def anti_quant(e: Emission, op: AscendAntiQuant) -> None:
    """GE adds the offset, so it is the negated zero point."""
    e.results(
        "AscendAntiQuant",
        [e.x()],
        scale=float(op.scale),
        offset=-float(op.offset),
        dtype=ge_type(op.dtype),
        sqrt_mode=False,
    )
