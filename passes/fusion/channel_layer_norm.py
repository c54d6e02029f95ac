"""LayerNorm over the channels of images and sequences, which models with channels first spell out (ConvNeXt's norm).

The operator normalizes the last axes: it stands between Transposes, as in models that permute the axes themselves. In
onnxruntime that takes half the time of the spelled form.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, LayerNorm, Mul, ReduceMean, Transpose
from uair.passes.fusion.affine import per_channel
from uair.passes.fusion.normalization import SpelledLayerNorm
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of


class RecognizeChannelLayerNorm(SpelledLayerNorm):
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) over the channels is LayerNorm with them as the last axis."""

    def check_axes(self, x: Tensor, mean: Node) -> bool | NoMatch:
        """The channels of images or sequences."""
        op = mean.op
        assert isinstance(op, ReduceMean)
        if x.type.rank < 3:
            return no("the operand is neither images nor sequences", x)
        is_channels = op.keepdims and op.axes is not None and [a % x.type.rank for a in op.axes] == [1]
        return is_channels or no("the means are not over the channels, kept", mean)

    def rewrite(self, x: Tensor, eps: Tensor) -> Tensor:
        """Transpose, LayerNorm without scale and bias, Transpose."""
        value = repeated_value(eps)
        assert value is not None
        rank = x.type.rank
        last = Transpose(perm=(0, *range(2, rank), 1))(x)
        return Transpose(perm=(0, rank - 1, *range(1, rank - 1)))(LayerNorm(axis=rank - 1, epsilon=value)(last))


class FoldChannelLayerNorm(Rule):
    """A product or sum with a number for each channel behind such a LayerNorm is its scale or bias."""

    def pattern(self, x: Any, c: Any, scale: Any) -> Any:
        """A product behind one without parameters, a sum behind one with a scale."""
        return [
            Mul()(of(Transpose)(of(LayerNorm)(x).named("norm")).named("turn"), c).named("root"),
            Add()(of(Transpose)(of(LayerNorm)(x, scale).named("norm")).named("turn"), c).named("root"),
        ]

    def check(self, norm: Node, turn: Node, c: Tensor, root: Node) -> bool | NoMatch:
        """The normalized axis becomes the channels, and the constant has a number for each."""
        op, order = norm.op, turn.op
        assert isinstance(op, LayerNorm) and isinstance(order, Transpose)
        last = len(order.perm) - 1
        if op.axis % (last + 1) != last or last < 2 or order.perm[1] != last:
            return no("the normalized axis does not become the channels", turn)
        return _channels(root, c) is not None or no("it is not a constant with one number for each channel", c)

    def rewrite(self, x: Tensor, norm: Node, turn: Node, c: Tensor, root: Node, scale: Tensor | None) -> Tensor:
        """With the parameter."""
        values = _channels(root, c)
        assert values is not None
        made = constant(np.ascontiguousarray(values), c.name)
        return turn.op(norm.op(x, made) if scale is None else norm.op(x, scale, made))


def _channels(root: Node, c: Tensor) -> Array | None:
    """The numbers of a constant for the channels of a result."""
    channels = root.output.type.dims[1]
    if c.data is None or not isinstance(channels, int) or c.data.size != channels or channels == 1:
        return None
    return per_channel(c, channels, root.output.type.rank, 1)


RULES = (RecognizeChannelLayerNorm, FoldChannelLayerNorm)
