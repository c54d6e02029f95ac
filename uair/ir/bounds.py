"""What range an extent lies in, when the sizes in it lie in known ranges.

    upper_bound(floor_div(seq, 2) + 1, {"seq": 128})  # 65

Memory can be planned with the greatest extents before the sizes are known.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from typing import Any, TypeAlias

Number: TypeAlias = "int | float | Fraction"
Interval: TypeAlias = tuple[Number, Number]
Bounds: TypeAlias = "Mapping[str, int | tuple[int, int]]"

POINTS = 1024
"""Combinations of sizes that are tried one by one, which is exact; beyond, intervals are computed with."""


def upper_bound(d: Any, bounds: Bounds) -> int:
    """The greatest number that an extent can be.

    It is exact where all sizes together have at most 1024 combinations; otherwise it may be too large where one size
    occurs several times, and is never too small. Divisors count as not 0.

    Args:
        d: the extent.
        bounds: for each size in it the greatest number (the least is 0), or the least and the greatest.

    Raises:
        ValueError: a size that matters has no bound.
    """
    if isinstance(d, int):
        return d
    ranges = {name: (0, b) if isinstance(b, int) else b for name, b in bounds.items()}
    greatest = interval(d, ranges)[1]
    names = sorted(s.name for s in d.free_symbols)
    if all(name in ranges for name in names):
        points = math.prod(max(high - low + 1, 0) for low, high in map(ranges.__getitem__, names))
        if 0 < points <= POINTS:
            every = itertools.product(*(range(low, high + 1) for low, high in map(ranges.__getitem__, names)))
            greatest = max(interval(d, {n: (v, v) for n, v in zip(names, values, strict=True)})[1] for values in every)
    if greatest in _INFINITE:
        missing = ", ".join(name for name in names if name not in ranges)
        raise ValueError(f"the extent {d} has no upper bound: no bound is given for {missing or 'a size in it'}")
    return math.floor(greatest)


def upper_bounds(shape: Iterable[Any], bounds: Bounds) -> tuple[int, ...]:
    """The greatest number of every extent of a shape.

    Raises:
        ValueError: see `upper_bound`.
    """
    return tuple(upper_bound(d, bounds) for d in shape)


def interval(d: Any, ranges: Mapping[str, tuple[int, int]] | None = None) -> Interval:
    """Numbers between which an expression lies; sizes without a range are 0 or more."""
    if isinstance(d, int):
        return d, d
    if d.is_Rational:
        value = Fraction(int(d.p), int(d.q))
        return value, value
    if d.is_Symbol:
        unbounded = (0, math.inf) if d.is_nonnegative else (-math.inf, math.inf)
        return (ranges or {}).get(d.name, unbounded)
    rule = _RULES.get(type(d).__name__)
    if rule is None:
        return -math.inf, math.inf
    if d.is_Pow:
        return _power(interval(d.args[0], ranges), d.args[1], bool(d.args[0].is_integer))
    return rule([interval(a, ranges) for a in d.args])


def _product(factors: list[Interval]) -> Interval:
    low, high = factors[0]
    for a, b in factors[1:]:
        ends = [_times(x, y) for x in (low, high) for y in (a, b)]
        low, high = min(ends), max(ends)
    return low, high


def _times(a: Number, b: Number) -> Number:
    if a == 0 or b == 0:
        return 0
    if a in _INFINITE or b in _INFINITE:  # an int may be too large for a float
        return math.inf if (a > 0) == (b > 0) else -math.inf
    return a * b


def _sum(ends: list[Number]) -> Number:
    return next((v for v in ends if v in _INFINITE), None) or sum(ends)


_INFINITE = (math.inf, -math.inf)


def _power(base: Interval, exponent: Any, whole: bool) -> Interval:
    """A power with a whole exponent; a whole divisor is not 0."""
    if not exponent.is_Integer:
        return -math.inf, math.inf
    n = abs(int(exponent))
    low, high = base
    if exponent < 0:
        low, high = (max(low, 1), max(high, 1)) if whole and low >= 0 else (low, high)
        if low <= 0:
            return -math.inf, math.inf
        low, high = (0 if high in _INFINITE else Fraction(1) / high), Fraction(1) / low
    result = _product([(low, high)] * n)
    return (max(result[0], 0), result[1]) if n % 2 == 0 else result


def _modulus(parts: list[Interval]) -> Interval:
    """The remainder has the divisor's sign and is nearer to 0."""
    (low, high), (least, greatest) = parts
    if least < 0:
        return -math.inf, math.inf
    return 0, min(greatest, high) if low >= 0 else greatest


def _rounded(round_: Callable[[Any], int]) -> Callable[[list[Interval]], Interval]:
    def ends(parts: list[Interval]) -> Interval:
        low, high = (v if isinstance(v, float) and math.isinf(v) else round_(v) for v in parts[0])
        return low, high

    return ends


_RULES: Mapping[str, Callable[[list[Interval]], Interval]] = {
    "Add": lambda parts: (_sum([a for a, _ in parts]), _sum([b for _, b in parts])),
    "Mul": _product,
    "Pow": _product,
    "floor": _rounded(math.floor),
    "ceiling": _rounded(math.ceil),
    "Min": lambda parts: (min(a for a, _ in parts), min(b for _, b in parts)),
    "Max": lambda parts: (max(a for a, _ in parts), max(b for _, b in parts)),
    "Mod": _modulus,
}
