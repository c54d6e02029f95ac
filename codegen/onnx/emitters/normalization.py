"""Normalizations. ONNX wants scale (and bias) where UAIR lets them be omitted: ones and zeros stand in."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dims import Dim, is_static
from uair.ops.normalization import LRN, BatchNorm, GroupNorm, InstanceNorm, LayerNorm, LpNormalize, RMSNorm

EMITTERS = Emitters()
NEGLIGIBLE = 1e-12  # a norm below this is that of a zero vector


def parameter(e: Emission, i: int, shape: Sequence[Dim], default: float) -> str:
    """Operand `i`, or a constant of `shape` when it is omitted.

    Raises:
        NotExpressible: it is omitted and the shape is symbolic, or it broadcasts to that shape.
    """
    if e.given(i):
        if tuple(e.shape(i)) != tuple(shape):
            raise NotExpressible(f"operand {i} of shape {list(e.shape(i))} would have to broadcast to {list(shape)}")
        return e.x(i)
    if not is_static(shape):
        raise NotExpressible(f"operand {i} is omitted and its shape {list(shape)} is symbolic")
    extents = [d for d in shape if isinstance(d, int)]
    return e.graph.literal(np.full(extents, default, e.type().dtype.numpy))


@EMITTERS.of(BatchNorm)
def batch_norm(e: Emission, op: BatchNorm) -> None:
    """BatchNormalization for inference."""
    e.result("BatchNormalization", *e.operands, epsilon=op.epsilon)


@EMITTERS.of(LayerNorm, since=17)
def layer_norm(e: Emission, op: LayerNorm) -> None:
    """LayerNormalization."""
    axis = e.axis(op.axis)
    normalized = e.shape()[axis:]
    bias = parameter(e, 2, normalized, 0) if e.given(2) else None
    e.result("LayerNormalization", e.x(), parameter(e, 1, normalized, 1), bias, axis=axis, epsilon=op.epsilon)


@EMITTERS.of(RMSNorm, since=23)
def rms_norm(e: Emission, op: RMSNorm) -> None:
    """RMSNormalization."""
    axis = e.axis(op.axis)
    e.result("RMSNormalization", e.x(), parameter(e, 1, e.shape()[axis:], 1), axis=axis, epsilon=op.epsilon)


@EMITTERS.of(InstanceNorm)
def instance_norm(e: Emission, op: InstanceNorm) -> None:
    """InstanceNormalization."""
    channels = e.shape()[1:2]
    scale, bias = parameter(e, 1, channels, 1), parameter(e, 2, channels, 0)
    e.result("InstanceNormalization", e.x(), scale, bias, epsilon=op.epsilon)


@EMITTERS.of(GroupNorm, since=21)
def group_norm(e: Emission, op: GroupNorm) -> None:
    """GroupNormalization; that of opset 18 has one scale per group instead of one per channel."""
    channels = e.shape()[1:2]
    scale, bias = parameter(e, 1, channels, 1), parameter(e, 2, channels, 0)
    e.result("GroupNormalization", e.x(), scale, bias, num_groups=op.groups, epsilon=op.epsilon)


@EMITTERS.of(LRN)
def lrn(e: Emission, op: LRN) -> None:
    """LRN; with an even size the window is not centred, which runtimes refuse."""
    if op.size % 2 == 0:
        raise NotExpressible("ONNX LRN has odd sizes")
    e.result("LRN", e.x(), size=op.size, alpha=op.alpha, beta=op.beta, bias=op.bias)


@EMITTERS.of(LpNormalize)
def lp_normalize(e: Emission, op: LpNormalize) -> None:
    """LpNormalization has no epsilon and leaves zero vectors zero."""
    if op.epsilon > NEGLIGIBLE or op.epsilon == 0:
        raise NotExpressible("ONNX LpNormalization has no epsilon")
    e.result("LpNormalization", e.x(), axis=e.axis(op.axis), p=op.p)
