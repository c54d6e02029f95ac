"""Normalizations that exporters spell out."""

from __future__ import annotations

import abc
import math
from typing import Any

from uair.ir.dims import is_static, static
from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
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
    Relu,
    RMSNorm,
    Rsqrt,
    Sqrt,
    Sub,
)
from uair.passes.fusion.exact import exact, rounded
from uair.passes.fusion.norm_parameters import is_of, reshaped
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, any_of, no, of, optional
from uair.rewrite.pattern import Variable

MOST_BESIDE = 1e-8
"""What may stand beside the root of a mean square and goes into it as its square, so that zeros stay zeros.

It changes a result by its quotient with the root, relatively: by a unit of float32 where the root is 0.1.
"""
NUMBERS = {"two": 2.0, "one": 1.0, "half": 0.5, "less": -0.5}
"""What variables of the patterns stand for."""


def square(x: Any) -> Any:
    """The square of what a pattern matches, as a power or a product; the exponent is `two`."""
    return any_of(Pow()(x, Variable("two")), Mul()(x, x))


def over_roots(x: Any, total: Any) -> list[Any]:
    """Patterns of x over the root of `total`, and of x times the inverse root, in every spelling."""
    root = Sqrt()(total)
    inverses = (Rsqrt()(total), Reciprocal()(root), Div()(Variable("one"), root), Pow()(total, Variable("less")))
    quotients = [Div()(x, below) for below in (root, Pow()(total, Variable("half")))]
    return [*quotients, *(Mul()(x, inverse) for inverse in inverses)]


def are_numbers(**found: Tensor | None) -> bool | NoMatch:
    """Whether the variables of the patterns, those that were met, are their numbers."""
    for name, tensor in found.items():
        if tensor is not None and repeated_value(tensor) != NUMBERS[name]:
            return no(f"it is not the number {NUMBERS[name]:g}", tensor)
    return True


def variance_of(x: Any, mean: Any, centred: Any) -> list[Any]:
    """Patterns of a variance: the mean of (x - mean)^2, or of x^2 less mean^2, then also bounded by 0."""
    moments = Sub()(of(ReduceMean)(square(x)).named("variance"), square(mean))
    return [of(ReduceMean)(square(centred)).named("variance"), moments, Relu()(moments)]


class SpelledLayerNorm(Rule):
    """(x - mean) / sqrt(variance + eps), the variance as a mean of squares or by moments."""

    def pattern(self, x: Any, eps: Any) -> Any:
        """The centred value is used twice, or the mean is; every spelling of the quotient."""
        mean = of(ReduceMean)(x).named("mean")
        centred = Sub()(x, mean).named("centred")
        roots: list[Any] = []
        for variance in variance_of(x, mean, centred):
            roots += over_roots(centred, Add()(variance, eps))
        return roots

    def check(
        self,
        x: Tensor,
        mean: Node,
        variance: Node,
        eps: Tensor,
        two: Tensor | None,
        one: Tensor | None,
        half: Tensor | None,
        less: Tensor | None,
    ) -> bool | NoMatch:
        """Both means are over the same axes, which fit the rule; eps is one number."""
        if x.type.shape is None:
            return no("the rank is not known", x)
        if mean.op != variance.op:
            return no("mean and variance are over different axes", variance)
        fits = self.check_axes(x, mean)
        if isinstance(fits, NoMatch):
            return fits
        value = repeated_value(eps)
        if value is None or value <= 0:
            return no("epsilon is not one positive number", eps)
        return are_numbers(two=two, one=one, half=half, less=less)

    @abc.abstractmethod
    def check_axes(self, x: Tensor, mean: Node) -> bool | NoMatch:
        """Whether the axes of the mean are those of the rule, and kept."""


class RecognizeLayerNorm(SpelledLayerNorm):
    """(x - mean) / sqrt(variance + eps) over the last axes is LayerNorm; the variance also as mean(x^2) - mean^2."""

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

    def pattern(self, x: Any, eps: Any) -> Any:
        """The square as a power or a product; every spelling of the quotient."""
        return over_roots(x, Add()(of(ReduceMean)(square(x)).named("mean"), eps))

    def check(
        self,
        x: Tensor,
        mean: Node,
        eps: Tensor,
        two: Tensor | None,
        one: Tensor | None,
        half: Tensor | None,
        less: Tensor | None,
    ) -> bool | NoMatch:
        """The mean is over the last axes and keeps them; eps is one number."""
        if x.type.shape is None:
            return no("the rank is not known", x)
        if first_axis(mean, x.type.rank) is None:
            return no("the mean is not over the last axes, kept", mean)
        value = repeated_value(eps)
        if value is None or value < 0:
            return no("epsilon is not one number, 0 or more", eps)
        return are_numbers(two=two, one=one, half=half, less=less)

    def rewrite(self, x: Tensor, mean: Node, eps: Tensor) -> Tensor:
        """RMSNorm without scale; FoldRMSNormScale adds it."""
        axis, value = first_axis(mean, x.type.rank), repeated_value(eps)
        assert axis is not None and value is not None
        return RMSNorm(axis=axis, epsilon=value)(x)


class RMSNormByNorm(Rule):
    """x / (|x| / sqrt(n) + eps) over the last axes of n elements is RMSNorm, eps being a number that rounding hides.

    Also sqrt(mean(x^2)) + eps, no eps, and a bound from below instead of the sum.
    """

    def pattern(self, x: Any, eps: Any, size: Any) -> Any:
        """The norm over the root of n as a product or a quotient, or the root of the mean; what is beside it."""
        norm = of(ReduceL2)(x).named("norm")
        mean = Sqrt()(of(ReduceMean)(square(x)).named("norm"))
        roots: list[Any] = []
        for root in (Mul()(norm, size).named("sized"), Div()(norm, size).named("sized"), mean):
            beside = (root, Add()(root, eps), Maximum()(root, eps), of(Clip)(root).named("bounded"))
            roots += [Div()(x, below) for below in beside]
        return roots

    def check(
        self,
        x: Tensor,
        norm: Node,
        sized: Node | None,
        size: Tensor | None,
        bounded: Node | None,
        eps: Tensor | None,
        two: Tensor | None,
    ) -> bool | NoMatch:
        """The axes are the last ones and kept; what the norm is divided by is the root of their size; eps is small."""
        if x.type.shape is None or first_axis(norm, x.type.rank) is None:
            return no("the norm is not over the last axes, kept", norm)
        if sized is not None and size is not None:
            axes = x.type.dims[first_axis(norm, x.type.rank) :]
            if not is_static(axes) or 0 in axes:
                return no("the extent of the normalized axes is not known", x)
            root = math.sqrt(math.prod(static(axes)))
            value, wanted = repeated_value(size), root if isinstance(sized.op, Div) else 1 / root
            if value is None or not math.isclose(value, wanted, rel_tol=1e-6):
                return no(f"the norm of {root * root:g} elements is not brought to their mean by {wanted:g}", size)
        beside = self.beside(bounded, eps)
        if beside is None or not 0 <= beside <= MOST_BESIDE:
            return no(f"what is beside the root is not one number from 0 to {MOST_BESIDE:g}", bounded or eps)
        return are_numbers(two=two)

    @staticmethod
    def beside(bounded: Node | None, eps: Tensor | None) -> float | None:
        """The number that is added to the root, or that it is at least."""
        if bounded is None and eps is None:
            return 0.0
        return _least(bounded, eps) if bounded is not None else repeated_value(eps) if eps is not None else None

    def rewrite(self, x: Tensor, norm: Node, bounded: Node | None, eps: Tensor | None) -> Tensor:
        """RMSNorm without scale."""
        axis, beside = first_axis(norm, x.type.rank), self.beside(bounded, eps)
        assert axis is not None and beside is not None
        return RMSNorm(axis=axis, epsilon=beside**2)(x)


class RMSNormFromLpNormalize(Rule):
    """x over its norm, times a number for each of its n elements or the root of n, is RMSNorm with a scale.

    torch.nn.functional.normalize(x) * sqrt(n) * scale. In onnxruntime it takes a third of the time (128 x 768 numbers).
    """

    def pattern(self, x: Any, scale: Any) -> Any:
        """The product in either order."""
        return Mul()(of(LpNormalize)(x).named("norm"), scale)

    def check(self, x: Tensor, norm: Node, scale: Tensor) -> bool | NoMatch:
        """The norm is that of the last axis, bounded by next to nothing."""
        op, extent = norm.op, x.type.dims[-1]
        assert isinstance(op, LpNormalize)
        if op.p != 2 or op.axis % x.type.rank != x.type.rank - 1 or not isinstance(extent, int) or not extent:
            return no("it is not the 2-norm of a last axis of a known extent", norm)
        if op.epsilon > MOST_BESIDE * math.sqrt(extent):
            return no(f"the norm is bounded by more than {MOST_BESIDE:g} for each element", norm)
        number = repeated_value(scale)
        if number is not None and scale.data is not None and scale.data.size == 1 != extent:
            root = math.sqrt(extent)
            fits = scale.type.rank <= x.type.rank and math.isclose(number, root, rel_tol=1e-6)
            return fits or no(
                f"it is neither one number for each element nor the root of their number, {root:g}", scale
            )
        return (
            scale.is_constant and scale.type.shape == (extent,) or no(f"it is no constant with {extent} numbers", scale)
        )

    def rewrite(self, x: Tensor, norm: Node, scale: Tensor) -> Tensor:
        """RMSNorm, its scale divided by the root of n."""
        op, extent = norm.op, x.type.dims[-1]
        assert isinstance(op, LpNormalize) and isinstance(extent, int)
        made = RMSNorm(axis=op.axis, epsilon=op.epsilon**2 / extent)
        if scale.type.shape != (extent,):
            return made(x)
        return made(x, rounded(exact(scale) / math.sqrt(extent), scale.type.dtype, scale.name))


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
        roots: list[Any] = []
        for variance in variance_of(x, mean, Sub()(x, mean)):
            total = Add()(variance, eps)
            for spread in (Rsqrt()(total), Div()(Variable("one"), Sqrt()(total)), Reciprocal()(Sqrt()(total))):
                roots += self.spread(x, mean, spread, scale, bias)
        return roots

    @staticmethod
    def spread(x: Any, mean: Any, inverse: Any, scale: Any, bias: Any) -> list[Any]:
        """What becomes of an inverse root."""
        roots: list[Any] = []
        for r in (Mul()(inverse, scale), inverse):
            for shift in (Mul()(Neg()(mean), r), Neg()(Mul()(mean, r))):
                roots += [Add()(Mul()(x, r), Add()(shift, bias)), Add()(Mul()(x, r), shift)]
            roots += [Add()(Mul()(x, r), Sub()(bias, Mul()(mean, r))), Sub()(Mul()(x, r), Mul()(mean, r))]
        return roots

    def check(
        self,
        x: Tensor,
        mean: Node,
        variance: Node,
        eps: Tensor,
        scale: Tensor | None,
        bias: Tensor | None,
        two: Tensor | None,
        one: Tensor | None,
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
            if not tensor.is_constant or not is_of(tensor, wanted):
                return no(f"{tensor!r} is no constant of the normalized axes {list(wanted)}", tensor)
        return are_numbers(two=two, one=one)

    def rewrite(self, x: Tensor, mean: Node, eps: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        """LayerNorm with what is there of scale and bias."""
        axis = first_axis(mean, x.type.rank)
        value = repeated_value(eps)
        assert axis is not None and value is not None
        shape = static(x.type.dims[axis:])
        parameters = [None if t is None else reshaped(t, shape) for t in (scale, bias)]
        return LayerNorm(axis=axis, epsilon=value)(x, *parameters)


def first_axis(mean: Node, rank: int) -> int | None:
    """The first of the normalized axes when they are the last ones and kept."""
    op = mean.op
    assert isinstance(op, (ReduceMean, ReduceL2))
    if not op.keepdims or not op.axes:
        return None
    axes = sorted(a % rank for a in op.axes)
    return axes[0] if axes == list(range(axes[0], rank)) else None


RULES = (
    RecognizeLayerNorm,
    RecognizeSpreadLayerNorm,
    RecognizeRMSNorm,
    RMSNormByNorm,
    LayerNormFromCentred,
    NarrowRMSNorm,
    RecognizeLpNormalize,
    RMSNormFromLpNormalize,
)
