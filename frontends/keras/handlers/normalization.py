"""Normalizations, kept whole: BatchNorm on images, LayerNorm on the last axes, GroupNorm, RMSNorm."""

from __future__ import annotations

from typing import cast

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.dtype import DType
from uair.ir.graph import Tensor

FAMILY = Family()


def _axes(n: KerasNode, x: Tensor, default: int = -1) -> tuple[int, ...]:
    given = n.get("axis", default)
    items = cast("list[int]", list(given)) if isinstance(given, (list, tuple)) else [given]
    return n.axes(n.integers_of(items, "axis"), n.rank(x))


def _wide(n: KerasNode, x: Tensor) -> tuple[Tensor, DType]:
    """Half floats are normalized in f32."""
    dtype = x.type.dtype
    return (n.cast(x, DType.F32) if dtype in (DType.F16, DType.BF16) else x), dtype


def _turned(n: KerasNode, x: Tensor, axis: int, to: int) -> tuple[Tensor, tuple[int, ...]]:
    """A tensor with an axis moved, and the permutation that moves it back."""
    rank = n.rank(x)
    order = [i for i in range(rank) if i != axis]
    order.insert(to, axis)
    back = tuple(order.index(i) for i in range(rank))
    return n.transposed(x, tuple(order)), back


@FAMILY.op("BatchNormalization", "SyncBatchNormalization", "BatchNormalizationV1", "BatchNormalizationV2")
def _batch_norm(n: KerasNode) -> Result:
    """The channels come to axis 1; variables that the layer lacks are ones and zeros."""
    x, dtype = _wide(n, n.x)
    (axis,) = _axes(n, x)
    n.require(n.argument(99, "training") is not True, "it is called with training=True", "call it without `training`")
    channels = n.extent(x, axis)
    if not isinstance(channels, int):
        n.refuse("the number of channels must be known")
    turned, back = _turned(n, x, axis, 1)
    scale, bias, mean, variance = (
        n.cast(n.variable(name, channels) if n.has(name) else n.filled(default, channels), x.type.dtype)
        for name, default in (("gamma", 1.0), ("beta", 0.0), ("moving_mean", 0.0), ("moving_variance", 1.0))
    )
    y = n(ops.BatchNorm(epsilon=n.number("epsilon", 1e-3)), turned, scale, bias, mean, variance)
    return n.cast(n.transposed(y, back), dtype)


@FAMILY.op("LayerNormalization")
def _layer_norm(n: KerasNode) -> Result:
    """Over the last axes; another axis comes to the end first."""
    x, dtype = _wide(n, n.x)
    axes = tuple(sorted(_axes(n, x)))
    rank, epsilon = n.rank(x), n.number("epsilon", 1e-3)
    last = axes == tuple(range(axes[0], rank))
    n.require(last or len(axes) == 1, f"the axes {list(axes)} are not the last ones")
    turned, back = (x, tuple(range(rank))) if last else _turned(n, x, axes[0], rank - 1)
    extents = n.shape(turned)[axes[0] if last else rank - 1 :]
    first = rank - len(extents)
    scale = n.maybe("gamma", *extents)
    if n.flag("rms_scaling"):
        y = _by_variance(n, turned, tuple(range(first, rank)), epsilon, scale)
    else:
        y = n(
            ops.LayerNorm(axis=first, epsilon=epsilon),
            turned,
            _cast(n, scale, x.type.dtype),
            _cast(n, n.maybe("beta", *extents), x.type.dtype),
        )
    return n.cast(n.transposed(y, back), dtype)


def _cast(n: KerasNode, variable: Tensor | None, dtype: DType) -> Tensor | None:
    """A variable that the layer may lack, in an element type."""
    return None if variable is None else n.cast(variable, dtype)


def _by_variance(n: KerasNode, x: Tensor, axes: tuple[int, ...], epsilon: float, scale: Tensor | None) -> Tensor:
    """rms_scaling: x / sqrt(variance + epsilon) * gamma; x keeps its mean, though the variance is about it."""
    deviation = n(ops.Sub(), x, n(ops.ReduceMean(axes=axes, keepdims=True), x))
    variance = n(ops.ReduceMean(axes=axes, keepdims=True), n(ops.Mul(), deviation, deviation))
    y = n(ops.Mul(), x, n(ops.Rsqrt(), n(ops.Add(), variance, n.like(epsilon, x))))
    return y if scale is None else n(ops.Mul(), y, n.cast(scale, x.type.dtype))


@FAMILY.op("RMSNormalization")
def _rms_norm(n: KerasNode) -> Result:
    x, dtype = _wide(n, n.x)
    (axis,) = _axes(n, x)
    rank = n.rank(x)
    turned, back = _turned(n, x, axis, rank - 1)
    scale = n.cast(n.variable("scale", n.extent(x, axis)), x.type.dtype)
    y = n(ops.RMSNorm(axis=rank - 1, epsilon=n.number("epsilon", 1e-6)), turned, scale)
    return n.cast(n.transposed(y, back), dtype)


@FAMILY.op("GroupNormalization")
def _group_norm(n: KerasNode) -> Result:
    """As many groups as channels, which -1 stands for, are InstanceNorm."""
    x, dtype = _wide(n, n.x)
    (axis,) = _axes(n, x)
    channels = n.extent(x, axis)
    if not isinstance(channels, int):
        n.refuse("the number of channels must be known")
    groups = n.integer("groups", 32)
    turned, back = _turned(n, x, axis, 1)
    scale, bias = (_cast(n, n.maybe(name, channels), x.type.dtype) for name in ("gamma", "beta"))
    epsilon = n.number("epsilon", 1e-3)
    each = groups in (-1, channels) and n.rank(x) > 2  # InstanceNorm needs spatial axes
    op = (
        ops.InstanceNorm(epsilon=epsilon)
        if each
        else ops.GroupNorm(groups=channels if groups == -1 else groups, epsilon=epsilon)
    )
    return n.cast(n.transposed(n(op, turned, scale, bias), back), dtype)


@FAMILY.op("UnitNormalization")
def _unit_norm(n: KerasNode) -> Result:
    """X * rsqrt(max(sum(x^2), 1e-24)): divided by its length, or by 1e-12 if it is shorter."""
    x = n.x
    axes = _axes(n, x)
    if len(axes) == 1:
        return n(ops.LpNormalize(axis=axes[0], p=2, epsilon=1e-12), x)
    length = n(ops.ReduceL2(axes=axes, keepdims=True), x)
    return n(ops.Div(), x, n(ops.Maximum(), length, n.like(1e-12, x)))
