"""Padding that follows from the input's size, pads nothing, or takes away."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from uair.ir.dims import is_static, static
from uair.ir.graph import Node, Tensor
from uair.ops import (
    AvgPool1D,
    AvgPool2D,
    AvgPool3D,
    Conv1D,
    Conv2D,
    Conv3D,
    MaxPool1D,
    MaxPool2D,
    MaxPool3D,
    Pad,
    Slice,
)
from uair.ops._windows import WindowOperator
from uair.ops.base import Operator
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


class DropPaddingCount(Rule):
    """Average pooling without padding does not count what is not there: exporters that ask for it agree with others."""

    def pattern(self) -> Any:
        """Any average pooling."""
        return of(AvgPool1D, AvgPool2D, AvgPool3D)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It would count padding, and pads nowhere."""
        op = node.op
        assert isinstance(op, (AvgPool1D, AvgPool2D, AvgPool3D))
        if not op.count_include_pad:
            return no("it counts no padding", node)
        plain = op.auto_pad == "notset" and not any(op.pads)  # what ceil_mode adds never counts
        return plain or no("it may pad", node)

    def rewrite(self, node: Node) -> Tensor:
        """The same without the count."""
        op: Any = node.op
        plain: Operator = attrs.evolve(op, count_include_pad=False)
        return plain(*node.inputs)


class SliceByNegativePad(Rule):
    """A Pad that only takes elements away is a Slice."""

    def pattern(self) -> Any:
        """Any Pad."""
        return of(Pad)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """No pad is positive, and the extents that are cut are known."""
        pads, x = node.attributes["pads"], node.inputs[0]
        if pads is None or not is_static(pads) or not any(pads) or max(static(pads)) > 0:
            return no("it pads somewhere", node)
        if x is None or x.type.shape is None or len(pads) != 2 * x.type.rank:
            return no("the operand's rank is not known, or some axes are left out", node)
        cut = [extent for extent, axis in zip(x.type.shape, range(x.type.rank), strict=True) if _cuts(pads, axis)]
        return is_static(cut) or no("an extent that is cut is not a number", node)

    def rewrite(self, node: Node) -> Tensor:
        """The Slice."""
        x = node.inputs[0]
        assert x is not None
        pads, rank = static(node.attributes["pads"]), x.type.rank
        axes = tuple(axis for axis in range(rank) if _cuts(pads, axis))
        extents = static(x.type.dims[axis] for axis in axes)
        starts = tuple(-pads[axis] for axis in axes)
        ends = tuple(extent + pads[rank + axis] for axis, extent in zip(axes, extents, strict=True))
        return Slice(axes=axes, starts=starts, ends=ends, steps=(1,) * len(axes))(x)


def _cuts(pads: Sequence[Any], axis: int) -> bool:
    return bool(pads[axis] or pads[len(pads) // 2 + axis])


RULES = (ResolveAutoPad, DropPaddingCount, SliceByNegativePad)
