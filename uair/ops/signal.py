"""Signal processing: Fourier transforms and spectrograms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim, floor_div, is_static, static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor, constant
from uair.ir.types import TensorType, inferred
from uair.ops._cast import cast
from uair.ops._compute import FLOATS, REALS, along_axis, require_dtype
from uair.ops._forms import number, one_number
from uair.ops._precision import rounded, widened
from uair.ops._slices import UNBOUNDED
from uair.ops.base import Operator, Sample, bad, case, normalize_axis, operator, ranked, require

FAMILY = "signal"


@operator(inputs="x length? axis?", family=FAMILY)
class DFT(Operator):
    """The discrete Fourier transform along `axis`, of complex numbers as pairs along the last axis.

    x: [..., 1] (real) or [..., 2] (real and imaginary part) of at least two axes. The signal is cut, or filled up with
    zeros, to `length`, its extent unless given. y[k] is the sum of x[t] * exp(-2 pi i k t / length), of which
    `onesided` keeps k <= length / 2; `inverse` has the other sign and divides by the length. Both: x is one half of a
    spectrum with conjugate symmetry, the result is real ([..., 1]), and `length` is twice the extent less two unless
    given. axis and length may be operands. Source: ONNX DFT 20, numpy.fft.
    """

    axis: int | None = -2
    length: int | None = None
    inverse: bool = False
    onesided: bool = False

    def infer(self, x: TensorType, length: TensorType | None = None, axis: TensorType | None = None) -> TensorType:
        require_dtype(x, FLOATS, "x")
        shape = list(ranked(x))
        require(len(shape) >= 2, "x must have at least two axes, has shape {}", shape)
        require(not isinstance(shape[-1], int) or shape[-1] in (1, 2), "x has numbers of {} parts", shape[-1])
        one_number(self.length, length, "length", optional=True)
        one_number(self.axis, axis, "axis")
        require(self.length is None or self.length > 0, "length {} is not positive", self.length)
        real = self.inverse and self.onesided
        parts = 1 if real else 2
        if self.axis is None:
            open_extents = self.onesided or self.length is not None or length is not None
            return inferred(x.dtype, (*([None] * (len(shape) - 1) if open_extents else shape[:-1]), parts))
        at = normalize_axis(self.axis, len(shape))
        require(at < len(shape) - 1, "axis {} is that of real and imaginary parts", self.axis)
        shape[at] = None if length is not None else self._extent(shape[at])
        return inferred(x.dtype, (*shape[:-1], parts))

    def _extent(self, extent: Dim | None) -> Dim | None:
        """Extent of the result along the axis."""
        n = self.length if self.length is not None else extent
        if n is None or not self.onesided:
            return n
        if self.inverse:
            return n if self.length is not None else 2 * (n - 1)
        return floor_div(n, 2) + 1

    def evaluate(self, x: Array, length: Array | None = None, axis: Array | None = None) -> Array:
        at = number(self, self.axis, axis)
        if not -x.ndim <= at < x.ndim or at % x.ndim == x.ndim - 1:
            raise EvaluationError(f"DFT: axis {at} is none of the signal, x has shape {list(x.shape)}")
        at %= x.ndim
        n = number(self, self.length, length) if self.length is not None or length is not None else None
        real = self.inverse and self.onesided
        if n is None:
            n = 2 * (x.shape[at] - 1) if real else x.shape[at]
        if n < 1:
            raise EvaluationError(f"DFT: the length is {n}")
        wide = widened(x)
        values = wide[..., 0] if x.shape[-1] == 1 else wide[..., 0] + 1j * wide[..., 1]
        if real:
            return rounded(np.fft.irfft(values, n, at)[..., np.newaxis], x.dtype)
        result = np.fft.ifft(values, n, at) if self.inverse else np.fft.fft(values, n, at)
        if self.onesided:
            result = result[(slice(None),) * at + (slice(n // 2 + 1),)]
        return rounded(np.stack((result.real, result.imag), -1), x.dtype)

    def decompose(self, x: Tensor, length: Tensor | None = None, axis: Tensor | None = None) -> Tensor | None:
        """A matrix product over the axis and the parts of its numbers; the matrix is the transform of a unit matrix.

        When the axis is an operand and decides no extent, the results along all axes are made and one is chosen.
        """
        shape = x.type.shape
        if shape is None or length is not None or not isinstance(shape[-1], int):
            return None
        if axis is not None:
            if self.onesided or self.length is not None or not is_static(shape):
                return None
            made = [self._product(x, at) for at in range(len(shape) - 1)]
            return along_axis(axis, len(shape), [t for t in made if t is not None])
        return None if self.axis is None else self._product(x, self.axis % len(shape))

    def _product(self, x: Tensor, at: int) -> Tensor | None:
        """The transform along an axis; None when its extent is not known."""
        from uair.ops.elementwise import Cast
        from uair.ops.linear import MatMul
        from uair.ops.shape import Reshape, Transpose

        rank = x.type.rank
        order = (*(i for i in range(rank - 1) if i != at), at, rank - 1)
        turned = Transpose(perm=order)(x)
        pair = turned.type.dims[-2:]
        if not is_static(pair):
            return None
        size, outer = math.prod(static(pair)), turned.type.dims[:-2]
        along = DFT(axis=1, length=self.length, inverse=self.inverse, onesided=self.onesided)
        if self._extent(pair[0]) in (0, None):
            return None
        matrix = along.evaluate(np.eye(size).reshape(size, *static(pair)))
        kind = DType.F64 if x.type.dtype is DType.F64 else DType.F32
        made = Cast(to=kind)(Reshape(shape=(*outer, size))(turned))
        made = MatMul()(made, constant(matrix.reshape(size, math.prod(matrix.shape[1:])).astype(kind.numpy)))
        made = Reshape(shape=(*outer, *matrix.shape[1:]))(made)
        made = Transpose(perm=tuple(order.index(i) for i in range(rank)))(made)
        return Cast(to=x.type.dtype)(made)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        x = operands[0]
        longest = max((d for d in x.dims[:-1] if isinstance(d, int)), default=1) if x is not None else 1
        return 5 * results[0].size * max(longest.bit_length(), 1)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        yield case(cls(), "f32[2,8,1]")
        yield case(cls(onesided=True), "f64[2,7,1]")
        yield case(cls(axis=0, length=5), "f32[3,2,2]")
        yield case(cls(axis=1, length=4, onesided=True), "f64[2,6,3,1]")
        yield case(cls(inverse=True), "f32[6,2]")
        yield case(cls(inverse=True, onesided=True), "f32[1,5,2]")
        yield case(cls(inverse=True, onesided=True, length=7), "f64[1,4,2]")
        yield case(cls(), "f16[2,4,2]")
        yield case(cls(axis=1, inverse=True), "bf16[1,4,2,2]")
        yield case(cls(axis=None), "f32[2,4,1]", None, np.array(1))
        yield case(cls(onesided=True), "f64[2,4,1]", np.array(6))
        yield bad(cls(axis=2), "f32[2,8,1]", because="real and imaginary parts")
        yield bad(cls(), "f32[2,8,3]", because="3 parts")
        yield bad(cls(), "f32[8]", because="two axes")
        yield bad(cls(axis=None), "f32[2,8,1]", because="neither")
        yield bad(cls(length=4), "f32[2,8,1]", "i64[]", because="both")
        yield bad(cls(), "i32[2,8,1]", because="floating-point")


@operator(inputs="bins length rate lower upper", family=FAMILY)
class MelWeights(Operator):
    """The matrix that sums a spectrum of `length` // 2 + 1 frequencies up into `bins` triangular bands.

    The bands' edges lie at equal distances on the mel scale, 2595 log10(1 + f / 700), between `lower` and `upper`
    hertz: bins + 2 of them at steps of (upper - lower) / (bins + 2), as ONNX has it. bins, length, rate (samples per
    second): integers; lower, upper: floating point; all are scalars. Source: ONNX MelWeightMatrix 17.
    """

    dtype: DType = DType.F32

    def infer(
        self, bins: TensorType, length: TensorType, rate: TensorType, lower: TensorType, upper: TensorType
    ) -> TensorType:
        require(self.dtype in REALS, "weights are numbers, not {}", self.dtype)
        for name, t in (("bins", bins), ("length", length), ("rate", rate)):
            one_number(None, t, name)
        for name, t in (("lower", lower), ("upper", upper)):
            require_dtype(t, FLOATS, name)
            require(t.shape is None or t.shape in ((), (1,)), "{} must be one number, is {}", name, t)
        return inferred(self.dtype, (None, None))

    def evaluate(self, bins: Array, length: Array, rate: Array, lower: Array, upper: Array) -> Array:
        count, size, samples = (int(v.reshape(-1)[0]) for v in (bins, length, rate))
        if min(count, size, samples) < 1:
            raise EvaluationError(f"MelWeights: {count} bins of {size} samples at {samples} per second are none")
        ends = [np.log(1 + float(v.reshape(-1)[0]) / 700) for v in (lower, upper)]
        mel = ends[0] + np.arange(count + 2) * ((ends[1] - ends[0]) / (count + 2))
        edges = np.floor((size + 1) * (700 * (np.exp(mel) - 1)) / samples)
        low, centre, high = edges[:-2], edges[1:-1], edges[2:]
        row = np.arange(size // 2 + 1.0)[:, np.newaxis]
        with np.errstate(all="ignore"):
            rising = np.where((row >= low) & (row <= centre), (row - low) / (centre - low), 0)
            falling = (high - row) / (high - centre)
        rising = np.where(centre == low, row == centre, rising)
        return cast(np.where((row >= centre) & (row < high), falling, rising), self.dtype)

    def decompose(self, bins: Tensor, length: Tensor, rate: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """The same arithmetic in f64, over a range of rows and a range of edges."""
        from uair.ops import comparison as c
        from uair.ops import elementwise as e
        from uair.ops.shape import Concat, Range, Reshape, Slice, Unsqueeze

        def number(t: Tensor, to: DType = DType.F64) -> Tensor:
            return e.Cast(to=to)(Reshape(shape=())(t))

        def whole(value: int) -> Tensor:
            return constant(np.array(value))

        def f64(value: float) -> Tensor:
            return constant(np.array(value, np.float64))

        def part(start: int, end: int) -> Tensor:
            return Slice(axes=(0,), starts=(start,), ends=(end,), steps=(1,))(edges)

        count = e.Add()(number(bins, DType.I64), whole(2))
        low, high = (e.Log()(e.Add()(e.Div()(number(t), f64(700)), f64(1))) for t in (lower, upper))
        step = e.Div()(e.Sub()(high, low), number(count))
        mel = e.Add()(low, e.Mul()(e.Cast(to=DType.F64)(Range()(whole(0), count, whole(1))), step))
        hertz = e.Mul()(e.Sub()(e.Exp()(mel), f64(1)), f64(700))
        edges = e.Floor()(e.Div()(e.Mul()(e.Add()(number(length), f64(1)), hertz), number(rate)))
        left, centre, right = part(0, -2), part(1, -1), part(2, UNBOUNDED)
        rows = e.Add()(e.IntDiv()(number(length, DType.I64), whole(2)), whole(1))
        row = Unsqueeze(axes=(1,))(e.Cast(to=DType.F64)(Range()(whole(0), rows, whole(1))))
        rising = e.Div()(e.Sub()(row, left), e.Sub()(centre, left))
        falling = e.Div()(e.Sub()(right, row), e.Sub()(right, centre))
        inside = c.LogicalAnd()(c.GreaterEqual()(row, left), c.LessEqual()(row, centre))
        rising = e.Where()(inside, rising, f64(0))
        rising = e.Where()(c.Equal()(centre, left), e.Cast(to=DType.F64)(c.Equal()(row, centre)), rising)
        beyond = c.LogicalAnd()(c.GreaterEqual()(row, centre), c.Less()(row, right))
        extents = [Reshape(shape=(1,))(t) for t in (rows, number(bins, DType.I64))]
        weights = e.Cast(to=self.dtype)(e.Where()(beyond, falling, rising))
        return Reshape()(weights, Concat(axis=0)(*extents))  # both extents stay open, as in `infer`

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        def numbers(*values: int) -> list[Array]:
            return [np.array(v, np.int64) for v in values]

        edges = np.array(0, np.float32), np.array(4096, np.float32)
        yield case(cls(), *numbers(8, 16, 8192), *edges)
        yield case(cls(dtype=DType.F64), *numbers(5, 33, 16000), *edges)
        yield case(cls(), *numbers(20, 16, 8192), *edges)
        yield bad(cls(dtype=DType.BOOL), *numbers(8, 16, 8192), *edges, because="numbers")
        yield bad(cls(), "f32[]", "i64[]", "i64[]", "f32[]", "f32[]", because="bins must be")
        yield bad(cls(), "i64[2]", "i64[]", "i64[]", "f32[]", "f32[]", because="one number")
