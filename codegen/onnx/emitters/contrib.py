"""What is written otherwise for files that onnxruntime is to run.

Operators of its domain com.microsoft are not among the emitters of ONNX: other tools read none of them, so that for
those the decomposition is written (`legalise-onnx`). Composites that the operator set lacks are written in the words in
which onnxruntime recognizes them and puts its own kernel in their place; these are standard operators.
"""

from __future__ import annotations

import math
from typing import Any

from uair.codegen.onnx.emitters.activation import gelu as plain_gelu
from uair.codegen.onnx.emitters.normalization import lp_normalize as plain_lp_normalize
from uair.codegen.onnx.emitters.normalization import rms_norm as plain_rms_norm
from uair.codegen.onnx.emitters.recurrent import layer_attributes
from uair.codegen.onnx.emitters.shape import space_to_depth as plain_space_to_depth
from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops.activation import Gelu
from uair.ops.normalization import LpNormalize, RMSNorm
from uair.ops.recurrent_quantized import DynamicQuantizeLSTM
from uair.ops.shape import SpaceToDepth

ONNXRUNTIME = Emitters()
"""Looked at before the emitters of ONNX."""


@ONNXRUNTIME.of(DynamicQuantizeLSTM)
def dynamic_quantize_lstm(e: Emission, op: DynamicQuantizeLSTM) -> None:
    """The node; onnxruntime takes one zero point alone, and 0 for columns of signed weights.

    Raises:
        NotExpressible: a zero point is another.
    """
    _require_one_zero_point(e, 4)
    _require_one_zero_point(e, 6)
    names = [*e.operands, *[None] * (12 - len(e.node.inputs))]
    x, w, r, w_scale, w_zero_point, r_scale, r_zero_point, bias, lengths, initial_h, initial_c, peepholes = names
    attributes: dict[str, Any] = {
        **layer_attributes(e, op),
        "hidden_size": e.static_shape(2)[1],
        "input_forget": int(op.input_forget),
    }
    e.foreign(
        "com.microsoft::DynamicQuantizeLSTM",
        *(x, w, r, bias, None if lengths is None else e.cast(lengths, DType.I32), initial_h, initial_c, peepholes),
        *(w_scale, w_zero_point, r_scale, r_zero_point),
        **{name: value for name, value in attributes.items() if value is not None},
    )


@ONNXRUNTIME.of(Gelu)
def gelu(e: Emission, op: Gelu) -> None:
    """Before opset 20: with a quotient, and the tanh form with a power, as onnxruntime (1.32) recognizes them.

    It recognizes no product by the reciprocal of the root of two, and no product of x with itself for the cube.

    Raises:
        NotExpressible: it is another form, which its decomposition expresses.
    """
    if e.opset >= 20:
        plain_gelu(e, op)
        return
    if op.approximate == "quick":
        raise NotExpressible(f"ONNX has no quick Gelu at opset {e.opset}")
    x, dtype = e.x(), e.type().dtype
    if op.approximate == "tanh":
        cube = e.op("Mul", e.op("Pow", x, e.literal(3, dtype)), e.literal(0.044715, dtype))
        tanh = e.op("Tanh", e.op("Mul", e.op("Add", x, cube), e.literal(math.sqrt(2 / math.pi), dtype)))
        e.result("Mul", e.op("Mul", x, e.literal(0.5, dtype)), e.op("Add", tanh, e.literal(1, dtype)))
        return
    total = e.op("Add", e.op("Erf", e.op("Div", x, e.literal(math.sqrt(2), dtype))), e.literal(1, dtype))
    e.result("Mul", e.op("Mul", x, total), e.literal(0.5, dtype))


@ONNXRUNTIME.of(RMSNorm)
def rms_norm(e: Emission, op: RMSNorm) -> None:
    """Before opset 23, over the last axis of f32: with a power; onnxruntime (1.32) recognizes no product of x with x.

    Raises:
        NotExpressible: it is over more axes or in another type, which its decomposition expresses.
    """
    if e.opset >= 23:
        plain_rms_norm(e, op)
        return
    axis = e.axis(op.axis)
    if axis != len(e.shape()) - 1 or e.type().dtype is not DType.F32 or not e.given(1):
        raise NotExpressible(f"ONNX has no RMSNormalization at opset {e.opset}")
    x, mean = e.x(), e.type().with_shape((*e.shape()[:-1], 1))
    inputs, attributes = e.axes((axis,), since=18)
    square = e.op("Pow", x, e.literal(2, DType.F32))
    variance = e.op("Add", e.op("ReduceMean", square, *inputs, type=mean, keepdims=1, **attributes),
                    e.literal(op.epsilon, DType.F32))  # fmt: skip
    e.result("Mul", e.op("Div", x, e.op("Sqrt", variance)), e.x(1))


@ONNXRUNTIME.of(LpNormalize)
def lp_normalize(e: Emission, op: LpNormalize) -> None:
    """Along the last axis; along the channels of images onnxruntime's kernel takes 2.5 times what its parts take.

    Raises:
        NotExpressible: it is along another axis.
    """
    if e.axis(op.axis) != len(e.shape()) - 1:
        raise NotExpressible("onnxruntime's LpNormalization is slow along other axes than the last")
    plain_lp_normalize(e, op)


@ONNXRUNTIME.of(SpaceToDepth)
def space_to_depth(e: Emission, op: SpaceToDepth) -> None:
    """Channels in front of places in the block (torch's pixel_unshuffle) are a Gather behind the order that there is.

    That takes onnxruntime a fourth to an eighth of the time of a Transpose of six axes between Reshapes.
    """
    channels = e.shape()[1]
    if op.mode == "DCR" or not isinstance(channels, int):
        plain_space_to_depth(e, op)
        return
    places = op.block**2
    order = [place * channels + channel for channel in range(channels) for place in range(places)]
    e.result("Gather", e.op("SpaceToDepth", e.x(), blocksize=op.block), e.ints(order), axis=1)


def _require_one_zero_point(e: Emission, i: int) -> None:
    if len(e.shape(i)) != 2:
        return
    known = e.constant(i)
    if known is None or not (known == (0 if e.type(i).dtype.is_signed else known.flat[0])).all():
        raise NotExpressible("onnxruntime's DynamicQuantizeLSTM takes no zero points that differ between columns")
