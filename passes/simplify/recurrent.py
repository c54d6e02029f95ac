"""Recurrent layers: a first state that is none, and the only direction of a result."""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import (
    GRU,
    LSTM,
    RNN,
    DynamicQuantizeLSTM,
    Expand,
    Gather,
    Reshape,
    Slice,
    Split,
    Squeeze,
    Transpose,
    Unsqueeze,
)
from uair.ops.base import Operator
from uair.ops.recurrent import Recurrent
from uair.passes.simplify.arithmetic import repeated_value
from uair.rewrite import NoMatch, Rule, no, of

_LAYERS = (LSTM, GRU, RNN, DynamicQuantizeLSTM)
_MOVING = (Expand, Slice, Split, Gather, Reshape, Transpose, Squeeze, Unsqueeze)
"""Operators whose results hold nothing but elements of their first operand."""


class DropZeroState(Rule):
    """A recurrent layer that is told to begin with zeros does so anyway."""

    def pattern(self) -> Any:
        """Any recurrent layer."""
        return of(*_LAYERS)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It is given states, and all of them are zero."""
        states = [t for t in node.inputs[_states(node)] if t is not None]
        if not states:
            return no("no initial state is given", node)
        return all(map(_is_zero, states)) or no("an initial state is not zero", node)

    def rewrite(self, node: Node) -> tuple[Tensor, ...]:
        """The layer without them."""
        operands, states = list(node.inputs), _states(node)
        operands[states] = [None] * len(operands[states])
        return node.op.node(*operands).outputs


def _states(node: Node) -> slice:
    """Where the first state stands among the operands."""
    op = node.op
    assert isinstance(op, Recurrent)
    first = op.operand_index("initial_h")
    return slice(first, first + len(op.state))


def _is_zero(state: Tensor) -> bool:
    """Whether a tensor is zeros: a constant, one that is spread over open extents, or a layer's part of such a one."""
    source: Tensor | None = state
    while source is not None and source.producer is not None and isinstance(source.producer.op, _MOVING):
        source = source.producer.inputs[0]
    return source is not None and repeated_value(source) == 0


class DropDefaultActivations(Rule):
    """Activations that a recurrent layer has anyway need not be named."""

    def pattern(self) -> Any:
        """Any recurrent layer."""
        return of(*_LAYERS)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """It names its own, without parameters."""
        op = node.op
        assert isinstance(op, Recurrent)
        own = op.activations == op.functions * op.directions and not op.alpha and not op.beta
        return own or no("it names none, or others", node)

    def rewrite(self, node: Node) -> tuple[Tensor, ...]:
        """The layer without their names."""
        op: Any = node.op
        plain: Operator = attrs.evolve(op, activations=())
        return plain.node(*node.inputs).outputs


class SqueezeByGather(Rule):
    """The only element along an axis is what Squeeze leaves: the last state of a layer of one direction, `h[-1]`."""

    def pattern(self, x: Any, indices: Any) -> Any:
        """Any Gather."""
        return of(Gather)(x, indices).named("node")

    def check(self, node: Node, x: Tensor, indices: Tensor) -> bool | NoMatch:
        """It takes one known place of an axis with one."""
        if x.type.shape is None or x.type.shape[node.attributes["axis"]] != 1:
            return no("the axis has more than one element", node)
        place = repeated_value(indices) if indices.type.shape == () else None
        return place in (0, -1) or no("the place is not one known number", node)

    def rewrite(self, node: Node, x: Tensor, indices: Tensor) -> Tensor:
        """The Squeeze."""
        axis = node.attributes["axis"]
        return Squeeze(axes=(axis % x.type.rank,))(x)


RULES = (DropZeroState, DropDefaultActivations, SqueezeByGather)
