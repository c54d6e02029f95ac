"""Heads that models repeat for attention."""

from __future__ import annotations

from typing import Any

from uair.ir.dims import is_static
from uair.ir.graph import Node, Tensor
from uair.ops import Attention, Expand, Reshape, Squeeze
from uair.rewrite import NoMatch, Rule, no, of


class GroupRepeatedHeads(Rule):
    """Attention over keys and values whose heads are repeated shares them: each group of heads has its own."""

    def pattern(self) -> Any:
        """Any attention."""
        return of(Attention)(...).named("attention")

    def check(self, attention: Node) -> bool | NoMatch:
        """Keys and values are repeated equally often, and no cache is joined to them."""
        if len(attention.inputs) > 4 and attention.inputs[4] is not None:
            return no("keys and values of the past have the repeated heads", attention)
        keys, values = (_repeated(t) for t in attention.inputs[1:3])
        if keys is None or values is None:
            return no("the heads of the keys or of the values are not repeated by Expand and Reshape", attention)
        same = keys.type.dims[:3] == values.type.dims[:3]
        return same or no("keys and values are not repeated equally often", attention)

    def rewrite(self, attention: Node) -> tuple[Tensor, ...]:
        """The same operator on what is repeated."""
        q, k, v, *others = attention.inputs
        keys, values = (_repeated(t) for t in (k, v))
        assert keys is not None and values is not None
        grouped = (Squeeze(axes=(2,))(t) for t in (keys, values))
        return tuple(attention.op.node(q, *grouped, *others).outputs)


def _repeated(tensor: Tensor | None) -> Tensor | None:
    """[batch, groups, 1, places, size], of which [batch, heads, places, size] repeats each group; None if it is not."""
    reshape = None if tensor is None else tensor.producer
    if tensor is None or reshape is None or not isinstance(reshape.op, Reshape) or reshape.inputs[0] is None:
        return None
    expand = reshape.inputs[0].producer
    x = expand.inputs[0] if expand is not None and isinstance(expand.op, Expand) else None
    if expand is None or x is None or x.type.shape is None or x.type.rank != 5 or tensor.type.rank != 4:
        return None
    batch, groups, one, places, size = x.type.dims
    times = expand.output.type.dims[2]
    if one != 1 or not is_static((groups, times)) or expand.output.type.dims != (batch, groups, times, places, size):
        return None
    return x if tensor.type.dims == (batch, groups * times, places, size) else None


RULES = (GroupRepeatedHeads,)
