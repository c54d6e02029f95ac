"""Handlers of ONNX operators, one module per family; see `uair.frontends.onnx.table`."""

from __future__ import annotations

from uair.frontends.onnx.handlers import (
    activation,
    attention,
    contrib,
    contrib_blocks,
    contrib_quantized,
    control,
    convolution,
    creation,
    elementwise,
    indexing,
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
    training,
)
from uair.frontends.onnx.table import Family

FAMILIES: tuple[Family, ...] = (
    activation.FAMILY,
    attention.FAMILY,
    contrib.FAMILY,
    contrib_blocks.FAMILY,
    contrib_quantized.FAMILY,
    control.FAMILY,
    convolution.FAMILY,
    creation.FAMILY,
    elementwise.FAMILY,
    indexing.FAMILY,
    linear.FAMILY,
    normalization.FAMILY,
    pooling.FAMILY,
    quantization.FAMILY,
    recurrent.FAMILY,
    random.FAMILY,
    reduction.FAMILY,
    resize.FAMILY,
    sequence.FAMILY,
    shape.FAMILY,
    signal.FAMILY,
    training.FAMILY,
)
