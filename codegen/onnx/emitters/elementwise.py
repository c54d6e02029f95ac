"""Arithmetic element by element."""

from __future__ import annotations

import numpy as np

from uair.codegen.onnx.schema import NotExpressible
from uair.codegen.onnx.table import Emitters
from uair.codegen.onnx.writer import Emission
from uair.ir.dtype import DType
from uair.ir.types import TensorType
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
    Reciprocal, Round, Sign, Sin, Sinh, Sqrt, Sub, Tan,
)})  # fmt: skip


@EMITTERS.of(Where)
def where(e: Emission, op: Where) -> None:
    """A choice of bool is written as logic: onnxruntime's Where has no kernel for it."""
    if e.type(1).dtype is not DType.BOOL:
        e.result("Where", *e.operands)
        return
    chosen = e.op("And", e.x(0), e.x(1), type=e.y)
    other = e.op("And", e.op("Not", e.x(0)), e.x(2), type=e.y)
    e.result("Or", chosen, other)


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
    """The remainder r = fmod(a, b), plus b where r is not zero and has not the sign of b."""
    a, b, dtype = e.x(0), e.x(1), e.type().dtype
    flag = e.y.with_dtype(DType.BOOL)
    zero = e.literal(0, dtype)
    r = e.op("Mod", a, b, type=e.y, fmod=1)
    below = e.op("Less", b, zero, type=e.type(1).with_dtype(DType.BOOL))
    signs = e.op("Xor", e.op("Less", r, zero, type=flag), below, type=flag)
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


@EMITTERS.of(BitShift)
def bit_shift(e: Emission, op: BitShift) -> None:
    """ONNX shifts unsigned integers, and leaves open what a shift by the width or more gives."""
    dtype = e.type().dtype
    limit = dtype.bits - 1 if dtype.is_signed else dtype.bits
    shift, constant = e.x(1), e.constant(1)
    if constant is not None and np.all((constant >= 0) & (constant < limit)):
        shifted(e, op, shift, None)
        return
    flag = e.type(1).with_dtype(DType.BOOL)
    near = e.op("Less", shift, e.literal(limit, dtype), type=flag)
    if dtype.is_signed:  # a negative shift counts as a far one
        near = e.op("And", near, e.op("Less", e.literal(-1, dtype), shift, type=flag))
    safe = e.op("Where", near, shift, e.literal(0, dtype), type=e.type(1))
    shifted(e, op, safe, near)


def shifted(e: Emission, op: BitShift, shift: str, near: str | None) -> None:
    """The shift where `near` (everywhere when None); what a far shift gives elsewhere."""
    dtype = e.type().dtype
    if not dtype.is_signed:
        if near is None:
            e.result("BitShift", e.x(0), shift, direction=op.direction.upper())
        else:
            value = e.op("BitShift", e.x(0), shift, type=e.y, direction=op.direction.upper())
            e.result("Where", near, value, e.literal(0, dtype))
        return
    wide = e.y.with_dtype(DType.I64)
    factor = e.cast(
        e.op("BitShift", e.literal(1, DType.U64), e.cast(shift, DType.U64),
             type=e.type(1).with_dtype(DType.U64), direction="LEFT"),
        DType.I64,
    )  # fmt: skip
    value = e.cast(e.x(0), DType.I64)
    if op.direction == "left":
        result, far = e.op("Mul", value, factor, type=wide), last_bit(e, op, wide)
    else:
        whole = e.op("Sub", value, e.op("Mod", value, factor, type=wide, fmod=0), type=wide)
        result, far = e.op("Div", whole, factor, type=wide), last_bit(e, op, wide)
    e.result("Cast", result if near is None else e.op("Where", near, result, far, type=wide), to=dtype)


def last_bit(e: Emission, op: BitShift, wide: TensorType) -> str:
    """A signed number shifted by its width - 1 or more: left the lowest bit at the top or 0, right 0 or -1."""
    dtype, value = e.type().dtype, e.cast(e.x(0), DType.I64)
    zero = e.literal(0, DType.I64)
    if op.direction == "right":
        negative = e.op("Less", value, zero, type=e.type().with_dtype(DType.BOOL))
        return e.op("Where", negative, e.literal(-1, DType.I64), zero, type=wide)
    top = e.op("Mul", value, e.literal(dtype.range[0], DType.I64), type=wide)
    edge = e.op("Equal", e.x(1), e.literal(dtype.bits - 1, dtype), type=e.type(1).with_dtype(DType.BOOL))
    return e.op("Where", edge, top, zero, type=wide)


@EMITTERS.of(BitwiseNot)
def bitwise_not(e: Emission, op: BitwiseNot) -> None:
    """Before opset 18: -1 - x for signed integers, the greatest number - x for unsigned ones."""
    dtype = e.type().dtype
    if e.opset >= 18:
        e.result("BitwiseNot", e.x())
    else:
        e.result("Sub", e.literal(-1 if dtype.is_signed else dtype.range[1], dtype), e.x())


@EMITTERS.of(BitwiseAnd, BitwiseOr, BitwiseXor)
def bitwise(e: Emission, op: BitwiseAnd | BitwiseOr | BitwiseXor) -> None:
    """Before opset 18 bit by bit, along an axis added for the bits."""
    if e.opset >= 18:
        e.result(op.op_type, *e.operands)
        return
    a, b = bits(e, 0), bits(e, 1)
    planes = TensorType(DType.I64, (*e.y.dims, 64))
    if isinstance(op, BitwiseAnd):
        joined = e.op("Mul", a, b, type=planes)
    else:
        joined = e.op("Add", a, b, type=planes)
        if isinstance(op, BitwiseXor):
            joined = e.op("Mod", joined, e.literal(2, DType.I64), fmod=0)
        else:
            joined = e.op("Sub", joined, e.op("Mul", a, b, type=planes))
    weights = e.graph.literal((np.uint64(1) << np.arange(64, dtype=np.uint64)).view(np.int64))
    total = e.op("MatMul", joined, weights, type=e.y.with_dtype(DType.I64))  # ReduceSum may add up i64 as f64
    e.result("Cast", total, to=e.type().dtype)


def bits(e: Emission, i: int) -> str:
    """The 64 bits of operand `i` as an i64, lowest first: floor(x / 2^k) mod 2, where 2^63 = 2^62 * 2."""
    powers = np.int64(1) << np.minimum(np.arange(64), 62)
    rest = np.where(np.arange(64) == 63, 2, 1)
    x = e.cast(e.x(i), DType.I64)
    type = TensorType(DType.I64, (*e.shape(i), 64))
    x = e.unsqueeze(x, (len(e.shape(i)),))
    for divisor in (powers, rest):
        literal = e.graph.literal(divisor)
        x = e.op("Div", e.op("Sub", x, e.op("Mod", x, literal, type=type, fmod=0), type=type), literal, type=type)
    return e.op("Mod", x, e.literal(2, DType.I64), fmod=0)
