"""Simplification rules: before and after, and what must stay."""

from __future__ import annotations

import pytest

from uair.passes.simplify import Simplify, ruleset
from uair.testing import assert_keeps, assert_rewrites

X = "%x: f32[2,3,4,4]  "


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("%a = Identity(%x)  %y = Relu(%a)", "%y = Relu(%x)", id="identity"),
        pytest.param("%a = Reshape(%x) {shape = [2,3,4,4]}  %y = Relu(%a)", "%y = Relu(%x)", id="reshape-same"),
        pytest.param("%a = Transpose(%x) {perm = [0,1,2,3]}  %y = Relu(%a)", "%y = Relu(%x)", id="transpose-same"),
        pytest.param("%a = Cast(%x) {to = f32}  %y = Relu(%a)", "%y = Relu(%x)", id="cast-same"),
        pytest.param("%a = Clip(%x)  %y = Relu(%a)", "%y = Relu(%x)", id="clip-unbounded"),
        pytest.param(
            "%a = Slice(%x) {axes = [1], starts = [0], ends = [3], steps = [1]}  %y = Relu(%a)",
            "%y = Relu(%x)",
            id="slice-all",
        ),
        pytest.param("%a = Pad(%x) {pads = [0,0,0,0,0,0,0,0]}  %y = Relu(%a)", "%y = Relu(%x)", id="pad-nothing"),
        pytest.param("%a = Tile(%x) {repeats = [1,1,1,1]}  %y = Relu(%a)", "%y = Relu(%x)", id="tile-once"),
        pytest.param("%a = Concat(%x) {axis = 1}  %y = Relu(%a)", "%y = Relu(%x)", id="concat-one"),
        pytest.param("%a = Split(%x) {axis = 1, sizes = [3]}  %y = Relu(%a)", "%y = Relu(%x)", id="split-one"),
        pytest.param("%a = Relu(%x)  %y = Relu(%a)", "%y = Relu(%x)", id="relu-relu"),
        pytest.param("%a = Neg(%x)  %b = Neg(%a)  %y = Relu(%b)", "%y = Relu(%x)", id="double-negation"),
        pytest.param(
            "%a = Clip(%x) {min = -1.0, max = 6.0}  %y = Clip(%a) {min = 0.0, max = 9.0}",
            "%y = Clip(%x) {min = 0.0, max = 6.0}",
            id="clip-clip",
        ),
        pytest.param(
            "%a = Relu(%x)  %y = Clip(%a) {max = 6.0}", "%y = Clip(%x) {min = 0.0, max = 6.0}", id="relu-clip"
        ),
        pytest.param(
            "%a = Clip(%x) {max = 6.0}  %y = Relu(%a)", "%y = Clip(%x) {min = 0.0, max = 6.0}", id="clip-relu"
        ),
        pytest.param(
            "%a = Transpose(%x) {perm = [0,2,3,1]}  %y = Transpose(%a) {perm = [0,3,2,1]}",
            "%y = Transpose(%x) {perm = [0,1,3,2]}",
            id="transpose-transpose",
        ),
        pytest.param(
            "%a = Reshape(%x) {shape = [6,16]}  %y = Reshape(%a) {shape = [96]}",
            "%y = Reshape(%x) {shape = [96]}",
            id="reshape-reshape",
        ),
        pytest.param(
            "%a = Unsqueeze(%x) {axes = [0]}  %b = Squeeze(%a) {axes = [0]}  %y = Relu(%b)",
            "%y = Relu(%x)",
            id="unsqueeze-squeeze",
        ),
        pytest.param(
            "%a = Slice(%x) {axes = [1], starts = [0], ends = [2], steps = [1]}"
            "  %y = Slice(%a) {axes = [2], starts = [1], ends = [4], steps = [2]}",
            "%y = Slice(%x) {axes = [1,2], starts = [0,1], ends = [2,4], steps = [1,2]}",
            id="slice-slice",
        ),
        pytest.param(
            "%a = Concat(%x, %x) {axis = 1}  %y = Concat(%a, %x) {axis = 1}",
            "%y = Concat(%x, %x, %x) {axis = 1}",
            id="concat-concat",
        ),
        pytest.param(
            "%z: f32[3,1,4]  %e = Expand(%z) {shape = [2,3,4,4]}  %y = Add(%x, %e)",
            "%z: f32[3,1,4]  %y = Add(%x, %z)",
            id="expand-for-nothing",
        ),
        pytest.param(
            "%z: f32[4]  %e = Expand(%z) {shape = [2,3,4,4]}  %y = Mul(%e, %x)  return %e, %y",
            "%z: f32[4]  %e = Expand(%z) {shape = [2,3,4,4]}  %y = Mul(%z, %x)  return %e, %y",
            id="expand-for-one-of-two-users",
        ),
        pytest.param(
            "%z: f32[4]  %w: f32[3,1,1]  %e = Expand(%z) {shape = [3,4,4]}  %f = Expand(%w) {shape = [3,4,4]}"
            "  %y = Sub(%e, %f)  return %y",
            "%z: f32[4]  %w: f32[3,1,1]  %f = Expand(%w) {shape = [3,4,4]}  %y = Sub(%z, %f)  return %y",
            id="expand-of-both-operands",
        ),
        pytest.param("%a = Clip(%x) {min = -inf, max = inf}  %y = Relu(%a)", "%y = Relu(%x)", id="clip-infinite"),
        pytest.param(
            "%a = Slice(%x) {axes = [0,1,3], starts = [0,-2,0], ends = [2147483647,3,9], steps = [1,1,1]}",
            "%a = Slice(%x) {axes = [1], starts = [-2], ends = [3], steps = [1]}",
            id="slice-of-whole-axes",
        ),
        pytest.param(
            "%z: f32[2,2,4,4]  %a = Concat(%x, %z, %x) {axis = 1}"
            "  %y = Slice(%a) {axes = [1], starts = [1], ends = [-3], steps = [1]}",
            "%z: f32[2,2,4,4]  %a = Slice(%x) {axes = [1], starts = [1], ends = [3], steps = [1]}"
            "  %y = Concat(%a, %z) {axis = 1}",
            id="slice-of-concat",
        ),
        pytest.param(
            "%z: f32[2,2,4,4]  %a = Concat(%x, %z) {axis = -3}"
            "  %b = Slice(%a) {axes = [1], starts = [3], ends = [99], steps = [1]}  %y = Relu(%b)  return %a, %y",
            "%z: f32[2,2,4,4]  %a = Concat(%x, %z) {axis = -3}  %y = Relu(%z)  return %a, %y",
            id="slice-of-shared-concat-is-one-piece",
        ),
    ],
)
def test_rewrites(before: str, after: str) -> None:
    assert_rewrites(Simplify(), before=X + before, after=X + after)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%y = Transpose(%x) {perm = [0,1,3,2]}", id="square-transpose-moves-elements"),
        pytest.param("%y = Flip(%x) {axes = [1]}", id="flip"),
        pytest.param(
            "%y = Slice(%x) {axes = [1], starts = [-1], ends = [-9], steps = [-1]}", id="reversing-slice-of-same-type"
        ),
        pytest.param("%a = LeakyRelu(%x)  %y = LeakyRelu(%a)", id="leaky-relu-twice"),
        pytest.param(
            "%a = Slice(%x) {axes = [1], starts = [0], ends = [2], steps = [1]}"
            "  %y = Slice(%a) {axes = [1], starts = [1], ends = [2], steps = [1]}",
            id="slices-of-one-axis",
        ),
        pytest.param(
            "%a = Concat(%x, %x) {axis = 1}  %y = Slice(%a) {axes = [1], starts = [1], ends = [5], steps = [1]}"
            "  return %a, %y",
            id="slice-of-shared-concat",
        ),
        pytest.param(
            "%a = Concat(%x, %x) {axis = 1}  %y = Slice(%a) {axes = [2], starts = [1], ends = [3], steps = [1]}",
            id="slice-of-another-axis-than-concat",
        ),
        pytest.param(
            "%a = Concat(%x, %x) {axis = 1}  %y = Slice(%a) {axes = [1], starts = [0], ends = [6], steps = [2]}",
            id="slice-of-concat-with-step",
        ),
        pytest.param("%z: f32[4]  %e = Expand(%z) {shape = [5,4]}  %y = Relu(%e)", id="expand-without-broadcasting"),
        pytest.param("%z: f32[4]  %e = Expand(%z) {shape = [5,4]}  %y = Add(%e, %z)", id="expand-that-makes-the-shape"),
        pytest.param("%a = Cast(%x) {to = f16}  %y = Cast(%a) {to = f32}", id="narrowing-cast-rounds"),
        pytest.param(
            "%a = Cast(%x) {to = i8}  %b = Cast(%a) {to = f32}  %y = Cast(%b) {to = string}", id="text-shows-the-type"
        ),
        pytest.param(
            "%a = Cast(%x) {to = u32}  %b = Cast(%a) {to = f64}  %y = Cast(%b) {to = i32}",
            id="real-numbers-wrap-otherwise",
        ),
        pytest.param(
            "%a = Cast(%x) {to = bool}  %b = Cast(%a) {to = f8e8m0}  %y = Cast(%b) {to = f32}", id="no-zero-in-f8e8m0"
        ),
        pytest.param("%a = Cast(%x) {to = i32}  %y = Cast(%a) {to = f32}", id="cast-through-integers-truncates"),
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(Simplify(), X + text)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("%y = Add(%x, @c)", "zero"),
        ("%y = Add(@c, %x)", "zero"),
        ("%y = Sub(%x, @c)", "zero"),
        ("%y = Mul(%x, @c)", "one"),
        ("%y = Div(%x, @c)", "one"),
        ("%y = Pow(%x, @c)", "one"),
    ],
)
def test_neutral_elements(before: str, after: str) -> None:
    constant = f"constant @c = splat<{'0.0' if after == 'zero' else '1.0'}> : f32[4]  "
    assert_rewrites(Simplify(), before=constant + X + before + "  %z = Sigmoid(%y)", after=X + "%z = Sigmoid(%x)")


@pytest.mark.parametrize("text", ["%y = Sub(@c, %x)", "%y = Div(@c, %x)", "%y = Pow(@c, %x)"])
def test_neutral_elements_on_the_wrong_side_stay(text: str) -> None:
    value = "0.0" if "Sub" in text else "1.0"
    assert_keeps(Simplify(), f"constant @c = splat<{value}> : f32[4]  " + X + text)


def test_a_neutral_element_that_broadcasts_stays() -> None:
    assert_keeps(Simplify(), "constant @c = splat<0.0> : f32[5,1,1,1,1]  " + X + "%y = Add(%x, @c)")


def test_maximum_with_a_number_is_a_clip() -> None:
    text = "constant @c = [0.5] : f32[1]  " + X
    assert_rewrites(Simplify(), before=text + "%y = Maximum(@c, %x)", after=X + "%y = Clip(%x) {min = 0.5}")
    zero = "constant @c = [0.0] : f32[1]  " + X
    assert_rewrites(Simplify(), before=zero + "%y = Maximum(%x, @c)", after=X + "%y = Relu(%x)")


@pytest.mark.parametrize(("first", "second"), [(1, -3), (-3, 1), (-1, 3)])
def test_slices_of_one_axis_stay_however_it_is_counted(first: int, second: int) -> None:
    cut = "%b = Slice(%a) {{axes = [{}], starts = [1], ends = [3], steps = [1]}}"
    text = f"%a = Slice(%x) {{axes = [{first}], starts = [0], ends = [3], steps = [2]}}  {cut.format(second)}"
    assert_keeps(ruleset(), f"{X}{text}  %y = Relu(%b)")
    assert_keeps(ruleset(), f"%x: f32[*]  {text}  %y = Relu(%b)")


def test_every_rule_says_what_it_does() -> None:
    for rule in ruleset().rules:
        assert rule.description.endswith("."), rule.name


@pytest.mark.parametrize("text", ["%y = Mul(%n, @c)", "%y = Mul(@c, %n)"])
def test_a_product_of_integers_with_zero_is_zero(text: str) -> None:
    before = (
        f"constant @c = [0,0] : i64[2]  %n: i64[1]  %x: f32[2]  {text}  %f = Cast(%y) {{to = f32}}  %z = Add(%x, %f)"
    )
    after = "%n: i64[1]  %x: f32[2]  %f = Cast(@k) {to = f32}  %z = Add(%x, %f)"
    assert_rewrites(Simplify(), before=before, after="constant @k = splat<0> : i64[2]  " + after)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("constant @c = [0.0] : f32[1]  %x: f32[2]  %y = Mul(%x, @c)", id="infinity-times-zero"),
        pytest.param("constant @c = [0,1] : i64[2]  %x: i64[2]  %y = Mul(%x, @c)", id="not-zero-everywhere"),
        pytest.param("constant @c = [0] : i64[1]  %x: i64[n]  %y = Mul(%x, @c)", id="unknown-extent"),
    ],
)
def test_other_products_with_zero_stay(text: str) -> None:
    assert_keeps(Simplify(), text)


SERIES = "%x: f32[7,2,4]  constant @w = splat<0.5> : f32[1,12,4]  constant @r = splat<0.1> : f32[1,12,3]  "
TOLD = "constant @s = splat<{}> : f32[1,2,3]  %y, %h, %c = LSTM(%x, @w, @r, none, none, @s, @s)  "
TOLD_NOTHING = "%y, %h, %c = LSTM(%x, @w, @r)  "


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param(
            "%y = AvgPool2D(%x) {kernel = [2,2], strides = [2,2], ceil_mode = true, count_include_pad = true}",
            "%y = AvgPool2D(%x) {kernel = [2,2], strides = [2,2], ceil_mode = true}",
            id="count-no-padding",
        ),
        pytest.param(
            "%y = Pad(%x) {pads = [0,0,-1,-2,0,-1,0,0]}",
            "%y = Slice(%x) {axes = [1,2,3], starts = [0,1,2], ends = [2,4,4], steps = [1,1,1]}",
            id="negative-pad",
        ),
        pytest.param(
            "constant @s = splat<0.1> : f32[1,3,1,1]  %y = PRelu(%x, @s)",
            "constant @s = splat<0.1> : f32[3,1,1]  %y = PRelu(%x, @s)",
            id="prelu-slopes",
        ),
        pytest.param("%y = Softmax(%x) {axis = -3}", "%y = Softmax(%x) {axis = 1}", id="axis-from-the-end"),
        pytest.param(
            "constant @i = splat<-1> : i64[]  %a = ReduceMax(%x) {axes = [1]}  %y = Gather(%a, @i) {axis = 1}",
            "%a = ReduceMax(%x) {axes = [1]}  %y = Squeeze(%a) {axes = [1]}",
            id="gather-the-only-one",
        ),
    ],
)
def test_one_way_to_say_it(before: str, after: str) -> None:
    assert_rewrites(Simplify(), before=X + before, after=X + after)


@pytest.mark.parametrize(
    "text",
    [
        "%y = AvgPool2D(%x) {kernel = [2,2], pads = [1,0,0,0], count_include_pad = true}",
        "%y = Pad(%x) {pads = [0,0,-1,1,0,0,0,0]}",
        "constant @s = splat<0.1> : f32[3,1,1]  %y = PRelu(%x, @s)",
        "constant @i = splat<0> : i64[]  %y = Gather(%x, @i) {axis = 1}",
        "constant @i = splat<0> : i64[2]  %a = ReduceMax(%x) {axes = [1]}  %y = Gather(%a, @i) {axis = 1}",
    ],
)
def test_other_ways_stay(text: str) -> None:
    assert_keeps(Simplify(), X + text)


def test_states_of_zeros_are_none() -> None:
    assert_rewrites(Simplify(), before=SERIES + TOLD.format("0.0"), after=SERIES + TOLD_NOTHING)
    assert_keeps(Simplify(), SERIES + TOLD.format("0.5"))


def test_activations_that_are_the_operators_own_are_not_named() -> None:
    named = '%y, %h, %c = LSTM(%x, @w, @r) {{activations = ["Sigmoid","Tanh","{}"]}}'
    assert_rewrites(Simplify(), before=SERIES + named.format("Tanh"), after=SERIES + TOLD_NOTHING)
    assert_keeps(Simplify(), SERIES + named.format("Relu"))


def test_states_of_zeros_for_a_batch_that_is_open() -> None:
    series = SERIES.replace("f32[7,2,4]", "f32[7,n,4]")
    zeros = "constant @z = splat<0.0> : f32[1,1,1]  %s = Expand(@z) {shape = [1,n,3]}  "
    gru = "%y, %h = GRU(%x, @w9, @r9, none, none, %s)  "
    series = series.replace("f32[1,12,4]", "f32[1,9,4]").replace("f32[1,12,3]", "f32[1,9,3]")
    told = series + zeros + gru.replace("9", "")
    assert_rewrites(Simplify(), before=told, after=series + "%y, %h = GRU(%x, @w, @r)")
