"""From 32-bit sums to the 8-bit integers of the next tensor, in the arithmetic of the hardware."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

import numpy as np

from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._compute import converted
from uair.ops.base import Operator, Sample, bad, case, normalize_axis, operator, ranked, require, unify_extents
from uair.ops.quantization import along

Arithmetic: TypeAlias = Literal["float", "fixed_point", "fixed_point_once", "shift"]
MULTIPLIER_BITS = 31
MOST_BITS = 62
"""Of a shift to the right: more leave nothing of a product of 62 bits."""


def fixed_point(scale: Array) -> tuple[Array, Array]:
    """A scale as multiplier and exponent: scale = multiplier * 2^(exponent - 31), multiplier in [2^30, 2^31).

    The multiplier is rounded half away from zero, as TFLite's QuantizeMultiplier does with C's round().

    Args:
        scale: f64, positive.

    Returns:
        i64 arrays of scale's shape.
    """
    fraction, exponent = np.frexp(scale.astype(np.float64))
    multiplier = np.floor(fraction * 2.0**MULTIPLIER_BITS + 0.5).astype(np.int64)
    full = multiplier == 1 << MULTIPLIER_BITS
    return np.where(full, multiplier >> 1, multiplier), exponent.astype(np.int64) + full


def rounding_shift(x: Array, bits: Array, *, half_away: bool) -> Array:
    """X / 2^bits rounded to the nearest integer; a half goes away from zero, or up. i64; bits >= 0."""
    half = np.where(bits > 0, np.left_shift(np.int64(1), np.maximum(bits - 1, 0)), 0)
    if half_away:
        return np.asarray(np.sign(x) * np.right_shift(np.abs(x) + half, bits))
    return np.asarray(np.right_shift(x + half, bits))


def _total_shift(exponent: Array) -> Array:
    return np.asarray(np.minimum(MULTIPLIER_BITS - exponent, MOST_BITS))


@operator(inputs="x scale zero_point?", family="integer")
class Requantize(Operator):
    """q = clip(round(x * scale) + zero_point, low, high). x: i32; q: x's shape, element type `dtype` (i8, u8 or i16).

    scale: f32 or f64, constant in practice, a scalar or [C] along `axis`: s_x * s_w / s_y of a quantized layer.
    zero_point: a scalar of q's type, 0 when omitted. low, high: of a fused activation; none: the range of q's type.
    How x * scale is rounded is the device's:

    - "float": f32(x) * f32(scale), each rounded once, then half to even. Source: onnxruntime's QLinearConv (MLAS).
    - "fixed_point": by a multiplier of 31 bits and a shift. With scale = m * 2^(e - 31), m in [2^30, 2^31):
      t = (x * 2^max(e, 0) * m + 2^30) >> 31, then t / 2^max(-e, 0) rounded half away from zero. The shifted x wraps
      around at 32 bits. Source: gemmlowp's SaturatingRoundingDoublingHighMul and RoundingDivideByPOT, as TFLite's
      reference kernels of convolutions and CMSIS-NN use them.
    - "fixed_point_once": the same multiplier, one rounding: (x * m + 2^(30 - e)) >> (31 - e), a half goes up. Source:
      TFLite's single rounding; LiteRT 2's fully connected kernels give exactly this.
    - "shift": the scale is a power of two, 2^-n: (x + 2^(n - 1)) >> n, a half goes up; x << -n for negative n.
      Source: CMSIS-NN's kernels for q7 (NN_ROUND).
    """

    arithmetic: Arithmetic = "float"
    axis: int | None = None
    dtype: DType = DType.I8
    low: int | None = None
    high: int | None = None

    def infer(self, x: TensorType, scale: TensorType, zero_point: TensorType | None = None) -> TensorType:
        shape = ranked(x)
        require(x.dtype is DType.I32, "x is {}, it must be i32", x.dtype)
        require(scale.dtype in (DType.F32, DType.F64), "scale is {}, it must be f32 or f64", scale.dtype)
        require(self.dtype in (DType.I8, DType.U8, DType.I16), "dtype is {}: i8, u8 or i16", self.dtype)
        extents = ranked(scale, "scale")
        if self.axis is None:
            require(not extents, "scale of shape {} needs an axis", list(extents))
        else:
            extent = shape[normalize_axis(self.axis, len(shape))]
            fits = len(extents) == 1 and unify_extents(extents[0], extent)
            require(fits, "scale has shape {}, axis {} needs [{}]", list(extents), self.axis, extent)
        if zero_point is not None:
            require(zero_point.dtype is self.dtype, "zero_point is {}, q is {}", zero_point.dtype, self.dtype)
            require(not ranked(zero_point, "zero_point"), "zero_point must be a scalar")
        least, greatest = self.bounds
        require(least <= greatest, "low is {}, high is {}", least, greatest)
        return inferred(self.dtype, shape)

    @property
    def bounds(self) -> tuple[int, int]:
        """Least and greatest integer of the result."""
        least, greatest = self.dtype.range
        low = least if self.low is None else max(least, self.low)
        return low, greatest if self.high is None else min(greatest, self.high)

    def evaluate(self, x: Array, scale: Array, zero_point: Array | None = None) -> Array:
        whole = self._float(x, scale) if self.arithmetic == "float" else self._integer(x, scale)
        if zero_point is not None:
            whole += zero_point.astype(whole.dtype)
        least, greatest = self.bounds
        return np.clip(whole, least, greatest).astype(self.dtype.numpy)

    def _float(self, x: Array, scale: Array) -> Array:
        product = x.astype(np.float32) * along(scale.astype(np.float32), x.shape, self.axis, 0)
        return np.asarray(np.rint(product), np.float64)

    def _integer(self, x: Array, scale: Array) -> Array:
        multiplier, exponent = fixed_point(scale)
        wide = x.astype(np.int64)
        if self.arithmetic == "fixed_point_once":
            factor, bits = (along(p, x.shape, self.axis, 0) for p in (multiplier, _total_shift(exponent)))
            return rounding_shift(wide * factor, bits, half_away=False)
        left, right = (
            along(np.maximum(e, 0), x.shape, self.axis, 0) for e in (self._left(exponent), -self._left(exponent))
        )
        shifted = np.left_shift(wide, left).astype(np.int32).astype(np.int64)
        if self.arithmetic == "shift":
            return rounding_shift(shifted, right, half_away=False)
        factor = along(multiplier, x.shape, self.axis, 0)
        high = rounding_shift(shifted * factor, np.asarray(MULTIPLIER_BITS), half_away=False)
        return rounding_shift(high, right, half_away=True)

    def _left(self, exponent: Array) -> Array:
        """Bits to shift to the left; 2^n has exponent n + 1 and the multiplier 2^30."""
        return np.asarray(np.maximum(exponent - 1 if self.arithmetic == "shift" else exponent, -MOST_BITS))

    def decompose(self, x: Tensor, scale: Tensor, zero_point: Tensor | None = None) -> Tensor | None:
        """In operators on f32, or on i64; None when the scale is not constant."""
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Add, Clip, Mul, Round

        if not scale.is_constant:
            return None
        rank = x.type.rank
        if self.arithmetic == "float":
            factor = constant(self._shaped(scale.numpy().astype(np.float32), rank))
            whole = Cast(to=DType.I64)(Round()(Mul()(Cast(to=DType.F32)(x), factor)))
        else:
            whole = self._integer_graph(Cast(to=DType.I64)(x), scale.numpy(), rank)
        if zero_point is not None:
            whole = Add()(whole, converted(zero_point, DType.I64))
        least, greatest = self.bounds
        return Cast(to=self.dtype)(Clip(min=least, max=greatest)(whole))

    def _shaped(self, parameter: Array, rank: int) -> Array:
        """So that it broadcasts against a tensor of that rank."""
        if self.axis is None:
            return parameter
        return parameter.reshape([-1 if i == self.axis % rank else 1 for i in range(rank)])

    def _integer_graph(self, x: Tensor, scale: Array, rank: int) -> Tensor:
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Add, IntDiv, Mul

        multiplier, exponent = (self._shaped(p, rank) for p in fixed_point(scale))
        if self.arithmetic == "fixed_point_once":
            once = np.left_shift(np.int64(1), _total_shift(exponent))
            return IntDiv(rounding="floor")(Add()(Mul()(x, constant(multiplier)), constant(once >> 1)), constant(once))
        left = self._left(exponent)
        shifted = Mul()(x, constant(np.left_shift(np.int64(1), np.maximum(left, 0))))
        wrapped = Cast(to=DType.I64)(Cast(to=DType.I32)(shifted))
        right = np.left_shift(np.int64(1), np.maximum(-left, 0))
        if self.arithmetic == "shift":
            return IntDiv(rounding="floor")(Add()(wrapped, constant(right >> 1)), constant(right))
        product = Mul()(wrapped, constant(multiplier))
        high = IntDiv(rounding="floor")(
            Add()(product, constant(np.int64(1 << (MULTIPLIER_BITS - 1)))), constant(np.int64(1 << MULTIPLIER_BITS))
        )
        return self._half_away(high, right)

    @staticmethod
    def _half_away(x: Tensor, divisor: Array) -> Tensor:
        """sign(x) * ((|x| + divisor / 2) / divisor)."""
        from uair.ops.elementwise import Abs, Add, IntDiv, Mul, Sign

        size = IntDiv(rounding="floor")(Add()(Abs()(x), constant(divisor >> 1)), constant(divisor))
        return Mul()(Sign()(x), size)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        sums = np.array([[-(2**31), -70001, -3, -1], [1, 2, 1234567, 2**31 - 1], [6, 10, -6, -10]], np.int32)
        halves = np.array([[-12, -4, 4, 12], [-20, 20, 28, -28], [2, -2, 6, -6]], np.int32)
        scales = np.array([0.013, 0.5, 1.7], np.float64)
        eighth = np.array(0.125, np.float32)
        zero = np.array(3, np.int8)
        arithmetics: tuple[Arithmetic, ...] = ("float", "fixed_point", "fixed_point_once")
        for arithmetic in arithmetics:
            yield case(cls(arithmetic=arithmetic, axis=0), sums, scales, zero)
            yield case(cls(arithmetic=arithmetic), sums, np.array(3.1e-5, np.float32))
        yield case(cls(arithmetic="fixed_point"), halves, eighth)
        yield case(cls(arithmetic="shift"), halves, eighth, zero)
        yield case(cls(arithmetic="shift", axis=-1), halves, np.array([0.25, 1, 4, 2**-9], np.float32))
        yield case(cls(dtype=DType.U8, low=128), sums, np.array(1e-3, np.float32), np.array(128, np.uint8))
        yield case(cls(dtype=DType.I16, arithmetic="fixed_point", high=600), sums, np.array(1e-3, np.float32))
        yield bad(cls(), "i8[4]", eighth, because="it must be i32")
        yield bad(cls(), "i32[2,3]", scales, because="needs an axis")
        yield bad(cls(axis=1), "i32[3,4]", scales, because="needs [4]")
        yield bad(cls(), "i32[4]", eighth, np.array(1, np.uint8), because="zero_point is u8")
        yield bad(cls(low=5, high=4), "i32[4]", eighth, because="low is 5")
