"""Where activations lie: lifetimes, and offsets at which no two live ones overlap.

Buffers are placed one after the other, each into the smallest gap between the buffers that live at the same time. The
order decides how well that goes, so several are tried; the result is never below the sum of what lives at one time,
which is reported beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.names import Namer
from uair.targets.steps import StepFinder, is_free, is_parameter, written


@attrs.frozen
class Buffer:
    """Memory of one or more tensors that share their bytes.

    Attributes:
        name: of the tensor that is written there.
        bytes: a multiple of the device's alignment.
        first: position of the node that writes it; -1 for an input of the model.
        last: position of the last node that reads it; the number of nodes for an output of the model.
        offset: in the memory of activations; None before it is placed.
    """

    name: str
    bytes: int
    first: int
    last: int
    offset: int | None = None

    @property
    def end(self) -> int:
        """The first byte behind it."""
        assert self.offset is not None
        return self.offset + self.bytes

    def lives_with(self, other: Buffer) -> bool:
        """Whether there is a node during which both hold values."""
        return self.first <= other.last and other.first <= self.last


@attrs.frozen
class Allocation:
    """Offsets of all buffers.

    Attributes:
        buffers: placed, in the order in which they are written.
        bytes: memory that they take together.
        lower_bound: the most bytes that are live at one time; no placement takes less.
    """

    buffers: tuple[Buffer, ...]
    bytes: int
    lower_bound: int


def allocate(buffers: Sequence[Buffer]) -> Allocation:
    """Place buffers, reusing memory as soon as it is free; linear memory, no buffer moves."""
    orders: list[Callable[[Buffer], tuple[int, int]]] = [
        lambda b: (-b.bytes, b.first),
        lambda b: (-b.bytes * (b.last - b.first + 1), b.first),
        lambda b: (b.first, -b.bytes),
        lambda b: (b.first - b.last, -b.bytes),
    ]
    placed = min((_placed(sorted(buffers, key=order)) for order in orders), key=_extent)
    return Allocation(tuple(sorted(placed, key=lambda b: (b.first, b.name))), _extent(placed), peak_live(buffers))


def _placed(buffers: Sequence[Buffer]) -> list[Buffer]:
    placed: list[Buffer] = []
    for buffer in buffers:
        beside = sorted((b for b in placed if b.lives_with(buffer)), key=lambda b: b.offset or 0)
        placed.append(attrs.evolve(buffer, offset=_best_gap(beside, buffer.bytes)))
    return placed


def _best_gap(beside: Sequence[Buffer], size: int) -> int:
    """The start of the smallest gap that is large enough; behind all of them when there is none."""
    best, best_size, at = None, 0, 0
    for buffer in beside:
        assert buffer.offset is not None
        gap = buffer.offset - at
        if gap >= size and (best is None or gap < best_size):
            best, best_size = at, gap
        at = max(at, buffer.end)
    return at if best is None else best


def _extent(buffers: Iterable[Buffer]) -> int:
    return max((b.end for b in buffers), default=0)


def peak_live(buffers: Sequence[Buffer]) -> int:
    """The most bytes that are live at one time."""
    changes: dict[int, int] = {}
    for buffer in buffers:
        changes[buffer.first] = changes.get(buffer.first, 0) + buffer.bytes
        changes[buffer.last + 1] = changes.get(buffer.last + 1, 0) - buffer.bytes
    live = peak = 0
    for position in sorted(changes):
        live += changes[position]
        peak = max(peak, live)
    return peak


# ------------------------------------------------------------------------------------------------------------ lifetimes
@attrs.frozen(eq=False)
class Lifetimes:
    """The buffers of a graph, and which of them a tensor's bytes are in.

    Attributes:
        buffers: in the order in which they are written.
        of: by tensor that is no parameter; several for a concatenation that is never made.
    """

    buffers: tuple[Buffer, ...]
    of: Mapping[Tensor, tuple[Buffer, ...]]


def lifetimes(graph: Graph, finder: StepFinder) -> Lifetimes:
    """The buffers of a graph of static sizes, as the steps of its nodes need them.

    Views, and what is fused to a product, share the bytes of what they stand for; tensors that the compiler never makes
    (a concatenation that it takes apart) have none: what they are made of lives as long.

    Args:
        graph: the graph.
        finder: that has found the steps of the graph.
    """
    return _Lifetimes(graph, finder).found()


@attrs.define(eq=False)
class _Lifetimes:
    graph: Graph
    finder: StepFinder
    owner: dict[Tensor, tuple[Tensor, ...]] = attrs.Factory(dict[Tensor, tuple[Tensor, ...]])

    def found(self) -> Lifetimes:
        """Walk the graph once."""
        position = {node: i for i, node in enumerate(self.graph)}
        first: dict[Tensor, int] = dict.fromkeys(self.graph.inputs, -1)
        last: dict[Tensor, int] = dict.fromkeys(self.graph.inputs, -1)
        shown: dict[Tensor, Tensor] = {t: t for t in self.graph.inputs}
        self.owner.update((t, (t,)) for t in self.graph.inputs)
        for node, at in position.items():
            for tensor in reads(node):
                self._extend(tensor, at, last)
            for tensor in (t for t in node.outputs if not is_parameter(t)):
                owners = self._owners(node, tensor)
                self.owner[tensor] = owners
                if owners == (tensor,):
                    first[tensor] = last[tensor] = at
                    shown[tensor] = tensor
                elif node in self.finder.fused_to:
                    shown[owners[0]] = tensor
                    last[owners[0]] = max(last[owners[0]], at)
        for tensor in self.graph.outputs:
            self._extend(tensor, len(position), last)
        names = Namer()
        made = {t: self._buffer(shown[t], names, first[t], last[t]) for t in first}
        return Lifetimes(tuple(made.values()), {t: tuple(made[o] for o in o_) for t, o_ in self.owner.items()})

    def _owners(self, node: Node, tensor: Tensor) -> tuple[Tensor, ...]:
        """The tensors whose bytes a result is: its own for one that is written."""
        head = self.finder.fused_to.get(node)
        if head is not None:
            return self.owner[head.outputs[0]]
        moving = [t for t in node.inputs if t is not None and not is_parameter(t) and t in self.owner]
        if node.regions or not moving:
            return (tensor,)
        if is_free(node):
            return self.owner[moving[0]]
        if not self.finder.steps[node]:
            return tuple(o for t in moving for o in self.owner[t])
        return (tensor,)

    def _extend(self, tensor: Tensor, at: int, last: dict[Tensor, int]) -> None:
        for owner in self.owner.get(tensor, ()):
            last[owner] = max(last[owner], at)

    def _buffer(self, shown: Tensor, names: Namer, first: int, last: int) -> Buffer:
        unit = self.finder.description.alignment.bytes
        size = self.finder.stored(written(shown), image=shown.producer is None)
        return Buffer(names.unique(shown.name or "t"), -(-max(size, 1) // unit) * unit, first, last)


def reads(node: Node) -> list[Tensor]:
    """What a node reads that is no parameter; control flow also what its graphs see of the graph around them."""
    operands = [t for t in node.inputs if t is not None and not t.is_constant]
    return [*operands, *(t for region in node.regions for t in region.captures())]
