"""Arithmetic element by element.

PyTorch records the element type of every result, so operands are brought to it before the canonical operator, which
wants operands of one type.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import ml_dtypes

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.frontends.torch.promotion import Operand, as_float, category, operand, promoted, result_type
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops.base import Operator

FAMILY = Family()

_FLOAT_UNARY: dict[str, type[Operator]] = {
    "acos": ops.Acos,
    "acosh": ops.Acosh,
    "asin": ops.Asin,
    "asinh": ops.Asinh,
    "atan": ops.Atan,
    "atanh": ops.Atanh,
    "cos": ops.Cos,
    "cosh": ops.Cosh,
    "erf": ops.Erf,
    "exp": ops.Exp,
    "expm1": ops.Expm1,
    "log": ops.Log,
    "log1p": ops.Log1p,
    "reciprocal": ops.Reciprocal,
    "rsqrt": ops.Rsqrt,
    "sigmoid": ops.Sigmoid,
    "sin": ops.Sin,
    "sinh": ops.Sinh,
    "sqrt": ops.Sqrt,
    "tan": ops.Tan,
    "tanh": ops.Tanh,
}
"""Functions whose result on integers is a float."""

_ROUNDING: dict[str, type[Operator]] = {
    "ceil": ops.Ceil,
    "fix": ops.Trunc,
    "floor": ops.Floor,
    "trunc": ops.Trunc,
}

_LARGEST_EXACT = 1 << 53
"""Integers up to here are exact as attributes of type float."""


def _float_unary(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        return node(make(), node.cast(node.tensor("self"), node.result.dtype))

    return handler


for _name, _op in _FLOAT_UNARY.items():
    FAMILY.add(f"aten.{_name}", _float_unary(_op))
for _alias, _name in {
    "arccos": "acos",
    "arccosh": "acosh",
    "arcsin": "asin",
    "arcsinh": "asinh",
    "arctan": "atan",
    "arctanh": "atanh",
    "special_erf": "erf",
    "special_expit": "sigmoid",
    "special_expm1": "expm1",
    "special_log1p": "log1p",
}.items():
    FAMILY.add(f"aten.{_alias}", _float_unary(_FLOAT_UNARY[_name]))


# ------------------------------------------------------------------------------------------------ arithmetic
def pair(node: TorchNode, a: str = "self", b: str = "other") -> Sequence[Tensor]:
    """Two operands in the element type of the result."""
    return promoted(node, node.get(a), node.get(b), to=node.result.dtype)


def _scaled(node: TorchNode, value: Tensor) -> Tensor:
    """An operand times the argument alpha."""
    alpha = node.get("alpha", 1)
    return value if alpha == 1 else node(ops.Mul(), value, operand(node, alpha, value.type.dtype))


@FAMILY.op("aten.add")
def _add(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.LogicalOr(), a, b) if node.result.dtype is DType.BOOL else node(ops.Add(), a, _scaled(node, b))


@FAMILY.op("aten.sub", "aten.subtract")
def _sub(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.Sub(), a, _scaled(node, b))


@FAMILY.op("aten.rsub")
def _rsub(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.Sub(), b, _scaled(node, a))


@FAMILY.op("aten.mul", "aten.multiply")
def _mul(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.LogicalAnd() if node.result.dtype is DType.BOOL else ops.Mul(), a, b)


@FAMILY.op("aten.div", "aten.divide", "aten.true_divide")
def _div(node: TorchNode) -> Result:
    rounding = node.get("rounding_mode")
    if rounding == "floor":
        return _floor_divide(node)
    a, b = pair(node)
    if category(a.type.dtype) < 2:
        return node(ops.IntDiv(rounding="trunc"), a, b)
    quotient = node(ops.Div(), a, b)
    return node(ops.Trunc(), quotient) if rounding == "trunc" else quotient


@FAMILY.op("aten.floor_divide")
def _floor_divide(node: TorchNode) -> Tensor:
    """Rounded downwards: for floats (a - a mod b) / b, which is right where a / b rounds up to a whole number."""
    a, b = pair(node)
    if category(a.type.dtype) < 2:
        return node(ops.IntDiv(rounding="floor"), a, b)
    if b.data is not None and b.data.size == 1 and abs(math.frexp(float(b.numpy().reshape(-1)[0]))[0]) == 0.5:
        return node(ops.Floor(), node(ops.Div(), a, b))  # a power of two: the quotient is exact
    whole = node(ops.Sub(), a, node(ops.Mod(sign="divisor"), a, b))
    return node(ops.Round(), node(ops.Div(), whole, b))


@FAMILY.op("aten.remainder")
def _remainder(node: TorchNode) -> Tensor:
    return node(ops.Mod(sign="divisor"), *pair(node))


@FAMILY.op("aten.fmod")
def _fmod(node: TorchNode) -> Tensor:
    return node(ops.Mod(sign="dividend"), *pair(node))


@FAMILY.op("aten.pow", "aten.float_power")
def _pow(node: TorchNode) -> Tensor:
    a, b = pair(node, "self", "exponent")
    return node(ops.Pow(), a, b)


@FAMILY.op("aten.square")
def _square(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node(ops.Mul(), x, x)


@FAMILY.op("aten.addcmul")
def _addcmul(node: TorchNode) -> Tensor:
    """Self + value * tensor1 * tensor2."""
    return _added(node, ops.Mul())


@FAMILY.op("aten.addcdiv")
def _addcdiv(node: TorchNode) -> Tensor:
    """Self + value * tensor1 / tensor2."""
    return _added(node, ops.Div())


def _added(node: TorchNode, op: Operator) -> Tensor:
    dtype = node.result.dtype
    x, a, b = promoted(node, *(node.get(n) for n in ("self", "tensor1", "tensor2")), to=dtype)
    value = node.get("value", 1)
    made = node(op, a, b)
    scaled = made if value == 1 else node(ops.Mul(), made, operand(node, value, dtype))
    return node(ops.Add(), x, scaled)


@FAMILY.op("aten.lerp")
def _lerp(node: TorchNode) -> Tensor:
    start, end, weight = promoted(node, *(node.get(n) for n in ("self", "end", "weight")), to=node.result.dtype)
    return node(ops.Add(), start, node(ops.Mul(), weight, node(ops.Sub(), end, start)))


# ------------------------------------------------------------------------------------------------ sign, rounding
@FAMILY.op("aten.abs", "aten.absolute")
def _abs(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return x if x.type.dtype is DType.BOOL else node(ops.Abs(), x)


@FAMILY.op("aten.neg", "aten.negative")
def _neg(node: TorchNode) -> Tensor:
    return node(ops.Neg(), node.tensor("self"))


@FAMILY.op("aten.sign", "aten.sgn")
def _sign(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return x if x.type.dtype is DType.BOOL else node(ops.Sign(), x)


def _rounding(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        x = node.tensor("self")
        return x if category(x.type.dtype) < 2 else node(make(), x)

    return handler


for _name, _op in _ROUNDING.items():
    FAMILY.add(f"aten.{_name}", _rounding(_op))


@FAMILY.op("aten.round", "aten.special_round")
def _round(node: TorchNode) -> Tensor:
    x, decimals = node.tensor("self"), node.get("decimals", 0)
    if category(x.type.dtype) < 2:
        return x
    if not decimals:
        return node(ops.Round(), x)
    scale = node.like(10.0 ** abs(decimals), x)
    up, down = (ops.Mul(), ops.Div()) if decimals > 0 else (ops.Div(), ops.Mul())
    return node(down, node(ops.Round(), node(up, x, scale)), scale)


@FAMILY.op("aten.frac")
def _frac(node: TorchNode) -> Tensor:
    x = node.tensor("self")
    return node(ops.Sub(), x, node(ops.Trunc(), x))


@FAMILY.op("aten.copysign")
def _copysign(node: TorchNode) -> Tensor:
    """The magnitude of self with the sign of other, told from 1 / other where other is a zero."""
    a, b = pair(node)
    size, zero = node(ops.Abs(), a), node.like(0, b)
    sign = node(ops.Where(), node(ops.Equal(), b, zero), node(ops.Reciprocal(), b), b)
    return node(ops.Where(), node(ops.Less(), sign, zero), node(ops.Neg(), size), size)


# ------------------------------------------------------------------------------------------------ bounds
@FAMILY.op("aten.maximum", "aten.max.other")
def _maximum(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.LogicalOr() if a.type.dtype is DType.BOOL else ops.Maximum(), a, b)


@FAMILY.op("aten.minimum", "aten.min.other")
def _minimum(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.LogicalAnd() if a.type.dtype is DType.BOOL else ops.Minimum(), a, b)


@FAMILY.op("aten.fmax")
def _fmax(node: TorchNode) -> Tensor:
    return _present(node, ops.Maximum())


@FAMILY.op("aten.fmin")
def _fmin(node: TorchNode) -> Tensor:
    return _present(node, ops.Minimum())


def _present(node: TorchNode, op: Operator) -> Tensor:
    """An operator on two numbers that gives the other one where one is NaN."""
    a, b = pair(node)
    made = node(op, a, b)
    if category(a.type.dtype) < 2:
        return made
    made = node(ops.Where(), node(ops.IsNaN(), a), b, made)
    return node(ops.Where(), node(ops.IsNaN(), b), a, made)


@FAMILY.op("aten.clamp", "aten.clip")
def _clamp(node: TorchNode) -> Tensor:
    return clamped(node, node.get("min"), node.get("max"))


@FAMILY.op("aten.clamp_min")
def _clamp_min(node: TorchNode) -> Tensor:
    return clamped(node, node.get("min"), None)


@FAMILY.op("aten.clamp_max")
def _clamp_max(node: TorchNode) -> Tensor:
    return clamped(node, None, node.get("max"))


def clamped(node: TorchNode, low: Any, high: Any) -> Tensor:
    """The operand self between two bounds, numbers or tensors; None does not bind."""
    x = node.cast(node.tensor("self"), node.result.dtype)
    numbers = [_plain(bound) for bound in (low, high)]
    if all(number is not None or bound is None for number, bound in zip(numbers, (low, high), strict=True)):
        return node(ops.Clip(min=numbers[0], max=numbers[1]), x)
    if low is not None:
        (bound,) = promoted(node, low, to=x.type.dtype)
        x = node(ops.Maximum(), x, bound)
    if high is not None:
        (bound,) = promoted(node, high, to=x.type.dtype)
        x = node(ops.Minimum(), x, bound)
    return x


def _plain(value: object) -> float | None:
    """A bound that an attribute holds exactly."""
    if not isinstance(value, (bool, int, float)):
        return None
    return float(value) if isinstance(value, float) or abs(value) <= _LARGEST_EXACT else None


@FAMILY.op("aten.nan_to_num")
def _nan_to_num(node: TorchNode) -> Tensor:
    """Without numbers for them the infinities become the greatest and least number of the type."""
    x = node.tensor("self")
    if category(x.type.dtype) < 2:
        return x
    limits = ml_dtypes.finfo(x.type.dtype.numpy)  # type: ignore[no-untyped-call]
    high, low = node.get("posinf"), node.get("neginf")
    high, low = (float(limits.max) if high is None else high), (float(limits.min) if low is None else low)
    made = node(ops.Where(), node(ops.IsNaN(), x), node.like(node.get("nan") or 0.0, x), x)
    made = node(ops.Where(), node(ops.IsInf(detect_negative=False), x), node.like(high, x), made)
    return node(ops.Where(), node(ops.IsInf(detect_positive=False), x), node.like(low, x), made)


# ------------------------------------------------------------------------------------------------ functions
def _floating(node: TorchNode, name: str = "self") -> Tensor:
    return node.cast(node.tensor(name), node.result.dtype)


def _times(node: TorchNode, x: Tensor, factor: float) -> Tensor:
    return node(ops.Mul(), x, node.like(factor, x))


@FAMILY.op("aten.log2", "aten.special_log2")
def _log2(node: TorchNode) -> Tensor:
    return _times(node, node(ops.Log(), _floating(node)), 1 / math.log(2))


@FAMILY.op("aten.log10")
def _log10(node: TorchNode) -> Tensor:
    return _times(node, node(ops.Log(), _floating(node)), 1 / math.log(10))


@FAMILY.op("aten.exp2", "aten.special_exp2")
def _exp2(node: TorchNode) -> Tensor:
    x = _floating(node)
    return node(ops.Pow(), node.like(2, x), x)


@FAMILY.op("aten.erfc", "aten.special_erfc")
def _erfc(node: TorchNode) -> Tensor:
    x = _floating(node)
    return node(ops.Sub(), node.like(1, x), node(ops.Erf(), x))


@FAMILY.op("aten.deg2rad")
def _deg2rad(node: TorchNode) -> Tensor:
    return _times(node, _floating(node), math.pi / 180)


@FAMILY.op("aten.rad2deg")
def _rad2deg(node: TorchNode) -> Tensor:
    return _times(node, _floating(node), 180 / math.pi)


@FAMILY.op("aten.atan2", "aten.arctan2")
def _atan2(node: TorchNode) -> Tensor:
    return node(ops.Atan2(), *pair(node))


@FAMILY.op("aten.hypot")
def _hypot(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.Sqrt(), node(ops.Add(), node(ops.Mul(), a, a), node(ops.Mul(), b, b)))


@FAMILY.op("aten.logit", "aten.special_logit")
def _logit(node: TorchNode) -> Tensor:
    """log(x / (1 - x)), x kept between eps and 1 - eps."""
    x, eps = _floating(node), node.get("eps")
    if eps is not None:
        x = node(ops.Clip(min=eps, max=1 - eps), x)
    return node(ops.Log(), node(ops.Div(), x, node(ops.Sub(), node.like(1, x), x)))


@FAMILY.op("aten.sinc", "aten.special_sinc")
def _sinc(node: TorchNode) -> Tensor:
    """sin(pi x) / (pi x); 1 at 0."""
    x = _floating(node)
    angle = _times(node, x, math.pi)
    return node(
        ops.Where(),
        node(ops.Equal(), x, node.like(0, x)),
        node.like(1, x),
        node(ops.Div(), node(ops.Sin(), angle), angle),
    )


@FAMILY.op("aten.logaddexp")
def _logaddexp(node: TorchNode) -> Tensor:
    """log(exp(a) + exp(b)) = max + log1p(exp(-|a - b|)); a + log 2 where both are equal, infinities included."""
    a, b = pair(node)
    apart = node(ops.Neg(), node(ops.Abs(), node(ops.Sub(), a, b)))
    made = node(ops.Add(), node(ops.Maximum(), a, b), node(ops.Log1p(), node(ops.Exp(), apart)))
    same = node(ops.Add(), a, node.like(math.log(2), a))
    return node(ops.Where(), node(ops.Equal(), a, b), same, made)


@FAMILY.op("aten.xlogy", "aten.special_xlogy")
def _xlogy(node: TorchNode) -> Tensor:
    """Self * log(other); 0 where self is 0, NaN where other is."""
    a, b = pair(node)
    made = node(ops.Mul(), a, node(ops.Log(), b))
    made = node(ops.Where(), node(ops.Equal(), a, node.like(0, a)), node.like(0, a), made)
    return node(ops.Where(), node(ops.IsNaN(), b), b, made)


@FAMILY.op("aten.ldexp")
def _ldexp(node: TorchNode) -> Tensor:
    a, b = pair(node)
    return node(ops.Mul(), a, node(ops.Pow(), node.like(2, b), b))


@FAMILY.op("aten.heaviside")
def _heaviside(node: TorchNode) -> Tensor:
    """0 below 0, 1 above, `values` at 0."""
    x, values = pair(node, "self", "values")
    zero = node.like(0, x)
    step = node.cast(node(ops.Greater(), x, zero), x.type.dtype)
    return node(ops.Where(), node(ops.Equal(), x, zero), values, step)


# ------------------------------------------------------------------------------------------------ numbers
_PYTHON: dict[str, type[Operator]] = {
    "_operator.add": ops.Add,
    "_operator.mul": ops.Mul,
    "_operator.sub": ops.Sub,
    "_operator.truediv": ops.Div,
    "_operator.pow": ops.Pow,
    "_operator.neg": ops.Neg,
    "torch.sym_float": ops.Identity,
    "torch.sym_max": ops.Maximum,
    "torch.sym_min": ops.Minimum,
    "math.exp": ops.Exp,
    "math.sqrt": ops.Sqrt,
    "torch._sym_sqrt": ops.Sqrt,
}
"""Arithmetic of Python on numbers that the program takes out of tensors (`x.max().item() * 2`)."""


def _python(make: type[Operator]) -> Callable[[TorchNode], Tensor]:
    def handler(node: TorchNode) -> Tensor:
        values = cast("list[Operand]", list(node.values.values()))
        dtype = as_float(result_type(*values)) if make in (ops.Div, ops.Sqrt, ops.Exp) else result_type(*values)
        made = node(make(), *promoted(node, *values, to=dtype))
        return node.cast(made, node.result.dtype)

    return handler


for _name, _op in _PYTHON.items():
    FAMILY.add(_name, _python(_op))
