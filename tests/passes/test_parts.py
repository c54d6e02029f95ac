"""Parts of an axis, as torch.nn.MultiheadAttention takes them apart; onnxruntime computes both."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import pytest

from tests.passes.judging import optimized
from uair.codegen.reference import random_feeds
from uair.passes.simplify.parts import SplitFromSlices
from uair.testing import assert_keeps
from uair.text import parse_module


def after(text: str) -> list[str]:
    module = parse_module(text)
    optimized(module, random_feeds(module.main), relative=1e-5, absolute=1e-6)
    return [node.op_type for node in module.main]


PLACES = "constant @0 = 0 : i64[]  constant @1 = 1 : i64[]  constant @2 = 2 : i64[]  constant @last = -1 : i64[]  "


def test_packed_query_key_and_value_are_one_split() -> None:
    """As torch.nn.functional.multi_head_attention_forward packs them."""
    text = (
        PLACES + "%x: f32[6,2,24]  %u = Reshape(%x) {shape = [1,6,2,3,8]}  %t = Transpose(%u) {perm = [3,1,2,0,4]}  "
        "%s = Squeeze(%t) {axes = [3]}  %q = Gather(%s, @0)  %k = Gather(%s, @1)  %v = Gather(%s, @2)  "
        "%a = Relu(%q)  %b = Tanh(%k)  %y = Sigmoid(%v)"
    )
    assert after(text) == ["Split", "Relu", "Tanh", "Sigmoid"]


def test_heads_are_split_in_one_step() -> None:
    text = (
        "%x: f32[6,2,8]  %r = Reshape(%x) {shape = [6,4,4]}  %t = Transpose(%r) {perm = [1,0,2]}  "
        "%y = Reshape(%t) {shape = [2,2,6,4]}"
    )
    assert after(text) == ["Reshape", "Transpose"]


def test_a_place_from_the_end_is_a_slice() -> None:
    text = PLACES + "%x: f32[2,12,5]  %r = Reshape(%x) {shape = [2,3,4,5]}  %y = Gather(%r, @last) {axis = 1}"
    assert after(text) == ["Slice"]


@pytest.mark.parametrize(
    "text",
    [
        "%t = Transpose(%x) {perm = [2,1,0]}  %y = Gather(%t, @0)",  # what is left changes its order
        "%r = Reshape(%x) {shape = [2,3,2,2]}  %y = Gather(%r, @1) {axis = 3}",  # the inner axis of the split
        "%r = Reshape(%x) {shape = [3,2,4]}  %y = Gather(%r, @1) {axis = 0}",  # no split
        "%r = Reshape(%x) {shape = [6,2,2]}  %t = Transpose(%r) {perm = [1,0,2]}  %y = Reshape(%t) {shape = [8,3]}",  # it splits and merges
    ],
)
def test_other_parts_stay(text: str) -> None:
    assert len(after(PLACES + "%x: f32[2,3,4]  " + text)) == text.count("%") // 2


@pytest.mark.parametrize(
    "cuts",
    [
        "%a = Slice(%x) {axes = [1], starts = [0], ends = [2], steps = [1]}  %b = Slice(%x) {axes = [1], starts = [2], ends = [4], steps = [1]}",
        "%a = Slice(%x) {axes = [1], starts = [0], ends = [3], steps = [1]}  %b = Slice(%x) {axes = [1], starts = [2], ends = [5], steps = [1]}",
        "%a = Slice(%x) {axes = [1], starts = [0], ends = [5], steps = [2]}  %b = Slice(%x) {axes = [1], starts = [1], ends = [5], steps = [2]}",
        "%a = Slice(%x) {axes = [0], starts = [0], ends = [1], steps = [1]}  %b = Slice(%x) {axes = [1], starts = [0], ends = [5], steps = [1]}",
    ],
    ids=["not all of it", "overlapping", "in steps", "different axes"],
)
def test_slices_that_are_no_parts_stay(cuts: str) -> None:
    assert_keeps([SplitFromSlices()], f"%x: f32[2,5]  {cuts}  %y = Relu(%a)  %z = Tanh(%b)")


def test_what_is_made_between_the_slices_moves_behind_the_split() -> None:
    text = (
        "%x: f32[2,6]  %a = Slice(%x) {axes = [1], starts = [0], ends = [3], steps = [1]}  %b = Relu(%a)  %c = Tanh(%b)  "
        "%d = Slice(%x) {axes = [1], starts = [3], ends = [6], steps = [1]}  %y = Add(%c, %d)"
    )
    assert after(text) == ["Split", "Relu", "Tanh", "Add"]
