"""Expressions over numbers and sizes: how they are held while a text is read, and their values.

The reader never evaluates text as Python. An expression is a small tree whose depth is limited while it is built, so
that whoever walks it may recurse; only the arithmetic named here can be done with it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, TypeAlias

import attrs

from uair.ir.dims import SYMBOL_NAME, Dim, symbol
from uair.text.errors import TextLimitError, ValueFault

MAX_DEPTH = 96
"""Nesting of an expression: SymPy recurses, and its time grows with the square of the depth."""
MAX_CALLS = 64
"""Functions in one expression."""
MAX_CHOICES = 16
"""Arguments of one Max or Min, which SymPy compares in pairs."""
MAX_EXPONENT = 16
MAX_BITS = 256
"""Numbers inside an expression (a coefficient, a divisor)."""
MAX_DIGITS = 40
MAX_NAME = 200


@attrs.define(eq=False)
class Expression:
    """A node of an expression as written.

    Attributes:
        kind: "number", "name", "negate", "sum", "product", "power", "floor_divide", "call", "bracket" or
            "string".
        offset: position in the text.
        text: of a number, name, string or function name.
        parts: operands; of a sum and a product each with its sign or operator.
        depth: nesting.
        calls: functions in it.
    """

    kind: str
    offset: int
    text: str = ""
    parts: list[tuple[str, Expression]] = attrs.Factory(list["tuple[str, Expression]"])
    depth: int = 1
    calls: int = 0

    def add(self, operator: str, part: Expression) -> Expression:
        """Append an operand."""
        self.parts.append((operator, part))
        self.depth = max(self.depth, part.depth + 1)
        self.calls += part.calls
        if self.depth > MAX_DEPTH or self.calls > MAX_CALLS:
            raise ValueFault(
                "the expression is too large",
                self.offset,
                TextLimitError,
                f"at most {MAX_DEPTH} levels and {MAX_CALLS} functions; name the size by a symbol instead",
            )
        return self

    @property
    def literal(self) -> str:
        """The spelling of a number or name with its sign; empty for anything else."""
        if self.kind in ("number", "name"):
            return self.text
        if self.kind == "negate" and self.parts[0][1].kind in ("number", "name"):
            return "-" + self.parts[0][1].text
        return ""


def joined(kind: str, operator: str, left: Expression, right: Expression) -> Expression:
    """`left operator right`, added to `left` when that is an unbracketed chain of the same kind."""
    if left.kind == kind:
        return left.add(operator, right)
    return Expression(kind, left.offset).add("", left).add(operator, right)


def integer(text: str, offset: int = 0) -> int:
    """A decimal integer with an optional sign.

    Raises:
        ValueFault: it is none, or has too many digits.
    """
    if len(text) > MAX_DIGITS:
        raise ValueFault(f"a number of {len(text)} digits", offset, TextLimitError)
    if not text.lstrip("-").isdecimal():
        raise ValueFault(f"expected a whole number, found {text}", offset)
    return int(text)


def extent(expression: Expression) -> Dim:
    """The extent that an expression stands for.

    Raises:
        ValueFault: it is no whole number, divides by zero, or uses an unknown function.
    """
    try:
        value = _value(expression)
    except RecursionError:
        raise ValueFault("the expression is nested too deeply", expression.offset, TextLimitError) from None
    if isinstance(value, int):
        number = value
    elif value.is_Integer:
        number = int(value)
    elif value.is_Number or not value.free_symbols:
        raise ValueFault(f"{value} is not a whole number", expression.offset)
    else:
        symbolic: Dim = value
        return symbolic
    if not -(2**63) <= number < 2**63:  # an end of a Slice may be the least i64
        raise ValueFault("an extent has at most 63 bits", expression.offset, TextLimitError)
    return number


Value: TypeAlias = Any
"""A Python int, or a SymPy expression."""


def _sympy() -> Any:
    return importlib.import_module("sympy")


def _value(e: Expression) -> Value:
    value = _READERS[e.kind](e) if e.kind in _READERS else None
    if value is None:
        raise ValueFault("expected an extent", e.offset)
    size = value if isinstance(value, int) else value.as_coeff_Mul()[0]
    if max(int(part).bit_length() for part in ((size,) if isinstance(size, int) else (size.p, size.q))) > MAX_BITS:
        raise ValueFault("a number in the expression is too large", e.offset, TextLimitError)
    return value


def _number(e: Expression) -> Value:
    return integer(e.text, e.offset)


def _name(e: Expression) -> Value:
    if len(e.text) > MAX_NAME or not SYMBOL_NAME.fullmatch(e.text):
        raise ValueFault(f"{e.text[:MAX_NAME]!r} cannot name a size", e.offset)
    return symbol(e.text)


def _negate(e: Expression) -> Value:
    return -_value(e.parts[0][1])


def _sum(e: Expression) -> Value:
    terms = [-_value(part) if sign == "-" else _value(part) for sign, part in e.parts]
    return sum(terms) if all(isinstance(t, int) for t in terms) else _sympy().Add(*terms)


def _product(e: Expression) -> Value:
    factors = [_divisor(part) if sign == "/" else _value(part) for sign, part in e.parts]
    if all(isinstance(f, int) for f in factors):
        result = 1
        for f in factors:
            result *= f
        return result
    negated = e.parts[0][1].kind == "negate" and len(factors) > 1
    if negated:  # of the whole product: SymPy makes b - a of -(a - b) alone
        factors[:1] = [-1, -factors[0]]
    return _sympy().Mul(*factors)


def _divisor(e: Expression) -> Value:
    return _sympy().Integer(1) / _nonzero(e)


def _nonzero(e: Expression) -> Value:
    value = _value(e)
    if value == 0:
        raise ValueFault("division by zero", e.offset)
    return value


def _power(e: Expression) -> Value:
    (_, base), (_, exponent) = e.parts
    power = _value(exponent)
    if not isinstance(power, int) or abs(power) > MAX_EXPONENT:
        raise ValueFault(f"an exponent is a number between {-MAX_EXPONENT} and {MAX_EXPONENT}", exponent.offset)
    if power < 0:
        return _sympy().Pow(_nonzero(base), power)
    return _value(base) ** power


def _floor_divide(e: Expression) -> Value:
    (_, left), (_, right) = e.parts
    a, b = _value(left), _nonzero(right)
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    return _sympy().floor(_sympy().sympify(a) / b)


_FUNCTIONS: dict[str, tuple[int, int]] = {
    "floor": (1, 1), "ceiling": (1, 1), "Mod": (2, 2), "Max": (1, MAX_CHOICES), "Min": (1, MAX_CHOICES), "Abs": (1, 1)
}  # fmt: skip


def _call(e: Expression) -> Value:
    if e.text not in _FUNCTIONS:
        raise ValueFault(f"there is no function {e.text!r}", e.offset, hint=f"known: {', '.join(_FUNCTIONS)}")
    least, most = _FUNCTIONS[e.text]
    if not least <= len(e.parts) <= most:
        raise ValueFault(f"{e.text} takes {least if least == most else f'{least} to {most}'} arguments", e.offset)
    if e.text == "Mod":
        _nonzero(e.parts[1][1])
    arguments = [_sympy().sympify(_value(part)) for _, part in e.parts]  # SymPy objects already, or ints
    return getattr(_sympy(), e.text)(*arguments)


_READERS: dict[str, Callable[[Expression], Value]] = {
    "number": _number, "name": _name, "negate": _negate, "sum": _sum, "product": _product, "power": _power,
    "floor_divide": _floor_divide, "call": _call, "bracket": lambda e: _value(e.parts[0][1]),
}  # fmt: skip
