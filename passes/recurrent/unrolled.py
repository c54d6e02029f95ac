"""Recurrent layers that a model spells out step by step: cells behind each other that share their weights.

The last cell is the root of a rule. Its steps are followed back from state to state: each must have the same nodes and
constants as the last one, so that the weights are read once, from the last cell. A first cell that begins with zeros is
the same cell with what that folds; where it is another one, its results are the states that the layer begins with.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import static
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.module import Module
from uair.ops import Add, Concat, Identity, Linear, MatMul, Mul, Relu, Reshape, Sub, Tanh, Unsqueeze
from uair.ops.recurrent import Recurrent
from uair.passes.canonicalise import Canonicalise
from uair.passes.eliminate_common_subexpressions import constant_key
from uair.passes.recurrent.body import ACTIVATIONS, MOST_FOLDED, READ, read
from uair.passes.recurrent.cells import Cell, recognize
from uair.passes.recurrent.expressions import Affine, Atom
from uair.passes.recurrent.sequences import Outputs, between, joined, late_tensors, neighbours, place_of, stand_ins
from uair.pipeline import PassContext
from uair.rewrite import NoMatch, Replacement, Rule, no, of

MOST_NODES = 64
"""Nodes of a cell; more of them are something else."""

_PRODUCTS = (MatMul, Linear)
_STEPS = 2
"""Cells that make a layer, at least."""


@attrs.frozen(eq=False)
class _Step:
    """A cell in the graph.

    Attributes:
        x: what it takes, [batch, input].
        states: what it begins with.
        results: the states after it, the output first.
        nodes: operands first.
    """

    x: Tensor
    states: Sequence[Tensor]
    results: Sequence[Tensor]
    nodes: Sequence[Node]


@attrs.frozen(eq=False)
class _Chain:
    """Cells behind each other, first one first, all with the nodes of the last one.

    Attributes:
        steps: the cells.
        ahead: the cell in front of them that begins with zeros, when there is one.
    """

    steps: Sequence[_Step]
    ahead: _Step | None = None

    @property
    def all(self) -> Sequence[_Step]:
        """Every cell."""
        return self.steps if self.ahead is None else (self.ahead, *self.steps)

    @property
    def nodes(self) -> dict[Node, None]:
        """Every node, in order."""
        return dict.fromkeys(node for step in self.all for node in step.nodes)


class _UnrolledCells(Rule):
    """Cells behind each other that share their weights are one layer."""

    def rewrite_chain(self, root: Node, states: Sequence[Tensor], results: Sequence[Tensor]) -> Replacement | NoMatch:
        """One layer over all steps."""
        last = _last_step(states, results)
        chain = last if isinstance(last, NoMatch) else _chain(last)
        if isinstance(chain, NoMatch):
            return chain
        made = _layer(chain)
        if made is None:
            return no("the arithmetic of a step is not that of a cell that is known", root)
        own = chain.nodes
        others = stand_ins(made, [step.results[:1] for step in chain.all], own)
        for i, result in list(enumerate(results))[1:]:
            if any(user not in own for user in result.users):
                others[result] = made.end(i)
        shown = others.pop(root.output) if root.output in others else made.end(0)
        return Replacement((shown,), others, list(own))

    def check_chain(self, root: Node, states: Sequence[Tensor], results: Sequence[Tensor]) -> bool | NoMatch:
        """The steps before it are the same cell, nothing else takes what is inside, and x is there beforehand."""
        if any(t.type.shape is None or t.type.rank != 2 for t in (*states, *results)):
            return no("the states are not [batch, hidden]", root)
        last = _last_step(states, results)
        if isinstance(last, NoMatch):
            return last
        later = _follower(last)  # asked first, so that a chain is followed from its end only
        if later is not None:
            return no(f"the step at {later!r} goes on from here: the chain ends later", later)
        chain = _chain(last)
        if isinstance(chain, NoMatch):
            return chain
        return _is_private(chain) and _is_given(root, chain)


class UnrolledLSTM(_UnrolledCells):
    """LSTM cells behind each other that share their weights, as a loop over torch.nn.LSTMCell leaves them, are LSTM."""

    def pattern(self) -> Any:
        """The output of the last step, o * tanh(c'), c' = f * c + i * n."""
        memory = of(Add)(of(Mul)(...), of(Mul)(...)).named("memory").shared()
        return Mul()(of(*ACTIVATIONS)(...), of(*ACTIVATIONS)(memory).named("shown")).named("root")

    def check(self, root: Node, memory: Node, shown: Node) -> bool | NoMatch:
        """See above."""
        states = _lstm_states(memory, shown)
        return states if isinstance(states, NoMatch) else self.check_chain(root, states, (root.output, memory.output))

    def rewrite(self, root: Node, memory: Node, shown: Node) -> Replacement | NoMatch:
        """One LSTM."""
        states = _lstm_states(memory, shown)
        if isinstance(states, NoMatch):
            return states
        return self.rewrite_chain(root, states, (root.output, memory.output))


class UnrolledGRU(_UnrolledCells):
    """GRU cells behind each other that share their weights, as a loop over torch.nn.GRUCell leaves them, are GRU."""

    def pattern(self, h: Any, one: Any) -> Any:
        """The output of the last step, z * h + (1 - z) * n or z * (h - n) + n."""
        z, n = of(*ACTIVATIONS)(...).named("z"), of(*ACTIVATIONS)(...).named("n")
        return [
            Add()(Mul()(z, h), Mul()(Sub()(one, z), n)).named("root"),
            Add()(Mul()(z, Sub()(h, n)), n).named("root"),
        ]

    def check(self, root: Node, h: Tensor) -> bool | NoMatch:
        """See above."""
        return self.check_chain(root, (h,), (root.output,))

    def rewrite(self, root: Node, h: Tensor) -> Replacement | NoMatch:
        """One GRU."""
        return self.rewrite_chain(root, (h,), (root.output,))


class UnrolledRNN(_UnrolledCells):
    """Simple cells behind each other that share their weights, as a loop over torch.nn.RNNCell leaves them, are RNN."""

    def pattern(self) -> Any:
        """The output of the last step, the function of a sum."""
        return of(Tanh, Relu)(of(Add, MatMul, Linear)(...).named("total")).named("root")

    def check(self, root: Node, total: Node) -> bool | NoMatch:
        """See above."""
        h = _shown_before(root, total)
        return h if isinstance(h, NoMatch) else self.check_chain(root, (h,), (root.output,))

    def rewrite(self, root: Node, total: Node) -> Replacement | NoMatch:
        """One RNN."""
        h = _shown_before(root, total)
        return h if isinstance(h, NoMatch) else self.rewrite_chain(root, (h,), (root.output,))


def _shown_before(root: Node, total: Node) -> Tensor | NoMatch:
    """What a product in a step takes that is the same function: the output of the step before."""
    nodes, taken = [total], list[Tensor]()
    for node in nodes:
        operands = [t for t in node.inputs if t is not None and t.data is None]
        if isinstance(node.op, _PRODUCTS):
            taken += operands[:1]
        elif len(nodes) < MOST_NODES:
            nodes += [t.producer for t in operands if t.producer and isinstance(t.producer.op, (Add, *_PRODUCTS))]
    taken += [
        t for each in taken if each.producer and isinstance(each.producer.op, Concat) for t in each.producer.inputs if t
    ]
    for tensor in taken:
        if tensor.producer is not None and tensor.producer.op == root.op and tensor.type == root.output.type:
            return tensor
    return no("no step with the same function stands in front of it", root)


# ------------------------------------------------------------------------------------------------------------ the chain
def _lstm_states(memory: Node, shown: Node) -> tuple[Tensor, Tensor] | NoMatch:
    """H and c, which a step of an LSTM takes from the one before it."""
    factors = [t for product in memory.inputs if product is not None and product.producer is not None
               for t in product.producer.inputs if t is not None]  # fmt: skip
    kept = [t for t in factors if t.producer is None or not isinstance(t.producer.op, ACTIVATIONS)]
    if len(kept) != 1:
        return no("it is not the sum of a gate times the state and of two gates", memory)
    (c,) = kept
    for user in c.users:
        if type(user.op) is type(shown.op):
            for product in user.output.users:
                if isinstance(product.op, Mul):
                    return product.output, c
    return no("no step stands in front of it that shows the same state", memory)


def _chain(last: _Step) -> _Chain | NoMatch:
    """The cells up to the last one."""
    steps = [last]
    ahead: _Step | None = None
    while True:
        step = _alike(last, steps[-1].states)
        if step is None:
            ahead = _begun_with_zeros(last, steps[-1].states)
            break
        steps.append(step)
    chain = _Chain(steps[::-1], ahead)
    if len(chain.all) < _STEPS:
        return no("no step of the same cell stands in front of it", last.nodes[0])
    return chain


def _last_step(states: Sequence[Tensor], results: Sequence[Tensor]) -> _Step | NoMatch:
    """The nodes between the states at both ends of a cell, and the one tensor that comes in besides them."""
    ends = set(states)
    nodes: dict[Node, None] = {}
    entering: dict[Tensor, None] = {}
    visited: set[Node] = set()
    stack = [(t, False) for t in results]
    while stack:
        tensor, ready = stack.pop()
        node = tensor.producer
        if ready and node is not None:
            nodes[node] = None
        elif node is None:
            entering[tensor] = None
        elif node not in visited:
            visited.add(node)
            if type(node.op) not in READ or len(visited) > MOST_NODES:
                return no(f"{node!r} is no part of a cell", node)
            stack.append((tensor, True))
            inside, outside = _operands(node, ends)
            entering.update(dict.fromkeys(outside))
            stack.extend((t, False) for t in inside)
    if len(entering) != 1:
        return no(f"{len(entering)} tensors come into the step besides its state, not one", next(iter(nodes)))
    (x,) = entering
    if x.type.shape is None or x.type.rank != 2:
        return no("what comes into the step is not [batch, input]", x)
    return _Step(x, tuple(states), tuple(results), tuple(nodes))


def _operands(node: Node, states: Collection[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    """What a node of a cell takes of the cell, and what comes in; constants and states are neither."""
    given = [t for t in node.inputs if t is not None and t.data is None and t not in states]
    outside = [t for t in given if _comes_in(node, t, states) or place_of(t) is not None]
    return [t for t in given if t not in outside], outside


def _comes_in(node: Node, operand: Tensor, states: Collection[Tensor]) -> bool:
    """Whether what a node of a cell takes is no part of the cell: without a state under a product, or beside one."""
    if isinstance(node.op, Concat):
        return any(t in states for t in node.inputs)
    return isinstance(node.op, _PRODUCTS) and not _holds_state(operand, states)


def _holds_state(operand: Tensor, states: Collection[Tensor]) -> bool:
    """Whether the operand of a product is a state with something beside it or times a gate."""
    node = operand.producer
    made = node is not None and isinstance(node.op, (Concat, Mul, Identity, Reshape, Unsqueeze))
    return made and node is not None and any(t in states for t in node.inputs)


def _alike(last: _Step, results: Sequence[Tensor]) -> _Step | None:
    """The cell with these results that has the nodes and constants of the last one."""
    known: dict[Tensor, Tensor] = dict(zip(last.results, results, strict=True))
    nodes = [_paired(node, known) for node in reversed(last.nodes)]
    found = [node for node in reversed(nodes) if node is not None]
    if len(found) < len(nodes) or any(t not in known for t in (last.x, *last.states)):
        return None
    x, *states = (known[t] for t in (last.x, *last.states))
    alike = all(a.type == b.type for a, b in zip((last.x, *last.states), (x, *states), strict=True))
    return _Step(x, tuple(states), tuple(results), tuple(found)) if alike else None


def _paired(node: Node, known: dict[Tensor, Tensor]) -> Node | None:
    """The node that is to another cell what `node` is to the last one; its operands become known."""
    results = [(t, known[t]) for t in node.outputs if t in known]
    other = results[0][1].producer if results else None
    if other is None or other.op != node.op or len(other.inputs) != len(node.inputs):
        return None
    if any(b.producer is not other or b.index != a.index for a, b in results):
        return None
    for a, b in zip(node.inputs, other.inputs, strict=True):
        if a is None or b is None or a.data is not None:
            if a is not b and not equal_constants(a, b):
                return None
        elif known.setdefault(a, b) is not b:
            return None
    return other


def equal_constants(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two constants are equal; very large ones are when they are the same."""
    if a is None or b is None or a.data is None or b.data is None:
        return False
    if a.type != b.type or constant_key(a.data) == constant_key(b.data):
        return a.type == b.type
    return a.data.size <= MOST_FOLDED and np.array_equal(a.numpy(), b.numpy())


def _begun_with_zeros(last: _Step, results: Sequence[Tensor]) -> _Step | None:
    """The cell with these results that is the last one with states of zeros, after what folds by that."""
    if any(t.producer is None for t in results) or not all(t.type.is_static for t in last.states):
        return None
    sketch = Graph("first")
    copies: dict[Tensor, Tensor] = {last.x: sketch.add_input("x", last.x.type)}
    for state in last.states:
        copies[state] = constant(np.zeros(static(state.type.dims), state.type.dtype.numpy))
    for node in last.nodes:
        copies |= {t: constant(t.data, t.name) for t in node.inputs if t is not None and t.data is not None}
        made = sketch.append(Node(node.op, [None if t is None else copies[t] for t in node.inputs]))
        copies.update(zip(node.outputs, made.outputs, strict=True))
    for i, result in enumerate(last.results):
        sketch.add_output(str(i), copies[result])
    Canonicalise().run(Module("first", {"main": sketch}), PassContext())
    template = _Step(sketch.inputs[0], (), sketch.outputs, tuple(sketch))
    return _alike(template, results) if template.nodes else None


# ----------------------------------------------------------------------------------------------- whether it may be done
def _follower(last: _Step) -> Node | None:
    """What takes the output as the next step of the same cell would."""
    h = last.states[0]
    takers = {(type(node.op), node.inputs.index(h)) for node in last.nodes if h in node.inputs}
    weights = [
        t for node in last.nodes if h in node.inputs for t in node.inputs if t is not None and t.data is not None
    ]
    for user in last.results[0].users:
        place = user.inputs.index(last.results[0])
        shared = any(
            equal_constants(t, w) for t in user.inputs if t is not None and t.data is not None for w in weights
        )
        if (type(user.op), place) in takers and (shared or isinstance(user.op, Concat)):
            return user
    return None


def _is_private(chain: _Chain) -> bool | NoMatch:
    """Whether only the outputs of steps, and the last states, are used outside of the chain."""
    own = chain.nodes
    free = {step.results[0] for step in chain.all} | set(chain.all[-1].results)
    for node in own:
        for tensor in node.outputs:
            if tensor not in free and any(user not in own for user in tensor.users):
                return no(f"{tensor!r} inside of a step is used outside", tensor)
    return True


def _is_given(root: Node, chain: _Chain) -> bool | NoMatch:
    """Whether what the steps take does not depend on the outputs of steps before, as where a decoder feeds itself."""
    late = late_tensors(root, chain.nodes, [t for step in chain.all for t in step.results])
    for step in chain.all:
        if step.x in late:
            return no("what a step takes depends on the output of another one", step.x)
    return True


# ------------------------------------------------------------------------------------------------------------ the layer
def _cell(step: _Step, projected: bool) -> Cell | None:
    """The cell that a step computes.

    Args:
        step: with what comes in.
        projected: whether that is added to the gates as it is, not multiplied with weights.
    """
    widths = [t.type.dims[-1] for t in (step.x, *step.states)]
    known = [width for width in widths if isinstance(width, int)]
    if len(known) < len(widths):
        return None
    x = Atom(("step", 0), known[0])
    states = [Atom(("state", i), width) for i, width in enumerate(known[1:])]
    kind = step.x.type.dtype.numpy
    given = Affine(((x, np.eye(x.width, dtype=kind)),), np.zeros(x.width, kind)) if projected else x
    values = read(step.nodes, dict(zip((step.x, *step.states), (given, *states), strict=True)), lambda node: None)
    found = recognize(states, [values.get(t) for t in step.results])
    return found if found is not None and found.order == tuple(range(len(states))) else None


def _layer(chain: _Chain) -> Outputs | None:
    """The layer over all steps; None when they are no cell that is known."""
    steps = chain.all
    found = _plain(chain) or _projected(chain)
    if found is None:
        return None
    cell, (x, reverse) = found
    op: Recurrent = attrs.evolve(cell.op, direction="reverse") if reverse else cell.op  # type: ignore[misc]
    weights = [(cell.w, "w"), (cell.r, "r"), (cell.bias, "bias")]
    operands = [x, *(None if a is None else constant(np.ascontiguousarray(a[None]), name) for a, name in weights)]
    if chain.ahead is None:
        operands += [None, *(Unsqueeze(axes=(0,))(state) for state in steps[0].states)]
    y, *last = op.node(*operands).outputs
    return Outputs(y, last, reverse, len(steps))


def _plain(chain: _Chain) -> tuple[Cell, tuple[Tensor, bool]] | None:
    """The cell and its sequence."""
    cell = _cell(chain.steps[-1], projected=False)
    return None if cell is None else (cell, joined([step.x for step in chain.all]))


def _projected(chain: _Chain) -> tuple[Cell, tuple[Tensor, bool]] | None:
    """The cell and its sequence where the sequence was multiplied with the weights as a whole, ahead of the steps."""
    places = [place for step in chain.all if (place := place_of(step.x)) is not None]
    found = neighbours(places) if len(places) == len(chain.all) else None
    product = _product(found[0].whole) if found is not None else None
    cell = _cell(chain.steps[-1], projected=True) if product is not None else None
    if found is None or product is None or cell is None:
        return None
    x, matrix, added = product
    extra = np.concatenate([cell.w @ added, np.zeros(len(cell.w), added.dtype)])
    bias = extra if cell.bias is None else cell.bias + extra
    whole = attrs.evolve(cell, w=cell.w @ matrix.T, bias=bias if bias.any() else None)
    return whole, between(found, x)


def _product(sequence: Tensor) -> tuple[Tensor, Array, Array] | None:
    """What a sequence is the product of, the matrix [input, gates], and what is added to it."""
    node = sequence.producer
    added: Array | None = None
    if node is not None and isinstance(node.op, Add):
        vectors = [t for t in node.inputs if t is not None and t.data is not None and t.type.rank == 1]
        others = [t for t in node.inputs if t is not None and t.data is None]
        node = others[0].producer if len(vectors) == len(others) == 1 else None
        added = vectors[0].numpy() if node is not None else None
    if node is None or not isinstance(node.op, _PRODUCTS):
        return None
    x, w, *bias = node.inputs
    if x is None or w is None or w.data is None or w.type.rank != 2 or x.type.shape is None or x.type.rank != 3:
        return None
    matrix = w.numpy().T if isinstance(node.op, Linear) and node.op.transpose_w else w.numpy()
    total = np.zeros(matrix.shape[1], matrix.dtype) if added is None else np.broadcast_to(added, matrix.shape[1:])
    if bias and bias[0] is not None:
        if bias[0].data is None:
            return None
        total = total + bias[0].numpy()
    return x, matrix, total


__all__ = ["UnrolledGRU", "UnrolledLSTM", "UnrolledRNN", "equal_constants"]
