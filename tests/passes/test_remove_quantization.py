"""Quantized models in floating point, and LSTMs found in them."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from tests import zoo_onnx
from uair import load
from uair.api import run_pipeline
from uair.codegen.reference import run
from uair.ir.dims import static
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.passes.canonicalise import Canonicalise
from uair.passes.last_state import LastStateOfOutputs
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.passes.recognize_lstm import RecognizeLstm
from uair.passes.remove_quantization import RemoveQuantization, is_all_integer
from uair.pipeline import PassContext
from uair.text import parse_module

PARAMETERS = "constant @s = 0.05 : f32[]  constant @z = 3 : i8[]  constant @low = -128 : i8[]  "


def operators(module: Module) -> dict[str, int]:
    return dict(Counter(node.op_type for node in module.main))


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("%q = Quantize(%x, @s, @z)  %d = Dequantize(%q, @s, @z)  %y = Exp(%d)", {"Clip": 1, "Exp": 1}),
        ("%q = Quantize(%x, @s, @low)  %d = Dequantize(%q, @s, @low)  %y = Exp(%d)", {"Clip": 1, "Exp": 1}),
        ("%q, %s, %t = DynamicQuantize(%x)  %d = Dequantize(%q, %s, %t)  %y = Exp(%d)", {"Exp": 1}),
        ("constant @w = [1,2,3] : i8[3]  %w = Dequantize(@w, @s, @z)  %y = Add(%x, %w)", {"Add": 1}),
    ],
)
def test_pairs_and_constants(text: str, left: dict[str, int]) -> None:
    module = parse_module(f"{PARAMETERS}%x: f32[2,3]  {text}")
    feeds = {"x": np.random.default_rng(0).uniform(-2, 2, (2, 3)).astype(np.float32)}
    expected = run(module, feeds)
    assert RemoveQuantization().run(module, PassContext())
    verify(module)
    assert operators(module) == left
    np.testing.assert_allclose(run(module, feeds)["y"], expected["y"], rtol=0.06)


SOFT = "constant @t = 0.00390625 : f32[]  "
"""A step of 1/256: the range of integers for what ends at 1."""


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("%c = Clip(%x) {min = -6, max = 6}  %q = Quantize(%c, @s, @z)  %y = Dequantize(%q, @s, @z)", ["Clip"]),
        ("%c = Clip(%x) {min = -9, max = 9}  %q = Quantize(%c, @s, @z)  %y = Dequantize(%q, @s, @z)", ["Clip"]),
        ("%c = Sigmoid(%x)  %q = Quantize(%c, @t, @low)  %y = Dequantize(%q, @t, @low)", ["Sigmoid"]),
        (
            "%q = Quantize(%x, @s, @z)  %d = Dequantize(%q, @s, @z)  %m = Concat(%d, %d) {axis = 0}"
            "  %p = Quantize(%m, @s, @z)  %y = Dequantize(%p, @s, @z)",
            ["Clip", "Concat"],
        ),
    ],
)
def test_saturation_stays(text: str, left: list[str]) -> None:
    """Outside of the range as well, the float model gives what the integers gave, to a step; no bound stands twice."""
    module = parse_module(f"{PARAMETERS}{SOFT}%x: f32[2,300]  {text}")
    feeds = {"x": np.linspace(-12, 12, 600, dtype=np.float32).reshape(2, 300)}
    expected = run(module, feeds)["y"]
    assert RemoveQuantization().run(module, PassContext())
    assert sorted(operators(module)) == left and sum(operators(module).values()) == len(left)
    np.testing.assert_allclose(run(module, feeds)["y"], expected, atol=0.051)


def test_other_parameters_stay() -> None:
    module = parse_module(f"{PARAMETERS}%x: f32[2]  %q = Quantize(%x, @s, @z)  %d = Dequantize(%q, @s, @low)")
    assert not RemoveQuantization().run(module, PassContext())


@pytest.mark.parametrize("order", ["%k = Mul(%s, @ws)  %y = Mul(%f, %k)", "%k = Mul(%f, %s)  %y = Mul(%k, @ws)"])
@pytest.mark.parametrize(
    ("x", "weight", "product"),
    [
        ("f32[2,3]", "constant @w = [1,2,3,4,5,6] : i8[3,2]", "IntegerMatMul(%q, @w, %t, @z)"),
        ("f32[1,3,4,4]", "constant @w = [1,2,3,4,5,6] : i8[2,3,1,1]", "IntegerConv2D(%q, @w, %t, @z)"),
    ],
)
def test_integer_products(x: str, weight: str, product: str, order: str) -> None:
    module = parse_module(
        f"{PARAMETERS}constant @ws = 0.25 : f32[]  {weight}  %x: {x}  "
        f"%q, %s, %t = DynamicQuantize(%x)  %p = {product}  %f = Cast(%p) {{to = f32}}  {order}  return %y"
    )
    feeds = {"x": np.random.default_rng(0).uniform(-2, 2, static(module.main.inputs[0].type.dims)).astype(np.float32)}
    expected = run(module, feeds)["y"]
    assert RemoveQuantization(which="dynamic").run(module, PassContext())
    verify(module)
    assert not any("Integer" in name or "Quantize" in name for name in operators(module))
    np.testing.assert_allclose(run(module, feeds)["y"], expected, atol=0.05 * np.abs(expected).max())


def test_a_bias_in_the_unit_of_integer_sums() -> None:
    """As onnxruntime's quantizer wrote it until 1.8."""
    module = parse_module(
        "constant @z = 3 : u8[]  constant @ws = 0.02 : f32[]  constant @w = [100,2,3,40,5,6] : u8[2,3,1,1]  "
        "constant @b = [0.7,-1.3] : f32[2]  %x: f32[1,3,4,4]  %q, %s, %t = DynamicQuantize(%x)  %u = Mul(%s, @ws)  "
        "%d = Div(@b, %u)  %e = Floor(%d)  %g = Cast(%e) {to = i32}  %h = Reshape(%g) {shape = [1,2,1,1]}  "
        "%p = IntegerConv2D(%q, @w, %t, @z)  %o = Add(%p, %h)  %f = Cast(%o) {to = f32}  %y = Mul(%f, %u)  return %y"
    )
    feeds = {"x": np.random.default_rng(0).uniform(-2, 2, (1, 3, 4, 4)).astype(np.float32)}
    expected = run(module, feeds)["y"]
    assert RemoveQuantization(which="dynamic").run(module, PassContext())
    verify(module)
    assert set(operators(module)) <= {"Conv2D", "Mul", "Add", "Reshape"}
    np.testing.assert_allclose(run(module, feeds)["y"], expected, atol=0.02 * np.abs(expected).max())


def test_convolutional_nets_with_fixed_scales_are_kept() -> None:
    kept = parse_module(
        f"{PARAMETERS}constant @w = [1,2] : i8[2,1,1,1]  %x: f32[1,1,4,4]  %q = Quantize(%x, @s, @z)  "
        "%d = Dequantize(%q, @s, @z)  %w = Dequantize(@w, @s, @z)  %y = Conv2D(%d, %w)"
    )
    assert is_all_integer(kept) and not RemoveQuantization(which="auto").run(kept, PassContext())
    mixed = parse_module(
        f"{PARAMETERS}constant @w = [1,2] : i8[2,1,1,1]  %x: f32[1,1,4,4]  %q = Quantize(%x, @s, @z)  "
        "%d = Dequantize(%q, @s, @z)  %w = Dequantize(@w, @s, @z)  %a = Conv2D(%d, %w)  %y = MatMul(%a, %a)"
    )
    assert not is_all_integer(mixed) and RemoveQuantization(which="auto").run(mixed, PassContext())


@pytest.mark.parametrize("spelled_out", [False, True])
@pytest.mark.parametrize("name", ["tashkeel_bilstm", "tashkeel_rawi"])
def test_dynamically_quantized_lstms(name: str, spelled_out: bool) -> None:
    model = zoo_onnx.MODELS[name]
    feeds = model.feeds()[0]
    shapes = {key: value.shape for key, value in feeds.items()}
    module = run_pipeline(load(model.path), "canonicalise,fuse", shapes=shapes)
    expected = run(module, feeds)
    assert operators(module)["DynamicQuantizeLSTM"] >= 2
    context = PassContext()
    if spelled_out:
        apart = LegaliseOnnx(unsupported=lambda node, _: "asked for" if node.op_type == "DynamicQuantizeLSTM" else "")
        assert apart.run(module, context) and "Scan" in operators(module)
        Canonicalise().run(module, context)
    for each in (RemoveQuantization(which="auto"), RecognizeLstm()):
        each.run(module, context)
    verify(module)
    left = operators(module)
    assert left["LSTM"] >= 2 and not {
        "Scan",
        "DynamicQuantizeLSTM",
        "Flip",
        "Dequantize",
        "DynamicQuantize",
        "IntegerMatMul",
    } & set(left)
    for key, value in run(module, feeds).items():
        a, b = value.ravel().astype(np.float64), expected[key].ravel().astype(np.float64)
        assert a @ b / (np.linalg.norm(a) * np.linalg.norm(b)) > 0.9999


def test_last_states() -> None:
    rng = np.random.default_rng(0)

    def numbers(count: int) -> str:
        return ",".join(repr(float(v)) for v in rng.standard_normal(count).astype(np.float32))

    module = parse_module(
        f"constant @w = [{numbers(2 * 12 * 3)}] : f32[2,12,3]  constant @r = [{numbers(2 * 12 * 4)}] : f32[2,12,4]  "
        '%x: f32[5,2,3]  %y, %h = GRU(%x, @w, @r) {direction = "bidirectional"}  %z = Neg(%h)  return %z'
    )
    feeds = {"x": rng.standard_normal((5, 2, 3)).astype(np.float32)}
    expected = run(module, feeds)["z"]
    assert LastStateOfOutputs().run(module, PassContext())
    verify(module)
    layer = next(node for node in module.main if node.op_type == "GRU")
    assert layer.outputs[0].use_count and not layer.outputs[1].use_count
    np.testing.assert_allclose(run(module, feeds)["z"], expected, rtol=1e-6)
    assert not LastStateOfOutputs().run(module, PassContext())
