"""Names of inputs and outputs for importers that are particular about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.ir.graph import Graph
from uair.names import Namer


def legal_interface(graph: Graph, legal: str) -> None:
    """Give inputs and outputs names that match a regular expression (see `Namer`), all different."""
    namer = Namer(legal, default="value")
    graph.input_names = [namer.unique(name) for name in graph.input_names]
    graph.output_names = [namer.unique(name) for name in graph.output_names]


def drop_unused_inputs(graph: Graph) -> list[str]:
    """Remove the inputs that nothing uses; their names."""
    unused = [name for name, tensor in zip(graph.input_names, graph.inputs, strict=True) if not tensor.use_count]
    kept = [(name, t) for name, t in zip(graph.input_names, graph.inputs, strict=True) if name not in unused]
    graph.input_names, graph.inputs = [name for name, _ in kept], [tensor for _, tensor in kept]
    return unused


def ports(names: Sequence[str], written: Sequence[str], tensors: Sequence[Any]) -> list[dict[str, Any]]:
    """Inputs or outputs for the manifest.

    Args:
        names: the model's own.
        written: those in the vendor's file.
        tensors: with their types; sizes that are open stand as text.
    """
    return [
        {
            "name": new,
            "source": name,
            "dtype": str(tensor.type.dtype),
            "shape": [d if isinstance(d, int) else str(d) for d in tensor.type.dims],
        }
        for name, new, tensor in zip(names, written, tensors, strict=True)
    ]
