"""Fusion of rotary positions and of repeated heads: structure by text, numbers by the interpreter."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import numpy as np
import pytest

from tests.passes.test_fusion import fused, ops
from uair.codegen.reference import random_feeds, run
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.fusion.attention import GroupRepeatedHeads
from uair.passes.fusion.rotary import (
    RecognizeRotaryEmbedding,
    RecognizeRotaryHalves,
    WidenRotaryEmbedding,
)
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassContext
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module

X = "%x: f32[2,3,5,4]  "
ANGLES = "%f: f32[5,2]  %d = Concat(%f, %f) {axis = 1}  "
TABLES = ANGLES + "%cos = Cos(%d)  %sin = Sin(%d)  "
HALVES = (
    "%a = Slice(%x) {axes = [3], starts = [0], ends = [2], steps = [1]}  "
    "%b = Slice(%x) {axes = [3], starts = [2], ends = [2147483647], steps = [1]}  "
)
TURNED = "%n = Neg(%b)  %t = Concat(%n, %a) {axis = 3}  "
SUM = "%u = Mul(%x, %cos)  %v = Mul(%t, %sin)  %y = Add(%u, %v)  "


@pytest.mark.parametrize(
    "halves",
    [
        HALVES,
        "%a, %b = Split(%x) {axis = 3, sizes = [2,2]}  ",
        "%a = Slice(%x) {axes = [-1], starts = [-4], ends = [-2], steps = [1]}  %b = Slice(%x) {axes = [-1], starts = [-2], ends = [4], steps = [1]}  ",
    ],
)
@pytest.mark.parametrize(
    "sum_", [SUM, "%u = Mul(%cos, %x)  %v = Mul(%sin, %t)  %y = Add(%v, %u)  "], ids=["straight", "swapped"]
)
def test_rotary_embedding_is_recognized(halves: str, sum_: str) -> None:
    module = fused(X + TABLES + halves + TURNED + sum_)
    assert ops(module).count("RotaryEmbedding") == 1
    assert not {"Neg", "Concat", "Slice", "Split", "Add", "Mul"} & set(ops(module))


def test_rotary_embedding_by_text() -> None:
    assert_rewrites(
        [RecognizeRotaryEmbedding()],
        before=X + TABLES + HALVES + TURNED + SUM + "return %y",
        after=X + "%f: f32[5,2]  %sin = Sin(%f)  %s3 = Reshape(%sin) {shape = [1,5,2]}  "
        "%s = Expand(%s3) {shape = [2,5,2]}  %cos = Cos(%f)  %c3 = Reshape(%cos) {shape = [1,5,2]}  "
        "%c = Expand(%c3) {shape = [2,5,2]}  %y = RotaryEmbedding(%x, %c, %s)  return %y",
    )


TABLE_KINDS = {
    "constant": "constant @k = [1.0,2.0,1.0,2.0,3.0,4.0,3.0,4.0,5.0,6.0,5.0,6.0,7.0,8.0,7.0,8.0,9.0,0.5,9.0,0.5] : f32[1,1,5,4]  ",
    "scaled and cast": "constant @h = 0.5 : f64[]  %f: f64[5,2]  %d = Concat(%f, %f) {axis = 1}  %c = Cos(%d)  %m = Mul(@h, %c)  %cos = Cast(%m) {to = f32}  %s = Sin(%d)  %g = Div(%s, @h)  %sin = Cast(%g) {to = f32}  ",
    "by position": "%p: i64[2,5]  constant @k = [1.0,2.0,1.0,2.0,3.0,4.0,3.0,4.0,5.0,6.0,5.0,6.0] : f32[3,4]  constant @3 = 3 : i64[]  %r = Mod(%p, @3)  %g = Gather(@k, %r)  %cos = Unsqueeze(%g) {axes = [1]}  %sin = Neg(%cos)  ",
    "cut and expanded": "%f: f32[7,2]  %d = Concat(%f, %f) {axis = -1}  %w = Slice(%d) {axes = [0], starts = [1], ends = [6], steps = [1]}  %q = Unsqueeze(%w) {axes = [0]}  %e = Expand(%q) {shape = [2,5,4]}  %cos = Unsqueeze(%e) {axes = [1]}  %sin = Sin(%cos)  ",
}


@pytest.mark.parametrize("kind", TABLE_KINDS)
def test_tables_with_equal_halves_are_seen(kind: str) -> None:
    sum_ = SUM.replace("%sin", "@k").replace("%cos", "@k") if kind == "constant" else SUM
    module = fused(X + TABLE_KINDS[kind] + HALVES + TURNED + sum_)
    assert ops(module).count("RotaryEmbedding") == 1 and ops(module).count("Neg") == TABLE_KINDS[kind].count("Neg")
    (rotary,) = (node for node in module.main if node.op_type == "RotaryEmbedding")
    assert [str(t.type) for t in rotary.inputs[1:] if t is not None] == ["f32[2,5,2]"] * 2


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Concat(%f, %f)", "Concat(%f, %g)", "the halves of the tables differ"),
        ("%n = Neg(%b)", "%n = Neg(%a)", "a half twice"),
        ("Concat(%n, %a)", "Concat(%a, %n)", "the other way round"),
        ("starts = [0], ends = [2]", "starts = [1], ends = [3]", "pieces that overlap"),
        ("%u = Mul(%x, %cos)", "%u = Mul(%z, %cos)", "the halves of something else"),
        ("%cos = Cos(%d)", "%k = Cos(%d)  %cos = Add(%k, %k)", "a table by an operator that is not looked through"),
    ],
)
def test_other_sums_are_no_rotary_embedding(old: str, new: str, why: str) -> None:
    text = X + "%z: f32[2,3,5,4]  %g: f32[5,2]  " + TABLES + HALVES + TURNED + SUM + "return %y"
    assert old in text
    assert "RotaryEmbedding" not in ops(fused(text.replace(old, new))), why


def test_tables_that_differ_between_heads_are_no_rotary_embedding() -> None:
    tables = "%f: f32[1,3,5,2]  %d = Concat(%f, %f) {axis = 3}  %cos = Cos(%d)  %sin = Sin(%d)  "
    assert_keeps([RecognizeRotaryEmbedding()], X + tables + HALVES + TURNED + SUM + "return %y")


PRODUCTS = "%ac = Mul(%a, %c)  %bs = Mul(%b, %s)  %bc = Mul(%c, %b)  %as = Mul(%s, %a)  %re = Sub(%ac, %bs)  "
HALF_TABLES = "%c: f32[1,1,5,2]  %s: f32[2,1,5,2]  "


@pytest.mark.parametrize("sum_", ["Add(%bc, %as)", "Add(%as, %bc)"])
def test_rotary_embedding_by_halves_is_recognized(sum_: str) -> None:
    text = X + HALF_TABLES + HALVES + PRODUCTS + f"%im = {sum_}  %y = Concat(%re, %im) {{axis = 3}}  return %y"
    assert ops(fused(text)) == ["Reshape", "Reshape", "Expand", "RotaryEmbedding"]
    assert_rewrites(
        [RecognizeRotaryHalves()],
        before=text,
        after=X + HALF_TABLES + "%se = Reshape(%s) {shape = [2,5,2]}  %c3 = Reshape(%c) {shape = [1,5,2]}  "
        "%ce = Expand(%c3) {shape = [2,5,2]}  %y = RotaryEmbedding(%x, %ce, %se)  return %y",
    )


@pytest.mark.parametrize(
    "ending",
    [
        "%im = Add(%as, %as)  %y = Concat(%re, %im) {axis = 3}  return %y",
        "%im = Add(%bc, %as)  %y = Concat(%im, %re) {axis = 3}  return %y",
        "%im = Add(%bc, %as)  %y = Concat(%re, %im) {axis = 2}  return %y",
    ],
)
def test_other_products_of_halves_are_no_rotary_embedding(ending: str) -> None:
    assert "RotaryEmbedding" not in ops(fused(X + HALF_TABLES + HALVES + PRODUCTS + ending))


DECOMPOSED = {
    "inputs": ("", "%c: f32[2,5,4]  %s: f32[2,5,4]  ", "%c, %s"),
    "constants": (
        f"constant @c = {[i / 8 for i in range(40)]} : f32[2,5,4]\n"
        f"constant @s = {[1 - i / 9 for i in range(40)]} : f32[2,5,4]\n",
        "",
        "@c, @s",
    ),
    "by place": ("", "%c: f32[9,4]  %s: f32[9,4]  %p: i64[2,5]  ", "%c, %s, %p"),
}


@pytest.mark.parametrize("size", [8, 11])
@pytest.mark.parametrize("interleaved", ["false", "true"])
@pytest.mark.parametrize("kind", DECOMPOSED)
def test_the_decomposition_of_rotary_embedding_is_recognized(kind: str, interleaved: str, size: int) -> None:
    """With tables of every kind, all features or the first ones; canonicalisation makes other Reshapes of it."""
    constants, inputs, tables = DECOMPOSED[kind]
    node = f"%y = RotaryEmbedding(%x, {tables}) {{interleaved = {interleaved}}}  return %y"
    module = parse_module(f"{constants}%x: f32[2,3,5,{size}]  {inputs}{node}")
    given = random_feeds(module.main) | {"p": np.array([[0, 8, 3, 4, 1], [2, 2, 7, 0, 5]], np.int64)}
    feeds = {name: given[name] for name in module.main.input_names}
    wanted = next(iter(run(module, feeds).values()))
    for step in (LegaliseOnnx(opset=17), Canonicalise()):
        step.run(module, PassContext())
    assert "RotaryEmbedding" not in ops(module)
    np.testing.assert_array_equal(next(iter(run(module, feeds).values())), wanted)
    Fuse().run(module, PassContext())
    assert ops(module) == ["Gather"] * 2 * (kind == "by place") + ["RotaryEmbedding"]
    np.testing.assert_array_equal(next(iter(run(module, feeds).values())), wanted)


def test_the_decomposition_of_rotary_embedding_is_five_nodes_beside_its_tables() -> None:
    constants, _, tables = DECOMPOSED["constants"]
    for interleaved, count in (("false", 5), ("true", 7)):
        node = f"%y = RotaryEmbedding(%x, {tables}) {{interleaved = {interleaved}}}  return %y"
        module = parse_module(f"{constants}%x: f32[2,3,5,8]  {node}")
        for step in (LegaliseOnnx(opset=17), Canonicalise()):
            step.run(module, PassContext())
        assert len(ops(module)) == count


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("%m = Neg(%s)", "%m = Neg(%c)"),
        ("Concat(%m, %s)", "Concat(%s, %s)"),
        ("Concat(%b, %a)", "Concat(%a, %b)"),
        ("Concat(%c, %c)", "Concat(%c, %s)"),
    ],
)
def test_other_signs_of_tables_are_no_rotary_embedding(old: str, new: str) -> None:
    tables = "%d = Concat(%c, %c) {axis = 3}  %m = Neg(%s)  %e = Concat(%m, %s) {axis = 3}  "
    turned = "%t = Concat(%b, %a) {axis = 3}  %u = Mul(%x, %d)  %v = Mul(%t, %e)  %y = Add(%u, %v)  return %y"
    text = X + HALF_TABLES.replace("2,1,5", "1,1,5") + HALVES + tables + turned
    assert ops(fused(text)).count("RotaryEmbedding") == 1
    assert "RotaryEmbedding" not in ops(fused(text.replace(old, new)))


PARTIAL = (
    "%c: f32[2,5,2]  %s: f32[2,5,2]  %w: f32[2,3,5,7]  %a, %b = Split(%w) {axis = 3, sizes = [4,3]}  "
    "%r = RotaryEmbedding(%a, %c, %s)  "
)


def test_the_features_that_are_not_turned_join_the_operator() -> None:
    module = fused(PARTIAL + "%y = Concat(%r, %b) {axis = 3}  return %y")
    assert ops(module) == ["RotaryEmbedding"]
    assert_keeps([WidenRotaryEmbedding()], PARTIAL + "%y = Concat(%b, %r) {axis = 3}  return %y")
    assert_keeps([WidenRotaryEmbedding()], PARTIAL + "%y = Concat(%r, %r) {axis = 3}  return %y")


ATTENTION = (
    "%q: f32[2,4,5,8]  %k: f32[2,2,7,8]  %v: f32[2,2,7,6]  %m: bool[5,7]  "
    "%k5 = Unsqueeze(%k) {axes = [2]}  %ke = Expand(%k5) {shape = [2,2,2,7,8]}  %kr = Reshape(%ke) {shape = [2,4,7,8]}  "
    "%v5 = Reshape(%v) {shape = [2,2,1,7,6]}  %ve = Expand(%v5) {shape = [2,2,2,7,6]}  %vr = Reshape(%ve) {shape = [2,4,7,6]}  "
)


def test_repeated_heads_become_groups() -> None:
    node = "%y = Attention(%q, %kr, %vr, %m) {scale = 0.25}  return %y"
    module = fused(ATTENTION + node)
    assert ops(module) == ["Attention"]
    assert [t.name for t in next(iter(module.main)).inputs if t is not None] == ["q", "k", "v", "m"]
    fused(ATTENTION + '%y, %s = Attention(%q, %kr, %vr, %m) {scores = "raw"}  return %y, %s')
    assert_rewrites(
        [GroupRepeatedHeads()],
        before="%q: f32[b,4,s,8]  %k: f32[b,2,s,8]  %u = Unsqueeze(%k) {axes = [2]}  %e = Expand(%u) {shape = [b,2,2,s,8]}  "
        "%r = Reshape(%e) {shape = [b,4,s,8]}  %y = Attention(%q, %r, %r)  return %y",
        after="%q: f32[b,4,s,8]  %k: f32[b,2,s,8]  %u = Unsqueeze(%k) {axes = [2]}  %v2 = Squeeze(%u) {axes = [2]}  "
        "%k2 = Squeeze(%u) {axes = [2]}  %y = Attention(%q, %k2, %v2)  return %y",
    )


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("Attention(%q, %kr, %vr", "Attention(%q, %kr, %v4", "only the keys are repeated"),
        (
            "Unsqueeze(%k) {axes = [2]}  %ke = Expand(%k5) {shape = [2,2,2,7,8]}",
            "Unsqueeze(%k) {axes = [1]}  %ke = Expand(%k5) {shape = [2,2,2,7,8]}",
            "the heads as a whole are repeated, not each one",
        ),
    ],
)
def test_other_heads_stay(old: str, new: str, why: str) -> None:
    text = "%v4: f32[2,4,7,6]  " + ATTENTION + "%y = Attention(%q, %kr, %vr, %m)  return %y"
    assert old in text
    module = fused(text.replace(old, new))
    (node,) = (node for node in module.main if node.op_type == "Attention")
    assert node.inputs[1] is not None and node.inputs[1].type.dims[1] == 4, why


def test_layers_that_share_a_table_share_its_half() -> None:
    constant = (
        "constant @k = [1.0,2.0,1.0,2.0,3.0,4.0,3.0,4.0,5.0,6.0,5.0,6.0,7.0,8.0,7.0,8.0,9.0,0.5,9.0,0.5] : f32[5,4]  "
    )
    layer = (HALVES + TURNED + SUM).replace("%cos", "@k").replace("%sin", "@k")
    other = layer
    for name in "abntuv":
        other = (
            other.replace(f"%{name} ", f"%{name}2 ")
            .replace(f"%{name},", f"%{name}2,")
            .replace(f"%{name})", f"%{name}2)")
        )
    module = fused(X + constant + layer + other.replace("%x", "%y").replace("%y = Add", "%z = Add"))
    assert ops(module) == ["RotaryEmbedding"] * 2
    assert len({id(t) for node in module.main for t in node.inputs[1:]}) == 1
    assert np.array_equal(module.main.constants()[0].numpy()[0, 0], [1.0, 2.0])


# ------------------------------------------------------------------------------------------- pairs that stand side by side
EVERY = {
    "slices": "%a = Slice(%x) {axes = [3], starts = [0], ends = [2147483647], steps = [2]}  "
    "%b = Slice(%x) {axes = [-1], starts = [1], ends = [4], steps = [2]}  ",
    "places of an axis": "constant @0 = 0 : i64[]  constant @1 = -1 : i64[]  %pairs = Reshape(%x) {shape = [2,3,5,2,2]}  "
    "%a = Gather(%pairs, @0) {axis = 4}  %b = Gather(%pairs, @1) {axis = 4}  ",
    "parts of an axis": "%pairs = Reshape(%x) {shape = [2,3,5,2,2]}  %e, %o = Split(%pairs) {axis = 4, sizes = [1,1]}  "
    "%a = Squeeze(%e) {axes = [4]}  %b = Squeeze(%o) {axes = [4]}  ",
}
STACK = "%c0 = Unsqueeze({}) {{axes = [4]}}  %c1 = Unsqueeze({}) {{axes = [4]}}  %st = Concat(%c0, %c1) {{axis = 4}}  "
FLAT = "Reshape(%st) {shape = [2,3,5,4]}  "
TURNED_PAIRS = "%n = Neg(%b)  " + STACK.format("%n", "%a") + "%t = " + FLAT
REPEATED = (
    "%f: f32[5,2]  %f1 = Unsqueeze(%f) {axes = [2]}  %e2 = Expand(%f1) {shape = [5,2,2]}  "
    "%d = Reshape(%e2) {shape = [5,4]}  %cos = Cos(%d)  %sin = Sin(%d)  "
)


@pytest.mark.parametrize("kind", EVERY)
def test_rotary_embedding_of_pairs_is_recognized(kind: str) -> None:
    module = fused(X + REPEATED + EVERY[kind] + TURNED_PAIRS + SUM)
    assert ops(module).count("RotaryEmbedding") == 1
    assert not {"Neg", "Concat", "Slice", "Split", "Gather", "Add", "Mul"} & set(ops(module))
    (rotary,) = (node for node in module.main if node.op_type == "RotaryEmbedding")
    assert rotary.attributes["interleaved"]


@pytest.mark.parametrize("kind", EVERY)
def test_products_of_pairs_are_recognized(kind: str) -> None:
    products = PRODUCTS + "%im = Add(%as, %bc)  "
    module = fused(X + HALF_TABLES + EVERY[kind] + products + STACK.format("%re", "%im") + "%y = " + FLAT)
    assert ops(module) == ["Reshape", "Reshape", "Expand", "RotaryEmbedding"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("starts = [0]", "starts = [1]"),  # the same feature of every pair
        ("axis = 4}", "axis = 3}"),  # the parts are joined as halves
        ("Neg(%b)", "Relu(%b)"),
        ("Expand(%f1) {shape = [5,2,2]}", "Concat(%f1, %g) {axis = 2}"),  # the tables' pairs are not equal
        ("Unsqueeze(%n)", "Unsqueeze(%a)"),
    ],
)
def test_other_sums_of_pairs_are_no_rotary_embedding(old: str, new: str) -> None:
    text = X + "%g: f32[5,2,1]  " + REPEATED + EVERY["slices"] + TURNED_PAIRS + SUM + "return %y"
    assert old in text
    assert "RotaryEmbedding" not in ops(fused(text.replace(old, new)))


def test_rotary_embedding_with_heads_behind_places() -> None:
    """As GPT-J and GLM have it, which put the heads in front afterwards; the rest of the features passes by."""
    text = (
        "%z: f32[2,5,3,6]  %x, %rest = Split(%z) {axis = 3, sizes = [4,2]}  %f: f32[1,5,1,2]  %f1 = Unsqueeze(%f) {axes = [4]}  "
        "%e2 = Concat(%f1, %f1) {axis = 4}  %d = Reshape(%e2) {shape = [1,5,1,4]}  %cos = Cos(%d)  %sin = Sin(%d)  "
    )
    turned = (EVERY["slices"] + TURNED_PAIRS).replace("[2,3,5,4]", "[2,5,3,4]")
    module = fused(text + turned + SUM.replace("%y =", "%w =") + "%k = Concat(%w, %rest) {axis = 3}  "
        "%y = Transpose(%k) {perm = [0,2,1,3]}")  # fmt: skip
    assert [op for op in ops(module) if op not in ("Cos", "Sin", "Reshape", "Expand")] == [
        "Transpose",
        "RotaryEmbedding",
    ]
