"""Normalizations of channels and of groups of them, which exporters write with Reshapes and as LayerNorm."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Div, GroupNorm, InstanceNorm, LayerNorm, Mul, Reshape, Sub
from uair.passes.fusion.affine import per_channel
from uair.passes.fusion.batch_norm import FoldChannelwise
from uair.rewrite import NoMatch, Rule, no, of, optional


class RecognizeGroupNorm(Rule):
    """InstanceNorm, or LayerNorm over the last axis, of [N, groups, n], between Reshapes, is GroupNorm.

    torch.onnx writes torch.nn.GroupNorm so below opset 21. Groups of one channel are InstanceNorm's.
    """

    def pattern(self, x: Any, scale: Any, bias: Any) -> Any:
        """Reshape, the normalization, Reshape."""
        split = of(Reshape)(x).named("split")
        norm = of(InstanceNorm, LayerNorm)(split, optional(scale), optional(bias)).named("norm")
        return of(Reshape)(norm).named("root")

    def check(
        self, x: Tensor, scale: Tensor | None, bias: Tensor | None, split: Node, norm: Node, root: Node
    ) -> bool | NoMatch:
        """The channels are divided and come back; parameters are one constant for each group."""
        before, apart = x.type.shape, split.output.type.shape
        if before is None or apart is None or len(before) < 3 or root.output.type.shape != before:
            return no("the axes do not come back as they were", root)
        if len(apart) < 3 or apart[0] != before[0] or not _divides(apart[1], before[1]):
            return no("it is not the channels that are divided", split)
        if isinstance(norm.op, LayerNorm):
            if norm.op.axis % len(apart) != 2 or scale is not None or bias is not None:
                return no("it is not over all axes behind the groups, without parameters", norm)
            return True
        for tensor in (scale, bias):
            if tensor is not None and not tensor.is_constant:
                return no("a parameter is not a constant", tensor)
        return True

    def rewrite(self, x: Tensor, scale: Tensor | None, bias: Tensor | None, split: Node, norm: Node) -> Tensor:
        """GroupNorm; its parameters are those of the channels."""
        groups, channels = split.output.type.dims[1], x.type.dims[1]
        assert isinstance(groups, int) and isinstance(channels, int)
        epsilon: float = norm.attributes["epsilon"]
        alone = groups == channels
        op = InstanceNorm(epsilon=epsilon) if alone else GroupNorm(groups=groups, epsilon=epsilon)
        repeated = [_repeated(t, channels // groups, neutral) for t, neutral in ((scale, 1.0), (bias, 0.0))]
        while repeated and repeated[-1] is None:
            repeated.pop()
        return op(x, *repeated)


def _divides(groups: Any, channels: Any) -> bool:
    return isinstance(groups, int) and isinstance(channels, int) and groups > 0 and channels % groups == 0


def _repeated(parameter: Tensor | None, times: int, neutral: float) -> Tensor | None:
    """A parameter by group as one by channel; None when it changes nothing."""
    if parameter is None:
        return None
    values = parameter.numpy()
    return None if np.all(values == neutral) else constant(np.repeat(values, times), parameter.name)


class InstanceNormFromScale(Rule):
    """LayerNorm over rows and columns of images, then Mul by a constant for each channel, is InstanceNorm."""

    def pattern(self, x: Any, scale: Any) -> Any:
        """The product in either order."""
        return Mul()(of(LayerNorm)(x).named("norm"), scale)

    def check(self, x: Tensor, scale: Tensor, norm: Node) -> bool | NoMatch:
        """The constant varies along the channels only."""
        assert isinstance(norm.op, LayerNorm)
        if x.type.shape is None or len(x.type.shape) < 4 or norm.op.axis % len(x.type.shape) != 2:
            return no("it does not normalize the rows and columns of images", norm)
        return _by_channel(x, scale) is not None or no("it is not one number for each channel", scale)

    def rewrite(self, x: Tensor, scale: Tensor, norm: Node) -> Tensor:
        """InstanceNorm with a scale."""
        assert isinstance(norm.op, LayerNorm)
        values = _by_channel(x, scale)
        assert values is not None
        return InstanceNorm(epsilon=norm.op.epsilon)(x, constant(values, scale.name))


def _by_channel(x: Tensor, parameter: Tensor) -> Array | None:
    channels = x.type.dims[1]
    if not isinstance(channels, int) or channels == 1 or parameter.data is None or parameter.data.size != channels:
        return None
    found = per_channel(parameter, channels, x.type.rank, 1)
    return None if found is None else np.ascontiguousarray(found)


class FoldScaleIntoChannelNorm(FoldChannelwise):
    """Mul, Div, Add or Sub by one constant per channel after InstanceNorm or GroupNorm goes into its parameters."""

    ops = (Mul, Div, Add, Sub)
    anchors = (InstanceNorm, GroupNorm)

    def check(self, root: Node, anchor: Node, c: Tensor) -> bool | NoMatch:
        """As above, and the parameters that are there are constants."""
        answer = super().check(root, anchor, c)
        if answer is not True:
            return answer
        known = all(t is None or t.is_constant for t in anchor.inputs[1:])
        return known or no("a parameter is not a constant", anchor)

    def rewrite(self, root: Node, anchor: Node, c: Tensor) -> Tensor:
        """One operator, its parameters computed in float64."""
        x = anchor.inputs[0]
        value = self.values(anchor, c)
        assert x is not None and value is not None
        factor, shift = self.factor_and_shift(root, value)
        old = [np.ones_like(value), np.zeros_like(value)]
        for i, tensor in enumerate(anchor.inputs[1:]):
            if tensor is not None:
                old[i] = tensor.numpy().astype(np.float64)
        dtype = x.type.dtype.numpy
        scale, bias = (old[0] * factor).astype(dtype), (old[1] * factor + shift).astype(dtype)
        parameters = [constant(scale, _name(anchor, 1, c)), constant(bias, _name(anchor, 2, c))]
        return anchor.op(x, *(parameters if bias.any() else parameters[:1]))


def _name(norm: Node, index: int, otherwise: Tensor) -> str:
    known = norm.inputs[index] if len(norm.inputs) > index else None
    return known.name if known is not None else otherwise.name


RULES = (RecognizeGroupNorm, InstanceNormFromScale, FoldScaleIntoChannelNorm)
