"""Normalizations, kept whole. A BatchNorm that computes its statistics from the input is spelled out."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.data import SplatData
from uair.ir.graph import Tensor, constant

FAMILY = Family()

_TRAINING = "call module.eval() before the model is read"


def _filled(node: TorchNode, value: float, like: Tensor, channels: object) -> Tensor:
    if not isinstance(channels, int):
        node.refuse("the number of channels must be known", "export the model with that size fixed")
    return constant(SplatData(value, like.type.dtype, (channels,)))


def _parameter(node: TorchNode, name: str, x: Tensor, default: float) -> Tensor:
    """A parameter per channel in x's element type; the default where it is left out."""
    found = node.optional(name)
    if found is None:
        return _filled(node, default, x, node.extent(x, 1))
    return node.cast(found, x.type.dtype)


@FAMILY.op(
    "aten.batch_norm",
    "aten.native_batch_norm",
    "aten._native_batch_norm_legit",
    "aten._native_batch_norm_legit_no_training",
    "aten.cudnn_batch_norm",
)
def _batch_norm(node: TorchNode) -> Result:
    x = node.tensor("input")
    epsilon = float(node.get("eps", 1e-5))
    with_mean = node.optional("running_mean")
    if with_mean is None:
        return _own_statistics(node, x, epsilon), None, None
    if node.get("training", False):
        node.refuse("BatchNorm in training mode takes its statistics from the batch", _TRAINING)
    return _whole(node, x, epsilon), None, None


def _whole(node: TorchNode, x: Tensor, epsilon: float) -> Tensor:
    parameters = [_parameter(node, "weight", x, 1.0), _parameter(node, "bias", x, 0.0)]
    statistics = [_parameter(node, "running_mean", x, 0.0), _parameter(node, "running_var", x, 1.0)]
    return node(ops.BatchNorm(epsilon=epsilon), x, *parameters, *statistics)


def _own_statistics(node: TorchNode, x: Tensor, epsilon: float) -> Tensor:
    """(x - mean) / sqrt(variance + eps) * weight + bias over all axes but the channels', the variance biased."""
    rank = node.rank(x)
    axes = (0, *range(2, rank))
    centred = node(ops.Sub(), x, node(ops.ReduceMean(axes=axes), x))
    variance = node(ops.ReduceMean(axes=axes), node(ops.Mul(), centred, centred))
    made = node(ops.Div(), centred, node(ops.Sqrt(), node(ops.Add(), variance, node.like(epsilon, x))))
    for name, op in (("weight", ops.Mul()), ("bias", ops.Add())):
        parameter = node.optional(name)
        if parameter is not None:
            made = node(op, made, node.reshaped(parameter, (*node.shape(parameter), *[1] * (rank - 2))))
    return made


@FAMILY.op("aten.instance_norm")
def _instance_norm(node: TorchNode) -> Tensor:
    """With running statistics, and not told to use the input's, it is a BatchNorm."""
    x, epsilon = node.tensor("input"), float(node.get("eps", 1e-5))
    if not node.get("use_input_stats", True):
        return _whole(node, x, epsilon)
    if node.optional("running_mean") is not None:
        node.refuse("InstanceNorm in training mode changes its running statistics", _TRAINING)
    scale, bias = node.optional("weight"), node.optional("bias")
    return node(ops.InstanceNorm(epsilon=epsilon), x, scale, bias)


@FAMILY.op("aten.layer_norm", "aten.native_layer_norm")
def _layer_norm(node: TorchNode) -> Result:
    x = node.tensor("input")
    axis = node.rank(x) - len(node.get("normalized_shape"))
    op = ops.LayerNorm(axis=axis, epsilon=float(node.get("eps", 1e-5)))
    return _single(node, node(op, x, *_affine(node, x)))


def _affine(node: TorchNode, x: Tensor) -> list[Tensor | None]:
    """Scale and bias in x's element type, trailing ones left out."""
    given = [node.optional(name) for name in ("weight", "bias")]
    cast = [None if t is None else node.cast(t, x.type.dtype) for t in given]
    while cast and cast[-1] is None:
        cast.pop()
    return cast


def _single(node: TorchNode, made: Tensor) -> Result:
    """The first of several results, of which no other is used.

    Raises:
        SourceOperatorError: the statistics are used.
    """
    if any(node.wants(i) for i in range(1, len(node.call.results))):
        node.refuse("its statistics are used, which only the gradient needs")
    return [made]


@FAMILY.op("aten.group_norm", "aten.native_group_norm")
def _group_norm(node: TorchNode) -> Result:
    x = node.tensor("input")
    groups = node.get("num_groups") or node.get("group")
    op = ops.GroupNorm(groups=int(groups), epsilon=float(node.get("eps", 1e-5)))
    return _single(node, node(op, x, *_affine(node, x)))


@FAMILY.op("aten.rms_norm", "aten._fused_rms_norm")
def _rms_norm(node: TorchNode) -> Result:
    """Without eps it is the distance from 1 to the next number of the type."""
    x = node.tensor("input")
    axis = node.rank(x) - len(node.get("normalized_shape"))
    epsilon = node.get("eps")
    if epsilon is None:
        limits = ml_dtypes.finfo(x.type.dtype.numpy)  # type: ignore[no-untyped-call]
        epsilon = float(limits.eps)
    scale = node.optional("weight")
    operands = [] if scale is None else [node.cast(scale, x.type.dtype)]
    return _single(node, node(ops.RMSNorm(axis=axis, epsilon=float(epsilon)), x, *operands))


@FAMILY.op("aten._weight_norm", "aten._weight_norm_interface")
def _weight_norm(node: TorchNode) -> Result:
    """The product g * v / |v|, the norm over all axes but `dim`."""
    v, g = node.tensor("v"), node.tensor("g")
    rank = node.rank(v)
    axis = node.axis(node.get("dim", 0), rank)
    size = node(ops.ReduceL2(axes=tuple(a for a in range(rank) if a != axis)), v)
    return _single(node, node(ops.Mul(), v, node(ops.Div(), g, size)))


@FAMILY.op("aten.cosine_similarity")
def _cosine_similarity(node: TorchNode) -> Tensor:
    """x1 . x2 / (max(|x1|, eps) max(|x2|, eps)) along an axis."""
    a, b = (node.cast(node.tensor(n), node.result.dtype) for n in ("x1", "x2"))
    axis, epsilon = node.get("dim", 1), float(node.get("eps", 1e-8))
    rank = max(node.rank(a), node.rank(b))
    axes = (node.axis(axis, rank) - rank,)
    dot = node(ops.ReduceSum(axes=axes, keepdims=False), node(ops.Mul(), a, b))
    for x in (a, b):
        size = node(ops.Clip(min=epsilon), node(ops.ReduceL2(axes=axes, keepdims=False), x))
        dot = node(ops.Div(), dot, size)
    return dot


@FAMILY.op("aten.pairwise_distance")
def _pairwise_distance(node: TorchNode) -> Tensor:
    """The norm of x1 - x2 + eps along the last axis."""
    a, b = node.tensor("x1"), node.tensor("x2")
    apart = node(ops.Add(), node(ops.Sub(), a, b), node.like(float(node.get("eps", 1e-6)), a))
    return norm(node, apart, float(node.get("p", 2)), (node.rank(apart) - 1,), bool(node.get("keepdim", False)))


@FAMILY.op("aten.cdist", "aten._cdist_forward")
def _cdist(node: TorchNode) -> Tensor:
    """The distance of every row of x1 from every row of x2: [..., P, M], [..., R, M] to [..., P, R]."""
    a, b = node.tensor("x1"), node.tensor("x2")
    apart = node(ops.Sub(), node(ops.Unsqueeze(axes=(-2,)), a), node(ops.Unsqueeze(axes=(-3,)), b))
    return norm(node, apart, float(node.get("p", 2)), (node.rank(apart) - 1,), False)


def norm(node: TorchNode, x: Tensor, p: float, axes: tuple[int, ...], keepdims: bool) -> Tensor:
    """The p-norm over axes: (sum |x|^p)^(1/p), the number of elements that are not 0 for p = 0, an extreme for inf."""
    if p == 2:
        return node(ops.ReduceL2(axes=axes, keepdims=keepdims), x)
    if p == 1:
        return node(ops.ReduceL1(axes=axes, keepdims=keepdims), x)
    if math.isinf(p):
        extreme = ops.ReduceMax(axes=axes, keepdims=keepdims) if p > 0 else ops.ReduceMin(axes=axes, keepdims=keepdims)
        return node(extreme, node(ops.Abs(), x))
    total = ops.ReduceSum(axes=axes, keepdims=keepdims)
    if p == 0:
        return node(total, node.cast(node(ops.NotEqual(), x, node.like(0, x)), x.type.dtype))
    powers = node(total, node(ops.Pow(), node(ops.Abs(), x), node.like(p, x)))
    return node(ops.Pow(), powers, node.like(np.reciprocal(p), x))
