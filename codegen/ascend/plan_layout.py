"""The plan of the chip's layout, for models whose sizes are all numbers."""

from __future__ import annotations

import attrs

from uair.ir.module import Module
from uair.passes.layout_align import LayoutAlign
from uair.pipeline import Pass, PassContext
from uair.targets.description import DeviceDescription


@attrs.frozen
class PlanLayout(Pass):
    """Align tensors to the chip's memory as `layout-align`; a module with open sizes stays as it is, as a report says.

    Attributes:
        target: name of the device description that states the layouts.
        stated: the device description itself, in place of the one that `target` names.
    """

    target: str = "ascend310"
    stated: DeviceDescription | None = attrs.field(default=None, metadata={"option": False}, repr=False, eq=False)

    def run(self, module: Module, context: PassContext) -> bool:
        """Align, or report why not."""
        if not is_static(module):
            context.reports["layout"] = {"refused": "sizes are open: every shape has a layout of its own"}
            return False
        return LayoutAlign(self.target, stated=self.stated).run(module, context)


def is_static(module: Module) -> bool:
    """Whether every extent of the module is a number."""
    return all(t.type.is_static for graph in module.all_graphs() for t in graph.tensors())
