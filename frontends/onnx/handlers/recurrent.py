"""Recurrent layers.

`layout` (opset 14) puts the batch first: transposes do that here. `output_sequence` (before opset 7) said whether the
sequence of outputs was wanted, which the node's outputs say too. Parameters of activations are listed for those
functions alone that take them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.table import Family, Result
from uair.ir.dtype import DType
from uair.ir.graph import Tensor
from uair.ops import (
    GRU,
    LSTM,
    RNN,
    Cast,
    Dequantize,
    DynamicQuantize,
    Expand,
    Less,
    MatMul,
    ReduceMax,
    Reshape,
    Transpose,
)
from uair.ops._attention import positions
from uair.ops._compute import scalar
from uair.ops._recurrent import KINDS, Weights
from uair.ops._recurrent_graph import Direction, TensorMath, per_direction, plain_step, run, stacked

FAMILY = Family()

_DIRECTIONS: dict[str, Any] = {name: name for name in ("forward", "reverse", "bidirectional")}
_NAMES = {name.lower(): name for name in KINDS}
_BATCH_FIRST = (1, 0, 2)


@FAMILY.op("RNN", 1, 7, 14, 22)
def _rnn(n: OnnxNode) -> Result:
    return _layer(n, RNN(**layer_attributes(n, RNN)))


@FAMILY.op("GRU", 1, 3, 7, 14, 22)
def _gru(n: OnnxNode) -> Result:
    """Version 1 has no `linear_before_reset`."""
    flag = n.attributes.flag("linear_before_reset")
    return _layer(n, GRU(**layer_attributes(n, GRU), linear_before_reset=flag))


@FAMILY.op("LSTM", 1, 7, 14, 22)
def _lstm(n: OnnxNode) -> Result:
    flag = n.attributes.flag("input_forget")
    return _layer(n, LSTM(**layer_attributes(n, LSTM), input_forget=flag))


def layer_attributes(n: OnnxNode, layer: type[RNN] | type[GRU] | type[LSTM]) -> dict[str, Any]:
    """The attributes that all layers have."""
    a = n.attributes
    direction = a.choice("direction", _DIRECTIONS["forward"], _DIRECTIONS)
    count = len(layer.functions) * (2 if direction == "bidirectional" else 1)
    names = activation_names(n, a.texts("activations"), count)
    alpha, beta = a.numbers("activation_alpha", ()), a.numbers("activation_beta", ())
    return {
        "direction": direction,
        "activations": names,
        "alpha": _parameters(names, "alpha", alpha) if alpha else (),
        "beta": _parameters(names, "beta", beta) if beta else (),
        "clip": a.number("clip", None),
    }


def activation_names(n: OnnxNode, given: Sequence[str] | None, count: int) -> tuple[str, ...]:
    """The functions by their canonical names; none when the layer's own are meant.

    Raises:
        OnnxAttributeError: one is not known, or their number is wrong.
    """
    if not given:
        return ()
    unknown = [name for name in given if name.lower() not in _NAMES]
    if unknown:
        n.refuse(f"activation {unknown[0]!r} is not known", f"known are {', '.join(KINDS)}")
    if len(given) != count:
        n.refuse(f"{len(given)} activations are given, its direction needs {count}")
    return tuple(_NAMES[name.lower()] for name in given)


def _parameters(names: Sequence[str], which: str, given: Sequence[float]) -> tuple[float, ...]:
    """One number for each function: the given ones in order for those that take one, then the defaults."""
    left: Iterator[float] = iter(given)
    defaults = [getattr(KINDS[name], which) for name in names]
    return tuple(0.0 if default is None else next(left, default) for default in defaults)


def _layer(n: OnnxNode, op: RNN | GRU | LSTM) -> Result:
    x, w, r = n[0], n[1], n[2]
    hidden = n.attributes.integer("hidden_size", None)
    extent = n.shape(r)[-1] if n.rank(r) else None
    if hidden is not None and isinstance(extent, int) and extent != hidden:
        n.refuse(f"hidden_size is {hidden}, but the recurrence weights are for {extent}")
    batch_first = n.attributes.flag("layout")
    states = [n.optional(i) for i in range(5, 5 + len(op.state))]
    if batch_first:
        x = n(Transpose(perm=_BATCH_FIRST), x)
        states = [None if s is None else n(Transpose(perm=_BATCH_FIRST), s) for s in states]
    more = [n.optional(7)] if isinstance(op, LSTM) else []
    results = n.all(op, x, w, r, n.optional(3), n.optional(4), *states, *more)
    return _turned(n, results) if batch_first else results


def _turned(n: OnnxNode, results: Sequence[Tensor]) -> list[Tensor | None]:
    """The results that the model uses with the batch first."""
    perms = ((2, 0, 1, 3), _BATCH_FIRST, _BATCH_FIRST)
    return [
        n(Transpose(perm=perm), result) if n.wants(i) else None
        for i, (result, perm) in enumerate(zip(results, perms, strict=False))
    ]


# ------------------------------------------------------------------- quantized
class _QuantizedMath(TensorMath):
    """Cells whose products see 8-bit numbers: every operand is quantized by its own range."""

    def product(self, a: Tensor, w: Tensor) -> Tensor:
        return super().product(self.quantized(a), w)

    def quantized(self, a: Tensor) -> Tensor:
        """What is left of `a` after quantization."""
        y, scale, zero_point = self.apply(DynamicQuantize(), a)
        return self(Dequantize(), y, scale, zero_point)


@FAMILY.op("DynamicQuantizeLSTM", 1, domain="com.microsoft")
def _dynamic_quantize_lstm(n: OnnxNode) -> Result:
    """An LSTM with 8-bit weights [directions, input or hidden, 4 * hidden], and x, and h in each step, quantized too.

    onnxruntime's kernel takes the range of all x up to the longest sequence, and that of the outputs of a step, where
    sequences that are over count as zeros.
    """
    op = LSTM(**layer_attributes(n, LSTM), input_forget=n.attributes.flag("input_forget"))
    math = _QuantizedMath(n.all)
    x, lengths, hidden = n[0], n.optional(4), n.extent(n[2], 1)
    if lengths is not None:
        lengths = n(Cast(to=DType.I64), lengths)
        place = n(Reshape(shape=(n.extent(x, 0), 1, 1)), positions(x, 0, n))
        x = math.choose(n(Less(), place, n(ReduceMax(keepdims=False), lengths)), x, n.like(0, x))
    x = math.quantized(x)
    matrices = [_matrices(n, math, op.directions, *(n[i] for i in places)) for places in ((1, 8, 9), (2, 10, 11))]
    biases, peepholes, *states = (per_direction(math, n.optional(i), op.directions) for i in (3, 7, 5, 6))
    begin = n(Expand(shape=(n.extent(x, 1), hidden)), n.like(0, x))
    outputs: list[Tensor] = []
    lasts: list[Sequence[Tensor]] = []
    for d, (w, r) in enumerate(zip(*matrices, strict=True)):
        part = n(MatMul(), x, w)
        if biases[d] is not None:
            part = math.add(part, math.add(*math.split(biases[d], 2)))
        weights = Weights(r, peepholes=() if peepholes[d] is None else math.split(peepholes[d], 3))
        first = [begin if s[d] is None else s[d] for s in states]
        if lengths is not None:
            first.insert(0, first[0])
        output, last = run(math, Direction(op, d, weights, part, first, lengths, _quantized_step))
        outputs.append(output)
        lasts.append(last[-2:])
    return stacked(math, outputs, lasts)


def _matrices(
    n: OnnxNode, math: TensorMath, directions: int, w: Tensor, scale: Tensor, zero_point: Tensor
) -> list[Tensor]:
    """The real weights of each direction; its scale and zero point are one number, or one for each column."""
    op = Dequantize(axis=1 if n.rank(scale) == 2 else None)
    parts = zip(*(per_direction(math, t, directions) for t in (w, scale, zero_point)), strict=True)
    return [n(op, *part) for part in parts]


def _quantized_step(
    math: TensorMath, d: Direction, part: Tensor, states: Sequence[Tensor], active: Tensor | None
) -> tuple[Tensor, Sequence[Tensor]]:
    """With lengths the output is part of the state, because it is what the next product sees."""
    if active is None:
        return plain_step(math, d, part, states, active)
    h, c = d.op.cell(math, d.index, part, (states[0], states[2]), d.weights)
    output = math.choose(active, h, scalar(0, h))
    return output, (output, math.choose(active, h, states[1]), math.choose(active, c, states[2]))
