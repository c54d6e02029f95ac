"""Cutting a module between a device and the CPU."""

from __future__ import annotations

import attrs

from uair.context import Context
from uair.errors import UnknownNameError
from uair.ir.module import Module
from uair.passes.partition.place import Placement, place_nodes
from uair.passes.partition.split import Part, assemble, split
from uair.pipeline import Pass, PassContext

__all__ = ["Part", "Partition", "Placement", "assemble", "place_nodes", "split"]

REPORT = "placement"


@attrs.frozen
class Partition(Pass):
    """Let a target run what it takes, and the CPU the rest: the main graph becomes a chain of Placed nodes.

    Only nodes that the target refuses, or that are pinned, must go to the CPU; others follow them where that is cheaper
    than to copy values to the device and back. A module that fits whole stays as it is.

    Attributes:
        target: name of the target.
        cpu: patterns (`*`, `?`) of names of nodes, or of the source nodes they come from, that go to the CPU.
        min_island: fewer nodes than this between two parts on the CPU go there too, unless they are a hundredth of the
            model's operations.
    """

    target: str = ""
    cpu: tuple[str, ...] = ()
    min_island: int = 4

    def run(self, module: Module, context: PassContext) -> bool:
        """Cut the main graph.

        Raises:
            UnknownNameError: there is no such target; a pattern fits no node.
        """
        if not self.target:
            raise UnknownNameError("partition needs a target", hint='write "partition{target=rk3588}"')
        target = Context.default().target(self.target)
        pins = dict.fromkeys(self.cpu, "cpu")
        placement = place_nodes(module.main, target, pins=pins, min_island=self.min_island)
        context.reports[REPORT] = placement.to_json()
        if placement.is_whole:
            return False
        parts = split(module.main, placement)
        module.graphs["main"] = assemble(module.main, parts)
        return True
