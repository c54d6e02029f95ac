"""Recurrent layers, one canonical operator each; both directions of a Bidirectional are one, too.

Keras has the batch first, gates in the order i, f, c, o (LSTM) and z, r, h (GRU), kernels [input, gates * units], and a
reversed layer gives its outputs in the order in which it made them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair import ops
from uair.frontends.keras.handlers.activation import hard_slope, named
from uair.frontends.keras.handlers.recurrent_masks import Steps, steps_of
from uair.frontends.keras.model import Layer, leaves
from uair.frontends.keras.node import Family, KerasNode, Result
from uair.ir.data import Data, derive
from uair.ir.graph import Tensor, constant
from uair.ops._recurrent import KINDS

FAMILY = Family()

_GATES = {"LSTMCell": 4, "GRUCell": 3, "SimpleRNNCell": 1}
_STATES = {"LSTMCell": 2, "GRUCell": 1, "SimpleRNNCell": 1}
_LSTM_ORDER = (0, 3, 1, 2)
"""Places of the gates i, o, f, c in Keras's i, f, c, o."""
_FUNCTIONS = {
    "tanh": ("Tanh", 0.0, 0.0),
    "sigmoid": ("Sigmoid", 0.0, 0.0),
    "relu": ("Relu", 0.0, 0.0),
    "hard_sigmoid": ("HardSigmoid", 1 / 6, 0.5),  # the slope depends on the version
    "linear": ("Affine", 1.0, 0.0),
    "elu": ("Elu", 1.0, 0.0),
    "leaky_relu": ("LeakyRelu", 0.2, 0.0),
    "softsign": ("Softsign", 0.0, 0.0),
    "softplus": ("Softplus", 0.0, 0.0),
}
_BATCH_FIRST = (1, 0, 2)


@attrs.frozen
class Run:
    """What a recurrent layer gives.

    Attributes:
        outputs: of every step, [steps, batch, units], in the order of time.
        states: the last ones, each [batch, units].
    """

    outputs: Tensor
    states: tuple[Tensor, ...]


def _functions(n: KerasNode, cells: Sequence[Layer]) -> dict[str, Any]:
    """The attributes for the activations of all directions; none when they are the operator's own."""
    result: list[tuple[str, float, float]] = []
    for cell in cells:
        outer = named(n, cell.config.get("activation", "tanh")).name
        inner = named(n, cell.config.get("recurrent_activation", "sigmoid")).name
        names = {"LSTMCell": (inner, outer, outer), "GRUCell": (inner, outer), "SimpleRNNCell": (outer,)}[cell.kind]
        for name in names:
            n.require(
                name in _FUNCTIONS and _FUNCTIONS[name][0] in KINDS,
                f"the activation {name!r} inside of a recurrent layer is not expressed",
                f"use one of {', '.join(_FUNCTIONS)}",
            )
            kind, alpha, beta = _FUNCTIONS[name]
            result.append((kind, hard_slope(n) if name == "hard_sigmoid" else alpha, beta))
    if {name for name, _, _ in result} <= {"Tanh", "Sigmoid"}:
        names = tuple(name for name, _, _ in result)
        default = {3: ("Sigmoid", "Tanh", "Tanh"), 2: ("Sigmoid", "Tanh"), 1: ("Tanh",)}[len(names) // len(cells)]
        return {} if names == default * len(cells) else {"activations": names}
    return {
        "activations": tuple(name for name, _, _ in result),
        "alpha": tuple(alpha for _, alpha, _ in result),
        "beta": tuple(beta for _, _, beta in result),
    }


def _units(n: KerasNode, cell: Layer) -> int:
    units = cell.config.get("units")
    if not isinstance(units, int) or isinstance(units, bool) or units < 1:
        n.refuse(f"units is {units!r}")
    return units


def _joined(n: KerasNode, cells: Sequence[Layer], variable: str, width: int) -> Tensor:
    """[directions, gates * units, input] of the kernels [input, gates * units] of all directions."""
    lstm = cells[0].kind == "LSTMCell"
    parts = [_cell_variable(n, cell, variable, None, width) for cell in cells]
    extent = parts[0].shape[0]

    def compute(*arrays: Any) -> Any:
        turned = [np.concatenate([p.T.reshape(4, -1, extent)[i] for i in _LSTM_ORDER]) if lstm else p.T for p in arrays]
        return np.ascontiguousarray(np.stack(turned))

    dtype = n.policy.compute
    return constant(derive(compute, tuple(parts), dtype, (len(parts), width, extent)), f"{n.name}/{variable}")


def _cell_variable(n: KerasNode, cell: Layer, name: str, *shape: int | None) -> Data:
    """A variable of a wrapped cell, in the compute type."""
    inner = KerasNode(n.importer, n.graph, cell, (), {}, policy=n.policy)
    data = inner.variable(name, *shape).data
    assert data is not None
    return data


def _biases(n: KerasNode, cells: Sequence[Layer], width: int) -> Tensor | None:
    """[directions, 2 * gates * units]: of the input, then of the recurrence, which only a GRU with reset_after has."""
    if not any("bias" in cell.weights for cell in cells):
        return None
    lstm = cells[0].kind == "LSTMCell"
    dtype = n.policy.compute
    rows: list[Any] = []
    for cell in cells:
        if "bias" not in cell.weights:
            rows.append(np.zeros(2 * width, dtype.numpy))
            continue
        double = len(cell.weights["bias"].shape) == 2
        values = _cell_variable(n, cell, "bias", *((2, width) if double else (width,))).array()
        parts = list(values) if double else [values, np.zeros_like(values)]
        if lstm:
            parts = [np.concatenate([p.reshape(4, -1)[i] for i in _LSTM_ORDER]) for p in parts]
        rows.append(np.concatenate(parts))
    return constant(np.stack(rows), f"{n.name}/bias")


def _operator(n: KerasNode, cells: Sequence[Layer], direction: Any) -> Any:
    kind, functions = cells[0].kind, _functions(n, cells)
    if kind == "LSTMCell":
        return ops.LSTM(direction=direction, **functions)
    if kind == "SimpleRNNCell":
        return ops.RNN(direction=direction, **functions)
    after = {bool(cell.config.get("reset_after", False)) for cell in cells}
    n.require(len(after) == 1, "reset_after differs between the directions")
    return ops.GRU(direction=direction, linear_before_reset=after.pop(), **functions)


def _run(
    n: KerasNode, x: Tensor, cells: Sequence[Layer], direction: Any, states: Sequence[Tensor], lengths: Tensor | None
) -> list[Tensor]:
    """The operator's results for x [steps, batch, input] and initial states [batch, units] of every direction."""
    units = _units(n, cells[0])
    gates, count = _GATES[cells[0].kind], _STATES[cells[0].kind]
    given: list[Tensor] = []
    for i in range(count) if states else ():
        ones = [n(ops.Unsqueeze(axes=(0,)), s) for s in states[i::count]]
        given.append(ones[0] if len(ones) == 1 else n(ops.Concat(axis=0), *ones))
    w, r = (_joined(n, cells, v, gates * units) for v in ("kernel", "recurrent_kernel"))
    op = _operator(n, cells, direction)
    return list(n.all(op, x, w, r, _biases(n, cells, gates * units), lengths, *given))


def run_cell(
    n: KerasNode,
    x: Tensor,
    cell: Layer,
    states: Sequence[Tensor],
    *,
    reverse: bool,
    lengths: Tensor | None = None,
) -> Run:
    """One direction over x [steps, batch, input]; stacked cells run one after the other over the whole sequence.

    Args:
        n: the layer.
        x: its operand.
        cell: what it runs.
        states: initial ones, each [batch, units]; none for zeros.
        reverse: from the last step to the first.
        lengths: how many steps of each sequence count, [batch]; None for all.

    Raises:
        SourceOperatorError: the cell is not one of Keras's.
    """
    if cell.kind == "StackedRNNCells":
        return _stacked(n, x, cell, states, reverse=reverse, lengths=lengths)
    n.require(
        cell.kind in _GATES,
        f"the cell {cell.kind} is not known",
        "use LSTMCell, GRUCell, SimpleRNNCell or stacks of them",
    )
    y, *last = _run(n, x, [cell], "reverse" if reverse else "forward", states, lengths)
    return Run(n(ops.Squeeze(axes=(1,)), y), tuple(n(ops.Squeeze(axes=(0,)), s) for s in last))


def _stacked(
    n: KerasNode, x: Tensor, stack: Layer, states: Sequence[Tensor], *, reverse: bool, lengths: Tensor | None
) -> Run:
    left, ends = list(states), list[Tensor]()
    for cell in stack.children.values():
        count = _STATES.get(cell.kind, 1)
        run = run_cell(n, x, cell, left[:count], reverse=reverse, lengths=lengths)
        left, x = left[count:], run.outputs
        ends += run.states
    n.require(bool(ends), "the stack has no cells")
    return Run(x, tuple(ends))


def _require_plain(n: KerasNode, layer: Layer) -> None:
    n.require(not layer.config.get("stateful"), "a stateful layer keeps its state between calls",
              "give it its state as an input, with initial_state, and return_state=True")  # fmt: skip


def _initial(n: KerasNode) -> list[Tensor]:
    """initial_state, by name or as the tensors behind the first one, as Keras 2 writes it."""
    given = n.argument(1, "initial_state")
    if given is None and len(n.xs) > 1:
        return n.xs[1:]
    return [t for t in leaves(given) if isinstance(t, Tensor)]


@FAMILY.op("LSTM", "GRU", "SimpleRNN", "RNN")
def _layer(n: KerasNode) -> Result:
    x = n.xs[0]
    _require_plain(n, n.layer)
    n.require(n.rank(x) == 3, f"takes [batch, steps, features], is given shape {list(n.shape(x))}")
    reverse, states = n.flag("go_backwards"), _initial(n)
    steps = steps_of(n, x, with_states=bool(states))
    n.require(steps is None or not n.flag("zero_output_for_mask"), "zero_output_for_mask is not expressed")
    packed = x if steps is None else steps.packed(n, x)
    lengths = None if steps is None else steps.lengths
    cell = n.layer.children["cell"]
    run = run_cell(n, n.transposed(packed, _BATCH_FIRST), cell, states, reverse=reverse, lengths=lengths)
    outputs = _outputs(n, cell, run, steps, reverse=reverse, sequences=n.flag("return_sequences"), given=bool(states))
    if n.flag("return_sequences"):
        if reverse:
            outputs = n(ops.Flip(axes=(1,)), outputs)
        if steps is not None:
            n.importer.masks[outputs] = steps.mask
    return [outputs, *run.states] if n.flag("return_state") else outputs


def _outputs(
    n: KerasNode, cell: Layer, run: Run, steps: Steps | None, *, reverse: bool, sequences: bool, given: bool
) -> Tensor:
    """Outputs [batch, steps, units] in the order of time, or the last one; `given`: with an initial state."""
    if sequences:
        y = n.transposed(run.outputs, _BATCH_FIRST)
        return y if steps is None else steps.spread(n, y, reverse=reverse)
    last = _last_output(cell, run)
    return last if steps is None or not given else steps.kept(n, last)


def _last_output(cell: Layer, run: Run) -> Tensor:
    """The output of the last step, which is the last cell's first state."""
    cells = list(cell.children.values()) if cell.kind == "StackedRNNCells" else [cell]
    return run.states[-_STATES[cells[-1].kind]]


# ------------------------------------------------------------------- both directions
@FAMILY.op("Bidirectional")
def _bidirectional(n: KerasNode) -> Result:
    forward, backward = n.layer.children["forward_layer"], n.layer.children["backward_layer"]
    x = n.xs[0]
    for layer in (forward, backward):
        _require_plain(n, layer)
    if forward.kind.startswith("ConvLSTM"):
        return _one_by_one(n, x, forward, backward)
    for layer in (forward, backward):
        n.require(set(layer.children) == {"cell"}, f"wraps a {layer.kind}, which is no recurrent layer")
    states = _initial(n)
    steps = steps_of(n, x, with_states=bool(states), zeros=True)
    n.require(
        not forward.config.get("go_backwards") and bool(backward.config.get("go_backwards")),
        "the directions of its two layers are not forward and backward",
    )
    turned = n.transposed(x if steps is None else steps.packed(n, x), _BATCH_FIRST)
    first, second = (layer.children["cell"] for layer in (forward, backward))
    if (
        steps is None
        and first.kind in _GATES
        and first.kind == second.kind
        and first.config.get("units") == second.config.get("units")
    ):
        return _together(n, turned, (first, second), states)
    half = len(states) // 2
    lengths = None if steps is None else steps.lengths
    runs = [
        (cell, run_cell(n, turned, cell, part, reverse=reverse, lengths=lengths), reverse)
        for cell, part, reverse in ((first, states[:half], False), (second, states[half:], True))
    ]
    ends = [s for _, run, _ in runs for s in run.states]
    sequences, given = _gives_sequences(n), bool(states)
    a, b = (_outputs(n, cell, run, steps, reverse=r, sequences=sequences, given=given) for cell, run, r in runs)
    merged = _merged(n, a, b)
    if steps is not None and sequences:
        n.importer.masks.update({t: steps.mask for t in leaves(merged)})
    return _with_states(n, merged, ends)


def _one_by_one(n: KerasNode, x: Tensor, forward: Layer, backward: Layer) -> Result:
    """Two layers that are imported by their own handlers; the second one gives its sequence in reverse."""
    n.require(_initial(n) == [], "initial_state is not expressed")
    (a, *ends), (b, *more) = (
        result if isinstance(result, list) else [result]
        for result in (n.run(layer, x) for layer in (forward, backward))
    )
    if _gives_sequences(n):
        b = n(ops.Flip(axes=(1,)), b)
    return _with_states(n, _merged(n, a, b), [*ends, *more])


def _gives_sequences(n: KerasNode) -> bool:
    return bool(n.layer.children["forward_layer"].config.get("return_sequences"))


def _together(n: KerasNode, x: Tensor, cells: Sequence[Layer], states: Sequence[Tensor]) -> Result:
    """Both directions as one operator: y [steps, 2, batch, units] and last states [2, batch, units]."""
    y, *last = _run(n, x, cells, "bidirectional", states, None)
    steps, _, batch, units = n.shape(y)
    ends: list[Tensor] = []
    wants_ends = bool(n.layer.children["forward_layer"].config.get("return_state"))
    concat = n.layer.config.get("merge_mode", "concat") == "concat"
    if wants_ends or not (_gives_sequences(n) or concat):
        parts = [n.parts(s, 0, 2) for s in last]
        ends = [n(ops.Squeeze(axes=(0,)), p[d]) for d in range(2) for p in parts]
    if concat and _gives_sequences(n):
        joined = n.reshaped(n.transposed(y, (2, 0, 1, 3)), (batch, steps, 2 * units))
    elif concat:
        joined = n.reshaped(n.transposed(last[0], _BATCH_FIRST), (batch, 2 * units))
    elif _gives_sequences(n):
        halves = n.parts(y, 1, 2)
        a, b = (n.transposed(n(ops.Squeeze(axes=(1,)), h), _BATCH_FIRST) for h in halves)
        return _with_states(n, _merged(n, a, b), ends)
    else:
        return _with_states(n, _merged(n, ends[0], ends[len(last)]), ends)
    return _with_states(n, joined, ends)


def _merged(n: KerasNode, a: Tensor, b: Tensor) -> Any:
    """The outputs of both directions as merge_mode says."""
    mode = n.layer.config.get("merge_mode", "concat")
    if mode is None:
        return [a, b]
    if mode == "concat":
        return n(ops.Concat(axis=n.rank(a) - 1), a, b)
    if mode == "mul":
        return n(ops.Mul(), a, b)
    n.require(mode in ("sum", "ave"), f"merge_mode {mode!r} is not known")
    total = n(ops.Add(), a, b)
    return total if mode == "sum" else n(ops.Div(), total, n.like(2, total))


def _with_states(n: KerasNode, outputs: Any, states: Sequence[Tensor]) -> Result:
    if not n.layer.children["forward_layer"].config.get("return_state"):
        return outputs
    return [*outputs, *states] if isinstance(outputs, list) else [outputs, *states]


# ------------------------------------------------------------------- a layer for every step
_STEPWISE = frozenset({"Dense", "Activation", "Dropout", "Identity", "ReLU", "LeakyReLU", "ELU"})


@FAMILY.op("TimeDistributed")
def _time_distributed(n: KerasNode) -> Result:
    """The steps become part of the batch; layers that look at the last axis alone need no such change."""
    x, layer = n.x, n.layer.children["layer"]
    if layer.kind in _STEPWISE:
        return n.run(layer, x)
    batch, steps, *rest = n.shape(x)
    y = n.run(layer, n.reshaped(x, (batch * steps, *rest)))
    if not isinstance(y, Tensor):
        n.refuse(f"wraps a {layer.kind} that gives several tensors")
    return n.reshaped(y, (batch, steps, *n.shape(y)[1:]))
