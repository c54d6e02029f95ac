"""Fourier transforms."""

from __future__ import annotations

from typing import Any

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops.signal import DFT, MelWeights

EMITTERS = Emitters()


def scalar(e: Emission, i: int) -> str:
    """Operand `i`, one number, as an i64 scalar."""
    name = e.cast(e.x(i), DType.I64)
    return name if e.type(i).shape == () else e.reshape(name, ())


@EMITTERS.of(DFT, since=17)
def dft(e: Emission, op: DFT) -> None:
    """The axis is an operand from opset 20 on."""
    attributes: dict[str, Any] = {"inverse": int(op.inverse), "onesided": int(op.onesided)}
    length = scalar(e, 1) if e.given(1) else None if op.length is None else e.literal(op.length, DType.I64)
    if e.opset >= 20:
        axis = scalar(e, 2) if op.axis is None else e.literal(e.axis(op.axis), DType.I64)
        e.result("DFT", e.x(), length, axis, **attributes)
    elif op.axis is None:
        raise NotExpressible("ONNX DFT has its axis as an operand from opset 20 on")
    else:
        e.result("DFT", e.x(), length, axis=e.axis(op.axis), **attributes)


@EMITTERS.of(MelWeights, since=17)
def mel_weights(e: Emission, op: MelWeights) -> None:
    """MelWeightMatrix, whose operands are scalars."""
    operands = [scalar(e, i) for i in range(3)]
    operands += [e.x(i) if e.type(i).shape == () else e.reshape(e.x(i), ()) for i in (3, 4)]
    e.result("MelWeightMatrix", *operands, output_datatype=op.dtype)
