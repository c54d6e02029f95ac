"""Weights that are no numbers: a model that holds one was trained or exported wrongly, whatever is done to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uair.ir.graph import Graph, Node, Tensor
from uair.passes.quantization.facts import node_name
from uair.passes.quantization.statistics import display_name
from uair.quant.errors import QuantizationError
from uair.quant.scheme import COMPUTE

SHOWN = 3
"""Weights that are named."""


def broken_weights(graph: Graph) -> list[str]:
    """For every constant with NaN or infinity of an operator with a weight (also inside of loops) a sentence."""
    return list(_broken(graph))


def _broken(graph: Graph) -> Iterator[str]:
    seen: set[Tensor] = set()
    for each in (graph, *graph.nested()):
        for node in each:
            for tensor in node.inputs if node.op_type in COMPUTE else ():
                if tensor is not None and tensor.is_constant and tensor.type.dtype.is_float and tensor not in seen:
                    seen.add(tensor)
                    yield from _sentence(node, tensor)


def _sentence(node: Node, tensor: Tensor) -> Iterator[str]:
    values = tensor.numpy()
    finite = np.isfinite(values)
    if finite.all():
        return
    place = tuple(int(i) for i in np.argwhere(~finite)[0])
    yield (
        f"constant {display_name(tensor)!r} of {node.op_type} {node_name(node)!r} holds {values[place]} at "
        f"{list(place)}, {int((~finite).sum())} of {values.size} values are no numbers"
    )


def blamed(error: QuantizationError, broken: list[str]) -> QuantizationError:
    """An error about a value inside of the model, with the weights that it comes from where there are such."""
    if not broken:
        return error
    named = "; ".join(broken[:SHOWN]) + (f"; and {len(broken) - SHOWN} more" if len(broken) > SHOWN else "")
    return QuantizationError(f"{error.message}: {named}", place=error.place, hint="mend the model, or export it again")
