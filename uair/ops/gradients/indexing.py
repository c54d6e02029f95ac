"""Gradients of picking and writing by index."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops.base import Operator
from uair.ops.gradients.base import Parts, part
from uair.ops.gradients.elementwise import ROUNDING
from uair.ops.gradients.shape import moved
from uair.ops.indexing import GatherElements, GatherND, OneHot, TopK


def scatter_x(op: Any, g: Array, x: Array, indices: Array, updates: Array) -> Array:
    """Where nothing was written; everywhere where it was added."""
    if op.reduction == "add":
        return g
    return np.asarray(op.evaluate(g, indices, np.broadcast_to(g.dtype.type(0), updates.shape)))


def scatter_updates(op: Any, g: Array, x: Array, indices: Array, updates: Array) -> Array:
    """What stands where it was written; nothing for what was written over."""
    if op.reduction == "add":
        gather = GatherElements(axis=op.axis) if op.op_type == "ScatterElements" else GatherND()
        return gather.evaluate(g, indices)
    numbers = np.arange(1, updates.size + 1).reshape(updates.shape)
    writers = np.asarray(op.evaluate(np.zeros(x.shape, np.int64), indices, numbers))
    result = np.zeros(updates.size, g.dtype)
    result[writers[writers > 0] - 1] = g[writers > 0]
    return result.reshape(updates.shape)


def _scatter(op: Any) -> Parts | None:
    """Products and extremes of what meets at a place are differentiated as they decompose."""
    if op.reduction not in ("none", "add"):
        return None
    return {"x": part(scatter_x, "indices"), "updates": part(scatter_updates, "indices")}


def top_k(op: TopK, g: tuple[Array, Array], x: Array, k: Array | None = None, *, indices: Array) -> Array:
    """To where the values were found."""
    result = np.zeros(x.shape, g[0].dtype)
    np.put_along_axis(result, indices, g[0], axis=op.axis)
    return result


def one_hot_values(op: OneHot, g: Array, indices: Array, depth: Array | None, values: Array) -> Array:
    """The sums over what is off and on."""
    on = op.evaluate(indices, depth, np.array([False, True]))
    return np.stack([g[~on].sum(), g[on].sum()])


GRADIENTS: Mapping[str, Parts | Callable[[Operator], Parts | None]] = {
    **dict.fromkeys(("Gather", "GatherElements", "GatherND"), {"x": part(moved(repeats=True), "indices")}),
    "ReverseSequence": {"x": part(moved(repeats=False), "lengths")},
    **dict.fromkeys(("ScatterElements", "ScatterND"), _scatter),
    "TopK": {"x": part(top_k, "indices")},
    "OneHot": {"values": part(one_hot_values, "indices depth")},
    "NonZero": ROUNDING,
}
