"""Rewriting a module into operators that ONNX has at an opset."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, TypeAlias

import attrs

from uair.context import resolve
from uair.errors import UairError
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Transpose
from uair.pipeline import Pass, PassContext
from uair.rewrite.driver import insert_detached

Reason: TypeAlias = Callable[[Node, int], str]

WRITER = "uair.codegen.onnx:unsupported_reason"
"""Asked when the pass runs, so that passes do not depend on a codegen."""
DEEPEST = 16
"""Decompositions of decompositions; more is a circle."""


class NotLegalisable(UairError):
    """A node has no form at the ONNX opset asked for, and no decomposition into operators that have one."""

    code = "UAIR-E0511"
    title = "Operator cannot be written at this opset"


@attrs.frozen
class LegaliseOnnx(Pass):
    """Replace operators that an ONNX opset lacks by simpler ones that it has.

    Attributes:
        opset: version of the default operator set to write.
        unsupported: answers for a node and an opset why the node cannot be written as it is (empty: it can); a function
            or "module:attribute". The ONNX writer's own answer unless a vendor's codegen gives another.
    """

    opset: int = 17
    unsupported: Reason | str = attrs.field(default=WRITER, metadata={"option": False})

    def run(self, module: Module, context: PassContext) -> bool:
        """Legalise every graph.

        Raises:
            NotLegalisable: naming the first node that cannot be expressed.
        """
        asked = resolve(self.unsupported)
        reasons = _Reasons(asked, self.opset)
        changed = False
        for graph in module.all_graphs():
            changed |= self._graph(graph, reasons, context)
        return changed

    def _graph(self, graph: Graph, reasons: _Reasons, context: PassContext) -> bool:
        changed = False
        work: list[tuple[Node, int]] = [(node, 0) for node in reversed(graph)]
        while work:
            node, depth = work.pop()
            reason = reasons.of(node)
            if not reason:
                continue
            if depth < DEEPEST and not context.fuel.draw(self.name, node):
                return changed
            new_nodes = self._decompose(graph, node, reason, depth)
            context.statistics.count(f"{self.name}:{node.op_type}")
            work.extend((new, depth + 1) for new in reversed(new_nodes))
            changed = True
        return changed

    def _decompose(self, graph: Graph, node: Node, reason: str, depth: int) -> list[Node]:
        """Put the decomposition in the node's place; the new nodes in order."""
        made = node.op.decompose(*node.inputs) if depth < DEEPEST else None
        if made is None:
            raise NotLegalisable(
                f"{node.op_type} cannot be written at ONNX opset {self.opset}: {reason}",
                place=f"{node!r}, {node.loc}",
                hint="choose a later opset, or change the model there",
            )
        results: tuple[Tensor, ...] = (made,) if isinstance(made, Tensor) else tuple(made)
        for tensor, old in zip(results, node.outputs, strict=True):
            if tensor.producer is not None and tensor.producer.graph is None and not old.type.is_static:
                tensor.type = old.type
        new_nodes = insert_detached(graph, node, results, Location.fused([node.loc], by=self.name))
        if new_nodes and not new_nodes[-1].name:
            new_nodes[-1].name = node.name
        operands = node.inputs
        graph.replace(node, results)
        for operand in operands:
            _drop_unused(graph, operand)
        return new_nodes


def _drop_unused(graph: Graph, tensor: Tensor | None) -> None:
    """Remove the Transpose of an operand whose decomposition has one of its own in its place."""
    producer = None if tensor is None else tensor.producer
    if producer is None or not isinstance(producer.op, Transpose) or producer.graph is not graph:
        return
    if not producer.output.uses and not any(t is producer.output for t in graph.outputs):
        graph.remove(producer)


def form_of(node: Node) -> Hashable:
    """Operator and operand types, which are all that the form of a node in ONNX depends on."""
    return node.op, *[None if t is None else (t.type, t.data is None) for t in node.inputs]


class _Reasons:
    """Answers, each asked once for every form of a node."""

    def __init__(self, ask: Any, opset: int) -> None:
        self._ask = ask
        self._opset = opset
        self._known: dict[Any, str] = {}

    def of(self, node: Node) -> str:
        """Why the node cannot be written; empty when it can."""
        key = form_of(node)
        reason = self._known.get(key)
        if reason is None:
            reason = self._known[key] = str(self._ask(node, self._opset))
        return reason
