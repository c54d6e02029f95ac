"""Reductions that drop their axes, as JAX writes them: axes are kept, and normalizations, Softmax, Gelu recognized."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from uair.codegen.onnx.model import export
from uair.codegen.reference import run
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.passes.fuse import Fuse
from uair.passes.recognize_attention import RecognizeAttention
from uair.passes.simplify.reduced_axes import DropReductionOfOne, KeepReducedAxes
from uair.pipeline import PassContext, PassManager, Verify
from uair.testing import assert_keeps, assert_rewrites
from uair.text import parse_module

FAST_VARIANCE = """
constant @n = {reciprocal} : f32[]
constant @eps = 1e-06 : f32[]
constant @scale = [1.0,-2.0,3.0,0.5] : f32[1,1,4]
constant @bias = [0.5,0.25,0.125,1.0] : f32[1,1,4]
%x: f32[{rows},3,4]
%q = Mul(%x, %x)
%sq = {reduce}(%q) {{axes = [2], keepdims = false}}
%s = {reduce}(%x) {{axes = [2], keepdims = false}}
%mq = Mul(%sq, @n)
%m = Mul(%s, @n)
%mm = Mul(%m, %m)
%v = Sub(%mq, %mm)
%p = Relu(%v)
%vk = Reshape(%p) {{shape = [{rows},3,1]}}
%mk = Reshape(%m) {{shape = [{rows},3,1]}}
%c = Sub(%x, %mk)
%a = Add(%vk, @eps)
%r = Rsqrt(%a)
%f = Mul(%r, @scale)
%z = Mul(%c, %f)
%y = Add(%z, @bias)
"""


def optimised(module: Module) -> Module:
    return PassManager([Canonicalise(), Fuse()], [Verify()], PassContext()).run(module.clone())


def kinds(module: Module) -> list[str]:
    return [node.op_type for node in module.main]


@pytest.mark.parametrize(("reduce", "reciprocal"), [("ReduceSum", 0.25), ("ReduceMean", 1.0)])
@pytest.mark.parametrize("rows", ["2", "n"])
def test_fast_variance_of_flax(reduce: str, reciprocal: float, rows: str, tmp_path: Path) -> None:
    """flax.linen.LayerNorm: moments without the axis, the mean shared between variance and difference."""
    module = parse_module(FAST_VARIANCE.format(reduce=reduce, reciprocal=reciprocal, rows=rows))
    after = optimised(module)
    assert kinds(after) == ["LayerNorm"]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32)
    (want,), (got,) = (run(m, {"x": x}).values() for m in (module, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)
    export(after, tmp_path / "after.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "after.onnx"), providers=["CPUExecutionProvider"])
    np.testing.assert_allclose(np.asarray(session.run(None, {"x": x})[0]), want, rtol=1e-5, atol=1e-5)


def test_through_elementwise_operators() -> None:
    """One reduction, a chain, and the axis back: no Reshape is left; a Squeeze counts as a reduction."""
    assert_rewrites(
        [KeepReducedAxes()],
        before="""
        constant @eps = 1.0 : f32[]
        %x: f32[2,3,4]
        %a = ReduceMean(%x) {axes = [-1], keepdims = false}
        %b = Add(%a, @eps)
        %c = Sqrt(%b)
        %y = Unsqueeze(%c) {axes = [2]}
        """,
        after="""
        constant @eps = 1.0 : f32[]
        %x: f32[2,3,4]
        %a = ReduceMean(%x) {axes = [-1]}
        %b = Add(%a, @eps)
        %y = Sqrt(%b)
        """,
    )
    assert_rewrites(
        [KeepReducedAxes()],
        before="""
        %x: f32[2,3,1]
        %a = Squeeze(%x) {axes = [2]}
        %b = Relu(%a)
        %y = Unsqueeze(%b) {axes = [2]}
        """,
        after="""
        %x: f32[2,3,1]
        %y = Relu(%x)
        """,
    )


def test_another_reader_gets_a_squeeze() -> None:
    """Whoever reads the mean without its axis still does."""
    assert_rewrites(
        [KeepReducedAxes()],
        before="""
        %x: f32[2,3,4]
        %a = ReduceMean(%x) {axes = [1], keepdims = false}
        %y = Reshape(%a) {shape = [2,1,4]}
        %z = Exp(%a)
        return %y, %z
        """,
        after="""
        %x: f32[2,3,4]
        %y = ReduceMean(%x) {axes = [1]}
        %b = Squeeze(%y) {axes = [1]}
        %z = Exp(%b)
        return %y, %z
        """,
    )


@pytest.mark.parametrize(
    "body",
    [
        "%a = ReduceMean(%x) {axes = [1], keepdims = false}\n%y = Reshape(%a) {shape = [2,4,1]}",
        "%a = ReduceMean(%x) {axes = [1]}\n%y = Reshape(%a) {shape = [2,4,1]}",
        "%a = ReduceMax(%x) {axes = [1], keepdims = false}\n%y = Reshape(%a) {shape = [2,1,4]}",
        "%a = ReduceMean(%x) {axes = [1], keepdims = false}\n%b = Add(%a, @c)\n%y = Reshape(%b) {shape = [2,1,4]}",
        "%a = ReduceMean(%x) {axes = [1], keepdims = false}\n%b = Softmax(%a) {axis = 1}\n"
        "%y = Reshape(%b) {shape = [2,1,4]}",
        "%a = ReduceMean(%x) {axes = [1], keepdims = false}\n%b = Exp(%a)\n%d = Mul(%a, %b)\n"
        "%y = Reshape(%d) {shape = [2,1,4]}",
        "%y = Reshape(%x) {shape = [2,12]}",
    ],
    ids=["elsewhere", "kept", "maximum", "constant of several numbers", "not elementwise", "not taken", "input"],
)
def test_what_stays(body: str) -> None:
    assert_keeps([KeepReducedAxes()], f"constant @c = [1.0,2.0,3.0,4.0] : f32[4]\n%x: f32[2,3,4]\n{body}\n")


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (
            """
            %m = ReduceMax(%x) {axes = [2], keepdims = false}
            %k = Reshape(%m) {shape = [2,3,1]}
            %d = Sub(%x, %k)
            %e = Exp(%d)
            %s = ReduceSum(%e) {axes = [2], keepdims = false}
            %t = Reshape(%s) {shape = [2,3,1]}
            %y = Div(%e, %t)
            """,
            "Softmax",
        ),
        (
            """
            %m = ReduceMax(%x) {axes = [1], keepdims = false}
            %k = Unsqueeze(%m) {axes = [1]}
            %d = Sub(%x, %k)
            %e = Exp(%d)
            %s = ReduceSum(%e) {axes = [1], keepdims = false}
            %l = Log(%s)
            %t = Unsqueeze(%l) {axes = [1]}
            %y = Sub(%d, %t)
            """,
            "LogSoftmax",
        ),
        (
            """
            constant @c = 0.044715 : f32[]
            constant @k = 0.7978846 : f32[]
            constant @one = 1.0 : f32[]
            constant @half = 0.5 : f32[]
            %a = Mul(@c, %x)
            %b = Mul(%x, %a)
            %c3 = Mul(%x, %b)
            %d = Add(%x, %c3)
            %e = Mul(@k, %d)
            %t = Tanh(%e)
            %u = Add(@one, %t)
            %h = Mul(@half, %u)
            %y = Mul(%x, %h)
            """,
            "Gelu",
        ),
        (
            """
            constant @zero = 0.0 : f32[]
            %p = Greater(%x, @zero)
            %s = Where(%p, @zero, %x)
            %e = Expm1(%s)
            %y = Where(%p, %x, %e)
            """,
            "Elu",
        ),
        (
            """
            %n = NotEqual(%x, %x)
            %s = Softplus(%x)
            %w = Where(%n, %x, %s)
            %t = Tanh(%w)
            %y = Mul(%x, %t)
            """,
            "Mish",
        ),
    ],
    ids=["softmax", "log-softmax", "gelu", "elu", "mish"],
)
def test_functions_of_jax(text: str, kind: str) -> None:
    """jax.nn's functions are one operator each, with the same numbers."""
    lines = [line.strip() for line in text.strip().splitlines()]
    constants = [line for line in lines if line.startswith("constant")]
    nodes = [line for line in lines if not line.startswith("constant")]
    module = parse_module("\n".join([*constants, "%x: f32[2,3,4]", *nodes]) + "\n")
    after = optimised(module)
    assert kinds(after) == [kind]
    x = np.random.default_rng(0).standard_normal((2, 3, 4)).astype(np.float32) * 3
    (want,), (got,) = (run(m, {"x": x}).values() for m in (module, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("equation", ["bhqk,bkhd->bqhd", "bkhd,bhqk->bhdq", "...hqk,...khd->...qhd"])
def test_attention_as_einsum(equation: str) -> None:
    """flax.linen.MultiHeadDotProductAttention: values and probabilities in either order, and axes without names."""
    first, _, _ = equation.partition(",")
    operands = "%p, %v" if first.endswith("hqk") else "%v, %p"
    scores = "...qhd,...khd->...hqk" if "..." in equation else "bqhd,bkhd->bhqk"
    module = parse_module(
        f"""
        constant @scale = 0.5 : f32[]
        %q: f32[2,5,3,4]
        %k: f32[2,6,3,4]
        %v: f32[2,6,3,7]
        %qs = Mul(%q, @scale)
        %s = Einsum(%qs, %k) {{equation = "{scores}"}}
        %p = Softmax(%s) {{axis = 3}}
        %y = Einsum({operands}) {{equation = "{equation}"}}
        """
    )
    after = PassManager([Fuse(), RecognizeAttention()], [Verify()], PassContext()).run(module.clone())
    assert "Attention" in kinds(after) and "Einsum" not in kinds(after)
    rng = np.random.default_rng(0)
    shapes = {"q": (2, 5, 3, 4), "k": (2, 6, 3, 4), "v": (2, 6, 3, 7)}
    feeds = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    (want,), (got,) = (run(m, feeds).values() for m in (module, after))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["ReduceMean", "ReduceSum", "ReduceProd", "ReduceMax", "ReduceMin"])
def test_reductions_of_one_element(kind: str) -> None:
    """Along an axis of extent 1 they are their operand; along others, and squares, they stay."""
    same = f"%x: f32[2,1,4]\n%a = {kind}(%x) {{axes = [-2]}}\n%y = Relu(%a)\n"
    assert_rewrites([DropReductionOfOne()], before=same, after="%x: f32[2,1,4]\n%y = Relu(%x)\n")
    assert_keeps([DropReductionOfOne()], f"%x: f32[2,1,4]\n%y = {kind}(%x) {{axes = [1,2]}}\n")
    assert_keeps([DropReductionOfOne()], f"%x: f32[2,1,4]\n%y = {kind}(%x)\n")
    assert_keeps([DropReductionOfOne()], "%x: f32[2,1,4]\n%y = ReduceSumSquare(%x) {axes = [1]}\n")
