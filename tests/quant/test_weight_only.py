"""Weights of few bits: what the pass writes, and that onnxruntime computes it, with kernels for such weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.quant.networks import Builder
from uair.api import export_onnx
from uair.codegen.reference import run
from uair.errors import UnknownNameError
from uair.ir.data import PackedData
from uair.ir.dtype import DType
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ops import Add, Conv2D, ConvTranspose2D, Dequantize, Gather, LayerNorm, Linear, MatMul, Relu, Reshape
from uair.passes.quantize_weights import QuantizeWeights
from uair.pipeline import PassContext, PassManager
from uair.quant.errors import SchemeError
from uair.quant.parameters import sqnr
from uair.quant.scheme import WeightScheme
from uair.text import save


def transformer_like() -> Module:
    """Linear in both orders, products without bias, a batch axis and none."""
    b = Builder(2, 7, 96)
    h = b.add(Linear(), b.x, b.weight(64, 96), b.weight(64), name="fc1")
    h = b.add(Relu(), h)
    h = b.add(Linear(transpose_w=False), h, b.weight(64, 80), b.weight(80), name="fc2")
    h = b.add(MatMul(trans_b=True), h, b.weight(48, 80), name="proj")
    h = b.add(MatMul(), h, b.weight(48, 40), name="plain")
    h = b.add(Reshape(shape=(14, 40)), h)
    return b.done(b.add(Linear(), h, b.weight(32, 40), b.weight(32), name="head"))


def quantize(module: Module, **options: Any) -> dict[str, Any]:
    """In place, verified; the report."""
    context = PassContext()
    PassManager([QuantizeWeights(**options)], context=context).run(module)
    report: dict[str, Any] = context.reports["quantization"]
    return report


def session(path: Path, *, optimized: Path | None = None, exact: bool = True) -> Any:
    """onnxruntime, computing products with floats where `exact`: by default its kernels round activations to 8 bits."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if exact:
        options.add_session_config_entry("session.qdq_matmulnbits_accuracy_level", "1")
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def feeds(*shape: int) -> dict[str, Any]:
    return {"x": np.random.default_rng(9).normal(size=shape).astype(np.float32)}


@pytest.mark.parametrize(
    "options",
    [
        {"bits": 4, "group": 32},
        {"bits": 4, "group": 16, "symmetric": True},
        {"bits": 4, "group": 0},
        {"bits": 8},
        {"bits": 8, "group": 32, "symmetric": False},
    ],
    ids=str,
)
def test_onnxruntime_computes_it_with_its_kernels_for_few_bits(options: dict[str, Any], tmp_path: Path) -> None:
    module = transformer_like()
    expected = run(module, feeds(2, 7, 96))["y"]
    report = quantize(module, **options)
    assert report["summary"]["quantized"] == 5
    own = run(module, feeds(2, 7, 96))["y"]
    assert sqnr(expected, own) > (36 if options["bits"] == 8 else 13)
    export_onnx(module, tmp_path / "m.onnx")
    judge = session(tmp_path / "m.onnx", optimized=tmp_path / "o.onnx")
    np.testing.assert_allclose(judge.run(None, feeds(2, 7, 96))[0], own, rtol=1e-3, atol=1e-3)
    operators = [node.op_type for node in onnx.load(tmp_path / "o.onnx").graph.node]
    assert operators.count("MatMulNBits") == 5
    assert not {"MatMul", "Gemm", "DequantizeLinear"} & set(operators)
    rounding = session(tmp_path / "m.onnx", exact=False)
    assert sqnr(own, rounding.run(None, feeds(2, 7, 96))[0]) > 30


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    """ONNX and the text form hold the same integers, packed."""
    module = transformer_like()
    quantize(module, bits=4, group=32)
    own = run(module, feeds(2, 7, 96))["y"]
    export_onnx(module, tmp_path / "m.onnx")
    again = uair.load(tmp_path / "m.onnx")
    integers = [t for t in again.main.constants() if t.type.dtype is DType.U4]
    assert len(integers) == 10  # with zero points
    np.testing.assert_allclose(run(again, feeds(2, 7, 96))["y"], own, rtol=1e-5, atol=1e-5)
    save(module, tmp_path / "m.uair")
    np.testing.assert_array_equal(run(uair.load(tmp_path / "m.uair"), feeds(2, 7, 96))["y"], own)


def test_an_eighth_of_the_bytes_and_no_unpacked_copy(tmp_path: Path) -> None:
    b = Builder(4, 512)
    module = b.done(b.add(Linear(), b.x, b.weight(1024, 512), b.weight(1024), name="fc"))
    export_onnx(module, tmp_path / "float.onnx")
    report = quantize(module, bits=4, group=128, symmetric=True)
    (node,) = (n for n in module.main if isinstance(n.op, Dequantize))
    stored = node.inputs[0]
    assert stored is not None
    assert isinstance(stored.data, PackedData)
    assert stored.data.nbytes == len(stored.data.tobytes()) == 512 * 1024 // 2
    export_onnx(module, tmp_path / "few.onnx")
    save(module, tmp_path / "few.uair")
    before = (tmp_path / "float.onnx").stat().st_size
    assert (tmp_path / "few.onnx").stat().st_size < before / 7.4  # 4 bits, and 32 for 128 weights: 1 / 7.53
    sidecar = sum(p.stat().st_size for p in tmp_path.glob("few*") if p.suffix != ".onnx")
    assert sidecar < before / 7.3
    weight = report["summary"]["bytes"]
    assert weight == {"stored": 512 * 1024 // 2 + 4 * 1024 * 4, "float": 512 * 1024 * 4}


def test_convolutions_and_tables_get_8_bits(tmp_path: Path) -> None:
    b = Builder(2, 5)
    b.x.type = TensorType(DType.I64, (2, 5))
    rows = b.add(Gather(), b.weight(300, 48), b.x, name="words")
    h = b.add(Reshape(shape=(2, 10, 4, 6)), rows)
    h = b.add(Conv2D(pads=(1, 1, 1, 1)), h, b.weight(24, 10, 3, 3), b.weight(24), name="conv")
    h = b.add(ConvTranspose2D(strides=(2, 2), groups=2), h, b.weight(24, 16, 2, 2), name="up")
    module = b.done(h)
    indices = {"x": np.array([[0, 299, 3, 3, 150], [-1, 1, 2, 3, 4]])}
    expected = run(module, indices)["y"]
    report = quantize(module, bits=4)
    assert {e["operator"]: e["weight"]["dtype"] for e in report["nodes"]} == {
        "Gather": "i8",
        "Conv2D": "i8",
        "ConvTranspose2D": "i8",
    }
    own = run(module, indices)["y"]
    assert sqnr(expected, own) > 35
    export_onnx(module, tmp_path / "m.onnx")
    np.testing.assert_allclose(session(tmp_path / "m.onnx").run(None, indices)[0], own, rtol=1e-4, atol=1e-4)


def test_a_weight_with_several_readers_is_stored_once() -> None:
    b = Builder(4, 64)
    shared = b.weight(64, 64)
    left, right = (b.add(Linear(), b.x, shared, name=name) for name in ("left", "right"))
    module = b.done(b.add(Add(), left, right))
    expected = run(module, feeds(4, 64))["y"]
    report = quantize(module, bits=8)
    assert report["summary"]["quantized"] == 2
    assert report["summary"]["bytes"]["float"] == 64 * 64 * 4
    assert sum(isinstance(n.op, Dequantize) for n in module.main) == 1
    assert sqnr(expected, run(module, feeds(4, 64))["y"]) > 38


def test_what_keeps_its_weight_says_why() -> None:
    b = Builder(4, 64)
    shared = b.weight(64, 64)
    h = b.add(Linear(), b.x, shared, name="tied")
    doubled = b.add(Add(), shared, shared, name="doubled")
    h = b.add(MatMul(), h, doubled)
    h = b.add(Linear(), h, b.weight(8, 64), name="small")
    h = b.add(Linear(), h, b.weight(256, 8), name="kept")
    broken = np.ones((16, 256), np.float32)
    broken[3, 3] = np.nan
    module = b.done(b.add(Linear(), h, constant(broken, "nan"), name="broken"))
    report = quantize(module, skip=("ke*",))
    reasons = {entry["name"]: entry["reason"] for entry in report["skipped"]}
    assert report["summary"]["quantized"] == 0
    assert "also read by what needs it in float" in reasons["tied"]
    assert "512 elements, fewer than 1024" in reasons["small"]
    assert "skipped by 'ke*'" in reasons["kept"]
    assert "not finite" in reasons["broken"]
    assert "nothing was quantized" in report["notes"][-1]


def test_half_precision_keeps_its_type(tmp_path: Path) -> None:
    b = Builder(3, 64)
    b.x.type = TensorType(DType.F16, (3, 64))
    w = constant((b.rng.normal(size=(64, 64)) * 0.1).astype(np.float16), "w")
    module = b.done(b.add(Linear(), b.x, w, name="fc"))
    x = {"x": b.rng.normal(size=(3, 64)).astype(np.float16)}
    expected = run(module, x)["y"]
    quantize(module, bits=4, group=32)
    own = run(module, x)["y"]
    assert own.dtype == np.float16
    assert sqnr(expected, own) > 17
    export_onnx(module, tmp_path / "m.onnx")
    np.testing.assert_allclose(session(tmp_path / "m.onnx").run(None, x)[0], own, rtol=2e-2, atol=2e-2)


def test_wrong_requests_are_refused() -> None:
    module = transformer_like()
    with pytest.raises(UnknownNameError, match="skip names 'nowhere'"):
        quantize(module, skip=("nowhere",))
    with pytest.raises(SchemeError, match="groups of 48 are not taken"):
        quantize(module, group=48)
    with pytest.raises(SchemeError, match="4 bits are not taken"):
        quantize(module, scheme=WeightScheme(bits=(8,)))
    with pytest.raises(SchemeError, match="zero points"):
        quantize(module, symmetric=False, scheme=WeightScheme(symmetric="only"))
    only = WeightScheme(operators=("MatMul",))
    report = quantize(module, scheme=only, group=16)
    assert report["summary"]["quantized"] == 2
    assert "takes no Linear" in report["skipped"][0]["reason"]


def test_a_group_longer_than_the_inputs_is_a_channel() -> None:
    b = Builder(4, 48)
    b.add(LayerNorm(), b.x, name="norm")
    module = b.done(b.add(Linear(), b.x, b.weight(64, 48), name="fc"))
    (entry,) = quantize(module, bits=4, group=128)["nodes"]
    assert (entry["weight"]["group"], entry["weight"]["scales"], entry["weight"]["axis"]) == (0, 64, 1)
