"""Names of inputs and outputs for importers that are particular about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from uair.ir.graph import Graph, Tensor
from uair.ir.types import TensorType
from uair.names import Namer
from uair.ops import Cast, Reshape
from uair.ops.base import Operator
from uair.targets.interface import Interface


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


def adapt_inputs(graph: Graph, limits: Interface) -> dict[str, TensorType]:
    """Give inputs the rank, batch size and element type that an importer wants, with Cast and Reshape behind them.

    Args:
        graph: changed in place; its inputs have static shapes where the limits speak of ranks.
        limits: of the device description.

    Returns:
        The new types of the inputs that were changed, by name. Their values keep their order in memory.
    """
    changed: dict[str, TensorType] = {}
    for i, (name, tensor) in enumerate(zip(graph.input_names, list(graph.inputs), strict=True)):
        taken = limits.input_type(tensor.type)
        if taken == tensor.type:
            continue
        outside = Tensor(taken, name=tensor.name)
        graph.inputs[i] = outside
        steps: list[Operator] = [Cast(to=tensor.type.dtype)] if taken.dtype is not tensor.type.dtype else []
        steps += [Reshape(shape=tensor.type.dims)] if taken.dims != tensor.type.dims else []
        value, anchor = outside, next(iter(graph), graph.end)
        for step in steps:
            value = graph.insert_before(anchor, step.node(value)).output
        tensor.replace_all_uses_with(value)
        changed[name] = taken
    return changed


def name_values(graph: Graph, legal: str) -> dict[Tensor, str]:
    """Name every input and result as the writer will: the interface as it is, the others unique and legal.

    Returns:
        The names; an output that is an input or a constant has the name of that.
    """
    namer = Namer(legal, default="t")
    for name in dict.fromkeys((*graph.input_names, *graph.output_names)):
        namer.reserve(name)
    known = dict(zip(graph.inputs, graph.input_names, strict=True))
    for name, tensor in zip(graph.output_names, graph.outputs, strict=True):
        if tensor.producer is not None:
            known.setdefault(tensor, name)
    for node in graph:
        for i, tensor in enumerate(node.outputs):
            if tensor not in known:
                default = node.name if node.name and i == 0 else f"{node.name or node.op_type}_{i}"
                known[tensor] = namer.unique(tensor.name, default)
            tensor.name = known[tensor]
    return known
