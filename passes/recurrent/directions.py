"""Two layers over one sequence, one in each direction, whose outputs are joined, as one bidirectional layer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import attrs
import numpy as np

from uair.ir.graph import Graph, Node, Tensor, constant
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Concat, Reshape, Slice, Squeeze, Transpose, Unsqueeze
from uair.ops.recurrent import Recurrent
from uair.passes.simplify.slices import has_known_bounds
from uair.rewrite import insert_detached

NAME = "merge-directions"


def merge_directions(module: Module, layers: Collection[Node]) -> None:
    """Make one layer of every two of some layers that differ in direction and weights alone, where their ends meet."""
    among = set(layers)
    for graph in module.all_graphs():
        for node in list(graph):
            if isinstance(node.op, Concat) and len(node.inputs) == 2:
                _merge(graph, node, among)


@attrs.frozen(eq=False)
class _End:
    """A tensor that is all that is used of a layer.

    Attributes:
        layer: the node.
        index: of its result: the sequence, or the last state.
        perm: from [steps, batch, hidden] to the axes of the tensor.
    """

    layer: Node
    index: int
    perm: tuple[int, ...]


def _end(tensor: Tensor | None, layers: Collection[Node]) -> _End | None:
    """What a tensor is, behind a Transpose and a Reshape that drops the axis of the directions."""
    perm: tuple[int, ...] | None = None
    if tensor is not None and tensor.producer is not None and isinstance(tensor.producer.op, Transpose):
        if tensor.use_count != 1 or len(tensor.producer.op.perm) != 3:
            return None
        perm, tensor = tensor.producer.op.perm, tensor.producer.inputs[0]
    outer = tensor
    while tensor is not None and tensor.producer is not None and tensor.producer not in layers:
        if not _keeps_elements(tensor.producer) or tensor.use_count != 1:
            return None
        tensor = tensor.producer.inputs[0]
    if outer is None or tensor is None or tensor.producer is None or tensor.use_count != 1 or tensor.index > 1:
        return None
    layer = tensor.producer
    steps, _, batch, hidden = layer.outputs[0].type.dims
    if sum(t.use_count for t in layer.outputs) != 1 or tensor.index == 1 and perm is not None:
        return None
    if tensor.index == 0 and batch == 1 and perm is None and outer.type.dims == (batch, steps, hidden):
        perm = (1, 0, 2)  # a Reshape does what a Transpose would
    elif outer.type.dims != ((steps, batch, hidden) if tensor.index == 0 else (batch, hidden)):
        return None
    return _End(layer, tensor.index, perm or (0, 1, 2))


def _keeps_elements(node: Node) -> bool:
    """Whether a node gives the elements of its operand in their order."""
    if isinstance(node.op, Slice):
        same_shape = node.inputs[0] is not None and node.inputs[0].type.shape == node.output.type.shape
        return same_shape and has_known_bounds(node.op) and all(step > 0 for step in node.op.steps)
    return isinstance(node.op, (Reshape, Squeeze, Unsqueeze))


def _merge(graph: Graph, node: Node, layers: Collection[Node]) -> None:
    first, second = (_end(t, layers) for t in node.inputs)
    if first is None or second is None or first.index != second.index or first.perm != second.perm:
        return
    op = first.layer.op
    assert isinstance(op, Recurrent)
    if not _are_directions(first.layer, second.layer):
        return
    rank = node.output.type.rank
    wanted = 3 if first.index == 0 else 2
    if rank != wanted or node.op.axis % rank != rank - 1 or first.perm[-1] != 2:  # type: ignore[attr-defined]
        return
    operands = _operands(first.layer, second.layer)
    both: Any = attrs.evolve(op, direction="bidirectional", **_functions(first.layer.op, second.layer.op))  # type: ignore[misc]
    made = Node(both, operands, name=first.layer.name)
    y = made.outputs[first.index]  # [steps, 2, batch, hidden] or [2, batch, hidden]
    place = {0: 0, 1: 2, 2: 3}
    perm = (place[first.perm[0]], place[first.perm[1]], 1, 3) if first.index == 0 else (1, 0, 2)
    joined = Reshape(shape=node.output.type.dims)(Transpose(perm=perm)(y))
    loc = Location.fused([first.layer.loc, second.layer.loc, node.loc], by=NAME)
    insert_detached(graph, node, (joined,), loc)
    joined.name = node.output.name
    node.output.replace_all_uses_with(joined)


def _functions(first: Any, second: Any) -> dict[str, Any]:
    """The attributes of both directions' functions."""
    if not first.activations and not second.activations:
        return {}
    return {
        "activations": (first.activations or first.functions) + (second.activations or second.functions),
        "alpha": first.alpha + second.alpha,
        "beta": first.beta + second.beta,
    }


def _are_directions(first: Node, second: Node) -> bool:
    """Whether the second layer is the first one's other direction, over the same sequence."""
    one, other = first.op, second.op
    assert isinstance(one, Recurrent) and isinstance(other, Recurrent)
    if type(one) is not type(other) or (one.direction, other.direction) != ("forward", "reverse"):
        return False
    if bool(one.alpha) != bool(other.alpha):
        return False
    plain = {"activations": (), "alpha": (), "beta": (), "direction": "forward"}
    if attrs.evolve(one, **plain) != attrs.evolve(other, **plain):  # type: ignore[misc]
        return False
    shapes = [[None if t is None else t.type.shape for t in node.inputs[1:3]] for node in (first, second)]
    states = [len(node.inputs) > 5 for node in (first, second)]
    return _same(first.inputs[0], second.inputs[0]) and shapes[0] == shapes[1] and states[0] == states[1]


def _same(a: Tensor | None, b: Tensor | None) -> bool:
    """Whether two tensors are one, or the same Transpose or Reshape of one."""
    if a is b:
        return True
    one, other = (None if t is None else t.producer for t in (a, b))
    if one is None or other is None or not isinstance(one.op, (Transpose, Reshape)) or one.op != other.op:
        return False
    return one.inputs[0] is other.inputs[0]


def _operands(first: Node, second: Node) -> list[Tensor | None]:
    """x, then the parameters and states of both directions."""
    pairs = [(_at(first, i), _at(second, i)) for i in range(1, max(len(first.inputs), len(second.inputs)))]
    return [first.inputs[0], *(_joined(i, pair) for i, pair in enumerate(pairs, 1))]


def _at(node: Node, i: int) -> Tensor | None:
    return node.inputs[i] if i < len(node.inputs) else None


def _joined(i: int, pair: Sequence[Tensor | None]) -> Tensor | None:
    """An operand of both directions; where one has no bias, it has zeros."""
    present = [t for t in pair if t is not None]
    if not present:
        return None
    parts = [constant(np.zeros_like(present[0].numpy())) if t is None else t for t in pair]
    if all(t.data is not None for t in parts):
        return constant(np.concatenate([t.numpy() for t in parts]), present[0].name)
    return Concat(axis=0)(*parts)
