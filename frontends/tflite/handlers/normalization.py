"""Normalization."""

from __future__ import annotations

from uair.frontends.common.layout import channels_first, channels_last
from uair.frontends.tflite.node import Family, Result, TfliteNode
from uair.ops import LRN, LpNormalize

FAMILY = Family()


@FAMILY.op("L2_NORMALIZATION")
def _l2(n: TfliteNode) -> Result:
    """Along the last axis; the norm is at least 1e-6 (reference_ops::L2Normalization)."""
    return n.activated(n(LpNormalize(axis=-1, p=2, epsilon=1e-6), n[0]))


@FAMILY.op("LOCAL_RESPONSE_NORMALIZATION")
def _lrn(n: TfliteNode) -> Result:
    """Alpha is not divided by the number of channels that are summed, as the canonical operator's is."""
    o = n.options
    size = 2 * o.integer("radius") + 1
    op = LRN(size=size, alpha=o.number("alpha") * size, beta=o.number("beta"), bias=o.number("bias"))
    return channels_last(n, n(op, channels_first(n, n[0])))
