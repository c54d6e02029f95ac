"""Sequences that are turned around twice."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import Flip, Reshape, Transpose
from uair.rewrite import NoMatch, Rule, RuleSet, no, of

_FARTHEST = 8


@attrs.frozen(eq=False)
class _Chain:
    """What stands between two Flips, last first, and the axes that the last one turns, as the first one has them."""

    first: Node
    between: tuple[Node, ...]
    axes: frozenset[int]


class CancelFlips(Rule):
    """Flip of Flip along the same axes is nothing, also with Transposes, or Reshapes that are such, between them."""

    def pattern(self) -> Any:
        """The last one."""
        return of(Flip)(...).named("outer")

    def check(self, outer: Node) -> bool | NoMatch:
        """There is another one in front of it, of the same axes."""
        chain = _chain(outer)
        if chain is None:
            return no("no Flip stands in front of it", outer)
        assert isinstance(chain.first.op, Flip)
        rank = chain.first.output.type.rank
        return chain.axes == frozenset(a % rank for a in chain.first.op.axes) or no(
            "they turn other axes around", outer
        )

    def rewrite(self, outer: Node) -> Tensor:
        """What is turned around first, with its axes moved as they were."""
        chain = _chain(outer)
        assert chain is not None
        (x,) = chain.first.inputs
        assert x is not None
        for node in reversed(chain.between):
            x = node.op(x)
        return x


def _chain(outer: Node) -> _Chain | None:
    assert isinstance(outer.op, Flip)
    axes = frozenset(a % outer.output.type.rank for a in outer.op.axes)
    between: list[Node] = []
    tensor = outer.inputs[0]
    while tensor is not None and tensor.producer is not None and len(between) < _FARTHEST:
        node = tensor.producer
        if isinstance(node.op, Flip):
            return _Chain(node, tuple(between), axes)
        if not isinstance(node.op, (Transpose, Reshape)) or len(node.inputs) != 1 or node.inputs[0] is None:
            return None
        places = _places(node.inputs[0], node)
        axes = frozenset(places.get(a, -1) for a in axes)
        between.append(node)
        tensor = node.inputs[0]
    return None


def _places(x: Tensor, turn: Node) -> dict[int, int]:
    """Where the axes of a result come from, as far as they are longer than 1; none where a Reshape does more."""
    if isinstance(turn.op, Transpose):
        return dict(enumerate(turn.op.perm))
    if x.type.shape is None:
        return {}
    before, after = ([(i, d) for i, d in enumerate(t.type.dims) if d != 1] for t in (x, turn.output))
    if [d for _, d in before] != [d for _, d in after]:
        return {}
    return {j: i for (i, _), (j, _) in zip(before, after, strict=True)}


FLIPS = RuleSet([CancelFlips()])
