"""The dynamically quantized LSTM of onnxruntime: 8-bit weights, and activations that become 8-bit numbers in each step.

Products are sums of integers, exact; only the gates are computed in floating point.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._attention import positions
from uair.ops._compute import require_dtype, scalar
from uair.ops._precision import magnitude
from uair.ops._recurrent import Math, NumpyMath, V, Weights, run_projected
from uair.ops._recurrent_graph import Direction as Part
from uair.ops._recurrent_graph import TensorMath, per_direction, plain_step, run, stacked
from uair.ops.base import (
    Floats,
    Sample,
    Strs,
    Types,
    bad,
    case,
    operator,
    ranked,
    require_shape,
    same_dtype,
)
from uair.ops.comparison import Less
from uair.ops.quantization import Dequantize, DynamicQuantize
from uair.ops.recurrent import LSTM, Direction, Recurrent
from uair.ops.reduction import ReduceMax
from uair.ops.shape import Expand, Reshape

_EIGHT_BITS = frozenset({DType.I8, DType.U8})
_EXACT_IN_F32 = 1 << 24


@operator(
    inputs="x w r w_scale w_zero_point r_scale r_zero_point bias? lengths? initial_h? initial_c? peepholes?",
    outputs="y y_h y_c",
    family="recurrent",
)
class DynamicQuantizeLSTM(Recurrent):
    """An LSTM whose products multiply 8-bit integers; the activations are quantized while it runs.

    x: [steps, batch, input], f32; w: [directions, input, 4 * hidden] and r: [directions, hidden, 4 * hidden], i8 or u8
    (rows and columns are those of LSTM exchanged; the gates are in its order i, o, f, c); the scale (f32) and the zero
    point (of the weight's type) of each: [directions] or [directions, 4 * hidden]. bias, lengths, states, peepholes,
    attributes and results are those of LSTM, in f32.

    A product of activations a with a weight m is (a' - z) (m - m_zero_point) * (s * m_scale), where a', s, z =
    DynamicQuantize(a) and the sum is exact. For w, a is the whole of x, elements at and behind the greatest of lengths
    counting as 0; for r, it is the output of the step before of all sequences, 0 for those that had ended then.
    onnxruntime splits large batches between threads and then takes the range of each part. Source: onnxruntime's
    com.microsoft DynamicQuantizeLSTM.
    """

    gates: ClassVar[int] = LSTM.gates
    functions: ClassVar[Strs] = LSTM.functions
    state: ClassVar[Strs] = LSTM.state
    direction: Direction = "forward"
    activations: Strs = ()
    alpha: Floats = ()
    beta: Floats = ()
    clip: float | None = None
    input_forget: bool = False

    @property
    def layer(self) -> LSTM:
        """The layer in floating point, with the same attributes."""
        return LSTM(**self.attributes)

    # ---------------------------------------------------------------- inference
    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        w_scale: TensorType,
        w_zero_point: TensorType,
        r_scale: TensorType,
        r_zero_point: TensorType,
        bias: TensorType | None = None,
        lengths: TensorType | None = None,
        initial_h: TensorType | None = None,
        initial_c: TensorType | None = None,
        peepholes: TensorType | None = None,
    ) -> Types:
        require_dtype(x, frozenset({DType.F32}), "x")
        for name, matrix, scale, zero_point in (("w", w, w_scale, w_zero_point), ("r", r, r_scale, r_zero_point)):
            require_dtype(matrix, _EIGHT_BITS, name)
            same_dtype(**{name: matrix, f"{name}_zero_point": zero_point})
            require_dtype(scale, frozenset({DType.F32}), f"{name}_scale")
            for what, parameter in (("scale", scale), ("zero_point", zero_point)):
                self._parameter(parameter, f"{name}_{what}", matrix)
        plain_w, plain_r = self._turned(w, "w"), self._turned(r, "r")
        return self._layer(x, plain_w, plain_r, bias, lengths, peepholes, initial_h=initial_h, initial_c=initial_c)

    def _parameter(self, t: TensorType, name: str, matrix: TensorType) -> None:
        """A scale or zero point: one number for each direction, or one for each column too."""
        if t.shape is not None:
            columns = ranked(matrix, "w", 3)[2]
            ranked(t, name, (1, 2))
            require_shape(t, name, *(self.directions, columns)[: len(t.shape)])

    @staticmethod
    def _turned(matrix: TensorType, name: str) -> TensorType:
        """The type of a weight as LSTM has it."""
        if matrix.shape is None:
            return TensorType(DType.F32, None)
        directions, rows, columns = ranked(matrix, name, 3)
        return inferred(DType.F32, (directions, columns, rows))

    # --------------------------------------------------------------- evaluation
    def weights_of(self, math: Math[Any], r: Any, bias: Any, peepholes: Any) -> tuple[Any, Weights]:
        parts = () if peepholes is None else math.split(peepholes, 3)
        return None if bias is None else math.add(*math.split(bias, 2)), Weights(r, peepholes=parts)

    def cell(self, math: Math[V], d: int, part: V, states: Sequence[V], weights: Weights) -> Sequence[V]:
        return self.layer.cell(math, d, part, states, weights)

    def evaluate(
        self,
        x: Array,
        w: Array,
        r: Array,
        w_scale: Array,
        w_zero_point: Array,
        r_scale: Array,
        r_zero_point: Array,
        bias: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        peepholes: Array | None = None,
    ) -> tuple[Array, ...]:
        if lengths is not None:
            if lengths.size and not 0 <= lengths.min() <= lengths.max() <= len(x):
                raise EvaluationError(f"{self.op_type}: lengths {lengths.tolist()} do not fit in {len(x)} steps")
            x = np.where(np.arange(len(x))[:, None, None] < lengths.max(initial=0), x, np.float32(0))
        numbers = _Quantized.of(x.reshape(x.shape[0] * x.shape[1], x.shape[2]))
        zeros = np.zeros((x.shape[1], r.shape[1]), np.float32)
        math, layer = _IntegerMath(), self.layer
        sequences: list[Array] = []
        lasts: list[Sequence[Array]] = []
        for d in range(self.directions):
            matrix = _Matrix.of(w[d], w_scale[d], w_zero_point[d])
            projected = numbers.times(matrix).reshape(*x.shape[:2], w.shape[2])
            added, weights = self.weights_of(
                math,
                _Matrix.of(r[d], r_scale[d], r_zero_point[d]),
                *(None if p is None else p[d] for p in (bias, peepholes)),
            )
            if added is not None:
                projected += added
            begin = [zeros if s is None else s[d] for s in (initial_h, initial_c)]
            with np.errstate(all="ignore"):
                sequence, last = run_projected(
                    projected,
                    begin,
                    lengths,
                    _Cell(layer, math, d, weights, lengths),
                    backward=self.direction == "reverse" or d == 1,
                )
            sequences.append(sequence)
            lasts.append(last)
        return np.stack(sequences, 1), *(np.stack(s) for s in zip(*lasts, strict=True))

    # ------------------------------------------------------------ decomposition
    def decompose(
        self,
        x: Tensor,
        w: Tensor,
        r: Tensor,
        w_scale: Tensor,
        w_zero_point: Tensor,
        r_scale: Tensor,
        r_zero_point: Tensor,
        bias: Tensor | None = None,
        lengths: Tensor | None = None,
        initial_h: Tensor | None = None,
        initial_c: Tensor | None = None,
        peepholes: Tensor | None = None,
    ) -> tuple[Tensor, ...] | None:
        quantized = (w, r, w_scale, w_zero_point, r_scale, r_zero_point)
        given = [t for t in (x, *quantized, bias, lengths, initial_h, initial_c, peepholes) if t is not None]
        if any(t.type.shape is None for t in given):
            return None  # the parts of what has no known axes cannot be taken
        if not all(isinstance(extent, int) for extent in (*w.type.dims, *r.type.dims)):
            return None
        math = _QuantizedMath()
        if lengths is not None:
            lengths = math.cast(lengths, DType.I64)
            x = self._within(math, x, lengths)
        x = math.quantized(x)
        ws = self._real(math, w, w_scale, w_zero_point)
        rs = self._real(math, r, r_scale, r_zero_point)
        biases, peeps, *states = (
            per_direction(math, t, self.directions) for t in (bias, peepholes, initial_h, initial_c)
        )
        zeros = math(Expand(shape=(x.type.dims[1], r.type.dims[1])), scalar(0, x))
        outputs: list[Tensor] = []
        lasts: list[Sequence[Tensor]] = []
        for d in range(self.directions):
            added, weights = self.weights_of(math, rs[d], biases[d], peeps[d])
            part = TensorMath.product(math, x, ws[d])
            part = part if added is None else math.add(part, added)
            begin = [zeros if s[d] is None else s[d] for s in states]
            if lengths is not None:
                begin.insert(0, begin[0])
            output, last = run(math, Part(self, d, weights, part, begin, lengths, _quantized_step))
            outputs.append(output)
            lasts.append(last[-2:])
        return tuple(stacked(math, outputs, lasts))

    @staticmethod
    def _within(math: TensorMath, x: Tensor, lengths: Tensor) -> Tensor:
        """The elements up to the greatest of the lengths, 0 behind them."""
        place = math(Reshape(shape=(x.type.dims[0], 1, 1)), positions(x, 0, math))
        return math.choose(math(Less(), place, math(ReduceMax(keepdims=False), lengths)), x, scalar(0, x))

    def _real(self, math: TensorMath, matrix: Tensor, scale: Tensor, zero_point: Tensor) -> list[Tensor]:
        """The real weights of each direction."""
        op = Dequantize(axis=1 if scale.type.rank == 2 else None)
        if scale.type.rank != zero_point.type.rank:  # one is for the columns, the other for the whole
            op = Dequantize(axis=1)
            scale, zero_point = (self._columns(math, t, matrix) for t in (scale, zero_point))
        parts = zip(*(per_direction(math, t, self.directions) for t in (matrix, scale, zero_point)), strict=True)
        return [math(op, *part) for part in parts]

    def _columns(self, math: TensorMath, t: Tensor, matrix: Tensor) -> Tensor:
        if t.type.rank == 2:
            return t
        shape = (self.directions, matrix.type.dims[2])
        return math(Expand(shape=shape), math(Reshape(shape=(self.directions, 1)), t))

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        w, r = operands[1], operands[2]
        assert w is not None and r is not None
        size, hidden = w.dims[1], r.dims[1]
        assert isinstance(size, int) and isinstance(hidden, int)
        return results[0].size * self.gates * (2 * (size + hidden) + 4)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        rng = np.random.default_rng(5)

        def operands(count: int, *, columns: bool = False, signed: bool = True, steps: int = 3) -> tuple[Array, ...]:
            dtype, low, high = (np.int8, -64, 64) if signed else (np.uint8, 64, 192)
            shape = (count, 20) if columns else (count,)
            x = rng.standard_normal((steps, 2, 4)).astype(np.float32)
            w, r = (rng.integers(low, high, (count, rows, 20)).astype(dtype) for rows in (4, 5))
            scales = [rng.uniform(0.005, 0.02, shape).astype(np.float32) for _ in range(2)]
            zero_points = [np.full(shape, (low + high) // 2, dtype) for _ in range(2)]
            return (x, w, r, scales[0], zero_points[0], scales[1], zero_points[1])

        lengths = np.array([3, 1], np.int32)
        yield case(cls(), *operands(1), "f32[1,40]")
        yield case(cls(direction="reverse", clip=0.8), *operands(1, columns=True), None, lengths)
        yield case(
            cls(direction="bidirectional"),
            *operands(2, signed=False), "f32[2,40]", lengths, "f32[2,2,5]", "f32[2,2,5]", "f32[2,15]",
        )  # fmt: skip
        yield case(
            cls(input_forget=True, activations=("HardSigmoid", "Elu", "Tanh"), alpha=(0.3, 0.5, 0), beta=(0.4, 0, 0)),
            *operands(1, steps=18),
        )
        x, w, *rest = operands(1)
        yield bad(cls(), x, w.astype(np.float32), *rest, because="w must be")
        yield bad(cls(), x.astype(np.float16), w, *rest, because="x must be f32")
        yield bad(cls(), x, w, *rest[:1], "f32[2]", *rest[2:], because="w_scale has shape [2]")
        yield bad(cls(direction="bidirectional"), x, w, *rest, because="w_scale has shape [1]")


# ---------------------------------------------------------------- on arrays
@attrs.frozen(eq=False)
class _Matrix:
    """An 8-bit weight of one direction, [rows, columns]: the integers without their zero point, and the scale."""

    centred: Array
    scale: Array

    @staticmethod
    def of(values: Array, scale: Array, zero_point: Array) -> _Matrix:
        """The integers are kept as floats in which every sum with 8-bit numbers is exact."""
        centred = values.astype(np.int32) - zero_point.astype(np.int32)
        exact = 255 * magnitude(centred) * max(len(values), 1) <= _EXACT_IN_F32
        return _Matrix(centred.astype(np.float32 if exact else np.float64), scale)


@attrs.frozen(eq=False)
class _Quantized:
    """Activations as 8-bit integers without their zero point, and the scale."""

    centred: Array
    scale: Array

    @staticmethod
    def of(a: Array) -> _Quantized:
        """By the range of all of them."""
        y, scale, zero_point = DynamicQuantize().evaluate(a)
        return _Quantized(y.astype(np.int32) - np.int32(zero_point), scale)

    def times(self, matrix: _Matrix) -> Array:
        """The product in f32."""
        sums = self.centred.astype(matrix.centred.dtype) @ matrix.centred
        result: Array = sums.astype(np.float32) * (self.scale * matrix.scale)
        return result


class _IntegerMath(NumpyMath):
    """Cells on arrays whose recurrence weights are a `_Matrix`."""

    def product(self, a: Array, w: Any) -> Array:
        """The product of a, quantized."""
        assert isinstance(w, _Matrix)
        return _Quantized.of(a).times(w)


class _Cell:
    """The cell of one direction, called for one step after the other."""

    def __init__(self, layer: LSTM, math: _IntegerMath, d: int, weights: Weights, lengths: Array | None) -> None:
        self._layer, self._math, self._d, self._weights, self._lengths = layer, math, d, weights, lengths
        self._step = 0

    def __call__(self, part: Array, states: Sequence[Array]) -> Sequence[Array]:
        """The next state; the product sees 0 where a sequence had ended in the step before."""
        h, c = states
        if self._lengths is not None and self._step:
            h = np.where((self._step - 1 < self._lengths)[:, None], h, np.float32(0))
        self._step += 1
        return self._layer.cell(self._math, self._d, part, (h, c), self._weights)


# --------------------------------------------------------------- on tensors
class _QuantizedMath(TensorMath):
    """Cells on tensors whose products see what quantization leaves of an operand."""

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        """The product of a, quantized."""
        return super().product(self.quantized(a), w)

    def quantized(self, a: Tensor) -> Tensor:
        """What is left of `a` after quantization."""
        y, scale, zero_point = self.apply(DynamicQuantize(), a)
        return self(Dequantize(), y, scale, zero_point)


def _quantized_step(
    math: TensorMath, d: Part, part: Tensor, states: Sequence[Tensor], active: Tensor | None
) -> tuple[Tensor, Sequence[Tensor]]:
    """With lengths the output is part of the state, because it is what the next product sees."""
    if active is None:
        return plain_step(math, d, part, states, active)
    h, c = d.op.cell(math, d.index, part, (states[0], states[2]), d.weights)
    output = math.choose(active, h, scalar(0, h))
    return output, (output, math.choose(active, h, states[1]), math.choose(active, c, states[2]))
