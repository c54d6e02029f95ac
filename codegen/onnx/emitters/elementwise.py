"""Arithmetic element by element."""

from __future__ import annotations

import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ops._compute import finite_range
from uair.ops.elementwise import (
    Abs,
    Acos,
    Acosh,
    Add,
    Asin,
    Asinh,
    Atan,
    Atanh,
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
    Erf,
    Exp,
    Floor,
    Identity,
    IntDiv,
    Log,
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
    Where,
)

EMITTERS = Emitters()
EMITTERS.direct({cls: cls.__name__ for cls in (
    Abs, Acos, Acosh, Add, Asin, Asinh, Atan, Atanh, Ceil, Cos, Cosh, Div, Erf, Exp, Floor, Identity, Log, Mul,
    Reciprocal, Round, Sign, Sin, Sinh, Sqrt, Sub, Tan, Where,
)})  # fmt: skip
EMITTERS.direct({cls: cls.__name__ for cls in (BitwiseAnd, BitwiseNot, BitwiseOr, BitwiseXor)}, since=18)


@EMITTERS.of(Neg)
def neg(e: Emission, op: Neg) -> None:
    """ONNX negates signed types only."""
    dtype = e.type().dtype
    if dtype.is_integer and not dtype.is_signed:
        e.result("Sub", e.literal(0, dtype), e.x())
    else:
        e.result("Neg", e.x())


@EMITTERS.of(IntDiv)
def int_div(e: Emission, op: IntDiv) -> None:
    """ONNX Div of integers truncates."""
    if op.rounding == "floor":
        raise NotExpressible("ONNX divides integers with truncation only")
    divide_guarded(e, "Div")


@EMITTERS.of(Mod)
def mod(e: Emission, op: Mod) -> None:
    """ONNX Mod has the divisor's sign for integers only; fmod has the dividend's, for all types."""
    if e.type().dtype.is_integer:
        divide_guarded(e, "Mod", fmod=int(op.sign == "dividend"))
    elif op.sign == "dividend":
        e.result("Mod", e.x(0), e.x(1), fmod=1)
    else:
        float_mod(e)


def float_mod(e: Emission) -> None:
    """r = fmod(a, b), plus b where r is not zero and has not the sign of b."""
    a, b, dtype = e.x(0), e.x(1), e.type().dtype
    flag = e.y.with_dtype(DType.BOOL)
    zero = e.literal(0, dtype)
    r = e.op("Mod", a, b, type=e.y, fmod=1)
    signs = e.op("Xor", e.op("Less", r, zero, type=flag), e.op("Less", b, zero, type=e.type(1).with_dtype(DType.BOOL)), type=flag)
    nonzero = e.op("Not", e.op("Equal", r, zero, type=flag), type=flag)
    e.result("Where", e.op("And", nonzero, signs, type=flag), e.op("Add", r, b, type=e.y), r)


def divide_guarded(e: Emission, op_type: str, **attributes: int) -> None:
    """Integer division, 0 where the divisor is 0: ONNX leaves that open, and onnxruntime ends the process."""
    divisor = e.constant(1)
    if divisor is not None and np.all(divisor != 0):
        e.result(op_type, e.x(0), e.x(1), **attributes)
        return
    dtype = e.type().dtype
    zero = e.op("Equal", e.x(1), e.literal(0, dtype), type=e.type(1).with_dtype(DType.BOOL))
    safe = e.op("Where", zero, e.literal(1, dtype), e.x(1), type=e.type(1))
    e.result("Where", zero, e.literal(0, dtype), e.op(op_type, e.x(0), safe, type=e.y, **attributes))


@EMITTERS.of(Pow)
def pow_(e: Emission, op: Pow) -> None:
    """Before opset 12 both operands are floats of one type."""
    a, b, dtype = e.x(0), e.x(1), e.type().dtype
    if e.opset >= 12:
        e.result("Pow", a, b)
    elif dtype.is_float:
        e.result("Pow", a, e.cast(b, dtype))
    else:
        wide = e.y.with_dtype(DType.F64)
        e.result("Cast", e.op("Pow", e.cast(a, DType.F64), e.cast(b, DType.F64), type=wide), to=dtype)


@EMITTERS.of(Maximum, Minimum)
def extreme(e: Emission, op: Maximum | Minimum) -> None:
    """Max and Min; before opset 12 they take floats only, and no float holds every i64."""
    larger = isinstance(op, Maximum)
    if e.opset < 12 and e.type().dtype.is_integer:
        first = e.op("Greater" if larger else "Less", e.x(0), e.x(1), type=e.y.with_dtype(DType.BOOL))
        e.result("Where", first, e.x(0), e.x(1))
    else:
        e.result("Max" if larger else "Min", e.x(0), e.x(1))


@EMITTERS.of(Clip)
def clip(e: Emission, op: Clip) -> None:
    """Bounds are operands from opset 11 on; integers are clipped from opset 12 on, before that by comparison."""
    dtype = e.type().dtype
    least, greatest = finite_range(dtype)
    low = None if op.min is None else e.graph.literal(Clip(min=op.min).evaluate(np.array(least, dtype.numpy)))
    high = None if op.max is None else e.graph.literal(Clip(max=op.max).evaluate(np.array(greatest, dtype.numpy)))
    if low is None and high is None:
        e.result("Identity", e.x())
    elif e.opset >= 12 or not dtype.is_integer:
        e.result("Clip", e.x(), low, high)
    else:
        clip_by_comparison(e, low, high)


def clip_by_comparison(e: Emission, low: str | None, high: str | None) -> None:
    """Where(x < low, low, x), then Where(x > high, high, x)."""
    x, flag = e.x(), e.y.with_dtype(DType.BOOL)
    if low is not None:
        below = e.op("Less", x, low, type=flag)
        if high is None:
            e.result("Where", below, low, x)
            return
        x = e.op("Where", below, low, x, type=e.y)
    assert high is not None
    e.result("Where", e.op("Greater", x, high, type=flag), high, x)


@EMITTERS.of(Cast)
def cast(e: Emission, op: Cast) -> None:
    """`saturate` exists from opset 19 on, with the float8 types that it is about."""
    small = op.to.is_float and op.to.bits <= 8
    e.result("Cast", e.x(), to=op.to, saturate=int(op.saturate) if small and e.opset >= 19 else None)


@EMITTERS.of(BitShift)
def bit_shift(e: Emission, op: BitShift) -> None:
    """ONNX shifts unsigned integers, and leaves open what a shift by the width or more gives."""
    dtype = e.type().dtype
    if dtype.is_signed:
        raise NotExpressible("ONNX shifts unsigned integers only")
    shift = e.constant(1)
    if shift is not None and np.all(shift.astype(np.uint64) < dtype.bits):
        e.result("BitShift", e.x(0), e.x(1), direction=op.direction.upper())
        return
    far = e.op("Less", e.x(1), e.literal(dtype.bits, dtype), type=e.type(1).with_dtype(DType.BOOL))
    near = e.op("Where", far, e.x(1), e.literal(0, dtype), type=e.type(1))
    shifted = e.op("BitShift", e.x(0), near, type=e.y, direction=op.direction.upper())
    e.result("Where", far, shifted, e.literal(0, dtype))
