"""Windows and reductions by convolutions and by the pooling of whole planes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import LRN, Add, AvgPool2D, Conv2D, GlobalMaxPool, Mul, Neg, Pow, ReduceMax, ReduceMin, Sqrt
from uair.passes.rewrites._common import LARGEST_WEIGHT, extents, number, reshaped, static_float
from uair.rewrite import NoMatch, Rule, no, of

LARGEST_KERNEL = 8
"""Of a depthwise convolution."""


class ReduceMaxByPool(Rule):
    """The maximum over the last axes is the greatest element of planes; the minimum that of the negative."""

    def pattern(self, x: Any) -> Any:
        """A maximum or minimum over constant axes."""
        return of(ReduceMax, ReduceMin)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """Exactly the last axes are reduced."""
        refusal = static_float(node)
        if refusal is not None:
            return refusal
        axes = _axes(node)
        if not axes or axes != list(range(axes[0], x.type.rank)):
            return no("other axes than the last ones are reduced", node)
        return axes[0] > 0 or no("nothing is left of the axes", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """Planes of the reduced axes, one for each result."""
        kept = extents(x)[: _axes(node)[0]]
        least = isinstance(node.op, ReduceMin)
        reduced = extents(x)[len(kept) :]
        plane = (math.prod(reduced[:-1]), reduced[-1])
        batch = kept[0] if len(kept) > 1 else 1
        y = reshaped(Neg()(x) if least else x, (batch, math.prod(kept) // batch, *plane))
        y = GlobalMaxPool()(y)
        return reshaped(Neg()(y) if least else y, extents(node.output))


def _axes(node: Node) -> list[int]:
    """The reduced axes of a reduction whose axes are an attribute, ascending."""
    x = node.inputs[0]
    assert x is not None
    axes = node.attributes["axes"]
    rank = x.type.rank
    return sorted(axis % rank for axis in (range(rank) if axes is None else axes))


class AvgPoolByConvolution(Rule):
    """The mean of windows is a depthwise convolution with equal weights; where padding does not count, a scale follows.

    Windows that reach over the border divide by fewer elements: the convolution divides by the size of the kernel, and
    a product with [1, 1, H', W'] makes that good.
    """

    def pattern(self, x: Any) -> Any:
        """A mean over two axes."""
        return of(AvgPool2D)(x).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """The kernel is one that depthwise convolutions have."""
        refusal = static_float(node, 4)
        if refusal is not None:
            return refusal
        op = node.op
        assert isinstance(op, AvgPool2D)
        return max(op.kernel) <= LARGEST_KERNEL or no(f"its kernel is larger than {LARGEST_KERNEL}", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The convolution, and the scale where windows differ."""
        op = node.op
        assert isinstance(op, AvgPool2D)
        _, channels, *spatial = extents(x)
        results, pads = op.extents_and_pads(spatial)
        after = [
            max((results[i] - 1) * op.strides[i] + op.dilations[i] * (op.kernel[i] - 1) + 1 - pads[i] - spatial[i], 0)
            for i in range(2)
        ]
        area = math.prod(op.kernel)
        weight = np.full((channels, 1, *op.kernel), 1 / area, np.float32)
        conv = Conv2D(strides=op.strides, pads=(*pads[:2], *after), dilations=op.dilations, groups=channels)
        y = conv(x, constant(weight))
        scale: Array = np.asarray(area / np.broadcast_to(op.counts(spatial), tuple(results)), np.float32)
        return y if np.all(scale == 1) else Mul()(y, constant(scale[None, None]))


class LrnByConvolution(Rule):
    """Local response normalization: squares, their sums over channels by a 1x1 convolution, and a power of the sum.

    x * (bias + sum of (x sqrt(alpha / size))^2) ** -beta; of the exponents those that square roots make: 0.5, 0.75, 1.
    """

    def pattern(self, x: Any) -> Any:
        """The operator."""
        return of(LRN)(x).named("node")

    def check(self, x: Tensor, node: Node) -> bool | NoMatch:
        """The exponent is one of three, alpha and bias are positive."""
        op = node.op
        assert isinstance(op, LRN)
        refusal = static_float(node, 4)
        if refusal is not None:
            return refusal
        if op.beta not in (0.5, 0.75, 1.0) or op.alpha < 0 or op.bias <= 0:
            return no("beta is none of 0.5, 0.75 and 1, or alpha or bias are negative", node)
        size = 4 * extents(x)[1] ** 2
        return size <= LARGEST_WEIGHT or no(f"the weight would have {size} bytes", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The product of x and the power."""
        op = node.op
        assert isinstance(op, LRN)
        scaled = Mul()(x, number(math.sqrt(op.alpha / op.size)))
        band = _band(extents(x)[1], op.size)
        total = Add()(Conv2D()(Mul()(scaled, scaled), constant(band)), number(op.bias))
        power = Pow()(total, number(-0.5))
        if op.beta == 0.75:
            power = Mul()(power, Sqrt()(power))
        elif op.beta == 1.0:
            power = Mul()(power, power)
        return Mul()(x, power)


def _band(channels: int, size: int) -> Array:
    """The weight [channels, channels, 1, 1] that sums `size` neighbouring channels, floor((size - 1) / 2) before."""
    distance = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    before = (size - 1) // 2
    inside = (distance >= -before) & (distance < size - before)
    return np.asarray(inside, np.float32)[:, :, None, None]


RULES = (ReduceMaxByPool, AvgPoolByConvolution, LrnByConvolution)
