"""Linear over more than two axes becomes a matrix product."""

from __future__ import annotations

import pytest

from uair.passes.flatten_linear import FlattenLinear
from uair.testing import assert_keeps, assert_rewrites

W = "constant @w = splat<1.0> : f32[5,4]  constant @b = splat<2.0> : f32[5]  "


@pytest.mark.parametrize(("shape", "rows", "result"), [("2,3,4", 6, "2,3,5"), ("2,1,3,4", 6, "2,1,3,5"), ("4", 1, "5")])
def test_axes_in_front_are_merged(shape: str, rows: int, result: str) -> None:
    assert_rewrites(
        FlattenLinear(),
        before=W + f"%x: f32[{shape}]  %y = Linear(%x, @w, @b)",
        after=W + f"%x: f32[{shape}]  %r = Reshape(%x) {{shape = [{rows},4]}}  %l = Linear(%r, @w, @b)"
        f"  %y = Reshape(%l) {{shape = [{result}]}}",
    )


@pytest.mark.parametrize("shape", ["6,4", "N,4", "N,3,4"])
def test_keeps(shape: str) -> None:
    assert_keeps(FlattenLinear(), W + f"%x: f32[{shape}]  %y = Linear(%x, @w, @b)")
