"""Integer convolutions and matrix products: what a quantized layer computes, exactly.

All of them form the 32-bit sum

    acc = bias + sum of (x - x_zero_point) * (w - w_zero_point)

where x and w hold 8-bit integers, bias 32-bit ones, and the padding of a convolution is x_zero_point (the real number
0). The sum is exact and wraps around at 32 bits, in any order of summation.

x may hold 16-bit integers instead (i16, without a zero point): the sum is then exact in 64 bits. Its parts of 8 bits,
x = 256 * high + low, give the same sum in operators of 8 bits, which is the decomposition. Source of the form: TFLite's
16x8 quantization (activations i16 symmetric, weights i8, sums i64).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from uair.ir.dims import InferredShape
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType
from uair.ops._windows import AutoPad
from uair.ops.base import Ints, Operator, Sample, bad, case, operator, ranked, require, unify_extents
from uair.ops.convolution import (
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
)
from uair.ops.linear import Linear, MatMul

_BYTES = (DType.I8, DType.U8)


def _require_bytes(**operands: TensorType) -> None:
    for name, t in operands.items():
        require(t.dtype in _BYTES, "{} is {}, it must be i8 or u8", name, t.dtype, hint="quantize it")


def _require_operands(x_zero_point: TensorType | None, **operands: TensorType) -> None:
    """Bytes, but that the first operand may be i16."""
    (name, x), _ = operands.items()
    if x.dtype is DType.I16:
        del operands[name]
        require(x_zero_point is None, "{} is i16, it has no zero point", name)
    _require_bytes(**operands)


def _require_zero_point(zero_point: TensorType | None, of: TensorType, name: str, channels: object = None) -> None:
    """A scalar of the operand's type; with `channels` also a vector of so many."""
    if zero_point is None:
        return
    require(zero_point.dtype is of.dtype, "{} is {}, the values are {}", name, zero_point.dtype, of.dtype)
    shape = ranked(zero_point, name)
    vector = channels is not None and len(shape) == 1
    allowed = "a scalar or one number an output channel" if channels is not None else "a scalar"
    require(not shape or vector, "{} of shape {} must be {}", name, list(shape), allowed)
    if vector and isinstance(channels, int):
        require(
            unify_extents(shape[0], channels), "{} has {} elements for {} output channels", name, shape[0], channels
        )


def _require_bias(bias: TensorType | None) -> None:
    require(bias is None or bias.dtype is DType.I32, "bias is {}, it must be i32", bias and bias.dtype)


def sum_type(x: DType) -> DType:
    """The type of sums of products of integers x of that type with 8-bit ones."""
    return DType.I64 if x is DType.I16 else DType.I32


def _wide(t: TensorType, to: DType = DType.I32) -> TensorType:
    return t.with_dtype(to)


def centred(x: Array, zero_point: Array | None, axis: int = 0, to: DType = DType.I32) -> Array:
    """The difference x - zero_point as i32 (or `to`); a vector of zero points lies along `axis`."""
    wide = x.astype(to.numpy)
    if zero_point is not None:
        offset = zero_point.astype(to.numpy)
        wide -= offset if offset.ndim == 0 else offset.reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    return wide


class _Integer(Operator):
    """What the integer operators share: they delegate to the operator of the same attributes over i32 operands."""

    plain: ClassVar[type[Operator]]
    channel_axis: ClassVar[int | None] = 0

    def as_plain(self) -> Operator:
        """The operator with the same attributes whose meaning this is, over i32 operands."""
        return cast(Operator, cast(Any, self.plain)(**self.attributes))

    def weight_axis(self) -> int | None:
        """Axis of w along which a vector of zero points lies; None when only a scalar is allowed."""
        return self.channel_axis

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        x_zero_point: TensorType | None = None,
        w_zero_point: TensorType | None = None,
        bias: TensorType | None = None,
    ) -> Any:
        _require_operands(x_zero_point, x=x, w=w)
        _require_bias(bias)
        axis = self.weight_axis()
        shape: InferredShape = ranked(w, "w")
        _require_zero_point(x_zero_point, x, "x_zero_point")
        _require_zero_point(
            w_zero_point, w, "w_zero_point", None if axis is None or axis >= len(shape) else shape[axis]
        )
        to = sum_type(x.dtype)
        return self.as_plain().infer(_wide(x, to), _wide(w, to), bias and _wide(bias, to))

    def evaluate(
        self,
        x: Array,
        w: Array,
        x_zero_point: Array | None = None,
        w_zero_point: Array | None = None,
        bias: Array | None = None,
    ) -> Any:
        to = sum_type(DType.from_numpy(x.dtype))
        weight = centred(w, w_zero_point, self.weight_axis() or 0, to)
        wide_bias = None if bias is None else bias.astype(to.numpy)
        return self.as_plain().evaluate(centred(x, x_zero_point, to=to), weight, wide_bias)

    def decompose(
        self,
        x: Tensor,
        w: Tensor,
        x_zero_point: Tensor | None = None,
        w_zero_point: Tensor | None = None,
        bias: Tensor | None = None,
    ) -> Tensor | None:
        """Of 16-bit integers: as two sums of 8-bit ones."""
        if x.type.dtype is not DType.I16 or x.type.shape is None:
            return None
        from uair.ops.conversion import Cast
        from uair.ops.elementwise import Add
        from uair.ops.shape import Reshape

        total = _of_halves(x, lambda half: self(half, w, None, w_zero_point))
        if bias is None:
            return total
        added = Cast(to=DType.I64)(bias)
        axes = 0 if isinstance(self, IntegerLinear) else x.type.rank - 2
        return Add()(total, Reshape(shape=(-1, *(1 for _ in range(axes))))(added) if axes else added)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        bias = operands[4] if len(operands) > 4 else None
        return self.as_plain().flops([*operands[:2], bias], results)


def _of_halves(x: Tensor, product: Callable[[Tensor], Tensor]) -> Tensor:
    """256 * product(high) + product(low) for x = 256 * high + low, in i64."""
    from uair.ops.conversion import Cast
    from uair.ops.elementwise import Add, IntDiv, Mod, Mul, Sub

    wide, step = Cast(to=DType.I32)(x), constant(np.array(256, np.int32))
    low = Mod()(wide, step)
    high = IntDiv()(Sub()(wide, low), step)
    sums = [Cast(to=DType.I64)(product(Cast(to=t)(half))) for half, t in ((high, DType.I8), (low, DType.U8))]
    return Add()(Mul()(sums[0], constant(np.array(256, np.int64))), sums[1])


_ZERO = np.array(3, np.int8)
_MIDDLE = np.array(128, np.uint8)


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConv1D(_Integer):
    """1-D convolution of 8-bit integers. x: [N, C, L]; w: [M, C/groups, k]; see IntegerConv2D and Conv1D."""

    plain: ClassVar[type[Operator]] = Conv1D
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pads=(1, 1)), "i8[1,2,7]", "i8[3,2,3]", _ZERO, None, "i32[3]")
        yield bad(cls(), "f32[1,2,7]", "i8[3,2,3]", because="must be i8 or u8")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConv2D(_Integer):
    """2-D convolution of 8-bit integers into 32-bit sums. x: i8 or u8 [N, C, H, W]; w: i8 or u8 [M, C/groups, kH, kW].

    acc: i32 = bias[m] + sum of (x - x_zero_point) * (w - w_zero_point[m]), exact, wrapping around at 32 bits; outside x
    stands x_zero_point. x_zero_point: scalar of x's type; w_zero_point: scalar or [M] of w's type; bias: i32 [M]; 0
    where omitted. Attributes as for Conv2D. Source: ONNX ConvInteger, with bias.
    """

    plain: ClassVar[type[Operator]] = Conv2D
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pads=(1, 1, 1, 1)), "u8[1,3,6,6]", "i8[4,3,3,3]", _MIDDLE, None, "i32[4]")
        yield case(cls(strides=(2, 1), groups=2), "i8[2,4,5,5]", "i8[6,2,3,2]", _ZERO)
        yield case(cls(groups=4, pads=(1, 0, 0, 1)), "i8[1,4,6,7]", "i8[4,1,3,3]")
        yield case(cls(), "u8[1,2,4,4]", "u8[2,2,3,3]", _MIDDLE, np.array([0, 255], np.uint8))
        yield case(cls(pads=(1, 1, 0, 1)), "i16[1,3,6,6]", "i8[4,3,3,3]", None, None, "i32[4]")
        yield bad(cls(), "i16[1,3,8,8]", "i8[4,3,3,3]", np.array(1, np.int16), because="it has no zero point")
        yield bad(cls(), "i16[1,3,8,8]", "i16[4,3,3,3]", because="w is i16")
        yield bad(cls(), "i8[1,3,8,8]", "i32[4,3,3,3]", because="w is i32")
        yield bad(cls(), "i8[1,3,8,8]", "i8[4,3,3,3]", np.array(1, np.uint8), because="x_zero_point is u8")
        yield bad(cls(), "i8[1,3,8,8]", "i8[4,3,3,3]", None, None, "f32[4]", because="bias is f32")
        yield bad(cls(), "i8[1,3,8,8]", "i8[4,3,3,3]", None, np.zeros(3, np.int8), because="3 elements for 4")
        yield bad(cls(), "i8[1,3,8,8]", "i8[4,2,3,3]", because="weight expects 2 input channels")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConv3D(_Integer):
    """3-D convolution of 8-bit integers. x: [N, C, D, H, W]; attributes as for Conv3D; see IntegerConv2D."""

    plain: ClassVar[type[Operator]] = Conv3D
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    groups: int = 1
    auto_pad: AutoPad = "notset"

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(pads=(1, 1, 1, 1, 1, 1)), "i8[1,2,4,4,5]", "i8[3,2,3,3,3]", _ZERO, None, "i32[3]")
        yield bad(cls(), "i8[1,2,4,4,5]", "i8[3,2,3,3,3]", np.zeros(2, np.int8), because="must be a scalar")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConvTranspose1D(_Integer):
    """1-D transposed convolution of 8-bit integers. w: [C, M/groups, k], its zero point a scalar; see IntegerConv2D."""

    plain: ClassVar[type[Operator]] = ConvTranspose1D
    channel_axis: ClassVar[int | None] = None
    strides: Ints = (1,)
    pads: Ints = (0, 0)
    dilations: Ints = (1,)
    groups: int = 1
    output_padding: Ints = (0,)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2,)), "i8[1,3,5]", "i8[3,4,3]", _ZERO, None, "i32[4]")
        yield bad(cls(), "i8[1,3,5]", "i8[2,4,3]", because="weight expects 2 input channels")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConvTranspose2D(_Integer):
    """2-D transposed convolution of 8-bit integers. w: [C, M/groups, kH, kW]; its zero point is a scalar.

    The rest is as for IntegerConv2D and ConvTranspose2D.
    """

    plain: ClassVar[type[Operator]] = ConvTranspose2D
    channel_axis: ClassVar[int | None] = None
    strides: Ints = (1, 1)
    pads: Ints = (0, 0, 0, 0)
    dilations: Ints = (1, 1)
    groups: int = 1
    output_padding: Ints = (0, 0)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2, 2), pads=(1, 0, 0, 1)), "u8[1,3,4,5]", "i8[3,4,2,2]", _MIDDLE, None, "i32[4]")
        yield bad(cls(), "i8[1,3,4,5]", "i8[3,4,2,2]", None, np.zeros(4, np.int8), because="w_zero_point of shape [4]")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerConvTranspose3D(_Integer):
    """3-D transposed convolution of 8-bit integers. w: [C, M/groups, kD, kH, kW]; see IntegerConvTranspose2D."""

    plain: ClassVar[type[Operator]] = ConvTranspose3D
    channel_axis: ClassVar[int | None] = None
    strides: Ints = (1, 1, 1)
    pads: Ints = (0, 0, 0, 0, 0, 0)
    dilations: Ints = (1, 1, 1)
    groups: int = 1
    output_padding: Ints = (0, 0, 0)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(strides=(2, 1, 2)), "i8[1,2,2,3,2]", "i8[2,3,2,2,2]", _ZERO)
        yield bad(cls(), "i8[1,2,3,3]", "i8[2,3,2,2,2]", because="x must have rank 5")


@operator(inputs="x w x_zero_point? w_zero_point? bias?", outputs="acc", family="integer")
class IntegerLinear(_Integer):
    """Affine map of 8-bit integers. x: [..., in]; w: [out, in], or [in, out] without transpose_w; bias: i32 [out].

    acc: i32 [..., out] = (x - x_zero_point) @ (w - w_zero_point)^T + bias, exact, wrapping around at 32 bits. The zero
    point of w is a scalar or [out].
    """

    plain: ClassVar[type[Operator]] = Linear
    transpose_w: bool = True

    def weight_axis(self) -> int | None:
        return 0 if self.transpose_w else 1

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "u8[2,3,4]", "i8[5,4]", _MIDDLE, None, "i32[5]")
        yield case(cls(), "i16[2,3,4]", "u8[5,4]", None, np.array([1, 2, 3, 4, 5], np.uint8), "i32[5]")
        yield case(cls(transpose_w=False), "i8[3,4]", "i8[4,5]", _ZERO, np.array([1, 2, 3, 4, 5], np.int8))
        yield bad(cls(), "i8[3,4]", "i8[4,5]", because="weight expects 5 input features")


@operator(inputs="a b a_zero_point? b_zero_point?", outputs="acc", family="integer")
class IntegerMatMul(Operator):
    """Matrix product of 8-bit integers: acc: i32 = (a - a_zero_point) @ (b - b_zero_point), exact, wrapping around.

    a: i8 or u8 [..., m, k]; b: i8 or u8 [..., k, n]; the zero points are scalars of the operands' types. Transpositions
    and leading axes as for MatMul. Source: ONNX MatMulInteger.
    """

    trans_a: bool = False
    trans_b: bool = False

    def infer(
        self,
        a: TensorType,
        b: TensorType,
        a_zero_point: TensorType | None = None,
        b_zero_point: TensorType | None = None,
    ) -> TensorType:
        _require_operands(a_zero_point, a=a, b=b)
        _require_zero_point(a_zero_point, a, "a_zero_point")
        _require_zero_point(b_zero_point, b, "b_zero_point")
        to = sum_type(a.dtype)
        return self.as_plain().infer(_wide(a, to), _wide(b, to))

    def as_plain(self) -> MatMul:
        """The operator with the same attributes whose meaning this is, over i32 operands."""
        return MatMul(trans_a=self.trans_a, trans_b=self.trans_b)

    def evaluate(
        self, a: Array, b: Array, a_zero_point: Array | None = None, b_zero_point: Array | None = None
    ) -> Array:
        to = sum_type(DType.from_numpy(a.dtype))
        return self.as_plain().evaluate(centred(a, a_zero_point, to=to), centred(b, b_zero_point, to=to))

    def decompose(
        self, a: Tensor, b: Tensor, a_zero_point: Tensor | None = None, b_zero_point: Tensor | None = None
    ) -> Tensor | None:
        """Of 16-bit integers: as two sums of 8-bit ones."""
        if a.type.dtype is not DType.I16:
            return None
        return _of_halves(a, lambda half: self(half, b, None, b_zero_point))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        return self.as_plain().flops(operands[:2], results)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "u8[2,3,4]", "i8[4,5]", _MIDDLE)
        yield case(cls(trans_b=True), "i16[3,4]", "u8[5,4]", None, _MIDDLE)
        yield case(cls(trans_a=True, trans_b=True), "i8[2,4,3]", "u8[2,5,4]", _ZERO, _MIDDLE)
        yield bad(cls(), "i8[3,4]", "i8[5,4]", because="rows of 4")
        yield bad(cls(), "i32[3,4]", "i8[4,5]", because="a is i32")
