"""Functions that models spell out become one operator, and others do not; onnxruntime computes both."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import uair
from tests.passes.judging import optimized
from uair.codegen.reference import random_feeds
from uair.text import parse_module

NUMBERS = (
    "constant @zero = 0.0 : f32[]  constant @one = 1.0 : f32[]  constant @two = 2.0 : f32[]  constant @half = 0.5 : f32[]  "
    "constant @limit = 20.0 : f32[]  constant @low = 5.0 : f32[]  constant @quick = 1.702 : f32[]  constant @tiny = 1e-12 : f32[]  "
    "constant @k = 0.7978845608 : f32[]  constant @c = 0.044715 : f32[]  constant @slopes = [0.25,-0.5,2.0] : f32[3]  "
    "constant @yes = [true,true] : bool[2]  constant @mixed = [true,false,true] : bool[3]  "
    "constant @row = [1.0,1.0,1.0] : f32[1,1,3]  "
)


def fused(text: str) -> list[str]:
    """The operators after canonicalisation and fusion, which compute what onnxruntime does of the text as it is."""
    module = parse_module(NUMBERS + text)
    feeds = {name: np.asarray(3 * value, value.dtype) for name, value in random_feeds(module.main).items()}
    optimized(module, feeds, relative=1e-5, absolute=2e-6)
    return [node.op_type for node in module.main]


X = "%x: f32[2,3]  "
EXP = X + "%n = Neg(%x)  %e = Exp(%n)  "


@pytest.mark.parametrize(
    ("text", "op"),
    [
        (EXP + "%s = Add(@one, %e)  %y = Div(@one, %s)", "Sigmoid"),
        (EXP + "%s = Add(%e, @one)  %y = Reciprocal(%s)", "Sigmoid"),
        (EXP + "%s = Add(%e, @one)  %y = Div(%x, %s)", "Swish"),
        (X + "%a = Mul(@quick, %x)  %s = Sigmoid(%a)  %y = Mul(%s, %x)", "Gelu"),
        (X + "%a = Mul(%x, @two)  %s = Sigmoid(%a)  %y = Mul(%x, %s)", "Swish"),
        (X + "%e = Exp(%x)  %y = Log1p(%e)", "Softplus"),
        (X + "%r = Relu(%x)  %b = Abs(%x)  %n = Neg(%b)  %e = Exp(%n)  %s = Add(%e, @one)  %l = Log(%s)  %y = Add(%r, %l)", "Softplus"),
        (X + "%c = Greater(%x, @limit)  %s = Softplus(%x)  %w = Where(%c, %x, %s)  %t = Tanh(%w)  %y = Mul(%x, %t)", "Mish"),
        (X + "%e = Exp(%x)  %s = Add(%e, @one)  %l = Log(%s)  %t = Tanh(%l)  %y = Mul(%x, %t)", "Mish"),
        (X + "%e = Exp(%x)  %s = ReduceSum(%e) {axes = [1]}  %y = Div(%e, %s)", "Softmax"),
        (X + "%s = Softmax(%x) {axis = 0}  %y = Log(%s)", "LogSoftmax"),
        (X + "%g = ReduceMax(%x) {axes = [-1], keepdims = true}  %d = Sub(%x, %g)  %y = Softmax(%d) {axis = 1}", "Softmax"),
        (X + "%c = GreaterEqual(%x, @zero)  %a = Mul(@two, %x)  %y = Where(%c, %x, %a)", "LeakyRelu"),
        (X + "%a = Mul(@half, %x)  %y = Maximum(%a, %x)", "LeakyRelu"),
        (X + "%c = Greater(%x, @zero)  %e = Expm1(%x)  %f = Mul(%e, @half)  %y = Where(%c, %x, %f)", "Elu"),
        (X + "%c = Greater(%x, @zero)  %e = Exp(%x)  %f = Sub(%e, @one)  %y = Where(%c, %x, %f)", "Elu"),
        (X + "%a = Relu(%x)  %n = Neg(%x)  %b = Relu(%n)  %c = Mul(@slopes, %b)  %y = Add(%a, %c)", "PRelu"),
        (X + "%n = ReduceL1(%x) {axes = [0]}  %m = Maximum(%n, @tiny)  %y = Div(%x, %m)", "LpNormalize"),
        (X + "%h = Mul(%x, @half)  %a = Mul(%x, @k)  %b = Mul(@c, %x)  %d = Mul(%b, %x)  %e = Add(%d, @one)  %f = Mul(%a, %e)  %t = Tanh(%f)  %g = Add(%t, @one)  %y = Mul(%h, %g)", "Gelu"),
        (X + "%h = Mul(%x, @half)  %a = Mul(%x, @k)  %b = Mul(%x, %x)  %d = Mul(%b, @c)  %e = Add(@one, %d)  %f = Mul(%a, %e)  %t = Tanh(%f)  %g = Add(%t, @one)  %y = Mul(%h, %g)", "Gelu"),
    ],
)  # fmt: skip
def test_spelled_functions_are_one_operator(text: str, op: str) -> None:
    assert fused(text) == [op]


@pytest.mark.parametrize(
    ("text", "op"),
    [
        (EXP + "%s = Add(%e, @two)  %y = Reciprocal(%s)", "Sigmoid"),
        (EXP + "%s = Add(%e, @row)  %y = Reciprocal(%s)", "Sigmoid"),
        (EXP + "%s = Add(%e, @one)  %y = Div(%e, %s)", "Swish"),
        (X + "%a = Mul(%x, @slopes)  %s = Sigmoid(%a)  %y = Mul(%x, %s)", "Swish"),
        (X + "%e = Exp(%x)  %s = Add(%e, @half)  %y = Log(%s)", "Softplus"),
        (X + "%e = Exp(%x)  %s = ReduceSum(%e) {axes = [0, 1]}  %y = Div(%e, %s)", "Softmax"),
        (X + "%m = ReduceMax(%x) {axes = [0]}  %d = Sub(%x, %m)  %e = Exp(%d)  %s = ReduceSum(%e) {axes = [0, 1]}  %y = Div(%e, %s)", "Softmax"),
        (X + "%s = Softmax(%x) {axis = 1}  %l = Log(%s)  %y = Add(%l, %s)", "LogSoftmax"),
        (X + "%a = Mul(@two, %x)  %y = Maximum(%a, %x)", "LeakyRelu"),
        (X + "%c = Greater(%x, @half)  %a = Mul(@two, %x)  %y = Where(%c, %x, %a)", "LeakyRelu"),
        (X + "%a = Mul(@slopes, %x)  %y = Maximum(%a, %x)", "LeakyRelu"),
        (X + "%c = Greater(%x, @zero)  %e = Exp(%x)  %f = Sub(%e, @half)  %y = Where(%c, %x, %f)", "Elu"),
        (X + "%a = Relu(%x)  %b = Neg(%a)  %c = Relu(%b)  %d = Mul(@slopes, %x)  %e = Add(%c, %d)  %y = Add(%a, %e)", "PRelu"),
        (X + "%n = ReduceL2(%x) {axes = [0]}  %y = Div(%x, %n)", "LpNormalize"),
        (X + "%n = ReduceL2(%x) {axes = [0]}  %m = Clip(%n) {min = 0.1, max = 2.0}  %y = Div(%x, %m)", "LpNormalize"),
        (X + "%c = Greater(%x, @low)  %s = Softplus(%x)  %y = Where(%c, %x, %s)", ""),
    ],
)  # fmt: skip
def test_other_functions_stay(text: str, op: str) -> None:
    found = fused(text)
    assert len(found) > 1 and op not in found


def test_a_decided_where_is_its_branch() -> None:
    text = X + "%z: f32[2,3]  %a = Relu(%x)  %w = Where(@true, %a, %z)  %y = Mul(%w, %z)"
    assert fused("constant @true = true : bool[]  " + text) == ["Relu", "Mul"]
    mixed = X + "%z: f32[2,3]  %y = Where(@mixed, %x, %z)"
    assert fused(mixed) == ["Where"]
    spread = "%x: f32[3]  %z: f32[2,3]  constant @true = true : bool[]  %w = Where(@true, %x, %z)  %y = Add(%w, %z)"
    assert "Where" in fused(spread)


IMAGE = (
    "constant @eps = 1e-6 : f32[]  constant @w = [1.5,-0.5,2.0] : f32[3,1,1]  constant @b = [0.5,0.25,-1.0] : f32[1,3,1,1]  "
    "%x: f32[2,3,4,5]  "
)


def spelled_norm(axis: int, other: int, scale: str = "@w") -> str:
    return IMAGE + (
        f"%m = ReduceMean(%x) {{axes = [{axis}]}}  %d = Sub(%x, %m)  %p = Pow(%d, @two)  "
        f"%v = ReduceMean(%p) {{axes = [{other}]}}  %s = Add(%v, @eps)  %q = Sqrt(%s)  %r = Div(%d, %q)  "
        f"%a = Mul({scale}, %r)  %y = Add(%a, @b)"
    )


def test_layer_norm_over_the_channels_of_images() -> None:
    """ConvNeXt's LayerNorm2d."""
    assert fused(spelled_norm(1, 1)) == ["Transpose", "LayerNorm", "Transpose"]


@pytest.mark.parametrize(("axis", "other"), [(2, 2), (1, 2), (0, 0)])
def test_norms_over_other_axes_of_images_stay(axis: int, other: int) -> None:
    assert "LayerNorm" not in fused(spelled_norm(axis, other))


def test_a_scale_by_column_is_none_of_the_channels() -> None:
    text = "constant @columns = [1.0,2.0,3.0,0.5,0.25] : f32[5]  " + spelled_norm(1, 1, "@columns")
    assert fused(text)[:3] == ["Transpose", "LayerNorm", "Transpose"] and len(fused(text)) == 5


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
@pytest.mark.parametrize(
    "spelled",
    [
        "%d = Div(%x, @root)  %e = Erf(%d)  %a = Add(%e, @one)  %m = Mul(%x, %a)  %y = Mul(%m, @half)",
        "%p = Pow(%x, @three)  %m = Mul(%p, @c)  %a = Add(%x, %m)  %i = Mul(%a, @k)  %t = Tanh(%i)  %b = Add(%t, @one)  %h = Mul(%x, @half)  %y = Mul(%h, %b)",
    ],
    ids=["erf", "tanh"],
)
def test_gelu_with_constants_that_16_bits_round(spelled: str, dtype: Any) -> None:
    """The numbers are as near as the type has them; the judge is the formula in float64."""
    kind = "f16" if dtype is np.float16 else "bf16"
    values = {"root": np.sqrt(2), "half": 0.5, "one": 1, "three": 3, "c": 0.044715, "k": np.sqrt(2 / np.pi)}
    constants = "  ".join(f"constant @{n} = {float(np.asarray(v, dtype))!r} : {kind}[]" for n, v in values.items())
    module = uair.optimize(parse_module(f"{constants}  %x: {kind}[9]  {spelled}"))
    assert [node.op_type for node in module.main] == ["Gelu"]
    x = np.linspace(-3, 3, 9).astype(dtype)
    (got,) = uair.run(module, {"x": x}).values()
    wide = x.astype(np.float64)
    want = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in wide]
    np.testing.assert_allclose(got.astype(np.float64), want, atol=0.01)
