"""Pooling."""

from __future__ import annotations

from typing import TypeAlias

from uair.codegen.onnx.emitters.convolution import padding
from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import is_static
from uair.ops._windows import output_extent
from uair.ops.pooling import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    GlobalAvgPool,
    GlobalMaxPool,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    MaxPoolIndices,
)

EMITTERS = Emitters()
EMITTERS.direct({GlobalAvgPool: "GlobalAveragePool", GlobalMaxPool: "GlobalMaxPool"})
MaxPool: TypeAlias = MaxPool1D | MaxPool2D | MaxPool3D
AvgPool: TypeAlias = AvgPool1D | AvgPool2D | AvgPool3D


def rounding_matters(e: Emission, op: MaxPool | AvgPool) -> bool:
    """Whether ceil_mode gives another number of windows; onnx's shape inference before opset 22 counts one too many."""
    spatial, extents = e.shape()[2:], e.y.dims[2:]
    if not is_static(spatial) or op.auto_pad != "notset":
        return True
    n = len(spatial)
    floors = tuple(
        output_extent(d, op.kernel[i], op.strides[i], op.dilations[i], (op.pads[i], op.pads[n + i]))
        for i, d in enumerate(spatial)
    )
    return floors != extents


@EMITTERS.of(MaxPool1D, MaxPool2D, MaxPool3D)
def max_pool(e: Emission, op: MaxPool) -> None:
    """MaxPool."""
    e.result(
        "MaxPool",
        e.x(),
        kernel_shape=op.kernel,
        strides=op.strides,
        dilations=op.dilations,
        ceil_mode=int(op.ceil_mode and rounding_matters(e, op)),
        **padding(op.pads, op.auto_pad),
    )


@EMITTERS.of(MaxPoolIndices)
def max_pool_indices(e: Emission, op: MaxPoolIndices) -> None:
    """MaxPool with its second result."""
    plain = op.plain()
    e.result(
        "MaxPool",
        e.x(),
        kernel_shape=op.kernel,
        strides=plain.strides,
        dilations=plain.dilations,
        ceil_mode=int(op.ceil_mode),
        storage_order=int(op.column_major),
        **padding(plain.pads, op.auto_pad),
    )


@EMITTERS.of(AvgPool1D, AvgPool2D, AvgPool3D)
def avg_pool(e: Emission, op: AvgPool) -> None:
    """AveragePool; dilations exist from opset 19 on."""
    dilated = any(d != 1 for d in op.dilations)
    if dilated and e.opset < 19:
        raise NotExpressible("ONNX AveragePool has dilations from opset 19 on")
    e.result(
        "AveragePool",
        e.x(),
        kernel_shape=op.kernel,
        strides=op.strides,
        dilations=op.dilations if e.opset >= 19 else None,
        ceil_mode=int(op.ceil_mode and rounding_matters(e, op)),
        count_include_pad=int(op.count_include_pad),
        **padding(op.pads, op.auto_pad),
    )
