"""Attention with sinks, as GPT-OSS writes it: one Attention, the numbers by onnxruntime and the interpreter."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import uair
from tests.codegen.onnx import running as judge
from tests.passes.test_attention_products import kinds, module_of
from uair.ir.dims import static
from uair.ir.module import Module
from uair.passes.recognize_attention import RecognizeAttention
from uair.pipeline import PassContext

INPUTS = "%q: f32[2,4,5,8], %k: f32[2,2,5,8], %v: f32[2,2,5,8], %mask: f32[1,1,5,5]"
SINKS = f"constant @scale = 0.3 : f32[]\nconstant @sinks = {[i / 7 - 2 for i in range(40)]} : f32[2,4,5,1]\n"
REPEATED = "".join(
    f"%{x}1 = Unsqueeze(%{x}) {{axes = [2]}}  %{x}2 = Expand(%{x}1) {{shape = [2,2,2,5,8]}}  "
    f"%{x}3 = Reshape(%{x}2) {{shape = [2,4,5,8]}}  "
    for x in "kv"
)
SCORES = "%t = Transpose(%k3) {perm = [0,1,3,2]}  %s = MatMul(%q, %t)  %r = Mul(%s, @scale)  %m = Add(%r, %mask)  "
JOINED = (
    "%j = Concat(%m, @sinks) {axis = 3}  %g = ReduceMax(%j) {axes = [3], keepdims = true}  %d = Sub(%j, %g)  "
    "%p = Softmax(%d) {axis = 3}  "
)
CUT = "%c = Slice(%p) {axes = [3], starts = [0], ends = [5], steps = [1]}  "
PRODUCT = "%y = MatMul(%c, %v3)  "


def recognized(nodes: str) -> Module:
    """The module after optimisation and the pass."""
    found = uair.optimize(module_of(INPUTS, nodes, SINKS))
    RecognizeAttention().run(found, PassContext())
    return uair.optimize(found)


def feeds(module: Module) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    """Random operands; a causal mask whose second query has no key but the sink."""
    rng = np.random.default_rng(0)
    made = {t.name: rng.normal(size=static(t.type.dims)).astype(np.float32) for t in module.main.inputs}
    made["mask"] = np.triu(np.full((1, 1, 5, 5), -3e38, np.float32), 1)
    made["mask"][0, 0, 1] = -3e38
    return made


@pytest.mark.parametrize("opset", [17, 23])
def test_sinks_are_a_key_and_a_value_of_zeros(tmp_path: Path, opset: int) -> None:
    """Heads share keys; the written file has no more nodes than without the pass."""
    nodes = REPEATED + SCORES + JOINED + CUT + PRODUCT
    before, after = module_of(INPUTS, nodes, SINKS), recognized(nodes)
    assert kinds(after) == {"Concat": 3, "Expand": 1, "Attention": 1}
    (want,) = uair.run(before, feeds(before)).values()
    assert np.abs(want[:, :, 1]).max() == 0
    (got,) = uair.run(after, feeds(before)).values()
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-6)
    uair.export_onnx(after, tmp_path / "after.onnx", opset=opset)
    (judged,) = judge.run(str(tmp_path / "after.onnx"), feeds(before)).values()
    np.testing.assert_allclose(judged, want, rtol=0, atol=1e-6)
    plain, spelled = (tmp_path / name for name in ("plain.onnx", "spelled.onnx"))
    uair.export_onnx(uair.optimize(before.clone()), plain)
    uair.export_onnx(after, spelled, opset=17)
    assert len(uair.load(spelled).main) <= len(uair.load(plain).main)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("starts = [0], ends = [5]", "starts = [1], ends = [6]"),
        ("Concat(%m, @sinks)", "Concat(@sinks, %m)"),
        ("%m = Add(%r, %mask)", "%m = Relu(%r)"),
        ("%p = Softmax(%d) {axis = 3}", "%p = Softmax(%d) {axis = 2}"),
    ],
)
def test_other_columns_are_no_sinks(old: str, new: str) -> None:
    nodes = REPEATED + SCORES + JOINED + CUT + PRODUCT
    assert old in nodes
    assert "Attention" not in kinds(recognized(nodes.replace(old, new)))
