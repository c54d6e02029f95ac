"""Parts with which the same is done side by side; onnxruntime computes both forms."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import re
from collections import Counter

import numpy as np
import pytest

from tests.passes.judging import computed
from uair.codegen.reference import random_feeds
from uair.debugging.why_not import answer
from uair.ir.verify import verify
from uair.passes.simplify.alike import JoinedPartsAtOnce
from uair.pipeline import PassContext
from uair.testing import assert_keeps
from uair.text import parse_module


def after(text: str) -> Counter[str]:
    """Operators that the rule alone leaves; the numbers are the same ones."""
    module = parse_module(text)
    feeds = random_feeds(module.main)
    before = computed(module, feeds)
    PassContext().apply_rules(module, [JoinedPartsAtOnce()])
    verify(module)
    for want, got in zip(before, computed(module, feeds), strict=True):
        assert np.ptp(want) > 0
        np.testing.assert_array_equal(got, want)
    return Counter(node.op_type for node in module.main)


def turned(x: str, table: str, extent: int) -> str:
    """Pairs of features turned by their angles: names that begin with x."""
    half = extent // 2
    return (
        f"%{x}h = Transpose(%{x}) {{perm = [0,2,1,3]}}  %{x}v = Reshape(%{x}h) {{shape = [1,2,3,{half},2]}}  "
        f"%{x}a, %{x}b = Split(%{x}v) {{axis = 4, sizes = [1,1]}}  %{x}s = Squeeze(%{x}b) {{axes = [4]}}  "
        f"%{x}n = Neg(%{x}s)  %{x}u = Unsqueeze(%{x}n) {{axes = [4]}}  %{x}c = Concat(%{x}u, %{x}a) {{axis = 4}}  "
        f"%{x}t = Reshape(%{x}c) {{shape = [1,2,3,{extent}]}}  %{x}p = Mul(%{x}h, @{table}c)  "
        f"%{x}q = Mul(%{x}t, @{table}s)  %{x}r = Add(%{x}p, %{x}q)  "
    )


TABLES = "constant @kc = splat<0.5> : f32[1,1,3,4]  constant @ks = [1.0,2.0,3.0,4.0,5.0,6.0,7.0,8.0,9.0,8.0,7.0,6.0] : f32[3,4]  "


def test_thirds_of_features_are_turned_at_once() -> None:
    """As V-JEPA 2 has it, whose tables are not those of RotaryEmbedding; the last features are not turned."""
    parts = "".join(turned(x, "k", 4) for x in "def")
    text = (
        f"{TABLES} %x: f32[1,3,2,14]  %d, %e, %f, %g = Split(%x) {{axis = 3, sizes = [4,4,4,2]}}  {parts}"
        "%gh = Transpose(%g) {perm = [0,2,1,3]}  %y = Concat(%dr, %er, %fr, %gh) {axis = 3}"
    )
    found = after(text)
    assert found["Mul"] == 2 and found["Add"] == 1 and found["Split"] == 2 and sum(found.values()) == 14


def test_parts_of_different_extents() -> None:
    text = (
        f"{TABLES} constant @jc = splat<0.25> : f32[1,1,3,2]  constant @js = [1.0,2.0,3.0,4.0,5.0,6.0] : f32[3,2]  "
        "%x: f32[1,3,2,6]  %d, %e = Split(%x) {axis = 3, sizes = [4,2]}  "
        f"{turned('d', 'k', 4)} {turned('e', 'j', 2)} %y = Concat(%dr, %er) {{axis = 3}}"
    )
    assert after(text)["Mul"] == 2


def test_channels_that_are_scaled_one_by_one() -> None:
    """Three numbers become one constant."""
    numbers = "".join(f"constant @{n} = splat<{v}> : f32[1]  " for n, v in (("a", 1.5), ("b", 0.5), ("c", 2.0)))
    text = numbers + (
        "%x: f32[2,6,4]  %p, %q, %r = Split(%x) {axis = 1, sizes = [2,2,2]}  constant @k = splat<3.0> : f32[1,1,4]  "
        "%d = Sub(%p, @k)  %e = Sub(%q, @k)  %f = Sub(%r, @k)  %g = Exp(%d)  %h = Exp(%e)  %i = Exp(%f)  "
        "%y = Concat(%g, %h, %i) {axis = 1}"
    )
    assert after(text) == Counter(["Sub", "Exp"])
    text = numbers + (
        "%x: f32[2,5,6]  %p, %q, %r = Split(%x) {axis = 2, sizes = [2,1,3]}  "
        "%d = Mul(%p, @a)  %e = Mul(%q, @b)  %f = Mul(%r, @c)  %y = Concat(%d, %e, %f) {axis = 2}"
    )
    assert after(text) == Counter(["Mul"])


def test_what_slices_take_of_a_tensor() -> None:
    text = (
        "%x: f32[2,7]  %p = Slice(%x) {axes = [1], starts = [1], ends = [3], steps = [1]}  "
        "%q = Slice(%x) {axes = [1], starts = [3], ends = [-1], steps = [1]}  %d = Exp(%p)  %e = Exp(%q)  "
        "%z = Tanh(%x)  %y = Concat(%z, %d, %e) {axis = 1}"
    )
    assert after(text) == Counter(["Slice", "Exp", "Tanh", "Concat"])


PARTS = "constant @a = [1.0,2.0] : f32[2]  %x: f32[2,3,4]  %p, %q = Split(%x) {axis = 2, sizes = [2,2]}  "


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("%d = Exp(%p)  %e = Tanh(%q)  %y = Concat(%d, %e) {axis = 2}", "no operands side by side"),
        ("%d = Exp(%p)  %e = Exp(%q)  %y = Concat(%e, %d) {axis = 2}", "no neighbouring parts"),
        ("%d = Exp(%p)  %e = Exp(%q)  %y = Concat(%d, %e) {axis = 1}", "no neighbouring parts"),
        ("%d = Exp(%p)  %f = Neg(%d)  %e = Exp(%q)  %g = Neg(%e)  %c = Concat(%f, %g) {axis = 2}  %h = Exp(%d)  %y = Concat(%c, %h) {axis = 2}", "something else takes"),
        ("%d = Clip(%p) {min = 0.0}  %e = Clip(%q) {min = 0.1}  %y = Concat(%d, %e) {axis = 2}", "the operators differ"),
        ("%s: f32[2,3,2]  %d = Mul(%p, %s)  %e = Mul(%q, %s)  %y = Concat(%d, %e) {axis = 2}", "not computed alike"),
        ("%s: f32[2,3,1]  %r: f32[2,3,1]  %d = Mul(%p, %s)  %e = Mul(%q, %r)  %y = Concat(%d, %e) {axis = 2}", "repeated along the axis"),
        ("%d = Softmax(%p) {axis = 2}  %e = Softmax(%q) {axis = 2}  %y = Concat(%d, %e) {axis = 2}", "not known to do the same"),
        ("%d = Reshape(%p) {shape = [12]}  %e = Reshape(%q) {shape = [12]}  %y = Concat(%d, %e) {axis = 0}", "no neighbouring parts"),
        ("%d = Exp(%p)  %y = Concat(%d, %d) {axis = 2}", "no operands side by side"),
    ],
)  # fmt: skip
def test_other_parts_stay(text: str, reason: str) -> None:
    assert_keeps([JoinedPartsAtOnce()], PARTS + text)
    joins = [node for node in parse_module(PARTS + text).main if node.op_type == "Concat"]
    why = answer(JoinedPartsAtOnce(), joins[0]).reason
    assert re.search(reason, why), why
