"""Activations that exporters spell out."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes

from uair.ir.graph import Node, Tensor
from uair.ops import (
    Abs,
    Add,
    Clip,
    Div,
    Erf,
    Gelu,
    HardSigmoid,
    HardSwish,
    Mish,
    Mul,
    Neg,
    Pow,
    Sigmoid,
    Softplus,
    Softsign,
    Sub,
    Swish,
    Tanh,
)
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of


def is_number(tensor: Tensor, value: float, tolerance: float = 1e-4) -> bool:
    """Whether a constant consists of one number near `value` (relative), as near as its type allows at least.

    A number of 16 bits is rounded, and once more when a quotient has become the product with its reciprocal.
    """
    found = repeated_value(tensor)
    if found is None:
        return False
    dtype = tensor.type.dtype
    limits: Any = ml_dtypes.finfo  # it has no annotations
    step = float(limits(dtype.numpy).eps) if dtype.is_float else 0.0
    return math.isclose(found, value, rel_tol=max(tolerance, step))


def numbers(**expected: tuple[Tensor, float]) -> bool | NoMatch:
    """Whether the constants have the values that the activation's formula needs."""
    for name, (tensor, value) in expected.items():
        if not is_number(tensor, value):
            return no(f"{name} is not the number {value:g}", tensor)
    return True


class RecognizeSwish(Rule):
    """x * sigmoid(x) is Swish (SiLU)."""

    def pattern(self, x: Any) -> Any:
        """The product in either order."""
        return Mul()(x, Sigmoid()(x))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Swish()(x)


class RecognizeHardSigmoid(Rule):
    """clip(x + 3, 0, 6) / 6, also as a product with 1/6, is HardSigmoid(1/6, 1/2)."""

    def pattern(self, x: Any, three: Any, six: Any) -> Any:
        """The quotient or the product; the sum in both orders, as its first operand is bound to x."""
        clipped = [Clip(min=0.0, max=6.0)(total) for total in (Add()(x, three), Add()(three, x))]
        return [op(each, six).named("root") for each in clipped for op in (Div(), Mul())]

    def check(self, root: Node, x: Tensor, three: Tensor, six: Tensor) -> bool | NoMatch:
        """The constants are 3 and 6."""
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        return numbers(three=(three, 3.0), six=(six, 6.0 if isinstance(root.op, Div) else 1 / 6))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return HardSigmoid(alpha=1 / 6, beta=0.5)(x)


class HardSigmoidFromLine(Rule):
    """clip(a x + 1/2, 0, 1) with a = 1/6 or 1/5, also as clip(a (x + 1/(2 a)), 0, 1), is HardSigmoid(a, 1/2).

    Other slopes are no gate that models have: with a = 1/2 it is an image on its way out.
    """

    def pattern(self, x: Any, slope: Any, shift: Any) -> Any:
        """The product first or the sum first; the product as a quotient."""
        clip = Clip(min=0.0, max=1.0)
        products = (Mul()(x, slope), Mul()(slope, x), Div()(x, slope))  # both orders: the first one is bound to x
        roots = [clip(Add()(part.named("scaled"), shift).named("line")).named("root") for part in products]
        for total in (Add()(x, shift), Add()(shift, x)):
            roots += [clip(op(total, slope).named("scaled")).named("root") for op in (Mul(), Div())]
        return roots

    def check(
        self, root: Node, x: Tensor, slope: Tensor, shift: Tensor, scaled: Node, line: Node | None
    ) -> bool | NoMatch:
        """The constants are those of a gate."""
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        a = self.slope(slope, scaled)
        if a is None:
            return no("the slope is not 1/6 or 1/5", slope)
        return numbers(shift=(shift, 0.5 if line is not None else 0.5 / a))

    def rewrite(self, x: Tensor, slope: Tensor, scaled: Node) -> Tensor:
        """One operator."""
        a = self.slope(slope, scaled)
        assert a is not None
        return HardSigmoid(alpha=a, beta=0.5)(x)

    @staticmethod
    def slope(constant: Tensor, scaled: Node) -> float | None:
        """Which of the slopes it is."""
        slopes = (1 / 6, 0.2)
        return next((a for a in slopes if is_number(constant, 1 / a if isinstance(scaled.op, Div) else a)), None)


class RecognizeHardSwish(Rule):
    """x * HardSigmoid(1/6, 1/2)(x) is HardSwish."""

    def pattern(self, x: Any) -> Any:
        """The product in either order."""
        return Mul()(x, of(HardSigmoid)(x).named("gate"))

    def check(self, gate: Node) -> bool | NoMatch:
        """The gate has HardSwish's slope and offset."""
        op = gate.op
        assert isinstance(op, HardSigmoid)
        same = math.isclose(op.alpha, 1 / 6, rel_tol=1e-4) and math.isclose(op.beta, 0.5, rel_tol=1e-6)
        return same or no(f"HardSwish has the gate HardSigmoid(1/6, 1/2), this one is {op!r}", gate)

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return HardSwish()(x)


class RecognizeHardSwishProduct(Rule):
    """x * clip(x + 3, 0, 6) / 6, the quotient also in the first factor, is HardSwish."""

    def pattern(self, x: Any, three: Any, six: Any) -> Any:
        """Product first, quotient last; or the quotient by 6 of x, then the product."""
        roots: list[Any] = []
        for total in (Add()(x, three), Add()(three, x)):  # both orders: the first one is bound to x
            clipped = Clip(min=0.0, max=6.0)(total)
            roots += [op(Mul()(x, clipped), six).named("root") for op in (Div(), Mul())]
            for part in (Div()(x, six), Mul()(x, six), Mul()(six, x)):
                roots.append(Mul()(part.named("divided"), clipped).named("root"))
        return roots

    def check(self, root: Node, divided: Node | None, x: Tensor, three: Tensor, six: Tensor) -> bool | NoMatch:
        """The constants are 3 and 6."""
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        by_six = isinstance((divided or root).op, Div)
        return numbers(three=(three, 3.0), six=(six, 6.0 if by_six else 1 / 6))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return HardSwish()(x)


class RecognizeMish(Rule):
    """x * tanh(softplus(x)) is Mish."""

    def pattern(self, x: Any) -> Any:
        """The product in either order."""
        return Mul()(x, Tanh()(Softplus()(x)))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Mish()(x)


class RecognizeSoftsign(Rule):
    """x / (1 + |x|) is Softsign."""

    def pattern(self, x: Any, one: Any) -> Any:
        """The sum in either order."""
        return Div()(x, Add()(Abs()(x), one)).named("root")

    def check(self, root: Node, x: Tensor, one: Tensor) -> bool | NoMatch:
        """The constant is 1."""
        if x.type != root.output.type:
            return no("a constant broadcasts the operand", root)
        return numbers(one=(one, 1.0))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Softsign()(x)


class RecognizeGelu(Rule):
    """x * (1 + erf(x / sqrt 2)) * 0.5, in every order that exporters write, is Gelu."""

    def pattern(self, x: Any, root2: Any, one: Any, half: Any) -> Any:
        """0.5 last, 0.5 with x, or 0.5 with the bracket; the quotient or the product with 1/sqrt 2."""
        roots: list[Any] = []
        for inner in (Div()(x, root2), Mul()(x, root2)):
            bracket = Add()(Erf()(inner.named("scaled")), one)
            roots += [
                Mul()(Mul()(x, bracket), half),
                Mul()(Mul()(x, half), bracket),
                Mul()(x, Mul()(bracket, half)),
            ]
        return roots

    def check(self, x: Tensor, scaled: Node, root2: Tensor, one: Tensor, half: Tensor) -> bool | NoMatch:
        """The constants are sqrt 2, 1 and 1/2."""
        root = math.sqrt(2) if isinstance(scaled.op, Div) else math.sqrt(0.5)
        if scaled.output.type != x.type:
            return no("a constant broadcasts the operand", scaled)
        return numbers(root2=(root2, root), one=(one, 1.0), half=(half, 0.5))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Gelu()(x)


class RecognizeErfcGelu(Rule):
    """0.5 x (1 - erf(-x / sqrt 2)), which is 0.5 x erfc(-x / sqrt 2) as Keras 3 writes it, is Gelu."""

    def pattern(self, x: Any, root2: Any, one: Any, half: Any) -> Any:
        """0.5 in every place; the quotient or the product with 1/sqrt 2, of -x or negated."""
        roots: list[Any] = []
        for inner in (Div()(Neg()(x), root2), Mul()(Neg()(x), root2), Neg()(Mul()(x, root2)), Neg()(Div()(x, root2))):
            bracket = Sub()(one, Erf()(inner.named("scaled")))
            roots += [
                Mul()(bracket, Mul()(x, half)),
                Mul()(
                    bracket, Mul()(half, x)
                ),  # both orders: what comes first is bound to x before the bracket says it
                Mul()(Mul()(bracket, x), half),
                Mul()(Mul()(bracket, half), x),
            ]
        return roots

    def check(self, x: Tensor, scaled: Node, root2: Tensor, one: Tensor, half: Tensor) -> bool | NoMatch:
        """The constants are sqrt 2, 1 and 1/2."""
        if scaled.output.type != x.type:
            return no("a constant broadcasts the operand", scaled)
        inner = scaled.inputs[0]
        node = inner.producer if isinstance(scaled.op, Neg) and inner is not None else scaled
        root = math.sqrt(2) if node is not None and isinstance(node.op, Div) else math.sqrt(0.5)
        return numbers(root2=(root2, root), one=(one, 1.0), half=(half, 0.5))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Gelu()(x)


class RecognizeTanhGelu(Rule):
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) is Gelu with the tanh approximation."""

    def pattern(self, x: Any, c: Any, k: Any, one: Any, half: Any, three: Any) -> Any:
        """The cube as a power or as products, or x (1 + 0.044715 x^2); 0.5 in either place."""
        cubes = (Pow()(x, three), Mul()(x, Mul()(x, x)), Mul()(Mul()(x, x), x))
        scaled = [Mul()(cube, c) for cube in cubes] + [Mul()(x, Mul()(x, Mul()(*pair))) for pair in ((x, c), (c, x))]
        inners = [Mul()(Add()(x, each), k) for each in scaled]
        inners += [Mul()(Mul()(x, k), Add()(s, one)) for s in (Mul()(Mul()(x, c), x), Mul()(Mul()(x, x), c))]
        roots: list[Any] = []
        for inner in inners:
            bracket = Add()(Tanh()(inner), one)
            roots += [
                Mul()(bracket, Mul()(x, half)),
                Mul()(bracket, Mul()(half, x)),  # both orders, as above
                Mul()(Mul()(bracket, x), half),
                Mul()(Mul()(bracket, half), x),
            ]
        return roots

    def check(self, c: Tensor, k: Tensor, one: Tensor, half: Tensor, three: Tensor | None) -> bool | NoMatch:
        """The constants are those of the approximation."""
        if three is not None and not is_number(three, 3.0):
            return no("the power is not 3", three)
        return numbers(c=(c, 0.044715), k=(k, math.sqrt(2 / math.pi)), one=(one, 1.0), half=(half, 0.5))

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Gelu(approximate="tanh")(x)


RULES = (
    RecognizeHardSigmoid,
    HardSigmoidFromLine,
    RecognizeHardSwish,
    RecognizeHardSwishProduct,
    RecognizeSwish,
    RecognizeMish,
    RecognizeSoftsign,
    RecognizeGelu,
    RecognizeErfcGelu,
    RecognizeTanhGelu,
)
