"""Steps of recurrent layers as one sequence, and one layer's results as those of its steps."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

import attrs
import numpy as np

from uair.ir.dims import Dim
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Concat, Flip, Gather, Reshape, Slice, Split, Squeeze, Transpose, Unsqueeze
from uair.passes.simplify.slices import has_known_bounds


@attrs.frozen(eq=False)
class Place:
    """Where in a sequence a step lies.

    Attributes:
        whole: the sequence.
        axis: of its steps.
        index: of the step.
    """

    whole: Tensor
    axis: int
    index: int


def joined(steps: Sequence[Tensor]) -> tuple[Tensor, bool]:
    """The sequence [steps, batch, n] of steps [batch, n] or [1, batch, n], and whether it is taken from its end.

    Steps that are neighbours in one tensor are what they are taken from; others are put together.
    """
    bare = [_without_unit(step) for step in steps]
    places = [place_of(step) for step in bare]
    known = neighbours([p for p in places if p is not None])
    if known is not None and len(known) == len(places):
        return between(known)
    return Concat(axis=0)(*(step if step.type.rank == 3 else Unsqueeze(axes=(0,))(step) for step in bare)), False


def neighbours(places: Sequence[Place]) -> Sequence[Place] | None:
    """The places when they are of one sequence, one behind the other or one in front of the other."""
    if not places:
        return None
    alike = all(p.whole is places[0].whole and p.axis == places[0].axis for p in places)
    ways = {b.index - a.index for a, b in zip(places, places[1:], strict=False)}
    return places if alike and ways in ({1}, {-1}) else None


def between(places: Sequence[Place], whole: Tensor | None = None) -> tuple[Tensor, bool]:
    """The steps at neighbouring places with their axis in front, and whether they are taken from the end.

    Args:
        places: see `neighbours`.
        whole: a sequence to take instead of theirs, with the same steps.
    """
    first, last = places[0], places[-1]
    whole, axis = first.whole if whole is None else whole, first.axis
    low, high = sorted((first.index, last.index))
    if (low, high + 1) != (0, whole.type.dims[axis]):
        whole = Slice(axes=(axis,), starts=(low,), ends=(high + 1,), steps=(1,))(whole)
    turned = Transpose(perm=(axis, *(a for a in range(3) if a != axis)))(whole) if axis else whole
    return turned, first.index > last.index


def _without_unit(step: Tensor) -> Tensor:
    """[batch, n] of [1, batch, n] where that is what the step was made of."""
    node = step.producer
    if step.type.rank != 3 or node is None or not isinstance(node.op, (Unsqueeze, Reshape)):
        return step
    (inner, *_) = node.inputs
    assert inner is not None
    return inner if inner.type.shape is not None and (1, *inner.type.dims) == step.type.dims else step


def place_of(step: Tensor) -> Place | None:
    """Where a step [batch, n] is taken from; None when it is nothing that is known."""
    node = step.producer
    if node is None or step.type.rank != 2 or not node.inputs or node.inputs[0] is None:
        return None
    if isinstance(node.op, Gather):
        return _gathered(node)
    if not isinstance(node.op, (Squeeze, Reshape)):
        return None
    inner = node.inputs[0]
    if inner.type.shape is None or inner.type.rank != 3 or inner.producer is None:
        return None
    units = [a for a in range(3) if inner.type.dims[a] == 1 and _dropped(inner, a) == step.type.dims]
    found = (_cut(inner.producer, inner.index, axis) for axis in units)
    return next((place for place in found if place is not None), None)


def _dropped(tensor: Tensor, axis: int) -> tuple[Dim, ...]:
    return tuple(d for a, d in enumerate(tensor.type.dims) if a != axis)


def _gathered(node: Node) -> Place | None:
    """The place of a Gather of one known index."""
    whole, indices = node.inputs
    assert whole is not None and indices is not None and isinstance(node.op, Gather)
    if indices.data is None or indices.data.shape or whole.type.shape is None or whole.type.rank != 3:
        return None
    return _counted(whole, node.op.axis % 3, int(indices.numpy()))


def _cut(node: Node, output: int, axis: int) -> Place | None:
    """The place of one step that is cut out and keeps its axis."""
    whole = node.inputs[0] if node.inputs else None
    if whole is None or whole.type.shape is None or whole.type.rank != 3:
        return None
    op = node.op
    if isinstance(op, Split):
        sizes = op.sizes
        alone = op.axis % 3 == axis and sizes is not None and all(size == 1 for size in sizes)
        return Place(whole, axis, output) if alone else None
    if isinstance(op, Gather):
        index = node.inputs[1]
        known = index is not None and index.data is not None and op.axis % 3 == axis
        return _counted(whole, axis, int(index.numpy().reshape(-1)[0])) if known and index is not None else None
    if not isinstance(op, Slice) or not has_known_bounds(op) or tuple(a % 3 for a in op.axes) != (axis,):
        return None
    (start,) = op.starts
    return _counted(whole, axis, start) if op.steps == (1,) and isinstance(start, int) else None


def _counted(whole: Tensor, axis: int, index: int) -> Place | None:
    """A place with its index counted from the start."""
    extent = whole.type.dims[axis]
    if index < 0:
        return Place(whole, axis, index + extent) if isinstance(extent, int) else None
    return Place(whole, axis, index)


# -------------------------------------------------------------------------------------------------------------- results
@attrs.frozen(eq=False)
class Outputs:
    """The results of one layer of one direction.

    Attributes:
        y: [steps, 1, batch, hidden].
        last: the last states, [1, batch, hidden].
        reverse: whether the first step of the layer is the last one of the sequence.
        steps: how many there are.
    """

    y: Tensor
    last: Sequence[Tensor]
    reverse: bool
    steps: int

    def position(self, step: int) -> int:
        """The place of a step in y."""
        return self.steps - 1 - step if self.reverse else step

    def end(self, state: int) -> Tensor:
        """A state after the last step, [batch, hidden]."""
        return Squeeze(axes=(0,))(self.last[state])

    def sequence(self) -> Tensor:
        """All outputs, [steps, batch, hidden]."""
        return Squeeze(axes=(1,))(self.y)


def stand_ins(outputs: Outputs, forms: Sequence[Sequence[Tensor]], own: Collection[Node]) -> dict[Tensor, Tensor]:
    """What stands in for the outputs of the steps, and for what joins all of them.

    Args:
        outputs: of the layer.
        forms: for each step the tensors that are its output: [batch, hidden], with up to two axes of one in front.
        own: the nodes that the layer replaces.
    """
    found: dict[Tensor, Tensor] = {}
    spared: set[Node] = set(own)
    owner = {tensor: k for k, tensors in enumerate(forms) for tensor in tensors}
    sequence = outputs.sequence()
    for join, nodes in _joins(forms[0], owner, len(forms)):
        made = _join(outputs, sequence, owner, join)
        if made is not None:
            found[join.output] = made
            spared.add(join)
            spared.update(node for node in nodes if node.output.use_count == 1)
    outside = (user for t in owner for user in t.users if not any(result in owner for result in user.outputs))
    takers = {user for user in outside if user not in spared}
    used = [t for t in owner if any(user in takers for user in t.users)]
    alone = all(owner[t] == outputs.steps - 1 for t in used)
    for tensor in used:
        found[tensor] = _one(outputs, None if alone else sequence, owner[tensor], tensor.type.rank)
    return found


def _one(outputs: Outputs, sequence: Tensor | None, step: int, rank: int) -> Tensor:
    """The output of a step with axes of one in front; from the last state when there is no sequence to take it from."""
    if sequence is None:
        flat = outputs.last[0] if rank > 2 else outputs.end(0)
    else:
        flat = Gather(axis=0)(sequence, constant(np.int64(outputs.position(step))))
    missing = rank - flat.type.rank
    return Unsqueeze(axes=tuple(range(missing)))(flat) if missing else flat


def _joins(first: Sequence[Tensor], owner: Mapping[Tensor, int], steps: int) -> list[tuple[Node, Sequence[Node]]]:
    """The Concats of the outputs of all steps, and the nodes between them and the outputs."""
    candidates = dict.fromkeys(user for tensor in first for user in tensor.users)
    candidates |= dict.fromkeys(user for node in candidates if _adds_axis(node) for user in node.output.users)
    found: list[tuple[Node, Sequence[Node]]] = []
    for join in candidates:
        if not isinstance(join.op, Concat) or len(join.inputs) != steps:
            continue
        sources = [_source(t, owner) for t in join.inputs]
        if len({owner[t] for t in sources if t is not None}) == steps:
            between = (t.producer for t in join.inputs if t is not None and t not in owner)
            found.append((join, [node for node in between if node is not None]))
    return found


def _adds_axis(node: Node) -> bool:
    return isinstance(node.op, (Unsqueeze, Reshape))


def _source(tensor: Tensor | None, owner: Mapping[Tensor, int]) -> Tensor | None:
    """The output that the operand of a Concat is, or that it is with another axis."""
    if tensor is None or tensor in owner:
        return tensor
    node = tensor.producer
    inner = node.inputs[0] if node is not None and _adds_axis(node) else None
    return inner if inner in owner else None


def _join(outputs: Outputs, y: Tensor, owner: Mapping[Tensor, int], join: Node) -> Tensor | None:
    """All outputs as a Concat joins them; None when it does so in another order, or along an axis that is taken."""
    assert isinstance(join.op, Concat)
    sources = [_source(t, owner) for t in join.inputs]
    places = [outputs.position(owner[t]) for t in sources if t is not None]
    ascending = list(range(outputs.steps))
    axis, rank = join.op.axis % join.output.type.rank, join.output.type.rank
    if places not in (ascending, ascending[::-1]):
        return None
    if places != ascending:
        y = Flip(axes=(0,))(y)
    if rank == 2:
        return Reshape(shape=join.output.type.dims)(Transpose(perm=(1, 0, 2))(y) if axis else y)
    _, *row = y.type.dims
    if rank == 4:
        return Unsqueeze(axes=(1,))(y) if axis == 0 and join.output.type.dims[1] == 1 else None
    if rank != 3 or any(t is None or t.type.dims != (*row[:axis], 1, *row[axis:]) for t in join.inputs):
        return None
    perm = [1, 2]
    perm.insert(axis, 0)
    return Transpose(perm=tuple(perm))(y) if axis else y


def late_tensors(root: Node, nodes: Collection[Node], results: Collection[Tensor]) -> set[Tensor]:
    """The tensors in front of `root` that depend on some results of `nodes`, which stand there."""
    missing, between = set(nodes), list[Node]()
    node: Node | None = root
    while node is not None and missing:
        missing.discard(node)
        between.append(node)
        node = node.previous
    late = set(results)
    for each in reversed(between):
        captured = (t for region in each.regions for t in region.captures())
        if any(t in late for t in (*each.inputs, *captured)):
            late.update(each.outputs)
    return late


__all__ = ["Outputs", "Place", "between", "joined", "late_tensors", "neighbours", "place_of", "stand_ins"]
