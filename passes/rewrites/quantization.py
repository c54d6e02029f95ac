"""Quantized values that a target has no form for, in floating point."""

from __future__ import annotations

from typing import Any

from uair.ir.dtype import DType
from uair.ir.graph import Node, Tensor
from uair.ops import Dequantize
from uair.passes.fold_constants import folded_data
from uair.rewrite import NoMatch, Rule, no, of, optional


class FloatConstant(Rule):
    """A constant in integers is the constant in floating point."""

    def pattern(self, x: Any, s: Any, z: Any) -> Any:
        """A Dequantize."""
        return of(Dequantize)(x, s, optional(z)).named("node")

    def check(self, x: Tensor, s: Tensor, z: Tensor | None, node: Node) -> bool | NoMatch:
        """Everything is constant, and the result f32."""
        if node.output.type.dtype is not DType.F32:
            return no("it is not f32", node)
        return all(t is None or t.is_constant for t in (x, s, z)) or no("an operand is computed", node)

    def rewrite(self, x: Tensor, node: Node) -> Tensor:
        """The numbers; a large constant is computed when it is needed."""
        operands = [None if t is None else t.data for t in node.inputs]
        return Tensor(node.output.type, x.name, folded_data(node.op, operands, node.output))


RULES = (FloatConstant,)
