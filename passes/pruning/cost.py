"""Operations and parameters of a graph with some of its channels taken out, without taking them out."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.ir.types import TensorType
from uair.passes.pruning.labels import Labelling, Labels, kept_places


@attrs.define(eq=False)
class Costs:
    """What a graph costs while channels go.

    Attributes:
        labelling: of the graph.
        removed: the standing atoms that are gone.
        flops: floating-point operations of a run, as `uair inspect` counts them; 0 when they are not
            counted.
        parameters: elements of constants.
    """

    labelling: Labelling
    removed: set[int] = attrs.Factory(set[int])
    flops: int = 0
    parameters: int = 0
    _touched: dict[int, list[Node]] = attrs.Factory(dict[int, "list[Node]"])
    _flops_of: dict[Node, int] = attrs.Factory(dict[Node, int])
    _parameters_of: dict[Node, int] = attrs.Factory(dict[Node, int])
    _own: dict[Node, list[int]] = attrs.Factory(dict[Node, "list[int]"])
    counts_flops: bool = True

    @staticmethod
    def of(labelling: Labelling, *, flops: bool = True) -> Costs:
        """The costs of the whole graph; `flops`: count operations, for which all sizes have to be known."""
        costs = Costs(labelling, counts_flops=flops)
        owned: set[Tensor] = set()
        for node in labelling.graph:
            own = [i for i, t in enumerate(node.inputs) if t is not None and t.is_constant and t not in owned]
            owned.update(t for t in node.inputs if t is not None and t.is_constant)
            costs._own[node] = own
            for atom in costs._atoms(node):
                costs._touched.setdefault(atom, []).append(node)
            costs._count(node)
        return costs

    def remove(self, atoms: Iterable[int]) -> None:
        """Let atoms go."""
        self._change(atoms, gone=True)

    def restore(self, atoms: Iterable[int]) -> None:
        """Take that back."""
        self._change(atoms, gone=False)

    def _change(self, atoms: Iterable[int], *, gone: bool) -> None:
        nodes: dict[Node, None] = {}
        for atom in atoms:
            nodes.update(dict.fromkeys(self._touched.get(atom, ())))
            (self.removed.add if gone else self.removed.discard)(atom)
        for node in nodes:
            self._count(node)

    def _atoms(self, node: Node) -> set[int]:
        """The atoms that a node's costs depend on."""
        found: set[int] = set()
        for tensor in (*node.inputs, *node.outputs):
            labels = self.labelling.of(tensor)
            if labels is not None:
                found.update(labels.atoms.tolist())
        for i in range(len(node.inputs)):
            for labels in self.labelling.cuts.get((node, i), ()):
                found.update(labels.atoms.tolist())
        return found

    def _count(self, node: Node) -> None:
        operands = [None if t is None else self._type(t, self._labels(node, i)) for i, t in enumerate(node.inputs)]
        results = [self._type(t, self._labels_of(t)) for t in node.outputs]
        flops = node.op.flops(operands, results) if self.counts_flops else 0
        sizes = [operands[i] for i in self._own[node]]
        parameters = sum(t.size for t in sizes if t is not None)
        self.flops += flops - self._flops_of.get(node, 0)
        self.parameters += parameters - self._parameters_of.get(node, 0)
        self._flops_of[node], self._parameters_of[node] = flops, parameters

    def _labels(self, node: Node, i: int) -> tuple[Labels, ...]:
        return self.labelling.cuts.get((node, i)) or self._labels_of(node.inputs[i])

    def _labels_of(self, tensor: Tensor | None) -> tuple[Labels, ...]:
        labels = self.labelling.of(tensor)
        return () if labels is None else (labels,)

    def _type(self, tensor: Tensor, labels: tuple[Labels, ...]) -> TensorType:
        if not labels:
            return tensor.type
        shape = list(tensor.type.dims)
        for each in labels:
            shape[each.axis] = len(kept_places(each.atoms, self.removed))
        return TensorType(tensor.type.dtype, tuple(shape))


def open_node(graph: Graph) -> Node | None:
    """The first node whose operations are not known, because a size is open."""
    return next((n for n in graph if not all(t is None or t.type.is_static for t in (*n.inputs, *n.outputs))), None)
