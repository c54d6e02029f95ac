"""LSTM, GRU and simple recurrent layers, each layer one node.

PyTorch orders the gates of an LSTM i, f, g, o and those of a GRU r, z, n; the IR i, o, f, c and z, r, h. Both
frameworks have two biases. Weights are put into the IR's order when they are read.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair import ops
from uair.frontends.torch.node import Family, Result, TorchNode
from uair.ir.data import ComputedData
from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Tensor, constant

FAMILY = Family()

_LSTM = (0, 3, 1, 2)
_GRU = (1, 0, 2)
_BATCH_FIRST = (1, 0, 2)


@attrs.frozen
class Kind:
    """A kind of layer.

    Attributes:
        order: for each gate of the IR the place that it has in PyTorch.
        make: the operator, by its direction.
    """

    order: tuple[int, ...]
    make: Any


_KINDS = {
    "lstm": Kind(_LSTM, ops.LSTM),
    "gru": Kind(_GRU, functools.partial(ops.GRU, linear_before_reset=True)),
    "rnn_tanh": Kind((0,), ops.RNN),
    "rnn_relu": Kind((0,), functools.partial(ops.RNN, activations=("Relu",))),
}


@FAMILY.op("aten.lstm.input", "aten.gru.input", "aten.rnn_tanh.input", "aten.rnn_relu.input")
def _layers(node: TorchNode) -> Result:
    kind = _kind(node)
    x, batch_first = node.tensor("input"), bool(node.get("batch_first"))
    if node.get("train") and node.get("dropout"):
        node.refuse("dropout between the layers changes the result at random", "call module.eval() first")
    if batch_first:
        x = node.transposed(x, _BATCH_FIRST)
    states = node.tensors("hx") if isinstance(node.get("hx"), tuple) else [node.tensor("hx")]
    bidirectional, count = bool(node.get("bidirectional")), int(node.get("num_layers"))
    directions = 2 if bidirectional else 1
    params = _parameters(node, directions * count)
    lasts: list[list[Tensor]] = [[] for _ in states]
    y = x
    begin = [_per_layer(node, state, count, directions) for state in states]
    for i in range(count):
        own = params[i * directions : (i + 1) * directions]
        if any(len(p) > 2 + 2 * bool(node.get("has_biases")) for p in own):
            y, last = _projected(node, x, own, [b[i] for b in begin])
        else:
            y, last = _layer(node, kind, x, own, [b[i] for b in begin])
        if i + 1 < count:
            x = _features(node, y)
        for part, state in zip(lasts, last, strict=True):
            part.append(state)
    return _features(node, y, batch_first=batch_first), *(
        part[0] if count == 1 else node(ops.Concat(axis=0), *part) for part in lasts
    )


def _kind(node: TorchNode) -> Kind:
    return _KINDS[node.call.target.split(".")[1].removesuffix("_cell")]


@FAMILY.op("aten.lstm.data", "aten.gru.data", "aten.rnn_tanh.data", "aten.rnn_relu.data")
def _packed(node: TorchNode) -> Result:
    node.refuse(
        "it takes a packed sequence, whose layout depends on the lengths in the data",
        "pad the sequences to one length instead of torch.nn.utils.rnn.pack_padded_sequence",
    )


def _parameters(node: TorchNode, count: int) -> list[list[Tensor]]:
    """The parameters of each layer and direction: w, r, and biases and a projection where there are."""
    given = node.tensors("params")
    if len(given) % count:
        node.refuse(f"{len(given)} parameters are given for {count} layers and directions")
    each = len(given) // count
    return [given[i * each : (i + 1) * each] for i in range(count)]


def _per_layer(node: TorchNode, state: Tensor, layers: int, directions: int) -> list[Tensor]:
    """The initial state of every layer, [directions, batch, hidden]."""
    if layers == 1:
        return [state]
    return list(node.all(ops.Split(axis=0, sizes=(directions,) * layers), state))


def _layer(
    node: TorchNode, kind: Kind, x: Tensor, params: Sequence[Sequence[Tensor]], states: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """One layer over [steps, batch, features]: outputs [steps, directions, batch, hidden], and its last states."""
    direction = "bidirectional" if len(params) == 2 else "forward"
    op = kind.make(direction=direction)
    if "activations" in getattr(kind.make, "keywords", {}):
        op = attrs.evolve(op, activations=op.activations * len(params))
    w, r = (_joined(node, [p[i] for p in params], kind.order) for i in (0, 1))
    bias = None
    if len(params[0]) >= 4:
        bias = _biases(node, [(p[2], p[3]) for p in params], kind.order)
    y, *last = node.all(op, x, w, r, bias, None, *states)
    return y, last


def _features(node: TorchNode, y: Tensor, *, batch_first: bool = False) -> Tensor:
    """Outputs [steps, directions, batch, hidden] as [steps, batch, directions * hidden], or with the batch first."""
    steps, directions, batch, hidden = node.shape(y)
    if directions == 1:
        flat = node(ops.Squeeze(axes=(1,)), y)
        return node.transposed(flat, _BATCH_FIRST) if batch_first else flat
    turned = node.transposed(y, (2, 0, 1, 3) if batch_first else (0, 2, 1, 3))
    return node.reshaped(turned, (batch, steps, 2 * hidden) if batch_first else (steps, batch, 2 * hidden))


def _reordered(array: Array, order: tuple[int, ...]) -> Array:
    """The gates along the first axis in another order."""
    gates = np.split(array, len(order))
    return np.concatenate([gates[i] for i in order])


def _stack_weights(*arrays: Array, order: tuple[int, ...]) -> Array:
    return np.stack([_reordered(a, order) for a in arrays])


def _stack_biases(*arrays: Array, order: tuple[int, ...]) -> Array:
    pairs = zip(arrays[::2], arrays[1::2], strict=True)
    return np.stack([np.concatenate([_reordered(a, order), _reordered(b, order)]) for a, b in pairs])


def _joined(node: TorchNode, parts: Sequence[Tensor], order: tuple[int, ...]) -> Tensor:
    """The weights of the directions as one tensor [directions, gates * hidden, ...]."""
    if all(p.data is not None for p in parts):
        shape = (len(parts), *static(parts[0].type.dims))
        return _computed(parts, functools.partial(_stack_weights, order=order), shape)
    return _stacked(node, [_run_time_order(node, p, order) for p in parts])


def _biases(node: TorchNode, pairs: Sequence[tuple[Tensor, Tensor]], order: tuple[int, ...]) -> Tensor:
    """The biases of the directions, those of the input, then those of the recurrence."""
    flat = [t for pair in pairs for t in pair]
    if all(t.data is not None for t in flat):
        shape = (len(pairs), 2 * flat[0].type.size)
        return _computed(flat, functools.partial(_stack_biases, order=order), shape)
    rows = [node(ops.Concat(axis=0), *(_run_time_order(node, t, order) for t in pair)) for pair in pairs]
    return _stacked(node, rows)


def _computed(parts: Sequence[Tensor], compute: Any, shape: tuple[int, ...]) -> Tensor:
    data = [p.data for p in parts if p.data is not None]
    return constant(ComputedData(compute, tuple(data), data[0].dtype, shape), parts[0].name)


def _run_time_order(node: TorchNode, weight: Tensor, order: tuple[int, ...]) -> Tensor:
    extent = node.extent(weight, 0)
    if len(order) == 1:
        return weight
    if not isinstance(extent, int):
        node.refuse("the number of hidden features must be known")
    gates = node.all(ops.Split(axis=0, sizes=(extent // len(order),) * len(order)), weight)
    return node(ops.Concat(axis=0), *(gates[i] for i in order))


def _stacked(node: TorchNode, parts: Sequence[Tensor]) -> Tensor:
    rows = [node(ops.Unsqueeze(axes=(0,)), p) for p in parts]
    return rows[0] if len(rows) == 1 else node(ops.Concat(axis=0), *rows)


def _projected(
    node: TorchNode, x: Tensor, params: Sequence[Sequence[Tensor]], states: Sequence[Tensor]
) -> tuple[Tensor, Sequence[Tensor]]:
    """A layer with proj_size.

    Raises:
        SourceOperatorError: always: what comes back is smaller than the state, which the operator has no form for.
    """
    node.refuse(
        "an LSTM with proj_size feeds back a projection of its state",
        "train it with proj_size=0 and a Linear layer behind, or write the loop with torch.nn.LSTMCell",
    )


# ------------------------------------------------------------------------------------------------ single steps
@FAMILY.op("aten.lstm_cell", "aten.gru_cell", "aten.rnn_tanh_cell", "aten.rnn_relu_cell")
def _cell(node: TorchNode) -> Result:
    """A layer over one step."""
    kind = _kind(node)
    given = node.tensors("hx") if isinstance(node.get("hx"), tuple) else [node.tensor("hx")]
    params = [node.tensor(name) for name in ("w_ih", "w_hh", "b_ih", "b_hh") if node.optional(name) is not None]
    x = node(ops.Unsqueeze(axes=(0,)), node.tensor("input"))
    states = [node(ops.Unsqueeze(axes=(0,)), s) for s in given]
    _, last = _layer(node, kind, x, [params], states)
    return tuple(node(ops.Squeeze(axes=(0,)), s) for s in last)
