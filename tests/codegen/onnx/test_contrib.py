"""Operators that onnxruntime alone has: written as such for it, decomposed for everybody else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.frontends.onnx.models import floats, imported, model, one, onnxruntime_outputs
from uair.codegen.onnx import unsupported_reason
from uair.codegen.onnx.emitters.contrib import ONNXRUNTIME
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.passes.unsigned_integers import UnsignedIntegers
from uair.pipeline import PassManager, Verify
from uair.targets import Support
from uair.text import parse_module

STEPS, BATCH, SIZE, HIDDEN = 6, 2, 24, 16
FEEDS = {"x": floats(STEPS, BATCH, SIZE), "l": np.array([STEPS, 3], np.int32)}
OPERANDS = ("x", "w", "r", "b", "l", "h0", "c0", "p", "ws", "wz", "rs", "rz")
RESULTS = ("y", "yh", "yc")


def quantized_lstm(*, low: int = -64, high: int = 64, columns: bool = False, zero_points: Any = 0) -> onnx.ModelProto:
    """A bidirectional layer with every operand."""
    draw = np.random.default_rng(0)
    shape = (2, 4 * HIDDEN) if columns else (2,)
    stored: dict[str, Array] = {}
    for name, rows in (("w", SIZE), ("r", HIDDEN)):
        stored[name] = draw.integers(low, high, (2, rows, 4 * HIDDEN)).astype(np.int8)
        stored[f"{name}s"] = draw.uniform(0.002, 0.01, shape).astype(np.float32)
        stored[f"{name}z"] = np.zeros(shape, np.int8) + np.asarray(zero_points, np.int8)
    stored["b"] = floats(2, 8 * HIDDEN, seed=3)
    stored |= {name: floats(2, BATCH, HIDDEN, seed=4) for name in ("h0", "c0")}
    stored["p"] = floats(2, 3 * HIDDEN, seed=6)
    node = one(
        "DynamicQuantizeLSTM", *OPERANDS, outputs=RESULTS, domain="com.microsoft", hidden_size=HIDDEN,
        direction="bidirectional", clip=2.0, activations=["Sigmoid", "Tanh", "ScaledTanh"] * 2,
        activation_alpha=[1.5, 1.5], activation_beta=[0.5, 0.5],
    )  # fmt: skip
    return model([node], FEEDS, RESULTS, constants=stored)


def outputs(path: Path) -> list[Array]:
    """With one thread: with several, onnxruntime quantizes each sequence of a batch by a range of its own."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return [np.asarray(y) for y in session.run(None, FEEDS)]


def unoptimised(path: Path) -> list[Array]:
    """Where it optimises, onnxruntime makes MatMulNBits of products with dequantized weights, which rounds more."""
    return onnxruntime_outputs(onnx.load(path), FEEDS)


def kinds(path: Path) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in onnx.load(path).graph.node}


def assert_close(got: list[Array], want: list[Array]) -> None:
    for one_of, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one_of, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("columns", [False, True])
def test_it_is_written_back_as_it_was_read(columns: bool, tmp_path: Path) -> None:
    proto, path = quantized_lstm(columns=columns), tmp_path / "m.onnx"
    module = uair.optimize(imported(proto))
    uair.export_onnx(module, path)
    assert kinds(path) == {("com.microsoft", "DynamicQuantizeLSTM")}
    assert {(entry.domain, entry.version) for entry in onnx.load(path).opset_import} == {("", 17), ("com.microsoft", 1)}
    want = onnxruntime_outputs(proto, FEEDS)
    assert all(map(np.array_equal, outputs(path), want))
    assert_close(list(uair.run(module, FEEDS).values()), want)


def test_others_get_the_decomposition(tmp_path: Path) -> None:
    proto, path = quantized_lstm(columns=True), tmp_path / "m.onnx"
    module = imported(proto)
    (node,) = module.main
    assert "has no ONNX form" in unsupported_reason(node, 17) and not unsupported_reason(node, 17, ONNXRUNTIME)
    uair.export_onnx(PassManager([LegaliseOnnx()], [Verify()]).run(module), path)
    assert {domain for domain, _ in kinds(path)} == {""}
    assert_close(unoptimised(path), onnxruntime_outputs(proto, FEEDS))


def test_zero_points_that_onnxruntime_refuses_are_decomposed(tmp_path: Path) -> None:
    points = np.arange(8 * HIDDEN).reshape(2, 4 * HIDDEN) % 5
    module, path = imported(quantized_lstm(columns=True, zero_points=points)), tmp_path / "m.onnx"
    uair.export_onnx(module, path)
    assert {domain for domain, _ in kinds(path)} == {""}
    assert_close(unoptimised(path), list(uair.run(module, FEEDS).values()))


@pytest.mark.parametrize("columns", [False, True])
def test_unsigned_weights_are_exact_on_every_processor(columns: bool, tmp_path: Path) -> None:
    """i8 weights of the whole range saturate in onnxruntime's kernels for x86 without VNNI."""
    module = imported(quantized_lstm(low=-127, high=128, columns=columns))
    unsigned: Module = PassManager([UnsignedIntegers()], [Verify()]).run(module.clone())
    want = list(uair.run(module, FEEDS).values())
    assert all(map(np.array_equal, uair.run(unsigned, FEEDS).values(), want))
    path = tmp_path / "m.onnx"
    uair.export_onnx(unsigned, path)
    assert kinds(path) == {("com.microsoft", "DynamicQuantizeLSTM")}
    assert_close(outputs(path), want)


def test_the_cpu_target_takes_it_whole(tmp_path: Path) -> None:
    module = imported(quantized_lstm(low=-127, high=128))
    want = list(uair.run(module, FEEDS).values())
    artifact = uair.compile(module, "cpu", output=tmp_path / "out")
    assert ("com.microsoft", "DynamicQuantizeLSTM") in kinds(artifact.file("model.onnx"))
    assert_close(outputs(artifact.file("model.onnx")), want)
    (report,) = uair.check(module, ["cpu"])
    assert report.counts[Support.SUPPORTED] == len(report.rows) == 1


SKETCHES = {
    "Gelu": "%x: f32[2,5,8]  %y = Gelu(%x)",
    "BiasGelu": "constant @b = [1.0,2.0,3.0,-1.0] : f32[4]  %x: f32[2,5,4]  %s = Add(%x, @b)  %y = Gelu(%s)",
    "FastGelu": '%x: f32[2,5,8]  %g = Gelu(%x) {approximate = "tanh"}  %y = Neg(%g)',
    "SimplifiedLayerNormalization": "constant @w = [1.0,2.0,3.0,-1.0] : f32[4]  %x: f32[2,n,4]  %y = RMSNorm(%x, @w)",
}


@pytest.mark.parametrize("opset", [17, 18, 23])
@pytest.mark.parametrize("kernel", SKETCHES)
def test_onnxruntime_recognizes_composites(kernel: str, opset: int, tmp_path: Path) -> None:
    module, path = parse_module(SKETCHES[kernel]), tmp_path / "m.onnx"
    (x,) = module.main.inputs
    feeds = {"x": floats(*(d if isinstance(d, int) else 3 for d in x.type.dims))}
    uair.export_onnx(module, path, opset=opset)
    assert {domain for domain, _ in kinds(path)} == {""}
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (got,) = session.run(None, feeds)
    assert {name for _, name in kinds(tmp_path / "optimised.onnx")} & {kernel, "RMSNormalization", "Gelu"}
    np.testing.assert_allclose(np.asarray(got), uair.run(module, feeds)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "sketch",
    [
        '%x: f32[2,8]  %y = Gelu(%x) {approximate = "quick"}',
        "%x: f32[2,3,8]  %y = RMSNorm(%x) {axis = -2}", "%x: f16[2,8]  %w: f16[8]  %y = RMSNorm(%x, %w)",
    ],
)  # fmt: skip
def test_other_composites_are_decomposed(sketch: str, tmp_path: Path) -> None:
    module, path = parse_module(sketch), tmp_path / "m.onnx"
    inputs = zip(module.main.input_names, module.main.inputs, strict=True)
    feeds = {name: floats(*(int(str(d)) for d in t.type.dims)).astype(t.type.dtype.numpy) for name, t in inputs}
    uair.export_onnx(module, path)
    assert {domain for domain, _ in kinds(path)} == {""}
    (got,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_allclose(np.asarray(got), uair.run(module, feeds)["y"], rtol=2e-3, atol=1e-3)


@pytest.mark.parametrize(("axis", "kinds_written"), [(-1, {"LpNormalization"}), (1, {"ReduceL2", "Max", "Div"})])
def test_norms_along_channels_are_written_in_parts(axis: int, kinds_written: set[str], tmp_path: Path) -> None:
    module, path = parse_module(f"%x: f32[2,6,4,5]  %y = LpNormalize(%x) {{axis = {axis}}}"), tmp_path / "m.onnx"
    feeds = {"x": floats(2, 6, 4, 5)}
    feeds["x"][0, :, 0, 0] = 0
    uair.export_onnx(module, path)
    assert {name for _, name in kinds(path)} == kinds_written
    (got,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_allclose(np.asarray(got), uair.run(module, feeds)["y"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("batch", ["2", "n"])
@pytest.mark.parametrize("block", [2, 3])
def test_pixel_unshuffle_is_blocks_and_their_order(block: int, batch: str, tmp_path: Path) -> None:
    text = f'%x: f32[{batch},5,6,12]  %y = SpaceToDepth(%x) {{block = {block}, mode = "CRD"}}'
    module, path, feeds = parse_module(text), tmp_path / "m.onnx", {"x": floats(2, 5, 6, 12)}
    uair.export_onnx(module, path)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["SpaceToDepth", "Gather"]
    (got,) = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, feeds)
    np.testing.assert_array_equal(np.asarray(got), uair.run(module, feeds)["y"])
    apart = feeds["x"].reshape(2, 5, 6 // block, block, 12 // block, block).transpose(0, 1, 3, 5, 2, 4)
    np.testing.assert_array_equal(np.asarray(got).reshape(apart.shape), apart)
