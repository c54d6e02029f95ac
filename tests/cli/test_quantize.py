"""`uair quantize`: a model for other tools, judged by onnxruntime."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, EXAMPLE_STEPS, IMAGES, Shell
from uair.atomic import OutputError
from uair.ir.dtype import Array
from uair.quant.errors import SchemeError


def samples(n: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(n, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def calib(tmp_path: Path) -> Path:
    np.save(tmp_path / "calib.npy", samples(16))
    return tmp_path / "calib.npy"


def ran(path: Path, x: Array, *, as_written: bool = False) -> Array:
    options = onnxruntime.SessionOptions()
    if as_written:  # kernels for i8 weights saturate on x86 processors without VNNI
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load(path).graph.node}


def close(path: Path, float_path: Path) -> bool:
    x = samples(8, seed=1)
    expected, actual = ran(float_path, x), ran(path, x)
    return float(np.square(expected - actual).sum()) < 1e-3 * float(np.square(expected).sum())


def test_it_writes_qdq_that_onnxruntime_runs(uair: Shell, tiny: Path, calib: Path) -> None:
    result = uair("quantize", tiny, "--calib", calib, "--report", "report.json").require()
    path = Path("tiny.int8.onnx")
    assert {"QuantizeLinear", "DequantizeLinear"} <= operators(path)
    assert onnx.load(path).opset_import[0].version == 17
    assert close(path, tiny)
    assert "tiny.int8.onnx" in result.out
    assert "2 nodes on integers, 0 of the same operators in float; 16 calibration samples" in result.out
    assert "SQNR dB" in result.out
    assert result.err == ""
    assert '"quantized": 2' in Path("report.json").read_text("utf-8")


def test_the_scheme_is_the_targets(uair: Shell, tiny: Path, calib: Path) -> None:
    report = uair(
        "quantize", tiny, "-t", "jetson_orin", "--calib", calib, "-o", "q.onnx", "--skip", "head*", "--json"
    ).require()
    assert report.json["output"] == "q.onnx"
    assert report.json["summary"]["scheme"]["symmetric"]
    assert [node["name"] for node in report.json["skipped"]] == ["head", "pool"]  # between floats nothing is gained
    assert all(a["zero_point"] == 0 for node in report.json["nodes"] for a in node["activations"].values())


def test_range_and_ir_text(uair: Shell, tiny: Path, calib: Path) -> None:
    out = uair("quantize", tiny, "--calib", calib, "-o", "q.uair", "--range", "minmax", "--json").require().json
    assert out["summary"]["ranges"] == "minmax"
    assert out["summary"]["trials"] == {}
    written = uair("dump", "q.uair").require().out
    assert written.count("= Dequantize(") >= 4


def test_operators_on_integers(uair: Shell, tiny: Path, calib: Path) -> None:
    uair("quantize", tiny, "--calib", calib, "--form", "qoperator").require()
    path = Path("tiny.int8.onnx")
    assert {"ConvInteger", "MatMulInteger"} <= operators(path)
    assert not {"Conv", "Gemm", "MatMul"} & operators(path)
    assert close(path, tiny)


def test_images(uair: Shell) -> None:
    result = uair(
        "quantize", EXAMPLE, "--shape", EXAMPLE_SHAPE, "--calib", IMAGES, "--preprocess", EXAMPLE_STEPS, "-o", "q.onnx"
    ).require()
    assert "QuantizeLinear" in operators(Path("q.onnx"))
    assert "calibration samples" in result.out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--calib"),
        (["--calib", "calib.npy", "-o", "q.txt"], "must end in .onnx or .uair"),
        (["--calib", "calib.npy", "-o", "q.uair", "--opset", "17"], "--opset is for an .onnx output"),
        (["--calib", "calib.npy", "-o", "q.uair", "--form", "qdq"], "--form is for an .onnx output"),
        (["--calib", "calib.npy", "--report", "r.txt"], "must end in .json, .html or .csv"),
        (["--calib", "calib.npy", "-o", "tiny.onnx"], "exists: give --overwrite"),
    ],
)
def test_wrong_command_lines(uair: Shell, tiny: Path, calib: Path, arguments: list[str], words: str) -> None:
    before = tiny.read_bytes()
    assert words in " ".join(uair("quantize", tiny, *arguments).require(2).err.split())
    assert tiny.read_bytes() == before


def test_a_target_without_integers(uair: Shell, tiny: Path, calib: Path) -> None:
    result = uair("quantize", tiny, "--calib", calib, "-t", "kunlun_r200").require(1)
    assert "does not run quantized models" in result.err


def test_python(tiny: Path, tmp_path: Path) -> None:
    module = uair.load(tiny)
    quantized = uair.quantize(module, uair.Int8(samples(16), range="mse"), "rk3588", shapes={"x": (1, 3, 8, 8)})
    assert quantized.report["summary"]["ranges"] == "mse"
    assert quantized.notes == []
    x = samples(1, seed=3)
    expected, actual = uair.run(module, x)["y"], uair.run(quantized.module, x)["y"]
    assert 0 < float(np.abs(expected - actual).max()) < 0.1 * float(np.abs(expected).max())
    quantized.save(tmp_path / "q.onnx", opset=19)
    np.testing.assert_allclose(ran(tmp_path / "q.onnx", x, as_written=True), actual, atol=1e-5)
    with pytest.raises(OutputError, match="neither"):
        quantized.save(tmp_path / "q.tflite")
    with pytest.raises(SchemeError, match="there is no range 'median'"):
        uair.quantize(module, uair.Int8(samples(16), range="median"))  # type: ignore[arg-type]
