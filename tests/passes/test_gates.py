"""Gates that are lines between two bounds, in every spelling, and factors behind activations of convolutions."""

from __future__ import annotations

import pytest

from tests.passes.test_fusion import WEIGHTS, fused, ops
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.fusion.batch_norm import FoldScaleThroughActivation
from uair.pipeline import PassContext
from uair.testing import assert_keeps

NUMBERS = "".join(
    f"constant @{name} = {value} : f32[]  "
    for name, value in {
        "three": 3.0,
        "six": 6.0,
        "half": 0.5,
        "sixth": 0.16666667,
        "fifth": 0.2,
        "halfway": 2.5,
        "two": 2.0,
        "less": -2.0,
    }.items()
)
X = "%x: f32[2,3]  "
UNIT = "{min = 0.0, max = 1.0}  "
GATES = {
    "quotient, sum": (f"%a = Div(%x, @six)  %b = Add(%a, @half)  %g = Clip(%b) {UNIT}", 1 / 6),
    "product, sum": (f"%a = Mul(@sixth, %x)  %b = Add(@half, %a)  %g = Clip(%b) {UNIT}", 1 / 6),
    "sum, quotient": (f"%a = Add(%x, @three)  %b = Div(%a, @six)  %g = Clip(%b) {UNIT}", 1 / 6),
    "sum, product": (f"%a = Add(%x, @three)  %b = Mul(%a, @sixth)  %g = Clip(%b) {UNIT}", 1 / 6),
    "sum turned": (f"%a = Add(@three, %x)  %b = Mul(@sixth, %a)  %g = Clip(%b) {UNIT}", 1 / 6),
    "bounds first": ("%a = Add(@three, %x)  %b = Clip(%a) {min = 0.0, max = 6.0}  %g = Mul(@sixth, %b)  ", 1 / 6),
    "a fifth": (f"%a = Mul(%x, @fifth)  %b = Add(%a, @half)  %g = Clip(%b) {UNIT}", 0.2),
    "a fifth behind": (f"%a = Add(%x, @halfway)  %b = Mul(%a, @fifth)  %g = Clip(%b) {UNIT}", 0.2),
    "two bounds": ("%a = Div(%x, @six)  %b = Add(%a, @half)  %c = Relu(%b)  %g = Clip(%c) {max = 1.0}  ", 1 / 6),
}


def optimized(text: str) -> Module:
    """Canonicalised, fused, and checked to compute the same."""
    module = fused(text)
    Canonicalise().run(module, PassContext())
    Fuse().run(module, PassContext())
    return module


@pytest.mark.parametrize("gate", GATES)
def test_lines_between_two_bounds(gate: str) -> None:
    spelled, slope = GATES[gate]
    alone = optimized(NUMBERS + X + spelled + "%y = Neg(%g)")
    assert ops(alone) == ["HardSigmoid", "Neg"] and next(iter(alone.main)).attributes["alpha"] == pytest.approx(slope)
    gated = ops(optimized(NUMBERS + X + spelled + "%y = Mul(%x, %g)"))
    assert gated == (["HardSwish"] if slope < 0.2 else ["HardSigmoid", "Mul"])


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@six = 6.0", "@six = 2.0"),
        ("@half = 0.5", "@half = 0.25"),
        ("max = 1.0", "max = 2.0"),
        ("min = 0.0, ", ""),
        ("@half = 0.5 : f32[]", "@half = splat<0.5> : f32[4,1,1]"),
    ],
)
def test_other_lines_are_no_gate(old: str, new: str) -> None:
    text = NUMBERS + X + GATES["quotient, sum"][0]
    assert old in text
    assert "HardSigmoid" not in ops(optimized(text.replace(old, new)))


@pytest.mark.parametrize("first", ["Div(%x, @six)", "Mul(%x, @sixth)", "Mul(@sixth, %x)"])
@pytest.mark.parametrize("product", ["Mul(%d, %c)", "Mul(%c, %d)"])
def test_hard_swish_whose_first_factor_is_divided(first: str, product: str) -> None:
    for total in ("Add(%x, @three)", "Add(@three, %x)"):
        gate = f"%d = {first}  %a = {total}  %c = Clip(%a) {{min = 0.0, max = 6.0}}  %y = {product}"
        assert ops(fused(NUMBERS + X + gate)) == ["HardSwish"]


@pytest.mark.parametrize(
    ("activation", "factor"),
    [
        ("Relu(%c)", "Mul(%a, @two)"),
        ("LeakyRelu(%c) {alpha = 0.1}", "Mul(@two, %a)"),
        ("Clip(%c) {min = -1.0, max = 0.5}", "Div(%a, @two)"),
        ("Clip(%c) {max = 0.5}", "Mul(%a, @two)"),
    ],
)
def test_a_factor_behind_an_activation_goes_into_weights(activation: str, factor: str) -> None:
    text = f"{WEIGHTS}{NUMBERS}%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  %a = {activation}  %y = {factor}"
    assert len(fused(text).main) == 2


def test_the_gate_behind_a_convolution_is_a_clip() -> None:
    gate = "%a = Add(%c, @three)  %b = Clip(%a) {min = 0.0, max = 6.0}  %y = Div(%b, @six)"
    module = fused(f"{WEIGHTS}{NUMBERS}%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  {gate}")
    assert ops(module) == ["Conv2D", "Clip"] and list(module.main)[-1].attributes == {"min": 0.0, "max": 1.0}


@pytest.mark.parametrize(
    ("activation", "factor"),
    [
        ("Relu(%c)", "Mul(%a, @less)"),
        ("Sigmoid(%c)", "Mul(%a, @two)"),
        ("Relu(%c)", "Div(@two, %a)"),
        ("Relu(%c)", "Mul(%a, %c)"),
    ],
)
def test_other_factors_stay(activation: str, factor: str) -> None:
    text = f"{WEIGHTS}{NUMBERS}%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  %a = {activation}  %y = {factor}"
    assert_keeps([FoldScaleThroughActivation()], text)
