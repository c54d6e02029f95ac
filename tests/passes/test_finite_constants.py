"""Infinite constants of masks become finite, where that changes nothing but what is beyond all else."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ir import Array
from uair.passes.finite_constants import FiniteConstants
from uair.pipeline import PassContext
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module

MASK = "constant @c = [0.0,{0},0.0] : f32[3]  "
LEAST = "-3.4028235e+38"


@pytest.mark.parametrize("value", ["-inf", LEAST, "-70000.0"])
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%x: f32[2,3]  %a = Add(%x, @c)  %y = Softmax(%a)", id="softmax"),
        pytest.param("%x: f32[2,3]  %a = Add(%x, @c)  %b = Flip(%a) {axes = [0]}  %y = Softmax(%b)", id="moved"),
        pytest.param("%x: f32[2,3]  %a = Maximum(%x, @c)  %y = ReduceMax(%a)", id="maximum"),
        pytest.param("%m: bool[2,3]  %x: f32[2,3]  %a = Where(%m, @c, %x)  %y = Softmax(%a)", id="where"),
        pytest.param("%m: bool[2,3]  %f = Cast(%m)  %a = Mul(%f, @c)  %y = Softmax(%a)", id="mask-product"),
        pytest.param(
            "constant @one = 1.0 : f32[]  constant @s = 0.125 : f32[]  %m: bool[2,3]  %x: f32[2,3]  %f = Cast(%m)"
            "  %g = Sub(@one, %f)  %a = Mul(%g, @c)  %b = Add(%x, %a)  %d = Mul(%b, @s)  %y = Softmax(%d)",
            id="attention",
        ),
        pytest.param("%x: i32[2,3]  %f = Cast(%x)  %a = Mul(%f, @c)  %y = Softmax(%a)", id="product-with-integers"),
        pytest.param(
            "constant @one = 1.0 : f32[]  %m: i64[2,3]  %x: f32[2,3]  %f = Cast(%m)  %g = Sub(@one, %f)"
            "  %a = Mul(%g, @c)  %b = Add(%x, %a)  %y = Softmax(%b)",
            id="attention-with-a-mask-of-integers",
        ),
    ],
)
def test_rewrites(text: str, value: str) -> None:
    text = MASK + text
    before, after = text.replace("{0}", value), text.replace("{0}", "-10000.0")
    assert_rewrites(FiniteConstants(), before=before, after=after)


def test_padding() -> None:
    text = "%x: f32[1,1,4]  %a = Pad(%x) {pads = [0,0,1,0,0,1], value = VALUE}  %y = MaxPool1D(%a) {kernel = [2]}"
    assert_rewrites(FiniteConstants(), before=text.replace("VALUE", "-inf"), after=text.replace("VALUE", "-10000.0"))
    assert_keeps(FiniteConstants(), text.replace("VALUE", "inf"))
    assert_keeps(FiniteConstants(), text.replace("VALUE", "-60000.0"))


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%x: f32[2,3]  %y = Add(%x, @c)", id="result"),
        pytest.param("%x: f32[2,3]  %a = Add(%x, @c)  %y = IsInf(%a)", id="asks-for-infinity"),
        pytest.param("%x: f32[2,3]  %a = Add(%x, @c)  %b = Softmax(%a)  %y = Abs(%a)", id="one-of-two-uses"),
        pytest.param("%x: f32[2,3]  %a = Mul(%x, @c)  %y = Softmax(%a)", id="product-with-any-number"),
        pytest.param("%x: i32[2,3]  %f = Cast(%x)  %a = Mul(%f, @c)  %y = ReduceMax(%a)", id="negative-integers"),
        pytest.param("%x: f32[2,3]  %a = Sub(%x, @c)  %y = ReduceMax(%a)", id="the-greatest-is-what-is-left"),
        pytest.param("%x: f32[2,3]  %a = Add(%x, @c)  %b = Neg(%a)  %y = Relu(%b)", id="negated"),
        pytest.param(
            "constant @s = 0.001 : f32[]  %x: f32[2,3]  %a = Add(%x, @c)  %b = Mul(%a, @s)  %y = Softmax(%b)",
            id="scaled-down",
        ),
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(FiniteConstants(), MASK.replace("{0}", "-inf") + text)


@pytest.mark.parametrize("number", ["65504.0", "nan", "-10000.0"])
def test_numbers_that_float16_holds_stay(number: str) -> None:
    text = MASK.replace("{0}", number) + "%x: f32[2,3]  %a = Add(%x, @c)  %y = Softmax(%a)"
    assert_keeps(FiniteConstants(), text)


def test_the_probabilities_stay_exactly() -> None:
    module = parse_module(MASK.replace("{0}", "-inf") + "%x: f32[8,3]  %a = Add(%x, @c)  %y = Softmax(%a)")
    feeds: dict[str, Array] = {"x": np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32) * 50}
    (want,) = run(module, feeds).values()
    assert FiniteConstants().run(module, PassContext())
    (got,) = run(module, feeds).values()
    assert np.array_equal(got, want)


def test_a_mask_of_integers_is_no_nan_in_float16() -> None:
    """(1 - mask) times the least float, as BERT and T5 are exported: float16 has minus infinity for it."""
    text = """constant @one = 1.0 : f16[]  constant @c = VALUE : f16[]
    %m: i64[1,3]  %x: f16[1,3]  %f = Cast(%m) {to = f16}  %g = Sub(@one, %f)
    %a = Mul(%g, @c)  %b = Add(%x, %a)  %y = Softmax(%b)"""
    module = parse_module(text.replace("VALUE", "-inf"))
    feeds: dict[str, Array] = {"m": np.array([[1, 1, 0]]), "x": np.array([[1, 2, 3]], np.float16)}
    assert np.isnan(run(module, feeds)["y"]).all()
    assert FiniteConstants().run(module, PassContext())
    weights = np.exp([1.0, 2.0, -np.inf])
    np.testing.assert_allclose(run(module, feeds)["y"][0], weights / weights.sum(), atol=1e-3)
