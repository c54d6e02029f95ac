"""The canonical operators: one module per family, one class per operator; OPERATORS names them all."""

from __future__ import annotations

from uair.ops.convolution import Conv1D, Conv2D, Conv3D, ConvTranspose1D, ConvTranspose2D, ConvTranspose3D
from uair.ops.layout import Pack, Unpack
from uair.ops.linear import Einsum, Linear, MatMul, Trilu
from uair.ops.normalization import LRN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNormalize, RMSNorm
from uair.ops.pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
)
from uair.ops.quantization import Dequantize, Quantize
from uair.ops.resize import Resize

OPERATORS: tuple[str, ...] = (
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "ConvTranspose1D",
    "ConvTranspose2D",
    "ConvTranspose3D",
    "Dequantize",
    "Einsum",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "InstanceNorm",
    "LRN",
    "LayerNorm",
    "Linear",
    "LpNormalize",
    "MatMul",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "Pack",
    "Quantize",
    "RMSNorm",
    "Resize",
    "Trilu",
    "Unpack",
)

__all__ = [
    "OPERATORS",
    "AvgPool1D",
    "AvgPool2D",
    "AvgPool3D",
    "BatchNorm",
    "Conv1D",
    "Conv2D",
    "Conv3D",
    "ConvTranspose1D",
    "ConvTranspose2D",
    "ConvTranspose3D",
    "Dequantize",
    "Einsum",
    "GlobalAvgPool",
    "GlobalMaxPool",
    "GroupNorm",
    "InstanceNorm",
    "LRN",
    "LayerNorm",
    "Linear",
    "LpNormalize",
    "MatMul",
    "MaxPool1D",
    "MaxPool2D",
    "MaxPool3D",
    "Pack",
    "Quantize",
    "RMSNorm",
    "Resize",
    "Trilu",
    "Unpack",
]
