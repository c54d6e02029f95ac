"""Why a rule does not apply: the matcher's own answer, for every node that the rule could start from."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import attrs

from uair.errors import UairError, UnknownNameError
from uair.ir.graph import Graph, Node, Tensor
from uair.ir.location import Location
from uair.ir.module import Module
from uair.passes.catalogue import KnownRule
from uair.pipeline import Pass, PassContext, PassManager, Verify
from uair.rewrite import Match, NoMatch, Rule
from uair.rewrite.driver import Application, Fuel
from uair.rewrite.failures import check_replacements
from uair.rewrite.pattern import AnyOf, OpPattern
from uair.text.names import ValueNames
from uair.text.printer import GraphPrinter


@attrs.frozen(eq=False)
class Answer:
    """Whether a rule applies at a node.

    Attributes:
        node: the node that the rule starts from.
        name: its (first) result as `uair dump` prints it.
        applies: whether the rule would be applied, were it tried now.
        reason: why not; "" when it applies.
        culprit: the node or tensor that the reason is about.
        matched: nodes that matched, of `wanted` in the pattern.
        wanted: nodes of the pattern.
    """

    node: Node
    name: str
    applies: bool
    reason: str = ""
    culprit: Node | Tensor | None = None
    matched: int = 0
    wanted: int = 1

    @property
    def origin_of_culprit(self) -> Location | None:
        """Where the culprit comes from in the user's model; None where that says nothing new."""
        node = self.culprit.producer if isinstance(self.culprit, Tensor) else self.culprit
        if node is None or node is self.node or not node.loc.sources:
            return None
        told = node is self.culprit and [s.name for s in node.loc.sources] == [
            node.name
        ]  # by the node's name in the reason
        return None if told else node.loc

    @property
    def culprit_location(self) -> str:
        """The same in words; "" where it says nothing new."""
        return str(self.origin_of_culprit or "")

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        return {
            "node": self.name,
            "operator": self.node.op_type,
            "sources": sources(self.node.loc),
            "applies": self.applies,
            "reason": self.reason,
            "culprit": None if self.culprit is None else repr(self.culprit),
            "culprit_location": self.culprit_location,
            "matched": self.matched,
            "wanted": self.wanted,
        }


@attrs.frozen(eq=False)
class WhyNot:
    """What a rule says about a module.

    Attributes:
        known: the rule, and the passes that apply it.
        answers: one for each node that was asked about.
        asked: the node that was asked about, as the user wrote it; "" for all.
        applied: where the rule was applied by the passes that ran before.
        notes: what became of a node that is no longer there.
    """

    known: KnownRule
    answers: Sequence[Answer]
    asked: str = ""
    applied: Sequence[Application] = ()
    notes: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [f"{a.name}: {a.reason or 'the rule applies'}" for a in self.answers]
        return "\n".join([*lines, *self.notes]) or f"no node is a {_either(self.known.rule)}"

    def to_json(self) -> dict[str, Any]:
        """As plain data."""
        rule = self.known.rule
        return {
            "rule": rule.name,
            "description": rule.description,
            "passes": list(self.known.passes),
            "starts_from": [op.__name__ for op in rule.root_ops],
            "candidates": [answer.to_json() for answer in self.answers],
            "applied": [attrs.asdict(made) for made in self.applied],
            "notes": list(self.notes),
        }


def sources(location: Location) -> list[dict[str, str]]:
    """The source nodes as plain data."""
    return [{"name": s.name, "kind": s.kind, "file": s.file} for s in location.sources]


def ask(known: KnownRule, module: Module, node: str = "", passes: Sequence[Pass] = ()) -> WhyNot:
    """Why a rule does not apply.

    Args:
        known: the rule.
        module: is changed by the passes only.
        node: the one to ask about, as `uair dump` prints its result (`%conv1`), or by its name or the name of its
            source; "" for every node of an operator that the rule starts from.
        passes: run first.

    Raises:
        UnknownNameError: there is and was no such node; near names are suggested.
        UairError: from a pass.
    """
    fuel = Fuel(keep_log=True)
    before = _Names(module) if node and passes else None
    if passes:
        PassManager(passes, [Verify()], PassContext(fuel=fuel)).run(module)
    applied = [made for made in fuel.log if made.rule == known.rule.name]
    names = _Names(module)
    if not node:
        roots = known.rule.root_ops
        found = [each for graph in module.all_graphs() for each in graph if type(each.op) in roots]
        return WhyNot(known, [answer(known.rule, each, names) for each in found], "", applied)
    asked, notes = _asked(node, names, before, known.rule, applied)
    found = list(dict.fromkeys(start for each in asked for start in _starts(known.rule, each)))
    return WhyNot(known, [answer(known.rule, each, names) for each in found], node, applied, notes)


def answer(rule: Rule, node: Node, names: _Names | None = None) -> Answer:
    """Whether a rule applies at a node: its pattern, its check, and what its rewrite says, which changes nothing."""
    wanted = max(_pattern_size(root) for root in rule.roots)
    name = names.of(node) if names is not None else repr(node)
    try:
        found = rule.match(node)
        if isinstance(found, Match):
            refusal = _refusal(rule, found)
            return Answer(node, name, refusal is None, *(refusal or ("", None)), len(found.nodes), wanted)
    except Exception as error:  # noqa: BLE001  that a rule raises is an answer, too
        text = error.message if isinstance(error, UairError) else f"{type(error).__name__}: {error}"
        return Answer(node, name, False, f"the rule raises: {text}", node, 0, wanted)
    return Answer(node, name, False, found.reason, found.culprit, found.matched, wanted)


def _refusal(rule: Rule, found: Match) -> tuple[str, Node | Tensor | None] | None:
    """Reason and culprit of a rewrite that does not take what matched."""
    made = rule.replacement(found)
    if isinstance(made, NoMatch):
        return made.reason, made.culprit
    check_replacements(rule, found.root, made)
    return None


def _starts(rule: Rule, node: Node) -> list[Node]:
    """Where the rule would start to match `node`: itself, or what uses it within the depth of the pattern.

    A node that is neither is asked about anyway, unless the rule made it.
    """
    roots = rule.root_ops
    if type(node.op) in roots:
        return [node]
    found: dict[Node, None] = {}
    border = [node]
    for _ in range(max(_depth(root) for root in rule.roots) - 1):
        border = [user for each in border for tensor in each.outputs for user in tensor.users if not user.is_return]
        found.update((user, None) for user in border if type(user.op) in roots)
    return list(found) or [node] * (rule.name not in node.loc.by)


def _children(pattern: Any) -> list[OpPattern]:
    """The operator patterns among the operands of a pattern."""
    if isinstance(pattern, AnyOf):
        return [each for term in pattern.terms for each in ([term] if isinstance(term, OpPattern) else _children(term))]
    if not isinstance(pattern, OpPattern) or pattern.operands is None:
        return []
    return [each for term in pattern.operands for each in ([term] if isinstance(term, OpPattern) else _children(term))]


def _nodes(pattern: OpPattern) -> Iterator[OpPattern]:
    yield pattern
    for child in _children(pattern):
        yield from _nodes(child)


def _pattern_size(pattern: OpPattern) -> int:
    return len({id(each) for each in _nodes(pattern)})


def _depth(pattern: OpPattern) -> int:
    return 1 + max((_depth(child) for child in _children(pattern)), default=0)


def _either(rule: Rule) -> str:
    return " or ".join(op.__name__ for op in rule.root_ops)


class _Names:
    """The names by which people know the nodes of a module."""

    def __init__(self, module: Module) -> None:
        self._printed: dict[Node, str] = {}
        for graph in module.graphs.values():
            printer = GraphPrinter(ValueNames("@"))
            printer.graph(graph, "", "")
            for node in _all(graph):
                self._printed[node] = printer.name_of(node.outputs[0]) if node.outputs else repr(node)
        self.sources = {source.name for node in self._printed for source in node.loc.sources}

    def of(self, node: Node) -> str:
        """As `uair dump` prints its first result."""
        return self._printed.get(node, repr(node))

    def find(self, text: str) -> list[Node]:
        """The nodes of a name: printed, of the node, of its source, of a result; the first of these that there is."""
        by_kind: tuple[Callable[[Node], Collection[str]], ...] = (
            lambda node: (self._printed[node],),
            lambda node: (node.name,),
            lambda node: [source.name for source in node.loc.sources],
            lambda node: [t.name for t in node.outputs],
        )
        found = ([node for node in self._printed if text in names(node)] for names in by_kind)
        return next(filter(None, found), [])

    def heirs(self, node: Node) -> list[Node]:
        """The nodes that come from the source of a node of an earlier module."""
        return [each for each in self._printed if set(each.loc.sources) & set(node.loc.sources)]

    def everything(self) -> list[str]:
        """All names that could have been meant."""
        return [*self._printed.values(), *(node.name for node in self._printed), *self.sources]


def _all(graph: Graph) -> Iterator[Node]:
    for node in graph:
        yield node
        for region in node.regions:
            yield from _all(region)


def _asked(
    text: str, names: _Names, before: _Names | None, rule: Rule, applied: Sequence[Application]
) -> tuple[list[Node], list[str]]:
    """The nodes that a text names, and notes about those that passes made or removed.

    Raises:
        UnknownNameError: see `ask`.
    """
    found = names.find(text)
    if found:
        return found, [_made(node, names, rule, applied) for node in found if node.loc.by]
    gone = before.find(text) if before is not None else []
    if not gone:
        near = difflib.get_close_matches(text, dict.fromkeys(names.everything()), n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}?" if near else "`uair dump` prints the names"
        raise UnknownNameError(f"the model has no node {text!r}", hint=hint)
    heirs = {node: names.heirs(node) for node in gone}
    notes = [f"{node!r} is gone" + ("" if heirs[node] else ", and nothing that is left came from it") for node in gone]
    every = list(dict.fromkeys(heir for found in heirs.values() for heir in found))
    return every, notes + [_made(node, names, rule, applied) for node in every]


def _made(node: Node, names: _Names, rule: Rule, applied: Sequence[Application]) -> str:
    """What made a node, and whether it was the rule in question."""
    by = ", ".join(node.loc.by) or "no rule"
    origin = ", ".join(map(str, node.loc.sources)) or "no node of the model"
    text = f"{names.of(node)} stands for {origin} (made by {by})"
    if rule.name not in node.loc.by:
        return text
    passes = [m.pass_spec for m in applied if any(str(source) in m.location for source in node.loc.sources)]
    return f"{text}: the rule was applied already" + (f", in pass {passes[0]}" if passes else "")
