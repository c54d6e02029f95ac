"""Which channels of a graph's tensors live and die together.

Every channel of an activation carries an *atom*, a number. The results of a convolution get new atoms; operators hand
the atoms of their operands on; and where two channels cannot be removed apart (the operands of a sum), their atoms
become one. What no rule understands pins the atoms that it meets: they are never removed. A tensor has atoms along at
most one axis. How each operator does it stands in `uair.passes.pruning.propagate`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import attrs
import numpy as np

from uair.ir.dims import Dim
from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor

FIXED = 0
"""The atom of channels that nothing is known of; it is never removed."""


@attrs.frozen(eq=False)
class Labels:
    """The atoms of one axis.

    Attributes:
        axis: not negative.
        atoms: [extent], integers.
    """

    axis: int
    atoms: Array


@attrs.frozen(eq=False)
class Producer:
    """A node that makes channels of its own: row i of its weight makes the channel of atom i.

    Attributes:
        node: the convolution or matrix product.
        atoms: [output channels].
    """

    node: Node
    atoms: Array


@attrs.define(eq=False)
class Labelling:
    """The atoms of a graph.

    Attributes:
        graph: the graph.
        values: of activations.
        cuts: of constants, by use: a constant that two nodes share is cut for each of them.
        producers: what makes channels, in order.
        contractions: by node with weights, the atoms of the channels that its weight sums over; operand 0's.
        reasons: why atoms are pinned.
        heads: whether the heads of an Attention are channels.
    """

    graph: Graph
    values: dict[Tensor, Labels] = attrs.Factory(dict[Tensor, Labels])
    cuts: dict[tuple[Node, int], tuple[Labels, ...]] = attrs.Factory(dict["tuple[Node, int]", "tuple[Labels, ...]"])
    producers: list[Producer] = attrs.Factory(list[Producer])
    contractions: dict[Node, Array] = attrs.Factory(dict[Node, Array])
    reasons: dict[int, str] = attrs.Factory(lambda: {FIXED: "their source is not known"})
    heads: bool = False
    _parent: list[int] = attrs.Factory(lambda: [FIXED])

    # ----------------------------------------------------------------------------------------------------------- atoms
    def new_atoms(self, count: int) -> Array:
        """Atoms that no other channel has."""
        first = len(self._parent)
        self._parent.extend(range(first, first + count))
        return np.arange(first, first + count)

    def find(self, atom: int) -> int:
        """The atom that stands for all that have become one with this."""
        parent = self._parent
        while parent[atom] != atom:
            parent[atom] = parent[parent[atom]]
            atom = parent[atom]
        return atom

    def join(self, a: Array, b: Array) -> None:
        """Let the atoms at the same places become one."""
        for left, right in zip(a.tolist(), b.tolist(), strict=True):
            one, other = self.find(left), self.find(right)
            if one != other:
                self._parent[max(one, other)] = min(one, other)

    def join_all(self, rows: Array) -> Array:
        """Let the atoms of each row of [n, m] become one; one atom of each row, [n]."""
        for column in range(1, rows.shape[1]):
            self.join(rows[:, 0], rows[:, column])
        return rows[:, 0]

    def pin(self, atoms: Iterable[int], reason: str) -> None:
        """Never remove these."""
        for atom in atoms:
            self.reasons.setdefault(int(atom), reason)

    def roots(self, atoms: Array) -> Array:
        """The atoms that stand for these."""
        return np.array([self.find(atom) for atom in atoms.tolist()], np.int64)

    def pinned_roots(self) -> dict[int, str]:
        """The standing atoms of everything pinned, with the reason."""
        found: dict[int, str] = {}
        for atom, reason in self.reasons.items():
            found.setdefault(self.find(atom), reason)
        return found

    # --------------------------------------------------------------------------------------------------------- tensors
    def of(self, tensor: Tensor | None) -> Labels | None:
        """The atoms of an activation."""
        return None if tensor is None else self.values.get(tensor)

    def give(self, tensor: Tensor, axis: int, atoms: Array) -> None:
        """Say what atoms a result has."""
        self.values[tensor] = Labels(axis, atoms)

    def cut(self, node: Node, i: int, *labels: Labels) -> None:
        """Say what atoms the axes of a constant operand have."""
        self.cuts[node, i] = (*self.cuts.get((node, i), ()), *labels)

    def produce(self, node: Node, axis: int, atoms: Array) -> None:
        """Say that a node makes these channels."""
        self.producers.append(Producer(node, atoms))
        self.give(node.output, axis, atoms)

    def refuse(self, node: Node, reason: str) -> None:
        """Pin what a node takes; nothing is known of its results."""
        for tensor in node.inputs:
            labels = self.of(tensor)
            if labels is not None:
                self.pin(labels.atoms.tolist(), reason)

    def finish(self) -> None:
        """Replace every atom by the one that stands for it."""
        cache: dict[int, Array] = {}

        def standing(labels: Labels) -> Labels:
            key = id(labels.atoms)
            if key not in cache:
                cache[key] = self.roots(labels.atoms)
            return Labels(labels.axis, cache[key])

        values = {tensor: standing(labels) for tensor, labels in self.values.items()}
        cuts = {use: tuple(map(standing, labels)) for use, labels in self.cuts.items()}
        producers = [Producer(p.node, self.roots(p.atoms)) for p in self.producers]
        contractions = {node: self.roots(atoms) for node, atoms in self.contractions.items()}
        self.values, self.cuts, self.producers, self.contractions = values, cuts, producers, contractions


def kept_places(atoms: Array, removed: Mapping[int, object] | set[int]) -> Array:
    """The places along an axis that stay when these standing atoms go."""
    return np.flatnonzero(np.fromiter((atom not in removed for atom in atoms.tolist()), bool, len(atoms)))


def extent(tensor: Tensor, axis: int) -> Dim:
    """Extent of an axis."""
    return tensor.type.dims[axis]
