"""Arithmetic on extents."""

from __future__ import annotations

import itertools
import subprocess
import sys

import pytest

from uair.ir.dims import (
    ceil_div,
    floor_div,
    fresh_symbol,
    is_static,
    maximum,
    may_be_one,
    minimum,
    normal,
    plain_symbol,
    prevails,
    product,
    static,
    substitute,
    symbol,
    symbols_of,
)


def test_numbers_stay_numbers() -> None:
    assert floor_div(7, 2) == 3
    assert ceil_div(7, 2) == 4
    assert product((2, 3, 4)) == 24
    assert all(type(d) is int for d in (floor_div(7, 2), ceil_div(7, 2), minimum(1, 2), maximum(1, 2)))


def test_symbols_of_one_name_are_one_size() -> None:
    assert symbol("N") == symbol("N")
    assert symbol("N") != symbol("M")
    assert plain_symbol(symbol("N")) == "N"
    assert plain_symbol(symbol("N") + 1) is None


def test_substitution_gives_numbers_back() -> None:
    n = symbol("N")
    extent = floor_div(n - 3 + 2, 2) + 1
    value = substitute(extent, {"N": 224})
    assert value == 112
    assert type(value) is int
    assert symbols_of((extent, 3, symbol("M"))) == ["N", "M"]


def test_known_quotients_are_simplified() -> None:
    n = symbol("N")
    assert floor_div(n * 4, 4) == n
    assert ceil_div(n * 4, 2) == 2 * n


def test_static_refuses_symbols() -> None:
    assert not is_static((1, symbol("N")))
    with pytest.raises(TypeError, match="N"):
        static((1, symbol("N")))


def test_fresh_symbols_never_meet_named_ones() -> None:
    number = int(str(fresh_symbol())[1:]) + 1000
    symbol(f"u{number}")
    assert fresh_symbol() == symbol(f"u{number + 1}")


def test_a_static_graph_does_not_import_sympy() -> None:
    code = (
        "import sys\n"
        "from uair.ir import *\n"
        "from uair.ops import Relu\n"
        "g = Graph(); x = g.add_input('x', TensorType(DType.F32, (2, 3))); g.append(Relu().node(x))\n"
        "assert 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_rounded_quotients_have_one_form() -> None:
    n = symbol("n")
    assert floor_div(n + 1, 2) == ceil_div(n, 2) == normal(-floor_div(-n, 2))
    assert normal(floor_div(n - 1, 2) + 1) == ceil_div(n, 2)
    assert ceil_div(n + 1, 4) == floor_div(n + 4, 4) == normal(floor_div(n, 4) + 1)
    assert ceil_div(2 - n, 3) == normal(-floor_div(n - 2, 3))
    for value in range(9):
        assert substitute(ceil_div(2 - n, 3), {"n": value}) == -((value - 2) // 3)


def test_extremes_that_are_certain() -> None:
    n = symbol("n")
    assert minimum(n, n + 1) == n
    assert maximum(0, n) == n
    assert maximum(n, 2 * n + 1) == normal(2 * n + 1)
    assert str(minimum(n, 5)) == "Min(5, n)"


def test_nested_extremes_have_one_form() -> None:
    """What SymPy makes of them may hold an extreme of numbers, which the text of the expression does not keep."""
    n = symbol("n")
    high = normal(n - 1)
    clamped = minimum(maximum(minimum(10**9, high), 0), high)
    assert str(clamped) == "Min(1000000000, n - 1)"
    assert normal(clamped) == clamped
    assert [substitute(clamped, {"n": value}) for value in (0, 1, 5, 2 * 10**9)] == [-1, 0, 4, 10**9]


def test_numbers_for_all_sizes_give_what_sympy_gives() -> None:
    """The two ways of `substitute`: at once, and by SymPy, one size after the other."""
    n, m = symbol("n"), symbol("m")
    some = [
        normal(3 * n * n - 2 * m + 1),
        floor_div(2 * n + 3, 5) + ceil_div(m, 4),
        minimum(maximum(n - m, 0), floor_div(n * m, 7)),
        maximum(-1, minimum(normal(m - 1), 10**9)) * n,
        floor_div(n, m + 1),
        floor_div(n, m),
    ]
    for d, a, b in itertools.product(some, (0, 1, 2, 9, 10**9), (1, 3, 8)):
        one_by_one = substitute(substitute(d, {"n": a}), {"m": b})
        assert substitute(d, {"n": a, "m": b}) == one_by_one
        assert isinstance(one_by_one, int)


def test_which_extent_prevails() -> None:
    n, m = symbol("n"), symbol("m")
    assert prevails(n, 1)
    assert prevails(n + 2, m)
    assert prevails(n, minimum(n, 512))
    assert not prevails(n, m)
    assert not prevails(minimum(n, 512), n + m)
    assert not prevails(None, n)
    assert may_be_one(n) and may_be_one(None) and not may_be_one(2 * n + 2) and not may_be_one(3)
