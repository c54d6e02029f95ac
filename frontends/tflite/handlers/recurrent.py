"""Recurrent layers.

An operator over a whole sequence begins with zeros, as the layer that it was made from; LiteRT keeps its last state for
the next run unless the application resets it. The operators of one step (LSTM, RNN, SVDF) and variables are what
streaming models are made of: their state becomes an input and an output.

Integer layers are computed on real numbers: weights and results are dequantized and quantized, the state between steps
is not rounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair.frontends.tflite import schema
from uair.frontends.tflite.node import Family, Result, TfliteNode, activate
from uair.ir.graph import Tensor
from uair.ops import LSTM, RNN, Add, Concat, Linear, Mul, Neg, ReduceSum, Reshape, Slice, Squeeze, Transpose, Unsqueeze
from uair.ops.recurrent import Direction

FAMILY = Family()

CONVERTER_CLIP = 10.0
"""Bound of the cell state that TensorFlow's converter writes for every Keras LSTM, which has none."""
_FUNCTIONS = {"TANH": "Tanh", "RELU": "Relu", "SIGN_BIT": "", "NONE": "", "RELU6": "", "RELU_N1_TO_1": ""}


def _function(n: TfliteNode) -> str:
    """The canonical name of the fused activation."""
    name = n.options.choice("fused_activation_function", schema.ACTIVATIONS)
    if not _FUNCTIONS[name]:
        n.refuse(f"a recurrent layer with the activation {name} is not supported")
    return _FUNCTIONS[name]


def _sequence(n: TfliteNode, x: Tensor) -> Tensor:
    """A sequence [steps, batch, input]."""
    if n.rank(x) != 3:
        n.refuse(f"a sequence of 3 axes is needed, it has {n.rank(x)}")
    return x if n.options.flag("time_major") else n(Transpose(perm=(1, 0, 2)), x)


def _results(n: TfliteNode, y: Tensor) -> Tensor:
    """The results [steps, 1, batch, hidden] of one direction, as the operator gives them."""
    steps = n(Squeeze(axes=(1,)), y)
    return steps if n.options.flag("time_major") else n(Transpose(perm=(1, 0, 2)), steps)


def _joined(n: TfliteNode, parts: Sequence[Tensor]) -> Tensor:
    """Matrices or vectors of the gates, one below the other, for one direction."""
    return n(Unsqueeze(axes=(0,)), n(Concat(axis=0), *parts) if len(parts) > 1 else parts[0])


def _check_plain(n: TfliteNode, projections: Sequence[int], normalizations: Sequence[int]) -> None:
    """Refuse what the canonical layer has not.

    Raises:
        SourceOperatorError: it projects, normalizes its gates, or clips.
    """
    if any(n.has(i) for i in projections):
        n.refuse("an LSTM with a projection is not supported", "convert the projection as a layer of its own")
    if any(n.has(i) for i in normalizations):
        n.refuse("an LSTM with layer normalization in its gates is not supported")
    if n.options.number("cell_clip") not in (0.0, CONVERTER_CLIP):
        n.refuse(f"an LSTM whose cell state is clipped to {n.options.number('cell_clip')} is not supported")


def _layer(n: TfliteNode, x: Tensor, first: int, states: Sequence[Tensor | None], direction: Direction) -> list[Tensor]:
    """An LSTM from its 17 operands behind `first`: weights, recurrence, peepholes, biases (projections are not there).

    Gates stand as input, forget, cell, output; the canonical order is input, output, forget, cell. Without an input
    gate (CIFG) it is 1 - forget: canonically the forget gate is 1 - input, so the operands change sign.
    """
    coupled = not n.has(first)
    order = (0, 3, 1, 2)

    def gates(start: int, numbers: Sequence[int]) -> list[Tensor]:
        parts: list[Tensor] = []
        for gate in numbers:
            if coupled and gate == 0:
                parts.append(n(Neg(), n[first + start + 1]))
            else:
                parts.append(n[first + start + gate])
        return parts

    w, r = _joined(n, gates(0, order)), _joined(n, gates(4, order))
    hidden = n.extent(r, -1)
    biases = n(Concat(axis=0), *gates(11, order))
    zeros = n.stored(np.zeros(4 * hidden if isinstance(hidden, int) else 0, np.float32))
    bias = n(Unsqueeze(axes=(0,)), n(Concat(axis=0), biases, zeros))
    peepholes: Tensor | None = None
    if n.has(first + 9):
        forget = n[first + 9]
        own = n(Neg(), forget) if coupled else n[first + 8]
        peepholes = _joined(n, [own, n[first + 10], forget])
    function = _function(n)
    op = LSTM(direction=direction, activations=("Sigmoid", function, function), input_forget=coupled)
    starts = [None if s is None else n(Unsqueeze(axes=(0,)), s) for s in states]
    return list(n.all(op, x, w, r, bias, None, *starts, peepholes))


def _initial(n: TfliteNode, i: int) -> Tensor | None:
    """A first state; None for zeros, which a variable begins with."""
    return n[i] if n.has(i) and not n.info(i).variable else None


@FAMILY.op("UNIDIRECTIONAL_SEQUENCE_LSTM")
def _sequence_lstm(n: TfliteNode) -> Result:
    _check_plain(n, (16, 17), (20, 21, 22, 23))
    x = _sequence(n, n[0])
    y, *_ = _layer(n, x, 1, (_initial(n, 18), _initial(n, 19)), "forward")
    return _results(n, y)


@FAMILY.op("BIDIRECTIONAL_SEQUENCE_LSTM")
def _bidirectional_lstm(n: TfliteNode) -> Result:
    """Two layers; their results stay apart or are joined."""
    _check_plain(n, (16, 17, 33, 34), ())
    if any(n.has(i) for i in range(39, 48)):
        n.refuse("an auxiliary input is not supported")
    x = _sequence(n, n[0])
    forward, *_ = _layer(n, x, 1, (_initial(n, 35), _initial(n, 36)), "forward")
    backward, *_ = _layer(n, x, 18, (_initial(n, 37), _initial(n, 38)), "reverse")
    results = [_results(n, forward), _results(n, backward)]
    return n(Concat(axis=-1), *results) if n.options.flag("merge_outputs") else results


@FAMILY.op("LSTM")
def _lstm(n: TfliteNode) -> Result:
    """One step; the state is an input and an output of the model."""
    if n.options.integer("kernel_type"):
        n.refuse("the basic LSTM kernel is not supported", "convert the model with the full LSTM kernel")
    _check_plain(n, (16, 17), (20, 21, 22, 23))
    x = n(Unsqueeze(axes=(0,)), n[0])
    _, h, c = _layer(n, x, 1, (n[18], n[19]), "forward")
    last = n(Squeeze(axes=(0,)), h)
    n.importer.update(n, 18, last)
    n.importer.update(n, 19, n(Squeeze(axes=(0,)), c))
    return [None] * (len(n.operator.outputs) - 1) + [last]


@FAMILY.op("UNIDIRECTIONAL_SEQUENCE_RNN")
def _sequence_rnn(n: TfliteNode) -> Result:
    """Operands: the sequence, weights, recurrence, bias, state."""
    x = _sequence(n, n[0])
    hidden = n.extent(n[1], 0)
    zeros = n.stored(np.zeros(hidden if isinstance(hidden, int) else 0, np.float32))
    bias = n(Unsqueeze(axes=(0,)), n(Concat(axis=0), n[3], zeros))
    start = _initial(n, 4)
    start = None if start is None else n(Unsqueeze(axes=(0,)), start)
    op = RNN(activations=(_function(n),))
    y, _ = n.all(op, x, n(Unsqueeze(axes=(0,)), n[1]), n(Unsqueeze(axes=(0,)), n[2]), bias, None, start)
    return _results(n, y)


@FAMILY.op("RNN")
def _rnn(n: TfliteNode) -> Result:
    """One step; the state is an input and an output of the model."""
    own = n(Linear(), n[0], n[1], n[3])
    name = n.options.choice("fused_activation_function", schema.ACTIVATIONS)
    h = activate(n, n(Add(), own, n(Linear(), n[4], n[2])), name)
    n.importer.update(n, 4, h)
    return h


@FAMILY.op("SVDF")
def _svdf(n: TfliteNode) -> Result:
    """A convolution over time of low rank.

    Source: Nakkiran et al., "Compressing Deep Neural Networks using a Rank-Constrained Topology", Interspeech 2015.

    Operands: x [batch, in], weights of the features [filters, in] and of the time [filters, memory], bias [units], the
    state [batch, filters * memory]: the last products of every filter, which is an input and an output of the model.
    """
    features, time = n[1], n[2]
    filters, memory = n.shape(time)
    rank = n.options.integer("rank")
    if not isinstance(filters, int) or not isinstance(memory, int) or rank < 1 or filters % rank:
        n.refuse(f"{filters} filters of {memory} steps with rank {rank}")
    state = n(Reshape(shape=(-1, filters, memory)), n[4])
    kept = n(Slice(axes=(2,), starts=(1,), ends=(memory,), steps=(1,)), state)
    now = n(Unsqueeze(axes=(2,)), n(Linear(), n[0], features))
    new = n(Concat(axis=2), kept, now)
    n.importer.update(n, 4, n(Reshape(shape=(-1, filters * memory)), new))
    summed = n(ReduceSum(axes=(2,), keepdims=False), n(Mul(), new, time))
    y = n(ReduceSum(axes=(2,), keepdims=False), n(Reshape(shape=(-1, filters // rank, rank)), summed))
    bias = n.optional(3)
    return n.activated(y if bias is None else n(Add(), y, bias))
