"""Operators that give back their operand."""

from __future__ import annotations

import math
from typing import Any

from uair.ir.data import EAGER_BYTES
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
    Where,
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


class DropDecidedWhere(Rule):
    """Where of a condition that is a constant, all true or all false, is one of its branches."""

    def pattern(self, condition: Any, a: Any, b: Any) -> Any:
        """Any Where."""
        return Where()(condition, a, b).named("node")

    def check(self, node: Node, condition: Tensor, a: Tensor, b: Tensor) -> bool | NoMatch:
        """The condition is the same everywhere, and the branch has the type of the result."""
        value = decision(condition)
        if value is None:
            return no("the condition is not a constant that is the same everywhere", condition)
        return (a if value else b).type == node.output.type or no("the branch is broadcast", node)

    def rewrite(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """The branch."""
        return a if decision(condition) else b


def decision(condition: Tensor) -> bool | None:
    """The one value of a small constant of booleans; None when it has several or is none."""
    if condition.data is None or not 0 < condition.data.size <= EAGER_BYTES:
        return None
    values = condition.numpy()
    return bool(values.flat[0]) if values.all() or not values.any() else None


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


RULES = (DropIdentity, DropNoOp, DropDecidedWhere)
