"""The QOperator form: what onnxruntime computes with it is what the interpreter computes on integers."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.quant.networks import Builder
from uair.atomic import OutputError
from uair.driver.exporting import export_qoperator
from uair.ir.dtype import Array, DType
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ops import (
    Add,
    Clip,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Dequantize,
    HardSwish,
    Linear,
    MatMul,
    MaxPool2D,
    Quantize,
    Relu,
    Reshape,
)

SHAPE = (1, 3, 8, 8)


def network() -> Module:
    """Every kind of product, and results that are quantized, activated, shared, or real."""
    b = Builder(*SHAPE)
    stem = b.add(Relu(), b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(8, 3, 3, 3), b.weight(8), name="stem"))
    deep = b.add(Conv2D(groups=8, pads=(1, 1, 1, 1)), stem, b.weight(8, 1, 3, 3), b.weight(8), name="deep")
    swish = b.add(HardSwish(), b.add(Conv2D(), deep, b.weight(8, 8, 1, 1), name="point"), name="swish")
    clipped = b.add(Clip(min=0.0, max=6.0), b.add(Conv2D(), swish, b.weight(8, 8, 1, 1), name="six"), name="clip")
    both = b.add(Concat(axis=1), clipped, b.add(Add(), stem, swish, name="sum"), name="concat")
    pooled = b.add(MaxPool2D(kernel=(2, 2), strides=(2, 2)), both, name="pool")
    wide = b.add(ConvTranspose2D(strides=(2, 2)), pooled, b.weight(16, 4, 2, 2), name="up")
    rows = b.add(Reshape(shape=(32, 8)), wide, name="rows")
    product = b.add(MatMul(), rows, b.weight(8, 6), name="product")
    return b.done(b.add(Linear(), b.add(Relu(), product, name="last"), b.weight(5, 6), b.weight(5), name="head"))


def samples(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, *SHAPE[1:])).astype(np.float32)


def ran(path: Path, x: Array, *, optimised: bool = True) -> Array:
    options = onnxruntime.SessionOptions()
    if not optimised:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def operators(path: Path) -> Counter[str]:
    return Counter(node.op_type for node in onnx.load(path).graph.node)


@pytest.mark.parametrize("target", ["cpu", "rk3588", "jetson_orin", "ascend310", "x86_ref"])
def test_it_computes_what_the_quantized_module_computes(target: str, tmp_path: Path) -> None:
    quantized = uair.quantize(network(), uair.Int8(samples(16), least_cosine=0), target)
    quantized.save(tmp_path / "q.onnx", form="qoperator")
    onnx.checker.check_model(tmp_path / "q.onnx", full_check=True)
    found = operators(tmp_path / "q.onnx")
    assert found["Conv"] == found["MatMul"] == found["Gemm"] == 0
    assert found["QLinearConv"] + found["ConvInteger"] == 4
    assert found["ConvTranspose"] == 1
    steps = max(entry["activations"]["x"]["scale"] for entry in quantized.report["nodes"] if entry["name"] == "head")
    for seed in range(3):
        x = samples(1, seed + 10)
        expected = uair.run(quantized.module, x)["y"]
        for optimised in (False, True):
            actual = ran(tmp_path / "q.onnx", x, optimised=optimised)
            # one step of the last activation, in the few elements where a tie was rounded otherwise
            assert float(np.abs(actual - expected).max()) <= 2 * steps
            assert float(np.abs(actual - expected).mean()) <= 0.05 * steps


def test_results_that_are_quantized_are_qlinear(tmp_path: Path) -> None:
    quantized = uair.quantize(network(), uair.Int8(samples(16), least_cosine=0), "rk3588")
    quantized.save(tmp_path / "q.onnx", form="qoperator")
    found = operators(tmp_path / "q.onnx")
    assert found["QLinearConv"] >= 2
    assert found["Relu"] < 2  # rounding to integers from 0 on does what the first one does
    model = onnx.load(tmp_path / "q.onnx")
    stem = next(node for node in model.graph.node if node.op_type == "QLinearConv")
    assert len(stem.input) == 9
    assert {a.name: list(a.ints) for a in stem.attribute}["pads"] == [1, 1, 1, 1]
    constants = {t.name for t in model.graph.initializer}
    read = {name for node in model.graph.node for name in node.input}
    assert constants <= read
    made = read | {name for node in model.graph.node for name in node.output}
    assert {value.name for value in model.graph.value_info} <= made


def test_without_quantized_results_sums_are_dequantized(tmp_path: Path) -> None:
    quantized = uair.quantize(network(), uair.Int8(samples(16)))
    quantized.save(tmp_path / "q.onnx", form="qoperator", opset=21)
    found = operators(tmp_path / "q.onnx")
    assert found["ConvInteger"] >= 2
    assert found["MatMulInteger"] == found["QLinearMatMul"] == 1  # ONNX has no QLinear form of a product with bias
    assert onnx.load(tmp_path / "q.onnx").opset_import[0].version == 21


def test_extreme_integers_do_not_saturate(tmp_path: Path) -> None:
    """Products of the greatest integers, many of them: kernels that add pairs in 16 bits would lose some."""
    b = Builder(1, 64, 4, 4)
    w = np.full((8, 64, 3, 3), 1.0, np.float32)
    w[4:] = -1
    first = b.add(Conv2D(), b.x, constant(w, "w"), name="first")
    module = b.done(b.add(Conv2D(), first, constant(np.ones((8, 8, 1, 1), np.float32), "v"), name="second"), first)
    x = np.ones((1, 64, 4, 4), np.float32)
    x[:, ::7] = -1
    for target in ("cpu", "rk3588", "jetson_orin"):
        quantized = uair.quantize(module, uair.Int8(np.concatenate([x, -x] * 4)), target)
        quantized.save(tmp_path / "q.onnx", form="qoperator")
        expected = uair.run(quantized.module, x)["y"]
        np.testing.assert_allclose(ran(tmp_path / "q.onnx", x), expected, atol=1e-3 * float(np.abs(w).sum()))


def node(b: Builder, op: Any, *operands: Any, name: str) -> Any:
    return b.add(op, *operands, name=name)


def test_what_has_no_integer_operator_stays_as_it_is(tmp_path: Path) -> None:
    """A bias of another scale, a result that is read in float too: sums that are dequantized, right in any case."""

    def scalar(value: float, dtype: DType = DType.F32) -> Any:
        return constant(np.array(value, dtype.numpy))

    b = Builder(1, 4, 4, 4)
    zero = scalar(0, DType.I8)
    x = node(b, Dequantize(), node(b, Quantize(), b.x, scalar(0.02), zero, name="qx"), scalar(0.02), zero, name="dx")
    integers = np.random.default_rng(0).integers(-127, 128, (4, 4, 1, 1)).astype(np.int8)
    w = node(b, Dequantize(), constant(integers, "w"), scalar(0.01), zero, name="dw")
    bias = constant(np.arange(4, dtype=np.int32) * 100, "b")
    other = node(b, Dequantize(), bias, scalar(0.5), scalar(0, DType.I32), name="db")
    one = node(b, Conv2D(), x, w, other, name="other_scale")
    two = node(b, Conv2D(), x, w, name="read_twice")
    ends = [
        node(b, Dequantize(), node(b, Quantize(), t, scalar(0.5), zero, name=f"q{i}"), scalar(0.5), zero, name=f"d{i}")
        for i, t in enumerate((one, two))
    ]
    module = b.done(node(b, Add(), node(b, Add(), *ends, name="a"), two, name="end"))
    export_qoperator(module, tmp_path / "q.onnx")
    assert operators(tmp_path / "q.onnx")["QLinearConv"] == 0
    data = np.random.default_rng(1).normal(size=(1, 4, 4, 4)).astype(np.float32)
    np.testing.assert_allclose(ran(tmp_path / "q.onnx", data), uair.run(module, data)["y"], atol=0.5001)


def test_forms_that_there_are_not(tmp_path: Path) -> None:
    quantized = uair.quantize(network(), uair.Int8(samples(16)))
    with pytest.raises(OutputError, match="there is no form 'ints'"):
        quantized.save(tmp_path / "q.onnx", form="ints")  # type: ignore[arg-type]
