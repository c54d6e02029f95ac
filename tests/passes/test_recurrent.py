"""Loops over the cell of a recurrent layer, as frontends give them, become the layer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import uair
from uair.ir.dims import symbol
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import (
    GRU,
    LSTM,
    RNN,
    Add,
    Cast,
    Concat,
    Flip,
    Gather,
    Loop,
    MatMul,
    Mul,
    Sigmoid,
    Split,
    Sub,
    Tanh,
    Transpose,
    Where,
)
from uair.ops.recurrent import Recurrent
from uair.passes.recurrent.recognize import RecognizeRecurrent
from uair.pipeline import PassContext

RNG = np.random.default_rng(11)
STEPS, BATCH, IN, HIDDEN = 6, 2, 3, 4
Cell = Callable[["Steps", Tensor, Sequence[Tensor]], Sequence[Tensor]]


def f(*shape: int) -> Tensor:
    return constant(RNG.normal(size=shape).astype(np.float32) * np.float32(0.7))


class Steps:
    """Appends nodes to a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    def __call__(self, op: Any, *operands: Tensor | None) -> Tensor:
        return self.all(op, *operands)[0]

    def all(self, op: Any, *operands: Tensor | None) -> tuple[Tensor, ...]:
        return self.graph.append(Node(op, operands)).outputs


def looped(graph: Graph, x: Tensor, initial: Sequence[Tensor], cell: Cell, stacked: int = 0) -> tuple[Tensor, ...]:
    """A Loop over the steps of x; the stack is that of the state `stacked`."""
    body = Graph("step")
    number = body.add_input("run", TensorType(DType.I64, ()))
    goes_on = body.add_input("condition", TensorType(DType.BOOL, ()))
    states = [body.add_input(f"state{i}", s.type) for i, s in enumerate(initial)]
    b = Steps(body)
    now = b(Gather(axis=0), x, b(Cast(to=DType.I32), number))
    following = cell(b, now, states)
    body.add_output("goes_on", goes_on)
    for i, tensor in enumerate(following):
        body.add_output(f"next{i}", tensor)
    body.add_output("output", following[stacked])
    steps = x.type.dims[0]
    assert isinstance(steps, int)
    return Steps(graph).all(Loop(body=body), constant(np.int64(steps)), None, *initial)


def lstm_cell(joined: bool = False) -> Cell:
    """Keras's order of gates: i, f, c, o; the kernels apart, or one for both."""
    w, r, bias = f(IN, 4 * HIDDEN), f(HIDDEN, 4 * HIDDEN), f(4 * HIDDEN)
    both = constant(np.concatenate([w.numpy(), r.numpy()]))

    def cell(b: Steps, x: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
        h, c = states
        if joined:
            product = b(MatMul(), b(Concat(axis=1), x, h), both)
        else:
            product = b(Add(), b(MatMul(), x, w), b(MatMul(), h, r))
        i, forget, n, o = b.all(Split(axis=-1, sizes=(HIDDEN,) * 4), b(Add(), product, bias))
        kept = b(Mul(), c, b(Sigmoid(), forget))
        memory = b(Add(), b(Mul(), b(Tanh(), n), b(Sigmoid(), i)), kept)
        return b(Mul(), b(Sigmoid(), o), b(Tanh(), memory)), memory

    return cell


def gru_cell(after: bool) -> Cell:
    """reset_after, or the reset in front of the product."""
    w, r, bias, more = f(IN, 3 * HIDDEN), f(HIDDEN, 3 * HIDDEN), f(3 * HIDDEN), f(3 * HIDDEN)
    parts = [constant(np.ascontiguousarray(p)) for p in np.split(r.numpy(), 3, axis=1)]

    def cell(b: Steps, x: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
        (h,) = states
        xz, xr, xn = b.all(Split(axis=1, sizes=(HIDDEN,) * 3), b(Add(), b(MatMul(), x, w), bias))
        if after:
            hz, hr, hn = b.all(Split(axis=1, sizes=(HIDDEN,) * 3), b(Add(), b(MatMul(), h, r), more))
        else:
            hz, hr = (b(MatMul(), h, p) for p in parts[:2])
            hn = h
        reset = b(Sigmoid(), b(Add(), xr, hr))
        hn = b(Mul(), reset, hn) if after else b(MatMul(), b(Mul(), reset, hn), parts[2])
        z, n = b(Sigmoid(), b(Add(), xz, hz)), b(Tanh(), b(Add(), xn, hn))
        fresh = b(Mul(), b(Sub(), constant(np.float32(1)), z), n)
        return [b(Add(), b(Mul(), z, h), fresh)]

    return cell


def rnn_cell() -> Cell:
    w, r, bias = f(IN, HIDDEN), f(HIDDEN, HIDDEN), f(HIDDEN)

    def cell(b: Steps, x: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
        return [b(Tanh(), b(Add(), b(Add(), b(MatMul(), x, w), bias), b(MatMul(), states[0], r)))]

    return cell


def model(cell: Cell, count: int, *, zeros: bool = True, stacked: int = 0, reverse: bool = False) -> Module:
    graph = Graph("main")
    x = graph.add_input("x", TensorType(DType.F32, (STEPS, BATCH, IN)))
    shape = TensorType(DType.F32, (BATCH, HIDDEN))
    zero = constant(np.zeros((BATCH, HIDDEN), np.float32))
    initial = [zero if zeros else graph.add_input(f"s{i}", shape) for i in range(count)]
    given = Steps(graph)(Flip(axes=(0,)), x) if reverse else x
    *last, stack = looped(graph, given, initial, cell, stacked)
    for i, tensor in enumerate((*last, stack)):
        graph.add_output(f"y{i}", tensor)
    return Module("m", {"main": graph})


def kinds(module: Module) -> Counter[str]:
    return Counter(node.op_type for node in module.main)


def recognized(module: Module, tolerance: float = 1e-6) -> Module:
    """The module after the pass, which computes what it did before."""
    inputs = {
        t.name: RNG.normal(size=[d if isinstance(d, int) else 2 for d in t.type.dims]).astype(np.float32)
        for t in module.main.inputs
    }
    before = uair.run(module.clone(), inputs)
    RecognizeRecurrent().run(module, PassContext())
    verify(module)
    after = uair.run(module, inputs)
    for name, value in before.items():
        assert np.ptp(value) > 0.01
        assert np.abs(after[name] - value).max() <= tolerance * np.abs(value).max() * 10, name
    return module


@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize(
    ("cell", "kind", "states"),
    [
        (lstm_cell(), LSTM, 2),
        (lstm_cell(joined=True), LSTM, 2),
        (gru_cell(after=True), GRU, 1),
        (gru_cell(after=False), GRU, 1),
        (rnn_cell(), RNN, 1),
    ],
)
def test_cell_is_a_layer(cell: Cell, kind: type[Recurrent], states: int, zeros: bool) -> None:
    """With states that are zeros, which the layer takes as its own, and with others."""
    module = recognized(model(cell, states, zeros=zeros))
    (layer,) = [node for node in module.main if isinstance(node.op, kind)]
    assert "Loop" not in kinds(module)
    assert len(layer.inputs) == (4 if zeros else 5 + states)


def test_sequence_from_its_end() -> None:
    module = recognized(model(lstm_cell(), 2, reverse=True))
    (layer,) = [node for node in module.main if isinstance(node.op, LSTM)]
    assert layer.attributes["direction"] == "reverse" and kinds(module)["Flip"] == 1  # that of the outputs


def test_directions_become_one() -> None:
    """Both over the same sequence, and the outputs side by side."""
    graph = Graph("main")
    g = Steps(graph)
    x = graph.add_input("x", TensorType(DType.F32, (BATCH, STEPS, IN)))
    zero = constant(np.zeros((BATCH, HIDDEN), np.float32))
    turned = g(Transpose(perm=(1, 0, 2)), x)
    *_, forward = looped(graph, turned, [zero, zero], lstm_cell())
    *_, backward = looped(graph, g(Flip(axes=(0,)), turned), [zero, zero], lstm_cell())
    a, b = (g(Transpose(perm=(1, 0, 2)), t) for t in (forward, backward))
    graph.add_output("y", g(Concat(axis=2), a, g(Flip(axes=(1,)), b)))
    module = recognized(Module("m", {"main": graph}))
    assert kinds(module) == {"Transpose": 2, "LSTM": 1, "Reshape": 1}
    assert [n.op.direction for n in module.main if isinstance(n.op, LSTM)] == ["bidirectional"]


def test_last_output_is_the_last_state() -> None:
    graph = Graph("main")
    x = graph.add_input("x", TensorType(DType.F32, (STEPS, symbol("batch"), IN)))
    first = graph.add_input("first", TensorType(DType.F32, (symbol("batch"), HIDDEN)))
    *_, stack = looped(graph, x, [first], gru_cell(after=True))
    graph.add_output("y", Steps(graph)(Gather(axis=0), stack, constant(np.int64(-1))))
    module = recognized(Module("m", {"main": graph}))
    (layer,) = [node for node in module.main if isinstance(node.op, GRU)]
    assert layer.outputs[0].use_count == 0 and "Gather" not in kinds(module)


def masked(b: Steps, x: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
    h, c = lstm_cell()(b, x, states)
    none = constant(np.array([[True], [False]]))
    return b(Where(), none, h, states[0]), b(Where(), none, c, states[1])


def other_gates(b: Steps, x: Tensor, states: Sequence[Tensor]) -> Sequence[Tensor]:
    """Its forget gate sees the memory, as no layer's does."""
    h, c = lstm_cell()(b, x, states)
    return h, b(Mul(), c, states[1])


@pytest.mark.parametrize("cell", [masked, other_gates])
def test_other_cells_stay(cell: Cell) -> None:
    assert kinds(recognized(model(cell, 2, zeros=False)))["Loop"] == 1


def test_stack_of_the_memory_stays() -> None:
    """No layer gives the memory of every step."""
    assert kinds(recognized(model(lstm_cell(), 2, stacked=1)))["Loop"] == 1


def test_fewer_runs_than_steps_stay() -> None:
    module = model(rnn_cell(), 1)
    (loop,) = [node for node in module.main if isinstance(node.op, Loop)]
    loop.set_input(0, constant(np.int64(STEPS - 1)))
    assert kinds(recognized(module))["Loop"] == 1
