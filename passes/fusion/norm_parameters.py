"""Scale and bias of normalizations of the last axes: what stands behind a normalization, or inside of its quotient."""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dims import Shape, is_static, static
from uair.ir.dtype import Array
from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Add,
    Clip,
    Div,
    LayerNorm,
    Maximum,
    Mul,
    Pow,
    Reciprocal,
    ReduceL2,
    ReduceMean,
    ReduceSum,
    Relu,
    RMSNorm,
    Rsqrt,
    Sqrt,
    Sub,
)
from uair.passes.fusion.exact import exact, rounded
from uair.rewrite import NoMatch, Rule, no, of, optional


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
        return norm.op(x, of_norm(norm, scale))


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
        return norm.op(x, scale, of_norm(norm, bias))


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
        return norm.op(x, of_norm(norm, scale))


def is_parameter(norm: Node, tensor: Tensor) -> bool | NoMatch:
    """Whether a constant has the shape of the normalized axes, ones in front of it aside."""
    op = norm.op
    assert isinstance(op, (LayerNorm, RMSNorm))
    rank = norm.output.type.rank
    wanted = norm.output.type.dims[op.axis % rank :]
    if not tensor.is_constant:
        return no(f"{tensor!r} is not a constant", tensor)
    fits = tensor.type.shape == wanted or (tensor.type.rank <= rank and is_of(tensor, wanted))
    return fits or no(f"{tensor!r} has not the shape of the normalized axes {list(wanted)}", tensor)


def is_of(tensor: Tensor, wanted: Shape) -> bool:
    """Whether a constant has a shape, ones in front of it aside."""
    extra = tensor.type.rank - len(wanted)
    return is_static(wanted) and extra >= 0 and tensor.type.dims == (1,) * extra + wanted


def of_norm(norm: Node, parameter: Tensor) -> Tensor:
    """A parameter of a normalization without ones in front."""
    axes = normalized(norm)
    return parameter if axes is None else reshaped(parameter, axes)


def reshaped(tensor: Tensor, shape: tuple[int, ...]) -> Tensor:
    """A constant of another shape."""
    return tensor if tensor.type.shape == shape else constant(tensor.numpy().reshape(shape), tensor.name)


class FoldIntoNormParameters(Rule):
    """Mul, Div, Add or Sub by a constant after LayerNorm or RMSNorm that has parameters goes into these.

    The constant has the shape of the normalized axes, or is one number.
    """

    def pattern(self, x: Any, scale: Any, bias: Any, c: Any) -> Any:
        """Products and sums in either order."""
        norm = of(LayerNorm, RMSNorm)(x, scale, optional(bias)).named("norm")
        return [of(Mul, Add)(norm, c).named("root"), of(Div, Sub)(norm, c).named("root")]

    def check(self, norm: Node, scale: Tensor, bias: Tensor | None, c: Tensor, root: Node) -> bool | NoMatch:
        """All are constants; RMSNorm has no bias."""
        for tensor in (scale, bias, c):
            if tensor is not None and not tensor.is_constant:
                return no(f"{tensor!r} is not a constant", tensor)
        if isinstance(norm.op, RMSNorm) and isinstance(root.op, (Add, Sub)):
            return no("RMSNorm has no bias", norm)
        axes = normalized(norm)
        if axes is None or c.data is None:
            return no("the extents of the normalized axes are not known", norm)
        fits = c.type.shape == axes or (c.data.size == 1 and c.type.rank <= norm.output.type.rank)
        return fits or no(f"{c!r} is neither one number nor of the normalized axes {list(axes)}", c)

    def rewrite(self, x: Tensor, norm: Node, scale: Tensor, bias: Tensor | None, c: Tensor, root: Node) -> Tensor:
        """One operator, its parameters computed in float64."""
        axes = normalized(norm)
        assert axes is not None
        value = np.broadcast_to(exact(c).reshape(axes if c.type.shape == axes else ()), axes)
        factor, shift = _affine(root, value)
        old_scale, old_bias = np.broadcast_to(exact(scale), axes), np.zeros(axes) if bias is None else exact(bias)
        made = [rounded(old_scale * factor, scale.type.dtype, scale.name)]
        new_bias = np.broadcast_to(old_bias, axes) * factor + shift
        if bias is not None or new_bias.any():
            made.append(rounded(new_bias, scale.type.dtype, c.name if bias is None else bias.name))
        return norm.op(x, *made)


def normalized(norm: Node) -> tuple[int, ...] | None:
    """The extents of the normalized axes; None when they are not known."""
    op, rank = norm.op, norm.output.type.rank
    assert isinstance(op, (LayerNorm, RMSNorm))
    axes = norm.output.type.dims[op.axis % rank :]
    return static(axes) if is_static(axes) else None


def _affine(root: Node, value: Array) -> tuple[Array, Array]:
    """What an operator with a constant does to each element: factor and summand."""
    if isinstance(root.op, (Mul, Div)):
        return value if isinstance(root.op, Mul) else 1 / value, np.zeros_like(value)
    return np.ones_like(value), value if isinstance(root.op, Add) else -value


class ScaleBehindQuotient(Rule):
    """(x * c) / root, with a constant c and the root of a mean of squares, is (x / root) * c, which is a scale."""

    def pattern(self, other: Any) -> Any:
        """The quotient, or the product with an inverse root, which may be what is multiplied by the constant."""
        scaled = of(Mul)(...).named("scaled")
        return [Div()(scaled, other).named("root"), Mul()(scaled, other).named("root")]

    def check(self, scaled: Node, other: Tensor, root: Node) -> bool | NoMatch:
        """One of the factors is a constant; what is left has the shape of the result and is over a norm."""
        found = _without_constant(scaled)
        if found is None:
            return no("no factor is a constant that varies", scaled)
        x, _ = found
        if root.op.infer_types([x.type, other.type])[0] != root.output.type:
            return no("the constant broadcasts what is divided", scaled)
        roots = [other] if isinstance(root.op, Div) else [other, x]
        return any(_is_root(t) for t in roots) or no("what it is divided by is no root of a mean of squares", root)

    def rewrite(self, scaled: Node, other: Tensor, root: Node) -> Tensor:
        """The quotient first."""
        found = _without_constant(scaled)
        assert found is not None
        x, c = found
        return Mul()(root.op(x, other), c)


def _without_constant(product: Node) -> tuple[Tensor, Tensor] | None:
    """The factor that is computed, and the constant one, of several numbers: one number is no scale."""
    a, b = product.inputs
    assert a is not None and b is not None
    for x, c in ((a, b), (b, a)):
        if c.data is not None and c.data.size > 1 and not x.is_constant:
            return x, c
    return None


_INSIDE = (Sqrt, Rsqrt, Reciprocal, Pow, Add, Sub, Mul, Div, Maximum, Clip, Relu)
_DEEPEST = 6


def _is_root(tensor: Tensor) -> bool:
    """Whether a tensor is the root of a mean or sum of squares, or one by it; numbers may be added on the way."""
    seen_root = False
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.use_count != 1:
            return False
        if isinstance(node.op, ReduceL2):
            return True
        if isinstance(node.op, (ReduceMean, ReduceSum)):
            return seen_root
        if not isinstance(node.op, _INSIDE):
            return False
        seen_root |= isinstance(node.op, (Sqrt, Rsqrt, Pow))
        inner = [t for t in node.inputs if t is not None and not t.is_constant]
        if not inner:
            return False
        tensor = inner[0]
    return False


RULES = (FoldLayerNormScale, FoldLayerNormBias, FoldRMSNormScale, FoldIntoNormParameters, ScaleBehindQuotient)
