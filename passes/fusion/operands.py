"""Numbers in front of weights go into them, quotients by a number become products, and products in turn one.

These rules run after the others: a product by 0.5 in front of a Linear may be the end of a Gelu, which they take apart.
Numbers by channel stay: weights whose input channels differ much in magnitude are coarse in INT8. So does what stands
at the model's input: normalization of images belongs to the target's own preprocessing.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.dims import static
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Add, Div, Linear, MatMul, Mul
from uair.passes.fusion.affine import CONVOLUTIONS, is_foldable, output_channels
from uair.passes.fusion.exact import exact, rounded, scaled
from uair.rewrite import NoMatch, Rule, no, of, optional

TAKING = (*CONVOLUTIONS, Linear)
LEAST_FACTOR = 2.0**-10
"""Least number that takes the place of two."""
MOST_SHIFT = 1024.0
"""Greatest shift by scale: in float16 a larger one could leave the range of the type."""


def parts(node: Node) -> tuple[Tensor, float, Tensor] | None:
    """What a product or sum adds a number to: the tensor, the number, and the constant that holds it.

    None when no operand is a constant of one finite element that leaves the other one's shape as it is.
    """
    a, b = node.inputs
    assert a is not None and b is not None
    for x, c in ((a, b), (b, a)):
        if c.data is None or c.data.size != 1 or not c.type.dtype.is_float or x.type != node.output.type:
            continue
        value = float(exact(c).reshape(()))
        if np.isfinite(value):
            return x, value, c
    return None


def _check(taker: Node, *givers: Node) -> bool | NoMatch:
    """What all rules here ask for; the last giver is the first one in the graph."""
    if not is_foldable(taker):
        return no(f"the weights or the bias of {taker!r} are not constants", taker)
    for giver in givers:
        if parts(giver) is None:
            return no("no operand is one number", giver)
    found = parts(givers[-1])
    assert found is not None
    if found[0].producer is None:
        return no("it stands at the model's input, where it is the target's preprocessing", givers[-1])
    return True


class FoldOperandScale(Rule):
    """A product by one number in front of a convolution or Linear goes into its weights."""

    def pattern(self, w: Any, b: Any) -> Any:
        """The product, then what takes it."""
        return of(*TAKING)(of(Mul)(...).named("product"), w, optional(b)).named("taker")

    def check(self, product: Node, taker: Node) -> bool | NoMatch:
        """One number, and the weights can be changed."""
        return _check(taker, product)

    def rewrite(self, product: Node, taker: Node) -> Tensor:
        """With other weights."""
        found = parts(product)
        assert found is not None
        x, factor, _ = found
        return taker.op(x, _scaled(taker, factor), *taker.inputs[2:])


class FoldOperandShift(Rule):
    """A sum with one number in front of a Linear, or of a convolution without padding, goes into its bias."""

    def pattern(self, w: Any, b: Any) -> Any:
        """The sum, then what takes it."""
        return of(*TAKING)(of(Add)(...).named("total"), w, optional(b)).named("taker")

    def check(self, total: Node, taker: Node) -> bool | NoMatch:
        """One number, a bias that can be changed, and no border that the number does not reach."""
        if any(getattr(taker.op, "pads", ())):
            return no("the padding is not shifted", taker)
        return _check(taker, total)

    def rewrite(self, total: Node, taker: Node) -> Tensor:
        """With another bias: the sum of every output channel's weights times the number, in float64."""
        found, w = parts(total), taker.inputs[1]
        assert found is not None and w is not None
        x, shift, _ = found
        bias = taker.inputs[2] if len(taker.inputs) > 2 else None
        old = np.zeros(output_channels(taker)) if bias is None else exact(bias)
        axis = 1 if isinstance(taker.op, Linear) and not taker.op.transpose_w else 0
        weights = exact(w)
        sums = weights.sum(axis=tuple(i for i in range(weights.ndim) if i != axis))
        name = bias.name if bias is not None and bias.name else f"{w.name}.bias"
        return taker.op(x, w, rounded(old + shift * sums, w.type.dtype, name))


class FoldOperandAffine(Rule):
    """x * a + b in front of a convolution is x + b / a, with a in its weights."""

    def pattern(self, c: Any, w: Any, b: Any) -> Any:
        """The product, the sum, then what takes it."""
        total = of(Add)(of(Mul)(...).named("product"), c).named("total")
        return of(*TAKING)(total, w, optional(b)).named("taker")

    def check(self, product: Node, total: Node, taker: Node) -> bool | NoMatch:
        """Two numbers whose quotient is moderate."""
        answer = _check(taker, total, product)
        if answer is not True:
            return answer
        (_, scale, _), (_, shift, _) = _both(product, total)
        if scale == 0 or abs(shift) > MOST_SHIFT * abs(scale):
            return no("the shift is large beside the scale", total)
        return True

    def rewrite(self, product: Node, total: Node, taker: Node) -> Tensor:
        """The sum, and the convolution with other weights."""
        (x, scale, _), (_, shift, c) = _both(product, total)
        moved = rounded(np.full(static(c.type.dims), shift / scale), c.type.dtype, c.name)
        return taker.op(Add()(x, moved), _scaled(taker, scale), *taker.inputs[2:])


def _both(product: Node, total: Node) -> tuple[tuple[Tensor, float, Tensor], tuple[Tensor, float, Tensor]]:
    inner, outer = parts(product), parts(total)
    assert inner is not None and outer is not None
    return inner, outer


class ProductForQuotient(Rule):
    """A quotient by one number is the product with its reciprocal: quotients are neither quantized nor fused."""

    def pattern(self, x: Any, c: Any) -> Any:
        """A quotient."""
        return of(Div)(x, c).named("quotient")

    def check(self, quotient: Node) -> bool | NoMatch:
        """The divisor is one number whose reciprocal is finite."""
        found = parts(quotient)
        if found is None or found[2] is not quotient.inputs[1]:
            return no("its divisor is not one number", quotient)
        _, divisor, c = found
        with np.errstate(divide="ignore", over="ignore"):
            finite = divisor != 0 and np.isfinite(c.type.dtype.numpy.type(1 / divisor))
        return bool(finite) or no("the divisor has no finite reciprocal", quotient)

    def rewrite(self, x: Tensor, quotient: Node) -> Tensor:
        """The product; the reciprocal is rounded once."""
        found = parts(quotient)
        assert found is not None
        _, divisor, c = found
        return Mul()(x, rounded(np.full(static(c.type.dims), 1 / divisor), c.type.dtype, c.name))


class MergeFactors(Rule):
    """A product by two constants in turn is one by their product, which is rounded once."""

    def pattern(self, b: Any) -> Any:
        """Two products, each in either order."""
        return Mul()(of(Mul)(...).named("inner"), b).named("root")

    def check(self, inner: Node, b: Tensor, root: Node) -> bool | NoMatch:
        """No constant becomes larger, and no product leaves the range of the type."""
        found = _factor(inner)
        if found is None or b.data is None or not b.type.dtype.is_float:
            return no("not both have a constant of floating-point numbers", root)
        x, a = found
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", x)
        first, second = exact(a), exact(b)
        product = first * second
        if product.size > max(first.size, second.size):
            return no("their product has more elements than each of them", b)
        with np.errstate(over="ignore", under="ignore"):
            kept = product.astype(b.type.dtype.numpy).astype(np.float64)
        held = np.isfinite(kept) & (np.abs(kept - product) <= 0.01 * np.abs(product))
        return bool(held.all()) or no("their product leaves the range of the type", b)

    def rewrite(self, inner: Node, b: Tensor) -> Tensor:
        """One product."""
        found = _factor(inner)
        assert found is not None
        x, a = found
        return Mul()(x, rounded(exact(a) * exact(b), b.type.dtype, b.name if b.type.size > 1 else a.name))


def _factor(product: Node) -> tuple[Tensor, Tensor] | None:
    """What a product multiplies, and the constant of floating-point numbers that it multiplies it by."""
    first, second = product.inputs
    assert first is not None and second is not None
    for x, c in ((first, second), (second, first)):
        if c.data is not None and x.data is None and c.type.dtype.is_float:
            return x, c
    return None


class FactorsAroundProduct(Rule):
    """Numbers by which both operands of a MatMul are multiplied, or one and the result, are one at an operand."""

    def pattern(self, y: Any, b: Any) -> Any:
        """Exporters scale queries and keys alike; one of the numbers may stand behind the product."""
        inner = of(Mul)(...).named("inner")
        return [
            of(MatMul)(inner, of(Mul)(...).named("outer")).named("root"),
            Mul()(of(MatMul)(inner, y).named("product"), b).named("outer"),
            Mul()(of(MatMul)(y, inner).named("product"), b).named("outer"),
        ]

    def check(self, inner: Node, outer: Node) -> bool | NoMatch:
        """Nothing becomes larger than it was, nor so small that float16 would not hold it."""
        first, second = parts(inner), parts(outer)
        if first is None or second is None:
            return no("not both are products by one number", outer)
        if not LEAST_FACTOR <= abs(second[1]) <= 1 or abs(first[1] * second[1]) < LEAST_FACTOR:
            return no(f"the number that moves is not between {LEAST_FACTOR:g} and 1, or their product is less", outer)
        return True

    def rewrite(self, inner: Node, outer: Node, product: Node | None) -> Tensor:
        """The product of the numbers at the operand that had one, the first one where both had."""
        first, second = parts(inner), parts(outer)
        assert first is not None and second is not None
        x, factor, c = first
        moved = Mul()(x, rounded(np.full(static(c.type.dims), factor * second[1]), c.type.dtype, c.name))
        if product is None:
            return MatMul()(moved, second[0])
        a, b = product.inputs
        assert a is not None and b is not None
        return MatMul()(moved, b) if a is inner.output else MatMul()(a, moved)


def _scaled(taker: Node, factor: float) -> Tensor:
    """The weights times a number; large ones are computed when they are read."""
    w = taker.inputs[1]
    assert w is not None and w.data is not None
    return constant(scaled(w.data, np.asarray(factor)), w.name)


RULES = (ProductForQuotient, MergeFactors, FactorsAroundProduct, FoldOperandScale, FoldOperandShift, FoldOperandAffine)
