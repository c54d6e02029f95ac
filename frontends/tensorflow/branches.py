"""Branches in the form of TensorFlow 1: Switch sends a value to one of two sides, Merge takes the one that came.

What stands on which side of which condition is followed along data and control edges. The Merges of one `tf.cond` then
become one If, whose branches hold what lies between its Switches and its Merges; a known condition leaves one branch.
Source: the comments on control flow in TensorFlow's control_flow_ops.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import attrs

from uair.frontends.common.errors import SourceFileError
from uair.frontends.tensorflow.errors import LoweredControlFlowError
from uair.frontends.tensorflow.values import Value, Variable
from uair.ir.graph import Graph, Tensor
from uair.ops import If

if TYPE_CHECKING:
    from uair.frontends.tensorflow.graphdef import Body, NodeDef, Ref
    from uair.frontends.tensorflow.node import TfNode

SWITCH, MERGE = "Switch", "Merge"
Guards = Mapping[str, int]
"""The side (0: false, 1: true) of each condition on which a value exists, by the condition's text."""


@attrs.frozen
class Join:
    """Merges that one condition decides.

    Attributes:
        condition: what it is decided by.
        switches: where the two sides begin.
        merges: names of the nodes.
        sides: what comes from the false and from the true side, for each of the nodes.
    """

    condition: Ref
    switches: Sequence[NodeDef]
    merges: Sequence[str]
    sides: Sequence[tuple[Ref, Ref]]

    @property
    def operands(self) -> list[Ref]:
        """What must be known before the branches are imported."""
        return [self.condition, *(switch.inputs[0] for switch in self.switches)]


def is_pivot(body: Body, node: NodeDef) -> bool:
    """Whether a node only says on which side of a condition others stand, or is the name that tf.cond gives to it."""
    if node.op == "Identity" and node.name.endswith("/pred_id"):
        return True
    if node.op == "Identity" and node.inputs:
        node = body.nodes.get(source_of(body, node.inputs[0]).name, node)
    return node.op == SWITCH and len(node.inputs) == 2 and node.inputs[0] == node.inputs[1]


def source_of(body: Body, ref: Ref) -> Ref:
    """What a value is the same as: a condition goes by several names."""
    seen: set[str] = set()
    node = body.nodes.get(ref.name)
    while node is not None and node.op == "Identity" and len(node.inputs) == 1 and node.name not in seen:
        seen.add(node.name)
        ref = node.inputs[0]
        node = body.nodes.get(ref.name)
    return ref


class Branches:
    """The branches of one body, found when a Merge is met."""

    def __init__(self, body: Body) -> None:
        self._body = body
        self._guards: dict[str, Guards] = {}
        self._conditions: dict[str, Ref] = {}
        self._joins: dict[str, Join] = {}

    def join(self, merge: NodeDef) -> Join:
        """What a Merge belongs to.

        Raises:
            LoweredControlFlowError: no condition decides between its operands.
        """
        if merge.name not in self._joins:
            decision = self._decision(merge)
            if decision is None:
                raise LoweredControlFlowError(
                    f"a branch in the form of TensorFlow 1 merges {len(merge.inputs)} values, and no condition decides "
                    "between two of them",
                    place=f"TensorFlow node {merge.name!r} ({merge.op})",
                )
            condition, _ = decision
            folder = merge.name.rpartition("/")[0]
            group = {merge.name: decision[1]}
            if folder:  # of a tf.cond: its results are merged side by side
                siblings = [n for n in self._body.order if n.op == MERGE and n.name.rpartition("/")[0] == folder]
                decided = {n.name: self._decision(n) for n in siblings}
                group |= {name: found[1] for name, found in decided.items() if found and found[0] == condition}
            switches = self._begin([ref for pair in group.values() for ref in pair], condition)
            join = Join(self._conditions[condition], switches, list(group), list(group.values()))
            self._joins.update(dict.fromkeys(group, join))
        return self._joins[merge.name]

    def _decision(self, merge: NodeDef) -> tuple[str, tuple[Ref, Ref]] | None:
        """The condition that decides between the operands of a Merge, and these: of the false and of the true side."""
        if len(merge.inputs) != 2:
            return None
        first, second = merge.inputs
        one, other = self._of(first), self._of(second)
        differing = [c for c in one if c in other and one[c] != other[c]]
        found = differing or [c for c in one if c not in other] or [c for c in other if c not in one]
        if not found:
            return None
        condition = found[-1]
        second_is_true = other[condition] == 1 if condition in other else one[condition] == 0
        return condition, (first, second) if second_is_true else (second, first)

    def _of(self, ref: Ref) -> Guards:
        """On which sides of which conditions a value exists; outer conditions first."""
        self._follow(ref.name)
        node = self._body.nodes.get(ref.name)
        guards = self._guards.get(ref.name, {})
        if node is None or node.op != SWITCH or len(node.inputs) != 2:
            return guards
        condition = source_of(self._body, node.inputs[1])
        text = f"{condition.name}:{condition.port}:{condition.index}"
        self._conditions[text] = condition
        return {**guards, text: int(ref.port == "output_true" or ref.index == 1)}

    def _follow(self, name: str) -> None:
        """Find the guards of a node and of all that it needs; those of a Switch are of its operand."""
        pending, opened = [name], set[str]()
        while pending:
            current = pending[-1]
            node = self._body.nodes.get(current)
            if node is None or current in self._guards:
                pending.pop()
                continue
            before = [*(ref.name for ref in node.inputs), *(c.partition(":")[0] for c in node.controls)]
            missing = [n for n in before if n in self._body.nodes and n not in self._guards]
            if missing and current in opened:
                raise SourceFileError(f"the value of {current!r} depends on itself")
            if missing:
                opened.add(current)
                pending.extend(missing)
                continue
            pending.pop()
            self._guards[current] = self._of_node(node)

    def _of_node(self, node: NodeDef) -> Guards:
        if node.op == SWITCH:
            return self._of(node.inputs[0]) if len(node.inputs) == 2 else {}
        found: dict[str, int] = {}
        for ref in node.inputs:
            found.update(self._of(ref))
        for control in node.controls:
            found.update(self._guards.get(control.partition(":")[0], {}))
        decision = self._decision(node) if node.op == MERGE else None
        if decision is not None:
            found.pop(decision[0], None)
        return found

    def _begin(self, refs: Sequence[Ref], condition: str) -> list[NodeDef]:
        """The Switches of a condition behind which some values lie."""
        found: dict[str, NodeDef] = {}
        seen, pending = set[str](), [ref.name for ref in refs]
        while pending:
            name = pending.pop()
            node = self._body.nodes.get(name)
            if node is None or name in seen:
                continue
            seen.add(name)
            if node.op == SWITCH and len(node.inputs) == 2 and condition in self._of(type(node.inputs[0])(name)):
                if condition not in self._of(node.inputs[0]):
                    found[name] = node
                    continue
            pending.extend(ref.name for ref in node.inputs)
        return list(found.values())


def joined(n: TfNode, join: Join) -> list[Value]:
    """The values of the Merges of a join, imported as one If; operand 0 of the node is the condition."""
    condition = n[0]
    known = n.value_of(condition)
    if known is not None and known.size == 1:
        return _side(n, join, int(bool(known.reshape(-1).tolist()[0])), n.scope.graph)
    regions: list[Graph] = []
    for which, name in ((1, "then"), (0, "else")):
        region = Graph(name)
        for i, value in enumerate(_side(n, join, which, region)):
            if isinstance(value, Variable):
                value = n.importer.read(value)
            if not isinstance(value, Tensor):
                n.refuse(f"result {i} of the branch is no tensor")
            region.add_output(f"result{i}", value)
        regions.append(region)
    return list(n.all(If(then_branch=regions[0], else_branch=regions[1]), condition))


def _side(n: TfNode, join: Join, which: int, graph: Graph) -> list[Value]:
    """The results of one branch, whose nodes are imported to a graph; a Switch is what goes into it there."""
    scope = n.scope
    passed: dict[str, tuple[Value, ...]] = {}
    for switch in join.switches:
        value = n.importer.value_at(scope, switch.inputs[0], n.place)
        passed[switch.name] = (value, value)
    inner = attrs.evolve(
        scope, graph=graph, values=ChainMap(passed, scope.values), stack=(*scope.stack, f"branch of {n.name}")
    )
    return n.importer.evaluate(inner, [sides[which] for sides in join.sides])
