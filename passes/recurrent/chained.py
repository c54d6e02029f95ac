"""Layers over one step each, one behind the other, as one layer over all steps.

torch.nn.LSTMCell, GRUCell and RNNCell are such layers once imported.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops import GRU, LSTM, RNN, Reshape, Squeeze, Unsqueeze
from uair.ops.recurrent import Recurrent
from uair.passes.recurrent.sequences import Outputs, joined, late_tensors, stand_ins
from uair.passes.recurrent.unrolled import equal_constants
from uair.rewrite import NoMatch, Replacement, Rule, no, of

_LENGTHS, _STATE = 4, 5
"""Operands: the lengths, and the first of the initial states."""


class MergeSteps(Rule):
    """Recurrent layers over one step each, each from the last state of the one before, are one layer."""

    def pattern(self) -> Any:
        """The last one."""
        return of(LSTM, GRU, RNN)(...).named("root")

    def check(self, root: Node) -> bool | NoMatch:
        """There are others before it with its weights, and nothing they take depends on them."""
        if not _is_step(root):
            return no("it is not a forward layer over one step", root)
        later = next((user for user in root.outputs[1].users if _goes_on(user, root)), None)
        if later is not None:
            return no(f"{later!r} goes on from here: the steps end later", later)
        layers = _steps(root)
        if len(layers) < 2:
            return no("no layer over one step with the same weights stands in front of it", root)
        for node in layers[:-1]:
            for memory in node.outputs[2:]:
                if any(user not in layers for user in memory.users):
                    return no("the memory between two steps is used", memory)
        late = late_tensors(root, layers, [t for node in layers for t in node.outputs])
        taken = next((node.inputs[0] for node in layers if node.inputs[0] in late), None)
        return taken is None or no("what a step takes depends on the output of another one", taken)

    def rewrite(self, root: Node) -> Replacement:
        """One layer over all steps."""
        layers = _steps(root)
        x, reverse = joined([t for node in layers if (t := node.inputs[0]) is not None])
        op: Any = root.op
        made: Recurrent = attrs.evolve(op, direction="reverse") if reverse else op
        y, *last = made.node(x, *root.inputs[1:_LENGTHS], *layers[0].inputs[_LENGTHS:]).outputs
        outputs = Outputs(y, last, reverse, len(layers))
        others = stand_ins(outputs, [_forms(node) for node in layers], set(layers))
        results = [
            others.pop(t, new) for t, new in zip(root.outputs, (Unsqueeze(axes=(0,))(last[0]), *last), strict=True)
        ]
        return Replacement(tuple(results), others, layers)


def _forms(node: Node) -> list[Tensor]:
    """The output of a step with the axes of steps and directions, and without them where the model drops them."""
    found = list(node.outputs[:2])
    for result in node.outputs[:2]:
        for user in result.users:
            if isinstance(user.op, (Squeeze, Reshape)) and user.output.type.shape == result.type.dims[-2:]:
                return [*found, user.output]
    return found


def _is_step(node: Node) -> bool:
    """Whether a layer of one direction takes one step, and its parameters are constants."""
    op, x = node.op, node.inputs[0]
    assert isinstance(op, Recurrent)
    if op.direction != "forward" or x is None or x.type.shape is None or x.type.dims[0] != 1:
        return False
    lengths = node.inputs[_LENGTHS] if len(node.inputs) > _LENGTHS else None
    return lengths is None and all(t is None or t.is_constant for t in _parameters(node))


def _parameters(node: Node) -> tuple[Tensor | None, ...]:
    """Weights, bias and peepholes."""
    states = 2 if isinstance(node.op, LSTM) else 1
    operands = [node.inputs[i] if i < len(node.inputs) else None for i in range(_STATE + states + 1)]
    return (*operands[1:_LENGTHS], *operands[_STATE + states :])


def _goes_on(node: Node, before: Node) -> bool:
    """Whether a layer over one step begins with the last states of another one, and has its weights."""
    if node.op != before.op or len(node.inputs) <= _STATE or not _is_step(node):
        return False
    states = len(before.outputs) - 1
    if node.inputs[_STATE : _STATE + states] != before.outputs[1:]:
        return False
    pairs = zip(_parameters(node), _parameters(before), strict=True)
    return all(a is b or equal_constants(a, b) for a, b in pairs)


def _steps(root: Node) -> list[Node]:
    """The layers that end with `root`, first one first."""
    found = [root]
    while len(found[-1].inputs) > _STATE:
        state = found[-1].inputs[_STATE]
        before = None if state is None else state.producer
        if before is None or not isinstance(before.op, Recurrent) or not _is_step(before):
            break
        if not _goes_on(found[-1], before):
            break
        found.append(before)
    return found[::-1]


__all__: Sequence[str] = ["MergeSteps"]
