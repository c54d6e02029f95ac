"""Conversion of element types."""

from __future__ import annotations

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops.conversion import BitCast, Cast

EMITTERS = Emitters()


@EMITTERS.of(Cast)
def cast(e: Emission, op: Cast) -> None:
    """`saturate` exists from opset 19 on, with the float8 types that it is about; `round_mode` with f8e8m0, from 24."""
    small = op.to.is_float and op.to.bits <= 8
    saturate = int(op.saturate) if small and e.opset >= 19 else None
    mode = op.round_mode if op.to is DType.F8E8M0 and e.opset >= 24 else None
    e.result("Cast", e.x(), to=op.to, saturate=saturate, round_mode=mode)


@EMITTERS.of(BitCast)
def bit_cast(e: Emission, op: BitCast) -> None:
    """Before opset 26 between integers and bool only, where Cast keeps the bits."""
    counted = all(d.is_integer or d is DType.BOOL for d in (e.type().dtype, op.to))
    if counted:
        e.result("Cast", e.x(), to=op.to)
    elif e.opset >= 26:
        e.result("BitCast", e.x(), to=op.to)
    else:
        raise NotExpressible(f"ONNX has BitCast from opset 26 on: {e.type().dtype} cannot be taken as {op.to} before")
