"""Handlers of TFLite's operators, one module for a family."""

from __future__ import annotations

from uair.frontends.tflite.handlers import (
    activation,
    comparison,
    control,
    convolution,
    creation,
    custom,
    elementwise,
    indexing,
    linear,
    normalization,
    pooling,
    quantization,
    recurrent,
    reduction,
    resize,
    segments,
    shape,
    signal,
    slicing,
    space,
    stablehlo,
)

FAMILIES = tuple(
    module.FAMILY
    for module in (
        activation,
        comparison,
        control,
        convolution,
        creation,
        elementwise,
        indexing,
        linear,
        normalization,
        pooling,
        quantization,
        recurrent,
        reduction,
        resize,
        segments,
        shape,
        signal,
        slicing,
        space,
        stablehlo,
    )
)
"""Of the builtin operators."""

CUSTOM = custom.FAMILY.handlers
"""Of custom operators, by the name in the file."""

__all__ = ["CUSTOM", "FAMILIES"]
