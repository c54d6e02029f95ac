"""Patterns: what a rule looks for.

A pattern is written with the operators themselves. Pattern variables stand for operands, an operator instance matches
only nodes with exactly its attributes, `of(Conv2D, ...)` matches the named operators with any attributes:

    of(BatchNorm)(of(Conv2D)(x, w, optional(b)).named("conv"), scale, bias, mean, var)

Interior results (everything between the root and the variables) must have no other user, unless marked `.shared()`.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, TypeAlias

import attrs

from uair.ir.graph import Node, Tensor
from uair.ops.base import Operator

Term: TypeAlias = "Variable | OpPattern | AnyOf | Optional"


class _Applicable:
    """Operators applied to a pattern make a pattern."""

    def apply_operator(self, op: Operator, operands: Sequence[Any]) -> OpPattern:
        """A pattern for exactly `op`."""
        return OpPattern((type(op),), op, tuple(operands))


@attrs.frozen(eq=False)
class Variable(_Applicable):
    """Matches any tensor; the same variable twice matches the same tensor (or constants of equal value)."""

    name: str

    def named(self, name: str) -> Variable:
        """The variable under another name."""
        return Variable(name)


@attrs.frozen(eq=False)
class Optional(_Applicable):
    """Matches an operand or its absence; the rule receives None when it is omitted."""

    term: Variable

    def named(self, name: str) -> Optional:
        """The operand under another name."""
        return Optional(Variable(name))


@attrs.frozen(eq=False)
class OpPattern(_Applicable):
    """Matches a node; a pattern that is used twice matches the same node in both places.

    Attributes:
        ops: the operator classes that match.
        exact: when set, the node's operator must equal it, attributes included.
        operands: terms for the operands; None when the operands do not matter.
        name: the rule receives the matched node under this name.
        is_shared: whether the result may have users outside of the pattern.
        result: which result of the node is matched.
        looks_back: whether the operators that give the operands matter.
    """

    ops: tuple[type[Operator], ...]
    exact: Operator | None
    operands: tuple[Term, ...] | None
    name: str = ""
    is_shared: bool = False
    result: int = 0
    looks_back: bool = attrs.field(
        init=False,
        repr=False,
        default=attrs.Factory(lambda self: _any_producer_matters(self.operands), takes_self=True),
    )

    def may_match(self, node: Node) -> bool:
        """Whether the operators in front of `node`, which is one of `ops`, are those of the pattern.

        A match needs more, but nearly all nodes fail here, where it costs little.
        """
        terms, inputs = self.operands, node.inputs
        if terms is None:
            return True
        if len(inputs) > len(terms):
            return False
        if not self.looks_back:
            return True
        if all(map(_may_stand_for, terms, inputs)) and not any(map(_is_required, terms[len(inputs) :])):
            return True
        swaps = node.op.commutative and len(terms) == len(inputs) == 2
        return swaps and _may_stand_for(terms[0], inputs[1]) and _may_stand_for(terms[1], inputs[0])

    def may_follow(self, op: type[Operator], producers: Sequence[type[Operator] | None]) -> bool:
        """Whether it may match a node of operator `op`, which is one of `ops`, with operands from such operators.

        None stands for an operand that no node gives, or that is left out.
        """
        terms = self.operands
        if terms is None:
            return True
        if len(producers) > len(terms):
            return False
        if not self.looks_back:
            return True
        if all(map(_may_come_from, terms, producers)) and not any(map(_is_required, terms[len(producers) :])):
            return True
        swaps = op.commutative and len(terms) == len(producers) == 2
        return swaps and _may_come_from(terms[0], producers[1]) and _may_come_from(terms[1], producers[0])

    def named(self, name: str) -> OpPattern:
        """Let the rule receive the matched node as `name`."""
        return OpPattern(self.ops, self.exact, self.operands, name, self.is_shared, self.result)

    def shared(self) -> OpPattern:
        """Allow other users of the result; the node then stays for them."""
        return OpPattern(self.ops, self.exact, self.operands, self.name, True, self.result)

    def __str__(self) -> str:
        return "|".join(op.__name__ for op in self.ops)


@attrs.frozen(eq=False)
class AnyOf(_Applicable):
    """Matches when one of several terms does; the first that does is taken."""

    terms: tuple[Term, ...]

    def named(self, name: str) -> AnyOf:
        """Name whichever term matches."""
        return AnyOf(tuple(t.named(name) for t in self.terms))


def _any_producer_matters(operands: Sequence[Term] | None) -> bool:
    return any(isinstance(term, (OpPattern, AnyOf)) for term in operands or ())


def _may_stand_for(term: Term, tensor: Tensor | None) -> bool:
    """Whether the operator that gives `tensor` is one that `term` names."""
    if isinstance(term, OpPattern):
        producer = None if tensor is None else tensor.producer
        return producer is not None and type(producer.op) in term.ops and term.may_match(producer)
    return not isinstance(term, AnyOf) or any(_may_stand_for(each, tensor) for each in term.terms)


def _may_come_from(term: Term, op: type[Operator] | None) -> bool:
    """Whether the result of a node of operator `op` may stand for `term`, as far as that operator tells."""
    if isinstance(term, OpPattern):
        return op is not None and op in term.ops
    return not isinstance(term, AnyOf) or any(_may_come_from(each, op) for each in term.terms)


def _is_required(term: Term) -> bool:
    return not isinstance(term, Optional)


@attrs.frozen(eq=False)
class Of:
    """`of(...)` before it is applied to operands."""

    ops: tuple[type[Operator], ...]

    def __call__(self, *operands: Any) -> OpPattern:
        """A pattern with these operands; `...` alone: any operands."""
        if len(operands) == 1 and isinstance(operands[0], EllipsisType):
            return OpPattern(self.ops, None, None)
        return OpPattern(self.ops, None, tuple(operands))


def of(*ops: type[Operator]) -> Of:
    """Any of these operators, with any attributes."""
    return Of(ops)


def optional(variable: Any) -> Optional:
    """An operand that may be omitted."""
    return Optional(variable)


def any_of(*terms: Any) -> AnyOf:
    """The first of several terms that matches."""
    return AnyOf(terms)
