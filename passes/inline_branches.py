"""Deciding branches at compile time."""

from __future__ import annotations

import attrs

from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.ops import If
from uair.pipeline import Pass, PassContext
from uair.rewrite.regions import inline_region


@attrs.frozen
class InlineBranches(Pass):
    """Put the nodes of the branch that is taken in the place of an If whose condition is a constant."""

    def run(self, module: Module, context: PassContext) -> bool:
        """Inner graphs first: a branch that is inlined has no decided branches left."""
        changed = False
        for graph in module.all_graphs():
            for node in graph:
                condition = node.inputs[0] if isinstance(node.op, If) else None
                if condition is None or condition.data is None:
                    continue
                if not context.fuel.draw(self.name, node):
                    return changed
                inline_branch(graph, node, bool(condition.numpy().reshape(-1)[0]))
                context.statistics.count(self.name)
                changed = True
        return changed


def inline_branch(graph: Graph, node: Node, condition: bool) -> list[Node]:
    """Put the nodes of one branch of an If in its place; the nodes in order."""
    op = node.op
    assert isinstance(op, If)
    branch = op.then_branch if condition else op.else_branch
    assert branch is not None
    return inline_region(graph, node, branch, (), by=InlineBranches.name)
