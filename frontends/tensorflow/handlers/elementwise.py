"""Arithmetic, comparison and logic by element. Broadcasting is NumPy's, as TensorFlow's."""

from __future__ import annotations

from uair.frontends.tensorflow.node import Family, Result, TfNode
from uair.frontends.tensorflow.values import Complex
from uair.ir.graph import Tensor
from uair.ops import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atan2,
    Atanh,
    BitShift,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Ceil,
    Clip,
    Concat,
    Cos,
    Cosh,
    Div,
    Equal,
    Erf,
    Exp,
    Expm1,
    Floor,
    Gather,
    Greater,
    GreaterEqual,
    IntDiv,
    IsInf,
    IsNaN,
    Less,
    LessEqual,
    Log,
    Log1p,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    NotEqual,
    Pow,
    Reciprocal,
    ReduceL2,
    Round,
    Rsqrt,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Sub,
    Tan,
    Unsqueeze,
    Where,
)  # fmt: skip
from uair.ops.base import Operator

FAMILY = Family()

_UNARY: dict[str, Operator] = {
    "Abs": Abs(), "Acos": Acos(), "Acosh": Acosh(), "Asin": Asin(), "Asinh": Asinh(), "Atan": Atan(),
    "Atanh": Atanh(), "Ceil": Ceil(), "Cos": Cos(), "Cosh": Cosh(), "Erf": Erf(), "Exp": Exp(), "Expm1": Expm1(),
    "Floor": Floor(), "Invert": BitwiseNot(), "IsInf": IsInf(), "IsNan": IsNaN(), "Log": Log(), "Log1p": Log1p(),
    "LogicalNot": LogicalNot(), "Neg": Neg(), "Reciprocal": Reciprocal(), "Inv": Reciprocal(), "Rint": Round(),
    "Rsqrt": Rsqrt(), "Sign": Sign(), "Sin": Sin(), "Sinh": Sinh(), "Sqrt": Sqrt(), "Tan": Tan(),
}  # fmt: skip
_BINARY: dict[str, Operator] = {
    "Add": Add(), "AddV2": Add(), "Atan2": Atan2(), "BitwiseAnd": BitwiseAnd(), "BitwiseOr": BitwiseOr(),
    "BitwiseXor": BitwiseXor(), "Equal": Equal(), "FloorMod": Mod(sign="divisor"), "Greater": Greater(),
    "GreaterEqual": GreaterEqual(), "LeftShift": BitShift(direction="left"), "Less": Less(),
    "LessEqual": LessEqual(), "LogicalAnd": LogicalAnd(), "LogicalOr": LogicalOr(), "Maximum": Maximum(),
    "Minimum": Minimum(), "Mod": Mod(sign="dividend"), "Mul": Mul(), "NotEqual": NotEqual(), "Pow": Pow(),
    "RealDiv": Div(), "RightShift": BitShift(direction="right"), "Sub": Sub(),
    "TruncateDiv": IntDiv(rounding="trunc"), "TruncateMod": Mod(sign="dividend"),
}  # fmt: skip


@FAMILY.op(*_UNARY)
def _unary(n: TfNode) -> Result:
    return n(_UNARY[n.op_type], n[0])


@FAMILY.op(*_BINARY)
def _binary(n: TfNode) -> Result:
    return n(_BINARY[n.op_type], n[0], n[1])


@FAMILY.op("Round")
def _round(n: TfNode) -> Result:
    """Halves go to the even neighbour; integers stay."""
    return n(Round(), n[0]) if n[0].type.dtype.is_float else n[0]


@FAMILY.op("Div")
def _div(n: TfNode) -> Result:
    """TensorFlow 1: quotients of integers are truncated."""
    return n(Div() if n[0].type.dtype.is_float else IntDiv(rounding="trunc"), n[0], n[1])


@FAMILY.op("FloorDiv")
def _floor_div(n: TfNode) -> Result:
    if n[0].type.dtype.is_float:
        return n(Floor(), n(Div(), n[0], n[1]))
    return n(IntDiv(rounding="floor"), n[0], n[1])


@FAMILY.op("AddN")
def _add_n(n: TfNode) -> Result:
    total, *rest = n.tensors()
    for x in rest:
        total = n(Add(), total, x)
    return total


@FAMILY.op("Square")
def _square(n: TfNode) -> Result:
    return n(Mul(), n[0], n[0])


@FAMILY.op("SquaredDifference")
def _squared_difference(n: TfNode) -> Result:
    difference = n(Sub(), n[0], n[1])
    return n(Mul(), difference, difference)


@FAMILY.op("Erfc")
def _erfc(n: TfNode) -> Result:
    """1 - erf(x)."""
    return n(Sub(), n.like(1, n[0]), n(Erf(), n[0]))


@FAMILY.op("IsFinite")
def _is_finite(n: TfNode) -> Result:
    return n(LogicalNot(), n(LogicalOr(), n(IsNaN(), n[0]), n(IsInf(), n[0])))


@FAMILY.op("ApproximateEqual")
def _approximate_equal(n: TfNode) -> Result:
    return n(Less(), n(Abs(), n(Sub(), n[0], n[1])), n.like(n.number("tolerance", 1e-5), n[0]))


def _zero_where(n: TfNode, zero: Tensor, result: Tensor) -> Tensor:
    """`result`, but 0 where an operand is 0."""
    return n(Where(), n(Equal(), zero, n.like(0, zero)), n.like(0, result), result)


@FAMILY.op("DivNoNan")
def _div_no_nan(n: TfNode) -> Result:
    return _zero_where(n, n[1], n(Div(), n[0], n[1]))


@FAMILY.op("MulNoNan")
def _mul_no_nan(n: TfNode) -> Result:
    return _zero_where(n, n[1], n(Mul(), n[0], n[1]))


@FAMILY.op("Xdivy")
def _xdivy(n: TfNode) -> Result:
    return _zero_where(n, n[0], n(Div(), n[0], n[1]))


@FAMILY.op("Xlogy", "Xlog1py")
def _xlogy(n: TfNode) -> Result:
    return _zero_where(n, n[0], n(Mul(), n[0], n(Log() if n.op_type == "Xlogy" else Log1p(), n[1])))


@FAMILY.op("ClipByValue")
def _clip(n: TfNode) -> Result:
    low, high = n.known(1), n.known(2)
    if low is not None and high is not None and low.size == high.size == 1 and n[0].type.dtype.is_float:
        return n(Clip(min=float(low.reshape(-1)[0]), max=float(high.reshape(-1)[0])), n[0])
    return n(Maximum(), n(Minimum(), n[0], n[2]), n[1])


@FAMILY.op("SelectV2")
def _select_v2(n: TfNode) -> Result:
    return n(Where(), n[0], n[1], n[2])


@FAMILY.op("Select")
def _select(n: TfNode) -> Result:
    """The condition is of the operands' shape, a scalar, or a list that selects along axis 0."""
    condition, rank = n[0], n.rank(n[1])
    if n.rank(condition) == 1 and rank > 1:
        condition = n.reshaped(condition, (n.extent(condition, 0), *(1,) * (rank - 1)))
    return n(Where(), condition, n[1], n[2])


@FAMILY.op("LogicalXor")
def _logical_xor(n: TfNode) -> Result:
    return n(LogicalXor(), n[0], n[1])


# ------------------------------------------------------------------------------------------------------ complex numbers
def complex_operand(n: TfNode, i: int) -> Complex:
    """Operand `i`, which must be complex.

    Raises:
        SourceOperatorError: it is not.
    """
    value = n.value(i)
    if not isinstance(value, Complex):
        n.refuse(f"operand {i} must be complex")
    return value


def part(n: TfNode, value: Complex, which: int) -> Tensor:
    """The real (0) or imaginary (1) part."""
    return n(Gather(axis=-1), value.parts, n.of(which))


@FAMILY.op("Real", "Imag")
def _real(n: TfNode) -> Result:
    if isinstance(n.value(0), Tensor) and n.op_type == "Real":
        return n[0]
    return part(n, complex_operand(n, 0), 0 if n.op_type == "Real" else 1)


@FAMILY.op("ComplexAbs")
def _complex_abs(n: TfNode) -> Result:
    return n(ReduceL2(axes=(-1,), keepdims=False), complex_operand(n, 0).parts)


@FAMILY.op("Angle")
def _angle(n: TfNode) -> Result:
    value = complex_operand(n, 0)
    return n(Atan2(), part(n, value, 1), part(n, value, 0))


@FAMILY.op("Conj")
def _conj(n: TfNode) -> Result:
    value = n.value(0)
    if isinstance(value, Tensor):
        return value
    parts = complex_operand(n, 0).parts
    return Complex(n(Mul(), parts, n.of([1, -1], parts.type.dtype)))


@FAMILY.op("Complex")
def _complex(n: TfNode) -> Result:
    zero = n(Mul(), n(Add(), n[0], n[1]), n.like(0, n[0]))  # of the shape that both broadcast to
    both = [n(Unsqueeze(axes=(-1,)), n(Add(), x, zero)) for x in (n[0], n[1])]
    return Complex(n(Concat(axis=-1), *both))
