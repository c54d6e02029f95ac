"""What the rewrites share."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from uair.ir.dims import is_static
from uair.ir.dtype import Array, DType
from uair.ir.graph import Node, Tensor, constant
from uair.ops import Reshape
from uair.rewrite import NoMatch, no

LARGEST_WEIGHT = 16 << 20
"""Bytes of a constant that a rewrite may add."""


def number(value: float) -> Tensor:
    """A scalar constant, f32."""
    return constant(np.asarray(value, np.float32))


def floats(*values: float) -> Array:
    """Numbers as an f32 vector."""
    return np.asarray(values, np.float32)


def static_float(node: Node, rank: int | None = None) -> NoMatch | None:
    """Why a rewrite that needs float32 and known extents does not apply to a node; None when it may.

    Args:
        node: what is rewritten; its first operand is looked at.
        rank: of the first operand, where it matters.
    """
    x = node.inputs[0]
    if x is None or x.type.dtype is not DType.F32 or node.outputs[0].type.dtype is not DType.F32:
        return no("its element type is not f32", node)
    if x.type.shape is None or not is_static(x.type.shape):
        return no("the extents of its operand are not known", node)
    if rank is not None and len(x.type.shape) != rank:
        return no(f"its operand has {len(x.type.shape)} axes, not {rank}", node)
    return None if x.type.size else no("its operand is empty", node)


def extents(tensor: Tensor) -> tuple[int, ...]:
    """The shape of a tensor whose extents are known."""
    return tuple(int(d) for d in tensor.type.dims)  # type: ignore[arg-type]


def reshaped(x: Tensor, shape: Sequence[int]) -> Tensor:
    """A tensor in another shape; itself when it has it already."""
    return x if x.type.shape == tuple(shape) else Reshape(shape=tuple(shape))(x)
