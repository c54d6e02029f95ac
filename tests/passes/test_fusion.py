"""Fusion: structure by text, numbers by the interpreter."""

# ruff: noqa: E501  a line of IR text is one line

from __future__ import annotations

import numpy as np
import pytest

from uair.codegen.reference import random_feeds, run
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse, ruleset
from uair.pipeline import PassContext
from uair.rewrite import NoMatch
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module


def fused(text: str, tolerance: float = 1e-5) -> Module:
    """Fuse a sketch and check that it computes the same."""
    module = parse_module(text)
    verify(module)
    feeds = random_feeds(module.main)
    before = run(module, feeds)
    Fuse().run(module, PassContext())
    verify(module)
    after = run(module, feeds)
    for name, want in before.items():
        assert after[name].dtype == want.dtype
        np.testing.assert_allclose(after[name], want, rtol=tolerance, atol=tolerance * float(np.abs(want).max()))
    return module


def ops(module: Module) -> list[str]:
    return [node.op_type for node in module.main]


def vector(name: str, *values: float) -> str:
    return f"constant @{name} = [{','.join(map(str, values))}] : f32[{len(values)}]  "


WEIGHTS = "constant @w = [0.5,-1.0,2.0,0.25,1.5,-0.75] : f32[3,2,1,1]  "
STATISTICS = (
    vector("scale", 1.5, -0.5, 2.0)
    + vector("shift", 0.1, 0.2, -0.3)
    + vector("mean", 0.5, -0.25, 0.75)
    + vector("var", 1.5, 0.5, 2.5)
)


@pytest.mark.parametrize("bias", ["", ", @b"])
def test_batch_norm_goes_into_a_convolution(bias: str) -> None:
    module = fused(
        WEIGHTS + vector("b", 0.3, -0.2, 0.1) + STATISTICS + "%x: f32[1,2,4,4]  "
        f"%c = Conv2D(%x, @w{bias})  %y = BatchNorm(%c, @scale, @shift, @mean, @var)"
    )
    assert ops(module) == ["Conv2D"]
    (node,) = module.main
    assert "fold-batch-norm" in node.loc.by


@pytest.mark.parametrize(
    "product",
    [
        "%p = Linear(%x, @u, @b)",
        "%p = Linear(%x, @t) {transpose_w = false}",
        "%p = MatMul(%x, @t)",
        "%p = MatMul(%x, @u) {trans_b = true}",
    ],
)
@pytest.mark.parametrize("front", ["2,5", "10"])
def test_batch_norm_of_features_goes_into_a_product(product: str, front: str) -> None:
    weights = "".join(
        f"constant @{n} = [0.5,-1.0,2.0,0.25,1.5,-0.75] : f32[{s}]  " for n, s in (("u", "3,2"), ("t", "2,3"))
    )
    merge, features = ("%r = Reshape(%p) {shape = [10,3]}  ", "%r") if front != "10" else ("", "%p")
    text = weights + vector("b", 0.3, -0.2, 0.1) + STATISTICS + f"%x: f32[{front},2]  {product}  {merge}"
    module = fused(text + f"%n = BatchNorm({features}, @scale, @shift, @mean, @var)  %y = Relu(%n)")
    assert "BatchNorm" not in ops(module) and ops(module).count("Linear") == 1


@pytest.mark.parametrize(
    "merge", ["Reshape(%p) {shape = [2,3,5]}", "Reshape(%p) {shape = [5,6]}", "Transpose(%p) {perm = [0,2,1]}"]
)
def test_batch_norm_of_other_axes_stays(merge: str) -> None:
    four = "".join(
        vector(n, *(1.5, 0.5, 2.0, 0.75, 1.25, 3.0)[: 6 if "6" in merge else 3])
        for n in ("scale", "shift", "mean", "var")
    )
    weights = "constant @u = [0.5,-1.0,2.0,0.25,1.5,-0.75] : f32[3,2]  "
    module = fused(
        weights
        + four
        + f"%x: f32[2,5,2]  %p = Linear(%x, @u)  %r = {merge}  %y = BatchNorm(%r, @scale, @shift, @mean, @var)"
    )
    assert "BatchNorm" in ops(module)


def test_batch_norm_goes_into_grouped_transposed_and_one_dimensional_convolutions() -> None:
    grouped = "constant @w = [0.5,-1.0,2.0,0.25] : f32[4,1,1,1]  "
    four = "".join(vector(n, 1.5, 0.5, 2.0, 0.75) for n in ("scale", "shift", "mean", "var"))
    bn = "%y = BatchNorm(%c, @scale, @shift, @mean, @var)"
    assert ops(fused(grouped + four + "%x: f32[1,2,3,3]  %c = Conv2D(%x, @w) {groups = 2}  " + bn)) == ["Conv2D"]
    transposed = "constant @w = [0.5,-1.0,2.0,0.25,1.0,3.0,-2.0,0.1] : f32[4,2,1,1]  "
    text = transposed + four + "%x: f32[1,4,3,3]  %c = ConvTranspose2D(%x, @w) {groups = 2}  " + bn
    assert ops(fused(text)) == ["ConvTranspose2D"]
    line = "constant @w = [0.5,-1.0,2.0,0.25] : f32[4,1,1]  "
    assert ops(fused(line + four + "%x: f32[1,1,3]  %c = Conv1D(%x, @w)  " + bn)) == ["Conv1D"]


def test_batch_norm_goes_into_linear() -> None:
    text = "constant @w = [0.5,-1.0,2.0,0.25,1.5,-0.75] : f32[3,2]  " + STATISTICS
    module = fused(text + "%x: f32[4,2]  %c = Linear(%x, @w)  %y = BatchNorm(%c, @scale, @shift, @mean, @var)")
    assert ops(module) == ["Linear"]


def test_equal_convolutions_are_not_merged_in_front_of_their_batch_norms() -> None:
    text = WEIGHTS + STATISTICS + "%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  %d = Conv2D(%x, @w)  "
    text += "%y = BatchNorm(%c, @scale, @shift, @mean, @var)  %z = BatchNorm(%d, @scale, @SHIFT, @mean, @var)  "
    for shift, left in (("mean", 2), ("shift", 1)):
        module = parse_module(text.replace("SHIFT", shift) + "%o = Add(%y, %z)")
        Canonicalise().run(module, PassContext())
        Fuse().run(module, PassContext())
        assert ops(module) == ["Conv2D"] * left + ["Add"]
    merged = parse_module(WEIGHTS + "%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  %d = Conv2D(%x, @w)  %o = Add(%c, %d)")
    Canonicalise().run(merged, PassContext())
    assert ops(merged) == ["Conv2D", "Add"]


def test_batch_norm_stays_when_the_convolution_has_another_user() -> None:
    text = (
        WEIGHTS + STATISTICS + "%x: f32[1,2,4,4]  %c = Conv2D(%x, @w)  "
        "%y = BatchNorm(%c, @scale, @shift, @mean, @var)  %z = Relu(%c)  return %y, %z"
    )
    assert_keeps(Fuse(), text)
    module = parse_module(text)
    rule = next(r for r in ruleset().rules if r.name == "fold-batch-norm")
    batch_norm = next(n for n in module.main if n.op_type == "BatchNorm")
    answer = rule.match(batch_norm)
    assert isinstance(answer, NoMatch)
    assert "interior values are private" in str(answer)


@pytest.mark.parametrize("op", ["Mul", "Add", "Sub", "Div"])
@pytest.mark.parametrize("shape", ["[3,1,1]", "[1,3,1,1]", "[1]", "[]"])
def test_channelwise_constants_go_into_a_convolution(op: str, shape: str) -> None:
    values = "[1.5,-0.5,2.0]" if "3" in shape else "[1.5]"
    text = (
        WEIGHTS
        + f"constant @c = {values if shape != '[]' else '1.5'} : f32{shape}  %x: f32[1,2,4,4]  %a = Conv2D(%x, @w)  "
    )
    assert ops(fused(text + f"%y = {op}(%a, @c)")) == ["Conv2D"]


@pytest.mark.parametrize("bias", ["", "constant @b = [0.5,1.0,-2.0] : f32[3]  "])
def test_a_negation_goes_into_a_convolution(bias: str) -> None:
    conv = "%a = Conv2D(%x, @w, @b)" if bias else "%a = Conv2D(%x, @w)"
    assert ops(fused(WEIGHTS + bias + f"%x: f32[1,2,4,4]  {conv}  %y = Neg(%a)")) == ["Conv2D"]
    shared = fused(WEIGHTS + bias + f"%x: f32[1,2,4,4]  {conv}  %y = Neg(%a)  return %a, %y")
    assert ops(shared) == ["Conv2D", "Neg"]


@pytest.mark.parametrize("text", ["%y = Sub(@c, %a)", "%y = Div(@c, %a)"])
def test_the_constant_on_the_other_side_of_a_difference_stays(text: str) -> None:
    start = WEIGHTS + "constant @c = [1.5] : f32[1]  %x: f32[1,2,4,4]  %a = Conv2D(%x, @w)  "
    assert len(ops(fused(start + text))) == 2


def test_a_constant_that_varies_over_the_image_stays() -> None:
    text = WEIGHTS + "constant @c = [1.5,2.0] : f32[2]  %x: f32[1,2,4,2]  %a = Conv2D(%x, @w)  %y = Mul(%a, @c)"
    assert ops(fused(text)) == ["Conv2D", "Mul"]


def test_scale_and_shift_go_into_batch_norm() -> None:
    text = (
        STATISTICS
        + "constant @m = [2.0,0.5,1.5] : f32[3,1,1]  %x: f32[1,3,2,2]  %a = BatchNorm(%x, @scale, @shift, @mean, @var)  "
    )
    assert ops(fused(text + "%b = Mul(%a, @m)  %y = Add(%b, @m)")) == ["BatchNorm"]


def test_pad_goes_into_a_convolution_and_an_average_pool() -> None:
    pad = "%p = Pad(%x) {pads = [0,0,1,2,0,0,3,0]}  "
    module = fused(WEIGHTS + "%x: f32[1,2,4,4]  " + pad + "%y = Conv2D(%p, @w) {pads = [1,0,0,1]}")
    (node,) = module.main
    assert node.attributes["pads"] == (2, 2, 3, 1)
    pool = fused("%x: f32[1,2,4,4]  " + pad + "%y = AvgPool2D(%p) {kernel = [4,3]}")
    assert ops(pool) == ["AvgPool2D"]
    assert next(iter(pool.main)).attributes["count_include_pad"] is True


@pytest.mark.parametrize(
    "pad",
    [
        pytest.param("%p = Pad(%x) {pads = [0,0,1,1,0,0,1,1], value = 1.0}", id="by-ones"),
        pytest.param('%p = Pad(%x) {pads = [0,0,1,1,0,0,1,1], mode = "edge"}', id="by-edges"),
        pytest.param("%p = Pad(%x) {pads = [0,0,-1,0,0,0,0,0]}", id="crop"),
        pytest.param("%p = Pad(%x) {pads = [1,0,0,0,0,0,0,0]}", id="batch"),
    ],
)
def test_other_padding_stays(pad: str) -> None:
    text = WEIGHTS + "%x: f32[1,2,4,4]  " + pad + "  %y = Conv2D(%p, @w)"
    assert ops(fused(text)) == ["Pad", "Conv2D"]


def test_padding_of_a_whole_window_does_not_go_into_a_pool() -> None:
    text = "%x: f32[1,2,4,4]  %p = Pad(%x) {pads = [0,0,1,2,0,0,3,0]}  %y = AvgPool2D(%p) {kernel = [2,2]}"
    assert ops(fused(text)) == ["Pad", "AvgPool2D"]


def test_zero_padding_does_not_go_into_a_max_pool() -> None:
    text = "%x: f32[1,2,4,4]  %p = Pad(%x) {pads = [0,0,1,1,0,0,1,1]}  %y = MaxPool2D(%p) {kernel = [2,2]}"
    assert ops(fused(text)) == ["Pad", "MaxPool2D"]


def test_matmul_and_add_are_linear() -> None:
    w = "constant @w = [0.5,-1.0,2.0,0.25,1.5,-0.75] : f32[2,3]  " + vector("b", 1.0, 2.0, 3.0)
    for text in ("%y = Add(%m, @b)", "%y = Add(@b, %m)"):
        assert ops(fused(w + "%x: f32[5,4,2]  %m = MatMul(%x, @w)  " + text)) == ["Linear"]
    column = w.replace("constant @b = [1.0,2.0,3.0] : f32[3]", "constant @b = [1.0,2.0,3.0,4.0] : f32[4,1]")
    assert ops(fused(column + "%x: f32[4,2]  %m = MatMul(%x, @w)  %y = Add(%m, @b)")) == ["MatMul", "Add"]


HALF, ONE, TWO, ROOT = (
    "constant @h = 0.5 : f32[]  ",
    "constant @o = 1.0 : f32[]  ",
    "constant @t = 2.0 : f32[]  ",
    "constant @r = 1.4142135 : f32[]  ",
)
THREE, SIX = "constant @three = 3.0 : f32[]  ", "constant @six = 6.0 : f32[]  "


@pytest.mark.parametrize(
    ("text", "op"),
    [
        ("%s = Sigmoid(%x)  %y = Mul(%x, %s)", "Swish"),
        ("%s = Sigmoid(%x)  %y = Mul(%s, %x)", "Swish"),
        (THREE + SIX + "%a = Add(%x, @three)  %c = Clip(%a) {min = 0.0, max = 6.0}  %y = Div(%c, @six)", "HardSigmoid"),
        (
            THREE
            + SIX
            + "%a = Add(%x, @three)  %c = Clip(%a) {min = 0.0, max = 6.0}  %d = Div(%c, @six)  %y = Mul(%x, %d)",
            "HardSwish",
        ),
        (
            THREE
            + SIX
            + "%a = Add(%x, @three)  %c = Clip(%a) {min = 0.0, max = 6.0}  %m = Mul(%x, %c)  %y = Div(%m, @six)",
            "HardSwish",
        ),
        ("%s = Softplus(%x)  %t = Tanh(%s)  %y = Mul(%x, %t)", "Mish"),
        (ONE + "%a = Abs(%x)  %s = Add(@o, %a)  %y = Div(%x, %s)", "Softsign"),
        (
            HALF + ONE + ROOT + "%d = Div(%x, @r)  %e = Erf(%d)  %a = Add(%e, @o)  %m = Mul(%x, %a)  %y = Mul(%m, @h)",
            "Gelu",
        ),
        (
            HALF + ONE + ROOT + "%d = Div(%x, @r)  %e = Erf(%d)  %a = Add(@o, %e)  %m = Mul(%x, @h)  %y = Mul(%m, %a)",
            "Gelu",
        ),
        (
            HALF + ONE + ROOT + "%d = Div(%x, @r)  %e = Erf(%d)  %a = Add(%e, @o)  %m = Mul(%a, @h)  %y = Mul(%x, %m)",
            "Gelu",
        ),
        (
            HALF + ONE + "constant @c = 0.044715 : f32[]  constant @k = 0.7978846 : f32[]  constant @p = 3.0 : f32[]  "
            "%q = Pow(%x, @p)  %b = Mul(%q, @c)  %d = Add(%x, %b)  %e = Mul(%d, @k)  %t = Tanh(%e)  %a = Add(%t, @o)  "
            "%m = Mul(%x, @h)  %y = Mul(%m, %a)",
            "Gelu",
        ),
    ],
)
def test_activations_are_recognized(text: str, op: str) -> None:
    assert ops(fused("%x: f32[2,3]  " + text)) == [op]


@pytest.mark.parametrize(
    "product",
    ["%m = Mul(@h, %x)  %y = Mul(%m, %c)", "%m = Mul(%x, %c)  %y = Mul(%m, @h)", "%m = Mul(%c, @h)  %y = Mul(%x, %m)"],
)
@pytest.mark.parametrize(
    "inner", ["%n = Neg(%x)  %d = Mul(%n, @i)", "%n = Neg(%x)  %d = Div(%n, @r)", "%n = Mul(%x, @i)  %d = Neg(%n)"]
)
def test_gelu_by_the_complement_is_recognized(inner: str, product: str) -> None:
    constants = HALF + ONE + ROOT + "constant @i = 0.70710677 : f32[]  "
    text = constants + f"%x: f32[2,3]  {inner}  %e = Erf(%d)  %c = Sub(@o, %e)  {product}"
    assert ops(fused(text)) == ["Gelu"]


def test_other_constants_are_no_gelu_by_the_complement() -> None:
    text = HALF + ONE + TWO + "%x: f32[2,3]  %n = Neg(%x)  %d = Div(%n, @t)  %e = Erf(%d)  %c = Sub(@o, %e)  "
    assert "Gelu" not in ops(fused(text + "%m = Mul(@h, %x)  %y = Mul(%m, %c)"))


def test_other_constants_are_no_gelu() -> None:
    text = (
        HALF
        + ONE
        + TWO
        + "%x: f32[2,3]  %d = Div(%x, @t)  %e = Erf(%d)  %a = Add(%e, @o)  %m = Mul(%x, %a)  %y = Mul(%m, @h)"
    )
    assert "Gelu" not in ops(fused(text))


LAYER_NORM = (
    "constant @p = 2.0 : f32[]  constant @e = 0.00001 : f32[]  %x: f32[2,3,4]  %m = ReduceMean(%x) {axes = [-1]}  %c = Sub(%x, %m)  "
    "%q = Pow(%c, @p)  %v = ReduceMean(%q) {axes = [-1]}  %a = Add(%v, @e)  %s = Sqrt(%a)  %n = Div(%c, %s)  "
)


def test_layer_norm_is_recognized_with_scale_and_bias() -> None:
    scale = vector("g", 1.0, 2.0, 3.0, 4.0) + vector("b", 0.5, 0.25, 0.125, 1.0)
    module = fused(scale + LAYER_NORM + "%t = Mul(%n, @g)  %y = Add(%t, @b)")
    assert ops(module) == ["LayerNorm"]
    (node,) = module.main
    assert len(node.inputs) == 3
    assert node.attributes["epsilon"] == pytest.approx(1e-5)


SPREAD = (
    "constant @e = 0.001 : f32[]  %x: f32[2,3,4]  %m = ReduceMean(%x) {axes = [2]}  %c = Sub(%x, %m)  "
    "%q = Mul(%c, %c)  %v = ReduceMean(%q) {axes = [2]}  %a = Add(%v, @e)  %s = Rsqrt(%a)  "
)


@pytest.mark.parametrize(
    ("text", "operands"),
    [
        ("%r = Mul(%s, @g)  %f = Neg(%m)  %t = Mul(%f, %r)  %u = Add(%t, @b)  %w = Mul(%x, %r)  %y = Add(%w, %u)", 3),
        ("%r = Mul(%s, @g)  %t = Mul(%m, %r)  %u = Sub(@b, %t)  %w = Mul(%x, %r)  %y = Add(%w, %u)", 3),
        ("%r = Mul(%s, @g)  %f = Neg(%m)  %t = Mul(%f, %r)  %w = Mul(%x, %r)  %y = Add(%w, %t)", 2),
        ("%f = Neg(%m)  %t = Mul(%f, %s)  %w = Mul(%x, %s)  %y = Add(%w, %t)", 1),
    ],
)
def test_layer_norm_spread_over_scale_and_shift_is_recognized(text: str, operands: int) -> None:
    parameters = "constant @g = [1.0,2.0,3.0,4.0] : f32[1,1,4]  " + vector("b", 0.5, 0.25, 0.125, 1.0)
    module = fused(parameters + SPREAD + text)
    (node,) = module.main
    assert node.op_type == "LayerNorm" and len(node.inputs) == operands
    assert node.attributes["epsilon"] == pytest.approx(1e-3)


def test_a_shift_by_another_mean_is_no_layer_norm() -> None:
    text = "%k = ReduceMean(%x) {axes = [1]}  %f = Neg(%k)  %t = Mul(%f, %s)  %w = Mul(%x, %s)  %y = Add(%w, %t)"
    assert "LayerNorm" not in ops(fused(SPREAD + text))


def test_a_scale_of_another_shape_is_no_layer_norm_parameter() -> None:
    module = fused("constant @g = [1.0,2.0,3.0] : f32[3,1]  " + LAYER_NORM + "%y = Mul(%n, @g)")
    assert ops(module) == ["LayerNorm", "Mul"]


def test_norm_over_the_first_axis_is_not_layer_norm() -> None:
    text = LAYER_NORM.replace("[-1]", "[0]") + "%y = Relu(%n)"
    assert "LayerNorm" not in ops(fused(text))


RMS = (
    "constant @p = 2.0 : f32[]  constant @e = 0.01 : f32[]  constant @1 = 1.0 : f32[]  %x: f32[2,3,4]  "
    "%q = {square}  %m = ReduceMean(%q) {{axes = [{axes}]}}  %a = Add(%m, @e)  {root}  "
)
ROOTS = {
    "Div": "%s = Sqrt(%a)  %n = Div(%x, %s)",
    "Rsqrt": "%s = Rsqrt(%a)  %n = Mul(%x, %s)",
    "Reciprocal": "%s = Sqrt(%a)  %r = Reciprocal(%s)  %n = Mul(%r, %x)",
    "one by it": "%s = Sqrt(%a)  %r = Div(@1, %s)  %n = Mul(%x, %r)",
}


@pytest.mark.parametrize("square", ["Pow(%x, @p)", "Mul(%x, %x)"])
@pytest.mark.parametrize("root", ROOTS)
def test_rms_norm_is_recognized_with_its_scale(square: str, root: str) -> None:
    text = RMS.format(square=square, axes=-1, root=ROOTS[root]) + vector("g", 1.0, -2.0, 3.0, 0.5)
    module = fused(text + "%y = Mul(@g, %n)")
    (node,) = module.main
    assert node.op_type == "RMSNorm" and len(node.inputs) == 2
    assert node.attributes == {"axis": 2, "epsilon": pytest.approx(0.01)}
    two = fused(RMS.format(square=square, axes="1, 2", root=ROOTS[root]) + "%y = Relu(%n)")
    assert ops(two) == ["RMSNorm", "Relu"] and next(iter(two.main)).attributes["axis"] == 1


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        ("another power", "@p = 2.0", "@p = 4.0"),
        ("another numerator", "@1 = 1.0", "@1 = 2.0"),
        ("another axis", "axes = [-1]", "axes = [1]"),
        ("epsilon by place", "@e = 0.01 : f32[]", "@e = [0.01,0.5,0.25] : f32[3,1]"),
        ("another operand", "%n = Mul(%x, %r)", "%n = Mul(%q, %r)"),
    ],
)
def test_other_quotients_are_no_rms_norm(text: str, old: str, new: str) -> None:
    whole = RMS.format(square="Pow(%x, @p)", axes=-1, root=ROOTS["one by it"])
    assert old in whole
    assert "RMSNorm" not in ops(fused(whole.replace(old, new) + "%y = Relu(%n)")), text


@pytest.mark.parametrize("dtype", ["f16", "bf16"])
def test_rms_norm_in_f32_between_casts_is_one_of_the_narrow_type(dtype: str) -> None:
    text = (
        f"constant @e = 0.01 : f32[]  constant @g = [1.0,-2.0,3.0,0.5] : {dtype}[4]  %i: {dtype}[2,3,4]  "
        "%x = Cast(%i) {to = f32}  %q = Mul(%x, %x)  %m = ReduceMean(%q) {axes = [-1]}  %a = Add(%m, @e)  "
        f"%s = Rsqrt(%a)  %n = Mul(%x, %s)  %c = Cast(%n) {{to = {dtype}}}  %y = Mul(@g, %c)"
    )
    (node,) = fused(text, tolerance=2**-7 if dtype == "bf16" else 2**-10).main  # rounded once, not twice
    assert node.op_type == "RMSNorm" and len(node.inputs) == 2
    assert ops(fused(text.replace(dtype, "f64"))) == ["Cast", "RMSNorm", "Cast", "Mul"]


@pytest.mark.parametrize("divided", ["Div(%t, @c)", "Mul(%t, @c)", "Mul(@c, %t)"])
@pytest.mark.parametrize(("axes", "count"), [("[1]", 3), ("[0,-1]", 8)])
def test_a_sum_by_its_number_of_elements_is_a_mean(divided: str, axes: str, count: int) -> None:
    value = count if "Div" in divided else 1 / count
    module = fused(
        f"constant @c = {float(value)!r} : f32[]  %x: f32[2,3,4]  "
        f"%t = ReduceSum(%x) {{axes = {axes}, keepdims = false}}  %y = {divided}"
    )
    assert ops(module) == ["ReduceMean"]


@pytest.mark.parametrize(
    "text",
    [
        "constant @c = 4.0 : f32[]  %x: f32[2,3,4]  %t = ReduceSum(%x) {axes = [1]}  %y = Div(%t, @c)",
        "constant @c = [3.0,3.0] : f32[2,1,1,1]  %x: f32[2,3,4]  %t = ReduceSum(%x) {axes = [1]}  %y = Div(%t, @c)",
    ],
)
def test_other_quotients_of_sums_are_no_means(text: str) -> None:
    assert "ReduceSum" in ops(fused(text))


def test_rewrites_by_text() -> None:
    assert_rewrites(
        Fuse(),
        before=WEIGHTS + vector("b", 1.0, 2.0, 3.0).replace("f32[3]", "f32[3,1,1]") + "%x: f32[1,2,4,4]  "
        "%a = Conv2D(%x, @w)  %y = Add(%a, @b)",
        after=WEIGHTS + vector("b", 1.0, 2.0, 3.0) + "%x: f32[1,2,4,4]  %y = Conv2D(%x, @w, @b)",
    )


def test_every_rule_says_what_it_does() -> None:
    for rule in ruleset().rules:
        assert rule.description.endswith("."), rule.name


TAKERS = {
    "Conv2D": "constant @w = [0.5,-1.0,2.0,0.25] : f32[2,2,1,1]  %x: f32[1,2,4,4]  ",
    "Linear": "constant @w = [0.5,-1.0,2.0,0.25] : f32[2,2]  %x: f32[3,2]  ",
}


@pytest.mark.parametrize("bias", ["", ", @b"])
@pytest.mark.parametrize("op", TAKERS)
@pytest.mark.parametrize("text", ["%m = Mul(@s, %r)", "%m = Add(%r, @s)", "%p = Mul(%r, @s)  %m = Add(@s, %p)"])
def test_numbers_in_front_of_weights_go_into_them(text: str, op: str, bias: str) -> None:
    head = "constant @s = 1.5 : f32[]  " + vector("b", 0.5, -0.25) + TAKERS[op]
    module = fused(f"{head}%r = Relu(%x)  {text}  %y = {op}(%m, @w{bias})")
    assert ops(module) == ["Relu", op]


@pytest.mark.parametrize("extra", ["", " {transpose_w = false}"])
def test_a_shift_in_front_of_linear_sums_over_its_inputs(extra: str) -> None:
    shape = "[2,3]" if extra else "[3,2]"
    head = f"constant @s = [0.75] : f32[1]  constant @w = [0.5,-1.0,2.0,0.25,1.0,3.0] : f32{shape}  %x: f32[3,2]  "
    assert ops(fused(f"{head}%r = Relu(%x)  %m = Add(%r, @s)  %y = Linear(%m, @w){extra}")) == ["Relu", "Linear"]


def test_a_shift_in_front_of_padding_stays_and_its_scale_goes() -> None:
    """Behind the border there are zeros that nothing shifts: x * a + b becomes x + b / a."""
    head = "constant @a = 0.5 : f32[]  constant @b = -2.0 : f32[]  constant @w = [1.0,2.0] : f32[2,1,1,1]  "
    text = "%x: f32[1,2,3,3]  %r = Relu(%x)  %m = Mul(%r, @a)  %s = Add(%m, @b)  "
    module = fused(head + text + "%y = Conv2D(%s, @w) {groups = 2, pads = [1,1,1,1]}")
    assert ops(module) == ["Relu", "Add", "Conv2D"]
    total = next(node for node in module.main if node.op_type == "Add")
    assert [t.numpy() for t in total.inputs if t is not None and t.is_constant] == [-4.0]


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("%m = Mul(%x, @s)  %y = Conv2D(%m, @w)", id="the-model-s-input"),
        pytest.param("%r = Relu(%x)  %m = Mul(%r, @c)  %y = Conv2D(%m, @w)", id="numbers-by-channel"),
        pytest.param("%r = Relu(%x)  %m = Mul(%r, @s)  %y = Conv2D(%m, @w)  %z = Neg(%m)", id="two-users"),
        pytest.param("%r = Relu(%x)  %m = Add(%r, @s)  %y = Conv2D(%m, @w) {pads = [0,1,0,0]}", id="padding"),
        pytest.param("%r = Relu(%x)  %m = Mul(%r, @zero)  %a = Add(%m, @s)  %y = Conv2D(%a, @w) {pads = [1,1,1,1]}",
                     id="no-quotient"),
    ],
)  # fmt: skip
def test_other_operands_of_weights_stay(text: str) -> None:
    head = "constant @s = 1.5 : f32[]  constant @c = [1.0,2.0] : f32[2,1,1]  "
    head += "constant @zero = 0.0 : f32[]  " + TAKERS["Conv2D"]
    module = parse_module(head + text)
    count = sum(1 for _ in module.main)
    Fuse().run(module, PassContext())
    assert sum(1 for _ in module.main) == count


def test_a_quotient_by_a_number_is_a_product() -> None:
    module = fused("constant @c = [8.0] : f32[1]  %x: f32[2,3]  %a = Sigmoid(%x)  %y = Div(%a, @c)")
    assert ops(module) == ["Sigmoid", "Mul"]
    for text in ("%y = Div(@c, %x)", "%y = Div(%x, @zero)", "%y = Div(%x, @two)"):
        constants = "constant @c = 8.0 : f32[]  constant @zero = 0.0 : f32[]  constant @two = [1.5,2.0,4.0] : f32[3]  "
        module = parse_module(constants + "%x: f32[2,3]  " + text)
        Fuse().run(module, PassContext())
        assert ops(module) == ["Div"]


def test_the_product_that_ends_an_activation_is_no_scale_of_the_next_layer() -> None:
    """0.5 * x * (1 + erf(x / sqrt(2))) in front of Linear is a Gelu first."""
    head = "constant @r = 0.70710678 : f32[]  constant @one = 1.0 : f32[]  constant @half = 0.5 : f32[]  "
    text = "%a = Mul(%x, @r)  %e = Erf(%a)  %s = Add(%e, @one)  %p = Mul(%x, %s)  %g = Mul(%p, @half)  "
    assert ops(fused(head + TAKERS["Linear"] + text + "%y = Linear(%g, @w)")) == ["Gelu", "Linear"]
