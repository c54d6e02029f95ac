"""Quantization: integers (or narrow floating-point numbers) that stand for real numbers by a scale and a zero point."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import ml_dtypes
import numpy as np

from uair.ir.dims import Dim, InferredShape, ceil_div
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._compute import converted, scalar
from uair.ops._precision import rounded
from uair.ops.base import Operator, Sample, bad, case, normalize_axis, operator, ranked, require, unify_extents

_SCALES = (DType.F8E8M0, DType.F16, DType.BF16, DType.F32, DType.F64)


def _require_parameters(
    shape: InferredShape,
    scale: TensorType,
    zero_point: TensorType | None,
    quantized: DType,
    axis: int | None,
    block_size: int,
) -> None:
    """Refuse scales and zero points that do not fit x and its quantized element type."""
    require(scale.dtype in _SCALES, "scale is {}, it must be floating-point", scale.dtype)
    require(quantized.is_quantizable, "{} cannot hold quantized values", quantized)
    given = ranked(scale, "scale")
    wanted = _parameter_shape(shape, given, axis, block_size)
    require(
        len(given) == len(wanted) and all(unify_extents(a, b) for a, b in zip(given, wanted, strict=True)),
        "scale has shape {}, {} needs {}",
        list(given),
        f"axis {axis}" + (f" in blocks of {block_size}" if block_size else ""),
        list(wanted),
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


def _parameter_shape(shape: InferredShape, given: InferredShape, axis: int | None, block_size: int) -> InferredShape:
    """The shape that the scale of an x of that shape must have."""
    require(block_size >= 0, "block_size is {}", block_size)
    if axis is None:
        require(not block_size, "blocks need an axis")
        require(not given, "scale of shape {} needs an axis", list(given), hint="set axis, or give a scalar scale")
        return ()
    place = normalize_axis(axis, len(shape))
    extent = shape[place]
    if not block_size:
        return (extent,)
    blocks: Dim | None = None if extent is None else ceil_div(extent, block_size)
    return (*shape[:place], blocks, *shape[place + 1 :])


def along(parameter: Array, shape: tuple[int, ...], axis: int | None, block_size: int) -> Array:
    """A parameter shaped to broadcast with a tensor of that shape; those of blocks are repeated."""
    if axis is None:
        return parameter
    place = axis % len(shape)
    if block_size:
        spread = np.repeat(parameter, block_size, axis=place)
        kept: Array = spread[tuple(slice(shape[i]) for i in range(len(shape)))]
        return kept
    return parameter.reshape([-1 if i == place else 1 for i in range(len(shape))])


def saturate(whole: Array, least: int, greatest: int) -> None:
    """Move floats into a range, in place; NaN becomes `least`.

    `np.clip` lets NaN pass and takes a fifth of the time of `np.fmax` and `np.minimum` with one number: NaN, which is
    rare, is looked for first.
    """
    if whole.size and np.isnan(whole.min()):
        np.fmax(whole, whole.dtype.type(least), out=whole)
    np.clip(whole, whole.dtype.type(least), whole.dtype.type(greatest), out=whole)


def spread_out(parameter: Tensor, x: Tensor, axis: int, block_size: int) -> Tensor:
    """`along` in operators."""
    from uair.ops.shape import Expand, Reshape, Slice, Unsqueeze

    place = axis % x.type.rank
    if not block_size:
        shape: list[Dim] = [1] * x.type.rank
        shape[place] = parameter.type.dims[0]
        return Reshape(shape=tuple(shape))(parameter)
    dims = parameter.type.dims
    apart = Unsqueeze(axes=(place + 1,))(parameter)
    repeated = Expand(shape=(*dims[: place + 1], block_size, *dims[place + 1 :]))(apart)
    whole = (*dims[:place], dims[place] * block_size, *dims[place + 1 :])
    joined = Reshape(shape=whole)(repeated)
    if whole[place] == x.type.dims[place]:
        return joined
    return Slice(axes=(place,), starts=(0,), ends=(x.type.dims[place],), steps=(1,))(joined)


def _round_half_away(x: Array) -> Array:
    whole = np.trunc(x)
    whole += np.copysign(np.abs(x - whole) >= x.dtype.type(0.5), x)
    return np.asarray(whole)


@operator(inputs="x scale zero_point?", family="quantization")
class Quantize(Operator):
    """q = saturate(round(x / scale) + zero_point). x: floating-point or i32; result: x's shape, element type `dtype`.

    scale: f32 (or f16, bf16, f64, f8e8m0): a scalar, or [C] along `axis`, or with block_size B one for B neighbours
    along `axis`: x's shape with ceil(D / B) in place of D there. zero_point: of the result's type and scale's shape,
    zero when omitted. Both operands are converted to `precision` (f16, bf16, f32, f64; none: f32, f64 for an x of f64),
    the quotient is rounded to it, then to a whole number: half to even ("half_even") or half away from zero
    ("half_away"). A NaN gives the least integer.
    Floating-point results are x / scale + zero_point rounded to nearest even; `saturate` as for Cast. Their zero point
    is zero in practice. Source: ONNX QuantizeLinear; half_away: CMSIS-NN, TFLite reference kernels.
    """

    axis: int | None = None
    dtype: DType = DType.I8
    rounding: Literal["half_even", "half_away"] = "half_even"
    block_size: int = 0
    precision: DType | None = None
    saturate: bool = True

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        require(
            (x.dtype.is_float and x.dtype.bits >= 16) or x.dtype is DType.I32,
            "x is {}: floating-point or i32 numbers can be quantized",
            x.dtype,
        )
        require(
            self.precision is None or (self.precision.is_float and self.precision.bits >= 16),
            "precision is {}, it must be a floating-point type of 16 bits or more",
            self.precision,
        )
        _require_parameters(shape, scale, zero_point, self.dtype, self.axis, self.block_size)
        return inferred(self.dtype, shape)

    def divisor_type(self, x: DType) -> DType:
        """The type that x and scale are converted to."""
        return self.precision or (DType.F64 if x is DType.F64 else DType.F32)

    def _along(self, parameter: Array, x: Array) -> Array:
        return along(parameter, x.shape, self.axis, self.block_size)

    def _quotient(self, x: Array, scale: Array) -> Array:
        """In f32 or f64; to round the f32 quotient of f16 or bf16 numbers is to divide in that type."""
        precision = self.divisor_type(DType.from_numpy(x.dtype)).numpy
        wide = np.dtype(np.float64) if precision == np.float64 else np.dtype(np.float32)
        with np.errstate(all="ignore"):
            dividend, divisor = (a.astype(precision, copy=False).astype(wide, copy=False) for a in (x, scale))
            quotient = np.asarray(np.divide(dividend, self._along(divisor, x)))
            return quotient.astype(precision, copy=False).astype(wide, copy=False)

    def evaluate(self, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
        quotient = self._quotient(x, scale)
        offset = None if zero_point is None else self._along(zero_point, x)
        if self.dtype.is_float:
            if offset is not None and np.any(offset != 0):  # to add 0 would make -0 a 0
                quotient = quotient + offset.astype(quotient.dtype)
            return cast(quotient, self.dtype, self.saturate)
        whole = np.rint(quotient, out=quotient) if self.rounding == "half_even" else _round_half_away(quotient)
        least, greatest_int = self.dtype.range
        if self.dtype.bits > 16:
            whole = whole.astype(np.float64)
        if offset is not None:
            whole += offset.astype(whole.dtype)
        saturate(whole, least, greatest_int)
        if self.dtype.bits < 8:
            return whole.astype(np.int8).astype(self.dtype.numpy)
        return whole.astype(self.dtype.numpy)

    def decompose(self, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor | None:
        """In blocks, or to a narrow float: the formula in simpler operators; a NaN then gives any integer."""
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Add, Clip, Div, Round

        if not (self.block_size or self.dtype.is_float) or self.rounding != "half_even" or self.dtype.bits > 16:
            return None
        precision = self.divisor_type(x.type.dtype)
        wide = DType.F64 if precision is DType.F64 else DType.F32
        dividend, divisor = (converted(converted(t, precision), wide) for t in (x, scale))
        if self.axis is not None:
            divisor = spread_out(divisor, x, self.axis, self.block_size)
        quotient = converted(converted(Div()(dividend, divisor), precision), wide)
        whole = quotient if self.dtype.is_float else Round()(quotient)
        if zero_point is not None:
            offset = converted(zero_point, wide)
            whole = Add()(whole, offset if self.axis is None else spread_out(offset, x, self.axis, self.block_size))
        if self.dtype.is_float:
            return Cast(to=self.dtype, saturate=self.saturate)(whole)
        least, greatest = self.dtype.range
        return Cast(to=self.dtype)(Clip(min=float(least), max=float(greatest))(whole))

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
        yield from cls._newer_samples(halves)
        yield bad(cls(), "f32[2,3,4]", scales, because="needs an axis")
        yield bad(cls(axis=0), "f32[2,3,4]", scales, because="axis 0 needs [2]")
        yield bad(cls(dtype=DType.I64), "f32[4]", scale, because="cannot hold quantized values")
        yield bad(cls(), "f32[4]", scale, np.array(0, np.uint8), because="zero_point is u8")
        yield bad(cls(), "i8[4]", scale, because="can be quantized")
        yield bad(cls(), "f32[4]", np.array(1, np.int32), because="it must be floating-point")
        yield bad(cls(axis=1, block_size=2), "f32[2,5]", "f32[2,2]", because="blocks of 2 needs [2, 3]")
        yield bad(cls(precision=DType.I32), "f32[4]", scale, because="precision is i32")

    @classmethod
    def _newer_samples(cls, halves: Array) -> Iterable[Sample]:
        """Blocks, precision, saturation and the types of later opsets."""
        blocks = np.array([[0.5, 0.25, 1], [0.1, 2, 0.3]], np.float32)
        half = np.array(0.0373, np.float16)
        one = np.array(1, np.float32)
        yield case(cls(axis=1, block_size=2), "f32[2,5]", blocks, np.array([[0, 1, 2], [-3, 4, 5]], np.int8))
        yield case(cls(axis=-1, block_size=2, dtype=DType.U4), "f16[2,6]", blocks)
        yield case(cls(axis=1, block_size=2, dtype=DType.F8E5M2), "f32[2,6]", blocks)
        yield case(cls(precision=DType.F16), "f16[64]", half)
        yield case(cls(precision=DType.F32), "f16[64]", half)
        yield case(cls(precision=DType.BF16, dtype=DType.U16), "f32[9]", np.array(0.01, ml_dtypes.bfloat16))
        yield case(cls(dtype=DType.I2), halves, one)
        yield case(cls(dtype=DType.U2), halves, one, np.array(2, ml_dtypes.uint2))
        yield case(cls(dtype=DType.F4E2M1), "f32[8]", one)
        yield case(cls(dtype=DType.F6E2M3), "f32[8]", one)
        yield case(cls(dtype=DType.F8E4M3, saturate=False), halves, one)
        yield case(cls(), "f32[4]", np.array(0.25, ml_dtypes.float8_e8m0fnu))


@operator(inputs="x scale zero_point?", family="quantization")
class Dequantize(Operator):
    """y = (x - zero_point) * scale. x: quantized; result: x's shape, element type `dtype`, by default that of scale.

    scale: f32 (or f16, bf16, f64, f8e8m0), a scalar, or [C] along `axis`, or with block_size B one for B neighbours
    along `axis`: x's shape with ceil(D / B) in place of D there; zero_point: of x's type and scale's shape, zero when
    omitted. The difference is exact, the product is formed in f32 (f64 for a scale of f64) and rounded once.
    Source: ONNX DequantizeLinear.
    """

    axis: int | None = None
    block_size: int = 0
    dtype: DType | None = None

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        _require_parameters(shape, scale, zero_point, x.dtype, self.axis, self.block_size)
        result = self.dtype or scale.dtype
        require(result.is_float and result.bits >= 16, "the result cannot be {}", result, hint="set dtype")
        return inferred(result, shape)

    def evaluate(self, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
        wide_float = np.dtype(np.float64 if scale.dtype == np.float64 else np.float32)
        factor = along(scale.astype(wide_float, copy=False), x.shape, self.axis, self.block_size)
        exact = DType.from_numpy(x.dtype)
        if zero_point is None or (exact.is_integer and not zero_point.any()):
            difference = x.astype(wide_float)
        else:
            wide = np.dtype(np.int64) if exact.is_integer and exact.bits > 16 else wide_float  # of 16 bits exact in f32
            difference = x.astype(wide)
            difference -= along(zero_point.astype(wide), x.shape, self.axis, self.block_size)
            difference = difference.astype(wide_float, copy=False)
        with np.errstate(all="ignore"):
            difference *= factor
            return rounded(difference, scale.dtype if self.dtype is None else self.dtype.numpy)

    def decompose(self, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor | None:
        """In blocks: the formula in simpler operators."""
        from uair.ops.elementwise import Mul, Sub

        if not self.block_size or self.axis is None:
            return None
        product = DType.F64 if scale.type.dtype is DType.F64 else DType.F32
        wide = DType.F64 if x.type.dtype.bits > 16 else product
        real = converted(x, wide)
        if zero_point is not None:
            real = Sub()(real, spread_out(converted(zero_point, wide), x, self.axis, self.block_size))
        factor = spread_out(converted(scale, product), x, self.axis, self.block_size)
        return converted(Mul()(converted(real, product), factor), self.dtype or scale.type.dtype)

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
        blocks = np.array([[0.5, 0.25, 1], [0.1, 2, 0.3]], np.float32)
        yield case(cls(axis=1, block_size=2), "i8[2,5]", blocks, np.array([[0, 1, 2], [-3, 4, 5]], np.int8))
        yield case(cls(axis=0, block_size=3), "u4[6,2]", blocks[:, :2])
        yield case(cls(dtype=DType.F16), "i8[9]", np.array(0.0373, np.float32), np.array(1, np.int8))
        yield case(cls(), "i2[4]", scale)
        yield case(cls(axis=0), "u2[3]", scales, np.array([0, 1, 2], ml_dtypes.uint2))
        yield case(cls(), "f4e2m1[8]", scale)
        yield case(cls(dtype=DType.F32), "i8[4]", np.array(0.25, ml_dtypes.float8_e8m0fnu))
        yield bad(cls(), "f32[4]", scale, because="cannot hold quantized values")
        yield bad(cls(axis=1), "i8[2,3]", scales, np.array([1], np.int8), because="zero_point has shape [1]")
        yield bad(cls(), "i8[4]", np.array(0.25, ml_dtypes.float8_e8m0fnu), because="cannot be f8e8m0")
        yield bad(cls(block_size=2), "i8[4]", scale, because="blocks need an axis")


@operator(inputs="x", outputs="y scale zero_point", family="quantization")
class DynamicQuantize(Operator):
    """x quantized to u8 with parameters from its own range. x: f32, any shape; y: u8 of x's shape; scale: f32 scalar.

    low = min(x, 0), high = max(x, 0) over all elements; scale = (high - low) / 255, but 1 where low = high (the
    specification's formula gives 0 there, onnxruntime 1); zero_point: u8 scalar = round(clamp(-low / scale, 0, 255));
    y = Quantize(x, scale, zero_point). Source: ONNX DynamicQuantizeLinear.
    """

    def infer(self, x: TensorType) -> tuple[TensorType, ...]:
        require(x.dtype is DType.F32, "x is {}, it must be f32", x.dtype, hint="insert a Cast")
        return TensorType(DType.U8, x.shape), TensorType(DType.F32, ()), TensorType(DType.U8, ())

    def evaluate(self, x: Array) -> tuple[Array, ...]:
        low, high = x.min(initial=0), x.max(initial=0)
        with np.errstate(all="ignore"):
            scale = np.float32(1) if low == high else (high - low) / np.float32(255)
            offset = np.rint(np.clip(-low / scale, np.float32(0), np.float32(255)))
        zero_point = np.fmax(offset, np.float32(0)).astype(np.uint8)
        y = Quantize(dtype=DType.U8).evaluate(x, np.asarray(scale), np.asarray(zero_point))
        return y, np.asarray(scale, np.float32), np.asarray(zero_point)

    def decompose(self, x: Tensor) -> tuple[Tensor, ...] | None:
        from uair.ops.comparison import Equal
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Clip, Div, Maximum, Minimum, Neg, Round, Sub, Where
        from uair.ops.reduction import ReduceMax, ReduceMin

        if x.type.shape is None:
            return None
        zero = scalar(0, x)
        low, high = Minimum()(ReduceMin(keepdims=False)(x), zero), Maximum()(ReduceMax(keepdims=False)(x), zero)
        scale = Where()(Equal()(low, high), scalar(1, x), Div()(Sub()(high, low), scalar(255, x)))
        offset = Round()(Clip(min=0.0, max=255.0)(Div()(Neg()(low), scale)))
        zero_point = Cast(to=DType.U8)(offset)
        return Quantize(dtype=DType.U8)(x, scale, zero_point), scale, zero_point

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,3,4]")
        yield case(cls(), np.array([1, 2, 3], np.float32))
        yield case(cls(), np.array([-1, -2.5], np.float32))
        yield case(cls(), np.zeros(3, np.float32))
        yield case(cls(), np.array(2, np.float32))
        yield bad(cls(), "f16[3]", because="must be f32")
