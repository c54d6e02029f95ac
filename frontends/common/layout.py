"""Channels-last sources: operators on images are imported between transposes, which are then moved and cancelled."""

from __future__ import annotations

from uair.frontends.common.node import Emitter
from uair.ir.graph import Tensor


def channels_first(node: Emitter, x: Tensor) -> Tensor:
    """The tensor [N, spatial..., C] as [N, C, spatial...]."""
    rank = len(x.type.dims)
    return node.transposed(x, (0, rank - 1, *range(1, rank - 1)))


def channels_last(node: Emitter, x: Tensor) -> Tensor:
    """The tensor [N, C, spatial...] as [N, spatial..., C]."""
    rank = len(x.type.dims)
    return node.transposed(x, (0, *range(2, rank), 1))
