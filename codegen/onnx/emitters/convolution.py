"""Convolutions; every attribute is written."""

from __future__ import annotations

from typing import Any, TypeAlias

from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ops.convolution import Conv1D, Conv2D, Conv3D, ConvTranspose1D, ConvTranspose2D, ConvTranspose3D
from uair.ops.integer import (
    IntegerConv1D,
    IntegerConv2D,
    IntegerConv3D,
    IntegerConvTranspose1D,
    IntegerConvTranspose2D,
    IntegerConvTranspose3D,
)

EMITTERS = Emitters()
Convolution: TypeAlias = Conv1D | Conv2D | Conv3D
IntegerConvolution: TypeAlias = IntegerConv1D | IntegerConv2D | IntegerConv3D
Transposed: TypeAlias = ConvTranspose1D | ConvTranspose2D | ConvTranspose3D
IntegerTransposed: TypeAlias = IntegerConvTranspose1D | IntegerConvTranspose2D | IntegerConvTranspose3D


def padding(pads: tuple[int, ...], auto_pad: str) -> dict[str, Any]:
    """Either explicit padding, or the rule that gives it once the extents are known."""
    return {"pads": pads} if auto_pad == "notset" else {"auto_pad": auto_pad.upper()}


def kernel_shape(e: Emission) -> tuple[int, ...]:
    """Spatial extents of the weight."""
    return tuple(d for d in e.shape(1)[2:] if isinstance(d, int))


def window(e: Emission, op: Convolution | IntegerConvolution) -> dict[str, object]:
    """The attributes of a convolution."""
    return {**_common(e, op), **padding(op.pads, op.auto_pad)}


def transposed_window(e: Emission, op: Transposed | IntegerTransposed) -> dict[str, object]:
    """The attributes of a transposed convolution."""
    return {**_common(e, op), "pads": op.pads, "output_padding": op.output_padding}


def _common(e: Emission, op: Convolution | IntegerConvolution | Transposed | IntegerTransposed) -> dict[str, object]:
    named = {"strides": op.strides, "dilations": op.dilations, "group": op.groups}
    return {"kernel_shape": kernel_shape(e), **named}


@EMITTERS.of(Conv1D, Conv2D, Conv3D)
def conv(e: Emission, op: Convolution) -> None:
    """Conv."""
    e.result("Conv", *e.operands, **window(e, op))


@EMITTERS.of(ConvTranspose1D, ConvTranspose2D, ConvTranspose3D)
def conv_transpose(e: Emission, op: Transposed) -> None:
    """ConvTranspose."""
    e.result("ConvTranspose", *e.operands, **transposed_window(e, op))
