"""Roots of sums of squares are computed in the range of float16."""

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import run
from uair.ir import Array
from uair.passes.root_of_squares import RootOfSquares
from uair.pipeline import PassContext
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module, print_module

SQUARES = "%a: f32[5,4] %b: f32[5,4]  %p = Mul(%a, %a)  %q = Mul(%b, %b)  %s = Add(%p, %q)  "
FORMS = {
    "plain": SQUARES + "%y = Sqrt(%s)",
    "moved": SQUARES + "%t = Transpose(%s) {perm = [1,0]}  %r = Reshape(%t) {shape = [20]}"
    "  %u = Slice(%r) {axes = [0], starts = [0], ends = [13], steps = [1]}  %y = Sqrt(%u)",
    "three": SQUARES + "%c: f32[5,4]  %k = Mul(%c, %c)  %w = Add(%k, %s)  %y = Sqrt(%w)",
}


def feeds(form: str) -> dict[str, Array]:
    """Spectra of quiet and loud sounds: powers of 10 from 1e-4 to 1e4, and silence."""
    rng = np.random.default_rng(0)
    size = 10.0 ** rng.uniform(-4, 4, (5, 4))
    size[0, 0] = 0
    names = "abc" if form == "three" else "ab"
    return {name: (size * rng.uniform(-1, 1, (5, 4))).astype(np.float32) for name in names}


def test_two_squares() -> None:
    assert_rewrites(
        RootOfSquares(),
        before="%a: f32[4] %b: f32[4]  %p = Mul(%a, %a)  %q = Mul(%b, %b)  %s = Add(%p, %q)  %y = Sqrt(%s)",
        after="""%a: f32[4] %b: f32[4]
            %h = Abs(%b)
            %g = Abs(%a)
            %i = Maximum(%g, %h)
            %m = Clip(%i) {min = 6.103515625e-05}
            %d = Div(%b, %m)
            %q = Mul(%d, %d)
            %c = Div(%a, %m)
            %p = Mul(%c, %c)
            %s = Add(%p, %q)
            %r = Sqrt(%s)
            %y = Mul(%r, %m)""",
    )


@pytest.mark.parametrize("form", FORMS)
def test_the_numbers_stay(form: str) -> None:
    module = parse_module(FORMS[form])
    (want,) = run(module, feeds(form)).values()
    assert RootOfSquares().run(module, PassContext())
    (got,) = run(module, feeds(form)).values()
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_float16_holds_them(form: str) -> None:
    """The original overflows and vanishes in float16; the rewritten form is within four roundings of the truth."""
    module = parse_module(FORMS[form])
    given = {name: x.astype(np.float16) for name, x in feeds(form).items()}
    (want,) = run(module, {name: x.astype(np.float32) for name, x in given.items()}).values()

    def narrow() -> Array:
        with np.errstate(over="ignore"):
            (y,) = run(parse_module(print_module(module).replace(": f32", ": f16")), given).values()
        return np.asarray(y, np.float32)

    before = narrow()
    assert np.isinf(before).any() and (before[want > 0] == 0).any()
    RootOfSquares().run(module, PassContext())
    np.testing.assert_allclose(narrow(), want, rtol=4 * 2.0**-11, atol=2.0**-24)


def test_what_is_rewritten_stays_so() -> None:
    module = parse_module(FORMS["plain"])
    assert RootOfSquares().run(module, PassContext())
    assert not RootOfSquares().run(module, PassContext())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%a: f32[4]  %p = Mul(%a, %a)  %y = Sqrt(%p)", id="one-square"),
        pytest.param("%a: f32[4] %b: f32[4]  %p = Mul(%a, %a)  %s = Add(%p, %b)  %y = Sqrt(%s)", id="no-square"),
        pytest.param(
            "%a: f32[4] %b: f32[1]  %p = Mul(%a, %a)  %q = Mul(%b, %b)  %s = Add(%p, %q)  %y = Sqrt(%s)",
            id="broadcast",
        ),
        pytest.param(FORMS["plain"].replace("f32", "f64"), id="float64"),
    ],
)
def test_others_are_kept(text: str) -> None:
    assert_keeps(RootOfSquares(), text)
