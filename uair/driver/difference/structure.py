"""What changed in the graph between two models of one origin, by the names of the user's model; nothing is run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import attrs

from uair.driver.difference.layers import node_json
from uair.driver.difference.pairing import label, pair_graphs
from uair.ir.compare import exactly_equal, same_values, structural_difference
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.module import Module
from uair.ir.types import TensorType


@attrs.frozen(eq=False)
class Change:
    """A node of both models that is not the same in them.

    Attributes:
        name: in the user's model.
        a: the node of the first model.
        b: of the second.
        differences: each in words.
    """

    name: str
    a: Node
    b: Node
    differences: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        made_by = [m for m in self.b.loc.by if m not in self.a.loc.by]
        operators = [self.a.op_type, self.b.op_type]
        return {"name": self.name, "operators": operators, "made_by": made_by, "differences": list(self.differences)}


@attrs.frozen(eq=False)
class Changes:
    """The differences of two graphs.

    Attributes:
        first: the first one in words, names left out; empty when the graphs do the same by the same steps.
        merged: nodes of the first model that became part of another node, with that node.
        removed: nodes of the first model for which the second has nothing.
        added: nodes of the second model without a partner.
        changed: nodes of both that differ.
        same: how many nodes do not.
    """

    first: str
    merged: tuple[tuple[Node, Node], ...]
    removed: tuple[Node, ...]
    added: tuple[Node, ...]
    changed: tuple[Change, ...]
    same: int

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "first_difference": self.first,
            "same": self.same,
            "changed": [change.to_json() for change in self.changed],
            "merged": [{**node_json(node), "into": label(into)} for node, into in self.merged],
            "removed": [node_json(node) for node in self.removed],
            "added": [node_json(node) for node in self.added],
        }


def compare_structure(a: Module, b: Module) -> Changes:
    """What changed from one model to the other. Quantize and Dequantize count among the added and removed nodes.

    Raises:
        NotComparable: the models do not have the same number of inputs, or no output in common.
    """
    pairing = pair_graphs(a.main, b.main)
    found: dict[Node, Node] = {}
    for pair in pairing.results:
        if pair.a.producer is not None and pair.b.producer is not None:
            found.setdefault(pair.a.producer, pair.b.producer)
    tensors = {pair.a: pair.b for pair in (*pairing.inputs, *pairing.results)}
    changes = [Change(label(x), x, y, tuple(_differences(x, y, tensors))) for x, y in found.items()]
    changed = tuple(change for change in changes if change.differences)
    partners = set(found.values())
    missing = [node for node in a.main if node not in found]
    added = tuple(node for node in b.main if node not in partners)
    homes = _homes(b.main)
    into = {node: home for node in missing if (home := _home(node, homes)) is not None}
    return Changes(
        structural_difference(a.main, b.main),
        tuple(into.items()),
        tuple(node for node in missing if node not in into),
        added,
        changed,
        len(changes) - len(changed),
    )


def _homes(graph: Graph) -> dict[str, Node]:
    """By source node the last node that stands for it."""
    return {source.name: node for node in graph for source in node.loc.sources}


def _home(node: Node, homes: dict[str, Node]) -> Node | None:
    return next((homes[s.name] for s in reversed(node.loc.sources) if s.name in homes), None)


def _differences(a: Node, b: Node, tensors: dict[Tensor, Tensor]) -> Iterator[str]:
    if a.op_type != b.op_type:
        yield f"{a.op_type} became {b.op_type}"
        return
    for name, value in a.attributes.items():
        if isinstance(value, Graph):
            inner = structural_difference(value, b.attributes[name])
            if inner:
                yield f"{name}: {inner}"
        elif not exactly_equal(value, b.attributes[name]):
            yield f"{name}: {value} became {b.attributes[name]}"
    for x, y in zip(a.outputs, b.outputs, strict=False):
        if _differ(x.type, y.type):
            yield f"{x.type} became {y.type}"
    operands = list(a.op.params)
    for i in range(max(len(a.inputs), len(b.inputs))):
        what = operands[min(i, len(operands) - 1)].name if operands else str(i)
        difference = _operands(_at(a, i), _at(b, i), tensors)
        if difference:
            yield f"{what}: {difference}"


def _differ(x: TensorType, y: TensorType) -> bool:
    """Whether two types differ in more than sizes that only one of the models leaves open."""
    if (x.dtype, x.containers, x.layout) != (y.dtype, y.containers, y.layout):
        return True
    if x.shape is None or y.shape is None:
        return False
    if len(x.shape) != len(y.shape):
        return True
    return any(d != e and isinstance(d, int) and isinstance(e, int) for d, e in zip(x.shape, y.shape, strict=True))


def _at(node: Node, i: int) -> Tensor | None:
    return node.inputs[i] if i < len(node.inputs) else None


def _operands(a: Tensor | None, b: Tensor | None, tensors: dict[Tensor, Tensor]) -> str:
    if a is None or b is None:
        return "" if a is b else f"{_shown(a)} became {_shown(b)}"
    if a.data is not None and b.data is not None:
        if a.type != b.type:
            return f"{a.type} became {b.type}"
        return "" if same_values(a.data, b.data) else "other values"
    return "" if tensors.get(a) is b else f"{_shown(a)} became {_shown(b)}"


def _shown(tensor: Tensor | None) -> str:
    if tensor is None:
        return "nothing"
    if tensor.producer is None:
        return f"constant {tensor.name}".rstrip() if tensor.is_constant else f"input {tensor.name}"
    return f"{tensor.producer.op_type} {label(tensor.producer)!r}"
