"""Conversion of element types: by value and by bits."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType
from uair.ops._cast import cast, reinterpret
from uair.ops._compute import COMPLEX
from uair.ops.base import Operator, Sample, bad, case, operator, require


@operator(inputs="x", family="conversion")
class Cast(Operator):
    """x converted to another element type.

    Floating point to integer truncates; what does not fit wraps as on x86 (300.7 -> i8 44, NaN -> i32 -2^31), which is
    what ONNX leaves open and onnxruntime, PyTorch and TensorFlow do there. Integers wrap around. To bool: x != 0, so
    NaN is true.
    Floats are rounded to nearest even; f64 becomes a narrower type than f32 by way of f32 (f16 at once), as in onnx and
    onnxruntime. To a float of 8 bits or less, saturate=True gives the greatest finite value for what is too large
    (infinities included) and saturate=False NaN, or an infinity where the type has one (ONNX's `saturate`); types
    without NaN and infinities always saturate.
    f8e8m0 holds powers of two: round_mode takes the next one "up", "down" or the "nearest" (halfway up). What is below
    the least, as all negative numbers are, or above the greatest becomes that with saturate=True, else NaN.
    Strings are parsed and written as decimal numbers ("1.5", "1e-5", "NaN", "INF", "-INF"), the shortest that read back
    the same, bool as "1" and "0"; to an integer the part before the point counts. Complex numbers convert only to
    complex numbers. Source: ONNX Cast.
    """

    elementwise = True
    shape_arithmetic = True
    to: DType = DType.F32
    saturate: bool = True
    round_mode: Literal["up", "down", "nearest"] = "up"

    def infer(self, x: TensorType) -> TensorType:
        require(
            x.dtype not in COMPLEX or self.to in COMPLEX,
            "x is {}: it cannot become {}",
            x.dtype,
            self.to,
            hint="take its real and imaginary parts apart first",
        )
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array) -> Array:
        return cast(x, self.to, self.saturate, self.round_mode)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        special = np.array([300.7, -300.7, 0.0, np.nan, np.inf, -np.inf, 1e20], np.float32)
        for to in ("bool", "i4", "i8", "u8", "i32", "u32", "i64", "u64", "f8e4m3", "f8e5m2", "f16", "bf16", "f64"):
            yield case(cls(to=DType(to)), special)
            yield case(cls(to=DType(to)), "i32[2,3]")
        yield case(cls(to=DType.F8E4M3, saturate=False), special)
        powers = np.array([0.0, 0.75, 1.0, 1.25, 1.5, 2.0**-127, 2.0**-126 * 1.1, 3e38], np.float32)
        for mode in ("up", "down", "nearest"):
            yield case(cls(to=DType.F8E8M0, round_mode=mode), powers)
        yield case(cls(to=DType.F8E8M0, round_mode="nearest", saturate=False), special)
        for to in ("i2", "u2", "f4e2m1", "f6e2m3", "f6e3m2"):
            yield case(cls(to=DType(to)), np.array([-2.0, 0.3, 1.0, 0.0], np.float32))
            yield case(cls(to=DType.F32), f"{to}[2,3]")
        yield case(cls(to=DType.F8E5M2FNUZ, saturate=False), special)
        yield case(cls(to=DType.STRING), special)
        yield case(cls(to=DType.STRING), "bool[3]")
        yield case(cls(), np.array(["1.5", "-INF", "NaN", "1e-5"], object))
        yield case(cls(to=DType.I8), np.array(["12", "-3", "100.9"], object))
        yield case(cls(to=DType.F32), "bool[0,2]")
        yield case(cls(to=DType.C64), "f32[2]")
        yield bad(cls(), "c64[2]", because="x is c64")


@operator(inputs="x", family="conversion")
class BitCast(Operator):
    """The bits of x taken as another element type of the same width. x: any type but string; result: x's shape.

    Bits of 8 that become bool are true unless all are zero. Source: ONNX BitCast.
    """

    elementwise = True
    to: DType = DType.I32

    def infer(self, x: TensorType) -> TensorType:
        for dtype in (x.dtype, self.to):
            require(dtype is not DType.STRING, "strings have no bits of fixed width")
        require(
            x.dtype.bits == self.to.bits,
            "x is {}, of {} bits: it cannot be taken as {}, of {}",
            x.dtype,
            x.dtype.bits,
            self.to,
            self.to.bits,
        )
        return TensorType(self.to, x.shape)

    def evaluate(self, x: Array) -> Array:
        return reinterpret(x, self.to)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(to=DType.I32), np.array([1.0, -0.0, np.nan, np.inf], np.float32))
        yield case(cls(to=DType.F32), "i32[2,3]")
        yield case(cls(to=DType.F64), "u64[3]")
        yield case(cls(to=DType.BF16), "i16[4]")
        yield case(cls(to=DType.F16), "bf16[]")
        yield case(cls(to=DType.U8), "bool[3]")
        yield case(cls(to=DType.BOOL), np.array([0, 1], np.uint8))
        yield case(cls(to=DType.F8E4M3), "i8[0,2]")
        yield case(cls(to=DType.I4), "f4e2m1[5]")
        yield case(cls(to=DType.U4), "i4[5]")
        yield case(cls(to=DType.I2), np.array([0, 1, 2, 3], DType.U2.numpy))
        yield case(cls(to=DType.C64), "f64[2]")
        yield bad(cls(to=DType.I64), "f32[2]", because="of 32 bits")
        yield bad(cls(), "string[2]", because="no bits of fixed width")
