"""What a convolution or Linear reads for single places of its result."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from uair.ir.dtype import Array
from uair.ir.graph import Node
from uair.quant.scheme import CONVOLUTIONS


def is_sampled(node: Node) -> bool:
    """Whether `read_patches` knows the operator: Conv1D to Conv3D with known padding, Linear, MatMul."""
    op: Any = node.op
    return node.op_type in ("Linear", "MatMul") or (node.op_type in CONVOLUTIONS and op.auto_pad == "notset")


def read_patches(node: Node, x: Array, kernel: Sequence[int], limit: int) -> tuple[Array, Array]:
    """Operand values for at most `limit` places, spread over the result.

    Args:
        node: a convolution [N, C, ...] or a product with a matrix [..., in].
        x: the value of operand 0.
        kernel: the spatial extents of the weight; empty for a product.
        limit: how many places at most.

    Returns:
        [C, places, taps], and the flat numbers of the places in the result without its channel axis.
    """
    if not kernel:
        rows = x.reshape(-1, x.shape[-1])
        places = _spread(len(rows), limit)
        return rows[places].T[:, :, None], places
    op: Any = node.op
    rank = len(kernel)
    pads = [(op.pads[i], op.pads[i + rank]) for i in range(rank)]
    padded = np.pad(x, [(0, 0), (0, 0), *pads])
    extents = [(padded.shape[2 + i] - op.dilations[i] * (kernel[i] - 1) - 1) // op.strides[i] + 1 for i in range(rank)]
    places = _spread(x.shape[0] * int(np.prod(extents)), limit)
    image, *at = np.unravel_index(places, (x.shape[0], *extents))
    taps = np.unravel_index(np.arange(int(np.prod(kernel))), tuple(kernel))
    spatial = (at[i][:, None] * op.strides[i] + taps[i][None, :] * op.dilations[i] for i in range(rank))
    index: Any = (image[:, None], *spatial)
    found = np.moveaxis(padded, 1, -1)[index]  # [places, taps, C]
    return np.ascontiguousarray(np.moveaxis(found, -1, 0)), places


def at_places(y: Array, axis: int, places: Array) -> Array:
    """[places, channels]: a result at these places."""
    rows = np.moveaxis(y, axis, -1).reshape(-1, y.shape[axis])
    return rows[places]


def _spread(count: int, limit: int) -> Array:
    if count <= limit:
        return np.arange(count)
    # a step that is no divisor of the rows' length would otherwise visit the same columns of an image again and again
    return np.unique(np.floor((np.arange(limit) + 0.5) * (count / limit)).astype(np.int64))
