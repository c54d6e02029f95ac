"""How operators are written that x2paddle reads in its own way. Measured with 1.6.0."""

from __future__ import annotations

import numpy as np

from uair.codegen.onnx import Emission, Emitters, NotExpressible
from uair.codegen.onnx.emitters import linear
from uair.codegen.onnx.emitters.convolution import padding
from uair.codegen.onnx.emitters.pooling import rounding_matters
from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ops import Linear, MatMul, MaxPool1D, MaxPool2D, MaxPool3D, Resize

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


@EMITTERS.of(MatMul)
def mat_mul(e: Emission, op: MatMul) -> None:
    """Without Gemm, whose mapper fails (IndexError) when there is no third operand."""
    a = linear.transposed(e, 0) if op.trans_a else e.x(0)
    b = linear.transposed(e, 1) if op.trans_b else e.x(1)
    e.result("MatMul", a, b)


@EMITTERS.of(Linear)
def linear_layer(e: Emission, op: Linear) -> None:
    """Gemm where there is a bias."""
    if e.given(2):
        linear.linear(e, op)
    else:
        e.result("MatMul", e.x(0), linear.transposed(e, 1) if op.transpose_w else e.x(1))


@EMITTERS.of(Resize)
def resize(e: Emission, op: Resize) -> None:
    """With scales, never with sizes; x2paddle knows half-pixel coordinates under PyTorch's name only.

    Nearest is Paddle's: the pixel at floor(position / scale). Linear is with half pixels or with aligned corners: what
    is neither becomes aligned corners without a word.
    """
    shape, result = e.type().shape, e.y.shape
    if (
        shape is None
        or result is None
        or not is_static((*shape, *result))
        or len(shape) != 4
        or shape[:2] != result[:2]
    ):
        raise NotExpressible("x2paddle resizes images of known size")
    before, after = static(shape)[2:], static(result)[2:]
    if op.mode == "nearest":
        coordinates = "asymmetric"
    else:
        coordinates = {"half_pixel": "pytorch_half_pixel"}.get(op.coordinate_mode, op.coordinate_mode)
    scales = np.array([1, 1, *(b / a for a, b in zip(before, after, strict=True))], np.float32)
    if any(int(np.float32(a) * s) != b for a, b, s in zip(before, after, scales[2:], strict=True)):
        raise NotExpressible("the sizes are not those that Paddle computes from the scales")
    e.result(
        "Resize",
        e.x(),
        e.literal([], DType.F32),
        e.literal(scales, DType.F32),
        mode=op.mode,
        coordinate_transformation_mode=coordinates,
        nearest_mode="floor",
    )
