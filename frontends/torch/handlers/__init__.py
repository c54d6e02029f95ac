"""Handlers of PyTorch's operators, one module per family; see `uair.frontends.torch.node`."""

from __future__ import annotations

from uair.frontends.torch.handlers import (
    activation,
    affine,
    attention,
    casting,
    comparison,
    complex,
    control,
    convolution,
    creation,
    elementwise,
    fourier,
    identity,
    indexing,
    linear,
    normalization,
    pooling,
    quantized,
    recurrent,
    reduction,
    resize,
    selection,
    shape,
)
from uair.frontends.torch.node import Family

FAMILIES: tuple[Family, ...] = (
    activation.FAMILY,
    affine.FAMILY,
    attention.FAMILY,
    casting.FAMILY,
    comparison.FAMILY,
    complex.FAMILY,
    control.FAMILY,
    convolution.FAMILY,
    creation.FAMILY,
    elementwise.FAMILY,
    fourier.FAMILY,
    identity.FAMILY,
    indexing.FAMILY,
    linear.FAMILY,
    normalization.FAMILY,
    pooling.FAMILY,
    quantized.FAMILY,
    recurrent.FAMILY,
    reduction.FAMILY,
    resize.FAMILY,
    selection.FAMILY,
    shape.FAMILY,
)
