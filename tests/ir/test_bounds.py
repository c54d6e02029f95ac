"""Ranges of extents."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from uair.ir.bounds import interval, upper_bound, upper_bounds
from uair.ir.dims import Dim, ceil_div, floor_div, fresh_symbol, maximum, minimum, normal, substitute, symbol

B, T = symbol("b"), symbol("t")


@pytest.mark.parametrize(
    ("d", "want"),
    [
        (7, 7),
        (T, 128),
        (2 * T + 1, 257),
        (B * T, 1024),
        (T - B, 128),
        (floor_div(T, 2), 64),
        (ceil_div(T + 1, 2), 65),
        (minimum(T, 64), 64),
        (maximum(T, 200), 200),
        (normal(2 * ceil_div(T, 2) - T), 1),
        (floor_div(B * T, B), 128),
        (normal(T * T), 128 * 128),
    ],
)
def test_the_greatest_extent(d: Dim, want: int) -> None:
    assert upper_bound(d, {"b": 8, "t": 128}) == want


def test_ranges_have_two_ends() -> None:
    assert upper_bound(floor_div(100, T), {"t": (4, 50)}) == 25
    assert upper_bound(100 - T, {"t": (4, 50)}) == 96
    assert upper_bounds((B, 3, 2 * T), {"b": 8, "t": (1, 5)}) == (8, 3, 10)


def test_many_sizes_are_bounded_by_intervals() -> None:
    assert upper_bound(T - floor_div(T, 2), {"t": 10**6}) in range(500_000, 10**6 + 1)


def test_a_missing_bound_is_named() -> None:
    unknown = fresh_symbol()
    with pytest.raises(ValueError, match=f"no bound is given for {unknown}"):
        upper_bound(unknown + B, {"b": 8})
    assert upper_bound(minimum(unknown, B), {"b": 8}) == 8


def expressions() -> st.SearchStrategy[Any]:
    leaves = st.sampled_from([B, T]) | st.integers(0, 5)
    binary = [
        lambda a, b: normal(a + b),
        lambda a, b: normal(a - b),
        lambda a, b: normal(a * b),
        minimum,
        maximum,
    ]

    def extend(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        joined = st.tuples(st.sampled_from(binary), inner, inner).map(lambda t: t[0](t[1], t[2]))
        divided = st.tuples(st.sampled_from([floor_div, ceil_div]), inner, st.integers(1, 4)).map(
            lambda t: t[0](t[1], t[2])
        )
        return joined | divided

    return st.recursive(leaves, extend, max_leaves=6)


@settings(max_examples=60, deadline=None)
@given(expressions())
def test_every_value_lies_in_the_interval_and_the_bound_is_reached(d: Any) -> None:
    values = [substitute(d, {"b": b, "t": t}) for b, t in itertools.product(range(4), range(5))]
    low, high = interval(d, {"b": (0, 3), "t": (0, 4)})
    assert all(isinstance(v, int) and low <= v <= high for v in values)
    assert upper_bound(d, {"b": 3, "t": 4}) == max(v for v in values if isinstance(v, int))
    low, high = interval(d)
    assert all(isinstance(v, int) and low <= v <= high for v in values)


def test_numbers_may_be_huge() -> None:
    huge = normal(T * 10**400 + B)
    assert interval(huge) == (0, float("inf"))
    assert upper_bound(huge, {"b": 1, "t": 2}) == 2 * 10**400 + 1
