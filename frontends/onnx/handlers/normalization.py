"""Normalization."""

from __future__ import annotations

from collections.abc import Sequence

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    LRN,
    Add,
    BatchNorm,
    Div,
    Expand,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LpNormalize,
    Mul,
    Reciprocal,
    ReduceMean,
    Reshape,
    RMSNorm,
    Sqrt,
    Squeeze,
    Sub,
    Unsqueeze,
)

FAMILY = Family()


@FAMILY.op("BatchNormalization", 1, 6, 7, 9, 14, 15)
def _batch_norm(n: OnnxNode) -> Result:
    """Versions 1 and 6 train unless `is_test`, 7 and 9 when they have more results; since 14 an attribute says so.

    Scale and bias, and the statistics, may each be of another type than the data (14, 15): all is computed in the
    widest. Training normalizes with the mean and the variance (of the population) of the batch itself.
    """
    a = n.attributes
    if n.version < 7:
        training = not a.flag("is_test")
    elif n.version < 14:
        training = any(n.wants(i) for i in range(1, 5))
    else:
        training = a.flag("training_mode")
    operands = [n[i] for i in range(5)]
    wide = _widest(operands)
    wide = DType.F32 if training and wide.bits < 32 else wide
    x, scale, bias, mean, var = (n.cast(t, wide) for t in operands)
    per_channel = n.version >= 9 or a.flag("spatial", True)
    results: list[Tensor | None] = [None] * 5
    if training:
        batch = _batch_statistics(n, x, per_channel)
        momentum = a.number("momentum", 0.9)
        for i, (old, new) in enumerate(zip((mean, var), batch, strict=True), 1):
            results[i] = _running(n, old, new, momentum) if n.wants(i) else None
            results[i + 2] = new
        mean, var = batch
    if per_channel:
        y = n(BatchNorm(epsilon=a.number("epsilon", 1e-5)), x, scale, bias, mean, var)
    else:
        y = _per_feature(n, x, scale, bias, mean, var)
    results[0] = y
    kinds = [operands[0], *operands[3:], *operands[3:]]
    return [None if r is None else n.cast(r, k.type.dtype) for r, k in zip(results, kinds, strict=True)]


def _widest(tensors: Sequence[Tensor]) -> DType:
    """The type of all tensors, or, where they differ, the one with most bits, at least f32."""
    kinds = {t.type.dtype for t in tensors}
    return kinds.pop() if len(kinds) == 1 else max((*kinds, DType.F32), key=lambda d: d.bits)


def _batch_statistics(n: OnnxNode, x: Tensor, per_channel: bool) -> tuple[Tensor, Tensor]:
    """Mean and variance over all axes but the channels', or over the batch only."""
    axes = tuple(i for i in range(n.rank(x)) if i != 1) if per_channel else (0,)
    mean = n(ReduceMean(axes=axes), x)
    centred = n(Sub(), x, mean)
    var = n(ReduceMean(axes=axes, keepdims=False), n(Mul(), centred, centred))
    return n(Squeeze(axes=axes), mean), var


def _running(n: OnnxNode, old: Tensor, new: Tensor, momentum: float) -> Tensor:
    return n(Add(), n(Mul(), old, n.like(momentum, old)), n(Mul(), new, n.like(1 - momentum, new)))


def _per_feature(n: OnnxNode, x: Tensor, scale: Tensor, bias: Tensor, mean: Tensor, var: Tensor) -> Tensor:
    """What `spatial=0` means: every place of every channel has its own parameters, [C, D1, ...]."""
    deviation = n(Sqrt(), n(Add(), var, n.like(n.attributes.number("epsilon", 1e-5), var)))
    return n(Add(), n(Mul(), n(Div(), n(Sub(), x, mean), deviation), scale), bias)


@FAMILY.op("InstanceNormalization", 1, 6, 22)
def _instance_norm(n: OnnxNode) -> Result:
    return n(InstanceNorm(epsilon=n.attributes.number("epsilon", 1e-5)), n[0], n[1], n[2])


@FAMILY.op("LayerNormalization", 1, 17)
def _layer_norm(n: OnnxNode) -> Result:
    """Results: y, the mean, the inverse deviation, which are of `stash_type`. Version 1 is onnxruntime's."""
    x = n[0]
    axis = n.axis(n.attributes.integer("axis", -1), n.rank(x))
    epsilon = n.attributes.number("epsilon", 1e-5)
    y = n(LayerNorm(axis=axis, epsilon=epsilon), x, n[1], n.optional(2))
    if not n.wants(1) and not n.wants(2):
        return y
    return (y, *layer_statistics(n, x, tuple(range(axis, n.rank(x))), epsilon))


def layer_statistics(n: OnnxNode, x: Tensor, axes: tuple[int, ...], epsilon: float) -> tuple[Tensor, Tensor]:
    """Mean and inverse deviation, axes kept."""
    stash = dtype_of(n.attributes.integer("stash_type", 1), n.place)
    x = x if x.type.dtype.bits >= 32 else n.cast(x, DType.F32)
    mean = n(ReduceMean(axes=axes), x)
    centred = n(Sub(), x, mean)
    var = n(ReduceMean(axes=axes), n(Mul(), centred, centred))
    inverse = n(Reciprocal(), n(Sqrt(), n(Add(), var, n.like(epsilon, var))))
    return n.cast(mean, stash), n.cast(inverse, stash)


def rms_norm(n: OnnxNode) -> Result:
    """RMSNormalization and onnxruntime's SimplifiedLayerNormalization, whose second result is the inverse root.

    The scale may be of another type than x: the result is of the scale's.
    """
    x, scale = n[0], n[1]
    axis = n.axis(n.attributes.integer("axis", -1), n.rank(x))
    epsilon = n.attributes.number("epsilon", 1e-5)
    if scale.type.dtype is x.type.dtype:
        y = n(RMSNorm(axis=axis, epsilon=epsilon), x, scale)
    else:
        y = n(Mul(), n.cast(n(RMSNorm(axis=axis, epsilon=epsilon), x), scale.type.dtype), scale)
    return (y, inverse_root(n, x, tuple(range(axis, n.rank(x))), epsilon)) if n.wants(1) else y


def inverse_root(n: OnnxNode, x: Tensor, axes: tuple[int, ...], epsilon: float) -> Tensor:
    """1 / sqrt(mean of the squares + epsilon), axes kept, of `stash_type`."""
    stash = dtype_of(n.attributes.integer("stash_type", 1), n.place)
    x = x if x.type.dtype.bits >= 32 else n.cast(x, DType.F32)
    squares = n(ReduceMean(axes=axes), n(Mul(), x, x))
    return n.cast(n(Reciprocal(), n(Sqrt(), n(Add(), squares, n.like(epsilon, squares)))), stash)


FAMILY.add("RMSNormalization", (23,), rms_norm)
FAMILY.add("SimplifiedLayerNormalization", (1,), rms_norm)


@FAMILY.op("GroupNormalization", 18)
def _group_norm_18(n: OnnxNode) -> Result:
    """In version 18 scale and bias have one element for each group."""
    x = n[0]
    groups = _groups(n)
    channels = n.extent(x, 1)
    if not isinstance(channels, int) or channels % groups:
        n.unsupported(f"GroupNormalization of {channels} channels in {groups} groups is not supported")

    def per_channel(t: Tensor) -> Tensor:
        spread = n(Expand(shape=(groups, channels // groups)), n(Unsqueeze(axes=(1,)), t))
        return n(Reshape(shape=(channels,)), spread)

    op = GroupNorm(groups=groups, epsilon=n.attributes.number("epsilon", 1e-5))
    return n(op, x, per_channel(n[1]), per_channel(n[2]))


@FAMILY.op("GroupNormalization", 21)
def _group_norm(n: OnnxNode) -> Result:
    return n(GroupNorm(groups=_groups(n), epsilon=n.attributes.number("epsilon", 1e-5)), n[0], n[1], n[2])


def _groups(n: OnnxNode) -> int:
    n.attributes.required("num_groups")
    groups = n.attributes.integer("num_groups", 1)
    if groups < 1:
        n.refuse(f"num_groups is {groups}, it must be at least 1")
    return groups


@FAMILY.op("LRN", 1, 13)
def _lrn(n: OnnxNode) -> Result:
    a = n.attributes
    a.required("size")
    op = LRN(
        size=a.integer("size", 1),
        alpha=a.number("alpha", 1e-4),
        beta=a.number("beta", 0.75),
        bias=a.number("bias", 1.0),
    )
    return n(op, n[0])


@FAMILY.op("LpNormalization", 1, 22)
def _lp_normalization(n: OnnxNode) -> Result:
    """A norm of 0 gives 0; the least number stands in for the divisor then."""
    axis = n.axis(n.attributes.integer("axis", -1), n.rank(n[0]))
    return n(LpNormalize(axis=axis, p=n.attributes.integer("p", 2)), n[0])
