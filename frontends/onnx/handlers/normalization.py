"""Normalization, in inference form."""

from __future__ import annotations

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.graph import Tensor
from uair.ops import (
    LRN,
    BatchNorm,
    Expand,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LpNormalize,
    Reshape,
    RMSNorm,
    Unsqueeze,
)

FAMILY = Family()


@FAMILY.op("BatchNormalization", 1, 6, 7, 9, 14, 15)
def _batch_norm(n: OnnxNode) -> Result:
    """Versions 1 and 6 train unless `is_test`, 7 and 9 when they have more results; since 14 an attribute says so."""
    a = n.attributes
    if n.version < 7 and not a.flag("is_test"):
        n.unsupported("BatchNormalization in training mode is not supported", "export the model in evaluation mode")
    if n.version < 9 and not a.flag("spatial", True):
        n.unsupported("BatchNormalization with spatial=0 is not supported")
    if a.flag("training_mode") if n.version >= 14 else False:
        n.unsupported("BatchNormalization in training mode is not supported", "export the model in evaluation mode")
    n.only_first_result("statistics of the training mode")
    return n(BatchNorm(epsilon=a.number("epsilon", 1e-5)), *(n[i] for i in range(5)))


@FAMILY.op("InstanceNormalization", 1, 6, 22)
def _instance_norm(n: OnnxNode) -> Result:
    return n(InstanceNorm(epsilon=n.attributes.number("epsilon", 1e-5)), n[0], n[1], n[2])


@FAMILY.op("LayerNormalization", 1, 17)
def _layer_norm(n: OnnxNode) -> Result:
    """`stash_type` is the type of the statistics, always at least f32 here. Version 1 is onnxruntime's."""
    n.only_first_result("mean and deviation")
    axis = n.axis(n.attributes.integer("axis", -1), n.rank(n[0]))
    return n(LayerNorm(axis=axis, epsilon=n.attributes.number("epsilon", 1e-5)), n[0], n[1], n.optional(2))


def rms_norm(n: OnnxNode) -> Tensor:
    """RMSNormalization and onnxruntime's SimplifiedLayerNormalization."""
    n.only_first_result("the deviation")
    axis = n.axis(n.attributes.integer("axis", -1), n.rank(n[0]))
    return n(RMSNorm(axis=axis, epsilon=n.attributes.number("epsilon", 1e-5)), n[0], n[1])


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
