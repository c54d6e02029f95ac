"""Quantization. What QuantizeLinear and DequantizeLinear lack at an opset is written as their formula."""

from __future__ import annotations

import numpy as np

from uair.codegen.onnx.schema import NotExpressible, signature
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim
from uair.ir.dtype import DType
from uair.ops.layout import Pack, Unpack
from uair.ops.quantization import Dequantize, Quantize

EMITTERS = Emitters()


@EMITTERS.of(Pack, Unpack)
def layout_change(e: Emission, op: Pack | Unpack) -> None:
    """A layout does not change values: the vendor's tool chooses its own."""
    e.alias()


def quantizes(e: Emission, op: Quantize) -> bool:
    """Whether QuantizeLinear takes these types, and an axis, at the opset."""
    if op.rounding != "half_even" or (op.axis is not None and e.opset < 13):
        return False
    schema = signature("QuantizeLinear", e.opset)
    x, scale = schema.input(0), schema.input(1)
    same = e.type(0).dtype is e.type(1).dtype or x.variable != scale.variable
    taken = e.type(0).dtype in x.allowed and e.type(1).dtype in scale.allowed
    return same and taken and op.dtype in schema.outputs[0].allowed


def dequantizes(e: Emission, op: Dequantize) -> bool:
    """Whether DequantizeLinear takes these types, and an axis, at the opset."""
    if op.axis is not None and e.opset < 13:
        return False
    schema = signature("DequantizeLinear", e.opset)
    return e.type(0).dtype in schema.input(0).allowed and e.type(1).dtype in schema.input(1).allowed


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
    """QuantizeLinear rounds half to even. A scale of f16 divides as f32, as the canonical operator does."""
    x = e.type().dtype
    if quantizes(e, op):
        axis = None if op.axis is None else e.axis(op.axis)
        e.result("QuantizeLinear", e.x(0), e.x(1), offset(e, op.dtype, needed=True), axis=axis)
        return
    if op.dtype.is_float:
        raise NotExpressible(f"ONNX QuantizeLinear of opset {e.opset} does not give {op.dtype}")
    wide = DType.F64 if x is DType.F64 or op.dtype.bits > 16 else DType.F32
    real = e.op("Div", e.cast(e.x(0), wide), e.cast(along(e, e.x(1), op.axis), wide))
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
        axis = None if op.axis is None else e.axis(op.axis)
        e.result("DequantizeLinear", e.x(0), e.x(1), offset(e, x, needed=False), axis=axis)
        return
    wide = DType.F64 if x.bits > 16 else DType.F32
    real = e.cast(e.x(0), wide)
    if e.given(2):
        real = e.op("Sub", real, along(e, e.cast(e.x(2), wide), op.axis))
    factor = along(e, e.cast(e.x(1), DType.F32), op.axis)
    product = e.op("Mul", e.cast(real, DType.F32), factor)
    e.result("Cast", product, to=scale) if scale is not DType.F32 else e.result("Identity", product)
