"""Linear layers over more than two axes as matrix products.

ONNX writes Linear over [..., in] as MatMul and Add, of two axes as one Gemm. Vendors' tools make a 1x1 convolution of a
Gemm, bias included; of the pair some make two steps, and rknn-toolkit2 2.5.0 does not know what the quantized bias
belongs to when nothing is quantized between the two ("Invalid w_par['dtype'] = float16").
"""

from __future__ import annotations

import math
from typing import Any

import attrs

from uair.ir.dims import is_static, static
from uair.ir.graph import Node, Tensor
from uair.ops import Linear, Reshape
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of


@attrs.frozen
class FlattenLinear(RulePass):
    """Let every Linear work on a matrix: merge the axes in front, and split them again behind."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([FlattenLinearAxes()])


class FlattenLinearAxes(Rule):
    """Linear over [a, b, ..., in] is Linear over [a * b * ..., in] between two Reshapes."""

    def pattern(self) -> Any:
        """Any Linear."""
        return of(Linear)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Its operand has another rank than 2, and a static shape."""
        x = node.inputs[0]
        assert x is not None
        if x.type.shape is None or not is_static(x.type.shape):
            return no("the shape of its operand is not static", node)
        return x.type.rank != 2 or no("it works on a matrix already", node)

    def rewrite(self, node: Node) -> Tensor:
        """Reshape, Linear, Reshape."""
        x = node.inputs[0]
        assert x is not None
        *front, width = static(x.type.dims)
        matrix = Reshape(shape=(math.prod(front), width))(x)
        result: Tensor = node.op(matrix, *node.inputs[1:])
        return Reshape(shape=node.output.type.shape)(result)
