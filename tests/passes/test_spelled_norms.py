"""Normalizations in every spelling: variances by moments, roots as powers, scales inside of the quotient, norms."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.test_fusion import fused, ops, vector
from uair.codegen.reference import run
from uair.passes.fuse import Fuse, ruleset
from uair.passes.fusion.norm_parameters import ScaleBehindQuotient
from uair.passes.fusion.normalization import RMSNormByNorm
from uair.pipeline import PassContext
from uair.rewrite import NoMatch
from uair.testing import assert_keeps
from uair.text import parse_module

NUMBERS = "constant @2 = 2.0 : f32[]  constant @1 = 1.0 : f32[]  constant @h = 0.5 : f32[]  constant @l = -0.5 : f32[]  constant @e = 0.001 : f32[]  "
PARAMETERS = vector("g", 1.0, -2.0, 3.0, 0.5) + vector("b", 0.5, 0.25, 0.125, 1.0)
X = "%x: f32[2,3,4]  "
MEAN = "%m = ReduceMean(%x) {axes = [{axes}]}  %c = Sub(%x, %m)  "
VARIANCES = {
    "centred power": "%q = Pow(%c, @2)  %v = ReduceMean(%q) {axes = [{axes}]}  ",
    "moments": "%q = Mul(%x, %x)  %p = ReduceMean(%q) {axes = [{axes}]}  %k = Mul(%m, %m)  %v = Sub(%p, %k)  ",
    "moments, powers": "%q = Pow(%x, @2)  %p = ReduceMean(%q) {axes = [{axes}]}  %k = Pow(%m, @2)  %v = Sub(%p, %k)  ",
    "moments, bounded": "%q = Mul(%x, %x)  %p = ReduceMean(%q) {axes = [{axes}]}  %k = Mul(%m, %m)  %w = Sub(%p, %k)  %v = Relu(%w)  ",
}
QUOTIENTS = {
    "root": "%s = Sqrt(%a)  %n = Div({x}, %s)  ",
    "power": "%s = Pow(%a, @h)  %n = Div({x}, %s)  ",
    "inverse": "%s = Rsqrt(%a)  %n = Mul(%s, {x})  ",
    "inverse power": "%s = Pow(%a, @l)  %n = Mul({x}, %s)  ",
    "one by the root": "%s = Sqrt(%a)  %r = Div(@1, %s)  %n = Mul({x}, %r)  ",
    "reciprocal": "%s = Sqrt(%a)  %r = Reciprocal(%s)  %n = Mul({x}, %r)  ",
}


def spelled(variance: str, quotient: str, axes: str = "-1", x: str = "%c") -> str:
    text = MEAN + VARIANCES[variance] + "%a = Add(%v, @e)  "
    return NUMBERS + PARAMETERS + X + text.replace("{axes}", axes) + QUOTIENTS[quotient].format(x=x)


@pytest.mark.parametrize("variance", VARIANCES)
@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_layer_norm(variance: str, quotient: str) -> None:
    (node,) = fused(spelled(variance, quotient) + "%t = Mul(%n, @g)  %y = Add(@b, %t)").main
    assert node.op_type == "LayerNorm" and len(node.inputs) == 3
    assert node.attributes == {"axis": 2, "epsilon": pytest.approx(0.001)}


@pytest.mark.parametrize("quotient", QUOTIENTS)
def test_a_scale_inside_of_the_quotient(quotient: str) -> None:
    text = spelled("moments", quotient, x="%i").replace("%a = ", "%i = Mul(@g, %c)  %a = ")
    (node,) = fused(text + "%y = Add(%n, @b)").main
    assert node.op_type == "LayerNorm" and len(node.inputs) == 3


def test_a_scale_of_the_inverse_root() -> None:
    text = spelled("moments", "inverse").replace("%n = Mul(%s, %c)", "%r = Mul(%s, @g)  %n = Mul(%r, %c)")
    (node,) = fused(text + "%y = Add(%n, @b)").main
    assert node.op_type == "LayerNorm" and len(node.inputs) == 3


@pytest.mark.parametrize("variance", [v for v in VARIANCES if v.startswith("moments")])
def test_layer_norm_spread_over_scale_and_shift(variance: str) -> None:
    text = MEAN.partition("%c =")[0] + VARIANCES[variance] + "%a = Add(%v, @e)  %s = Rsqrt(%a)  %r = Mul(%s, @g)  "
    text += "%t = Mul(%m, %r)  %u = Sub(@b, %t)  %w2 = Mul(%x, %r)  %y = Add(%w2, %u)"
    (node,) = fused(NUMBERS + PARAMETERS + X + text.replace("{axes}", "2")).main
    assert node.op_type == "LayerNorm" and len(node.inputs) == 3


def test_moments_of_channels_of_rows_and_columns_and_of_groups() -> None:
    image = "%x: f32[2,4,3,5]  constant @i = [1.0,-2.0,3.0,0.5] : f32[4,1,1]  "
    channels = spelled("moments", "root", "1").replace(X, image) + "%y = Mul(%n, @i)"
    assert ops(fused(channels)) == ["Transpose", "LayerNorm", "Transpose"]
    instances = spelled("moments", "root", "2, 3").replace(X, image) + "%y = Mul(%n, @i)"
    assert ops(fused(instances)) == ["InstanceNorm"]
    groups = spelled("moments", "root").replace(X, "%o: f32[2,4,3,5]  %x = Reshape(%o) {shape = [2,2,30]}  ")
    assert ops(fused(groups + "%y = Reshape(%n) {shape = [2,4,3,5]}")) == ["GroupNorm"]


def test_open_sizes() -> None:
    text = spelled("moments", "inverse power").replace(X, "%x: f32[b,s,4]  ") + "%t = Mul(%n, @g)  %y = Add(@b, %t)"
    module = parse_module(text)
    Fuse().run(module, PassContext())
    assert ops(module) == ["LayerNorm"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%k = Mul(%m, %m)", "%k = Mul(%m, %p)"),  # not the square of the mean
        ("%v = Sub(%p, %k)", "%v = Sub(%k, %p)"),
        ("%p = ReduceMean(%q) {axes = [-1]}", "%p = ReduceMean(%q) {axes = [1]}"),
        ("@h = 0.5", "@h = 0.25"),
        ("@e = 0.001", "@e = 0.0"),
        ("%n = Div(%c, %s)", "%n = Div(%x, %s)"),
        ("%k = Mul(%m, %m)", "%k = Pow(%m, @h)"),
    ],
)
def test_other_quotients_are_no_layer_norm(old: str, new: str) -> None:
    text = spelled("moments", "power")
    assert old in text
    module = parse_module(text.replace(old, new) + "%y = Relu(%n)")
    Fuse().run(module, PassContext())
    assert "LayerNorm" not in ops(module)


def test_a_mean_that_is_used_elsewhere_stays() -> None:
    module = fused(spelled("moments", "root") + "%y = Mul(%n, %m)")
    assert "LayerNorm" not in ops(module)


RMS = (
    NUMBERS
    + vector("g", 1.0, -2.0, 3.0, 0.5)
    + "constant @z = 0.5 : f32[]  constant @w = 2.0 : f32[]  constant @t = 1e-9 : f32[]  "
    + X
)
BESIDE = {
    "nothing": "",
    "a summand": "%k = Add(@t, %r)  ",
    "a bound": "%k = Maximum(%r, @t)  ",
    "a clip": "%k = Clip(%r) {min = 1e-9}  ",
}
NORMS = {
    "norm by a product": "%d = ReduceL2(%x) {axes = [-1]}  %r = Mul(%d, @z)  ",
    "norm by a quotient": "%d = ReduceL2(%x) {axes = [-1]}  %r = Div(%d, @w)  ",
    "root of the mean": "%p = Pow(%x, @2)  %d = ReduceMean(%p) {axes = [-1]}  %r = Sqrt(%d)  ",
}


@pytest.mark.parametrize("beside", BESIDE)
@pytest.mark.parametrize("norm", NORMS)
def test_rms_norm_by_the_norm(norm: str, beside: str) -> None:
    text = RMS + (NORMS[norm] + BESIDE[beside] if BESIDE[beside] else NORMS[norm].replace("%r =", "%k ="))
    for end in ("%n = Div(%x, %k)  %y = Mul(%n, @g)", "%i = Mul(%x, @g)  %y = Div(%i, %k)"):
        (node,) = fused(text + end, tolerance=2e-6).main
        assert node.op_type == "RMSNorm" and len(node.inputs) == 2
        assert node.attributes == {"axis": 2, "epsilon": pytest.approx(1e-18 if BESIDE[beside] else 0)}


def test_zeros_stay_zeros() -> None:
    module = parse_module(RMS + NORMS["norm by a product"] + BESIDE["a summand"] + "%y = Div(%x, %k)")
    Fuse().run(module, PassContext())
    assert ops(module) == ["RMSNorm"]
    (result,) = run(module, {"x": np.zeros((2, 3, 4), np.float32)}).values()
    assert not result.any()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("@t = 1e-9", "@t = 1e-6"),  # would be seen in the result
        ("@t = 1e-9 : f32[]", "@t = -1e-9 : f32[]"),
        ("@z = 0.5", "@z = 0.25"),
        ("{axes = [-1]}", "{axes = [1]}"),
        ("{axes = [-1]}", "{axes = [-1], keepdims = false}"),
    ],
)
def test_other_norms_are_no_rms_norm(old: str, new: str) -> None:
    text = RMS + NORMS["norm by a product"] + BESIDE["a summand"] + "%y = Div(%x, %k)"
    assert old in text
    text = text.replace(old, new)
    assert_keeps([RMSNormByNorm()], text if "keepdims" not in new else text.replace("f32[2,3,4]", "f32[4,4,4]"))


def test_lp_normalize_with_a_scale_is_rms_norm() -> None:
    constants = vector("g", 1.0, -2.0, 3.0, 0.5) + "constant @r = 2.0 : f32[]  constant @s = 3.0 : f32[]  " + X
    for text, operands in (
        ("%n = LpNormalize(%x)  %a = Mul(%n, @r)  %y = Mul(%a, @g)", 2),
        ("%n = LpNormalize(%x)  %a = Mul(@g, %n)  %y = Mul(%a, @r)", 2),
        ("%n = LpNormalize(%x)  %y = Mul(%n, @r)", 1),
    ):
        (node,) = fused(constants + text).main
        assert node.op_type == "RMSNorm" and len(node.inputs) == operands
    for text in (
        "%n = LpNormalize(%x)  %y = Mul(%n, @s)",  # a scale of embeddings
        "%n = LpNormalize(%x) {p = 1}  %y = Mul(%n, @g)",
        "%n = LpNormalize(%x) {epsilon = 0.001}  %y = Mul(%n, @g)",
        "%n = LpNormalize(%x) {axis = 1}  %y = Mul(%n, @g)",
    ):
        assert ops(fused(constants + text)) == ["LpNormalize", "Mul"]


@pytest.mark.parametrize(
    ("norm", "root", "operands"),
    [
        ("LayerNorm(%x, @g, @b)", "Mul(@b, %n)", 3),
        ("LayerNorm(%x, @g, @b)", "Div(%n, @b)", 3),
        ("LayerNorm(%x, @g, @b)", "Add(@g, %n)", 3),
        ("LayerNorm(%x, @g, @b)", "Sub(%n, @2)", 3),
        ("LayerNorm(%x, @g)", "Sub(%n, @b)", 3),
        ("LayerNorm(%x, @g)", "Mul(%n, @b)", 2),
        ("RMSNorm(%x, @g)", "Div(%n, @2)", 2),
    ],
)
def test_what_follows_parameters_goes_into_them(norm: str, root: str, operands: int) -> None:
    (node,) = fused(NUMBERS + PARAMETERS + X + f"%n = {norm}  %y = {root}").main
    assert len(node.inputs) == operands


@pytest.mark.parametrize(
    "text",
    [
        "%n = RMSNorm(%x, @g)  %y = Add(%n, @b)",
        "%n = LayerNorm(%x, @g, @b)  %y = Sub(@b, %n)",
        "%n = LayerNorm(%x, @g, @b)  %y = Mul(%n, @f)",
        "%n = LayerNorm(%x, @g, @b)  %m = Mul(%n, @g)  %y = Add(%m, %n)",
    ],
)
def test_what_does_not_go_into_parameters(text: str) -> None:
    whole = PARAMETERS + "constant @f = [1.0,2.0,3.0] : f32[3,1]  " + X + text
    assert len(fused(whole).main) == text.count(" = ")


def test_why_a_scale_stays_in_front() -> None:
    text = PARAMETERS + X + "%o: f32[2,3,1]  %i = Mul(%x, @g)  %s = Sqrt(%o)  %y = Div(%i, %s)"
    root = list(parse_module(text).main)[-1]
    answer = ScaleBehindQuotient().match(root)
    assert isinstance(answer, NoMatch) and "no root of a mean of squares" in answer.reason
    assert any(isinstance(rule, ScaleBehindQuotient) for rule in ruleset().rules)
