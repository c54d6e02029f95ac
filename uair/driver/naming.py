"""Names by which files speak of tensors."""

from __future__ import annotations

import attrs

from uair.ir.graph import Graph, Tensor
from uair.ir.module import Module
from uair.names import ANYTHING, Namer


def name_tensors(module: Module, legal: str | None) -> None:
    """Give every tensor a name of its own, as the ONNX writer would: what a file says about a tensor is by name.

    Args:
        module: its inputs and outputs have the names of the interface.
        legal: regular expression of the names that the target takes; None for any.
    """
    names = _Names(Namer(legal or ANYTHING))
    names.take_interface(module.main)
    graphs = list(module.all_graphs())
    for graph in graphs:
        names.name_results(graph)
    for graph in graphs:
        for tensor in graph.constants():
            names.name(tensor, "constant")


@attrs.define(eq=False)
class _Names:
    """The names given so far."""

    namer: Namer
    named: set[Tensor] = attrs.Factory(set[Tensor])

    def take_interface(self, graph: Graph) -> None:
        """Inputs, and results that are outputs, are called what the interface calls them."""
        for name in dict.fromkeys((*graph.input_names, *graph.output_names)):
            self.namer.reserve(name)
        inputs = list(zip(graph.input_names, graph.inputs, strict=True))
        outputs = zip(graph.output_names, graph.outputs, strict=True)
        for name, tensor in [*inputs, *((n, t) for n, t in outputs if t.producer is not None)]:
            if tensor not in self.named:
                tensor.name = name
                self.named.add(tensor)

    def name_results(self, graph: Graph) -> None:
        """Inputs of inner graphs and results of nodes."""
        for tensor in graph.inputs:
            self.name(tensor, "x")
        for node in graph:
            for i, tensor in enumerate(node.outputs):
                self.name(tensor, node.name if node.name and i == 0 else f"{node.name or node.op_type}_{i}")

    def name(self, tensor: Tensor, default: str) -> None:
        """Name one tensor, unless it has its name already."""
        if tensor not in self.named:
            tensor.name = self.namer.unique(tensor.name, default)
            self.named.add(tensor)
