"""Normalizations that exporters spell out."""

from __future__ import annotations

import abc
import math
from typing import Any

from uair.ir.dims import Shape, is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    Cast,
    Clip,
    Div,
    LayerNorm,
    LpNormalize,
    Maximum,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    ReduceL1,
    ReduceL2,
    ReduceMean,
    RMSNorm,
    Rsqrt,
    Sqrt,
    Sub,
)
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of, optional


class SpelledLayerNorm(Rule):
    """(x - mean) / sqrt(mean((x - mean)^2) + eps)."""

    def pattern(self, x: Any, two: Any, eps: Any) -> Any:
        """The centred value is used twice; the square as a power or a product; the quotient or Rsqrt."""
        roots: list[Any] = []
        centred = Sub()(x, of(ReduceMean)(x).named("mean")).named("centred")
        for square in (Pow()(centred, two), Mul()(centred, centred)):
            variance = Add()(of(ReduceMean)(square).named("variance"), eps)
            roots += [Div()(centred, Sqrt()(variance)), Mul()(centred, Rsqrt()(variance))]
        return roots

    def check(self, x: Tensor, mean: Node, variance: Node, two: Tensor | None, eps: Tensor) -> bool | NoMatch:
        """Both means are over the same axes, which fit the rule; eps is one number."""
        if x.type.shape is None:
            return no("the rank is not known", x)
        if mean.op != variance.op:
            return no("mean and variance are over different axes", variance)
        fits = self.check_axes(x, mean)
        if isinstance(fits, NoMatch):
            return fits
        if two is not None and repeated_value(two) != 2.0:
            return no("the power is not 2", two)
        value = repeated_value(eps)
        return value is not None and value > 0 or no("epsilon is not one positive number", eps)

    @abc.abstractmethod
    def check_axes(self, x: Tensor, mean: Node) -> bool | NoMatch:
        """Whether the axes of the mean are those of the rule, and kept."""


class RecognizeLayerNorm(SpelledLayerNorm):
    """(x - mean) / sqrt(mean((x - mean)^2) + eps) over the last axes is LayerNorm."""

    def check_axes(self, x: Tensor, mean: Node) -> bool | NoMatch:
        """The last ones."""
        return first_axis(mean, x.type.rank) is not None or no("the means are not over the last axes, kept", mean)

    def rewrite(self, x: Tensor, mean: Node, eps: Tensor) -> Tensor:
        """LayerNorm without scale and bias; FoldLayerNormScale adds them."""
        axis = first_axis(mean, x.type.rank)
        value = repeated_value(eps)
        assert axis is not None and value is not None
        return LayerNorm(axis=axis, epsilon=value)(x)


class RecognizeRMSNorm(Rule):
    """x / sqrt(mean(x^2) + eps) over the last axes is RMSNorm."""

    def pattern(self, x: Any, two: Any, eps: Any, one: Any) -> Any:
        """The square as a power or a product; the quotient, or the product with the reciprocal in every spelling."""
        roots: list[Any] = []
        for square in (Pow()(x, two), Mul()(x, x)):
            total = Add()(of(ReduceMean)(square).named("mean"), eps)
            root = Sqrt()(total)
            roots.append(Div()(x, root))
            roots += [Mul()(x, inverse) for inverse in (Rsqrt()(total), Reciprocal()(root), Div()(one, root))]
        return roots

    def check(self, x: Tensor, mean: Node, two: Tensor | None, eps: Tensor, one: Tensor | None) -> bool | NoMatch:
        """The mean is over the last axes and keeps them; eps is one number."""
        if x.type.shape is None:
            return no("the rank is not known", x)
        if first_axis(mean, x.type.rank) is None:
            return no("the mean is not over the last axes, kept", mean)
        for tensor, wanted in ((two, 2.0), (one, 1.0)):
            if tensor is not None and repeated_value(tensor) != wanted:
                return no(f"it is not the number {wanted:g}", tensor)
        value = repeated_value(eps)
        return value is not None and value >= 0 or no("epsilon is not one number, 0 or more", eps)

    def rewrite(self, x: Tensor, mean: Node, eps: Tensor) -> Tensor:
        """RMSNorm without scale; FoldRMSNormScale adds it."""
        axis, value = first_axis(mean, x.type.rank), repeated_value(eps)
        assert axis is not None and value is not None
        return RMSNorm(axis=axis, epsilon=value)(x)


class RecognizeLpNormalize(Rule):
    """x over its norm, which is bounded from below, as torch.nn.functional.normalize writes it, is LpNormalize."""

    def pattern(self, x: Any, least: Any) -> Any:
        """Clip or Maximum of the norm."""
        norm = of(ReduceL1, ReduceL2)(x).named("norm")
        return [Div()(x, of(Clip)(norm).named("bounded")), Div()(x, Maximum()(norm, least).named("bounded"))]

    def check(self, x: Tensor, norm: Node, bounded: Node, least: Tensor | None) -> bool | NoMatch:
        """The norm is along one axis and kept; the bound is one positive number."""
        op = norm.op
        assert isinstance(op, (ReduceL1, ReduceL2))
        if not op.keepdims or op.axes is None or len(op.axes) != 1 or x.type.shape is None:
            return no("the norm is not along one axis that is kept", norm)
        value = _least(bounded, least)
        return value is not None and value > 0 or no("the norm is not bounded by one positive number", bounded)

    def rewrite(self, x: Tensor, norm: Node, bounded: Node, least: Tensor | None) -> Tensor:
        """One operator."""
        op, value = norm.op, _least(bounded, least)
        assert isinstance(op, (ReduceL1, ReduceL2)) and op.axes is not None and value is not None
        return LpNormalize(axis=op.axes[0] % x.type.rank, p=1 if isinstance(op, ReduceL1) else 2, epsilon=value)(x)


def _least(bounded: Node, least: Tensor | None) -> float | None:
    """The number that a value is at least."""
    if isinstance(bounded.op, Clip):
        return bounded.op.min if bounded.op.max in (None, math.inf) else None
    return None if least is None else repeated_value(least)


class LayerNormFromCentred(Rule):
    """RMSNorm of what the mean was subtracted from is LayerNorm: Cohere's layers share the difference that way."""

    def pattern(self, x: Any, scale: Any) -> Any:
        """The mean, the difference, RMSNorm."""
        centred = Sub()(x, of(ReduceMean)(x).named("mean"))
        return of(RMSNorm)(centred, optional(scale)).named("root")

    def check(self, x: Tensor, mean: Node, root: Node) -> bool | NoMatch:
        """Both are over the same axes, the last ones, which the mean keeps."""
        assert isinstance(root.op, RMSNorm)
        if x.type.shape is None:
            return no("the rank is not known", x)
        same = first_axis(mean, x.type.rank) == root.op.axis % x.type.rank
        return same or no("the mean is not over the axes that are normalised, kept", mean)

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """LayerNorm without bias; FoldLayerNormBias adds it."""
        op = root.op
        assert isinstance(op, RMSNorm)
        return LayerNorm(axis=op.axis, epsilon=op.epsilon)(x, *root.inputs[1:])


class NarrowRMSNorm(Rule):
    """RMSNorm in f32 between Casts from and to a 16-bit type is RMSNorm of that type, which computes in f32 anyway."""

    def pattern(self, x: Any) -> Any:
        """Without scale, which models apply behind the Cast."""
        widened = of(Cast)(x).named("widened").shared()
        return of(Cast)(of(RMSNorm)(widened).named("norm")).named("narrowed")

    def check(self, x: Tensor, widened: Node, narrowed: Node) -> bool | NoMatch:
        """From a 16-bit float to f32 and back."""
        narrow = x.type.dtype in (DType.F16, DType.BF16) and narrowed.output.type.dtype is x.type.dtype
        wide = widened.output.type.dtype is DType.F32
        return narrow and wide or no("it is not cast from f16 or bf16 to f32 and back", narrowed)

    def rewrite(self, x: Tensor, norm: Node) -> Tensor:
        """One operator."""
        return norm.op(x)


class RecognizeSpreadLayerNorm(Rule):
    """x * r + (bias - mean * r) with r = scale / sqrt(variance + eps), as Keras 3 writes it, is LayerNorm."""

    def pattern(self, x: Any, eps: Any, scale: Any, bias: Any) -> Any:
        """With scale and bias, with one of them, or without."""
        mean = of(ReduceMean)(x).named("mean")
        centred = Sub()(x, mean)
        spread = Rsqrt()(Add()(of(ReduceMean)(Mul()(centred, centred)).named("variance"), eps))
        roots: list[Any] = []
        for r in (Mul()(spread, scale), spread):
            for shift in (Mul()(Neg()(mean), r), Neg()(Mul()(mean, r))):
                roots += [Add()(Mul()(x, r), Add()(shift, bias)), Add()(Mul()(x, r), shift)]
            roots += [Add()(Mul()(x, r), Sub()(bias, Mul()(mean, r))), Sub()(Mul()(x, r), Mul()(mean, r))]
        return roots

    def check(
        self, x: Tensor, mean: Node, variance: Node, eps: Tensor, scale: Tensor | None, bias: Tensor | None
    ) -> bool | NoMatch:
        """Both means are over the same last axes and keep them; the constants are of the shape of these axes."""
        if x.type.shape is None or mean.op != variance.op:
            return no("mean and variance are over different axes", variance)
        axis = first_axis(mean, x.type.rank)
        if axis is None:
            return no("the means are not over the last axes, kept", mean)
        value = repeated_value(eps)
        if value is None or value <= 0:
            return no("epsilon is not one positive number", eps)
        wanted = x.type.dims[axis:]
        for tensor in filter(None, (scale, bias)):
            if not tensor.is_constant or not _is_of(tensor, wanted):
                return no(f"{tensor!r} is no constant of the normalized axes {list(wanted)}", tensor)
        return True

    def rewrite(self, x: Tensor, mean: Node, eps: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        """LayerNorm with what is there of scale and bias."""
        axis = first_axis(mean, x.type.rank)
        value = repeated_value(eps)
        assert axis is not None and value is not None
        shape = static(x.type.dims[axis:])
        parameters = [None if t is None else _reshaped(t, shape) for t in (scale, bias)]
        return LayerNorm(axis=axis, epsilon=value)(x, *parameters)


def _is_of(tensor: Tensor, wanted: Shape) -> bool:
    """Whether a constant has a shape, ones in front of it aside."""
    extra = tensor.type.rank - len(wanted)
    return is_static(wanted) and extra >= 0 and tensor.type.dims == (1,) * extra + wanted


def _reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    return tensor if tensor.type.shape == shape else constant(tensor.numpy().reshape(shape), tensor.name)


def first_axis(mean: Node, rank: int) -> int | None:
    """The first of the normalized axes when they are the last ones and kept."""
    op = mean.op
    assert isinstance(op, ReduceMean)
    if not op.keepdims or not op.axes:
        return None
    axes = sorted(a % rank for a in op.axes)
    return axes[0] if axes == list(range(axes[0], rank)) else None


class FoldLayerNormScale(Rule):
    """Mul by a constant of the normalized shape after LayerNorm is its scale."""

    def pattern(self, x: Any, scale: Any) -> Any:
        """The product in either order."""
        return Mul()(of(LayerNorm)(x).named("norm"), scale)

    def check(self, norm: Node, scale: Tensor) -> bool | NoMatch:
        """The constant has the shape of the normalized axes."""
        return is_parameter(norm, scale)

    def rewrite(self, x: Tensor, norm: Node, scale: Tensor) -> Tensor:
        """LayerNorm with scale."""
        return norm.op(x, scale)


class FoldLayerNormBias(Rule):
    """Add of a constant of the normalized shape after a scaled LayerNorm is its bias."""

    def pattern(self, x: Any, scale: Any, bias: Any) -> Any:
        """The sum in either order."""
        return Add()(of(LayerNorm)(x, scale).named("norm"), bias)

    def check(self, norm: Node, bias: Tensor) -> bool | NoMatch:
        """The constant has the shape of the normalized axes."""
        return is_parameter(norm, bias)

    def rewrite(self, x: Tensor, scale: Tensor, bias: Tensor, norm: Node) -> Tensor:
        """LayerNorm with scale and bias."""
        return norm.op(x, scale, bias)


class FoldRMSNormScale(Rule):
    """Mul by a constant of the normalized shape after RMSNorm is its scale."""

    def pattern(self, x: Any, scale: Any) -> Any:
        """The product in either order."""
        return Mul()(of(RMSNorm)(x).named("norm"), scale)

    def check(self, norm: Node, scale: Tensor) -> bool | NoMatch:
        """The constant has the shape of the normalized axes."""
        return is_parameter(norm, scale)

    def rewrite(self, x: Tensor, norm: Node, scale: Tensor) -> Tensor:
        """RMSNorm with scale."""
        return norm.op(x, scale)


def is_parameter(norm: Node, tensor: Tensor) -> bool | NoMatch:
    """Whether a constant has exactly the shape of the normalized axes."""
    op = norm.op
    assert isinstance(op, (LayerNorm, RMSNorm))
    rank = norm.output.type.rank
    wanted = norm.output.type.dims[op.axis % rank :]
    if not tensor.is_constant:
        return no(f"{tensor!r} is not a constant", tensor)
    return tensor.type.shape == wanted or no(
        f"{tensor!r} has not the shape of the normalized axes {list(wanted)}", tensor
    )


RULES = (
    RecognizeLayerNorm,
    RecognizeSpreadLayerNorm,
    FoldLayerNormScale,
    FoldLayerNormBias,
    RecognizeRMSNorm,
    LayerNormFromCentred,
    NarrowRMSNorm,
    FoldRMSNormScale,
    RecognizeLpNormalize,
)
