"""Arithmetic, element by element. Quantized operands are dequantized, the result is quantized again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from uair.frontends.tflite.handlers.signal import part
from uair.frontends.tflite.litert import is_asked_for, total
from uair.frontends.tflite.node import Complex, Family, Result, TfliteNode
from uair.ir.dtype import DType
from uair.ops import (
    Abs,
    Add,
    Atan2,
    BitCast,
    BitShift,
    BitwiseAnd,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Ceil,
    Cos,
    Div,
    Exp,
    Floor,
    IntDiv,
    Log,
    LogicalAnd,
    LogicalOr,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Round,
    Rsqrt,
    Sign,
    Sin,
    Sqrt,
    Sub,
)
from uair.ops.base import Operator

FAMILY = Family()

_UNARY: dict[str, Callable[[], Operator]] = {
    "ABS": Abs,
    "CEIL": Ceil,
    "COS": Cos,
    "EXP": Exp,
    "FLOOR": Floor,
    "LOG": Log,
    "NEG": Neg,
    "ROUND": Round,
    "RSQRT": Rsqrt,
    "SIGN": Sign,
    "SIN": Sin,
    "SQRT": Sqrt,
    "STABLEHLO_ABS": Abs,
    "STABLEHLO_COSINE": Cos,
    "STABLEHLO_EXPONENTIAL": Exp,
    "STABLEHLO_FLOOR": Floor,
    "STABLEHLO_LOG": Log,
    "STABLEHLO_NEGATE": Neg,
    "STABLEHLO_RSQRT": Rsqrt,
}
_BINARY: dict[str, Callable[[], Operator]] = {
    "ATAN2": Atan2,
    "MAXIMUM": Maximum,
    "MINIMUM": Minimum,
    "POW": Pow,
    "STABLEHLO_ADD": Add,
    "STABLEHLO_MAXIMUM": Maximum,
    "STABLEHLO_MINIMUM": Minimum,
    "STABLEHLO_MULTIPLY": Mul,
    "STABLEHLO_POWER": Pow,
    "STABLEHLO_SUBTRACT": Sub,
}
_FUSED: dict[str, Callable[[], Operator]] = {"ADD": Add, "SUB": Sub, "MUL": Mul}


def _unary(n: TfliteNode, make: Callable[[], Operator]) -> Result:
    return n(make(), n[0])


def _binary(n: TfliteNode, make: Callable[[], Operator]) -> Result:
    return n(make(), n[0], n[1])


def _fused(n: TfliteNode, make: Callable[[], Operator]) -> Result:
    if is_asked_for(n) and n.op_type != "MUL":
        whole = total(n, 1 if n.op_type == "ADD" else -1)
        if whole is not None:
            return whole
    return n.activated(n(make(), n[0], n[1]))


for _handler, _table in ((_unary, _UNARY), (_binary, _BINARY), (_fused, _FUSED)):
    for _name, _make in _table.items():
        FAMILY.add(_name, partial(_handler, make=_make))


@FAMILY.op("DIV")
def _div(n: TfliteNode) -> Result:
    """Integers are divided towards zero."""
    op = IntDiv(rounding="trunc") if n[0].type.dtype.is_integer else Div()
    return n.activated(n(op, n[0], n[1]))


@FAMILY.op("STABLEHLO_DIVIDE")
def _hlo_div(n: TfliteNode) -> Result:
    return n(IntDiv(rounding="trunc") if n[0].type.dtype.is_integer else Div(), n[0], n[1])


@FAMILY.op("FLOOR_DIV")
def _floor_div(n: TfliteNode) -> Result:
    if n[0].type.dtype.is_integer:
        return n(IntDiv(rounding="floor"), n[0], n[1])
    return n(Floor(), n(Div(), n[0], n[1]))


@FAMILY.op("FLOOR_MOD")
def _floor_mod(n: TfliteNode) -> Result:
    return n(Mod(sign="divisor"), n[0], n[1])


@FAMILY.op("STABLEHLO_REMAINDER")
def _remainder(n: TfliteNode) -> Result:
    return n(Mod(sign="dividend"), n[0], n[1])


@FAMILY.op("SQUARE")
def _square(n: TfliteNode) -> Result:
    return n(Mul(), n[0], n[0])


@FAMILY.op("SQUARED_DIFFERENCE")
def _squared_difference(n: TfliteNode) -> Result:
    difference = n(Sub(), n[0], n[1])
    return n(Mul(), difference, difference)


@FAMILY.op("ADD_N")
def _add_n(n: TfliteNode) -> Result:
    first, *rest = n.operands
    for x in rest:
        first = n(Add(), first, x)
    return first


@FAMILY.op("BITWISE_XOR")
def _xor(n: TfliteNode) -> Result:
    return n(BitwiseXor(), n.raw(0), n.raw(1))


@FAMILY.op("STABLEHLO_AND")
def _and(n: TfliteNode) -> Result:
    return n(LogicalAnd() if n.raw(0).type.dtype is DType.BOOL else BitwiseAnd(), n.raw(0), n.raw(1))


@FAMILY.op("STABLEHLO_OR")
def _or(n: TfliteNode) -> Result:
    return n(LogicalOr() if n.raw(0).type.dtype is DType.BOOL else BitwiseOr(), n.raw(0), n.raw(1))


@FAMILY.op("RIGHT_SHIFT")
def _right_shift(n: TfliteNode) -> Result:
    return n(BitShift(direction="right"), n.raw(0), n.raw(1))


@FAMILY.op("STABLEHLO_SHIFT_LEFT")
def _left_shift(n: TfliteNode) -> Result:
    return n(BitShift(direction="left"), n.raw(0), n.raw(1))


@FAMILY.op("STABLEHLO_CBRT")
def _cbrt(n: TfliteNode) -> Result:
    """The cube root keeps the sign of its operand."""
    x = n[0]
    root = n(Pow(), n(Abs(), x), n.like(1 / 3, x))
    return n(Mul(), n(Sign(), x), root)


@FAMILY.op("CAST", "STABLEHLO_CONVERT")
def _cast(n: TfliteNode) -> Result:
    """The declared type of the result counts; complex numbers lose their imaginary part."""
    dtype = n.result_info().dtype
    if dtype is None:
        n.refuse(f"{n.result_info().name!r} is declared as a handle")
    return n(Cast(to=dtype), part(n, 0) if isinstance(n.value(0), Complex) else n.raw(0))


@FAMILY.op("BITCAST")
def _bitcast(n: TfliteNode) -> Result:
    dtype = n.result_info().dtype
    if dtype is None or dtype.bits != n.raw(0).type.dtype.bits:
        n.refuse(f"the bits of {n.raw(0).type} as {dtype}")
    return n(BitCast(to=dtype), n.raw(0))
