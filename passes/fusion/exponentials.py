"""Functions of exponentials that models spell out: sigmoid, softplus, softmax and their logarithms.

Where the spelled form overflows, the operator does not: exp(100) is infinite in f32, softplus(100) is 100.
"""

from __future__ import annotations

from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import (
    Abs,
    Add,
    Div,
    Exp,
    Gelu,
    Greater,
    Log,
    Log1p,
    LogSoftmax,
    Mul,
    Neg,
    NotEqual,
    Reciprocal,
    ReduceMax,
    ReduceSum,
    Relu,
    Reshape,
    Sigmoid,
    Softmax,
    Softplus,
    Sub,
    Swish,
    Unsqueeze,
    Where,
)
from uair.ops.reduction import Reduction
from uair.passes.fusion.activation import is_number, numbers
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, any_of, no, of

_QUICK = 1.702
_LINEAR = 15.0
"""From here on softplus(x) is x in f32: log(1 + exp(-15)) is 3e-7, a rounding of 15 in f32 up to 5e-7."""


class RecognizeSigmoid(Rule):
    """1 / (1 + exp(-x)) is Sigmoid."""

    def pattern(self, x: Any, one: Any) -> Any:
        """As a quotient or a reciprocal."""
        total = Add()(Exp()(Neg()(x)), one).named("total")
        return [Reciprocal()(total), Div()(one, total)]

    def check(self, x: Tensor, one: Tensor, total: Node) -> bool | NoMatch:
        """The constant is 1, and no larger than x."""
        return _ones(x, one, total)

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Sigmoid()(x)


class RecognizeSwishQuotient(Rule):
    """x / (1 + exp(-x)) is Swish (SiLU)."""

    def pattern(self, x: Any, one: Any) -> Any:
        """The sum in either order."""
        return Div()(x, Add()(Exp()(Neg()(x)), one).named("total"))

    def check(self, x: Tensor, one: Tensor, total: Node) -> bool | NoMatch:
        """The constant is 1, and no larger than x."""
        return _ones(x, one, total)

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Swish()(x)


def _ones(x: Tensor, one: Tensor, total: Node) -> bool | NoMatch:
    if x.type != total.output.type:
        return no("a constant broadcasts the operand", total)
    return numbers(one=(one, 1.0))


class RecognizeScaledSwish(Rule):
    """x * sigmoid(a * x) is Swish of that slope; with a = 1.702 it is the quick Gelu, as CLIP has it."""

    def pattern(self, x: Any, slope: Any) -> Any:
        """The products in either order; what comes first in the inner one is bound before the outer one is seen."""
        return [Mul()(x, Sigmoid()(Mul()(*pair).named("scaled"))) for pair in ((x, slope), (slope, x))]

    def check(self, x: Tensor, slope: Tensor, scaled: Node) -> bool | NoMatch:
        """The slope is one number above 0."""
        value = repeated_value(slope)
        if value is None or not value > 0:
            return no("the slope is not one number above 0", slope)
        return x.type == scaled.output.type or no("the slope broadcasts the operand", scaled)

    def rewrite(self, x: Tensor, slope: Tensor) -> Tensor:
        """One operator."""
        value = repeated_value(slope)
        assert value is not None
        return Gelu(approximate="quick")(x) if is_number(slope, _QUICK) else Swish(alpha=float(value))(x)


class RecognizeSoftplus(Rule):
    """log(1 + exp(x)), and max(x, 0) + softplus(-|x|), which is how it is written to not overflow, are Softplus."""

    def pattern(self, x: Any, one: Any) -> Any:
        """With Log of the sum, or Log1p."""
        return [
            Log()(Add()(Exp()(x), one).named("total")),
            Log1p()(Exp()(x).named("total")),
            Add()(Relu()(x), Softplus()(Neg()(Abs()(x)))),
        ]

    def check(self, x: Tensor, one: Tensor | None, total: Node | None) -> bool | NoMatch:
        """The constant is 1, and no larger than x."""
        return one is None or total is None or _ones(x, one, total)

    def rewrite(self, x: Tensor) -> Tensor:
        """One operator."""
        return Softplus()(x)


class DropSoftplusThreshold(Rule):
    """Softplus where x is at most 20, and x elsewhere, as torch.onnx writes it, is Softplus."""

    def pattern(self, x: Any, limit: Any) -> Any:
        """The condition, and both branches."""
        return Where()(Greater()(x, limit).named("condition"), x, of(Softplus)(x).named("inner"))

    def check(self, x: Tensor, limit: Tensor, condition: Node, inner: Node) -> bool | NoMatch:
        """The threshold is where both are the same."""
        op = inner.op
        assert isinstance(op, Softplus)
        value = repeated_value(limit)
        if value is None or value * op.beta < _LINEAR:
            return no(f"the threshold is not one number from {_LINEAR:g} on, where softplus(x) is x", limit)
        return condition.output.type.shape == x.type.shape or no("the threshold broadcasts the operand", condition)

    def rewrite(self, inner: Node) -> Tensor:
        """Softplus alone."""
        return inner.op(*inner.inputs)


class DropNanGuardOfSoftplus(Rule):
    """x where it is not a number, and Softplus of it elsewhere, as JAX writes it, is Softplus: it keeps NaN."""

    def pattern(self, x: Any) -> Any:
        """The condition, and both branches."""
        return Where()(NotEqual()(x, x), x, of(Softplus)(x).named("inner"))

    def rewrite(self, inner: Node) -> Tensor:
        """Softplus alone."""
        return inner.op(*inner.inputs)


class RecognizeSoftmax(Rule):
    """exp(x) / sum(exp(x)), also with max(x) taken from x first, is Softmax."""

    def pattern(self, x: Any) -> Any:
        """With and without the maximum; sums and maxima that keep their axis, or get it back as JAX writes it."""
        total, greatest = of(ReduceSum), of(ReduceMax)(x).named("greatest")
        roots: list[Any] = []
        for e in (Exp()(Sub()(x, any_of(greatest, back(greatest, "greatest_back")))), Exp()(x)):
            below = total(e).named("total")
            roots += [Div()(e, below), Div()(e, back(below, "total_back"))]
        return roots

    def check(
        self, x: Tensor, total: Node, greatest: Node | None, total_back: Node | None, greatest_back: Node | None
    ) -> bool | NoMatch:
        """Sum and maximum are along the same axis."""
        return _along_one_axis(x, total, total_back, greatest, greatest_back)

    def rewrite(self, x: Tensor, total: Node, total_back: Node | None) -> Tensor:
        """One operator."""
        axis = one_axis(total, x, total_back)
        assert axis is not None
        return Softmax(axis=axis)(x)


def _along_one_axis(
    x: Tensor, total: Node, total_back: Node | None, greatest: Node | None, greatest_back: Node | None
) -> bool | NoMatch:
    """Whether sum and maximum of x are along one axis, the same one, and keep it or get it back."""
    if x.type.shape is None:
        return no("the rank is not known", x)
    for reduction, restored in ((total, total_back), (greatest, greatest_back)):
        if reduction is not None and one_axis(reduction, x, restored) is None:
            return no("it is not along one axis that is kept", reduction)
    same = greatest is None or one_axis(greatest, x, greatest_back) == one_axis(total, x, total_back)
    return same or no("sum and maximum are along different axes", greatest)


def back(reduced: Any, name: str) -> Any:
    """Patterns of what gives a reduction its axis back."""
    return of(Reshape, Unsqueeze)(reduced).named(name)


def one_axis(node: Node, x: Tensor, restored: Node | None = None) -> int | None:
    """The only axis of a reduction of x that is kept, or that another node gives back; None if it is otherwise."""
    op = node.op
    assert isinstance(op, Reduction)
    if op.axes is None or len(op.axes) != 1 or op.keepdims != (restored is None):
        return None
    axis = op.axes[0] % x.type.rank
    kept = (*x.type.dims[:axis], 1, *x.type.dims[axis + 1 :])
    return axis if restored is None or restored.output.type.shape == kept else None


class RecognizeLogSoftmax(Rule):
    """The logarithm of a Softmax is LogSoftmax."""

    def pattern(self, x: Any) -> Any:
        """Both in a row."""
        return Log()(of(Softmax)(x).named("softmax"))

    def rewrite(self, x: Tensor, softmax: Node) -> Tensor:
        """One operator."""
        op = softmax.op
        assert isinstance(op, Softmax)
        return LogSoftmax(axis=op.axis)(x)


class RecognizeSpelledLogSoftmax(Rule):
    """d - log(sum(exp(d))) with d = x - max(x), as JAX writes it, is LogSoftmax."""

    def pattern(self, x: Any) -> Any:
        """Sum and maximum keep their axis, or get it back; the logarithm in front of that or behind."""
        greatest = of(ReduceMax)(x).named("greatest")
        roots: list[Any] = []
        for shift in (greatest, back(greatest, "greatest_back")):
            d = Sub()(x, shift)
            total = of(ReduceSum)(Exp()(d)).named("total")
            logs = (Log()(total), Log()(back(total, "total_back")), back(Log()(total), "total_back"))
            roots += [Sub()(d, log) for log in logs]
        return roots

    def check(
        self, x: Tensor, total: Node, greatest: Node, total_back: Node | None, greatest_back: Node | None
    ) -> bool | NoMatch:
        """Sum and maximum are along the same axis."""
        return _along_one_axis(x, total, total_back, greatest, greatest_back)

    def rewrite(self, x: Tensor, total: Node, total_back: Node | None) -> Tensor:
        """One operator."""
        axis = one_axis(total, x, total_back)
        assert axis is not None
        return LogSoftmax(axis=axis)(x)


class DropShiftBeforeSoftmax(Rule):
    """Softmax and LogSoftmax of x less its maximum are those of x: they take the maximum off by themselves."""

    def pattern(self, x: Any) -> Any:
        """The maximum, the difference, and the operator."""
        greatest = of(ReduceMax)(x).named("greatest")
        return of(Softmax, LogSoftmax)(Sub()(x, any_of(greatest, back(greatest, "restored")))).named("root")

    def check(self, x: Tensor, greatest: Node, root: Node, restored: Node | None) -> bool | NoMatch:
        """The maximum is that of the operator's axis, which it keeps."""
        if x.type.shape is None:
            return no("the rank is not known", x)
        op = root.op
        assert isinstance(op, (Softmax, LogSoftmax))
        same = one_axis(greatest, x, restored) == op.axis % x.type.rank
        return same or no("the maximum is not that of the operator's axis, or does not keep it", greatest)

    def rewrite(self, x: Tensor, root: Node) -> Tensor:
        """The operator alone."""
        return root.op(x)


RULES = (
    RecognizeSigmoid,
    RecognizeSwishQuotient,
    RecognizeScaledSwish,
    RecognizeSoftplus,
    DropSoftplusThreshold,
    DropNanGuardOfSoftplus,
    RecognizeSoftmax,
    RecognizeLogSoftmax,
    RecognizeSpelledLogSoftmax,
    DropShiftBeforeSoftmax,
)
