from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.settings import examples
from uair.names import ANYTHING, IDENTIFIER, Namer


def test_names_are_unique_and_stable() -> None:
    hints = ["conv1/weight:0", "conv1.weight.0", "conv1_weight_0_1", "", "", "1x", "é"]
    expected = ["conv1_weight_0", "conv1_weight_0_1", "conv1_weight_0_1_1", "t", "t_1", "t_1x", "t_2"]
    for _ in range(2):
        names = Namer(legal=IDENTIFIER)
        assert [names.unique(h) for h in hints] == expected


def test_keywords_are_never_handed_out() -> None:
    names = Namer(legal=IDENTIFIER, reserved=("for", "int"))
    assert [names.unique("for"), names.unique("int"), names.unique("int")] == ["for_1", "int_1", "int_2"]


def test_interface_names_are_kept_as_they_are() -> None:
    names = Namer(legal=IDENTIFIER)
    names.reserve("gpu_0/data_0")
    names.reserve("x")
    assert "gpu_0/data_0" in names
    assert names.unique("x") == "x_1"
    with pytest.raises(ValueError, match="'x' is taken"):
        names.reserve("x")


def test_without_a_pattern_only_emptiness_is_illegal() -> None:
    names = Namer()
    assert [names.unique("a b/ü\n"), names.unique("a b/ü\n"), names.unique("")] == ["a b/ü\n", "a b/ü\n_1", "t"]


def test_the_default_must_be_legal() -> None:
    with pytest.raises(ValueError, match="does not match"):
        Namer(legal=IDENTIFIER, default="1")


@examples(100)
@given(st.lists(st.text(max_size=6), max_size=30), st.sampled_from([ANYTHING, IDENTIFIER]))
def test_any_hints_give_legal_distinct_names(hints: list[str], legal: str) -> None:
    names = Namer(legal=legal)
    given_names = [names.unique(h) for h in hints]
    assert len(set(given_names)) == len(hints)
    assert all(re.fullmatch(legal, n) for n in given_names)
