"""A product by one number goes towards the weights in front of what only moves elements or turns pairs of them.

Exporters scale queries and keys behind the Reshape and Transpose that make heads of their features.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from uair.ir.graph import Node, Tensor, constant
from uair.ops import (
    Expand,
    LayerNorm,
    Linear,
    MatMul,
    Mul,
    Reshape,
    RMSNorm,
    RotaryEmbedding,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.passes.fusion.exact import scaled
from uair.passes.fusion.operands import parts
from uair.rewrite import NoMatch, Rule, no, of

MOVES = (Expand, Reshape, RotaryEmbedding, Squeeze, Transpose, Unsqueeze)
"""What gives a multiple when its first operand is multiplied."""
TAKERS = (LayerNorm, Linear, MatMul, RMSNorm)
"""What gives a multiple when all of its constants are multiplied."""
_DEEPEST = 16


class ScaleBeforeMoves(Rule):
    """A product by one number behind Reshape, Transpose and the like goes into the weights in front of them."""

    def pattern(self) -> Any:
        """Any product."""
        return of(Mul)(...).named("product")

    def check(self, product: Node) -> bool | NoMatch:
        """One number, and a chain of private results that begins at weights."""
        found = parts(product)
        if found is None:
            return no("no operand is one number", product)
        chain = _chain(found[0])
        return len(chain) > 1 or no("what is multiplied does not come of weights by moves alone", product)

    def rewrite(self, product: Node) -> Tensor:
        """Other weights, and the same moves."""
        found = parts(product)
        assert found is not None
        x, factor, _ = found
        taker, *moves = _chain(x)
        first, *weights = taker.inputs
        result: Tensor = taker.op(first, *(None if w is None else _times(w, factor) for w in weights))
        for move in moves:
            result = move.op(result, *move.inputs[1:])
        return result


def _chain(tensor: Tensor) -> list[Node]:
    """What takes the number, then the moves from there to a tensor; empty when something is in the way."""
    chain: list[Node] = []
    for _ in range(_DEEPEST):
        node = tensor.producer
        if node is None or tensor.use_count != 1 or not node.inputs or node.inputs[0] is None:
            break
        chain.append(node)
        if isinstance(node.op, TAKERS):
            weights = [t for t in node.inputs[1:] if t is not None]
            return chain[::-1] if weights and all(t.is_constant for t in weights) else []
        if not isinstance(node.op, MOVES):
            break
        tensor = node.inputs[0]
    return []


def _times(weight: Tensor, factor: float) -> Tensor:
    assert weight.data is not None
    return constant(scaled(weight.data, np.asarray(factor)), weight.name)


RULES = (ScaleBeforeMoves,)
