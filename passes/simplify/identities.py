"""Operators that give back their operand."""

from __future__ import annotations

import math
from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import (
    Cast,
    Clip,
    Concat,
    Expand,
    Identity,
    Pad,
    Reshape,
    Resize,
    Slice,
    Split,
    Squeeze,
    Tile,
    Transpose,
    Unsqueeze,
)
from uair.rewrite import NoMatch, Rule, no, of


class DropIdentity(Rule):
    """Identity(x) is x."""

    def pattern(self, x: Any) -> Any:
        """Identity of anything."""
        return Identity()(x)

    def rewrite(self, x: Tensor) -> Tensor:
        """The operand."""
        return x


class DropNoOp(Rule):
    """An operator that its attributes make the identity (transpose in order, slice of everything) is its operand."""

    def pattern(self) -> Any:
        """Any operator that can be without effect."""
        return of(Reshape, Expand, Transpose, Squeeze, Unsqueeze, Slice, Pad, Tile, Cast, Clip, Resize, Split, Concat)(
            ...
        ).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """The result's type is the operand's and the operator moves no element."""
        operand = node.inputs[0]
        if operand is None or len(node.outputs) != 1 or node.outputs[0].type != operand.type:
            return no("the result has another type than the operand", node)
        return does_nothing(node) or no("the operator changes values or their order", node)

    def rewrite(self, node: Node) -> Tensor:
        """The first operand."""
        operand = node.inputs[0]
        assert operand is not None
        return operand


def does_nothing(node: Node) -> bool:
    """Whether an operator whose result has its operand's type leaves every element where it is."""
    op = node.op
    if isinstance(op, Transpose):
        return op.perm == tuple(range(len(op.perm)))
    if isinstance(op, Clip):
        return op.min in (None, -math.inf) and op.max in (None, math.inf)
    if isinstance(op, Slice):
        return op.steps is not None and all(step == 1 for step in op.steps) and node.outputs[0].type.is_static
    if isinstance(op, Pad):
        return op.pads is not None and not any(op.pads)
    if isinstance(op, Tile):
        return op.repeats is not None and all(r == 1 for r in op.repeats)
    if isinstance(op, Resize):
        crops = op.coordinate_mode == "tf_crop_and_resize"
        return op.scales is not None and all(s == 1 for s in op.scales) and not crops
    if isinstance(op, Concat):
        return len(node.inputs) == 1
    if isinstance(op, (Reshape, Squeeze, Unsqueeze, Expand)):
        return node.outputs[0].type.shape is not None
    return isinstance(op, (Cast, Split))


RULES = (DropIdentity, DropNoOp)
