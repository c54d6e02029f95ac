"""Reverse-mode differentiation of nodes that were imported, for the operator Gradient.

The nodes between the independent tensors and `y` are walked once. They are the model's own when the node's operands
are the independent tensors themselves; else they are copied with the operands in their place. An operator without a
rule (`uair.frontends.onnx.vjp`) is replaced by its decomposition when it has one, and refused by name otherwise. The
gradient of a tensor `y` with several elements is that of their sum.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from uair import ops
from uair.frontends.onnx.node import OnnxNode
from uair.frontends.onnx.vjp import FLAT, RULES, Rule, Step
from uair.frontends.onnx.vjp_moves import MOVES
from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator

ALL_RULES: Mapping[type[Operator], Rule] = {**RULES, **MOVES}


def gradients(n: OnnxNode, xs: Sequence[Tensor], values: Mapping[Tensor, Tensor], y: Tensor) -> list[Tensor]:
    """The gradient of `y` for each of `xs`.

    Args:
        n: the Gradient node.
        xs: the tensors to differentiate by.
        values: for each independent tensor the value to take in its place; the same tensor where nothing changes.
        y: the tensor to differentiate.

    Raises:
        OnnxOperatorError: an operator in between cannot be differentiated.
    """
    tape = _Tape(n, values, {values[x] for x in xs})
    target = tape.forward(y)
    found = {target: _filled(n, target, 1)} if target in tape.moving else {}
    for node in reversed(tape.nodes):
        _back(n, node, found, tape.moving)
    return [found.get(values[x]) or _filled(n, values[x], 0) for x in xs]


def _filled(n: OnnxNode, t: Tensor, value: float) -> Tensor:
    shape = n.shape(t)
    return n(ops.Expand(shape=shape), n.like(value, t)) if shape else n.like(value, t)


def _back(n: OnnxNode, node: Node, found: dict[Tensor, Tensor], moving: set[Tensor]) -> None:
    """Add what a node's results say of its operands' gradients."""
    known = tuple(found.get(t) for t in node.outputs)
    if all(g is None for g in known) or type(node.op) in FLAT:
        return
    step = Step(n, node, known)
    rule = ALL_RULES[type(node.op)]
    for i, operand in enumerate(node.inputs):
        if operand is None or operand not in moving:
            continue
        gradient = rule(step, i)
        if gradient is not None:
            earlier = found.get(operand)
            found[operand] = gradient if earlier is None else n(ops.Add(), earlier, gradient)


class _Tape:
    """The nodes to walk back, in order, and the tensors that move with the independent ones."""

    def __init__(self, n: OnnxNode, values: Mapping[Tensor, Tensor], moving: set[Tensor]) -> None:
        self.n = n
        self.values = dict(values)
        self.moving = moving
        self.nodes: list[Node] = []

    def forward(self, y: Tensor) -> Tensor:
        """The tensor that stands for `y`, everything that it depends on being on the tape."""
        pending = [y]
        while pending:
            current = pending[-1]
            if current in self.values:
                pending.pop()
                continue
            operands = [] if current.producer is None else [t for t in current.producer.inputs if t is not None]
            missing = [t for t in operands if t not in self.values]
            if missing:
                pending.extend(missing)
                continue
            pending.pop()
            if current.producer is None:
                self.values[current] = current
            else:
                self._node(current.producer)
        return self.values[y]

    def _node(self, node: Node) -> None:
        """Take a node whose operands are settled: as it is, copied, or decomposed."""
        operands = [None if t is None else self.values[t] for t in node.inputs]
        moves = any(t in self.moving for t in operands) and any(t.type.dtype.is_float for t in node.outputs)
        if moves and type(node.op) not in ALL_RULES and type(node.op) not in FLAT:
            self._decomposed(node, operands)
            return
        detached = node.graph is None  # a part of a decomposition
        changed = detached or any(a is not b for a, b in zip(operands, node.inputs, strict=True))
        results = self.n.all(node.op, *operands) if changed else node.outputs
        self.values.update(zip(node.outputs, results, strict=True))
        made = results[0].producer
        if moves and made is not None:
            self.nodes.append(made)
            self.moving.update(t for t in results if t.type.dtype.is_float)

    def _decomposed(self, node: Node, operands: Sequence[Tensor | None]) -> None:
        """Put what stands for the operator on the tape instead."""
        given = [None if t is None else Tensor(t.type) for t in operands]
        made = node.op.decompose(*given)
        if made is None:
            Step(self.n, node, ()).refuse("there is no rule for it")
        self.values.update((a, b) for a, b in zip(given, operands, strict=True) if a is not None and b is not None)
        for old, new in zip(node.outputs, (made,) if isinstance(made, Tensor) else made, strict=True):
            self.values[old] = self.forward(new)
