"""Rules: a pattern, a check that answers with a reason, a rewrite."""

from __future__ import annotations

import abc
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from types import MethodType
from typing import Any, ClassVar

import attrs

from uair.errors import InternalError
from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator
from uair.rewrite.matcher import Match, NoMatch, match
from uair.rewrite.pattern import OpPattern, Variable


@attrs.frozen(eq=False)
class Replacement:
    """What a rewrite puts in the place of its match.

    Attributes:
        results: for the results of the root.
        others: for results of nodes in front of the root, in this graph: of a match with several ends. None of what
            `results` and `others` are made of may depend on a tensor that is replaced.
        stands_for: nodes that the match has besides those of the pattern.
    """

    results: tuple[Tensor, ...]
    others: Mapping[Tensor, Tensor] = attrs.field(factory=dict[Tensor, Tensor])
    stands_for: Sequence[Node] = ()


class Rule(abc.ABC):
    """A rewrite of the graph. Subclass it with three methods; operands arrive by parameter name.

        class DropDoubleTranspose(Rule):
            '''Two transposes are one.'''

            def pattern(self, x):
                return of(Transpose)(of(Transpose)(x).named("inner")).named("outer")

            def check(self, inner, outer): ...            # optional: True, or no("reason", culprit)

            def rewrite(self, x, inner, outer):
                return Transpose(perm=tuple(inner.op.perm[i] for i in outer.op.perm))(x)

    `rewrite` returns the tensor (or tuple of tensors) that stands in for the root's results; the nodes it made are put
    in front of the root, get the merged locations of everything matched, and matched nodes that nobody uses any more
    go. It may also answer `no(...)`, but should leave decisions to `check`. Where the match has ends besides the root,
    it returns a `Replacement`. Rules hold no state.

    Class attributes:
        name: derived from the class name: FoldBatchNorm is `fold-batch-norm`.
    """

    name: ClassVar[str]
    pattern: Callable[..., Any]
    rewrite: Callable[..., Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "name" not in cls.__dict__:
            cls.name = kebab(cls.__name__)

    def __init__(self) -> None:
        names = parameters(self.pattern)
        root = self.pattern(*(Variable(name) for name in names))
        roots = root if isinstance(root, (list, tuple)) else (root,)
        for candidate in roots:
            if not isinstance(candidate, OpPattern):
                raise InternalError(f"rule {self.name}: the pattern's root must be an operator, got {candidate!r}")
        self.roots: tuple[OpPattern, ...] = tuple(roots)
        self._check = getattr(self, "check", None)
        self._check_names = parameters(self._check) if self._check is not None else ()
        self._rewrite_names = parameters(self.rewrite)

    @property
    def root_ops(self) -> tuple[type[Operator], ...]:
        """The operators that a match can start from."""
        return tuple(dict.fromkeys(op for root in self.roots for op in root.ops))

    def match(self, node: Node) -> Match | NoMatch:
        """Pattern and check at `node`."""
        best: NoMatch | None = None
        for root in self.roots:
            result = match(root, node)
            if isinstance(result, Match):
                refusal = self.ask(self._check, self._check_names, result) if self._check is not None else None
                if refusal is None:
                    return result
                result = refusal
            if best is None or result.matched >= best.matched:
                best = result
        assert best is not None
        return best

    def ask(self, check: Callable[..., Any], names: Sequence[str], found: Match) -> NoMatch | None:
        """The check's answer: None when it agrees."""
        answer = check(**arguments(names, found.bindings))
        if isinstance(answer, NoMatch):
            return NoMatch(answer.reason, answer.culprit, len(found.nodes))
        return None if answer else NoMatch("the rule's check does not hold", found.root, len(found.nodes))

    def replacement(self, found: Match) -> Replacement | NoMatch:
        """Run `rewrite`."""
        made = self.rewrite(**arguments(self._rewrite_names, found.bindings))
        if isinstance(made, (NoMatch, Replacement)):
            return made
        return Replacement(tuple(made) if isinstance(made, (list, tuple)) else (made,))

    @property
    def description(self) -> str:
        """First sentence of the documentation."""
        return (inspect.getdoc(type(self)) or "").split("\n", 1)[0]


def parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    """Parameter names of a bound method, without **rest."""
    if isinstance(function, MethodType) and not hasattr(function, "__wrapped__"):
        code = function.__code__  # there are hundreds of rules, and `signature` takes 0.1 ms
        return code.co_varnames[1 : code.co_argcount + code.co_kwonlyargcount]
    return tuple(
        p.name for p in inspect.signature(function).parameters.values() if p.kind is not inspect.Parameter.VAR_KEYWORD
    )


def arguments(names: Sequence[str], bindings: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments by name; a variable of an alternative that did not match is None."""
    return {name: bindings.get(name) for name in names}


def kebab(name: str) -> str:
    """FoldBatchNorm -> fold-batch-norm; QuantizeInt8 -> quantize-int8; BatchNorm2D -> batch-norm2d."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z][a-z])|(?<=[a-z])(?=[A-Z])", "-", name).lower()
