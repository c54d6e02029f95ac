"""Per-channel scale and shift: what BatchNorm, Mul, Add and Sub by constants are, and how it goes into weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    BatchNorm,
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
    Linear,
)
from uair.passes.fusion.exact import exact, rounded, scaled

CONVOLUTIONS = (Conv1D, Conv2D, Conv3D)
TRANSPOSED = (ConvTranspose1D, ConvTranspose2D, ConvTranspose3D)
WEIGHTED = (*CONVOLUTIONS, *TRANSPOSED, Linear)
"""Operators with a constant weight and an optional bias whose output channels can be scaled and shifted."""


def output_channels(node: Node) -> int:
    """Number of output channels of a weighted node with static weights."""
    w = node.inputs[1]
    assert w is not None
    shape = static(w.type.dims)
    op: Any = node.op
    if isinstance(op, TRANSPOSED):
        return shape[1] * op.groups
    if isinstance(op, Linear):
        return shape[0] if op.transpose_w else shape[1]
    return shape[0]


def channel_axis(node: Node) -> int:
    """Axis of a weighted node's result that its output channels lie along."""
    return node.output.type.rank - 1 if isinstance(node.op, Linear) else 1


def is_foldable(node: Node) -> bool:
    """Whether the weights are constants whose channels can be scaled."""
    w = node.inputs[1]
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    return (
        w is not None
        and w.is_constant
        and w.type.is_static
        and w.type.dtype.is_float
        and (bias is None or bias.is_constant)
    )


def per_channel(c: Tensor, channels: int, rank: int, axis: int) -> Array | None:
    """Values of a constant along the channel axis of a tensor of `rank`, when it varies along that axis only.

    Returns an array [channels], or None when the constant has another shape (or would broadcast the tensor itself).
    """
    if c.data is None or not c.type.dtype.is_float or len(c.data.shape) > rank:
        return None
    shape = (1,) * (rank - len(c.data.shape)) + c.data.shape
    if any(d != 1 for i, d in enumerate(shape) if i != axis) or shape[axis] not in (1, channels):
        return None
    return np.broadcast_to(c.data.array().reshape(-1), (channels,))


def exact_per_channel(c: Tensor, channels: int, rank: int, axis: int) -> Array | None:
    """As `per_channel`, in float64 and before any rounding of the constant."""
    found = per_channel(c, channels, rank, axis)
    return None if found is None else np.broadcast_to(exact(c).reshape(-1), (channels,))


def scaled_weights(node: Node, factor: Array) -> Tensor:
    """The node's weights with output channel m multiplied by factor[m], computed when they are read."""
    w = node.inputs[1]
    assert w is not None and w.data is not None
    op: Any = node.op
    factor, shape = factor.astype(np.float64), w.data.shape
    if isinstance(op, TRANSPOSED):  # [C, M / groups, ...]
        rows = factor.reshape(op.groups, 1, shape[1]).repeat(shape[0] // op.groups, axis=1)
        along = rows.reshape(*shape[:2], *(1,) * (len(shape) - 2))
    else:
        axis = 1 if isinstance(op, Linear) and not op.transpose_w else 0
        along = factor.reshape([-1 if i == axis else 1 for i in range(len(shape))])
    return constant(scaled(w.data, along), w.name)


def apply_affine(node: Node, factor: Array, shift: Array, name: str = "") -> Tensor:
    """The weighted node followed by y * factor + shift per output channel, as one weighted node.

    Computed in float64 and rounded once to the weights' type, also where foldings follow each other.
    """
    x, w = node.inputs[0], node.inputs[1]
    assert x is not None and w is not None
    bias = node.inputs[2] if len(node.inputs) > 2 else None
    weights = w if np.all(factor == 1) else scaled_weights(node, factor)
    old = np.zeros(len(factor)) if bias is None else exact(bias)
    label = bias.name if bias is not None and bias.name else name or f"{w.name}.bias"
    return node.op(x, weights, rounded(old * factor + shift, w.type.dtype, label))


def batch_norm_affine(bn: Node) -> tuple[Array, Array]:
    """Factor and shift of a BatchNorm with constant parameters: (x - mean) / sqrt(var + eps) * scale + bias."""
    op = bn.op
    assert isinstance(op, BatchNorm)
    scale, bias, mean, var = (exact(t) for t in bn.inputs[1:] if t is not None)
    factor = scale / np.sqrt(var + op.epsilon)
    return factor, bias - mean * factor
