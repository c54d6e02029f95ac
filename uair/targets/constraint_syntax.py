"""The grammar of constraints: one Boolean expression over a node (docs/constraint-language.md).

    disjunction: conjunction ("or" conjunction)*
    conjunction: negation ("and" negation)*
    negation:    "not" negation | comparison
    comparison:  sum (("<" | "<=" | ">" | ">=" | "==" | "!=" | "in" | "not" "in") sum)*
    sum:         product (("+" | "-") product)*
    product:     signed (("*" | "/" | "//" | "%") signed)*
    signed:      "-" signed | postfix
    postfix:     atom ("." NAME | "[" sum "]")*
    atom:        INT | FLOAT | STRING | "true" | "false" | "none" | NAME | NAME "(" disjunctions ")"
                 | "[" [disjunctions] "]" | "(" disjunction ")"

One method stands for one line. Descriptions of devices hold hundreds of constraints, and every compilation reads one:
tables made from a grammar take 0.1 s to make and 3 MB to hold. A word is a keyword only where the grammar has it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import attrs

MAX_DEPTH = 40
"""Nesting of one constraint; deeper ones are refused."""

_COMPARATORS = ("<", "<=", ">", ">=", "==", "!=", "in")
_CONSTANTS = ("true", "false", "none")
_TOKEN = re.compile(
    r"""[ \t\r\n]+
    | (?P<real>[0-9]+\.[0-9]+(?:[eE][+-]?[0-9]+)?|[0-9]+[eE][+-]?[0-9]+)
    | (?P<integer>[0-9]+)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"[^"\\\n]*"|'[^'\\\n]*')
    | (?P<symbol><=|>=|==|!=|//|[-+*/%<>.,()\[\]])""",
    re.VERBOSE,
)


class SyntaxFault(Exception):
    """A constraint does not follow the grammar.

    Attributes:
        position: of the character that does not; the length of the text when it ends too early.
        too_deep: it does, but is nested too deep.
    """

    def __init__(self, position: int, *, too_deep: bool = False) -> None:
        super().__init__(position)
        self.position = position
        self.too_deep = too_deep


@attrs.frozen(eq=False)
class Token:
    """A word, number, text or symbol at [start, end); `kind` is one of the groups of `_TOKEN`, or "" for what is none.

    The last token is the end of the text, which is none either.
    """

    kind: str
    text: str
    start: int
    end: int

    def __str__(self) -> str:
        return self.text


@attrs.frozen(eq=False)
class Tree:
    """A part of a constraint: what it is, and all that it is made of in order."""

    data: str
    children: tuple[Part, ...]


Part: TypeAlias = "Tree | Token"


def parse(text: str) -> Tree:
    """The tree of a constraint.

    Raises:
        SyntaxFault: it does not follow the grammar.
    """
    return _Parser(text).whole()


def _tokens(text: str) -> Iterator[Token]:
    """The tokens, as far as there are any, and the end."""
    at = 0
    while at < len(text):
        found = _TOKEN.match(text, at)
        if found is None:
            break
        if found.lastgroup is not None:
            yield Token(found.lastgroup, found.group(), at, found.end())
        at = found.end()
    yield Token("", "", at, at)


class _Parser:
    """One text; `next` is the token that comes."""

    def __init__(self, text: str) -> None:
        self._tokens, self._length = _tokens(text), len(text)
        self._depth = 0
        self.next = next(self._tokens)

    def take(self, *wanted: str) -> Token:
        """The next token, which must be one of `wanted` when some are given."""
        token = self.next
        if not token.kind or (wanted and token.text not in wanted):
            raise SyntaxFault(token.start)
        self.next = next(self._tokens)
        return token

    def nested(self, part: Callable[[], Tree]) -> Tree:
        """A part one level further inside."""
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise SyntaxFault(self.next.start, too_deep=True)
        made = part()
        self._depth -= 1
        return made

    def whole(self) -> Tree:
        made = self.disjunction()
        if self.next.kind or self.next.start < self._length:
            raise SyntaxFault(self.next.start)
        return made

    def disjunction(self) -> Tree:
        return self._chain(self.conjunction, "or", "disjunction")

    def conjunction(self) -> Tree:
        return self._chain(self.negation, "and", "conjunction")

    def _chain(self, part: Callable[[], Tree], word: str, data: str) -> Tree:
        parts: list[Part] = [part()]
        while self.next.text == word:
            parts += self.take(), part()
        return self._made(data, parts)

    def _made(self, data: str, parts: list[Part]) -> Tree:
        """A tree of several parts; the only part itself."""
        only = parts[0]
        return only if len(parts) == 1 and isinstance(only, Tree) else Tree(data, tuple(parts))

    def negation(self) -> Tree:
        if self.next.text == "not":
            return Tree("negation", (self.take(), self.nested(self.negation)))
        return self.comparison()

    def comparison(self) -> Tree:
        parts: list[Part] = [self.sum()]
        while self.next.text in (*_COMPARATORS, "not"):
            symbol = self.take()
            words = (symbol, self.take("in")) if symbol.text == "not" else (symbol,)
            parts += Tree("comparator", words), self.sum()
        return self._made("comparison", parts)

    def sum(self) -> Tree:
        return self._left(self.product, ("+", "-"))

    def product(self) -> Tree:
        return self._left(self.signed, ("*", "/", "//", "%"))

    def _left(self, part: Callable[[], Tree], symbols: tuple[str, ...]) -> Tree:
        made = part()
        while self.next.text in symbols:
            made = Tree("arithmetic", (made, self.take(), part()))
        return made

    def signed(self) -> Tree:
        if self.next.text == "-":
            return Tree("negative", (self.take(), self.nested(self.signed)))
        return self.postfix()

    def postfix(self) -> Tree:
        made = self.atom()
        while self.next.text in (".", "["):
            symbol = self.take()
            if symbol.text == ".":
                made = Tree("member", (made, symbol, self.name()))
            else:
                made = Tree("element", (made, symbol, self.nested(self.sum), self.take("]")))
        return made

    def name(self) -> Token:
        if self.next.kind != "name":
            raise SyntaxFault(self.next.start)
        return self.take()

    def atom(self) -> Tree:
        if self.next.kind == "symbol":
            return self.enclosed()
        token = self.take()
        if token.text in _CONSTANTS:
            return Tree(token.text, (token,))
        if token.kind == "name" and self.next.text == "(":
            return Tree("call", (token, self.take(), *self.listed(), self.take(")")))
        return Tree(token.kind, (token,))

    def enclosed(self) -> Tree:
        opening = self.take("(", "[")
        if opening.text == "(":
            return Tree("group", (opening, self.nested(self.disjunction), self.take(")")))
        inner = () if self.next.text == "]" else self.listed()
        return Tree("list", (opening, *inner, self.take("]")))

    def listed(self) -> tuple[Part, ...]:
        parts: list[Part] = [self.nested(self.disjunction)]
        while self.next.text == ",":
            parts += self.take(), self.nested(self.disjunction)
        return tuple(parts)
