"""The rewrites that a device file asks for, applied where the target takes more of a node through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, cast

import attrs

from uair.context import Context
from uair.errors import UnknownNameError
from uair.ir.graph import Graph, Node
from uair.ir.module import Module
from uair.passes import rewrites
from uair.pipeline import Pass, PassContext
from uair.rewrite import NoMatch, RuleSet, apply_match


class Chooser(Protocol):
    """Who says by which rewrite a target takes more of a node: a `uair.targets.target.Target`."""

    def rewrite_for(self, node: Node) -> str:
        """Name of a rewrite; empty for none."""
        ...


@attrs.frozen
class TargetRewrites(Pass):
    """Apply the rewrites of a target's device file (`rewrites = [...]` of an operator) where they help.

    Attributes:
        target: name of the target.
        chooser: the target itself, where it is at hand.
    """

    target: str = ""
    chooser: Any = attrs.field(default=None, metadata={"option": False}, repr=False, eq=False)

    def rulesets(self) -> Sequence[RuleSet]:
        """All rewrites; the target says where one helps."""
        return (RuleSet(rewrites.rules().values()),)

    def run(self, module: Module, context: PassContext) -> bool:
        """Ask about every node, also about those that a rewrite makes.

        Raises:
            UnknownNameError: there is no such target, or the device file names a rewrite that does not exist.
        """
        chooser = cast(Chooser, self.chooser or self._named())
        return any([self._graph(graph, chooser, context) for graph in module.all_graphs()])

    def _named(self) -> Any:
        if not self.target:
            raise UnknownNameError("target-rewrites needs a target", hint='write "target-rewrites{target=rk3588}"')
        return Context.default().target(self.target)

    @staticmethod
    def _graph(graph: Graph, chooser: Chooser, context: PassContext) -> bool:
        work = list(reversed(graph))
        changed = False
        while work:
            node = work.pop()
            name = chooser.rewrite_for(node) if node.graph is graph else ""
            if not name:
                continue
            rule = rewrites.rule(name)
            found = rule.match(node)
            if isinstance(found, NoMatch):
                continue
            applied = apply_match(graph, rule, found, context.fuel, work.append)
            if applied is None:
                return changed
            if applied:
                context.statistics.count(name)
                changed = True
        return changed
