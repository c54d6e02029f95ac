"""The emitters of all canonical operators, one file per family."""

from uair.codegen.onnx.emitters import (
    activation,
    attention,
    comparison,
    control,
    conversion,
    convolution,
    custom,
    elementwise,
    indexing,
    integer,
    linear,
    normalization,
    pooling,
    quantization,
    random,
    recurrent,
    reduction,
    resize,
    sequence,
    shape,
    signal,
    vision,
)
from uair.codegen.onnx.table import Emitters

EMITTERS = Emitters(
    activation.EMITTERS,
    attention.EMITTERS,
    comparison.EMITTERS,
    control.EMITTERS,
    conversion.EMITTERS,
    convolution.EMITTERS,
    custom.EMITTERS,
    elementwise.EMITTERS,
    indexing.EMITTERS,
    integer.EMITTERS,
    linear.EMITTERS,
    normalization.EMITTERS,
    pooling.EMITTERS,
    quantization.EMITTERS,
    recurrent.EMITTERS,
    random.EMITTERS,
    reduction.EMITTERS,
    resize.EMITTERS,
    sequence.EMITTERS,
    shape.EMITTERS,
    signal.EMITTERS,
    vision.EMITTERS,
)

__all__ = ["EMITTERS"]
