"""The last state of a recurrent layer, read from its outputs.

Models that end a sequence with its last state use the second result of a layer and leave the first one, the outputs of
all steps, alone. rknn-toolkit2 2.5.0 fails there (`Could not find OrtValue with name ''`): its own rules remove the
result that nobody uses. Without lengths the last state is the output of the last step, or of the first one of a
direction that runs backwards.
"""

from __future__ import annotations

from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import GRU, LSTM, RNN, Concat, Slice, Squeeze
from uair.pipeline import RulePass
from uair.rewrite import NoMatch, Rule, RuleSet, no, of


@attrs.frozen
class LastStateOfOutputs(RulePass):
    """Take the last state of layers from their outputs, where only the state is used."""

    def rules(self) -> RuleSet:
        """The one rule."""
        return RuleSet([TakeLastState()])


class TakeLastState(Rule):
    """The last state of a recurrent layer is the output of its last step."""

    def pattern(self) -> Any:
        """A layer."""
        return of(GRU, LSTM, RNN)(...).named("node")

    def check(self, node: Node) -> bool | NoMatch:
        """Its outputs are not used, its state is, and all sequences have the full length."""
        if node.outputs[0].use_count or not node.outputs[1].use_count:
            return no("its outputs are used, or its last state is not", node)
        if len(node.inputs) > 4 and node.inputs[4] is not None:
            return no("its sequences have lengths of their own", node)
        return node.outputs[0].type.is_static or no("its sizes are not known", node)

    def rewrite(self, node: Node) -> tuple[Tensor, ...]:
        """A layer whose outputs are used."""
        op: Any = node.op
        layer = Node(op, node.inputs, name=node.name)
        y = layer.outputs[0]
        backwards = [op.direction == "reverse"] if op.directions == 1 else [False, True]
        steps = int(y.type.dims[0])  # type: ignore[arg-type]
        lasts = [self._last(y, d, 0 if back else steps - 1) for d, back in enumerate(backwards)]
        state = lasts[0] if len(lasts) == 1 else Concat(axis=0)(*lasts)
        return (y, state, *layer.outputs[2:])

    @staticmethod
    def _last(y: Tensor, direction: int, step: int) -> Tensor:
        """[1, batch, hidden] of [steps, directions, batch, hidden]."""
        begin, end = (step, direction), (step + 1, direction + 1)
        part = Slice(axes=(0, 1), starts=begin, ends=end, steps=(1, 1))(y)
        return Squeeze(axes=(0,))(part)
