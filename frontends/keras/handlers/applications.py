"""Layers that keras.applications brings with it."""

from __future__ import annotations

from uair import ops
from uair.frontends.keras.node import Family, KerasNode, Result

FAMILY = Family()


@FAMILY.op("LayerScale")
def _layer_scale(n: KerasNode) -> Result:
    """ConvNeXt's factor for each channel."""
    return n(ops.Mul(), n.x, n.variable("gamma", n.integer("projection_dim")))


@FAMILY.op("StochasticDepth")
def _stochastic_depth(n: KerasNode) -> Result:
    """ConvNeXt's dropping of whole branches, in training only."""
    return n.x


@FAMILY.op("CustomScaleLayer")
def _custom_scale(n: KerasNode) -> Result:
    """InceptionResNetV2: the first operand, and the second by a factor."""
    if len(n.xs) != 2:
        n.refuse(f"takes two tensors, is given {len(n.xs)}")
    a, b = n.xs
    return n(ops.Add(), a, n(ops.Mul(), b, n.like(n.number("scale"), b)))
