"""The grammar of constraints: part of Python's expressions (docs/constraint-language.md), which Python's parser reads.

What it gives is looked through for what the language does not have, so that no later step meets it.
"""

from __future__ import annotations

import ast

MAX_DEPTH = 40
"""Nesting of one constraint; deeper ones are refused."""

_ALLOWED = (
    ast.BoolOp, ast.And, ast.Or, ast.UnaryOp, ast.Not, ast.USub, ast.Compare, ast.Lt, ast.LtE, ast.Gt, ast.GtE, ast.Eq,
    ast.NotEq, ast.In, ast.NotIn, ast.BinOp, ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Attribute,
    ast.Subscript, ast.Call, ast.Name, ast.Constant, ast.List, ast.Load,
)  # fmt: skip


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


def parse(text: str) -> ast.expr:
    """The tree of a constraint; the positions of its nodes are those of the text, see `span`.

    Raises:
        SyntaxFault: it does not follow the grammar.
    """
    line = text.translate(_BLANKS)
    start = len(line) - len(line.lstrip())
    try:
        tree = ast.parse(line[start:], mode="eval").body
    except SyntaxError as error:  # Python counts from 1; it gives no place where the text ends too early
        raise SyntaxFault(min(start + error.offset - 1, len(text)) if error.offset else len(text)) from None
    except ValueError:  # a character that no source has
        raise SyntaxFault(start) from None
    except (MemoryError, RecursionError):  # how Python's parser says that nesting is too deep for it
        raise SyntaxFault(start, too_deep=True) from None
    for node in ast.walk(tree) if start else ():
        if isinstance(node, ast.expr) and node.end_col_offset is not None:
            node.col_offset += start
            node.end_col_offset += start
    _look_through(tree, text, tree, 0)
    end = span(text, tree)[1]
    behind = line[end:].lstrip(" )")
    if behind:  # a comment of Python's
        raise SyntaxFault(len(text) - len(behind))
    return tree


_BLANKS = dict.fromkeys(map(ord, "\t\r\n"), " ")
"""Lines are joined: a constraint may have several, a Python expression without parentheses has one."""


def span(text: str, node: ast.expr) -> tuple[int, int]:
    """Where a node begins and ends in the text; Python counts bytes."""
    assert node.end_col_offset is not None
    raw = text.encode()
    begin = len(raw[: node.col_offset].decode())
    return begin, begin + len(raw[node.col_offset : node.end_col_offset].decode())


def _look_through(node: ast.AST, text: str, around: ast.expr, depth: int) -> None:
    """Refuse what the language does not have; `around` is the nearest expression, which has a position."""
    if isinstance(node, ast.expr):
        around = node
    if depth > MAX_DEPTH:
        raise SyntaxFault(span(text, around)[0], too_deep=True)
    known = isinstance(node, _ALLOWED)
    if isinstance(node, ast.Constant):  # True, False and None are Python's names; numbers are not complex
        known = type(node.value) in (int, float, str)
    elif isinstance(node, ast.Call):
        known = isinstance(node.func, ast.Name) and bool(node.args) and not node.keywords
    if not known:
        raise SyntaxFault(span(text, around)[0])
    for child in ast.iter_child_nodes(node):
        _look_through(child, text, around, depth + 1)
