"""LSTM, GRU and RNN layers that are written as a Loop over their cell, as Keras saves them, or step by step.

A Loop whose body takes x = Gather(xs, run) and computes a cell of x and its states is the layer over xs; of Flip(xs) it
is the reverse layer, and Flip of its outputs. A forward and a reverse layer over one sequence whose results are joined
are the bidirectional layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.dims import Dim, plain_symbol
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.inference import refine_types
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Expand, Flip, Gather, Loop, Reshape, Transpose
from uair.ops.recurrent import Recurrent
from uair.passes.eliminate_dead_code import EliminateDeadCode
from uair.passes.recurrent.body import read, rows, sequence_of
from uair.passes.recurrent.cells import Cell, recognize
from uair.passes.recurrent.chained import MergeSteps
from uair.passes.recurrent.directions import merge_directions
from uair.passes.recurrent.expressions import Atom, Expression, same
from uair.passes.recurrent.flips import FLIPS
from uair.passes.recurrent.unrolled import UnrolledGRU, UnrolledLSTM, UnrolledRNN
from uair.pipeline import Pass, PassContext
from uair.rewrite import RuleSet, insert_detached

NAME = "recognize-recurrent"

STEPS = RuleSet([UnrolledLSTM(), UnrolledGRU(), UnrolledRNN(), MergeSteps()])
"""Layers that are spelled out step by step."""


@attrs.frozen
class RecognizeRecurrent(Pass):
    """Make one LSTM, GRU or RNN of a Loop whose body is its cell, or of its cells, and one layer of two directions."""

    def rulesets(self) -> Sequence[RuleSet]:
        """Those for cells step by step, and the rules that clean up behind the layers."""
        return STEPS, FLIPS

    def run(self, module: Module, context: PassContext) -> bool:
        """Look at every cell and every Loop of every graph."""
        unrolled = context.apply_rules(module, STEPS)
        made = _by_steps(module) if unrolled else list[Node]()
        learned: dict[str, Dim] = {}
        for graph in module.all_graphs():
            for node in list(graph):
                layer = _layer(node) if isinstance(node.op, Loop) else None
                if layer is None:
                    continue
                if not context.fuel.draw(NAME, node):
                    return unrolled or bool(made)
                learned |= _learned(node, layer)
                made.append(_replace(graph, node, layer))
                context.statistics.count(NAME)
        if learned:
            refine_types(module.main, learned)
        if made:
            EliminateDeadCode().run(module, context)
            context.apply_rules(module, FLIPS)
            merge_directions(module, made)
            EliminateDeadCode().run(module, context)
        return unrolled or bool(made)


def _by_steps(module: Module) -> list[Node]:
    """The layers that stand for steps."""
    names = {rule.name for rule in STEPS.rules}
    nodes = (node for graph in module.all_graphs() for node in graph if isinstance(node.op, Recurrent))
    return [node for node in nodes if not names.isdisjoint(node.loc.by)]


@attrs.frozen(eq=False)
class _Layer:
    """What a Loop is.

    Attributes:
        cell: of the layer.
        x: the sequence, [steps, batch, input].
        reverse: whether the loop goes through it from its end.
        steps, batch: its extents.
        initial: the states at first, in the cell's order.
    """

    cell: Cell
    x: Tensor
    reverse: bool
    steps: Dim
    batch: Dim
    initial: Sequence[Tensor]


def _layer(node: Node) -> _Layer | None:
    """The layer that a Loop stands for; None when it is none."""
    op = node.op
    assert isinstance(op, Loop)
    body = op.body
    if body is None or len(node.inputs) < 3 or node.inputs[0] is None or not _counts(node, body):
        return None
    number, states = body.inputs[0], body.inputs[2:]
    if not all(t.type.dtype.is_float and t.type.shape is not None and t.type.rank for t in states):
        return None
    sequences: list[tuple[Tensor, int]] = []

    def step(inner: Node) -> Atom | None:
        found = sequence_of(inner, number)
        if found is None or found[0].producer is not None and found[0].producer.graph is body:
            return None
        at = next((i for i, known in enumerate(sequences) if known[0] is found[0] and known[1] == found[1]), None)
        if at is None:
            at = len(sequences)
            sequences.append(found)
        width = found[0].type.dims[2 if found[1] != 2 else 1]
        return Atom(("step", at), width) if isinstance(width, int) else None

    widths = [t.type.dims[-1] for t in states]
    atoms = [Atom(("state", i), width) for i, width in enumerate(widths) if isinstance(width, int)]
    if len(atoms) < len(states):
        return None
    values = read(body, dict(zip(states, atoms, strict=True)), step)
    following = [values.get(t) for t in body.outputs[1 : 1 + len(states)]]
    cell = recognize(atoms, following)
    if cell is None or not _stacks_outputs(body, values, following[cell.order[0]]):
        return None
    return _placed(node, cell, sequences[cell.x.key[1]])


def _counts(node: Node, body: Graph) -> bool:
    """Whether a Loop runs as often as its count says: its condition holds, and stays as it is."""
    condition = node.inputs[1]
    holds = condition is None or (condition.data is not None and bool(condition.numpy().all()))
    goes_on = body.outputs[0]
    same_condition = goes_on is body.inputs[1] or (goes_on.data is not None and bool(goes_on.numpy().all()))
    return holds and same_condition


def _stacks_outputs(body: Graph, values: dict[Tensor, Any], output: Expression | None) -> bool:
    """Whether all that the runs stack is the layer's output."""
    stacked = [values.get(t) for t in body.outputs[len(body.inputs) - 1 :]]
    return all(e is not None and output is not None and same(e, output) for e in stacked)


def _placed(node: Node, cell: Cell, sequence: tuple[Tensor, int]) -> _Layer | None:
    """The layer with its operands, when the sequence has as many steps as the loop has runs."""
    x, axis = sequence
    count = node.inputs[0]
    assert count is not None
    steps = x.type.dims[axis]
    if count.data is not None and int(count.numpy().reshape(-1)[0]) != steps:
        return None
    if count.data is None and not _is_extent(count, node, steps):
        return None
    if axis:
        x = Transpose(perm=(axis, *(a for a in range(3) if a != axis)))(x)
    initial = [t for t in (node.inputs[2 + i] for i in cell.order) if t is not None]
    batch = x.type.dims[1]
    hidden = cell.r.shape[1]
    fits = all(t.type.shape is not None and rows(t) == (() if batch == 1 else (batch,)) for t in initial)
    if not fits or any(t.type.dims[-1] != hidden for t in initial) or len(initial) != len(cell.order):
        return None
    turned = _unturned(x)
    return _Layer(cell, x if turned is None else turned, turned is not None, steps, batch, initial)


def _is_extent(count: Tensor, node: Node, steps: Dim) -> bool:
    """Whether the number of runs that the model computes is a size: the stacks say so."""
    stacks = node.outputs[len(node.inputs) - 2 :]
    if any(t.type.shape is not None and t.type.dims[0] == steps for t in stacks):
        return True
    return _holds(count, steps)


def _holds(count: Tensor, steps: Dim) -> bool:
    """Whether a tensor is computed to be a size."""
    from uair.ops.shape_values import ShapeValues

    value = ShapeValues().known(count)
    return value is not None and value.size == 1 and bool(value.reshape(-1)[0] == steps)


def _unturned(x: Tensor) -> Tensor | None:
    """The sequence that x is with its steps turned around: x is Flip of it, or a Transpose of Flip."""
    node = x.producer
    if node is None or not isinstance(node.op, (Flip, Transpose)):
        return None
    (source,) = node.inputs
    assert source is not None
    if isinstance(node.op, Flip):
        return source if node.op.axes == (0,) else None
    flip = source.producer
    if flip is not None and isinstance(flip.op, Flip) and flip.op.axes == (node.op.perm[0],):
        return Transpose(perm=node.op.perm)(*flip.inputs)
    return None


# ------------------------------------------------------------------------------------------------------------ rewriting
def _replace(graph: Graph, node: Node, layer: _Layer) -> Node:
    """Put the layer in the place of the Loop."""
    cell = layer.cell
    op: Any = attrs.evolve(cell.op, direction="reverse") if layer.reverse else cell.op  # type: ignore[misc]
    hidden = cell.r.shape[1]
    operands = [layer.x, *(None if a is None else constant(np.ascontiguousarray(a[None]), n) for a, n in _named(cell))]
    if not all(map(_is_zero, layer.initial)):
        shape = (1, layer.batch, hidden)
        operands += [None, *(Reshape(shape=shape)(t) for t in layer.initial)]
    made = Node(op, operands, name=node.name)
    y, *last = made.outputs
    ends = [Reshape(shape=node.outputs[i].type.dims)(t) for i, t in zip(cell.order, last, strict=True)]
    location = Location.fused([node.loc, *(inner.loc for inner in _body(node))], by=NAME)
    insert_detached(graph, node, ends, location)
    for i, end in zip(cell.order, ends, strict=True):
        end.name = node.outputs[i].name
        node.outputs[i].replace_all_uses_with(end)
    for stack in node.outputs[len(cell.order) :]:
        _replace_stack(graph, node, stack, y, ends[0], layer)
    graph.remove(node)
    return made


def _learned(node: Node, layer: _Layer) -> dict[str, Dim]:
    """The numbers of runs that the loop's type left open."""
    stacks = node.outputs[len(layer.cell.order) :]
    open_ends = [t.type.dims[0] for t in stacks if t.type.dims[0] != layer.steps]
    return {name: layer.steps for name in map(plain_symbol, open_ends) if name is not None}


def _named(cell: Cell) -> list[tuple[Array | None, str]]:
    return [(cell.w, "w"), (cell.r, "r"), (cell.bias, "bias")]


def _body(node: Node) -> list[Node]:
    assert isinstance(node.op, Loop) and node.op.body is not None
    return list(node.op.body)


def _replace_stack(graph: Graph, node: Node, stack: Tensor, y: Tensor, last: Tensor, layer: _Layer) -> None:
    """The outputs of all steps; who takes the last one of them takes the last state."""
    for user in list(stack.users):
        if _takes_last(user, layer.steps):
            end = Reshape(shape=user.output.type.dims)(last)
            insert_detached(user.graph or graph, user, (end,), user.loc)
            end.name = user.output.name
            user.output.replace_all_uses_with(end)
    if not stack.use_count:
        return
    outputs = Reshape(shape=(layer.steps, *stack.type.dims[1:]))(y)
    if layer.reverse:
        outputs = Flip(axes=(0,))(outputs)
    insert_detached(graph, node, (outputs,), node.loc)
    outputs.name = stack.name
    stack.replace_all_uses_with(outputs)


def _takes_last(user: Node, steps: Dim) -> bool:
    if not isinstance(user.op, Gather) or user.op.axis != 0:
        return False
    index = user.inputs[1]
    known = index.data if index is not None else None
    return known is not None and known.size == 1 and int(known.array().reshape(-1)[0]) in (-1, _before(steps))


def _before(steps: Dim) -> int:
    return steps - 1 if isinstance(steps, int) else -1


def _is_zero(tensor: Tensor) -> bool:
    """Whether a tensor is zeros throughout."""
    node = tensor.producer
    if node is not None and isinstance(node.op, (Expand, Reshape)) and node.inputs[0] is not None:
        return _is_zero(node.inputs[0])
    return tensor.data is not None and not bool(np.any(tensor.numpy()))


__all__ = ["RecognizeRecurrent"]
