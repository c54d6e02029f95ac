"""Removing what nobody uses."""

from __future__ import annotations

import attrs

from uair.ir.module import Module
from uair.pipeline import Pass, PassContext


@attrs.frozen
class EliminateDeadCode(Pass):
    """Remove nodes whose results are not used. Inputs of the graph stay: they are the model's interface."""

    def run(self, module: Module, context: PassContext) -> bool:
        """One walk from the end: a node's users have been seen before it."""
        changed = False
        for graph in module.all_graphs():
            for node in reversed(graph):
                if not any([t.use_count for t in node.outputs]):
                    graph.remove(node)
                    changed = True
        return changed
