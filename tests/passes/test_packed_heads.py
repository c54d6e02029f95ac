"""Packed queries, keys and values: every order of the axis that packs them, and what is left alone."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import pytest

from tests.passes.test_fusion import fused, ops
from uair.passes.fuse import Fuse
from uair.passes.fusion.packed_heads import UnpackGatheredHeads, UnpackSplitHeads
from uair.pipeline import PassContext
from uair.testing import assert_keeps
from uair.text import parse_module

INDICES = "".join(f"constant @{i} = {i} : i64[]  " for i in range(3)) + "constant @two = [0,1] : i64[2]  "
B = "constant @b = [0.5,1.5,2.5,3.5,4.5,5.5,6.5,7.5,8.5,9.5,10.5,11.5] : f32[12]  "
ROWS = "constant @w = [" + ",".join(str(i % 7 - 2.5) for i in range(24)) + "] : f32[12,2]  "
COLUMNS = ROWS.replace("[12,2]", "[2,12]")
X = "%x: f32[2,5,2]  "
PRODUCTS = {
    "linear": ROWS + B + X + "%p = Linear(%x, @w, @b)  ",
    "columns": COLUMNS + B + X + "%p = Linear(%x, @w, @b) {transpose_w = false}  ",
    "matrix": COLUMNS + X + "%p = MatMul(%x, @w)  ",
    "turned": ROWS + X + "%p = MatMul(%x, @w) {trans_b = true}  ",
}
GATHERS = "".join(f"%{name} = Gather(%t, @{i}) {{{{axis = {{axis}}}}}}  " for i, name in enumerate("qkv"))
SQUEEZED = "%c, %d, %e = Split(%t) {{axis = {axis}, sizes = [1,1,1]}}  %q = Squeeze(%c) {{axes = [{axis}]}}  %k = Squeeze(%d) {{axes = [{axis}]}}  %v = Squeeze(%e) {{axes = [{axis}]}}  "
ENDS = "%m = Mul(%q, %k)  %y = Add(%m, %v)"
LAYOUTS = {
    "timm": ("5,3,2,2", "2,0,3,1,4", 0),
    "torch's unbind": ("5,3,2,2", "", 2),
    "heads first": ("5,2,3,2", "", 3),
    "heads first, turned": ("5,2,3,2", "0,2,1,3,4", -2),
    "last": ("5,2,2,3", "4,0,2,1,3", 0),
}


def shaped(layout: str) -> tuple[str, int]:
    shape, perm, axis = LAYOUTS[layout]
    text = f"%t = Reshape(%p) {{shape = [2,{shape}]}}  "
    if perm:
        text = text.replace("%t", "%r") + f"%t = Transpose(%r) {{perm = [{perm}]}}  "
    return text, axis


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("taken", [GATHERS, SQUEEZED])
def test_one_product_for_each(product: str, layout: str, taken: str) -> None:
    text, axis = shaped(layout)
    module = fused(INDICES + PRODUCTS[product] + text + taken.format(axis=axis) + ENDS)
    found = ops(module)
    assert sum(op in ("Linear", "MatMul") for op in found) == 3
    assert not {"Gather", "Split", "Squeeze"} & set(found)
    assert max(t.type.rank for node in module.main for t in node.outputs) == 4


def test_sizes_side_by_side_in_every_head() -> None:
    text = "%r = Reshape(%p) {shape = [2,5,2,6]}  %t = Transpose(%r) {perm = [0,2,1,3]}  %q, %k, %v = Split(%t) {axis = 3, sizes = [2,2,2]}  "
    assert ops(fused(PRODUCTS["linear"] + text + ENDS)).count("Linear") == 3


def test_values_of_another_size() -> None:
    """LeViT's values are longer than its keys."""
    text = "%r = Reshape(%p) {shape = [2,5,2,6]}  %q, %k, %v = Split(%r) {axis = 3, sizes = [1,1,4]}  %m = Mul(%q, %k)  %y = Mul(%m, %v)"
    assert ops(fused(PRODUCTS["linear"] + text)).count("Linear") == 3


def test_open_sizes() -> None:
    text = (
        PRODUCTS["linear"].replace("f32[2,5,2]", "f32[b,s,2]")
        + "%r = Reshape(%p) {shape = [b,s,3,2,2]}  %t = Transpose(%r) {perm = [2,0,3,1,4]}  "
    )
    module = parse_module(INDICES + text + GATHERS.format(axis=0) + ENDS)
    Fuse().run(module, PassContext())
    assert ops(module).count("Linear") == 3 and "Gather" not in ops(module)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%v = Gather(%t, @2)", "%v = Gather(%t, @two)"),
        ("%y = Add(%m, %v)", "%n = Add(%m, %v)  %y = ReduceSum(%t) {axes = [0]}  return %n, %y"),
        ("%y = Add(%m, %v)", "%n = Add(%m, %v)  return %n, %p"),
        ("constant @w = [", "%w: f32[12,2]  constant @u = ["),
        ("%v = Gather(%t, @2) {axis = 0}", "%g = Gather(%t, @2) {axis = 1}  %v = Gather(%g, @1)"),
    ],
)
def test_what_stays_packed(old: str, new: str) -> None:
    text = INDICES + PRODUCTS["linear"] + shaped("timm")[0] + GATHERS.format(axis=0) + ENDS
    assert old in text
    text = text.replace(old, new)
    if "%w:" in new:
        text = text.replace("Linear(%x, @w, @b)", "Linear(%x, %w, @b)")
    if "@two" in new:
        text = text.replace("%y = Add(%m, %v)", "%y = Add(%v, %m)")
    assert_keeps([UnpackGatheredHeads(), UnpackSplitHeads()], text)


def test_pieces_that_are_no_heads_stay() -> None:
    text = PRODUCTS["linear"] + "%q, %k = Split(%p) {axis = 2, sizes = [6,6]}  %y = Mul(%q, %k)"
    assert_keeps([UnpackGatheredHeads(), UnpackSplitHeads()], text)
    text = (
        INDICES
        + PRODUCTS["linear"]
        + "%t = Reshape(%p) {shape = [2,5,2,6]}  %q = Gather(%t, @0) {axis = 2}  %k = Gather(%t, @1) {axis = 2}  %y = Mul(%q, %k)"
    )
    assert_keeps([UnpackGatheredHeads()], text)


@pytest.mark.parametrize(
    "text",
    [
        "%r = Reshape(%p) {shape = [2,5,2,3,2]}  %q = Gather(%r, @0) {axis = 4}  %k = Gather(%r, @1) {axis = 4}  ",
        "%r = Reshape(%p) {shape = [2,5,2,6]}  %q, %k = Split(%r) {axis = 3, sizes = [3,3]}  ",
        "%r = Reshape(%p) {shape = [2,5,2,6]}  %q, %k, %v = Split(%r) {axis = 3, sizes = [2,2,2]}  %k2 = Add(%k, %v)  %r2 = Neg(%r)  return %q, %k2, %r2  ",
    ],
    ids=["pairs", "halves", "all-of-it"],
)
def test_features_of_rotary_positions_stay_together(text: str) -> None:
    end = "" if "return" in text else "%y = Mul(%q, %k)"
    assert_keeps([UnpackGatheredHeads(), UnpackSplitHeads()], INDICES + PRODUCTS["linear"] + text + end)
