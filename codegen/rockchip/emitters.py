"""How operators are written that rknn-toolkit2 reads in its own way. All measured with 2.5.0."""

from __future__ import annotations

from uair.codegen.onnx import Emission, Emitters, NotExpressible
from uair.codegen.onnx.emitters.quantization import offset
from uair.ops import Dequantize

EMITTERS = Emitters()


@EMITTERS.of(Dequantize, since=13)
def dequantize(e: Emission, op: Dequantize) -> None:
    """With a zero point always: without one the toolkit raises `IndexError: list index out of range`."""
    if op.block_size or op.dtype not in (None, e.type(1).dtype):
        raise NotExpressible("the toolkit's DequantizeLinear knows no blocks and gives the type of its scale")
    axis = None if op.axis is None else e.axis(op.axis)
    e.result("DequantizeLinear", e.x(0), e.x(1), offset(e, e.type().dtype, needed=True), axis=axis)
