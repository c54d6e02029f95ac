"""Element by element: arithmetic, comparison, logic, conversion.

Versions 1 and 6 of the binary operators broadcast by the attributes `broadcast` and `axis`; since 7 NumPy's rules hold.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Literal

from uair.frontends.onnx.handlers.shape import aligned
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Handler, Result
from uair.frontends.onnx.tensors import dtype_of
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
    BitCast,
    BitShift,
    BitwiseAnd,
    BitwiseNot,
    BitwiseOr,
    BitwiseXor,
    Cast,
    Ceil,
    Clip,
    Cos,
    Cosh,
    Div,
    Equal,
    Erf,
    Exp,
    Floor,
    Greater,
    GreaterEqual,
    Identity,
    IntDiv,
    IsInf,
    IsNaN,
    Less,
    LessEqual,
    Log,
    LogicalAnd,
    LogicalNot,
    LogicalOr,
    LogicalXor,
    Maximum,
    Minimum,
    Mod,
    Mul,
    Neg,
    Pow,
    Reciprocal,
    Round,
    Sign,
    Sin,
    Sinh,
    Sqrt,
    Sub,
    Tan,
    Tanh,
    Where,
)
from uair.ops.base import Operator

FAMILY = Family()

_ROUND_MODES: dict[str, Literal["up", "down", "nearest"]] = {"up": "up", "down": "down", "nearest": "nearest"}

_EXACT_INTEGERS = 1 << 53
"""Integers up to here are exact as attributes of type float."""

_UNARY: dict[str, tuple[type[Operator], tuple[int, ...]]] = {
    "Abs": (Abs, (1, 6, 13)),
    "Acos": (Acos, (7, 22)),
    "Acosh": (Acosh, (9, 22)),
    "Asin": (Asin, (7, 22)),
    "Asinh": (Asinh, (9, 22)),
    "Atan": (Atan, (7, 22)),
    "Atanh": (Atanh, (9, 22)),
    "BitwiseNot": (BitwiseNot, (18,)),
    "Ceil": (Ceil, (1, 6, 13)),
    "Cos": (Cos, (7, 22)),
    "Cosh": (Cosh, (9, 22)),
    "Erf": (Erf, (9, 13)),
    "Exp": (Exp, (1, 6, 13)),
    "Floor": (Floor, (1, 6, 13)),
    "Identity": (Identity, (1, 13, 14, 16, 19, 21, 23, 24, 25)),
    "IsNaN": (IsNaN, (9, 13, 20)),
    "Log": (Log, (1, 6, 13)),
    "Neg": (Neg, (1, 6, 13)),
    "Not": (LogicalNot, (1,)),
    "Reciprocal": (Reciprocal, (1, 6, 13)),
    "Round": (Round, (11, 22)),
    "Sign": (Sign, (9, 13)),
    "Sin": (Sin, (7, 22)),
    "Sinh": (Sinh, (9, 22)),
    "Sqrt": (Sqrt, (1, 6, 13)),
    "Tan": (Tan, (7, 22)),
    "Tanh": (Tanh, (1, 6, 13)),
}

_BINARY: dict[str, tuple[type[Operator], tuple[int, ...]]] = {
    "Add": (Add, (1, 6, 7, 13, 14)),
    "And": (LogicalAnd, (1, 7)),
    "BitwiseAnd": (BitwiseAnd, (18,)),
    "BitwiseOr": (BitwiseOr, (18,)),
    "BitwiseXor": (BitwiseXor, (18,)),
    "Equal": (Equal, (1, 7, 11, 13, 19)),
    "Greater": (Greater, (1, 7, 9, 13)),
    "GreaterOrEqual": (GreaterEqual, (12, 16)),
    "Less": (Less, (1, 7, 9, 13)),
    "LessOrEqual": (LessEqual, (12, 16)),
    "Mul": (Mul, (1, 6, 7, 13, 14)),
    "Or": (LogicalOr, (1, 7)),
    "Pow": (Pow, (1, 7, 12, 13, 15)),
    "Sub": (Sub, (1, 6, 7, 13, 14)),
    "Xor": (LogicalXor, (1, 7)),
}


def _unary(operator: type[Operator]) -> Handler:
    op = operator()
    return lambda n: n(op, n[0])


def operands(n: OnnxNode) -> tuple[Tensor, Tensor]:
    """The two operands of a binary operator, aligned as NumPy broadcasting wants."""
    a, b = n[0], n[1]
    if n.version < 7 and n.attributes.flag("broadcast"):
        b = aligned(n, b, n.rank(a), n.attributes.integer("axis", None))
    return a, b


def _binary(operator: type[Operator]) -> Handler:
    op = operator()
    return lambda n: n(op, *operands(n))


for _name, (_operator, _versions) in _UNARY.items():
    FAMILY.add(_name, _versions, _unary(_operator))
for _name, (_operator, _versions) in _BINARY.items():
    FAMILY.add(_name, _versions, _binary(_operator))


@FAMILY.op("Div", 1, 6, 7, 13, 14)
def _div(n: OnnxNode) -> Result:
    a, b = operands(n)
    return n(IntDiv(rounding="trunc") if a.type.dtype.is_integer else Div(), a, b)


@FAMILY.op("Mod", 10, 13, 28)
def _mod(n: OnnxNode) -> Result:
    return n(Mod(sign="dividend" if n.attributes.flag("fmod") else "divisor"), n[0], n[1])


@FAMILY.op("BitShift", 11, 28)
def _bit_shift(n: OnnxNode) -> Result:
    n.attributes.required("direction")
    direction = n.attributes.choice("direction", "", {"LEFT": "left", "RIGHT": "right"})
    return n(BitShift(direction="left" if direction == "left" else "right"), n[0], n[1])


def _variadic(operator: type[Operator]) -> Callable[[OnnxNode], Tensor]:
    def handler(n: OnnxNode) -> Tensor:
        first, *rest = n.present()
        return reduce(lambda a, b: n(operator(), a, b), rest, first) if rest else n(Identity(), first)

    return handler


FAMILY.add("Sum", (1, 6, 8, 13), _variadic(Add))
FAMILY.add("Max", (1, 6, 8, 12, 13), _variadic(Maximum))
FAMILY.add("Min", (1, 6, 8, 12, 13), _variadic(Minimum))


@FAMILY.op("Mean", 1, 6, 8, 13)
def _mean(n: OnnxNode) -> Result:
    total = _variadic(Add)(n)
    count = len(n.present())
    return n(Div(), total, n.like(count, total)) if count > 1 else total


@FAMILY.op("IsInf", 10, 20)
def _is_inf(n: OnnxNode) -> Result:
    positive, negative = (n.attributes.flag(f"detect_{sign}", True) for sign in ("positive", "negative"))
    return n(IsInf(detect_positive=positive, detect_negative=negative), n[0])


@FAMILY.op("Where", 9, 16)
def _where(n: OnnxNode) -> Result:
    return n(Where(), n[0], n[1], n[2])


# ----------------------------------------------------------------------- conversion
@FAMILY.op("Cast", 1, 6, 9, 13, 19, 21, 23, 24, 25, 28)
def _cast(n: OnnxNode) -> Result:
    """Version 1 names the type; `saturate` (19) and `round_mode` (24) concern narrow floating-point types."""
    n.attributes.required("to")
    if n.version == 1:
        name = n.attributes.text("to", "").upper()
        from onnx import TensorProto

        if name not in TensorProto.DataType.keys():
            n.refuse(f"attribute 'to' is {name!r}, which is no element type")
        to = dtype_of(TensorProto.DataType.Value(name), n.place)
    else:
        to = dtype_of(n.attributes.integer("to", 0), n.place)
    return _converted(n, to)


@FAMILY.op("CastLike", 15, 19, 21, 23, 24, 25)
def _cast_like(n: OnnxNode) -> Result:
    return _converted(n, n[1].type.dtype)


def _converted(n: OnnxNode, to: DType) -> Tensor:
    mode = n.attributes.choice("round_mode", _ROUND_MODES["up"], _ROUND_MODES)
    return n(Cast(to=to, saturate=n.attributes.flag("saturate", True), round_mode=mode), n[0])


@FAMILY.op("BitCast", 26)
def _bit_cast(n: OnnxNode) -> Result:
    n.attributes.required("to")
    return n(BitCast(to=dtype_of(n.attributes.integer("to", 0), n.place)), n[0])


# ---------------------------------------------------------------------------- Clip
@FAMILY.op("Clip", 1, 6)
def _clip_attributes(n: OnnxNode) -> Result:
    return n(Clip(min=n.attributes.number("min", None), max=n.attributes.number("max", None)), n[0])


@FAMILY.op("Clip", 11, 12, 13)
def _clip(n: OnnxNode) -> Result:
    """The bounds are operands: attributes when known, else Maximum and Minimum."""
    low, high = n.optional(1), n.optional(2)
    bounds = [None if t is None else n.scalar(i) for i, t in ((1, low), (2, high))]
    for given, bound in zip((low, high), bounds, strict=True):
        if given is not None and (bound is None or (given.type.dtype.is_integer and abs(bound) > _EXACT_INTEGERS)):
            break
    else:
        return n(Clip(min=bounds[0], max=bounds[1]), n[0])
    result = n[0]
    if low is not None:
        result = n(Maximum(), result, low)
    return n(Minimum(), result, high) if high is not None else result
