"""The iteration space of some nodes: which axes of which tensors run together.

Axes of two tensors are one when a node walks them side by side: an element-wise node its operands' and its result's, a
reduction the axes that it keeps. Axes of extent 1 do not count. What is left are classes of axes; they form a space
when no tensor has one twice and all tensors have them in the same order.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import LayerNorm, Reshape, RMSNorm, Squeeze, Unsqueeze
from uair.ops.activation import AlongAxis
from uair.ops.reduction import Reduction

Place = tuple[Tensor, int]


@attrs.frozen
class Space:
    """Axes that some nodes run over.

    Attributes:
        sizes: extents.
        axes: for every tensor of the nodes the axes along which it lies, ascending.
        places: for every axis of a tensor that is longer than 1 the axis of the space.
    """

    sizes: tuple[int, ...]
    axes: Mapping[Tensor, tuple[int, ...]]
    places: Mapping[Place, int]

    def along(self, tensor: Tensor, dims: Iterable[int]) -> tuple[int, ...]:
        """The axes of the space of some axes of a tensor, without repetitions, ascending."""
        return tuple(sorted({self.places[tensor, d] for d in dims if (tensor, d) in self.places}))


def iteration_space(nodes: Sequence[Node]) -> Space | None:
    """The space that the nodes share; None when there is none."""
    classes = _Classes()
    tensors: dict[Tensor, None] = {}
    for node in nodes:
        for tensor in _tensors(node):
            if not tensor.type.is_static or 0 in tensor.type.dims:
                return None
            if not (tensor.is_constant and tensor.type.size == 1):
                tensors[tensor] = None
        for one, other in aligned(node):
            classes.join(one, other)
    order = _order(tensors, classes)
    apart = [{classes.find(place) for place in kept_apart(node)} for node in nodes]
    return None if order is None else _collapsed(tensors, classes, order, apart)


def kept_apart(node: Node) -> list[Place]:
    """Axes of a node that are not joined with others, although no tensor of the graph tells them apart.

    Something runs along them that the node makes inside of it: the sums of a softmax or a normalization, the bias of an
    AscendDequant.
    """
    x, op = node.inputs[0], node.op
    if x is None or not x.type.rank:
        return []
    rank = x.type.rank
    if isinstance(op, AlongAxis):
        dims = [op.axis % rank]
    elif isinstance(op, (LayerNorm, RMSNorm)):
        dims = list(range(op.axis % rank, rank))
    elif node.op_type == "AscendDequant":
        dims = [rank - 1]
    else:
        return []
    return [(x, d) for d in dims if extents(x)[d] > 1]


def extents(tensor: Tensor) -> tuple[int, ...]:
    """The extents of a static tensor."""
    dims = tensor.type.dims
    return tuple(d for d in dims if isinstance(d, int))


def aligned(node: Node) -> Iterator[tuple[Place, Place]]:
    """Pairs of axes that a node walks side by side."""
    y = node.outputs[0]
    for x in (t for t in node.inputs if t is not None):
        if x.is_constant and x.type.size == 1:
            continue
        if isinstance(node.op, Reduction):
            yield from _of_reduction(node.op, x, y)
        elif isinstance(node.op, (Reshape, Squeeze, Unsqueeze)):
            yield from zip(_long(x), _long(y), strict=False)
        elif node.op_type == "AscendDequant" and x is not node.inputs[0]:
            continue  # packed scales are no tensor of the kernel: see lower.dequant
        else:
            yield from _of_elementwise(node, x, y)


def _of_elementwise(node: Node, x: Tensor, y: Tensor) -> Iterator[tuple[Place, Place]]:
    by_channel = node.op_type == "BatchNorm" and x is not node.inputs[0]
    first = 1 if by_channel else y.type.rank - x.type.rank
    for i, extent in enumerate(extents(x)):
        if extent > 1:
            yield (x, i), (y, first + i)


def _of_reduction(op: Reduction, x: Tensor, y: Tensor) -> Iterator[tuple[Place, Place]]:
    gone = reduced_dims(op, x)
    kept = [i for i in range(x.type.rank) if i not in gone]
    for position, i in enumerate(kept):
        if extents(x)[i] > 1:
            yield (x, i), (y, i if op.keepdims else position)


def reduced_dims(op: Reduction, x: Tensor) -> tuple[int, ...]:
    """The axes of `x` that a reduction with constant axes reduces."""
    rank = x.type.rank
    return tuple(range(rank)) if op.axes is None else tuple(sorted(axis % rank for axis in op.axes))


def _long(t: Tensor) -> list[Place]:
    return [(t, i) for i, extent in enumerate(extents(t)) if extent > 1]


def _tensors(node: Node) -> Iterator[Tensor]:
    yield from (t for t in node.inputs if t is not None)
    yield from node.outputs


class _Classes:
    """Union-find over axes of tensors."""

    def __init__(self) -> None:
        self._parent: dict[Place, Place] = {}

    def find(self, place: Place) -> Place:
        root = place
        while (above := self._parent.get(root, root)) != root:
            root = above
        while (above := self._parent.get(place, place)) != root:
            self._parent[place], place = root, above
        return root

    def join(self, one: Place, other: Place) -> None:
        self._parent[self.find(one)] = self.find(other)


def _order(tensors: Iterable[Tensor], classes: _Classes) -> list[Place] | None:
    """The classes in an order that every tensor has them in; None when there is no such order."""
    after: dict[Place, dict[Place, None]] = {}
    for tensor in tensors:
        row = [classes.find(place) for place in _long(tensor)]
        if len(set(row)) != len(row):
            return None
        for place in row:
            after.setdefault(place, {})
        for one, other in zip(row, row[1:], strict=False):
            after[one][other] = None
    waiting = dict.fromkeys(after, 0)
    for follower in (f for followers in after.values() for f in followers):
        waiting[follower] += 1
    order: list[Place] = []
    free = [place for place in after if not waiting[place]]
    while free:
        place = free.pop(0)
        order.append(place)
        for follower in after[place]:
            waiting[follower] -= 1
            if not waiting[follower]:
                free.append(follower)
    return order if len(order) == len(after) else None


def _collapsed(tensors: Iterable[Tensor], classes: _Classes, order: list[Place], apart: Sequence[set[Place]]) -> Space:
    """The space with neighbouring axes joined that every tensor has both of, or none, and so every set of `apart`."""
    held = {t: {classes.find(place) for place in _long(t)} for t in tensors}
    number: dict[Place, int] = {}
    sizes: list[int] = []
    for i, place in enumerate(order):
        extent = extents(place[0])[place[1]]
        if i and all((place in own) == (order[i - 1] in own) for own in (*held.values(), *apart)):
            sizes[-1] *= extent
        else:
            sizes.append(extent)
        number[place] = len(sizes) - 1
    places = {place: number[classes.find(place)] for t in held for place in _long(t)}
    axes = {t: tuple(sorted({number[c] for c in own})) for t, own in held.items()}
    return Space(tuple(sizes), axes, places)
