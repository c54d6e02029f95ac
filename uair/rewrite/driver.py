"""Applying rules until nothing changes, at a cost that follows the number of changes.

Rules are indexed by root operator. Every node is looked at once; afterwards only what a rewrite touched (the new nodes,
the users of what changed, the producers that lost a user) is looked at again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TypeAlias

import attrs

from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ops.base import Operator
from uair.rewrite.failures import Bound, check_replacements, guarded
from uair.rewrite.matcher import Match, NoMatch
from uair.rewrite.pattern import OpPattern
from uair.rewrite.rule import Rule


@attrs.frozen
class Application:
    """One application of a rule (or one change by a pass that draws fuel): for bisection and for people.

    Attributes:
        number: from 1 on.
        rule: the rule, or the pass that draws fuel itself.
        node: the node in the module of that moment.
        location: where it comes from in the user's model.
        pass_spec: the pass of the pipeline that was running.
    """

    number: int
    rule: str
    node: str
    location: str
    pass_spec: str = ""


@attrs.define(eq=False)
class Fuel:
    """A budget of rule applications, shared by all passes of a run; bisection spends a part of it.

    Attributes:
        limit: how many applications are allowed; None for as many as there are.
        log: the applications done, when `keep_log`.
        pass_spec: the pass that is running, kept up to date by the pass manager.
    """

    limit: int | None = None
    keep_log: bool = False
    used: int = 0
    log: list[Application] = attrs.Factory(list[Application])
    pass_spec: str = ""

    def draw(self, rule: str, node: Node) -> bool:
        """Take one unit for applying `rule` at `node`; False when there is none left."""
        if self.limit is not None and self.used >= self.limit:
            return False
        self.used += 1
        if self.keep_log:
            self.log.append(Application(self.used, rule, repr(node), str(node.loc), self.pass_spec))
        return True


@attrs.define(eq=False)
class Statistics:
    """How often each rule was applied."""

    applied: dict[str, int] = attrs.Factory(dict[str, int])

    def count(self, rule: str) -> None:
        """One more application."""
        self.applied[rule] = self.applied.get(rule, 0) + 1


_Candidates: TypeAlias = "tuple[tuple[Rule, tuple[OpPattern, ...]], ...]"
"""Rules with the patterns of which one must fit what is further in front of a node; none: the rule may start there."""

_INDEXED_OPERANDS = 4
"""Operands up to which nodes are told apart by the operators that give them."""
_MOST_INDEXED = 4096
"""Combinations of operators that an index keeps."""


class RuleSet:
    """Rules in order of priority, indexed by root operator and by the operators that give its operands."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._by_op: dict[type[Operator], list[tuple[Rule, tuple[OpPattern, ...]]]] = {}
        for rule in self.rules:
            for op in rule.root_ops:
                self._by_op.setdefault(op, []).append((rule, tuple(root for root in rule.roots if op in root.ops)))
        self._by_operands: dict[tuple[type[Operator] | None, ...], _Candidates] = {}

    def rules_for(self, node: Node) -> Sequence[Rule]:
        """The rules that may start at this node, by its operator and those in front of it."""
        op, inputs = type(node.op), node.inputs
        if op not in self._by_op:
            return ()
        if len(inputs) > _INDEXED_OPERANDS:
            return [rule for rule, roots in self._by_op[op] if any(root.may_match(node) for root in roots)]
        key: list[type[Operator] | None] = [op]
        for tensor in inputs:
            producer = None if tensor is None else tensor.producer
            key.append(None if producer is None else type(producer.op))
        known = self._by_operands.get(tuple(key))
        if known is None:
            known = self._index(tuple(key))
        return [rule for rule, roots in known if not roots or any(root.may_match(node) for root in roots)]

    def _index(self, key: tuple[type[Operator] | None, ...]) -> _Candidates:
        """The rules that may start at nodes of an operator whose operands come from such operators."""
        op, producers = key[0], key[1:]
        assert op is not None
        found: list[tuple[Rule, tuple[OpPattern, ...]]] = []
        for rule, roots in self._by_op[op]:
            fitting = tuple(root for root in roots if root.may_follow(op, producers))
            if fitting:
                found.append((rule, fitting if all(root.looks_back for root in fitting) else ()))
        if len(self._by_operands) >= _MOST_INDEXED:
            self._by_operands.clear()
        return self._by_operands.setdefault(key, tuple(found))


class _Worklist:
    """Nodes to look at, each at most once at a time, last in first out."""

    def __init__(self, nodes: Iterable[Node]) -> None:
        self._items = dict.fromkeys(nodes)

    def push(self, node: Node) -> None:
        self._items[node] = None

    def pop(self) -> Node | None:
        return self._items.popitem()[0] if self._items else None


def apply_rules(
    graph: Graph, rules: RuleSet, *, fuel: Fuel | None = None, statistics: Statistics | None = None
) -> bool:
    """Apply rules to a graph until none applies or the fuel is spent. Returns whether anything changed.

    Raises:
        TypeMismatch: a rewrite returned a tensor of another type than the one it replaces.
        RuleError: a rule raised, or returned what is no tensor.
        RulesDoNotEnd: rules were applied far more often than the size of the graph explains.
    """
    work = _Worklist(reversed(graph))
    fuel = fuel or Fuel()
    bound = Bound(len(graph))
    changed = False
    while (node := work.pop()) is not None:
        if node.graph is not graph:
            continue
        for rule in rules.rules_for(node):
            found = guarded(rule, node, rule.match, node)
            if isinstance(found, NoMatch):
                continue
            applied = apply_match(graph, rule, found, fuel, work.push)
            if applied is None:
                return changed
            if applied:
                changed = True
                bound.count(rule, node)
                if statistics is not None:
                    statistics.count(rule.name)
                break
    return changed


def apply_match(
    graph: Graph, rule: Rule, found: Match, fuel: Fuel, touched: Callable[[Node], None] = lambda node: None
) -> bool | None:
    """Apply one rule at one match. True: done; False: the rewrite refused; None: no fuel left.

    Raises:
        UairError: see `apply_rules`.
    """
    if fuel.limit is not None and fuel.used >= fuel.limit:
        return None
    root = found.root
    made = guarded(rule, root, rule.replacement, found)
    if isinstance(made, NoMatch):
        return False
    check_replacements(rule, root, made)
    fuel.draw(rule.name, root)
    nodes = dict.fromkeys((*found.nodes, *made.stands_for))
    location = Location.fused([node.loc for node in reversed(nodes)], by=rule.name)
    new_nodes = insert_detached(graph, root, (*made.results, *made.others.values()), location)
    users = [user for tensor in (*root.outputs, *made.others) for user in tensor.users]
    if new_nodes and not new_nodes[-1].name:
        new_nodes[-1].name = _name_for(new_nodes[-1], found)
    if made.others:
        _replace_others(graph, root, made.others)
    graph.replace(root, made.results)
    for node in (*users, *reversed(new_nodes)):
        if not node.is_return and node.graph is not None:
            touched(node)
    replaced = (old.producer for old in made.others if old.producer is not None)
    dead = [n for n in dict.fromkeys((*nodes, *replaced)) if n is not root]
    dead += [n for n in reversed(new_nodes) if not any(t.use_count for t in n.outputs)]
    remove_dead(graph, dead, [t for t in root.inputs if t is not None], touched)
    return True


def _replace_others(graph: Graph, root: Node, others: Mapping[Tensor, Tensor]) -> None:
    """Replace results of nodes in front of the root; what depends on them moves behind the new nodes."""
    late = set(others.values())
    producers = {old.producer for old in others}
    for old, new in others.items():
        if old.name and not new.name:
            new.name = old.name
        old.replace_all_uses_with(new)
    node, between = root.previous, list[Node]()
    made = {new.producer for new in others.values()}
    while node is not None and producers:
        producers.discard(node)
        if node not in made:
            between.append(node)
        node = node.previous
    for node in reversed(between):
        captured = (t for region in node.regions for t in region.captures())
        if any(t in late for t in (*node.inputs, *captured)):
            late.update(node.outputs)
            graph.move_before(root, node)


def _name_for(node: Node, found: Match) -> str:
    """The name of the matched node that lives on in `node`: one of the same operator, else the root.

    A BatchNorm folded into `conv1` leaves a convolution called `conv1`.
    """
    same = (n.name for n in found.nodes if type(n.op) is type(node.op) and n.name)
    return next(same, found.root.name)


def insert_detached(graph: Graph, anchor: Node, results: Iterable[Tensor], location: Location) -> list[Node]:
    """Insert the nodes behind `results` that are in no graph yet in front of `anchor`, operands first.

    Nodes without a location of their own get `location`. Returns the inserted nodes in order.
    """
    inserted: list[Node] = []
    pending: dict[Node, None] = {}
    stack: list[tuple[Node, bool]] = [
        (t.producer, False) for t in results if t.producer is not None and t.producer.graph is None
    ][::-1]
    while stack:
        node, ready = stack.pop()
        if node.graph is not None or (node in pending and not ready):
            continue
        if ready:
            if not node.loc.sources and not node.loc.by:
                node.loc = location
            graph.insert_before(anchor, node)
            inserted.append(node)
            continue
        pending[node] = None
        stack.append((node, True))
        for tensor in (*node.inputs, *(t for region in node.regions for t in region.captures())):
            if tensor is not None and tensor.producer is not None and tensor.producer.graph is None:
                stack.append((tensor.producer, False))
    return inserted


def remove_dead(
    graph: Graph, nodes: Iterable[Node], orphans: Iterable[Tensor], touched: Callable[[Node], None] = lambda node: None
) -> None:
    """Remove what nobody uses of `nodes`, and what only they kept alive; `touched` sees producers that lost a user."""
    stack = [*nodes, *(t.producer for t in orphans if t.producer is not None)]
    while stack:
        node = stack.pop()
        if node.graph is not graph or node.is_return:
            continue
        if any(t.use_count for t in node.outputs):
            touched(node)
            for tensor in node.outputs:
                for user in tensor.users:
                    if not user.is_return:
                        touched(user)
            continue
        operands = [t for t in node.inputs if t is not None]
        graph.remove(node)
        stack.extend(t.producer for t in operands if t.producer is not None)
