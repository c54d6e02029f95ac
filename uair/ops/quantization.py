"""Quantization: integers (or float8 numbers) that stand for real numbers by a scale and a zero point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import ml_dtypes
import numpy as np

from uair.ir.dims import InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._precision import rounded, widened
from uair.ops.base import Operator, Sample, bad, case, normalize_axis, operator, ranked, require, unify_extents


def _require_parameters(
    shape: InferredShape, scale: TensorType, zero_point: TensorType | None, axis: int | None, quantized: DType
) -> None:
    """Refuse scales and zero points that do not fit x and its quantized element type."""
    require(scale.dtype.is_float and scale.dtype.bits >= 16, "scale is {}, it must be floating-point", scale.dtype)
    require(quantized.is_quantizable, "{} cannot hold quantized values", quantized)
    given = ranked(scale, "scale")
    if axis is None:
        require(not given, "scale of shape {} needs an axis", list(given), hint="set axis, or give a scalar scale")
    else:
        place = normalize_axis(axis, len(shape))
        require(len(given) == 1, "axis is {}: scale must have rank 1, has shape {}", axis, list(given))
        require(
            unify_extents(given[0], shape[place]),
            "scale has {} elements, axis {} of x has extent {}",
            given[0],
            axis,
            shape[place],
        )
    if zero_point is not None:
        require(
            zero_point.dtype is quantized, "zero_point is {}, the quantized values are {}", zero_point.dtype, quantized
        )
        offsets = ranked(zero_point, "zero_point")
        require(
            len(offsets) == len(given) and all(unify_extents(a, b) for a, b in zip(offsets, given, strict=True)),
            "zero_point has shape {}, scale has shape {}",
            list(offsets),
            list(given),
        )


def _along(parameter: Array, rank: int, axis: int | None) -> Array:
    """A scalar or per-axis parameter shaped to broadcast with a tensor of that rank."""
    if axis is None:
        return parameter
    return parameter.reshape([-1 if i == axis % rank else 1 for i in range(rank)])


def _round_half_away(x: Array) -> Array:
    whole = np.trunc(x)
    whole += np.copysign(np.abs(x - whole) >= x.dtype.type(0.5), x)
    return np.asarray(whole)


@operator(inputs="x scale zero_point?", family="quantization")
class Quantize(Operator):
    """q = saturate(round(x / scale) + zero_point). x: floating-point or i32; result: x's shape, element type `dtype`.

    scale: f32 (or f16, bf16), a scalar, or [C] along `axis`; zero_point: of the result's type and scale's shape, zero
    when omitted. The division is done in f32 and the quotient rounded half to even ("half_even") or half away from
    zero ("half_away"). Float8 results are rounded to nearest even and saturate at the greatest finite number; their
    zero point is zero. A NaN gives the least integer. Source: ONNX QuantizeLinear; half_away: CMSIS-NN, TFLite
    reference kernels.
    """

    axis: int | None = None
    dtype: DType = DType.I8
    rounding: Literal["half_even", "half_away"] = "half_even"

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        require(
            (x.dtype.is_float and x.dtype.bits >= 16) or x.dtype is DType.I32,
            "x is {}: floating-point or i32 numbers can be quantized",
            x.dtype,
        )
        _require_parameters(shape, scale, zero_point, self.axis, self.dtype)
        return inferred(self.dtype, shape)

    def evaluate(self, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
        compute = np.float64 if x.dtype == np.float64 else np.float32
        divisor = _along(scale.astype(compute), x.ndim, self.axis)
        quotient = np.asarray(np.divide(x.astype(compute, copy=False), divisor))
        if self.dtype.is_float:
            return cast(quotient, self.dtype)
        whole = np.rint(quotient, out=quotient) if self.rounding == "half_even" else _round_half_away(quotient)
        least, greatest_int = self.dtype.range
        if self.dtype.bits > 16:
            whole = whole.astype(np.float64)
        if zero_point is not None:
            whole += _along(zero_point.astype(whole.dtype), x.ndim, self.axis)
        np.fmax(whole, whole.dtype.type(least), out=whole)
        np.minimum(whole, whole.dtype.type(greatest_int), out=whole)
        if self.dtype.bits < 8:
            return whole.astype(np.int8).astype(self.dtype.numpy)
        return whole.astype(self.dtype.numpy)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        scales = np.array([0.1, 0.5, 0.25], np.float32)
        scale = np.array(0.05, np.float32)
        halves = np.array([-2.5, -1.5, -0.5, 0.5, 1.5, 2.5, 1e9, -1e9], np.float32)
        one = np.array(1, np.float32)
        yield case(cls(), "f32[2,3,4]", scale)
        yield case(cls(), halves, one, np.array(10, np.int8))
        yield case(cls(rounding="half_away", dtype=DType.U8), halves, one, np.array(128, np.uint8))
        yield case(cls(axis=1), "f32[2,3,4]", scales, np.array([0, 1, -2], np.int8))
        yield case(cls(dtype=DType.I4), "f16[8]", np.array(0.25, np.float32))
        yield case(cls(dtype=DType.U4), "f32[8]", scale, np.array(8, ml_dtypes.uint4))
        yield case(cls(dtype=DType.I16), "f32[8]", np.array(1e-4, np.float32))
        yield case(cls(dtype=DType.I32), halves, np.array(1e-3, np.float32))
        yield case(cls(dtype=DType.F8E4M3), halves, one)
        yield case(cls(dtype=DType.I8), "i32[8]", one)
        yield bad(cls(), "f32[2,3,4]", scales, because="needs an axis")
        yield bad(cls(axis=0), "f32[2,3,4]", scales, because="axis 0 of x has extent 2")
        yield bad(cls(dtype=DType.I64), "f32[4]", scale, because="cannot hold quantized values")
        yield bad(cls(), "f32[4]", scale, np.array(0, np.uint8), because="zero_point is u8")
        yield bad(cls(), "i8[4]", scale, because="can be quantized")
        yield bad(cls(), "f32[4]", np.array(1, np.int32), because="it must be floating-point")


@operator(inputs="x scale zero_point?", family="quantization")
class Dequantize(Operator):
    """y = (x - zero_point) * scale. x: quantized; result: x's shape, the element type of scale.

    scale: f32 (or f16, bf16), a scalar, or [C] along `axis`; zero_point: of x's type and scale's shape, zero when
    omitted. The difference is exact, the product is formed in f32. Source: ONNX DequantizeLinear.
    """

    axis: int | None = None

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        _require_parameters(shape, scale, zero_point, self.axis, x.dtype)
        return inferred(scale.dtype, shape)

    def evaluate(self, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
        factor = _along(widened(scale), x.ndim, self.axis)
        exact = DType.from_numpy(x.dtype)
        if zero_point is None or exact.is_float:
            difference = x.astype(factor.dtype)
        else:
            wide = np.dtype(np.int64 if exact.bits > 16 else np.int32)
            offset = _along(zero_point.astype(wide), x.ndim, self.axis)
            difference = (x.astype(wide) - offset).astype(factor.dtype)
        return rounded(difference * factor, scale.dtype)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        scales = np.array([0.1, 0.5, 0.25], np.float32)
        scale = np.array(0.05, np.float32)
        yield case(cls(), "i8[2,3,4]", scale, np.array(-3, np.int8))
        yield case(cls(axis=-2), "u8[2,3,4]", scales, np.array([0, 128, 255], np.uint8))
        yield case(cls(axis=1), "i8[2,3,4]", scales)
        yield case(cls(), "i32[4]", scale)
        yield case(cls(), "i4[8]", np.array(0.5, np.float16))
        yield case(cls(), "u4[8]", scale, np.array(8, ml_dtypes.uint4))
        yield case(cls(), "f8e5m2[4]", scale)
        yield case(cls(), "i16[4]", np.array(0.5, ml_dtypes.bfloat16))
        yield bad(cls(), "f32[4]", scale, because="cannot hold quantized values")
        yield bad(cls(axis=1), "i8[2,3]", scales, np.array([1], np.int8), because="zero_point has shape [1]")
