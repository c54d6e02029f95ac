"""Reading a type from its text: "f32[1,3,h,2*w]"; the inverse of `str(TensorType)` for types without a layout."""

from __future__ import annotations

import ast
from collections.abc import Callable

from uair.ir import dims
from uair.ir.dims import Dim, symbol
from uair.ir.dtype import DType
from uair.ir.types import TensorType, inferred

_LONGEST = 160  # characters of an extent: it may come from a stranger's file, and SymPy multiplies products of sums out

_FUNCTIONS: dict[str, Callable[[Dim, Dim], Dim]] = {"Max": dims.maximum, "Min": dims.minimum}


def parse_type(text: str) -> TensorType:
    """The type that `text` spells: element type, then extents in brackets; `?` an extent that only the data decides.

    "f32[*]" has unknown rank.

    Raises:
        ValueError: it spells none.
    """
    name, bracket, rest = text.strip().partition("[")
    if not bracket or not rest.endswith("]"):
        raise ValueError(f"{text!r} is not a type: expected something like f32[1,3,224,224]")
    dtype = DType(name)
    inside = rest[:-1].strip()
    if inside == "*":
        return TensorType(dtype, None)
    return inferred(dtype, tuple(None if e.strip() == "?" else parse_dim(e) for e in _split(inside)))


def parse_dim(text: str) -> Dim:
    """The extent that `text` spells: a number, a symbol, or a formula of +, -, *, /, **, floor, ceiling, Max and Min.

    Raises:
        ValueError: it spells none.
    """
    stripped = text.strip()
    if stripped.isdecimal():
        return int(stripped)
    if dims.SYMBOL_NAME.fullmatch(stripped):
        return symbol(stripped)
    if len(stripped) > _LONGEST:
        raise ValueError("an extent's formula is too long")
    try:
        tree = ast.parse(stripped, mode="eval")
        return dims.normal(_formula(tree.body))
    except (SyntaxError, RecursionError, MemoryError, TypeError, ZeroDivisionError):
        raise ValueError(f"{text!r} is not an extent") from None


def _split(text: str) -> list[str]:
    """Split at commas outside of parentheses."""
    parts: list[str] = []
    depth = start = 0
    for i, c in enumerate(text):
        depth += (c == "(") - (c == ")")
        if c == "," and depth == 0:
            parts.append(text[start:i])
            start = i + 1
    return [*parts, text[start:]] if text else []


def _formula(node: ast.expr) -> Dim:
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return node.value
    if isinstance(node, (ast.Name, ast.Attribute)):
        return symbol(ast.unparse(node))
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_formula(node.operand)
    if isinstance(node, ast.BinOp):
        return _binary(node)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return _call(node.func.id, node.args)
    raise ValueError(f"{ast.unparse(node)!r} cannot stand in an extent")


def _binary(node: ast.BinOp) -> Dim:
    a = _formula(node.left)
    if isinstance(node.op, ast.Pow):
        power = node.right
        of_symbol = isinstance(node.left, (ast.Name, ast.Attribute))
        if of_symbol and isinstance(power, ast.Constant) and type(power.value) is int and 0 <= power.value <= 16:
            return dims.product([a] * power.value)
        raise ValueError("a power in an extent must be of a symbol, its exponent a number from 0 to 16")
    b = _formula(node.right)
    if isinstance(node.op, ast.Add):
        return a + b
    if isinstance(node.op, ast.Sub):
        return a - b
    if isinstance(node.op, ast.Mult):
        return a * b
    raise ValueError("a quotient in an extent must stand in floor or ceiling")


def _call(name: str, arguments: list[ast.expr]) -> Dim:
    if name in _FUNCTIONS and arguments:
        result = _formula(arguments[0])
        for argument in arguments[1:]:
            result = _FUNCTIONS[name](result, _formula(argument))
        return result
    if name in ("floor", "ceiling") and len(arguments) == 1:
        divide = dims.floor_div if name == "floor" else dims.ceil_div
        return divide(*_fraction(arguments[0]))
    raise ValueError(f"{name} of {len(arguments)} arguments cannot stand in an extent")


def _fraction(node: ast.expr) -> tuple[Dim, Dim]:
    """Numerator and denominator of what stands in floor or ceiling: sums of quotients and whole terms."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, (ast.Add, ast.Sub, ast.Mult, ast.Div)):
        (a, b), (c, d) = _fraction(node.left), _fraction(node.right)
        if isinstance(node.op, ast.Mult):
            return a * c, b * d
        if isinstance(node.op, ast.Div):
            return a * d, b * c
        return (a * d + c * b if isinstance(node.op, ast.Add) else a * d - c * b), b * d
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        a, b = _fraction(node.operand)
        return -a, b
    return _formula(node), 1
