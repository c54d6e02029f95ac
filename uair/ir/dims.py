"""Dimensions: plain ints, or symbolic expressions over named sizes.

SymPy is imported only when the first symbol appears: a static model never pays for it, and arithmetic on ints stays on
ints. A symbol stands for a non-negative integer. `None` in a shape returned by an operator's `infer` stands for an
extent that only the data decides; the node that receives it names it with a fresh symbol.
"""

from __future__ import annotations

import functools
import importlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from uair.ir.bounds import interval

MAX_EXTENT = 2**63 - 1
"""Greatest extent; indices are 64-bit numbers everywhere."""
MAX_TERMS = 256
MAX_PARTS = 512
MAX_LEVELS = 40
MAX_FUNCTIONS = 60
MAX_EXPONENT = 16
"""What an expression may hold; the sizes of real models hold a tenth. Shape computations can square a size thirty times
in a row, and such an expression is given up: the extent gets a name of its own."""


class Expr(Protocol):
    """The part of `sympy.Expr` that UAIR uses; stated here so that SymPy need not be imported to name the type."""

    is_Symbol: bool
    is_Integer: bool
    name: str
    free_symbols: set[Any]

    def subs(self, replacements: Any, *, simultaneous: bool = False) -> Expr:
        """The expression with symbols replaced."""
        ...

    def __neg__(self) -> Dim: ...
    def __add__(self, other: Dim, /) -> Dim: ...
    def __radd__(self, other: Dim, /) -> Dim: ...
    def __sub__(self, other: Dim, /) -> Dim: ...
    def __rsub__(self, other: Dim, /) -> Dim: ...
    def __mul__(self, other: Dim, /) -> Dim: ...
    def __rmul__(self, other: Dim, /) -> Dim: ...


Dim: TypeAlias = int | Expr
Shape: TypeAlias = tuple[Dim, ...]
InferredShape: TypeAlias = tuple[Dim | None, ...]

SYMBOL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.]*")
COUNTED_NAME = re.compile(r"u[0-9]+")
"""Names that the IR itself gives to sizes that nothing is known about; frontends call sizes of a model otherwise."""


def _sympy() -> Any:
    return importlib.import_module("sympy")


def symbol(name: str) -> Dim:
    """The size called `name`. Two symbols of the same name are the same size.

    Raises:
        ValueError: the name is not of the form `[A-Za-z_][A-Za-z0-9_.]*`.
    """
    if not SYMBOL_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a dimension")
    global _fresh_count  # noqa: PLW0603  names must be fresh within the process
    if COUNTED_NAME.fullmatch(name):
        _fresh_count = max(_fresh_count, int(name[1:]))
    sympy = _sympy()
    symbolic: Expr = sympy.Symbol(name, integer=True, nonnegative=True)
    return symbolic


def any_integer(name: str) -> Dim:
    """A number of either sign, for computations; it is no size and cannot stand in a type."""
    symbolic: Expr = _sympy().Symbol(name, integer=True)
    return symbolic


_fresh_count = 0


def fresh_symbol() -> Dim:
    """A size that nothing is known about yet: `u1`, `u2`, ..., a name no symbol of this process has had so far."""
    return symbol(f"u{_fresh_count + 1}")


def is_static(shape: Iterable[Dim | None]) -> bool:
    """Whether every extent is a number."""
    return all(isinstance(d, int) for d in shape)


def product(shape: Iterable[Dim]) -> Dim:
    """Number of elements."""
    result: Dim = 1
    for d in shape:
        result = result * d
    return result


def floor_div(a: Dim, b: Dim) -> Dim:
    """floor(a / b); on ints by `//`."""
    if isinstance(a, int) and isinstance(b, int):
        return a // b
    sympy = _sympy()
    return normal(sympy.floor(sympy.sympify(a) / b))


def ceil_div(a: Dim, b: Dim) -> Dim:
    """ceil(a / b)."""
    if isinstance(a, int) and isinstance(b, int):
        return -(-a // b)
    sympy = _sympy()
    return normal(sympy.ceiling(sympy.sympify(a) / b))


def minimum(a: Dim, b: Dim) -> Dim:
    """The smaller of two extents."""
    if isinstance(a, int) and isinstance(b, int):
        return min(a, b)
    low, high = interval(normal(a - b))
    if high <= 0 or low >= 0:
        return a if high <= 0 else b
    sympy = _sympy()
    return normal(sympy.Min(a, b))


def maximum(a: Dim, b: Dim) -> Dim:
    """The greater of two extents."""
    if isinstance(a, int) and isinstance(b, int):
        return max(a, b)
    low, high = interval(normal(a - b))
    if high <= 0 or low >= 0:
        return b if high <= 0 else a
    sympy = _sympy()
    return normal(sympy.Max(a, b))


def may_be_one(d: Dim | None) -> bool:
    """Whether an extent can be 1, as far as is known."""
    if d is None or isinstance(d, int):
        return d is None or d == 1
    low, high = interval(d)
    return low <= 1 <= high


def prevails(a: Dim | None, b: Dim | None) -> bool:
    """Whether `a` is the extent that `a` and `b` broadcast to, whenever they do: b is 1 wherever a is.

    So it is for n + 2, which is never 1, and any b; and for n and min(n, 512).
    """
    if a is None or isinstance(a, int):
        return a is not None and (a != 1 or b == 1)
    if not may_be_one(a):
        return True
    if b is None or isinstance(b, int) or not a.free_symbols & b.free_symbols:
        return b == 1
    return normal(b.subs({a: 1})) == 1


def normal(d: Any) -> Dim:
    """Canonical form: int when the value is known, expanded expression otherwise; too long a sum stays as it is.

    Rounded quotients that are always equal have one form: floor(-n/2) is -ceiling(n/2), floor((n + 1)/2) ceiling(n/2).
    """
    return d if isinstance(d, int) else _normal(d)


@functools.lru_cache(4096)
def _normal(d: Any) -> Dim:
    if _terms(d) > MAX_TERMS:
        return d  # type: ignore[no-any-return]
    sympy = _sympy()
    expanded = sympy.expand(d)
    if expanded.has(sympy.floor, sympy.ceiling):
        expanded = sympy.expand(expanded.replace(_is_rounding, _one_rounding))
    if expanded.has(sympy.Min, sympy.Max):  # SymPy's own rewriting leaves Max(0, 7) in Min(n, Max(0, 7))
        expanded = sympy.expand(expanded.replace(_is_extreme, lambda e: e.func(*e.args)))
    if expanded.is_Integer:
        return int(expanded)
    symbolic: Expr = expanded
    return symbolic


def _terms(e: Any) -> int:
    """How many terms the expanded form of an expression may have."""
    if e.is_Add:
        return sum(map(_terms, e.args))
    if e.is_Mul:
        return math.prod(map(_terms, e.args))
    if e.is_Pow and e.exp.is_Integer and e.exp > 0:
        count = _terms(e.base)
        return count ** min(int(e.exp), MAX_TERMS) if count > 1 else 1
    return max(map(_terms, e.args), default=1)


def is_tractable(d: Dim) -> bool:
    """Whether an extent can be kept: a 64-bit number, or an expression of moderate size."""
    expression: Any = d
    return abs(d) <= MAX_EXTENT if isinstance(d, int) else _is_short(expression)


@functools.lru_cache(maxsize=4096)
def _is_short(expression: Any) -> bool:
    parts = functions = 0
    level = [expression]
    for _ in range(MAX_LEVELS):
        parts += len(level)
        functions += sum(e.is_Function for e in level)
        if parts > MAX_PARTS or functions > MAX_FUNCTIONS or not all(map(_is_short_part, level)):
            return False
        level = [part for e in level for part in e.args]
        if not level:
            return True
    return False


def _is_short_part(e: Any) -> bool:
    if e.is_Rational:
        return max(abs(int(e.p)), int(e.q)) <= MAX_EXTENT
    return not e.is_Pow or (e.exp.is_Integer and abs(int(e.exp)) <= MAX_EXPONENT)


def _is_rounding(d: Any) -> bool:
    sympy = _sympy()
    return isinstance(d, (sympy.floor, sympy.ceiling))


def _is_extreme(d: Any) -> bool:
    sympy = _sympy()
    return isinstance(d, (sympy.Min, sympy.Max))


def _one_rounding(d: Any) -> Any:
    """The one form of floor or ceiling of a whole number n over q.

    It is ceiling(n/q), or floor((n + r)/q) with 0 <= r < q - 1, where n has no constant and a positive first term.
    """
    sympy = _sympy()
    up = isinstance(d, sympy.ceiling)
    q = sympy.ilcm(*(c.q for c in d.args[0].as_coefficients_dict().values() if c.is_Rational), 1)
    numerator = sympy.expand(d.args[0] * q)
    if not numerator.is_integer:
        return d
    r, n = numerator.as_coeff_Add()
    r, sign = r + q - 1 if up else r, 1
    if n.could_extract_minus_sign():  # floor((n + r)/q) = -ceiling((-n - r)/q) = -floor((-n - r + q - 1)/q)
        n, r, sign = -n, q - 1 - r, -1
    whole, r = divmod(r, q)
    return sign * (whole + (sympy.ceiling(n / q) if r == q - 1 else sympy.floor((n + r) / q)))


def substitute(d: Dim, values: Mapping[str, Dim]) -> Dim:
    """`d` with the named sizes replaced."""
    if isinstance(d, int):
        return d
    replaced = {s: values[s.name] for s in d.free_symbols if s.name in values}
    if not replaced:
        return d
    number = _number(d, {s.name: v for s, v in replaced.items()}) if len(replaced) == len(d.free_symbols) else None
    return normal(d.subs(replaced, simultaneous=True)) if number is None else number


def _number(d: Any, values: Mapping[str, Dim]) -> int | None:
    """The value of an expression whose sizes are all numbers; None where SymPy has to say.

    SymPy simplifies after each replacement, which takes seconds where extremes are nested; here is nothing to simplify.
    """
    points = {name: (v, v) for name, v in values.items() if isinstance(v, int)}
    if len(points) < len(values) or ((0, 0) in points.values() and d.has(_sympy().Pow)):
        return None  # `interval` takes it that no divisor is 0
    low, high = interval(d, points)
    return int(low) if low == high and low == math.floor(low) else None


def substitute_shape(shape: Sequence[Dim], values: Mapping[str, Dim]) -> Shape:
    """A shape with the named sizes replaced."""
    return tuple(substitute(d, values) for d in shape)


def symbols_of(shape: Iterable[Dim | None]) -> list[str]:
    """Names of the sizes that occur, in order of first occurrence; within one extent u9 stands before u10."""
    names: dict[str, None] = {}
    for d in shape:
        if d is not None and not isinstance(d, int):
            names.update(dict.fromkeys(sorted((s.name for s in d.free_symbols), key=lambda name: (len(name), name))))
    return list(names)


def plain_symbol(d: Dim) -> str | None:
    """The symbol's name when `d` is nothing but one symbol."""
    if isinstance(d, int) or not d.is_Symbol:
        return None
    return d.name


def elements(shape: Iterable[Dim]) -> int:
    """Number of elements of a static shape.

    Raises:
        TypeError: the shape has a symbolic extent.
    """
    return math.prod(static(shape))


def static(shape: Iterable[Dim | None]) -> tuple[int, ...]:
    """A shape of numbers, for those who need one.

    Raises:
        TypeError: an extent is symbolic or unknown.
    """
    result: list[int] = []
    for d in shape:
        if not isinstance(d, int):
            raise TypeError(f"extent {d} is not a number: the shape is not static")
        result.append(d)
    return tuple(result)
