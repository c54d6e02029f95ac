"""Reductions that exporters spell out."""

from __future__ import annotations

import math
from typing import Any

from uair.ir.graph import Node, Tensor
from uair.ops import Div, Mul, ReduceMean, ReduceSum
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of


class RecognizeMean(Rule):
    """A sum divided by the number of its elements is a mean.

    In float16 the sum of a few hundred squares may already be infinite where their mean is not: devices add in 32 bits,
    but store what the node gives.
    """

    def pattern(self, x: Any, c: Any) -> Any:
        """The quotient or the product."""
        total = of(ReduceSum)(x).named("total")
        return [Div()(total, c).named("root"), Mul()(total, c).named("root")]

    def check(self, root: Node, total: Node, x: Tensor, c: Tensor) -> bool | NoMatch:
        """The constant is the number of elements, or one by it."""
        if not x.type.dtype.is_float or root.output.type != total.output.type:
            return no("the sum is no float, or the constant broadcasts it", root)
        found, count = repeated_value(c), self.count(total, x)
        if found is None or not count:
            return no("the divisor, or the number of elements, is not known", root)
        wanted = float(count) if isinstance(root.op, Div) else 1.0 / count
        return math.isclose(found, wanted, rel_tol=1e-6) or no(f"{found:g} is not {wanted:g}", c)

    def rewrite(self, total: Node, x: Tensor) -> Tensor:
        """One operator."""
        op = total.op
        assert isinstance(op, ReduceSum)
        return ReduceMean(axes=op.axes, keepdims=op.keepdims)(x)

    @staticmethod
    def count(total: Node, x: Tensor) -> int:
        """How many elements each sum is of; 0 when that is not known."""
        op = total.op
        assert isinstance(op, ReduceSum)
        if x.type.shape is None:
            return 0
        axes = range(len(x.type.shape)) if op.axes is None else op.axes
        extents = [x.type.shape[axis] for axis in axes]
        if not extents or not all(isinstance(d, int) for d in extents):
            return 0
        return math.prod(d for d in extents if isinstance(d, int))


RULES = (RecognizeMean,)
