"""What is wrong with a rule that a user wrote, named with the rule and the node."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from uair.errors import TypeMismatch, UairError, raised_at
from uair.ir.graph import Node, Tensor
from uair.ops.base import unify_extents
from uair.rewrite.rule import Replacement, Rule

T = TypeVar("T")

ALWAYS_ALLOWED, ALLOWED_PER_NODE = 1000, 50
"""Applications that a run over one graph may make: a hundred times what the rules of UAIR need on real models."""

REMEMBERED = 64
"""Applications that are looked at to say which rules go on for ever."""


class RuleError(UairError):
    """A rule raised an exception, or its rewrite returned something that cannot stand in for the matched node."""

    code = "UAIR-E0411"
    title = "A rewrite rule is wrong"


class RulesDoNotEnd(UairError):
    """Rules were applied far more often than a graph of that size explains: what one of them makes matches again.

    Either a rule matches its own result, or several undo each other.
    """

    code = "UAIR-E0412"
    title = "Rewrite rules do not end"
    next_step = "let the check of a rule refuse what the rule itself, or the other one, has made"


def guarded(rule: Rule, node: Node, call: Callable[[Any], T], argument: Any) -> T:
    """What a rule's own code answers; what it raises is told with the rule and the node.

    Raises:
        RuleError: it raised what is no UairError.
        UairError: as raised, with the rule's name.
    """
    try:
        return call(argument)
    except UairError as error:
        error.rule_name = error.rule_name or rule.name
        error.place = f"{error.place}; {node.loc}" if error.place else str(node.loc)
        error.node = error.node or node
        raise
    except MemoryError:
        raise
    except Exception as error:
        raise blamed(
            RuleError(
                f"rule {rule.name} raises {type(error).__name__} at {node!r}: {error}",
                hint=f"it was raised at {raised_at(error)}",
            ),
            rule,
            node,
        ) from error


def blamed(error: UairError, rule: Rule, node: Node) -> UairError:
    """The error, about a rule at a node."""
    error.rule_name = rule.name
    error.place = error.place or str(node.loc)
    error.node = node
    return error


def check_replacements(rule: Rule, root: Node, made: Replacement) -> None:
    """A rewrite must return one tensor of the same type for every result of the root, and for all else it replaces.

    Raises:
        RuleError: it returned something else, another number of tensors, or what it is to replace.
        TypeMismatch: a tensor has another type; the node that the rule built is named.
    """
    if len(made.results) != len(root.outputs):
        raise blamed(
            RuleError(f"rule {rule.name} returned {len(made.results)} tensors for the {len(root.outputs)} of {root!r}"),
            rule,
            root,
        )
    pairs: list[tuple[Tensor, Any]] = [*zip(root.outputs, made.results, strict=True), *made.others.items()]
    for old, new in pairs:
        if not isinstance(new, Tensor):
            wrong = f"rule {rule.name} returned {new!r} for {old!r} of {root!r}; a tensor must stand in for it"
            raise blamed(RuleError(wrong), rule, root)
        if new.producer is root:
            wrong = f"rule {rule.name} returned {new!r}, a result of {root!r}, which it is to replace"
            hint = "answer uair.no(...) in `check` where nothing is to be done"
            raise blamed(RuleError(wrong, hint=hint), rule, root)
        if not _same_type(old, new):
            built = f", the result of {_built(new.producer)}," if new.producer is not None else ""
            wrong = f"rule {rule.name} replaces {old!r} at {root!r} by {new!r}{built} of another type"
            raise blamed(TypeMismatch(wrong), rule, root)


def _same_type(old: Tensor, new: Tensor) -> bool:
    a, b = old.type, new.type
    if a.dtype is not b.dtype:
        return False
    if a.shape is None or b.shape is None:
        return True
    return len(a.shape) == len(b.shape) and all(unify_extents(p, q) for p, q in zip(a.shape, b.shape, strict=True))


def _built(node: Node) -> str:
    """A node as a rule has built it: operator with attributes, and the types of its operands."""
    operands = ", ".join("nothing" if t is None else str(t.type) for t in node.inputs)
    return f"{node.op!r} of {operands or 'nothing'}"


@attrs.define(eq=False)
class Bound:
    """Counts the applications of one run and stops those that never end.

    Attributes:
        nodes: of the graph, at the beginning.
    """

    nodes: int
    _count: int = 0
    _latest: deque[str] = attrs.Factory(lambda: deque[str](maxlen=REMEMBERED))

    @property
    def most(self) -> int:
        """Applications that are allowed."""
        return ALWAYS_ALLOWED + ALLOWED_PER_NODE * self.nodes

    def count(self, rule: Rule, node: Node) -> None:
        """One more application, at `node`.

        Raises:
            RulesDoNotEnd: they are too many.
        """
        self._count += 1
        self._latest.append(rule.name)
        if self._count <= self.most:
            return
        often = Counter(self._latest)
        names = [name for name, times in often.most_common() if times > REMEMBERED // 16]
        who = f"rule {names[0]} goes" if len(names) == 1 else f"rules {', '.join(names)} go"
        raise blamed(
            RulesDoNotEnd(f"{who} on for ever: {self._count} applications to a graph of {self.nodes} nodes"),
            rule,
            node,
        )
