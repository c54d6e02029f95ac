"""Padding that follows from the input's size."""

from __future__ import annotations

from typing import Any

from uair.ir.dims import is_static, static
from uair.ir.graph import Node, Tensor
from uair.ops import AvgPool1D, AvgPool2D, AvgPool3D, Conv1D, Conv2D, Conv3D, MaxPool1D, MaxPool2D, MaxPool3D
from uair.ops._windows import WindowOperator
from uair.rewrite import NoMatch, Rule, no, of

CONVOLUTIONS = (Conv1D, Conv2D, Conv3D)
POOLS = (AvgPool1D, AvgPool2D, AvgPool3D, MaxPool1D, MaxPool2D, MaxPool3D)


class ResolveAutoPad(Rule):
    """SAME padding becomes numbers once the input's extents are known."""

    def pattern(self) -> Any:
        """Any windowed operator."""
        return of(*CONVOLUTIONS, *POOLS)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It pads automatically and its spatial extents are numbers."""
        if node.attributes["auto_pad"] == "notset":
            return no("its padding is given in numbers", node)
        x = node.inputs[0]
        known = x is not None and x.type.shape is not None and is_static(x.type.shape[2:])
        return known or no("the input's spatial extents are not numbers yet", node)

    def rewrite(self, node: Node) -> Tensor:
        """The same operator with explicit pads."""
        op = node.op
        x = node.inputs[0]
        assert x is not None and isinstance(op, WindowOperator)
        if isinstance(op, CONVOLUTIONS):
            w = node.inputs[1]
            assert w is not None
            kernel = static(w.type.dims[2:])
        else:
            kernel = node.attributes["kernel"]
        return op.with_explicit_pads(x.type.dims[2:], kernel)(*node.inputs)


RULES = (ResolveAutoPad,)
