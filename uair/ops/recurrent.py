"""Recurrent layers: RNN, GRU and LSTM over whole sequences.

The shapes and the order of the gates are ONNX's (i, o, f, c for LSTM; z, r, h for GRU). PyTorch and Keras order LSTM
gates i, f, g, o and PyTorch GRU gates r, z, n: their weights are permuted when a model is read. The element after the
end of a sequence (`lengths`) does not change the state, and its result is zero.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Literal, TypeAlias

import attrs
import numpy as np

from uair.errors import EvaluationError
from uair.ir.dims import Dim
from uair.ir.dtype import Array, DType
from uair.ir.graph import Tensor
from uair.ir.types import TensorType, inferred
from uair.ops._compute import FLOATS, require_dtype
from uair.ops._precision import rounded
from uair.ops._recurrent import (
    KINDS,
    Activation,
    Math,
    NumpyMath,
    V,
    Weights,
    functions_named,
    run_direction,
    widened_all,
)
from uair.ops.base import (
    Floats,
    Operator,
    Sample,
    Strs,
    Types,
    bad,
    case,
    operator,
    ranked,
    require,
    require_shape,
    same_dtype,
)

Direction: TypeAlias = Literal["forward", "reverse", "bidirectional"]


class Recurrent(Operator):
    """What the three layers share.

    Class attributes:
        gates: parts of the weights. functions: how many activations a direction has, and their defaults. state: names
        of the arrays that pass from step to step.
    """

    gates: ClassVar[int]
    functions: ClassVar[Strs]
    state: ClassVar[Strs] = ("initial_h",)

    direction: Direction
    activations: Strs
    alpha: Floats
    beta: Floats
    clip: float | None

    @property
    def directions(self) -> int:
        """Number of directions."""
        return 2 if self.direction == "bidirectional" else 1

    def functions_of(self, d: int) -> tuple[Activation, ...]:
        """The activations of one direction with their parameters."""
        names = self.activations or self.functions * self.directions
        of_direction = slice(d * len(self.functions), (d + 1) * len(self.functions))
        return functions_named(names[of_direction], self.alpha[of_direction], self.beta[of_direction], self.clip)

    # ---------------------------------------------------------------- inference
    def _require_functions(self) -> None:
        count = len(self.functions) * self.directions
        names = self.activations or self.functions * self.directions
        require(len(names) == count, "{} activations are given, {} are needed", len(names), count)
        for name in names:
            require(name in KINDS, "activation {!r} is not known", name, hint=f"known are {', '.join(KINDS)}")
            require(not KINDS[name].needs or (self.alpha and self.beta), "activation {} needs alpha and beta", name)
        for what, values in (("alpha", self.alpha), ("beta", self.beta)):
            require(len(values) in (0, count), "{} values of {} are given, {} are needed", len(values), what, count)
        require(self.clip is None or self.clip > 0, "clip must be above 0, is {}", self.clip)

    def _layer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        bias: TensorType | None,
        lengths: TensorType | None,
        peepholes: TensorType | None = None,
        **states: TensorType | None,
    ) -> Types:
        """Types of the sequence of outputs and of the last state."""
        self._require_functions()
        dtype = same_dtype(x=x, w=w, r=r, bias=bias, peepholes=peepholes, **states)
        require_dtype(x, FLOATS, "x")
        steps, batch, size = (None, None, None) if x.shape is None else ranked(x, "x", 3)
        hidden = ranked(r, "r", 3)[2]
        count = self.directions

        def fits(t: TensorType | None, name: str, *expected: Dim | None) -> None:
            if t is not None and t.shape is not None:
                require_shape(t, name, *expected)

        def wide(factor: int) -> Dim | None:
            return None if hidden is None else factor * hidden

        fits(w, "w", count, wide(self.gates), size)
        fits(r, "r", count, wide(self.gates), hidden)
        fits(bias, "bias", count, wide(2 * self.gates))
        fits(peepholes, "peepholes", count, wide(3))
        for name, t in states.items():
            fits(t, name, count, batch, hidden)
        if lengths is not None:
            require_dtype(lengths, frozenset({DType.I32, DType.I64}), "lengths")
            fits(lengths, "lengths", batch)
        last = inferred(dtype, (count, batch, hidden))
        return inferred(dtype, (steps, count, batch, hidden)), *(last for _ in states)

    # --------------------------------------------------------------- evaluation
    def weights_of(self, math: Math[Any], r: Any, bias: Any, peepholes: Any) -> tuple[Any, Weights]:
        """The bias of the input's part, and what the cell takes, of one direction."""
        raise NotImplementedError

    def cell(self, math: Math[V], d: int, part: V, states: Sequence[V], weights: Weights) -> Sequence[V]:
        """The next state from a step's part of the gates, [batch, gates * hidden], and the state."""
        raise NotImplementedError

    def _run(
        self,
        x: Array,
        w: Array,
        r: Array,
        bias: Array | None,
        lengths: Array | None,
        states: Sequence[Array | None],
        peepholes: Array | None = None,
    ) -> tuple[Array, ...]:
        dtype = x.dtype
        if lengths is not None and lengths.size and not 0 <= lengths.min() <= lengths.max() <= len(x):
            raise EvaluationError(f"{self.op_type}: lengths {lengths.tolist()} do not fit in {len(x)} steps")
        x, w, r, bias, peepholes, *first = widened_all(x, w, r, bias, peepholes, *states)
        hidden = r.shape[2]
        math = NumpyMath()
        sequences: list[Array] = []
        lasts: list[Sequence[Array]] = []
        with np.errstate(all="ignore"):
            for d in range(self.directions):
                matrix: Array = r[d]
                added, weights = self.weights_of(
                    math, matrix, *(None if p is None else p[d] for p in (bias, peepholes))
                )
                begin = [np.zeros((x.shape[1], hidden), x.dtype) if s is None else s[d] for s in first]
                sequence, last = run_direction(
                    x,
                    w[d],
                    added,
                    begin,
                    lengths,
                    functools.partial(self._step, math, d, weights),
                    backward=self.direction == "reverse" or d == 1,
                )
                sequences.append(sequence)
                lasts.append(last)
        results = [np.stack(sequences, 1), *(np.stack(s) for s in zip(*lasts, strict=True))]
        return tuple(rounded(result, dtype) for result in results)

    def _decomposed(
        self, operands: Sequence[Tensor | None], states: Sequence[Tensor | None], peepholes: Tensor | None = None
    ) -> tuple[Tensor, ...] | None:
        from uair.ops._recurrent_graph import decompose_layer

        return decompose_layer(self, operands, states, peepholes)

    def _step(self, math: NumpyMath, d: int, weights: Weights, part: Array, states: Sequence[Array]) -> Sequence[Array]:
        return self.cell(math, d, part, states, weights)

    def flops(self, operands: Sequence[TensorType | None], results: Sequence[TensorType]) -> int:
        w, r = operands[1], operands[2]
        assert w is not None and r is not None
        size, hidden = w.dims[2], r.dims[2]
        assert isinstance(size, int) and isinstance(hidden, int)
        return results[0].size * self.gates * (2 * (size + hidden) + 4)


def _joined(math: Math[Any], bias: Any) -> Any:
    """The sum of the input's and the recurrence's bias."""
    return None if bias is None else math.add(*math.split(bias, 2))


class _Hidden(Recurrent):
    """A layer whose only state is h."""

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        bias: TensorType | None = None,
        lengths: TensorType | None = None,
        initial_h: TensorType | None = None,
    ) -> Types:
        return self._layer(x, w, r, bias, lengths, initial_h=initial_h)

    def evaluate(
        self,
        x: Array,
        w: Array,
        r: Array,
        bias: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
    ) -> tuple[Array, ...]:
        return self._run(x, w, r, bias, lengths, (initial_h,))

    def decompose(
        self,
        x: Tensor,
        w: Tensor,
        r: Tensor,
        bias: Tensor | None = None,
        lengths: Tensor | None = None,
        initial_h: Tensor | None = None,
    ) -> tuple[Tensor, ...] | None:
        return self._decomposed((x, w, r, bias, lengths), (initial_h,))


@operator(inputs="x w r bias? lengths? initial_h?", outputs="y y_h", family="recurrent")
class RNN(_Hidden):
    """A simple recurrent layer: h' = f(x w^T + h r^T + bias).

    x: [steps, batch, input]; w: [directions, hidden, input]; r: [directions, hidden, hidden]; bias: [directions, 2 *
    hidden], of the input and of the recurrence, which are added; lengths: [batch], i32 or i64, at most steps;
    initial_h: [directions, batch, hidden], zeros when omitted. Results: y, h after every step, [steps, directions,
    batch, hidden], and y_h, the last h. "reverse" takes every sequence from its end to its start (y stays in the order
    of x); "bidirectional" does both, forward first. A sequence for which lengths has 0 ends with zeros.

    activations names one function for each direction (empty: Tanh), alpha and beta their parameters (empty: the
    defaults; one number for each function otherwise, unused by most); clip bounds what the functions take to
    [-clip, clip]. Source: ONNX RNN, torch.nn.RNN.
    """

    gates: ClassVar[int] = 1
    functions: ClassVar[Strs] = ("Tanh",)
    direction: Direction = "forward"
    activations: Strs = ()
    alpha: Floats = ()
    beta: Floats = ()
    clip: float | None = None

    def weights_of(self, math: Math[Any], r: Any, bias: Any, peepholes: Any) -> tuple[Any, Weights]:
        return _joined(math, bias), Weights(math.transpose(r))

    def cell(self, math: Math[V], d: int, part: V, states: Sequence[V], weights: Weights) -> Sequence[V]:
        (f,) = self.functions_of(d)
        return (math.activate(f, math.add(part, math.product(states[0], weights.r))),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        lengths = np.array([3, 1], np.int32)
        yield case(cls(), "f32[3,2,4]", "f32[1,5,4]", "f32[1,5,5]", "f32[1,10]")
        yield case(cls(direction="reverse", clip=0.5), "f32[3,2,4]", "f32[1,5,4]", "f32[1,5,5]", None, lengths)
        yield case(
            cls(direction="bidirectional", activations=("LeakyRelu", "HardSigmoid"), alpha=(0.3, 0.25), beta=(0, 0.4)),
            "f32[3,2,4]", "f32[2,5,4]", "f32[2,5,5]", "f32[2,10]", lengths, "f32[2,2,5]",
        )  # fmt: skip
        yield case(cls(activations=("Relu",)), "f16[3,1,2]", "f16[1,2,2]", "f16[1,2,2]")
        yield bad(cls(), "f32[3,2,4]", "f32[1,5,3]", "f32[1,5,5]", because="w has shape [1, 5, 3]")
        yield bad(cls(), "f32[3,2,4]", "f32[2,5,4]", "f32[2,5,5]", because="expected [1, 5, 4]")
        yield bad(cls(activations=("Gelu",)), "f32[3,2,4]", "f32[1,5,4]", "f32[1,5,5]", because="'Gelu' is not known")
        yield bad(cls(clip=0.0), "f32[3,2,4]", "f32[1,5,4]", "f32[1,5,5]", because="clip must be above 0")


@operator(inputs="x w r bias? lengths? initial_h?", outputs="y y_h", family="recurrent")
class GRU(_Hidden):
    """A layer of gated recurrent units. Operands and results as for RNN with three gates in the order z, r, h.

    z = f(x wz^T + h rz^T + bias z); r = f(x wr^T + h rr^T + bias r); n = g(x wh^T + (r * h) rh^T + both biases of h),
    or, with linear_before_reset (PyTorch, Keras' reset_after), n = g(x wh^T + bias + r * (h rh^T + recurrence bias));
    h' = (1 - z) * n + z * h. w: [directions, 3 * hidden, input]; r: [directions, 3 * hidden, hidden]; bias:
    [directions, 6 * hidden], those of the input, then those of the recurrence. activations names f and g for each
    direction (empty: Sigmoid, Tanh). Source: ONNX GRU.
    """

    gates: ClassVar[int] = 3
    functions: ClassVar[Strs] = ("Sigmoid", "Tanh")
    direction: Direction = "forward"
    activations: Strs = ()
    alpha: Floats = ()
    beta: Floats = ()
    clip: float | None = None
    linear_before_reset: bool = False

    def weights_of(self, math: Math[Any], r: Any, bias: Any, peepholes: Any) -> tuple[Any, Weights]:
        if not self.linear_before_reset:
            z, reset, h = math.rows(r, 3)
            return _joined(math, bias), Weights(math.transpose(math.join(z, reset)), r_after=math.transpose(h))
        if bias is None:
            return None, Weights(math.transpose(r))
        z, reset, h, z_more, reset_more, after = math.split(bias, 6)
        added = math.join(math.add(z, z_more), math.add(reset, reset_more), h)
        return added, Weights(math.transpose(r), bias_after=after)

    def cell(self, math: Math[V], d: int, part: V, states: Sequence[V], weights: Weights) -> Sequence[V]:
        f, g = self.functions_of(d)
        (h,) = states
        z_part, r_part, n_part = math.split(part, 3)
        if self.linear_before_reset:
            z_more, r_more, n_more = math.split(math.product(h, weights.r), 3)
            if weights.bias_after is not None:
                n_more = math.add(n_more, weights.bias_after)
            reset = math.activate(f, math.add(r_part, r_more))
            n_more = math.mul(reset, n_more)
        else:
            z_more, r_more = math.split(math.product(h, weights.r), 2)
            reset = math.activate(f, math.add(r_part, r_more))
            n_more = math.product(math.mul(reset, h), weights.r_after)
        n = math.activate(g, math.add(n_part, n_more))
        z = math.activate(f, math.add(z_part, z_more))
        return (math.add(math.mul(math.complement(z), n), math.mul(z, h)),)

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        lengths = np.array([1, 3], np.int32)
        for flag in (False, True):
            op = cls(linear_before_reset=flag)
            yield case(op, "f32[3,2,4]", "f32[1,15,4]", "f32[1,15,5]", "f32[1,30]")
            yield case(
                cls(direction="bidirectional", clip=1.5, linear_before_reset=flag),
                "f32[3,2,4]", "f32[2,15,4]", "f32[2,15,5]", "f32[2,30]", lengths, "f32[2,2,5]",
            )  # fmt: skip
        yield case(cls(direction="reverse"), "f16[2,1,3]", "f16[1,6,3]", "f16[1,6,2]")
        yield case(
            cls(direction="bidirectional"), "f32[17,2,2]", "f32[2,6,2]", "f32[2,6,2]", None, np.array([0, 9], np.int32)
        )
        yield case(
            cls(activations=("HardSigmoid", "Softsign"), alpha=(0.3, 0), beta=(0.4, 0)),
            "f32[3,2,4]", "f32[1,15,4]", "f32[1,15,5]",
        )  # fmt: skip
        yield bad(cls(), "f32[3,2,4]", "f32[1,20,4]", "f32[1,15,5]", because="w has shape [1, 20, 4]")
        yield bad(
            cls(), "f32[3,2,4]", "f32[1,15,4]", "f32[1,15,5]", None, "f32[2]", because="lengths must be i32 or i64"
        )
        yield bad(cls(activations=("Tanh",)), "f32[3,2,4]", "f32[1,15,4]", "f32[1,15,5]", because="1 activations")


@operator(inputs="x w r bias? lengths? initial_h? initial_c? peepholes?", outputs="y y_h y_c", family="recurrent")
class LSTM(Recurrent):
    """A layer of long short-term memory. Operands and results as for RNN with four gates in the order i, o, f, c.

    i = f(x wi^T + h ri^T + pi * c + bias i); f = the same with index f, or 1 - i with input_forget; n = g(x wc^T + h
    rc^T + bias c); c' = f * c + i * n; o = f(x wo^T + h ro^T + po * c' + bias o); h' = o * h(c'). w: [directions, 4 *
    hidden, input]; r: [directions, 4 * hidden, hidden]; bias: [directions, 8 * hidden], those of the input, then those
    of the recurrence; initial_c as initial_h; peepholes: [directions, 3 * hidden], pi, po, pf. y_c is the last c.
    activations names f, g and h for each direction (empty: Sigmoid, Tanh, Tanh); clip bounds what f and g take, but,
    as in onnxruntime, not c'. Source: ONNX LSTM.
    """

    gates: ClassVar[int] = 4
    functions: ClassVar[Strs] = ("Sigmoid", "Tanh", "Tanh")
    state: ClassVar[Strs] = ("initial_h", "initial_c")
    direction: Direction = "forward"
    activations: Strs = ()
    alpha: Floats = ()
    beta: Floats = ()
    clip: float | None = None
    input_forget: bool = False

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        bias: TensorType | None = None,
        lengths: TensorType | None = None,
        initial_h: TensorType | None = None,
        initial_c: TensorType | None = None,
        peepholes: TensorType | None = None,
    ) -> Types:
        return self._layer(x, w, r, bias, lengths, peepholes, initial_h=initial_h, initial_c=initial_c)

    def evaluate(
        self,
        x: Array,
        w: Array,
        r: Array,
        bias: Array | None = None,
        lengths: Array | None = None,
        initial_h: Array | None = None,
        initial_c: Array | None = None,
        peepholes: Array | None = None,
    ) -> tuple[Array, ...]:
        return self._run(x, w, r, bias, lengths, (initial_h, initial_c), peepholes)

    def decompose(
        self,
        x: Tensor,
        w: Tensor,
        r: Tensor,
        bias: Tensor | None = None,
        lengths: Tensor | None = None,
        initial_h: Tensor | None = None,
        initial_c: Tensor | None = None,
        peepholes: Tensor | None = None,
    ) -> tuple[Tensor, ...] | None:
        return self._decomposed((x, w, r, bias, lengths), (initial_h, initial_c), peepholes)

    def weights_of(self, math: Math[Any], r: Any, bias: Any, peepholes: Any) -> tuple[Any, Weights]:
        parts = () if peepholes is None else math.split(peepholes, 3)
        return _joined(math, bias), Weights(math.transpose(r), peepholes=parts)

    def cell(self, math: Math[V], d: int, part: V, states: Sequence[V], weights: Weights) -> Sequence[V]:
        f, g, last = self.functions_of(d)
        h, c = states
        i, o, forget, n = math.split(math.add(part, math.product(h, weights.r)), 4)
        if weights.peepholes:
            pi, _, pf = weights.peepholes
            i, forget = math.add(i, math.mul(pi, c)), math.add(forget, math.mul(pf, c))
        i = math.activate(f, i)
        forget = math.complement(i) if self.input_forget else math.activate(f, forget)
        c = math.add(math.mul(forget, c), math.mul(i, math.activate(g, n)))
        if weights.peepholes:
            o = math.add(o, math.mul(weights.peepholes[1], c))
        return math.mul(
            math.activate(f, o), math.activate(last if last.clip is None else attrs.evolve(last, clip=None), c)
        ), c

    @classmethod
    def samples(cls) -> Iterable[Sample]:
        lengths = np.array([2, 3], np.int32)
        yield case(cls(), "f32[3,2,4]", "f32[1,20,4]", "f32[1,20,5]", "f32[1,40]")
        yield case(
            cls(direction="bidirectional", clip=0.8),
            "f32[3,2,4]", "f32[2,20,4]", "f32[2,20,5]", "f32[2,40]", lengths, "f32[2,2,5]", "f32[2,2,5]", "f32[2,15]",
        )  # fmt: skip
        yield case(
            cls(direction="reverse", input_forget=True), "f32[3,2,4]", "f32[1,20,4]", "f32[1,20,5]", None, lengths
        )
        yield case(cls(), "f16[2,1,3]", "f16[1,8,3]", "f16[1,8,2]", None, None, "f16[1,1,2]")
        yield case(
            cls(activations=("HardSigmoid", "Elu", "Softplus"), alpha=(0.3, 0.5, 0), beta=(0.4, 0, 0)),
            "f32[3,2,4]", "f32[1,20,4]", "f32[1,20,5]",
        )  # fmt: skip
        yield case(cls(direction="bidirectional"), "f32[17,1,2]", "f32[2,8,2]", "f32[2,8,2]", "f32[2,16]")
        yield bad(cls(), "f32[3,2,4]", "f32[1,20,4]", "f32[1,20,5]", "f32[1,20]", because="bias has shape [1, 20]")
        yield bad(cls(), "f32[3,2,4]", "f32[1,20,4]", "f16[1,20,5]", because="element types must agree")
        yield bad(cls(), "i32[3,2,4]", "i32[1,20,4]", "i32[1,20,5]", because="x must be floating-point")
        yield bad(cls(alpha=(0.1,)), "f32[3,2,4]", "f32[1,20,4]", "f32[1,20,5]", because="1 values of alpha are given")
