"""Symbolic sizes as a `.pt2` file writes them: `Mul(Integer(2), Symbol('s77', positive=True, integer=True))`.

The text is SymPy's `srepr`. SymPy's own reader evaluates it as Python; here it is only parsed.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Mapping

from uair.frontends.torch.symbols import FUNCTIONS, Sizes
from uair.ir.dims import Dim, symbol

MAX_TEXT = 20_000
"""Characters of one size; those of real models have a few hundred."""

Value = Dim | float | bool | None

_OPERATORS: Mapping[type[ast.operator], str] = {
    ast.Add: "Add",
    ast.Mult: "Mul",
    ast.FloorDiv: "FloorDiv",
    ast.Mod: "Mod",
    ast.Pow: "Pow",
}
_NUMBERS: Mapping[str, Callable[[str | int | float], Value]] = {
    "Integer": int,
    "Float": float,
    "int": int,
    "float": float,
}
_CONSTANTS: Mapping[str, Value] = {"true": True, "false": False, "BooleanTrue": True, "BooleanFalse": False}


def parsed(text: str, sizes: Sizes) -> Value:
    """The number, or the size as the IR writes it; None when it has a function that the IR's sizes lack.

    Args:
        text: the expression.
        sizes: names the symbols.

    Raises:
        ValueError: it is no expression.
    """
    if len(text) > MAX_TEXT:
        raise ValueError(f"a size of {len(text)} characters")
    try:
        tree = ast.parse(text, mode="eval")
    except (SyntaxError, MemoryError, RecursionError):
        raise ValueError(f"{text[:80]!r} is no size") from None
    return _value(tree.body, sizes)


def symbol_name(text: str) -> str | None:
    """PyTorch's name of the symbol that an expression is nothing but; None for any other expression.

    Raises:
        ValueError: it is no expression.
    """
    parsed(text, Sizes())
    body = ast.parse(text, mode="eval").body
    if isinstance(body, ast.Name):
        return body.id
    if isinstance(body, ast.Call) and isinstance(body.func, ast.Name) and body.func.id == "Symbol":
        name = body.args[0]
        return str(name.value) if isinstance(name, ast.Constant) else None
    return None


def _value(node: ast.expr, sizes: Sizes) -> Value:
    if isinstance(node, ast.Constant):
        if isinstance(node.value, (bool, int, float)):
            return node.value
        raise ValueError(f"{node.value!r} is no size")
    if isinstance(node, ast.Name):
        return _CONSTANTS[node.id] if node.id in _CONSTANTS else symbol(sizes.name(node.id))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return _applied("Mul", [-1, _value(node.operand, sizes)])
    if isinstance(node, ast.BinOp):
        return _binary(node, sizes)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _called(node.func.id, node.args, sizes)
    raise ValueError(f"{ast.unparse(node)[:80]!r} is no size")


def _binary(node: ast.BinOp, sizes: Sizes) -> Value:
    left, right = _value(node.left, sizes), _value(node.right, sizes)
    if isinstance(node.op, ast.Sub):
        return _applied("Add", [left, _applied("Mul", [-1, right])])
    name = _OPERATORS.get(type(node.op))
    return None if name is None else _applied(name, [left, right])


def _called(name: str, arguments: list[ast.expr], sizes: Sizes) -> Value:
    first = arguments[0] if arguments else None
    text = first.value if isinstance(first, ast.Constant) else None
    if name == "Symbol":
        if not isinstance(text, str):
            raise ValueError("a symbol has no name")
        return symbol(sizes.name(text))
    if name in _NUMBERS and first is not None:  # Integer(-2), Float('0.5', precision=53)
        value = text if isinstance(text, str) else _value(first, sizes)
        if not isinstance(value, (str, int, float)):
            raise ValueError(f"{ast.unparse(first)[:80]!r} is no number")
        return _NUMBERS[name](value)
    return _applied(name, [_value(a, sizes) for a in arguments])


def _applied(name: str, parts: list[Value]) -> Value:
    make = FUNCTIONS.get(name)
    numbers = [p for p in parts if p is not None and not isinstance(p, (bool, float))]
    if make is None or len(numbers) < len(parts):
        return None
    return make(*numbers)
