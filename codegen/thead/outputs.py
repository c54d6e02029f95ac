"""Results of the model as operands, so that their ranges are measured."""

from __future__ import annotations

import attrs

from uair.ir.graph import Node
from uair.ir.location import Location
from uair.ir.module import Module
from uair.ops import Identity
from uair.pipeline import Pass, PassContext


@attrs.frozen
class WatchOutputs(Pass):
    """Put an Identity in front of every real output of the model.

    Quantization gives parameters to operands. A device whose graph is integers to the end needs those of the results,
    too; Identity is an operand's user, is quantized like one that moves data, and is taken out afterwards.
    """

    def run(self, module: Module, context: PassContext) -> bool:
        """Put them in; whether there was an output without one."""
        graph = module.main
        changed = False
        for i, tensor in enumerate(graph.outputs):
            maker = tensor.producer
            if maker is None or isinstance(maker.op, Identity) or not tensor.type.dtype.is_float:
                continue
            location = Location.fused([maker.loc], by=self.name)
            node = Node(Identity(), [tensor], name=maker.name, loc=location, output_names=[tensor.name])
            graph.insert_before(graph.end, node)
            graph.set_output(i, node.output)
            changed = True
        return changed
