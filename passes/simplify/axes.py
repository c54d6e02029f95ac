"""Axes have one number: counted from the first one."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import LayerNorm, LogSoftmax, RMSNorm, Softmax
from uair.ops.base import Operator
from uair.rewrite import NoMatch, Rule, no, of


class CountAxisFromFirst(Rule):
    """An axis that is counted from the end is counted from the beginning, once the rank is known."""

    def pattern(self) -> Any:
        """Operators whose axis is an attribute of theirs, which frontends and rules write in both ways."""
        return of(LayerNorm, RMSNorm, Softmax, LogSoftmax)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It counts from the end, and the rank is known."""
        if node.attributes["axis"] >= 0:
            return no("the axis is counted from the beginning", node)
        x = node.inputs[0]
        return (x is not None and x.type.shape is not None) or no("the operand's rank is not known", node)

    def rewrite(self, node: Node) -> Tensor:
        """The same operator over the same axis."""
        op: Any = node.op
        counted: Operator = attrs.evolve(op, axis=op.axis + node.output.type.rank)
        return counted(*node.inputs)


RULES = (CountAxisFromFirst,)
