"""Channels-last sources: operators on images are imported between transposes, which are then moved and cancelled."""

from __future__ import annotations

from typing import Literal, TypeAlias

from uair.frontends.common.node import Emitter
from uair.ir.graph import Tensor
from uair.ir.module import Module
from uair.ops import Transpose
from uair.passes.propagate_layout import PropagateLayout
from uair.passes.simplify.reshapes import MergeReshapes
from uair.passes.simplify.squeezes import MergeTransposesAroundSqueeze
from uair.passes.simplify.transposes import MergeTransposes, ReshapeFromTranspose, TransposesAroundUnits
from uair.pipeline import PassContext

Channels: TypeAlias = Literal["first", "last"]

TRANSPOSES = (
    MergeTransposes(),
    MergeTransposesAroundSqueeze(),
    ReshapeFromTranspose(),
    TransposesAroundUnits(),
    MergeReshapes(),
)
"""What is left of transposes once they stand next to each other, or move only axes of extent 1."""


def channels_first(node: Emitter, x: Tensor) -> Tensor:
    """The tensor [N, spatial..., C] as [N, C, spatial...]."""
    rank = len(x.type.dims)
    return node.transposed(x, (0, rank - 1, *range(1, rank - 1)))


def channels_last(node: Emitter, x: Tensor) -> Tensor:
    """The tensor [N, C, spatial...] as [N, spatial..., C]."""
    rank = len(x.type.dims)
    return node.transposed(x, (0, *range(2, rank), 1))


def settle(module: Module, *, channels: Channels = "last") -> int:
    """Move and cancel the transposes of a module that was imported with `channels_first` and `channels_last`.

    Args:
        module: changed in place; its metadata tell the count under "transposes".
        channels: of the graph's inputs and outputs: "last" keeps the source's own interface, "first" gives those of
            images as [N, C, H, W] where that saves a Transpose.

    Returns:
        How many transposes are left, those inside of subgraphs included.
    """
    context = PassContext()
    PropagateLayout(interface="kept" if channels == "last" else "free").run(module, context)
    context.apply_rules(module, TRANSPOSES)
    left = sum(isinstance(node.op, Transpose) for graph in module.all_graphs() for node in graph)
    module.metadata["transposes"] = str(left)
    return left
