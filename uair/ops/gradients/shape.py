"""Gradients of what moves elements: each goes back to where its element was taken from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ops.gradients.base import Parts, part, summed_to
from uair.ops.gradients.elementwise import ROUNDING


def reshaped(op: Any, g: Array, x: Array, *others: Array | None) -> Array:
    """The shape that x had."""
    return g.reshape(x.shape)


def expand(op: Any, g: Array, x: Array, shape: Array | None = None) -> Array:
    """Summed over what was repeated."""
    return summed_to(g, x.shape)


def transpose(op: Any, g: Array, x: Array) -> Array:
    """The inverse permutation."""
    return np.transpose(g, np.argsort(op.perm))


def concat(op: Any, g: Array, *inputs: Array, index: int) -> Array:
    """The operand's part."""
    axis = op.axis % g.ndim
    start = sum(x.shape[axis] for x in inputs[:index])
    return np.asarray(g[(slice(None),) * axis + (slice(start, start + inputs[index].shape[axis]),)])


def split(op: Any, g: Array | tuple[Array, ...], x: Array, sizes: Array | None = None) -> Array:
    """The parts joined again."""
    return np.concatenate(g, axis=op.axis) if isinstance(g, tuple) else g


def moved(repeats: bool) -> Callable[..., Array]:
    """For an operator that takes elements of x: it is applied to their places, which tells where they came from."""

    def function(op: Any, g: Array, x: Array, *others: Array | None) -> Array:
        places: Array = op.evaluate(np.arange(x.size).reshape(x.shape), *others)
        if repeats:
            return np.bincount(places.ravel(), g.ravel(), x.size).reshape(x.shape).astype(g.dtype)
        result = np.zeros(x.size, g.dtype)
        result[places.ravel()] = g.ravel()
        return result.reshape(x.shape)

    return function


def flip(op: Any, g: Array, x: Array) -> Array:
    """Back again."""
    return np.flip(g, tuple(op.axes))


GRADIENTS: Mapping[str, Parts] = {
    **dict.fromkeys(("Reshape", "Squeeze", "Unsqueeze"), {"x": part(reshaped)}),
    "Expand": {"x": part(expand)},
    "Transpose": {"x": part(transpose)},
    "Concat": {"inputs": part(concat)},
    "Split": {"x": part(split)},
    "Slice": {"x": part(moved(repeats=False), "starts ends axes steps")},
    "Tile": {"x": part(moved(repeats=True), "repeats")},
    "Flip": {"x": part(flip)},
    **dict.fromkeys(("DepthToSpace", "SpaceToDepth"), {"x": part(moved(repeats=False))}),
    **dict.fromkeys(("ShapeOf", "SizeOf"), ROUNDING),
}
