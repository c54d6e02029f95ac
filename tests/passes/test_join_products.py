"""Products of one tensor that are joined; onnxruntime computes both forms."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

from collections import Counter

import pytest

from tests.passes.judging import optimized
from uair.codegen.reference import random_feeds
from uair.passes.fusion.products import JoinProducts
from uair.passes.recognize_attention import RecognizeAttention
from uair.pipeline import PassContext
from uair.testing import assert_keeps
from uair.text import parse_module

WEIGHTS = (
    "constant @w = splat<0.5> : f32[3,2]  constant @v = [1.0,2.0,3.0] : f32[1,3]  constant @u = [0.5,0.25,2.0] : f32[3,1]  "
    "constant @a = [1.0,2.0] : f32[2]  constant @b = [3.0] : f32[1]  "
)


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("%c = MatMul(%x, @w)  %d = MatMul(%x, @u)  %y = Concat(%c, %d) {axis = -1}", "MatMul"),
        ("%c = Linear(%x, @w, @a) {transpose_w = false}  %d = Linear(%x, @u, @b) {transpose_w = false}  %y = Concat(%c, %d) {axis = 2}", "Linear"),
        ("constant @t = [0.5,0.25,2.0] : f32[1,3]  %c = Linear(%x, @v, @b)  %d = Linear(%x, @t, @b)  %y = Concat(%c, %d) {axis = 2}", "Linear"),
        ("%c = MatMul(%x, @v) {trans_b = true}  %d = MatMul(%x, @v) {trans_b = true}  %z = Tanh(%c)  %e = MatMul(%x, @v) {trans_b = true}  %y = Concat(%d, %e) {axis = 2}  %q = Add(%z, %y)", ""),
    ],
)  # fmt: skip
def test_products_with_weights(text: str, left: str) -> None:
    module = parse_module(WEIGHTS + "%x: f32[2,4,3]  " + text)
    found = optimized(module, random_feeds(module.main), relative=1e-5, absolute=1e-6)
    assert not left or [node.op_type for node in found.main] == [left]


ATTENTION = (
    "constant @half = 0.5 : f32[]  %q: f32[1,4,{queries},8]  %k: f32[1,4,5,8]  %v: f32[1,4,5,6]  %u: f32[1,4,5,6]  "
    "%t = Transpose(%k) {{perm = [0,1,3,2]}}  %s = MatMul(%q, %t)  %h = Mul(%s, @half)  %p = Softmax(%h) {{axis = 3}}  "
    "%c = MatMul(%p, %v)  %d = MatMul(%p, %u)  %y = Concat(%c, %d) {{axis = 3}}"
)


@pytest.mark.parametrize(("queries", "whole"), [(5, True), (7, True), (1, False)])
def test_values_of_two_heads_are_those_of_one_attention(queries: int, whole: bool) -> None:
    """Values are joined, which are as many as the queries, or fewer."""
    module = parse_module(ATTENTION.format(queries=queries))
    found = optimized(module, random_feeds(module.main), relative=1e-5, absolute=1e-6)
    RecognizeAttention().run(found, PassContext())
    kinds = Counter(node.op_type for node in found.main)
    assert (kinds["Attention"], kinds["Softmax"]) == ((1, 0) if whole else (0, 1))


@pytest.mark.parametrize(
    "text",
    [
        "%c = MatMul(%x, %m)  %d = MatMul(%x, %m)  %y = Concat(%c, %d) {axis = 1}",  # rows are joined
        "%c = MatMul(%x, %m)  %d = MatMul(%z, %m)  %y = Concat(%c, %d) {axis = 2}",  # of two tensors
        "%c = MatMul(%x, %m)  %y = Concat(%c, %c) {axis = 2}",  # one product twice
        "%c = MatMul(%x, %m)  %d = MatMul(%x, %n)  %y = Concat(%c, %d) {axis = 2}",  # matrices that are broadcast
        "%c = MatMul(%x, %m)  %d = Tanh(%c)  %y = Concat(%c, %d) {axis = 2}",
        "%r = Slice(%x) {axes = [1], starts = [0], ends = [1], steps = [1]}  %c = MatMul(%r, %m)  %d = MatMul(%r, %m)  %y = Concat(%c, %d) {axis = 2}",  # one row
    ],
)  # fmt: skip
def test_other_products_stay(text: str) -> None:
    inputs = "%x: f32[2,4,3]  %z: f32[2,4,3]  %m: f32[2,3,2]  %n: f32[3,2]  "
    assert_keeps([JoinProducts()], inputs + text)
