"""Logarithms of sums of squares are computed in the range of float16."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ir import Array
from uair.passes.log_of_squares import LogOfSquares
from uair.pipeline import PassContext
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module, print_module

EPS = "constant @eps = 1e-10 : f32[]  "
POWER = "%x: f32[3,5,2]  %q = Mul(%x, %x)  %s = ReduceSum(%q) {axes = [2], keepdims = KEEP}  "
FORMS = {
    "plain": "%a = Add(%s, @eps)  %y = Log(%a)",
    "constant-first": "%a = Add(@eps, %s)  %y = Log(%a)",
    "root-and-square": "%r = Sqrt(%s)  %t = Mul(%r, %r)  %a = Add(%t, @eps)  %y = Log(%a)",
    "moved": "%r = Sqrt(%s)  %m = Reshape(%r) {shape = [5,3]}  %t = Mul(%m, %m)"
    "  %p = Transpose(%t) {perm = [1,0]}  %a = Add(%p, @eps)  %y = Log(%a)",
}


def spectrum() -> Array:
    """Real and imaginary parts of quiet and loud sounds: powers of 10 from 1e-6 to 1e3, and silence."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-6, 3, (3, 5, 1))
    size[0, 0] = 0
    return (size * rng.standard_normal((3, 5, 2))).astype(np.float32)


def test_one_square() -> None:
    """The root of the constant, 2^-18, is scaled to 2^-12."""
    assert_rewrites(
        LogOfSquares(),
        before="constant @eps = 1.4551915228366852e-11 : f32[]  %x: f32[4,1]"
        "  %s = ReduceSumSquare(%x) {axes = [-1]}  %a = Add(%s, @eps)  %y = Log(%a)",
        after="""constant @scale = 64.0 : f32[]  constant @e = 0.000244140625 : f32[]  constant @two = 2.0 : f32[]
            constant @back = -8.317766 : f32[]
            %x: f32[4,1]
            %u = Mul(%x, @scale)
            %p = Slice(%u) {axes = [1], starts = [0], ends = [1], steps = [1]}
            %g = Abs(%p)
            %m = Clip(%g) {min = 0.000244140625}
            %l = Log(%m)
            %d = Mul(%l, @two)
            %t = Div(@e, %m)
            %w = Mul(%t, %t)
            %r = Div(%p, %m)
            %v = Mul(%r, %r)
            %n = Add(%v, %w)
            %k = Log(%n)
            %z = Add(%k, %d)
            %y = Add(%z, @back)""",
    )


@pytest.mark.parametrize("keep", ["true", "false"])
@pytest.mark.parametrize("form", FORMS)
def test_the_numbers_stay(form: str, keep: str) -> None:
    module = parse_module(EPS + POWER.replace("KEEP", keep) + FORMS[form])
    feeds = {"x": spectrum()}
    (want,) = run(module, feeds).values()
    assert LogOfSquares().run(module, PassContext())
    (got,) = run(module, feeds).values()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=2e-6)


def test_float16_holds_them() -> None:
    """The original gives infinities of both signs in float16; the rewritten form stays close to the truth."""
    module = parse_module(EPS + POWER.replace("KEEP", "false") + FORMS["plain"])
    x = spectrum()
    (want,) = run(module, {"x": x}).values()
    LogOfSquares().run(module, PassContext())
    narrow = parse_module(print_module(module).replace(": f32", ": f16"))
    (got,) = run(narrow, {"x": x.astype(np.float16)}).values()
    np.testing.assert_allclose(got.astype(np.float32), want, rtol=0.01, atol=0.05)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param(
            "%x: f32[4,2]  %s = ReduceSum(%x) {axes = [1]}  %a = Add(%s, @eps)  %y = Log(%a)", id="no-squares"
        ),
        pytest.param(
            "%x: f32[4,8]  %q = Mul(%x, %x)  %s = ReduceSum(%q) {axes = [1]}  %a = Add(%s, @eps)  %y = Log(%a)",
            id="many-squares",
        ),
        pytest.param(
            "%x: f32[2,2]  %q = Mul(%x, %x)  %s = ReduceSum(%q)  %a = Add(%s, @eps)  %y = Log(%a)", id="all-axes"
        ),
        pytest.param(
            "constant @one = 1.0 : f32[]  %x: f32[4,2]  %q = Mul(%x, %x)  %s = ReduceSum(%q) {axes = [1]}"
            "  %a = Add(%s, @one)  %y = Log(%a)",
            id="large-constant",
        ),
        pytest.param("%x: f32[4,2]  %q = Mul(%x, %x)  %s = ReduceSum(%q) {axes = [1]}  %y = Log(%s)", id="no-constant"),
        pytest.param(
            "%x: f32[4,2]  %q = Mul(%x, %x)  %s = ReduceSum(%q) {axes = [1]}  %t = Mul(%s, %s)  %a = Add(%t, @eps)"
            "  %y = Log(%a)",
            id="square-of-no-root",
        ),
    ],
)
def test_keeps(text: str) -> None:
    assert_keeps(LogOfSquares(), (EPS if "@eps" in text else "") + text)
