"""Attention as models spell it out, and products with weights between Reshapes."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

import uair
from uair.ir.dims import static
from uair.ir.dtype import DType
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import Attention
from uair.passes.fusion.attention_products import RecognizeAttention, RecognizeTransposedAttention
from uair.passes.fusion.heads import AddWithoutUnitAxis, SeparateMergedHeads, SeparateScores
from uair.passes.fusion.products import (
    BiasBeforeSplit,
    EinsumOfWeights,
    MatMulFromEinsum,
    ProductOfFlattened,
    TransposeFromEinsum,
)
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassContext
from uair.rewrite import Rule
from uair.text import parse_module

HEAD = "uair 1\nmodule @m {\n"
INPUTS = "%q: f32[2,5,3,4], %k: f32[2,6,3,4], %v: f32[2,6,3,7]"
EINSUM = '%s = Einsum(%q, %k) {equation = "btnh,bsnh->bnts"}  '
VALUES = '%y = Einsum(%p, %v) {equation = "bnts,bsnd->btnd"}  '


def module_of(inputs: str, nodes: str, constants: str = "") -> Module:
    body = "\n".join(line.strip() for line in nodes.split("  ") if line.strip())
    return parse_module(f"{HEAD}{constants}\ngraph @main({inputs}) -> (%y) {{\n{body}\n}}\n}}")


def rewritten(module: Module, *rules: Rule, given: dict[str, np.ndarray[Any, Any]] | None = None) -> Module:
    """The module after some rules; it computes what it did."""
    rng = np.random.default_rng(1)
    values: dict[str, np.ndarray[Any, Any]] = {}
    for t in module.main.inputs:
        shape, is_mask = static(t.type.dims), t.type.dtype is DType.BOOL
        values[t.name] = rng.random(shape) > 0.4 if is_mask else rng.normal(size=shape).astype(t.type.dtype.numpy)
    values |= given or {}
    (before,) = uair.run(module.clone(), values).values()
    PassContext().apply_rules(module, rules)
    verify(module)
    (after,) = uair.run(module, values).values()
    assert np.ptp(before) > 0.01
    np.testing.assert_allclose(after, before, rtol=1e-4, atol=1e-5)
    return module


def kinds(module: Module) -> Counter[str]:
    return Counter(node.op_type for node in module.main)


def attention(module: Module, **given: np.ndarray[Any, Any]) -> Attention:
    (node,) = [n for n in rewritten(module, RecognizeAttention(), given=given).main if isinstance(n.op, Attention)]
    assert isinstance(node.op, Attention)
    return node.op


HALF = "constant @half = 0.5 : f32[]\n"


@pytest.mark.parametrize(
    "nodes",
    [
        EINSUM + "%z = Mul(%s, @half)  %p = Softmax(%z) {axis = -1}  " + VALUES,
        "%z = Mul(@half, %q)  %s = Einsum(%z, %k) {equation = \"btnh,bsnh->bnts\"}  %p = Softmax(%s) {axis = 3}  " + VALUES,
        # Keras names keys first, and other letters
        "%s = Einsum(%k, %q) {equation = \"aecd,abcd->acbe\"}  %z = Mul(%s, @half)  %p = Softmax(%z) {axis = 3}  %y = Einsum(%p, %v) {equation = \"acbe,aecd->abcd\"}  ",
        "%a = Transpose(%q) {perm = [0,2,1,3]}  %b = Transpose(%k) {perm = [0,2,3,1]}  %c = Transpose(%v) {perm = [0,2,1,3]}  %s = MatMul(%a, %b)  %z = Mul(%s, @half)  %p = Softmax(%z) {axis = -1}  %y = MatMul(%p, %c)  ",
        "%h = Mul(%q, @half)  %a = Transpose(%h) {perm = [0,2,1,3]}  %b = Transpose(%k) {perm = [0,2,1,3]}  %c = Transpose(%v) {perm = [0,2,1,3]}  %s = MatMul(%a, %b) {trans_b = true}  %p = Softmax(%s) {axis = -1}  %y = MatMul(%p, %c)  ",
    ],
)  # fmt: skip
def test_products_are_attention(nodes: str) -> None:
    """As Einsum and as MatMul, with the scale in every place: 1/2 is that of four features."""
    op = attention(module_of(INPUTS, nodes, HALF))
    assert op.scale is None and not op.causal


def test_other_scales_are_kept() -> None:
    nodes = (
        EINSUM
        + "%w = Div(%s, @half)  %z = Mul(%w, @half)  %u = Mul(%z, @half)  %t = Mul(%u, @half)  %p = Softmax(%t) {axis = -1}  "
        + VALUES
    )
    assert attention(module_of(INPUTS, nodes, HALF)).scale == pytest.approx(0.25)
    plain = module_of(INPUTS, EINSUM + "%p = Softmax(%s) {axis = -1}  " + VALUES)
    assert attention(plain).scale == 1.0


MASKED = EINSUM + "%z = Mul(%s, @half)  "
LOW = HALF + "constant @low = -1e38 : f32[]\n"


def test_rows_without_a_key_give_the_mean() -> None:
    """A large negative number in place of all scores: the mask becomes numbers that are added."""
    nodes = MASKED + "%m = Where(%allowed, %z, @low)  %p = Softmax(%m) {axis = -1}  " + VALUES
    allowed = np.ones((2, 1, 5, 6), bool)
    allowed[0, 0, 1] = False
    allowed[1, 0, :, 3:] = False
    attention(module_of(INPUTS + ", %allowed: bool[2,1,5,6]", nodes, LOW), allowed=allowed)


def test_masks_of_numbers_are_added_up() -> None:
    nodes = MASKED + "%m = Add(%bias, %z)  %n = Add(%m, %more)  %p = Softmax(%n) {axis = -1}  " + VALUES
    module = rewritten(
        module_of(INPUTS + ", %bias: f32[1,3,5,6], %more: f32[2,1,1,6]", nodes, HALF), RecognizeAttention()
    )
    assert kinds(module)["Add"] == 1 and kinds(module)["Attention"] == 1


def test_triangle_is_causal() -> None:
    triangle = str(np.tri(6, dtype=bool).reshape(-1).tolist()).lower().replace(" ", "")
    constants = LOW + f"constant @tri = {triangle} : bool[6,6]\n"
    nodes = (
        '%s = Einsum(%q, %k) {equation = "btnh,bsnh->bnts"}  %m = Where(@tri, %s, @low)  %p = Softmax(%m) {axis = -1}  '
        + VALUES
    )
    assert attention(module_of(INPUTS.replace("[2,5,", "[2,6,"), nodes, constants)).causal


@pytest.mark.parametrize(
    ("nodes", "reason"),
    [
        (EINSUM + "%p = Softmax(%s) {axis = 2}  " + VALUES, "over the last of three or four axes"),
        ("%s = Einsum(%q, %k) {equation = \"btnh,bsnh->bnts\"}  %p = Softmax(%s) {axis = -1}  %y = Einsum(%p, %v) {equation = \"bnts,bsnd->bnd\"}  ", "second product"),
        (MASKED + "%m = Where(%allowed, %z, @half)  %p = Softmax(%m) {axis = -1}  " + VALUES, "no scaled product"),
        (MASKED + "%m = Where(%allowed, %z, @low)  %n = Mul(%m, @half)  %p = Softmax(%n) {axis = -1}  " + VALUES, "no scaled product"),
    ],
)  # fmt: skip
def test_what_is_no_attention_says_why(nodes: str, reason: str) -> None:
    module = module_of(INPUTS + ", %allowed: bool[2,1,5,6]", nodes, LOW)
    rule = RecognizeAttention()
    answers = [str(rule.match(node)) for node in module.main if node.op_type == "Einsum"]
    assert reason in answers[-1]
    assert "Attention" not in kinds(rewritten(module, rule))


# ------------------------------------------------------------------------------------------------ products with weights
W = "constant @w = [1.0,2.0,0.5,1.5,-1.0,3.0,0.5,-2.0,1.0,1.0,2.0,-3.0] : f32[2,6]\n"


def test_tensordot_needs_no_reshape() -> None:
    nodes = "%a = Reshape(%x) {shape = [12,2]}  %b = MatMul(%a, @w)  %y = Reshape(%b) {shape = [3,4,6]}  "
    assert kinds(rewritten(module_of("%x: f32[3,4,2]", nodes, W), ProductOfFlattened())) == {"MatMul": 1}


def test_other_axes_take_one_reshape() -> None:
    nodes = "%a = Reshape(%x) {shape = [12,2]}  %b = MatMul(%a, @w)  %y = Reshape(%b) {shape = [4,3,6]}  "
    assert kinds(rewritten(module_of("%x: f32[3,4,2]", nodes, W), ProductOfFlattened()))["Reshape"] == 1


def test_bias_of_heads_goes_in_front() -> None:
    constants = W + "constant @b = [1.0,2.0,3.0,4.0,5.0,6.0] : f32[2,3]\n"
    nodes = "%a = MatMul(%x, @w)  %b = Reshape(%a) {shape = [3,4,2,3]}  %y = Add(%b, @b)  "
    module = rewritten(module_of("%x: f32[3,4,2]", nodes, constants), BiasBeforeSplit())
    assert [node.op_type for node in module.main] == ["MatMul", "Add", "Reshape"]


@pytest.mark.parametrize(
    ("equation", "x", "reshapes"), [("abc,cd->abd", "3,4,2", 0), ("abc,cde->abde", "3,4,2", 1), ("abcd,cde->abe", "3,4,2,3", 1)]
)  # fmt: skip
def test_einsum_of_weights_is_a_product(equation: str, x: str, reshapes: int) -> None:
    shape = {"abc,cd->abd": "2,6", "abc,cde->abde": "2,3,2", "abcd,cde->abe": "2,3,2"}[equation]
    numbers = ",".join(f"{k}.0" for k in range(1, 13))
    constants = f"constant @w = [{numbers}] : f32[{shape}]\n"
    nodes = f'%y = Einsum(%x, @w) {{equation = "{equation}"}}  '
    module = rewritten(module_of(f"%x: f32[{x}]", nodes, constants), EinsumOfWeights())
    assert kinds(module)["MatMul"] == 1 and kinds(module)["Reshape"] == reshapes and not kinds(module)["Einsum"]


# ------------------------------------------------------------------------------------------------------- three axes
THREE = "%q: f32[2,5,4], %k: f32[2,6,4], %v: f32[2,6,7], %m: f32[2,5,6], %w: f32[5,6]"


@pytest.mark.parametrize(
    "scores",
    [
        "%s = MatMul(%q, %k) {trans_b = true}",
        "%s = MatMul(%q, %k) {trans_b = true}  %a = Add(%s, %m)",
        "%s = MatMul(%q, %k) {trans_b = true}  %a = Add(%s, %w)",
        "%r = Transpose(%q) {perm = [0,2,1]}  %s = MatMul(%r, %k) {trans_a = true, trans_b = true}",
    ],
)
def test_attention_without_heads_has_one(scores: str) -> None:
    last = "%a" if "%a = " in scores else "%s"
    nodes = f"{scores}  %p = Softmax({last}) {{axis = 2}}  %y = MatMul(%p, %v)  "
    found = rewritten(module_of(THREE, nodes), RecognizeAttention())
    assert kinds(found)["Attention"] == 1 and not kinds(found)["Softmax"]


def test_turned_probabilities_of_three_axes() -> None:
    nodes = (
        "%s = MatMul(%q, %k) {trans_b = true}  %p = Softmax(%s) {axis = 2}  "
        "%t = Transpose(%p) {perm = [0,2,1]}  %y = MatMul(%u, %t)"
    )
    module = module_of("%q: f32[2,5,4], %k: f32[2,6,4], %u: f32[2,7,6]", nodes)
    assert kinds(rewritten(module, RecognizeTransposedAttention()))["Attention"] == 1


def test_probabilities_that_are_turned_otherwise_stay() -> None:
    nodes = "%s = MatMul(%q, %k) {trans_b = true}  %p = Softmax(%s) {axis = 2}  %t = Transpose(%p) {perm = [1,0,2]}  "
    module = module_of("%q: f32[5,5,4], %k: f32[5,6,4], %u: f32[5,7,5]", nodes + "%y = MatMul(%u, %t)")
    assert kinds(rewritten(module, RecognizeTransposedAttention()))["Softmax"] == 1


@pytest.mark.parametrize("low", ["-inf", "-3.4028234663852886e+38"])
def test_masked_scores_with_a_bias(low: str) -> None:
    """As MPT and many others write it: torch.masked_fill replaces where the condition is true."""
    nodes = (
        "%s = MatMul(%q, %k) {trans_b = true}  %a = Add(%s, %bias)  %c = Where(%gone, @low, %a)  "
        "%p = Softmax(%c) {axis = 3}  %y = MatMul(%p, %v)"
    )
    inputs = "%q: f32[2,3,5,4], %k: f32[2,3,6,4], %v: f32[2,3,6,7], %bias: f32[1,3,1,6], %gone: bool[5,6]"
    module = module_of(inputs, nodes, f"constant @low = {low} : f32[]")
    gone = np.triu(np.ones((5, 6), bool), 1)
    assert kinds(rewritten(module, RecognizeAttention(), given={"gone": gone}))["Attention"] == 1


def test_masked_scores_where_the_condition_is_true() -> None:
    nodes = "%s = MatMul(%q, %k) {trans_b = true}  %c = Where(%gone, @low, %s)  %p = Softmax(%c) {axis = 3}  %y = MatMul(%p, %v)"
    inputs = "%q: f32[2,3,5,4], %k: f32[2,3,6,4], %v: f32[2,3,6,7], %gone: bool[5,6]"
    module = module_of(inputs, nodes, "constant @low = -inf : f32[]")
    found = rewritten(module, RecognizeAttention(), given={"gone": np.triu(np.ones((5, 6), bool), 1)})
    assert kinds(found) == {"LogicalNot": 1, "Attention": 1}


# ----------------------------------------------------------------------------------------------- heads in the batch
def test_products_keep_a_batch_that_is_no_batch_and_heads() -> None:
    """The operands have different heads, or only one of them has any."""
    for shapes in (("[6,5,4]", "[2,3,4,5]", "[3,2,4,6]"), ("[6,5,4]", "[6,4,5]", "[3,2,4,6]")):
        nodes = "%a = Reshape(%x) {shape = [6,4,5]}  %b = Reshape(%z) {shape = [6,4,6]}  %y = MatMul(%a, %b) {trans_a = true}"
        module = module_of(f"%x: f32{shapes[1]}, %z: f32{shapes[2]}", nodes)
        assert max(t.type.rank for n in rewritten(module, SeparateMergedHeads()).main for t in n.outputs) == 3


def test_what_mixes_the_batch_stays() -> None:
    nodes = "%a = Reshape(%x) {shape = [6,5,4]}  %b = Softmax(%a) {axis = 0}  %y = Reshape(%b) {shape = [2,3,5,4]}"
    assert kinds(rewritten(module_of("%x: f32[2,3,5,4]", nodes), SeparateScores()))["Reshape"] == 2


# --------------------------------------------------------------------------------------------------------- Einsum
@pytest.mark.parametrize(
    ("equation", "a", "b", "op"),
    [
        ("bid,bjd->bij", "[2,3,4]", "[2,5,4]", "MatMul"),
        ("bhdi,bhdj->bhij", "[2,3,4,5]", "[2,3,4,6]", "MatMul"),
        ("b i j, b j d -> b i d", "[2,3,4]", "[2,4,5]", "MatMul"),
        ("bid,bjd->bji", "[2,3,4]", "[2,5,4]", "Einsum"),  # the result is turned
        ("bid,djb->bij", "[2,3,4]", "[4,5,2]", "Einsum"),  # the batch is not in front
        ("bid,bid->bid", "[2,3,4]", "[2,3,4]", "Einsum"),  # no product of matrices
        ("bii,bij->bij", "[2,3,3]", "[2,3,4]", "Einsum"),  # a diagonal
    ],
)
def test_products_of_matrices_by_einsum(equation: str, a: str, b: str, op: str) -> None:
    module = module_of(f"%a: f32{a}, %b: f32{b}", f'%y = Einsum(%a, %b) {{equation = "{equation}"}}')
    assert kinds(rewritten(module, MatMulFromEinsum())) == {op: 1}


def windows(images: int, count: int = 2, heads: int = 3) -> tuple[str, str, str]:
    """Swin's shifted windows, as torchvision and timm write them: inputs, nodes and constants."""
    batch = images * count
    bias = ",".join(str(i % 5 - 2.0) for i in range(heads * 16))
    mask = ",".join(str(-100.0 * (i % 3 == 0)) for i in range(count * 16))
    constants = (
        "constant @s = 0.5 : f32[]\n"
        f"constant @b = [{bias}] : f32[1,{heads},4,4]\nconstant @m = [{mask}] : f32[1,{count},1,4,4]"
    )
    inputs = ", ".join(f"%{name}: f32[{batch},{heads},4,4]" for name in "qkv")
    nodes = (
        "%i = Mul(%q, @s)  %t = Transpose(%k) {perm = [0,1,3,2]}  %a = MatMul(%i, %t)  %c = Add(%a, @b)  "
        f"%r = Reshape(%c) {{shape = [{images},{count},{heads},4,4]}}  %d = Add(%r, @m)  "
        f"%e = Reshape(%d) {{shape = [{batch},{heads},4,4]}}  %p = Softmax(%e) {{axis = 3}}  %y = MatMul(%p, %v)"
    )
    return inputs, nodes, constants


@pytest.mark.parametrize("images", [1, 3])
def test_masks_of_shifted_windows(images: int) -> None:
    module = rewritten(module_of(*windows(images)), RecognizeAttention())
    (node,) = [n for n in module.main if isinstance(n.op, Attention)]
    mask = node.inputs[3]
    assert mask is not None and mask.type.dims == ((2, 3, 4, 4) if images == 1 else (1, 6, 4, 4))
    assert kinds(module)["Reshape"] == (0 if images == 1 else 4)


def test_masks_of_shifted_windows_with_an_open_number_of_images() -> None:
    inputs, nodes, constants = windows(1)
    text = nodes.replace("[1,2,3,4,4]", "[n,2,3,4,4]").replace("[2,3,4,4]", "[2*n,3,4,4]")
    module = module_of(inputs.replace("f32[2,", "f32[2*n,"), text, constants)
    verify(module)
    PassContext().apply_rules(module, [RecognizeAttention()])
    verify(module)
    assert kinds(module) == Counter(Attention=1, Reshape=4)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Add(%r, @m)", "Sub(%r, @m)"),
        ("shape = [3,2,3,4,4]", "shape = [2,3,3,4,4]"),
        ("Add(%r, @m)", "Mul(%r, @m)"),
    ],
)
def test_other_sums_between_reshapes_are_no_masks_of_windows(old: str, new: str) -> None:
    inputs, nodes, constants = windows(3)
    assert old in nodes
    if "[2,3," in new:
        constants = constants.replace("f32[1,2,1,4,4]", "f32[2,1,1,4,4]")
    module = rewritten(module_of(inputs, nodes.replace(old, new), constants), RecognizeAttention())
    assert not kinds(module)["Attention"]


def test_a_factor_for_each_head() -> None:
    """Swin V2 multiplies the cosines by one."""
    inputs, nodes, constants = windows(1)
    scaled = nodes.replace("%a = MatMul(%i, %t)", "%o = MatMul(%i, %t)  %a = Mul(%o, @h)")
    constants += "\nconstant @h = [2.0,0.5,4.0] : f32[3,1,1]"
    module = rewritten(module_of(inputs, scaled, constants), RecognizeAttention())
    assert kinds(module) == Counter(Attention=1, Mul=1)
    by_query = scaled.replace("@h", "@u")
    module = rewritten(
        module_of(inputs, by_query, constants + "\nconstant @u = [2.0,0.5,4.0,1.0] : f32[4,1]"), RecognizeAttention()
    )
    assert not kinds(module)["Attention"]


def test_one_image_s_mask_is_added_with_four_axes() -> None:
    module = rewritten(module_of(*windows(1)), AddWithoutUnitAxis())
    assert not kinds(module)["Reshape"] and kinds(module)["Add"] == 2
    assert kinds(rewritten(module_of(*windows(3)), AddWithoutUnitAxis()))["Reshape"] == 2


@pytest.mark.parametrize("equation", ["abb->ba", "abc->ca", "abc->ba", "abc"])
def test_an_einsum_that_sums_or_takes_a_diagonal_is_no_transpose(equation: str) -> None:
    module = module_of("%x: f32[2,3,3]", f'%y = Einsum(%x) {{equation = "{equation}"}}')
    assert kinds(rewritten(module, TransposeFromEinsum())) == Counter(Einsum=1)


TABLE = """
constant @table = [true,false,false,true,true,false,true,true,true] : bool[1,1,3,3]
constant @low = -3.0e+38 : f32[]
"""
CUT = """%r = Transpose(%k) {perm = [0,1,3,2]}
%s = MatMul(%q, %r)
%t = Slice(@table) {axes = [2,3], starts = [0,0], ends = [s,s], steps = [1,1]}
%w = Where(%t, %s, @low)
"""
OPEN = "%q: f32[b,2,s,4], %k: f32[b,2,s,4], %v: f32[b,2,s,5]"


@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_mask_cut_from_a_table_beside_a_whole_one(size: int) -> None:
    """Open sizes: the table has min(3, s) rows, which are s wherever the model runs."""
    nodes = CUT + "%a = Add(%w, %m)\n%p = Softmax(%a) {axis = 3}\n%y = MatMul(%p, %v)"
    module = module_of(f"{OPEN}, %m: f32[b,1,s,s]", nodes, TABLE)
    rng = np.random.default_rng(1)
    extents = {"b": 2, "s": size}
    feeds = {
        name: rng.normal(size=[d if isinstance(d, int) else extents[str(d)] for d in t.type.dims]).astype(np.float32)
        for name, t in zip(module.main.input_names, module.main.inputs, strict=True)
    }
    before = uair.run(module, feeds)["y"]
    PassContext().apply_rules(module, [RecognizeAttention()])
    verify(module)
    assert kinds(module)["Attention"] == 1 and not kinds(module)["Softmax"]
    np.testing.assert_allclose(uair.run(module, feeds)["y"], before, rtol=1e-5, atol=1e-6)


def test_a_mask_cut_from_a_table_alone_stays() -> None:
    nodes = CUT + "%p = Softmax(%w) {axis = 3}\n%y = MatMul(%p, %v)"
    module = module_of(OPEN, nodes, TABLE)
    PassContext().apply_rules(module, [RecognizeAttention()])
    assert kinds(module)["Attention"] == 0 and kinds(module)["Softmax"] == 1


CAUSAL = "%q: f32[2,3,5,4], %k: f32[2,5,3,4], %v: f32[2,3,5,7], %c: bool[2,1,1,5]"


@pytest.mark.parametrize(("function", "guarded"), [("Exp", False), ("Softplus", False), ("Log", True)])
def test_a_computed_mask_that_cannot_be_minus_infinity_is_spelled_out_without_a_guard(
    function: str, guarded: bool
) -> None:
    """As Doge has it: the exponential of something, and the least number for keys that take no part."""
    nodes = (
        f"%e = {function}(%m)  %u = Transpose(%e) {{perm = [0,2,1]}}  %r = Unsqueeze(%u) {{axes = [1]}}  "
        "%w = Where(%c, @low, %r)  %x = Expand(%w) {shape = [2,3,5,5]}  %t = Transpose(%k) {perm = [0,2,1,3]}  "
        "%y = Attention(%q, %t, %v, %x)  "
    )
    module = module_of(CAUSAL + ", %m: f32[2,5,1]", nodes, "constant @low = -3.4e38 : f32[]\n")
    written = module.clone()
    LegaliseOnnx(opset=17).run(written, PassContext())
    assert ("ReduceMax" in kinds(written)) == guarded
    rng = np.random.default_rng(0)
    feeds = {t.name: rng.uniform(0.0, 1.0, size=static(t.type.dims)).astype(np.float32) for t in module.main.inputs}
    feeds["m"][0, :, 0] = [0.0, 0.0, 0.5, 0.0, 0.0]
    feeds["c"] = np.array([[[[False] * 5]], [[[True] * 5]]])
    (want,), (got,) = (uair.run(m, feeds).values() for m in (module, written))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("low", "other", "guarded"),
    [
        ("-3e38", "-3e38", False),  # their sum overflows, but not where one of them is 0
        ("-inf", "-3e38", False),
        ("-3e38", "-inf", True),
    ],
)
def test_a_mask_that_leaves_a_key_to_every_query_is_spelled_out_without_a_guard(
    low: str, other: str, guarded: bool
) -> None:
    """A causal constant that is added to a choice of numbers: nothing looks for rows without a key."""
    causal = ",".join("0.0" if key <= query else low for query in range(5) for key in range(5))
    constants = (
        f"constant @causal = [{causal}] : f32[5,5]\nconstant @zero = 0.0 : f32[]\nconstant @low = {other} : f32[]\n"
    )
    nodes = "%w = Where(%c, @zero, @low)  %m = Add(@causal, %w)  %t = Transpose(%k) {perm = [0,2,1,3]}  "
    module = module_of(CAUSAL, nodes + "%y = Attention(%q, %t, %v, %m)  ", constants)
    written = module.clone()
    LegaliseOnnx(opset=17).run(written, PassContext())
    found = kinds(written)
    assert found["Transpose"] == 1
    assert ("ReduceMax" in found) == guarded
    rng = np.random.default_rng(0)
    feeds = {t.name: rng.normal(size=static(t.type.dims)).astype(np.float32) for t in module.main.inputs[:3]}
    feeds["c"] = np.array([[[[False] * 5]], [[[True, False, True, True, False]]]])
    (want,), (got,) = (uair.run(m, feeds).values() for m in (module, written))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
