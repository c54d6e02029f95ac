"""Arithmetic element by element.

Binary operators broadcast as NumPy does and take operands of one element type: conversions are Cast nodes. Types
narrower than f32 are computed in f32 and rounded once, integers wrap around. Floating-point exceptions give infinities
and NaN.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from uair.ir import dims
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType
from uair.ops import _symbolic
from uair.ops._cast import cast
from uair.ops._compute import (
    BOOLS,
    COMPLEX,
    FLOATS,
    INTEGERS,
    NUMBERS,
    REALS,
    broadcast,
    clipped,
    compute,
    require_dtype,
    scalar,
)
from uair.ops._erf import erf
from uair.ops._precision import magnitude
from uair.ops.base import Operator, Sample, bad, case, operator, same_dtype
from uair.ops.conversion import Cast as Cast  # noqa: PLC0414  exported: it was defined here

FAMILY = "elementwise"


# -------------------------------------------------------------------------- bases
class Unary(Operator):
    """One operand; the result has its type."""

    elementwise = True
    allowed: ClassVar[frozenset[DType]] = FLOATS

    def compute(self, x: Array) -> Any:
        """The result in the working type."""
        raise NotImplementedError

    def infer(self, x: TensorType) -> TensorType:
        require_dtype(x, self.allowed, "x")
        return TensorType(x.dtype, x.shape)

    def evaluate(self, x: Array) -> Array:
        return compute(self.compute, x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from (case(cls(), f"f32{s}") for s in ("[2,3]", "[]", "[0,3]"))
        yield from (case(cls(), f"{d}[5]") for d in ("f16", "bf16", "f64"))
        yield case(cls(), np.array([0.0, -0.0, 0.5, -1.5, np.inf, -np.inf, np.nan, 1e-6], np.float32))
        if DType.I32 in cls.allowed:
            yield case(cls(), np.array([-(2**31), -7, 0, 5], np.int32))
            yield case(cls(), "i8[4]")
            yield case(cls(), "i4[4]")
        else:
            yield bad(cls(), "i32[2]", because="x must be floating-point")
        yield bad(cls(), "bool[2]", because="x must be")


class Binary(Operator):
    """Two operands of one element type, broadcast; the result has that type."""

    elementwise = True
    allowed: ClassVar[frozenset[DType]] = REALS

    def compute(self, a: Array, b: Array) -> Any:
        """The result in the working type."""
        raise NotImplementedError

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_dtype(a, self.allowed, "a")
        return broadcast(same_dtype(a=a, b=b), a, b)

    def evaluate(self, a: Array, b: Array) -> Array:
        return compute(self.compute, a, b)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        kinds = [k for k in ("f32", "f16", "bf16", "i32", "u8", "i64", "i4") if DType(k) in cls.allowed]
        first = kinds[0]
        yield case(cls(), f"{first}[2,3]", f"{first}[2,3]")
        yield case(cls(), f"{first}[2,1,4]", f"{first}[3,1]")
        yield case(cls(), f"{first}[]", f"{first}[2]")
        yield case(cls(), f"{first}[0,3]", f"{first}[1]")
        yield from (case(cls(), f"{k}[4]", f"{k}[4]") for k in kinds[1:])
        yield bad(cls(), f"{first}[2,3]", f"{first}[4]", because="do not broadcast")
        yield bad(cls(), f"{first}[2]", "i16[2]", because="b is i16")
        yield bad(cls(), "string[2]", "string[2]", because="a must be")


class SizeBinary(Binary):
    """A binary operator that shape computations use."""

    shape_arithmetic = True

    def size(self, a: Any, b: Any) -> Any:
        """The result for two sizes."""
        raise NotImplementedError

    def evaluate(self, a: Array, b: Array) -> Array:
        return _symbolic.elementwise(self.size, a, b) if _symbolic.is_symbolic(a, b) else super().evaluate(a, b)


# -------------------------------------------------------------------------- unary
@operator(inputs="x", family=FAMILY)
class Abs(Unary):
    """|x|. The least integer of a signed type stays itself (it has no positive twin)."""

    allowed = REALS

    def compute(self, x: Array) -> Any:
        return np.abs(x)


@operator(inputs="x", family=FAMILY)
class Neg(Unary):
    """-x; wraps around on integers."""

    allowed = NUMBERS
    shape_arithmetic = True

    def compute(self, x: Array) -> Any:
        return np.negative(x)

    def evaluate(self, x: Array) -> Array:
        return _symbolic.elementwise(_symbolic.negative, x) if _symbolic.is_symbolic(x) else super().evaluate(x)


@operator(inputs="x", family=FAMILY)
class Sign(Unary):
    """-1, 0 or 1 by the sign of x; NaN for NaN."""

    allowed = REALS

    def compute(self, x: Array) -> Any:
        return np.sign(x)


@operator(inputs="x", family=FAMILY)
class Ceil(Unary):
    """The least whole number >= x."""

    def compute(self, x: Array) -> Any:
        return np.ceil(x)


@operator(inputs="x", family=FAMILY)
class Floor(Unary):
    """The greatest whole number <= x."""

    def compute(self, x: Array) -> Any:
        return np.floor(x)


@operator(inputs="x", family=FAMILY)
class Round(Unary):
    """The nearest whole number, halves to the even one: 0.5 -> 0, 1.5 -> 2, 2.5 -> 2 (ONNX, PyTorch and TensorFlow)."""

    def compute(self, x: Array) -> Any:
        return np.rint(x)


@operator(inputs="x", family=FAMILY)
class Trunc(Unary):
    """x without its fraction: rounded towards 0."""

    def compute(self, x: Array) -> Any:
        return np.trunc(x)

    def decompose(self, x: Tensor) -> Tensor:
        from uair.ops.comparison import Less

        return Where()(Less()(x, scalar(0, x)), Ceil()(x), Floor()(x))


@operator(inputs="x", family=FAMILY)
class Sqrt(Unary):
    """The square root; NaN below 0."""

    def compute(self, x: Array) -> Any:
        return np.sqrt(x)


@operator(inputs="x", family=FAMILY)
class Rsqrt(Unary):
    """1 / sqrt(x); infinite at 0, NaN below."""

    def compute(self, x: Array) -> Any:
        return 1 / np.sqrt(x)

    def decompose(self, x: Tensor) -> Tensor:
        return Reciprocal()(Sqrt()(x))


@operator(inputs="x", family=FAMILY)
class Reciprocal(Unary):
    """1 / x."""

    def compute(self, x: Array) -> Any:
        return np.reciprocal(x)


@operator(inputs="x", family=FAMILY)
class Exp(Unary):
    """e to the power x."""

    def compute(self, x: Array) -> Any:
        return np.exp(x)


@operator(inputs="x", family=FAMILY)
class Expm1(Unary):
    """exp(x) - 1 without cancellation near 0.

    Decomposed with exp(x) - 1 = 2 t / (1 - t), t = tanh(x / 2), which is accurate for small x.
    """

    def compute(self, x: Array) -> Any:
        return np.expm1(x)

    def decompose(self, x: Tensor) -> Tensor:
        from uair.ops.activation import Tanh
        from uair.ops.comparison import Less

        t = Tanh()(Mul()(x, scalar(0.5, x)))
        near = Div()(Mul()(t, scalar(2, x)), Sub()(scalar(1, x), t))
        return Where()(Less()(Abs()(x), scalar(1, x)), near, Sub()(Exp()(x), scalar(1, x)))


@operator(inputs="x", family=FAMILY)
class Log(Unary):
    """The natural logarithm; minus infinity at 0, NaN below."""

    def compute(self, x: Array) -> Any:
        return np.log(x)


@operator(inputs="x", family=FAMILY)
class Log1p(Unary):
    """log(1 + x) without cancellation near 0.

    Decomposed with log(1 + x) = 2 atanh(x / (2 + x)), which is accurate for small x.
    """

    def compute(self, x: Array) -> Any:
        return np.log1p(x)

    def decompose(self, x: Tensor) -> Tensor:
        from uair.ops.comparison import Less

        near = Mul()(Atanh()(Div()(x, Add()(x, scalar(2, x)))), scalar(2, x))
        return Where()(Less()(Abs()(x), scalar(0.5, x)), near, Log()(Add()(x, scalar(1, x))))


@operator(inputs="x", family=FAMILY)
class Sin(Unary):
    """Sine; x in radians."""

    def compute(self, x: Array) -> Any:
        return np.sin(x)


@operator(inputs="x", family=FAMILY)
class Cos(Unary):
    """Cosine; x in radians."""

    def compute(self, x: Array) -> Any:
        return np.cos(x)


@operator(inputs="x", family=FAMILY)
class Tan(Unary):
    """Tangent; x in radians."""

    def compute(self, x: Array) -> Any:
        return np.tan(x)


@operator(inputs="x", family=FAMILY)
class Asin(Unary):
    """Inverse sine in radians; NaN outside of [-1, 1]."""

    def compute(self, x: Array) -> Any:
        return np.arcsin(x)


@operator(inputs="x", family=FAMILY)
class Acos(Unary):
    """Inverse cosine in radians; NaN outside of [-1, 1]."""

    def compute(self, x: Array) -> Any:
        return np.arccos(x)


@operator(inputs="x", family=FAMILY)
class Atan(Unary):
    """Inverse tangent in radians."""

    def compute(self, x: Array) -> Any:
        return np.arctan(x)


@operator(inputs="x", family=FAMILY)
class Sinh(Unary):
    """Hyperbolic sine."""

    def compute(self, x: Array) -> Any:
        return np.sinh(x)


@operator(inputs="x", family=FAMILY)
class Cosh(Unary):
    """Hyperbolic cosine."""

    def compute(self, x: Array) -> Any:
        return np.cosh(x)


@operator(inputs="x", family=FAMILY)
class Asinh(Unary):
    """Inverse hyperbolic sine."""

    def compute(self, x: Array) -> Any:
        return np.arcsinh(x)


@operator(inputs="x", family=FAMILY)
class Acosh(Unary):
    """Inverse hyperbolic cosine; NaN below 1."""

    def compute(self, x: Array) -> Any:
        return np.arccosh(x)


@operator(inputs="x", family=FAMILY)
class Atanh(Unary):
    """Inverse hyperbolic tangent; NaN outside of [-1, 1]."""

    def compute(self, x: Array) -> Any:
        return np.arctanh(x)


@operator(inputs="x", family=FAMILY)
class Erf(Unary):
    """The error function 2/sqrt(pi) * integral of exp(-t^2) from 0 to x. TensorFlow's Erfc is 1 - Erf."""

    def compute(self, x: Array) -> Any:
        return erf(x)


@operator(inputs="x", family=FAMILY)
class BitwiseNot(Unary):
    """Every bit inverted. LogicalNot is the operator for bool."""

    allowed = INTEGERS

    def compute(self, x: Array) -> Any:
        return np.invert(x)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from (case(cls(), f"{d}[2,3]") for d in ("i32", "u8", "i64", "u4", "i4"))
        yield bad(cls(), "bool[2]", because="x must be integer")


@operator(inputs="x", family=FAMILY)
class Identity(Operator):
    """x itself, of any element type; also a sequence, optional or map."""

    elementwise = True
    shape_arithmetic = True
    takes_containers = True

    def infer(self, x: TensorType) -> TensorType:
        return TensorType(x.dtype, x.shape, containers=x.containers)

    def evaluate(self, x: Array) -> Array:
        return x

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return 0

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from (case(cls(), t) for t in ("f32[2,3]", "bool[]", "i64[0]"))
        yield case(cls(), np.array(["a", "b"], object))
        yield bad(cls(), because="needs operand 'x'")


# ------------------------------------------------------------------------- binary
@operator(inputs="a b", family=FAMILY)
class Add(SizeBinary):
    """a + b. aten.add's `alpha` is a Mul of its own; ONNX's variadic Sum is a chain."""

    commutative = True
    allowed = NUMBERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.add(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return _symbolic.add(a, b)


@operator(inputs="a b", family=FAMILY)
class Sub(SizeBinary):
    """a - b."""

    allowed = NUMBERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.subtract(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return _symbolic.subtract(a, b)


@operator(inputs="a b", family=FAMILY)
class Mul(SizeBinary):
    """a * b."""

    commutative = True
    allowed = NUMBERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.multiply(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return _symbolic.multiply(a, b)


@operator(inputs="a b", family=FAMILY)
class Div(Binary):
    """a / b, true division of floating-point numbers. Integers divide with IntDiv (ONNX: Div, which then truncates)."""

    allowed = FLOATS | COMPLEX

    def compute(self, a: Array, b: Array) -> Any:
        return np.divide(a, b)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(), np.array([1.0, -1.0, 0.0], np.float32), np.array(0.0, np.float32))
        yield bad(cls(), "i32[2]", "i32[2]", because="a must be floating-point")


@operator(inputs="a b", family=FAMILY)
class IntDiv(SizeBinary):
    """The whole quotient of integers; 0 where b is 0.

    rounding "trunc": towards 0, -7 / 2 = -3 (ONNX Div, C, tf.truncatediv). "floor": downwards, -7 / 2 = -4 (Python,
    torch floor division, tf FloorDiv).
    """

    allowed = INTEGERS
    rounding: Literal["trunc", "floor"] = "trunc"

    def compute(self, a: Array, b: Array) -> Any:
        quotient = np.floor_divide(a, b)
        if self.rounding == "floor":
            return quotient
        inexact_negative = ((a < 0) != (b < 0)) & (np.remainder(a, b) != 0)
        return quotient + inexact_negative.astype(quotient.dtype)

    def size(self, a: Any, b: Any) -> Any:
        return (_symbolic.floor_div if self.rounding == "floor" else _symbolic.trunc_div)(a, b)

    def decompose(self, a: Tensor, b: Tensor) -> Tensor | None:
        from uair.ops.comparison import Equal, Less, LogicalAnd, LogicalNot, LogicalOr

        if self.rounding == "trunc":
            return None
        quotient = IntDiv()(a, b)
        exact = Equal()(Mul()(quotient, b), a)
        zero_a, zero_b = scalar(0, a), scalar(0, b)
        falling = LogicalAnd()(Less()(a, zero_a), Less()(zero_b, b))  # neither: b may be 0
        rising = LogicalAnd()(Less()(zero_a, a), Less()(b, zero_b))
        below = LogicalAnd()(LogicalNot()(exact), LogicalOr()(falling, rising))
        return Sub()(quotient, Cast(to=a.type.dtype)(below))

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        a, b = np.array([-7, 7, -7, 7], np.int32), np.array([2, 2, -2, -2], np.int32)
        yield from super().samples()
        yield case(cls(), a, b)
        yield case(cls(rounding="floor"), a, b)
        yield case(cls(rounding="floor"), "i8[5]", np.array([3], np.int8))
        yield bad(cls(), "f32[2]", "f32[2]", because="a must be integer")


@operator(inputs="a b", family=FAMILY)
class Mod(SizeBinary):
    """The remainder of a / b; for integers 0 where b is 0, for floating-point numbers NaN.

    sign "divisor": the result has the sign of b (Python %, torch remainder, tf FloorMod, ONNX Mod fmod=0). "dividend":
    the sign of a (C fmod, ONNX fmod=1, tf truncatemod). -7 mod 3 is 2 or -1.
    """

    sign: Literal["divisor", "dividend"] = "divisor"

    def compute(self, a: Array, b: Array) -> Any:
        return np.remainder(a, b) if self.sign == "divisor" else np.fmod(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return (_symbolic.floor_mod if self.sign == "divisor" else _symbolic.trunc_mod)(a, b)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        for dtype in (np.int32, np.float32):
            a, b = np.array([-7, 7, -7, 7], dtype), np.array([3, 3, -3, -3], dtype)
            yield case(cls(), a, b)
            yield case(cls(sign="dividend"), a, b)


@operator(inputs="a b", family=FAMILY)
class Pow(Binary):
    """a to the power b; the result has a's element type, b may have another numeric one.

    Integers to a negative power are rounded towards 0 (1 and -1 stay of magnitude 1), as onnxruntime does; a
    floating-point exponent of an integer is computed in f64 and rounded towards 0. The integer 0 to a negative power is
    infinity converted as Cast does: the least i32 or i64, as in onnxruntime.
    """

    def infer(self, a: TensorType, b: TensorType) -> TensorType:
        require_dtype(a, REALS, "a")
        require_dtype(b, REALS, "b")
        return broadcast(a.dtype, a, b)

    def evaluate(self, a: Array, b: Array) -> Array:
        kinds = (DType.from_numpy(a.dtype).is_integer, DType.from_numpy(b.dtype).is_integer)
        if kinds == (True, True):
            powers = compute(_integer_power, a.astype(np.int64), b.astype(np.int64), dtype=a.dtype)
            infinity = cast(np.array(np.inf), DType.from_numpy(a.dtype))
            return np.where((a == 0) & (b < 0), infinity, powers)
        if kinds == (True, False):
            with np.errstate(all="ignore"):
                power = np.power(a.astype(np.float64), b.astype(np.float64))
            return cast(power, DType.from_numpy(a.dtype))
        return compute(self.compute, a, b)

    def compute(self, a: Array, b: Array) -> Any:
        inexact = DType.from_numpy(b.dtype).is_integer and magnitude(b) > 1 << 24  # f32 does not tell odd from even
        return np.power(a, b.astype(np.float64 if inexact else a.dtype, copy=False) if b.dtype != np.float64 else b)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3]", "f32[2,3]")
        yield case(cls(), "f32[2,1]", "i64[3]")
        yield case(cls(), "f16[4]", "f32[]")
        yield case(cls(), "i32[4]", "f32[4]")
        yield case(cls(), np.array([2, -1, 1, 0, -2], np.int32), np.array([-1, -3, -2, -1, 3], np.int32))
        yield bad(cls(), "f32[2,3]", "f32[4]", because="do not broadcast")
        yield bad(cls(), "f32[2]", "bool[2]", because="b must be")


def _integer_power(a: Array, b: Array) -> Array:
    powers = np.power(a, np.abs(b))
    inverse = np.where(np.abs(powers) == 1, powers, 0)
    return np.where(b < 0, inverse, powers)


@operator(inputs="a b", family=FAMILY)
class Maximum(SizeBinary):
    """The greater of a and b; NaN when one is NaN. ONNX's variadic Max is a chain."""

    commutative = True

    def compute(self, a: Array, b: Array) -> Any:
        return np.maximum(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return dims.maximum(a, b)


@operator(inputs="a b", family=FAMILY)
class Minimum(SizeBinary):
    """The smaller of a and b; NaN when one is NaN."""

    commutative = True

    def compute(self, a: Array, b: Array) -> Any:
        return np.minimum(a, b)

    def size(self, a: Any, b: Any) -> Any:
        return dims.minimum(a, b)


@operator(inputs="a b", family=FAMILY)
class Atan2(Binary):
    """The angle of the point (b, a) in radians, in [-pi, pi]; a is the ordinate, as in C and NumPy.

    The decomposition does not tell 0 from -0 and gives NaN when both are infinite.
    """

    allowed = FLOATS

    def compute(self, a: Array, b: Array) -> Any:
        return np.arctan2(a, b)

    def decompose(self, a: Tensor, b: Tensor) -> Tensor:
        from uair.ops.comparison import Equal, Less

        zero = scalar(0, a)
        angle = Atan()(Div()(a, b))
        half_turn = Where()(Less()(a, zero), scalar(-math.pi, a), scalar(math.pi, a))
        left = Where()(Less()(b, zero), Add()(angle, half_turn), angle)
        return Where()(Equal()(b, zero), Mul()(Sign()(a), scalar(math.pi / 2, a)), left)


@operator(inputs="a b", family=FAMILY)
class BitwiseAnd(Binary):
    """a & b on integers. LogicalAnd is the operator for bool (aten's `__and__` is both)."""

    commutative = True
    allowed = INTEGERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.bitwise_and(a, b)


@operator(inputs="a b", family=FAMILY)
class BitwiseOr(Binary):
    """a | b on integers."""

    commutative = True
    allowed = INTEGERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.bitwise_or(a, b)


@operator(inputs="a b", family=FAMILY)
class BitwiseXor(Binary):
    """a ^ b on integers."""

    commutative = True
    allowed = INTEGERS

    def compute(self, a: Array, b: Array) -> Any:
        return np.bitwise_xor(a, b)


@operator(inputs="a b", family=FAMILY)
class BitShift(Binary):
    """a shifted by b bits; 0 (or -1, right of a negative number) when b is negative or at least the width.

    direction "left" drops the upper bits, "right" keeps the sign of signed types.
    """

    allowed = INTEGERS
    direction: Literal["left", "right"] = "left"

    def compute(self, a: Array, b: Array) -> Any:
        return np.left_shift(a, b) if self.direction == "left" else np.right_shift(a, b)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        shifts = np.array([0, 1, 7, 8, 200], np.uint8)
        yield case(cls(), np.array([255, 129, 3, 1, 1], np.uint8), shifts)
        yield case(cls(direction="right"), np.array([255, 129, 3, 1, 1], np.uint8), shifts)
        yield case(cls(direction="right"), np.array([-8, 7], np.int32), np.array([1], np.int32))
        for direction in ("left", "right"):
            far = np.array([-1, -32, 31, 32], np.int32)
            yield case(cls(direction=direction), np.array([-8, 7, -1, 3], np.int32), far)
        yield case(cls(), "u32[2,3]", np.array([2, 0, 1], np.uint32))
        yield bad(cls(), "f32[2]", "f32[2]", because="a must be integer")


# ------------------------------------------------------------------------- others
@operator(inputs="x", family=FAMILY)
class Clip(Unary):
    """min(max(x, min), max); a bound of None does not bind.

    When min > max the result is max everywhere (ONNX, PyTorch). NaN passes. For integers min is rounded up and max
    down. ReLU6 is {min=0, max=6}, hardtanh {min=-1, max=1}.
    """

    allowed = REALS
    min: float | None = None
    max: float | None = None

    def compute(self, x: Array) -> Any:
        least = _bound(-math.inf if self.min is None else self.min, x.dtype, math.ceil)
        greatest = _bound(math.inf if self.max is None else self.max, x.dtype, math.floor)
        return clipped(x, least, greatest)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield from super().samples()
        yield case(cls(min=0.0, max=6.0), "f32[2,3]")
        yield case(cls(min=1.0, max=-1.0), np.array([-5, 0, 5, np.nan], np.float32))
        yield case(cls(min=-0.5), "f16[4]")
        yield case(cls(min=-1e30, max=2.5), "i8[4]")
        yield case(cls(max=-1.0), "u8[3]")
        yield case(cls(min=-float("inf"), max=float("inf")), "i64[3]")


def _bound(value: float, dtype: np.dtype[Any], whole: Any) -> Any:
    """A bound as a scalar of the operand's type; for integers rounded, and moved into the type's range."""
    if not np.issubdtype(dtype, np.integer):
        return dtype.type(value)
    info = np.iinfo(dtype)
    if math.isinf(value):
        return dtype.type(info.max if value > 0 else info.min)
    return dtype.type(min(max(whole(value), int(info.min)), int(info.max)))


@operator(inputs="condition x y", family=FAMILY)
class Where(Operator):
    """x where condition, y elsewhere; all three broadcast. condition: bool; x, y: any one element type."""

    elementwise = True
    shape_arithmetic = True

    def infer(self, condition: TensorType, x: TensorType, y: TensorType) -> TensorType:
        require_dtype(condition, BOOLS, "condition")
        return broadcast(same_dtype(x=x, y=y), condition, x, y)

    def evaluate(self, condition: Array, x: Array, y: Array) -> Array:
        if _symbolic.is_symbolic(condition, x, y):
            return _symbolic.where(condition, x, y)
        return np.where(condition.astype(np.bool_, copy=False), x, y)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "bool[2,3]", "f32[2,3]", "f32[2,3]")
        yield case(cls(), "bool[3]", "f32[2,1]", "f32[]")
        yield from (case(cls(), "bool[4]", f"{d}[4]", f"{d}[4]") for d in ("bool", "i64", "bf16", "i4", "f8e4m3"))
        yield case(cls(), "bool[2]", np.array(["a", "b"], object), np.array(["c", "d"], object))
        yield bad(cls(), "i32[2]", "f32[2]", "f32[2]", because="condition must be bool")
        yield bad(cls(), "bool[2]", "f32[2]", "i32[2]", because="y is i32")
        yield bad(cls(), "bool[3]", "f32[2]", "f32[2]", because="do not broadcast")
