"""Arithmetic on extents."""

from __future__ import annotations

import subprocess
import sys

import pytest

from uair.ir.dims import (
    ceil_div,
    floor_div,
    fresh_symbol,
    is_static,
    maximum,
    minimum,
    plain_symbol,
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
    symbol("u1000")
    assert fresh_symbol() == symbol("u1001")


def test_a_static_graph_does_not_import_sympy() -> None:
    code = (
        "import sys\n"
        "from uair.ir import *\n"
        "from uair.ops import Relu\n"
        "g = Graph(); x = g.add_input('x', TensorType(DType.F32, (2, 3))); g.append(Relu().node(x))\n"
        "assert 'sympy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
