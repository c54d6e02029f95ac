"""Groups of nodes that a device computes as one, made visible and taken apart again."""

from __future__ import annotations

from typing import ClassVar

import attrs

from uair.context import Context
from uair.ir.module import Module
from uair.pipeline import Pass, PassContext
from uair.rewrite.regions import inline_groups, outline
from uair.targets.steps import StepFinder


@attrs.frozen
class FormGroups(Pass):
    """Put the nodes of every step that a device makes of several into one Fused node: what is computed as one.

    Which those are follows from the device's description (`[cost]`), as in estimates of cost. Groups that are there
    already are formed anew. Nodes of a group come to stand side by side where they did not; nothing else changes, and
    inline-groups puts them back. All other passes see the module without groups.

    Attributes:
        target: name of the target.
    """

    sees_groups: ClassVar[bool] = True

    target: str = "cpu"

    def run(self, module: Module, context: PassContext) -> bool:
        """Form the groups of every graph.

        Raises:
            UnknownNameError: there is no such target.
        """
        finder = StepFinder(Context.default().target(self.target).description)
        changed = inline_groups(module) > 0
        for graph in list(module.all_graphs()):
            for nodes in finder.groups(graph):
                if not context.fuel.draw(self.name, nodes[0]):
                    return changed
                outline(graph, nodes, by=self.name)
                context.statistics.count(self.name)
                changed = True
        return changed


@attrs.frozen
class InlineGroups(Pass):
    """Put the nodes of groups, see form-groups, back into the graphs that these are in."""

    sees_groups: ClassVar[bool] = True

    def run(self, module: Module, context: PassContext) -> bool:
        """Take every group apart."""
        count = inline_groups(module, lambda node: context.fuel.draw(self.name, node))
        for _ in range(count):
            context.statistics.count(self.name)
        return count > 0
