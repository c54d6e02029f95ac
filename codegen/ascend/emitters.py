"""How Ascend's operators, and those that ATC reads in its own way, are written as ONNX nodes.

The quantized form is that of Huawei's AMCT: everything in the default domain, AscendQuant, then a Conv, ConvTranspose,
Gemm or MatMul whose weight is an INT8 and whose bias an INT32 initializer, then AscendDequant. onnx's checker refuses
such a file, ATC's importer wants it. Source: hicann/amct, amct_pytorch/classic/graph_based/amct_pytorch/optimizer/
insert_{quant,dequant,weight_quant,bias_quant}_pass.py.
"""

from __future__ import annotations

from uair.codegen.ascend.ops import AscendAntiQuant, AscendDequant, AscendQuant
from uair.codegen.onnx import Emission, Emitters, NotExpressible
from uair.codegen.onnx.emitters.convolution import kernel_shape
from uair.codegen.onnx.emitters.linear import transposed
from uair.ir.dtype import DType
from uair.ops import IntegerConv2D, IntegerConvTranspose2D, IntegerLinear, IntegerMatMul, TopK

EMITTERS = Emitters()
GE_TYPE = {DType.F32: 0, DType.F16: 1}
"""ge::DataType, by which attributes of CANN operators name element types (not by ONNX's numbers)."""
BIAS = 4


@EMITTERS.of(AscendQuant)
def quant(e: Emission, op: AscendQuant) -> None:
    """`offset` must be a FLOAT: the importer takes an INT for absent."""
    e.foreign(
        "AscendQuant",
        e.x(),
        scale=float(op.scale),
        offset=float(op.offset),
        dst_type="INT8",
        sqrt_mode=0,
        round_mode="Round",
    )


@EMITTERS.of(AscendDequant)
def dequant(e: Emission, op: AscendDequant) -> None:
    """The scales are a UINT64 initializer."""
    e.foreign("AscendDequant", e.x(0), e.x(1), dtype=GE_TYPE[op.dtype], sqrt_mode=0, relu_flag=0)


@EMITTERS.of(AscendAntiQuant)
def anti_quant(e: Emission, op: AscendAntiQuant) -> None:
    """The importer negates the offset itself."""
    e.foreign("AscendAntiQuant", e.x(), scale=float(op.scale), offset=float(op.offset), dtype=GE_TYPE[op.dtype])


def require_quantized(e: Emission) -> None:
    """The zero point is not written, so it must be the offset of the AscendQuant that made the operand.

    Raises:
        NotExpressible: it is not.
    """
    x, weight = e.tensor(0), e.tensor(1)
    quantizer = x.producer.op if x.producer is not None else None
    if not isinstance(quantizer, AscendQuant):
        raise NotExpressible("ATC takes integers only from AscendQuant", hint="quantize the model with UAIR")
    if e.given(3) or not weight.is_constant or weight.type.dtype is not DType.I8:
        raise NotExpressible("ATC takes weights that are i8 constants with zero point 0")
    offset = e.constant(2) if e.given(2) else None
    if e.given(2) and (offset is None or offset.ndim):
        raise NotExpressible("the zero point must be a constant scalar")
    if (0 if offset is None else int(offset)) != int(quantizer.offset):
        raise NotExpressible("the zero point is not that of the AscendQuant in front")


def optional_bias(e: Emission) -> str | None:
    """The bias as it is: ATC itself subtracts zero point * sum of weights from it."""
    return e.x(BIAS) if e.given(BIAS) else None


@EMITTERS.of(IntegerConv2D)
def conv(e: Emission, op: IntegerConv2D) -> None:
    """Conv."""
    require_quantized(e)
    if op.auto_pad != "notset":
        raise NotExpressible("the padding must be numbers", hint="bind the model's input shapes (--shape)")
    e.foreign(
        "Conv",
        e.x(0),
        e.x(1),
        optional_bias(e),
        kernel_shape=kernel_shape(e),
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        group=op.groups,
    )


@EMITTERS.of(IntegerConvTranspose2D)
def conv_transpose(e: Emission, op: IntegerConvTranspose2D) -> None:
    """ConvTranspose."""
    require_quantized(e)
    e.foreign(
        "ConvTranspose",
        e.x(0),
        e.x(1),
        optional_bias(e),
        kernel_shape=kernel_shape(e),
        strides=op.strides,
        pads=op.pads,
        dilations=op.dilations,
        group=op.groups,
        output_padding=op.output_padding,
    )


@EMITTERS.of(IntegerLinear)
def linear(e: Emission, op: IntegerLinear) -> None:
    """Gemm for a matrix; MatMul for more axes, with the bias added to the integer sums."""
    require_quantized(e)
    bias = optional_bias(e)
    if len(e.shape()) == 2:
        e.foreign("Gemm", e.x(0), e.x(1), bias, alpha=1.0, beta=1.0, transA=0, transB=int(op.transpose_w))
        return
    matrix = transposed(e, 1) if op.transpose_w else e.x(1)
    if bias is None:
        e.foreign("MatMul", e.x(0), matrix)
        return
    sums = e.graph.fresh(f"{e.node.name}.products", e.y)
    e.foreign("MatMul", e.x(0), matrix, outputs=[sums])
    e.foreign("Add", sums, bias, hint=f"{e.node.name}.bias")


@EMITTERS.of(IntegerMatMul)
def mat_mul(e: Emission, op: IntegerMatMul) -> None:
    """MatMul by a constant matrix."""
    require_quantized(e)
    if op.trans_a:
        raise NotExpressible("ATC does not transpose the quantized operand of a product")
    e.foreign("MatMul", e.x(0), transposed(e, 1) if op.trans_b else e.x(1))


@EMITTERS.of(TopK)
def top_k(e: Emission, op: TopK) -> None:
    """ATC's TopK gives indices of 32 bits whatever ONNX says; the Cast, which does nothing in ONNX, widens them.

    Without it their users fail with "dtype is not same, DT_INT64 vs DT_INT32" (reported for Ascend 310).
    """
    if op.k is None:
        raise NotExpressible("the number of results must be known", hint="make k a constant")
    values, indices = (e.graph.name(t) for t in e.node.outputs)
    narrow = e.graph.fresh(f"{indices}.narrow", e.node.outputs[1].type)
    attributes = {"axis": e.axis(op.axis), "largest": int(op.largest), "sorted": int(op.sorted)}
    hint = e.node.name or values
    e.graph.add("TopK", [e.x(), e.ints([op.k])], [values, narrow], attributes, hint)
    e.graph.add("Cast", [narrow], [indices], {"to": DType.I64}, f"{hint}.indices")
