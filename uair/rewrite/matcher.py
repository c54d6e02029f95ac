"""Matching a pattern at a node; the one code path that also answers why a rule does not apply."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from uair.ir.graph import Node, Tensor
from uair.rewrite.pattern import AnyOf, OpPattern, Optional, Term, Variable


@attrs.frozen(eq=False)
class Match:
    """A successful match.

    Attributes:
        root: the node the match started from.
        nodes: the matched nodes, root first.
        bindings: tensors by variable name, nodes by pattern name.
    """

    root: Node
    nodes: tuple[Node, ...]
    bindings: Mapping[str, Any]


@attrs.frozen(eq=False)
class NoMatch:
    """Why a pattern or a check did not hold.

    Attributes:
        culprit: the node or tensor that it is about.
        matched: number of nodes that matched before the failure.
    """

    _reason: str | Callable[[], str]
    culprit: Node | Tensor | None = None
    matched: int = 0

    @property
    def reason(self) -> str:
        """One sentence without the name of the rule; the matcher's is composed when somebody asks."""
        return self._reason if isinstance(self._reason, str) else self._reason()

    def __bool__(self) -> bool:
        return False

    def __str__(self) -> str:
        return self.reason


Result: TypeAlias = "Match | NoMatch"


def no(reason: str, culprit: Node | Tensor | None = None) -> NoMatch:
    """The answer of a check that refuses."""
    return NoMatch(reason, culprit)


def match(pattern: OpPattern, root: Node) -> Result:
    """Match `pattern` at `root`."""
    if pattern.operands is None and pattern.exact is None and type(root.op) in pattern.ops:
        return Match(root, (root,), {pattern.name: root} if pattern.name else {})
    attempt = _Attempt()
    failure = attempt.node(pattern, root, is_root=True)
    if failure is None:
        failure = attempt.private()
    if failure is not None:
        return failure
    return Match(root, tuple(attempt.nodes), attempt.bindings)


class _Attempt:
    """State of one match; backtracks only over the operand order of commutative operators and over alternatives."""

    def __init__(self) -> None:
        self.bindings: dict[str, Any] = {}
        self.nodes: dict[Node, OpPattern] = {}

    def save(self) -> tuple[dict[str, Any], dict[Node, OpPattern]]:
        return dict(self.bindings), dict(self.nodes)

    def restore(self, saved: tuple[dict[str, Any], dict[Node, OpPattern]]) -> None:
        self.bindings, self.nodes = dict(saved[0]), dict(saved[1])

    def fail(self, reason: Callable[[], str], culprit: Node | Tensor | None) -> NoMatch:
        return NoMatch(reason, culprit, len(self.nodes))

    def node(self, pattern: OpPattern, node: Node, *, is_root: bool = False) -> NoMatch | None:
        if type(node.op) not in pattern.ops:
            return self.fail(lambda: f"{node!r} is a {node.op_type}, the rule needs {pattern}", node)
        if pattern.exact is not None and node.op != pattern.exact:
            return self.fail(
                lambda: f"{node!r} has attributes {dict(node.attributes)}, the rule needs {pattern.exact!r}", node
            )
        known = self.nodes.get(node)
        if known is not None and known is not pattern:
            return self.fail(lambda: f"{node!r} would stand for two parts of the pattern", node)
        if known is None and any(part is pattern for part in self.nodes.values()):
            return self.fail(lambda: f"{node!r} would be another node where the pattern has the same one twice", node)
        if len(node.outputs) > 1 and not is_root and not pattern.is_shared and node.op.result_count() > 1:
            others = [t for i, t in enumerate(node.outputs) if i != pattern.result and t.use_count]
            if others:
                return self.fail(lambda: f"another result of {node!r} is used too", others[0])
        self.nodes[node] = pattern
        if pattern.name:
            self.bindings[pattern.name] = node
        if pattern.operands is None:
            return None
        return self.operands(pattern, node)

    def operands(self, pattern: OpPattern, node: Node) -> NoMatch | None:
        assert pattern.operands is not None
        expected = len(pattern.operands)
        if len(node.inputs) > expected:
            return self.fail(lambda: f"{node!r} has {len(node.inputs)} operands, the rule expects {expected}", node)
        if not (node.op.commutative and expected == 2):
            return self.ordered(pattern.operands, node)
        saved = self.save()
        first = self.ordered(pattern.operands, node)
        if first is None:
            return None
        straight = len(self.nodes)
        self.restore(saved)
        swapped = self.ordered((pattern.operands[1], pattern.operands[0]), node)
        if swapped is None:
            return None
        return swapped if len(self.nodes) > straight else first

    def ordered(self, terms: tuple[Term, ...], node: Node) -> NoMatch | None:
        for i, term in enumerate(terms):
            tensor = node.inputs[i] if i < len(node.inputs) else None
            failure = self.term(term, tensor, node)
            if failure is not None:
                return failure
        return None

    def term(self, term: Term, tensor: Tensor | None, user: Node) -> NoMatch | None:
        if isinstance(term, Optional):
            if tensor is None:
                self.bindings.setdefault(term.term.name, None)
                return None
            return self.variable(term.term, tensor)
        if tensor is None:
            return self.fail(lambda: f"{user!r} lacks an operand that the rule needs", user)
        if isinstance(term, Variable):
            return self.variable(term, tensor)
        if isinstance(term, AnyOf):
            return self.alternatives(term, tensor, user)
        producer = tensor.producer
        if producer is None:
            kind = "a constant" if tensor.is_constant else "an input of the graph"
            return self.fail(lambda: f"{tensor!r} is {kind}, the rule needs the result of {term}", tensor)
        if producer.graph is not user.graph:
            return self.fail(lambda: f"{producer!r} is outside of the graph that {user!r} is in", tensor)
        if tensor.index != term.result:
            return self.fail(
                lambda: f"{tensor!r} is result {tensor.index} of {producer!r}, the rule needs {term.result}", tensor
            )
        return self.node(term, producer)

    def alternatives(self, term: AnyOf, tensor: Tensor, user: Node) -> NoMatch | None:
        saved = self.save()
        failures: list[NoMatch] = []
        for alternative in term.terms:
            failure = self.term(alternative, tensor, user)
            if failure is None:
                return None
            failures.append(failure)
            self.restore(saved)
        return self.fail(lambda: " or ".join(f.reason for f in failures), failures[0].culprit)

    def variable(self, variable: Variable, tensor: Tensor) -> NoMatch | None:
        bound = self.bindings.get(variable.name)
        if bound is None or bound is tensor:
            self.bindings[variable.name] = tensor
            return None
        if bound.data is not None and tensor.data is not None and bound.data.equals(tensor.data):
            return None
        return self.fail(lambda: f"{variable.name} would have to be both {bound!r} and {tensor!r}", tensor)

    def private(self) -> NoMatch | None:
        """Interior results must be used inside of the match only."""
        root = next(iter(self.nodes))
        for node, pattern in self.nodes.items():
            if node is root or pattern.is_shared:
                continue
            for tensor in node.outputs:
                outside = [user for user in tensor.users if user not in self.nodes]
                if outside:
                    return self.fail(functools.partial(_outside, tensor, outside), tensor)
        return None


def _outside(tensor: Tensor, outside: list[Node]) -> str:
    if any(user.is_return for user in outside):
        return f"{tensor!r} is an output of the graph; interior values are private"
    users = ", ".join(repr(user) for user in outside)
    return f"{tensor!r} is also used by {users}; interior values are private"
