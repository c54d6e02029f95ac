"""BatchNorm and per-channel arithmetic into weights."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    BatchNorm,
    Clip,
    Div,
    LeakyRelu,
    Linear,
    MatMul,
    Mul,
    Neg,
    Relu,
    Reshape,
    Squeeze,
    Sub,
    Transpose,
)
from uair.passes.fusion import affine
from uair.passes.fusion.affine import WEIGHTED
from uair.passes.fusion.exact import exact, rounded, scaled
from uair.rewrite import NoMatch, Rule, no, of, optional


def constants(*tensors: Tensor) -> bool | NoMatch:
    """Whether all are constants; otherwise a refusal that names the first one that is not."""
    for tensor in tensors:
        if not tensor.is_constant:
            return no(f"{tensor!r} is not a constant", tensor)
    return True


def foldable(conv: Node) -> bool | NoMatch:
    """Whether a weighted node's parameters are float constants."""
    return affine.is_foldable(conv) or no(f"the weights or the bias of {conv!r} are not constants", conv)


class FoldBatchNorm(Rule):
    """BatchNorm after a convolution or Linear goes into its weights and bias."""

    def pattern(self, x: Any, w: Any, b: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
        """A weighted operator, then BatchNorm."""
        conv = of(*WEIGHTED)(x, w, optional(b)).named("conv")
        return of(BatchNorm)(conv, scale, shift, mean, var).named("bn")

    def check(self, conv: Node, scale: Tensor, shift: Tensor, mean: Tensor, var: Tensor) -> bool | NoMatch:
        """All parameters are constants and BatchNorm's channels are the operator's."""
        if affine.channel_axis(conv) != 1:
            return no("BatchNorm normalizes axis 1, which is not the Linear's output axis", conv)
        answer = constants(scale, shift, mean, var)
        return foldable(conv) if answer is True else answer

    def rewrite(self, conv: Node, bn: Node) -> Tensor:
        """One operator."""
        return affine.apply_affine(conv, *affine.batch_norm_affine(bn), name=f"{bn.name or 'bn'}.bias")


class FoldBatchNormIntoProduct(Rule):
    """BatchNorm of a product's features goes into it, also behind a Reshape that merges the axes in front of them.

    LeViT's layers are such: a product without bias, the batch and the places as one axis, BatchNorm1d, and back.
    """

    def pattern(self, x: Any, w: Any, b: Any, scale: Any, shift: Any, mean: Any, var: Any) -> Any:
        """A product, a Reshape, BatchNorm; or a product of matrices and BatchNorm."""
        product = of(Linear, MatMul)(x, w, optional(b)).named("product")
        matrix = of(MatMul)(x, w).named("product")
        merged = (of(Reshape)(product).named("merge"), matrix)
        return [of(BatchNorm)(each, scale, shift, mean, var).named("bn") for each in merged]

    def check(
        self,
        w: Tensor,
        product: Node,
        merge: Node | None,
        bn: Node,
        scale: Tensor,
        shift: Tensor,
        mean: Tensor,
        var: Tensor,
    ) -> bool | NoMatch:
        """All parameters are constants, and the features stay the last axis of two."""
        answer = constants(scale, shift, mean, var)
        if answer is not True:
            return answer
        if not affine.is_foldable(product) or w.type.rank != 2 or product.attributes.get("trans_a"):
            return no("the weights are no constant matrix", product)
        given = product.output.type.shape
        features = bn.output.type.dims[1] if bn.output.type.shape is not None and bn.output.type.rank == 2 else None
        kept = given is not None and features is not None and given[-1] == features
        return kept or no("the features are not the second of two axes", merge or bn)

    def rewrite(self, x: Tensor, w: Tensor, product: Node, merge: Node | None, bn: Node) -> Tensor:
        """The product with other weights and a bias, then the Reshape."""
        factor, shift = affine.batch_norm_affine(bn)
        name = f"{bn.name or 'bn'}.bias"
        if isinstance(product.op, MatMul):
            assert w.data is not None
            turned = product.op.trans_b
            weights = constant(scaled(w.data, factor.reshape((-1, 1) if turned else (1, -1))), w.name)
            made = Linear(transpose_w=turned)(x, weights, rounded(shift, w.type.dtype, name))
        else:
            made = affine.apply_affine(product, factor, shift, name=name)
        return made if merge is None else Reshape(shape=merge.output.type.dims)(made)


class FoldChannelwise(Rule):
    """Base: an elementwise operator with a per-channel constant after `anchor`."""

    ops: tuple[Any, ...] = ()
    anchors: tuple[Any, ...] = ()

    def pattern(self, c: Any) -> Any:
        """The constant on either side where that makes no difference."""
        anchor = of(*self.anchors)(...).named("anchor")
        commuting = tuple(op for op in self.ops if op.commutative)
        rest = tuple(op for op in self.ops if not op.commutative)
        roots = [of(*ops)(anchor, c).named("root") for ops in (commuting, rest) if ops]
        return roots

    def values(self, anchor: Node, c: Tensor) -> Array | None:
        """The constant along the anchor's output channels, as float64."""
        axis = affine.channel_axis(anchor) if isinstance(anchor.op, WEIGHTED) else 1
        shape = anchor.output.type.shape
        if shape is None or axis >= len(shape) or not isinstance(shape[axis], int):
            return None
        channels = shape[axis]
        assert isinstance(channels, int)
        return affine.exact_per_channel(c, channels, len(shape), axis)

    def factor_and_shift(self, root: Node, value: Array) -> tuple[Array, Array]:
        """What the operator does to each channel."""
        one, zero = np.ones_like(value), np.zeros_like(value)
        if isinstance(root.op, Mul):
            return value, zero
        if isinstance(root.op, Div):
            return 1 / value, zero
        return one, (-value if isinstance(root.op, Sub) else value)

    def check(self, root: Node, anchor: Node, c: Tensor) -> bool | NoMatch:
        """The other operand is one number per channel."""
        if not c.is_constant:
            return no(f"{c!r} is not a constant", c)
        return self.values(anchor, c) is not None or no("the constant varies along other axes than the channels", c)


class FoldChannelScale(FoldChannelwise):
    """Mul, Div, Add or Sub by one constant per channel after a convolution or Linear goes into its weights and bias."""

    ops = (Mul, Div, Add, Sub)
    anchors = WEIGHTED

    def check(self, root: Node, anchor: Node, c: Tensor) -> bool | NoMatch:
        """As above, and the weights can be changed."""
        answer = super().check(root, anchor, c)
        if answer is not True:
            return answer
        if not isinstance(root.op, (Add, Sub)):
            return foldable(anchor)
        bias = anchor.inputs[2] if len(anchor.inputs) > 2 else None
        return bias is None or bias.is_constant or no("the bias is not a constant", anchor)

    def rewrite(self, root: Node, anchor: Node, c: Tensor) -> Tensor:
        """One operator."""
        value = self.values(anchor, c)
        assert value is not None
        return affine.apply_affine(anchor, *self.factor_and_shift(root, value), name=c.name)


class FoldBiasBehindSqueeze(Rule):
    """A number for each channel that is added behind a convolution and a Squeeze is the convolution's bias.

    A convolution over a sequence is written so by TensorFlow: as one over images of one row or column. With channels
    last, a Transpose stands between.
    """

    def pattern(self, x: Any, w: Any, b: Any, c: Any) -> Any:
        """The sum in either order."""
        conv = of(*affine.CONVOLUTIONS, *affine.TRANSPOSED)(x, w, optional(b)).named("conv")
        squeeze = of(Squeeze)(conv).named("squeeze")
        return [Add()(each, c).named("root") for each in (squeeze, of(Transpose)(squeeze).named("turn"))]

    def check(self, conv: Node, squeeze: Node, turn: Node | None, c: Tensor, root: Node) -> bool | NoMatch:
        """Batch and channels stay where they are; weights and summand are constants."""
        op, rank = squeeze.op, conv.output.type.rank
        assert isinstance(op, Squeeze)
        if op.axes is None or any(axis % rank < 2 for axis in op.axes):
            return no("it is not axes of space alone that go", squeeze)
        if root.output.type != (turn or squeeze).output.type:
            return no("the summand broadcasts the result", root)
        if not affine.is_foldable(conv):
            return no("the weights or the bias are no constants", conv)
        return self.values(conv, squeeze, turn, c) is not None or no("it is not one number for each channel", c)

    def rewrite(self, conv: Node, squeeze: Node, turn: Node | None, c: Tensor) -> Tensor:
        """The convolution with the sum of both as its bias."""
        values = self.values(conv, squeeze, turn, c)
        assert values is not None
        made: Tensor = squeeze.op(affine.apply_affine(conv, np.ones(len(values)), values, name=c.name))
        return made if turn is None else turn.op(made)

    @staticmethod
    def values(conv: Node, squeeze: Node, turn: Node | None, c: Tensor) -> Array | None:
        """The summand of each channel, in float64."""
        axis = 1 if turn is None else turn.attributes["perm"].index(1)
        return affine.exact_per_channel(c, affine.output_channels(conv), squeeze.output.type.rank, axis)


class FoldNegation(Rule):
    """Neg after a convolution or Linear goes into its weights and bias."""

    def pattern(self) -> Any:
        """A weighted operator, then Neg."""
        return Neg()(of(*WEIGHTED)(...).named("anchor")).named("root")

    def check(self, anchor: Node) -> bool | NoMatch:
        """The weights can be changed."""
        return foldable(anchor)

    def rewrite(self, anchor: Node) -> Tensor:
        """One operator with the opposite weights and bias."""
        channels = affine.output_channels(anchor)
        return affine.apply_affine(anchor, -np.ones(channels), np.zeros(channels))


class FoldScaleIntoBatchNorm(FoldChannelwise):
    """Mul, Div, Add or Sub by one constant per channel after BatchNorm goes into BatchNorm's parameters."""

    ops = (Mul, Div, Add, Sub)
    anchors = (BatchNorm,)

    def check(self, root: Node, anchor: Node, c: Tensor) -> bool | NoMatch:
        """As above, and BatchNorm's scale and bias are constants."""
        answer = super().check(root, anchor, c)
        scale, shift = anchor.inputs[1], anchor.inputs[2]
        assert scale is not None and shift is not None
        return constants(scale, shift) if answer is True else answer

    def rewrite(self, root: Node, anchor: Node, c: Tensor) -> Tensor:
        """BatchNorm with scaled and shifted parameters."""
        value = self.values(anchor, c)
        assert value is not None
        factor, add = self.factor_and_shift(root, value)
        x, scale, shift, mean, var = anchor.inputs
        assert scale is not None and shift is not None
        dtype = scale.type.dtype
        new_scale = rounded(exact(scale) * factor, dtype, scale.name)
        new_shift = rounded(exact(shift) * factor + add, dtype, shift.name)
        return anchor.op(x, new_scale, new_shift, mean, var)


class FoldScaleThroughActivation(Rule):
    """A positive number behind Relu, LeakyRelu or Clip of a convolution or Linear goes into the weights.

    relu6(conv(x) + 3) / 6, the gate of MobileNetV3, is clip(conv(x), 0, 1) then.
    """

    def pattern(self, c: Any) -> Any:
        """The product in either order, or the quotient."""
        bounded = of(Relu, LeakyRelu, Clip)(of(*WEIGHTED)(...).named("anchor")).named("activation")
        return [Mul()(bounded, c).named("root"), Div()(bounded, c).named("root")]

    def check(self, root: Node, activation: Node, anchor: Node, c: Tensor) -> bool | NoMatch:
        """One number above 0, and the weights can be changed."""
        value = self.factor(root, c)
        if value is None or root.output.type != activation.output.type:
            return no("it is not one positive number", c)
        return foldable(anchor)

    def rewrite(self, root: Node, activation: Node, anchor: Node, c: Tensor) -> Tensor:
        """The activation of the scaled result, its bounds scaled."""
        value = self.factor(root, c)
        assert value is not None
        channels = affine.output_channels(anchor)
        scaled = affine.apply_affine(anchor, np.full(channels, value), np.zeros(channels), name=c.name)
        op = activation.op
        if isinstance(op, Clip):
            low, high = (None if bound is None else bound * value for bound in (op.min, op.max))
            op = Clip(min=low, max=high)
        result: Tensor = op(scaled)
        return result

    @staticmethod
    def factor(root: Node, c: Tensor) -> float | None:
        """The number, when it is one."""
        if c.data is None or c.data.size != 1:
            return None
        value = float(exact(c).reshape(()))
        if not np.isfinite(value) or value <= 0:
            return None
        return 1 / value if isinstance(root.op, Div) else value


RULES = (
    FoldBatchNorm,
    FoldBatchNormIntoProduct,
    FoldChannelScale,
    FoldBiasBehindSqueeze,
    FoldNegation,
    FoldScaleIntoBatchNorm,
    FoldScaleThroughActivation,
)
