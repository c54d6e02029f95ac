"""How operators are written that x2paddle reads in its own way. Measured with 1.6.0."""

from __future__ import annotations

from uair.codegen.onnx import Emission, Emitters, NotExpressible
from uair.codegen.onnx.emitters.convolution import padding
from uair.codegen.onnx.emitters.pooling import rounding_matters
from uair.ops import MaxPool1D, MaxPool2D, MaxPool3D

EMITTERS = Emitters()


@EMITTERS.of(MaxPool1D, MaxPool2D, MaxPool3D)
def max_pool(e: Emission, op: MaxPool1D | MaxPool2D | MaxPool3D) -> None:
    """Without the attribute dilations, which x2paddle refuses even when all are 1."""
    if any(d != 1 for d in op.dilations):
        raise NotExpressible("x2paddle takes no dilations of MaxPool")
    e.result(
        "MaxPool",
        e.x(),
        kernel_shape=op.kernel,
        strides=op.strides,
        ceil_mode=int(op.ceil_mode and rounding_matters(e, op)),
        **padding(op.pads, op.auto_pad),
    )
