"""Cells of recurrent layers one after the other become the layer; onnxruntime computes both."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.passes.judging import optimized
from uair.debugging.why_not import answer
from uair.ir.dims import symbol
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import (
    GRU,
    LSTM,
    RNN,
    Add,
    Concat,
    Expand,
    Gather,
    HardSigmoid,
    Linear,
    MatMul,
    Mul,
    Relu,
    Sigmoid,
    Slice,
    Split,
    Squeeze,
    Sub,
    Tanh,
    Unsqueeze,
)
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.recurrent.unrolled import UnrolledLSTM
from uair.pipeline import PassContext

RNG = np.random.default_rng(5)
STEPS, BATCH, IN, HIDDEN = 5, 2, 3, 4
States = Sequence[Tensor]
Cell = Callable[["Sketch", Tensor, States], States]


def weights(*shape: int) -> Tensor:
    return constant(RNG.normal(size=shape).astype(np.float32) * np.float32(0.7))


class Sketch:
    """A graph, and its nodes by calling it."""

    def __init__(self, shape: Sequence[Any] = (STEPS, BATCH, IN)) -> None:
        self.graph = Graph("main")
        self.x = self.input("x", *shape)

    def input(self, name: str, *shape: Any) -> Tensor:
        return self.graph.add_input(name, TensorType(DType.F32, tuple(shape)))

    def all(self, op: Any, *operands: Tensor | None) -> tuple[Tensor, ...]:
        return self.graph.append(Node(op, operands)).outputs

    def __call__(self, op: Any, *operands: Tensor | None) -> Tensor:
        return self.all(op, *operands)[0]

    def module(self, *outputs: Tensor) -> Module:
        for i, tensor in enumerate(outputs):
            self.graph.add_output(f"y{i}", tensor)
        return Module("m", {"main": self.graph})


# ---------------------------------------------------------------------------------------------------------------- cells
SIGMOID = Sigmoid()


def lstm(order: str = "ifco", gate: Any = SIGMOID, form: str = "split bias") -> Cell:
    """The order of the gates is torch's and Keras's, or another; the forms are those that exporters leave."""
    w, r, b, more = weights(IN, 4 * HIDDEN), weights(HIDDEN, 4 * HIDDEN), weights(4 * HIDDEN), weights(4 * HIDDEN)
    both = constant(np.concatenate([w.numpy(), r.numpy()]))
    turned = [constant(np.ascontiguousarray(m.numpy().T)) for m in (w, r)]
    parts = [[constant(np.ascontiguousarray(p)) for p in np.split(m.numpy(), 4, axis=-1)] for m in (w, r, b)]

    def gates(g: Sketch, x: Tensor, h: Tensor) -> States:
        if form == "a product for each gate":
            return [g(Add(), g(Add(), g(MatMul(), x, w), g(MatMul(), h, r)), b) for w, r, b in zip(*parts, strict=True)]
        if form == "one product":
            total = g(Add(), g(MatMul(), g(Concat(axis=1), x, h), both), b)
        elif form == "split bias":
            total = g(
                Add(), g(Linear(transpose_w=True), x, turned[0], b), g(Linear(transpose_w=True), h, turned[1], more)
            )
        else:
            total = g(Add(), g(Add(), g(MatMul(), h, r), g(MatMul(), x, w)), b)
        if form == "slices":
            cuts = [Slice(axes=(1,), starts=(k * HIDDEN,), ends=((k + 1) * HIDDEN,), steps=(1,)) for k in range(4)]
            return [g(cut, total) for cut in cuts]
        return g.all(Split(axis=1, sizes=(HIDDEN,) * 4), total)

    def cell(g: Sketch, x: Tensor, states: States) -> States:
        h, c = states
        named = dict(zip(order, gates(g, x, h), strict=True))
        i, f, o = (g(gate, named[name]) for name in "ifo")
        memory = g(Add(), g(Mul(), f, c), g(Mul(), i, g(Tanh(), named["c"])))
        return g(Mul(), o, g(Tanh(), memory)), memory

    return cell


def gru(after: bool, form: str = "difference") -> Cell:
    """reset_after, as torch has it, or the reset in front of the product; the ways to write the last sum."""
    w, r, b, more = weights(IN, 3 * HIDDEN), weights(HIDDEN, 3 * HIDDEN), weights(3 * HIDDEN), weights(3 * HIDDEN)
    parts = [constant(np.ascontiguousarray(p)) for p in np.split(r.numpy(), 3, axis=1)]
    split = Split(axis=1, sizes=(HIDDEN,) * 3)

    def cell(g: Sketch, x: Tensor, states: States) -> States:
        (h,) = states
        xr, xz, xn = g.all(split, g(Add(), g(MatMul(), x, w), b))
        if after:
            hr, hz, hn = g.all(split, g(Add(), g(MatMul(), h, r), more))
            hn = g(Mul(), hn, g(Sigmoid(), g(Add(), xr, hr)))
        else:
            reset = g(Sigmoid(), g(Add(), xr, g(MatMul(), h, parts[0])))
            hz, hn = g(MatMul(), h, parts[1]), g(MatMul(), g(Mul(), reset, h), parts[2])
        z, n = g(Sigmoid(), g(Add(), xz, hz)), g(Tanh(), g(Add(), xn, hn))
        if form == "difference":
            return [g(Add(), g(Mul(), g(Sub(), h, n), z), n)]
        if form == "difference last":
            return [g(Add(), n, g(Mul(), z, g(Sub(), h, n)))]
        kept = g(Mul(), g(Sub(), constant(np.float32(1)), z), n)
        return [g(Add(), kept, g(Mul(), z, h))]

    return cell


# ---------------------------------------------------------------------------------------------------------------- loops
def step(g: Sketch, t: int, how: str = "gather") -> Tensor:
    """X at time t."""
    axis = int(how.startswith("batch"))
    if how == "slice":
        return g(Squeeze(axes=(0,)), g(Slice(axes=(0,), starts=(t,), ends=(t + 1,), steps=(1,)), g.x))
    return g(Gather(axis=axis), g.x, constant(np.int64(t)))


def zeros() -> list[Tensor]:
    return [constant(np.zeros((BATCH, HIDDEN), np.float32))] * 2


def unrolled(g: Sketch, cell: Cell, states: States, steps: Sequence[Tensor]) -> tuple[list[Tensor], States]:
    """The outputs, and the last states."""
    outputs: list[Tensor] = []
    for x in steps:
        states = cell(g, x, states)
        outputs.append(states[0])
    return outputs, states


def stacked(g: Sketch, outputs: Sequence[Tensor], axis: int = 0) -> Tensor:
    return g(Concat(axis=axis), *(g(Unsqueeze(axes=(axis,)), t) for t in outputs))


def fused(module: Module) -> Module:
    """The module after canonicalisation and fusion, which computes the same as before in onnxruntime."""
    feeds = {
        t.name: RNG.normal(size=[d if isinstance(d, int) else 3 for d in t.type.dims]).astype(np.float32)
        for t in module.main.inputs
    }
    return optimized(module, feeds, relative=0, absolute=2e-6)


def kinds(module: Module) -> Counter[str]:
    return Counter(node.op_type for node in module.main)


def layer(module: Module, kind: type[Any]) -> Node:
    (found,) = [node for node in module.main if isinstance(node.op, kind)]
    return found


# ----------------------------------------------------------------------------------------------------------------- LSTM
FORMS = ("split bias", "bias behind the sum", "slices", "one product", "a product for each gate")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_every_form_of_lstm_cells_is_one_layer(form: str, given: bool) -> None:
    """All outputs joined, and the last states."""
    g = Sketch()
    first = [g.input(name, BATCH, HIDDEN) for name in "hc"] if given else zeros()
    outputs, last = unrolled(g, lstm(form=form), first, [step(g, t) for t in range(STEPS)])
    module = fused(g.module(stacked(g, outputs), *last))
    node = layer(module, LSTM)
    assert node.inputs[0] is module.main.inputs[0] and len(node.inputs) == (7 if given else 4)
    assert kinds(module) == Counter(LSTM=1, Squeeze=3) + Counter(Unsqueeze=2 * given)


@pytest.mark.parametrize("order", ["ifco", "iofc", "cfio"])
def test_the_order_of_the_gates_is_read_from_what_they_do(order: str) -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(order), zeros(), [step(g, t) for t in range(STEPS)])
    assert kinds(fused(g.module(outputs[-1]))) == {"LSTM": 1, "Squeeze": 1}


def test_hard_gates_are_attributes_of_the_layer() -> None:
    g = Sketch()
    cell = lstm(gate=HardSigmoid(alpha=0.2, beta=0.5))
    outputs, _ = unrolled(g, cell, zeros(), [step(g, t) for t in range(STEPS)])
    op = layer(fused(g.module(outputs[-1])), LSTM).op
    assert isinstance(op, LSTM) and op.activations == ("HardSigmoid", "Tanh", "Tanh")
    assert op.alpha[0] == pytest.approx(0.2) and op.beta[0] == 0.5


@pytest.mark.parametrize(("how", "shape"), [("slice", (STEPS, BATCH, IN)), ("batch first", (BATCH, STEPS, IN))])
def test_steps_are_taken_from_their_sequence(how: str, shape: Sequence[int]) -> None:
    g = Sketch(shape)
    outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t, how) for t in range(STEPS)])
    module = fused(g.module(stacked(g, outputs, axis=1)))
    turned = 2 if how == "batch first" else 1
    assert kinds(module) == {"LSTM": 1, "Squeeze": 1, "Transpose": turned}


def test_steps_of_a_split_are_taken_from_their_sequence() -> None:
    g = Sketch((BATCH, STEPS, IN))
    parts = [g(Squeeze(axes=(1,)), part) for part in g.all(Split(axis=1, sizes=(1,) * STEPS), g.x)]
    outputs, _ = unrolled(g, lstm(), zeros(), parts)
    assert kinds(fused(g.module(outputs[-1]))) == {"Transpose": 1, "LSTM": 1, "Squeeze": 1}


def test_some_of_the_steps_are_a_slice() -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t) for t in range(1, STEPS - 1)])
    assert kinds(fused(g.module(outputs[-1]))) == {"Slice": 1, "LSTM": 1, "Squeeze": 1}


def test_steps_from_the_end_make_the_reverse_layer() -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t) for t in reversed(range(STEPS))])
    module = fused(g.module(stacked(g, outputs[::-1]), outputs[1]))
    op = layer(module, LSTM).op
    assert isinstance(op, LSTM) and op.direction == "reverse"
    assert kinds(module) == {"LSTM": 1, "Squeeze": 1, "Gather": 1}


def test_steps_from_elsewhere_are_put_together() -> None:
    """Each comes from an operation of its own, one of them behind the first cells."""
    g = Sketch()
    cell, states, outputs = lstm(), zeros(), []
    for t in range(STEPS):
        x = g(Relu(), step(g, t)) if t % 2 else g(Tanh(), step(g, t))
        states = list(cell(g, x, states))
        outputs.append(states[0])
    found = kinds(fused(g.module(outputs[-1], outputs[0])))
    assert found["LSTM"] == found["Concat"] == 1 and "Linear" not in found


def test_outputs_that_are_used_one_by_one() -> None:
    """A head for each step stands between the cells."""
    g = Sketch()
    cell, states, heads = lstm(), zeros(), []
    head = weights(HIDDEN, 2)
    for t in range(STEPS):
        states = list(cell(g, step(g, t), states))
        heads.append(g(MatMul(), states[0], head))
    found = kinds(fused(g.module(*heads)))
    assert found["LSTM"] == 1 and found["MatMul"] + found["Linear"] == STEPS and "Sigmoid" not in found


@pytest.mark.parametrize("axis", [0, 1])
def test_outputs_side_by_side(axis: int) -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t) for t in range(STEPS)])
    module = fused(g.module(g(Concat(axis=axis), *outputs)))
    assert kinds(module)["LSTM"] == 1 and "Concat" not in kinds(module) and len(module.main) <= 4


def test_an_open_batch() -> None:
    """The states at first are spread over it."""
    g = Sketch((STEPS, symbol("batch"), IN))
    row = g.input("row", 1, HIDDEN)
    spread = g(Expand(shape=(symbol("batch"), HIDDEN)), row)
    outputs, _ = unrolled(g, lstm(), [spread, spread], [step(g, t) for t in range(STEPS)])
    assert kinds(fused(g.module(stacked(g, outputs))))["LSTM"] == 1


def test_layers_on_top_of_each_other_go_on_together() -> None:
    """Each step goes through both cells before the next one."""
    g = Sketch()
    low, outputs = lstm(), []
    high = lstm_of(HIDDEN)
    a, b = zeros(), zeros()
    for t in range(STEPS):
        a = list(low(g, step(g, t), a))
        b = list(high(g, a[0], b))
        outputs.append(b[0])
    module = fused(g.module(stacked(g, outputs)))
    assert kinds(module)["LSTM"] == 2 and len(module.main) <= 6


def lstm_of(size: int) -> Cell:
    """A cell whose input is as wide as its state."""
    w, r, b = weights(size, 4 * HIDDEN), weights(HIDDEN, 4 * HIDDEN), weights(4 * HIDDEN)

    def cell(g: Sketch, x: Tensor, states: States) -> States:
        h, c = states
        total = g(Add(), g(Add(), g(MatMul(), x, w), g(MatMul(), h, r)), b)
        i, f, n, o = g.all(Split(axis=1, sizes=(HIDDEN,) * 4), total)
        memory = g(Add(), g(Mul(), g(Sigmoid(), f), c), g(Mul(), g(Sigmoid(), i), g(Tanh(), n)))
        return g(Mul(), g(Sigmoid(), o), g(Tanh(), memory)), memory

    return cell


# ------------------------------------------------------------------------------------------------------------------ GRU
@pytest.mark.parametrize("form", ["difference", "difference last", "complement"])
@pytest.mark.parametrize("after", [True, False])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_gru_cells_are_one_layer(after: bool, form: str, given: bool) -> None:
    g = Sketch()
    first = [g.input("h", BATCH, HIDDEN)] if given else zeros()[:1]
    outputs, _ = unrolled(g, gru(after, form), first, [step(g, t) for t in range(STEPS)])
    module = fused(g.module(stacked(g, outputs)))
    op = layer(module, GRU).op
    assert isinstance(op, GRU) and op.linear_before_reset == after
    assert kinds(module) == Counter(GRU=1, Squeeze=1) + Counter(Unsqueeze=int(given))


@pytest.mark.parametrize("function", [Tanh(), Relu()])
@pytest.mark.parametrize("given", [False, True], ids=["zeros", "states"])
def test_simple_cells_are_one_layer(function: Any, given: bool) -> None:
    w, r, b = weights(IN, HIDDEN), weights(HIDDEN, HIDDEN), weights(HIDDEN)

    def cell(g: Sketch, x: Tensor, states: States) -> States:
        return [g(function, g(Add(), g(Add(), g(MatMul(), x, w), b), g(MatMul(), states[0], r)))]

    g = Sketch()
    first = [g.input("h", BATCH, HIDDEN)] if given else zeros()[:1]
    outputs, _ = unrolled(g, cell, first, [step(g, t) for t in range(STEPS)])
    module = fused(g.module(stacked(g, outputs)))
    assert kinds(module) == Counter(RNN=1, Squeeze=1) + Counter(Unsqueeze=int(given))


@pytest.mark.parametrize("shape", [(STEPS, BATCH, IN), (BATCH, STEPS, IN)], ids=["steps first", "batch first"])
@pytest.mark.parametrize("bias", [False, True])
def test_a_sequence_that_is_projected_as_a_whole(shape: Sequence[int], bias: bool) -> None:
    """The product with the weights of the input stands ahead of the steps; it becomes part of the layer."""
    g = Sketch(shape)
    w, r, b = weights(IN, 4 * HIDDEN), weights(HIDDEN, 4 * HIDDEN), weights(4 * HIDDEN)
    whole = g(MatMul(), g.x, w)
    g.x = g(Add(), whole, b) if bias else whole

    def cell(g: Sketch, x: Tensor, states: States) -> States:
        h, c = states
        i, f, n, o = g.all(Split(axis=1, sizes=(HIDDEN,) * 4), g(Add(), x, g(MatMul(), h, r)))
        memory = g(Add(), g(Mul(), g(Sigmoid(), f), c), g(Mul(), g(Sigmoid(), i), g(Tanh(), n)))
        return g(Mul(), g(Sigmoid(), o), g(Tanh(), memory)), memory

    how = "batch first" if shape[0] == BATCH else "gather"
    outputs, _ = unrolled(g, cell, zeros(), [step(g, t, how) for t in range(STEPS)])
    module = fused(g.module(stacked(g, outputs)))
    assert kinds(module) == Counter(LSTM=1, Squeeze=1) + Counter(Transpose=int(shape[0] == BATCH))


def test_both_directions_become_one_layer() -> None:
    g = Sketch((BATCH, STEPS, IN))
    steps = [step(g, t, "batch first") for t in range(STEPS)]
    forward, _ = unrolled(g, lstm(), zeros(), steps)
    backward, _ = unrolled(g, lstm(), zeros(), steps[::-1])
    module = fused(g.module(g(Concat(axis=2), stacked(g, forward, 1), stacked(g, backward[::-1], 1))))
    op = layer(module, LSTM).op
    assert isinstance(op, LSTM) and op.direction == "bidirectional"
    assert kinds(module) == {"Transpose": 2, "LSTM": 1, "Reshape": 1}


def test_a_network_whose_layers_share_weights_is_no_recurrent_layer() -> None:
    """What comes in is the same tensor, but for the first layer: no step takes it."""
    g = Sketch((BATCH, HIDDEN))
    r, b = weights(HIDDEN, HIDDEN), weights(HIDDEN)
    x = g.x
    for _ in range(4):
        x = g(Tanh(), g(Add(), g(MatMul(), x, r), b))
    assert "RNN" not in kinds(fused(g.module(x)))


# ----------------------------------------------------------------------------------------------------- layers of a step
@pytest.mark.parametrize("kind", [LSTM, GRU, RNN])
@pytest.mark.parametrize("whole", [True, False], ids=["joined", "one by one"])
def test_layers_of_one_step_are_one_layer(kind: Any, whole: bool) -> None:
    """As torch.nn.LSTMCell, GRUCell and RNNCell come from torch.export."""
    g = Sketch()
    gates = kind.gates * HIDDEN
    parameters = (weights(1, gates, IN), weights(1, gates, HIDDEN), weights(1, 2 * gates))
    states = [g.input(f"s{i}", 1, BATCH, HIDDEN) for i in range(2 if kind is LSTM else 1)]
    outputs = []
    for t in range(STEPS):
        y, *states = g.all(kind(), g(Unsqueeze(axes=(0,)), step(g, t)), *parameters, None, *states)
        outputs.append(g(Squeeze(axes=(0,)), states[0]) if whole else y)
    module = fused(g.module(*([stacked(g, outputs)] if whole else outputs), *states))
    assert kinds(module)[kind.__name__] == 1
    if whole:
        assert len(module.main) == 2


def test_layers_of_one_step_that_feed_themselves_stay() -> None:
    g = Sketch((1, BATCH, HIDDEN))
    parameters = (weights(1, 4 * HIDDEN, HIDDEN), weights(1, 4 * HIDDEN, HIDDEN))
    x, states = g.x, [g.input(f"s{i}", 1, BATCH, HIDDEN) for i in range(2)]
    for _ in range(3):
        _, *states = g.all(LSTM(), x, *parameters, None, None, *states)
        x = g(Relu(), states[0])
    assert kinds(fused(g.module(x)))["LSTM"] == 3


# ---------------------------------------------------------------------------------------------------------- what is not
def refused(module: Module, node: Node) -> str:
    return answer(UnrolledLSTM(), node).reason


def test_a_decoder_that_feeds_itself_stays() -> None:
    g = Sketch((BATCH, HIDDEN))
    cell, states, x = lstm_of(HIDDEN), zeros(), g.x
    for _ in range(3):
        states = list(cell(g, x, states))
        x = g(Relu(), states[0])
    module = g.module(x)
    root = states[0].producer
    assert root is not None
    Canonicalise().run(module, PassContext())
    assert "depends on the output of another" in refused(module, root)
    assert "LSTM" not in kinds(fused(module))


def test_cells_with_other_weights_are_no_layer() -> None:
    g = Sketch()
    outputs, states = unrolled(g, lstm(), zeros(), [step(g, 0)])
    for t in (1, 2):
        more, states = unrolled(g, lstm(), states, [step(g, t)])
        outputs += more
    root = outputs[-1].producer
    assert root is not None
    module = g.module(outputs[-1])
    assert "no step of the same cell stands in front of it" in refused(module, root)
    assert "LSTM" not in kinds(fused(module))


def test_a_memory_or_a_gate_that_is_used_stays() -> None:
    for inner in (1, 2):
        g = Sketch()
        taken: list[Tensor] = []
        cell, states = lstm(), zeros()
        for t in range(3):
            states = list(cell(g, step(g, t), states))
            taken += [states[1]] if inner == 1 else [n for user in states[1].users for n in user.outputs]
        root = states[0].producer
        assert root is not None
        assert "used outside" in refused(g.module(states[0], taken[1]), root)


def test_an_inner_step_names_the_one_that_goes_on() -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t) for t in range(4)])
    module = g.module(outputs[-1])
    inner = outputs[2].producer
    assert inner is not None
    assert "the chain ends later" in refused(module, inner)


def test_a_peephole_stays() -> None:
    g = Sketch()
    cell, states, peep = lstm(), zeros(), weights(HIDDEN)
    for t in range(3):
        states = list(cell(g, step(g, t), [states[0], g(Mul(), states[1], peep)]))
    assert "LSTM" not in kinds(fused(g.module(states[0])))


def test_one_cell_stays() -> None:
    g = Sketch()
    outputs, _ = unrolled(g, lstm(), [g.input(name, BATCH, HIDDEN) for name in "hc"], [step(g, 0)])
    assert "LSTM" not in kinds(fused(g.module(outputs[-1])))


def test_cost_follows_the_number_of_steps() -> None:
    """Twice the steps, and about twice the calls into the rule's readers."""
    import cProfile
    import pstats

    calls = []
    for steps in (40, 80):
        g = Sketch((steps, BATCH, IN))
        outputs, _ = unrolled(g, lstm(), zeros(), [step(g, t) for t in range(steps)])
        module = g.module(stacked(g, outputs))
        profile = cProfile.Profile()
        profile.runcall(Fuse().run, module, PassContext())
        calls.append(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]
        assert kinds(module)["LSTM"] == 1
    assert calls[1] < 2.3 * calls[0]
