"""Quantization. What QuantizeLinear and DequantizeLinear lack at an opset is written as their formula."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.codegen.onnx.schema import NotExpressible, require_type, signature
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ops.layout import Pack, Unpack
from uair.ops.quantization import Dequantize, DynamicQuantize, Quantize

EMITTERS = Emitters()


@EMITTERS.of(Pack, Unpack)
def layout_change(e: Emission, op: Pack | Unpack) -> None:
    """A layout does not change values: the vendor's tool chooses its own."""
    e.alias()


def quantizes(e: Emission, op: Quantize) -> bool:
    """Whether QuantizeLinear takes these types, and an axis or blocks, at the opset, and divides in that precision."""
    if op.rounding != "half_even" or not _placed(e, op) or (not op.saturate and e.opset < 19):
        return False
    schema = signature("QuantizeLinear", e.opset)
    x, scale = schema.input(0), schema.input(1)
    same = e.type(0).dtype is e.type(1).dtype or x.variable != scale.variable
    taken = e.type(0).dtype in x.allowed and e.type(1).dtype in scale.allowed
    usual = e.type(1).dtype if e.opset >= 23 else DType.F32
    divides = op.divisor_type(e.type(0).dtype) is usual
    return same and taken and divides and op.dtype in schema.outputs[0].allowed


def dequantizes(e: Emission, op: Dequantize) -> bool:
    """Whether DequantizeLinear takes and gives these types, with an axis or blocks, at the opset."""
    other = op.dtype not in (None, e.type(1).dtype)
    if not _placed(e, op) or (other and e.opset < 23):
        return False
    schema = signature("DequantizeLinear", e.opset)
    given = e.y.dtype in schema.outputs[0].allowed
    stored = e.graph.types[e.x(0)].dtype  # of a constant, a wider type where the opset lacks its own
    return given and stored in schema.input(0).allowed and e.type(1).dtype in schema.input(1).allowed


def _placed(e: Emission, op: Quantize | Dequantize) -> bool:
    """Whether the opset knows scales along an axis (13) and of blocks (21)."""
    return e.opset >= (21 if op.block_size else 13) or op.axis is None


def place(e: Emission, op: Quantize | Dequantize) -> dict[str, Any]:
    """The attributes that say where the scales lie."""
    axis = None if op.axis is None else e.axis(op.axis)
    return {"axis": axis, "block_size": op.block_size} if op.block_size else {"axis": axis}


def offset(e: Emission, quantized: DType, *, needed: bool) -> str | None:
    """The zero point; when omitted but `needed` (it tells the element type), zeros shaped like the scale."""
    if e.given(2):
        return e.x(2)
    if not needed:
        return None
    extents = e.static_shape(1)
    return e.graph.literal(np.zeros(extents, quantized.numpy))


def along(e: Emission, name: str, axis: int | None) -> str:
    """A scale or zero point shaped to broadcast with operand 0."""
    if axis is None:
        return name
    rank, place = len(e.shape()), e.axis(axis)
    extent: Dim = e.graph.types[name].dims[0]
    shape: list[Dim] = [extent if i == place else 1 for i in range(rank)]
    return name if rank == 1 else e.reshape(name, shape)


@EMITTERS.of(Quantize)
def quantize(e: Emission, op: Quantize) -> None:
    """QuantizeLinear rounds half to even; it divides in f32 up to opset 22, from 23 on in the type of the scale."""
    x = e.type().dtype
    if quantizes(e, op):
        newer: dict[str, Any] = {"saturate": int(op.saturate)} if e.opset >= 19 else {}
        if e.opset >= 23 and x is not e.type(1).dtype:  # the default, stated because not all readers keep to it
            newer["precision"] = op.divisor_type(x)
        e.result("QuantizeLinear", e.x(0), e.x(1), offset(e, op.dtype, needed=True), **place(e, op), **newer)
        return
    if op.dtype.is_float or op.block_size:
        require_type(op.dtype, e.opset)
        raise NotExpressible(f"ONNX QuantizeLinear of opset {e.opset} does not give {op.dtype} of these operands")
    precision = op.divisor_type(x)
    wide = DType.F64 if precision is DType.F64 or op.dtype.bits > 16 else DType.F32
    dividend, divisor = (e.cast(e.cast(name, precision), wide) for name in (e.x(0), along(e, e.x(1), op.axis)))
    real = e.cast(e.cast(e.op("Div", dividend, divisor), precision), wide)
    whole = e.op("Round", real) if op.rounding == "half_even" else round_half_away(e, real, wide)
    if e.given(2):
        whole = e.op("Add", whole, along(e, e.cast(e.x(2), wide), op.axis))
    least, greatest = op.dtype.range
    e.result("Cast", e.op("Clip", whole, e.literal(least, wide), e.literal(greatest, wide)), to=op.dtype)


def round_half_away(e: Emission, x: str, dtype: DType) -> str:
    """sign(x) * floor(|x| + 1/2)."""
    size = e.op("Floor", e.op("Add", e.op("Abs", x), e.literal(0.5, dtype)))
    return e.op("Mul", e.op("Sign", x), size)


@EMITTERS.of(Dequantize)
def dequantize(e: Emission, op: Dequantize) -> None:
    """DequantizeLinear, or (x - zero_point) * scale."""
    x, scale = e.type().dtype, e.type(1).dtype
    if dequantizes(e, op):
        result: dict[str, Any] = {} if op.dtype in (None, scale) else {"output_dtype": op.dtype}
        e.result("DequantizeLinear", e.x(0), e.x(1), offset(e, x, needed=False), **place(e, op), **result)
        return
    if op.block_size:
        raise NotExpressible(f"ONNX DequantizeLinear of opset {e.opset} knows no blocks")
    product = DType.F64 if scale is DType.F64 else DType.F32
    wide = DType.F64 if x.bits > 16 else product
    real = e.cast(e.x(0), wide)
    if e.given(2):
        real = e.op("Sub", real, along(e, e.cast(e.x(2), wide), op.axis))
    result_name = e.op("Mul", e.cast(real, product), along(e, e.cast(e.x(1), product), op.axis))
    if e.y.dtype is product:
        e.result("Identity", result_name)
    else:
        e.result("Cast", result_name, to=e.y.dtype)


@EMITTERS.of(DynamicQuantize)
def dynamic_quantize(e: Emission, op: DynamicQuantize) -> None:
    """DynamicQuantizeLinear, all of whose readers give a range of nothing the scale that the operator says."""
    e.result("DynamicQuantizeLinear", e.x())
