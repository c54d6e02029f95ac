"""Vector-Jacobian products: what the gradient of an operator's result means for each of its operands.

A rule is asked for one operand at a time and applies canonical operators. Where a function has no derivative a
subgradient stands: 0 for Relu at 0, equal shares for equal elements of a maximum, as in PyTorch. Convolutions and
operators that move elements have files of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import attrs

from uair import ops
from uair.frontends.onnx.errors import OnnxOperatorError
from uair.frontends.onnx.node import OnnxNode
from uair.ir.dims import Shape, is_static, static
from uair.ir.graph import Node, Tensor
from uair.ir.types import TensorType
from uair.ops.base import Operator


@attrs.frozen(eq=False)
class Step:
    """One operator on the way back.

    Attributes:
        n: the Gradient node, through which operators are applied.
        node: the operator's node.
        gradients: of its results; None where nothing depends on a result.
    """

    n: OnnxNode
    node: Node
    gradients: tuple[Tensor | None, ...]

    def __call__(self, op: Operator, *operands: Tensor | None) -> Tensor:
        """Apply an operator."""
        return self.n(op, *operands)

    @property
    def op(self) -> Any:
        """The operator; its attributes are those of its class."""
        return self.node.op

    @property
    def y(self) -> Tensor:
        """The first result."""
        return self.node.outputs[0]

    @property
    def dy(self) -> Tensor:
        """The gradient of the first result."""
        found = self.gradients[0]
        return self.zeros(self.y) if found is None else found

    def x(self, i: int = 0) -> Tensor:
        """Operand `i`."""
        tensor = self.node.inputs[i]
        assert tensor is not None
        return tensor

    def shape(self, t: Tensor) -> Shape:
        """The shape of a tensor, whose rank must be known."""
        if t.type.shape is None:
            self.refuse("an operand's rank is not known")
        return t.type.shape

    def filled(self, t: Tensor, value: float) -> Tensor:
        """A tensor of the type of another one, of one value."""
        shape = self.shape(t)
        return self(ops.Expand(shape=shape), self.n.like(value, t)) if shape else self.n.like(value, t)

    def zeros(self, t: Tensor) -> Tensor:
        """Zeros of the type of a tensor."""
        return self.filled(t, 0)

    def refuse(self, reason: str) -> NoReturn:
        """Say that this operator cannot be differentiated.

        Raises:
            OnnxOperatorError: always.
        """
        raise OnnxOperatorError(
            f"Gradient cannot differentiate {self.node.op_type} ({self.node.loc}): {reason}",
            place=self.n.place,
            hint="take the gradient of a part of the model without it",
        )

    def fit(self, gradient: Tensor, t: TensorType) -> Tensor:
        """The gradient of an operand that was broadcast: summed over the axes that broadcasting added or widened."""
        have = self.shape(gradient)
        if t.shape is None:
            self.refuse("an operand's rank is not known")
        lead = len(have) - len(t.dims)
        wide = tuple(i for i, d in enumerate(have) if i >= lead and t.dims[i - lead] == 1 and d != 1)
        if any(i >= lead and t.dims[i - lead] != d and t.dims[i - lead] != 1 for i, d in enumerate(have)):
            self.refuse(f"whether an operand of shape {list(t.dims)} was broadcast to {list(have)} is not known")
        if wide:
            gradient = self(ops.ReduceSum(axes=wide), gradient)
        return self(ops.ReduceSum(axes=tuple(range(lead)), keepdims=False), gradient) if lead else gradient


Rule: TypeAlias = "Callable[[Step, int], Tensor | None]"


class Value:
    """A tensor in a formula."""

    def __init__(self, step: Step, tensor: Tensor) -> None:
        self.step = step
        self.tensor = tensor

    def __call__(self, op: Operator) -> Value:
        """An operator applied to it."""
        return Value(self.step, self.step(op, self.tensor))

    def apply(self, op: Operator, other: Value | float, *, turned: bool = False) -> Value:
        """An operator applied to it and another value or a number; `turned`: the other comes first."""
        right = other.tensor if isinstance(other, Value) else self.step.n.like(other, self.tensor)
        pair = (right, self.tensor) if turned else (self.tensor, right)
        return Value(self.step, self.step(op, *pair))

    def __add__(self, other: Value | float) -> Value:
        return self.apply(ops.Add(), other)

    def __radd__(self, other: float) -> Value:
        return self.apply(ops.Add(), other)

    def __sub__(self, other: Value | float) -> Value:
        return self.apply(ops.Sub(), other)

    def __rsub__(self, other: float) -> Value:
        return self.apply(ops.Sub(), other, turned=True)

    def __mul__(self, other: Value | float) -> Value:
        return self.apply(ops.Mul(), other)

    def __rmul__(self, other: float) -> Value:
        return self.apply(ops.Mul(), other)

    def __truediv__(self, other: Value | float) -> Value:
        return self.apply(ops.Div(), other)

    def __rtruediv__(self, other: float) -> Value:
        return self.apply(ops.Div(), other, turned=True)

    def __neg__(self) -> Value:
        return self(ops.Neg())

    def holds(self, comparison: Operator, other: Value | float) -> Value:
        """1 where a comparison holds, else 0."""
        return self.apply(comparison, other)(ops.Cast(to=self.tensor.type.dtype))

    def choose(self, comparison: Operator, bound: float, yes: Value | float, no: Value | float) -> Value:
        """`yes` where a comparison with a number holds, else `no`."""
        a, b = (v.tensor if isinstance(v, Value) else self.step.n.like(v, self.tensor) for v in (yes, no))
        return Value(self.step, self.step(ops.Where(), self.apply(comparison, bound).tensor, a, b))


# ----------------------------------------------------------------------- one operand
Derivative: TypeAlias = "Callable[[Value, Value, Any], Value]"

_SIGMOID, _RSQRT, _GREATER = ops.Sigmoid(), ops.Rsqrt(), ops.Greater()


def _clip(x: Value, y: Value, op: Any) -> Value:
    low: float | None = op.min
    high: float | None = op.max
    inside = x.holds(ops.Equal(), x) if low is None else x.holds(ops.GreaterEqual(), low)
    return inside if high is None else inside * x.holds(ops.LessEqual(), high)


def _swish(x: Value, y: Value, op: Any) -> Value:
    alpha: float = op.alpha
    share = (x * alpha)(_SIGMOID)
    return share + (1 - share) * y * alpha


DERIVATIVES: Mapping[type[Operator], Derivative] = {
    ops.Abs: lambda x, y, op: x(ops.Sign()),
    ops.Acos: lambda x, y, op: -((1 - x * x)(_RSQRT)),
    ops.Acosh: lambda x, y, op: (x * x - 1)(_RSQRT),
    ops.Asin: lambda x, y, op: (1 - x * x)(_RSQRT),
    ops.Asinh: lambda x, y, op: (x * x + 1)(_RSQRT),
    ops.Atan: lambda x, y, op: 1 / (x * x + 1),
    ops.Atanh: lambda x, y, op: 1 / (1 - x * x),
    ops.Celu: lambda x, y, op: x.choose(_GREATER, 0, 1, y / op.alpha + 1),
    ops.Clip: _clip,
    ops.Cos: lambda x, y, op: -x(ops.Sin()),
    ops.Cosh: lambda x, y, op: x(ops.Sinh()),
    ops.Elu: lambda x, y, op: x.choose(_GREATER, 0, 1, y + op.alpha),
    ops.Erf: lambda x, y, op: (-(x * x))(ops.Exp()) * (2 / math.sqrt(math.pi)),
    ops.Exp: lambda x, y, op: y,
    ops.Expm1: lambda x, y, op: y + 1,
    ops.HardSigmoid: lambda x, y, op: y.holds(_GREATER, 0) * y.holds(ops.Less(), 1) * op.alpha,
    ops.LeakyRelu: lambda x, y, op: x.choose(_GREATER, 0, 1, op.alpha),
    ops.Log: lambda x, y, op: 1 / x,
    ops.Log1p: lambda x, y, op: 1 / (x + 1),
    ops.Reciprocal: lambda x, y, op: -(y * y),
    ops.Relu: lambda x, y, op: x.holds(_GREATER, 0),
    ops.Rsqrt: lambda x, y, op: y * y * y * -0.5,
    ops.Selu: lambda x, y, op: x.choose(_GREATER, 0, op.gamma, y + op.gamma * op.alpha),
    ops.Sigmoid: lambda x, y, op: y * (1 - y),
    ops.Sin: lambda x, y, op: x(ops.Cos()),
    ops.Sinh: lambda x, y, op: x(ops.Cosh()),
    ops.Softplus: lambda x, y, op: (x * op.beta)(_SIGMOID),
    ops.Softsign: lambda x, y, op: (1 / (x(ops.Abs()) + 1)) * (1 / (x(ops.Abs()) + 1)),
    ops.Sqrt: lambda x, y, op: 0.5 / y,
    ops.Swish: _swish,
    ops.Tan: lambda x, y, op: y * y + 1,
    ops.Tanh: lambda x, y, op: 1 - y * y,
    ops.ThresholdedRelu: lambda x, y, op: x.holds(_GREATER, op.alpha),
}
"""The derivative from operand, result and operator; the gradient is multiplied by it."""

FLAT: frozenset[type[Operator]] = frozenset({ops.Ceil, ops.Floor, ops.Round, ops.Sign, ops.Trunc, ops.Hardmax})
"""Functions whose derivative is 0 wherever there is one."""


def _by_derivative(s: Step, i: int) -> Tensor:
    return (Value(s, s.dy) * DERIVATIVES[type(s.op)](Value(s, s.x()), Value(s, s.y), s.op)).tensor


def _cast(s: Step, i: int) -> Tensor:
    return s(ops.Cast(to=s.x().type.dtype), s.dy)


# ---------------------------------------------------------------------- two operands
def _negated(s: Step, i: int) -> Tensor:
    return s.fit(s(ops.Neg(), s.dy) if i else s.dy, s.x(i).type)


def _passed(s: Step, i: int) -> Tensor:
    return s.fit(s.dy, s.x(i).type)


def _mul(s: Step, i: int) -> Tensor:
    return s.fit(s(ops.Mul(), s.dy, s.x(1 - i)), s.x(i).type)


def _div(s: Step, i: int) -> Tensor:
    share = s(ops.Div(), s.dy, s.x(1))
    return s.fit(share if i == 0 else s(ops.Neg(), s(ops.Mul(), share, s.y)), s.x(i).type)


def _pow(s: Step, i: int) -> Tensor:
    """B * a^(b-1), and a^b * log(a) where a is positive."""
    kind = ops.Cast(to=s.x(0).type.dtype)
    a, b = Value(s, s.x(0)), Value(s, s.x(1))(kind)
    if i == 0:
        factor = b * a.apply(ops.Pow(), b - 1)
        return s.fit(s(ops.Mul(), s.dy, factor.tensor), s.x(0).type)
    logarithm = a.choose(_GREATER, 0, a, 1)(ops.Log())
    gradient = (Value(s, s.dy) * Value(s, s.y) * logarithm).tensor
    return s.fit(s(ops.Cast(to=s.x(1).type.dtype), gradient), s.x(1).type)


def _extreme(comparison: Operator) -> Rule:
    def rule(s: Step, i: int) -> Tensor:
        mine, other = Value(s, s.x(i)), Value(s, s.x(1 - i))
        share = mine.holds(comparison, other) + mine.holds(ops.Equal(), other) * 0.5
        return s.fit(s(ops.Mul(), s.dy, share.tensor), s.x(i).type)

    return rule


def _mod(s: Step, i: int) -> Tensor:
    if i == 0:
        return s.fit(s.dy, s.x(0).type)
    whole = s(ops.Floor() if s.op.sign == "divisor" else ops.Trunc(), s(ops.Div(), s.x(0), s.x(1)))
    return s.fit(s(ops.Neg(), s(ops.Mul(), s.dy, whole)), s.x(1).type)


def _where(s: Step, i: int) -> Tensor:
    zero = s.n.like(0, s.dy)
    chosen = (s.dy, zero) if i == 1 else (zero, s.dy)
    return s.fit(s(ops.Where(), s.x(0), *chosen), s.x(i).type)


# ------------------------------------------------------------------------- matrices
def _matmul(s: Step, i: int) -> Tensor:
    """For y = A B: dA = dy B^T, dB = A^T dy; a vector is a matrix of one row or column meanwhile."""
    a, b, dy = s.x(0), s.x(1), s.dy
    ranks = len(s.shape(a)), len(s.shape(b))
    if ranks[1] == 1:
        b, dy = s(ops.Unsqueeze(axes=(1,)), b), s(ops.Unsqueeze(axes=(len(s.shape(dy)),)), dy)
    if ranks[0] == 1:
        a, dy = s(ops.Unsqueeze(axes=(0,)), a), s(ops.Unsqueeze(axes=(len(s.shape(dy)) - 1,)), dy)
    turned = s.op.trans_a, s.op.trans_b
    if i == 0:
        made = _product(s, b, dy, turned[1], True) if turned[0] else _product(s, dy, b, False, not turned[1])
    else:
        made = _product(s, dy, a, True, turned[0]) if turned[1] else _product(s, a, dy, not turned[0], False)
    made = s.fit(made, (a, b)[i].type)
    return s(ops.Squeeze(axes=(i,)), made) if ranks[i] == 1 else made


def _product(s: Step, a: Tensor, b: Tensor, trans_a: bool, trans_b: bool) -> Tensor:
    return s(ops.MatMul(trans_a=trans_a, trans_b=trans_b), a, b)


def _det(s: Step, i: int) -> Tensor:
    """Det(x) * dy * (x^-1)^T."""
    rank = len(s.shape(s.x()))
    factor = s(ops.Unsqueeze(axes=(rank - 2, rank - 1)), s(ops.Mul(), s.dy, s.y))
    return s(ops.Mul(), factor, _transposed(s, s(ops.Inverse(), s.x())))


def _inverse(s: Step, i: int) -> Tensor:
    """-y^T dy y^T."""
    return s(ops.Neg(), _product(s, _product(s, s.y, s.dy, True, False), s.y, False, True))


def _transposed(s: Step, x: Tensor) -> Tensor:
    rank = len(s.shape(x))
    return s(ops.Transpose(perm=(*range(rank - 2), rank - 1, rank - 2)), x)


# ----------------------------------------------------------------------- reductions
def axes_of(s: Step) -> tuple[int, ...]:
    """The axes that a reduction reduces, not negative."""
    rank = len(s.shape(s.x()))
    return tuple(range(rank)) if s.op.axes is None else tuple(a % rank for a in s.op.axes)


def _kept(s: Step, t: Tensor) -> Tensor:
    """A reduction's result, or its gradient, with the reduced axes."""
    axes = tuple(sorted(axes_of(s)))
    return t if s.op.keepdims or not axes else s(ops.Unsqueeze(axes=axes), t)


def _spread(s: Step, t: Tensor) -> Tensor:
    shape = s.shape(s.x())
    return s(ops.Expand(shape=shape), t) if shape else t


def _reduce_sum(s: Step, i: int) -> Tensor:
    return _spread(s, _kept(s, s.dy))


def _mean_share(s: Step, spread: Tensor) -> Tensor:
    """Divided by how many elements one result is the mean of."""
    x, y = s.x(), s.y
    shapes = s.shape(x), s.shape(y)
    if is_static(shapes[0]) and is_static(shapes[1]):
        count = math.prod(static(shapes[0])) / max(math.prod(static(shapes[1])), 1)
        return s(ops.Div(), spread, s.n.like(count, spread))
    kind = ops.Cast(to=x.type.dtype)
    sizes = [s(kind, s(ops.SizeOf(), t)) for t in (x, y)]
    return s(ops.Div(), spread, s(ops.Div(), *sizes))


def _reduce_mean(s: Step, i: int) -> Tensor:
    return _mean_share(s, _reduce_sum(s, i))


def _global_mean(s: Step, i: int) -> Tensor:
    return _mean_share(s, _spread(s, s.dy))


def _reduce_extreme(s: Step, i: int) -> Tensor:
    """Equal shares for all elements that are the extreme."""
    found = Value(s, s.x()).holds(ops.Equal(), Value(s, _kept(s, s.y)))
    count = found(ops.ReduceSum(axes=axes_of(s)))
    return (Value(s, _kept(s, s.dy)) / count * found).tensor


def _reduce_prod(s: Step, i: int) -> Tensor:
    """The product of the others: of those before and those after, along one axis that the reduced ones make."""
    shape, axes = s.shape(s.x()), sorted(axes_of(s))
    rest = [a for a in range(len(shape)) if a not in axes]
    perm = (*rest, *axes)
    turned = s(ops.Transpose(perm=perm), s.x())
    outer = tuple(shape[a] for a in rest)
    rows = s(ops.Reshape(shape=(*outer, -1)), turned)
    others = s(
        ops.Mul(),
        s(ops.CumProd(axis=len(rest), exclusive=True), rows),
        s(ops.CumProd(axis=len(rest), exclusive=True, reverse=True), rows),
    )
    back = s(ops.Reshape(shape=tuple(shape[a] for a in perm)), others)
    back = s(ops.Transpose(perm=tuple(perm.index(a) for a in range(len(shape)))), back)
    return s(ops.Mul(), _kept(s, s.dy), back)


def _cum_sum(s: Step, i: int) -> Tensor | None:
    if i:
        return None
    turned = attrs.evolve(s.op, reverse=not s.op.reverse)
    return s(turned, s.dy, *s.node.inputs[1:])


def _softmax(s: Step, i: int) -> Tensor:
    weighted = Value(s, s.dy) * Value(s, s.y)
    total = weighted(ops.ReduceSum(axes=(s.op.axis,)))
    return (weighted - Value(s, s.y) * total).tensor


def _log_softmax(s: Step, i: int) -> Tensor:
    total = Value(s, s.dy)(ops.ReduceSum(axes=(s.op.axis,)))
    return (Value(s, s.dy) - Value(s, s.y)(ops.Exp()) * total).tensor


RULES: Mapping[type[Operator], Rule] = {
    **dict.fromkeys(DERIVATIVES, _by_derivative),
    ops.Add: _passed,
    ops.Cast: _cast,
    ops.CumSum: _cum_sum,
    ops.Det: _det,
    ops.Div: _div,
    ops.GlobalAvgPool: _global_mean,
    ops.Identity: _passed,
    ops.Inverse: _inverse,
    ops.LogSoftmax: _log_softmax,
    ops.MatMul: _matmul,
    ops.Maximum: _extreme(ops.Greater()),
    ops.Minimum: _extreme(ops.Less()),
    ops.Mod: _mod,
    ops.Mul: _mul,
    ops.Neg: lambda s, i: s(ops.Neg(), s.dy),
    ops.Pow: _pow,
    ops.ReduceMax: _reduce_extreme,
    ops.ReduceMean: _reduce_mean,
    ops.ReduceMin: _reduce_extreme,
    ops.ReduceProd: _reduce_prod,
    ops.ReduceSum: _reduce_sum,
    ops.Softmax: _softmax,
    ops.Sub: _negated,
    ops.Where: _where,
}
