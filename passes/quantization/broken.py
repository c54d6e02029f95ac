"""Weights that are no numbers: a model that holds one was trained or exported wrongly, whatever is done to it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Graph, Node, Tensor
from uair.quant.errors import QuantizationError
from uair.quant.scheme import COMPUTE

SHOWN = 3
"""Weights that are named."""

CHUNK = 1 << 18
"""Elements that are looked at together: their marks stay in the cache."""


def broken_weights(graph: Graph) -> list[str]:
    """A sentence for every constant, also inside of loops, with values that no training leaves there.

    Those are NaN and infinity in the constants of operators with a weight; in others, NaN where the constant has axes:
    infinities fill masks.
    """
    return list(_broken(graph))


def _broken(graph: Graph) -> Iterator[str]:
    seen: set[Tensor] = set()
    for each in (graph, *graph.nested()):
        for node in each:
            for tensor in node.inputs:
                if tensor is None or tensor.data is None or tensor in seen or not tensor.type.dtype.is_float:
                    continue
                if node.op_type in COMPUTE or tensor.type.rank:
                    seen.add(tensor)
                    yield from _sentence(node, tensor)
                    tensor.data.release()


def all_finite(values: Array) -> bool:
    """Whether no element of a floating-point array is NaN or infinite; reads each once, at the pace of memory."""
    flat = values.reshape(-1)
    if flat.dtype.itemsize != 2:
        return all(bool(np.isfinite(flat[i : i + CHUNK]).all()) for i in range(0, flat.size, CHUNK))
    codes = flat.view(np.uint16)  # ten times as fast as asking numbers of 16 bits
    infinity = np.array(np.inf, flat.dtype).view(np.uint16)
    return all(bool(((codes[i : i + CHUNK] & 0x7FFF) < infinity).all()) for i in range(0, flat.size, CHUNK))


def _sentence(node: Node, tensor: Tensor) -> Iterator[str]:
    values = tensor.numpy()
    if all_finite(values):
        return
    finite = np.isfinite(values) if node.op_type in COMPUTE else ~np.isnan(values)
    if finite.all():
        return
    from uair.passes.quantization.facts import node_name  # half of the quantizer: a sound model needs none of it
    from uair.passes.quantization.statistics import display_name

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
