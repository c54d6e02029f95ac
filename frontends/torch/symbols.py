"""Symbolic sizes: from torch's SymPy expressions, whose functions are its own, to the IR's."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from uair.ir.dims import COUNTED_NAME, Dim, ceil_div, floor_div, maximum, minimum, normal, symbol

_ILLEGAL = re.compile(r"[^A-Za-z0-9_.]+")


class Sizes:
    """The sizes of a program: what torch calls s77 by a name that a person has given, or by the input that has it."""

    def __init__(self, names: Mapping[str, str] | None = None) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        for own, wish in (names or {}).items():
            self.call(own, wish)

    def call(self, own: str, wish: str) -> None:
        """Call torch's size `own` as a person would, unless it has a name."""
        if own in self._names:
            return
        legal = _ILLEGAL.sub("_", wish).strip(".") or "size"
        if not (legal[0].isalpha() or legal[0] == "_"):
            legal = f"_{legal}"
        if COUNTED_NAME.fullmatch(legal):
            legal = f"{legal}_"  # u1, u2, ... are the IR's own
        name, n = legal, 1
        while name in self._taken:
            n += 1
            name = f"{legal}_{n}"
        self._taken.add(name)
        self._names[own] = name

    def name(self, own: str) -> str:
        """The name of torch's size `own`; one that only the data decide (u0) is called data_0."""
        if own not in self._names:
            self.call(own, f"data_{own[1:]}" if COUNTED_NAME.fullmatch(own) else own)
        return self._names[own]

    def dim(self, expression: Any) -> Dim | None:
        """A size as the IR writes it; None when it has a function that the IR's sizes lack.

        Args:
            expression: an int, or a SymPy expression with the functions of torch.utils._sympy.functions, which are told
                by name: FloorDiv, CleanDiv, CeilDiv, IntTrueDiv, Mod, PythonMod, Min, Max, PowByNatural, Identity.
        """
        if isinstance(expression, int):
            return int(expression)
        if expression.is_Integer:
            return int(expression)
        if expression.is_Symbol:
            return symbol(self.name(expression.name))
        make = FUNCTIONS.get(type(expression).__name__)
        if make is None:
            return None
        parts = [self.dim(part) for part in expression.args]
        known = [part for part in parts if part is not None]
        if len(known) < len(parts):
            return None
        return make(*known)


def _sum(*parts: Dim) -> Dim:
    total: Dim = 0
    for part in parts:
        total = total + part
    return normal(total)


def _product(*parts: Dim) -> Dim:
    total: Dim = 1
    for part in parts:
        total = total * part
    return normal(total)


def _power(base: Dim, exponent: Dim) -> Dim | None:
    return _product(*[base] * exponent) if isinstance(exponent, int) and 0 <= exponent <= 16 else None


def _remainder(a: Dim, b: Dim) -> Dim:
    return normal(a - b * floor_div(a, b))


def _exact_quotient(a: Dim, b: Dim) -> Dim | None:
    """A / b where it is a whole number for certain."""
    quotient = floor_div(a, b)
    return quotient if normal(quotient * b - a) == 0 else None


def _folded(function: Callable[[Dim, Dim], Dim]) -> Callable[..., Dim]:
    def of(first: Dim, *others: Dim) -> Dim:
        for other in others:
            first = function(first, other)
        return first

    return of


def _same(x: Dim) -> Dim:
    return x


FUNCTIONS: Mapping[str, Callable[..., Dim | None]] = {
    "Add": _sum,
    "Mul": _product,
    "Pow": _power,
    "PowByNatural": _power,
    "FloorDiv": floor_div,
    "CleanDiv": floor_div,
    "CeilDiv": ceil_div,
    "IntTrueDiv": _exact_quotient,
    "Mod": _remainder,
    "PythonMod": _remainder,
    "Min": _folded(minimum),
    "Max": _folded(maximum),
    "Identity": _same,
    "ToFloat": _same,
    "TruncToInt": _same,
    "FloorToInt": _same,
    "CeilToInt": _same,
}


def names_of_inputs(inputs: Iterable[tuple[str, Iterable[Any]]], sizes: Sizes) -> None:
    """Call every size that is still nameless after the first input axis that has it: `x.0`.

    Args:
        inputs: names of the user's inputs with their extents in torch's words.
        sizes: gets the names.
    """
    for name, extents in inputs:
        for axis, extent in enumerate(extents):
            if not isinstance(extent, int) and getattr(extent, "is_Symbol", False):
                sizes.call(extent.name, f"{name}.{axis}")
