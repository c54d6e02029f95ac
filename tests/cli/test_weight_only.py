"""Weights of few bits from the command line and the API: artifacts for CPUs, refusals by devices without them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests.cli.helpers import Shell
from tests.quant.networks import Builder
from uair.api import export_onnx
from uair.ops import Linear, Tanh
from uair.quant.errors import SchemeError
from uair.quant.parameters import sqnr


@pytest.fixture
def mlp(tmp_path: Path) -> Path:
    """A model of 64 KiB of weights."""
    b = Builder(4, 128)
    h = b.add(Tanh(), b.add(Linear(), b.x, b.weight(128, 128, scale=0.1), b.weight(128), name="fc1"))
    module = b.done(b.add(Linear(), h, b.weight(128, 128, scale=0.1), b.weight(128), name="fc2"))
    export_onnx(module, tmp_path / "mlp.onnx")
    np.save(tmp_path / "calib.npy", samples(32))
    return tmp_path / "mlp.onnx"


def samples(count: int, seed: int = 0) -> Any:
    return np.random.default_rng(seed).normal(size=(count, 4, 128)).astype(np.float32)


def outputs(path: Path, *, optimized: Path | None = None) -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if optimized is not None:
        options.optimized_model_filepath = str(optimized)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return np.array([session.run(None, {"x": x})[0] for x in samples(8, seed=5)])


@pytest.mark.parametrize(("wanted", "ratio", "least"), [("w4a16", 6.3, 17), ("w8a16", 3.6, 38)])
def test_an_artifact_for_cpus(uair: Shell, mlp: Path, wanted: str, ratio: float, least: float) -> None:
    plain = outputs(mlp)
    result = uair("compile", mlp, "-t", "cpu", "--quantize", wanted, "-o", "few").require()
    model = Path("few/model.onnx")
    assert model.stat().st_size < mlp.stat().st_size / ratio
    assert sqnr(plain, outputs(model, optimized=Path("o.onnx"))) > least
    assert [n.op_type for n in onnx.load("o.onnx").graph.node].count("MatMulNBits") == 2
    assert onnx.load(model).opset_import[0].version == (21 if wanted == "w4a16" else 17)
    assert "cosine 0.99" in result.out
    shown = uair("inspect", "few").require().out
    assert f"2 nodes to weights of {wanted[1]} bits with 0 samples" in shown
    np.save("x.npy", samples(1)[0])
    uair("run", "few", "--input", "x=x.npy").require()


def test_calibration_data_make_it_better(uair: Shell, mlp: Path) -> None:
    plain, calib = outputs(mlp), mlp.parent / "calib.npy"
    uair("quantize", mlp, "--to", "w4a16", "--group", "32", "-o", "plain.onnx").require()
    result = uair("quantize", mlp, "--to", "w4a16", "--group", "32", "--calib", calib, "-o", "tuned.onnx").require()
    assert sqnr(plain, outputs(Path("tuned.onnx"))) > sqnr(plain, outputs(Path("plain.onnx")))
    assert "weights of 4 bits as cpu has it" in result.out
    assert "2 nodes with weights of few bits" in result.out
    assert "32 calibration samples" in result.out
    assert "SQNR dB" in result.out


@pytest.mark.parametrize(
    ("arguments", "needle"),
    [
        (["--quantize", "w4a16", "--effort", "high"], "--effort says nothing about w4a16"),
        (["--quantize", "int8", "--calib", "calib.npy", "--group", "32"], "--group says nothing about int8"),
        (["--group", "32"], "--group is for quantization"),
        (["--quantize", "w4a16", "--group", "48"], "groups of 48 are not taken"),
        (["--quantize", "w4a16", "--method", "awq"], "awq needs calibration data"),
    ],
)
def test_requests_that_make_no_sense_are_refused(uair: Shell, mlp: Path, arguments: list[str], needle: str) -> None:
    result = uair("compile", mlp, "-t", "cpu", *arguments)
    assert result.status != 0
    assert needle in " ".join(result.err.split())


@pytest.mark.parametrize("target", ["ascend310", "horizon_j5", "th1520", "mlu370", "rk3588"])
def test_devices_without_such_weights_say_who_has_them(mlp: Path, target: str) -> None:
    with pytest.raises(SchemeError, match=f"'{target}' does not compute in floating point") as caught:
        uair.compile(mlp, target, quantize=uair.W4A16(), golden=False)
    assert "cpu, hygon" in str(caught.value)


def test_the_interpreter_takes_them(mlp: Path) -> None:
    artifact = uair.compile(mlp, "reference", quantize=uair.W8A16(group=32, symmetric=False))
    x = samples(1, seed=9)[0]
    actual = uair.run(artifact, {"x": x})
    expected = uair.run(mlp, {"x": x})
    assert sqnr(np.array(list(expected.values())), np.array(list(actual.values()))) > 40


def test_the_family_of_requests() -> None:
    assert uair.W4A16().bits == 4
    assert uair.W8A16().bits == 8
    with pytest.raises(SchemeError, match="no method 'best'"):
        uair.quantize(Builder(2, 2).module, uair.W4A16(method="best"))  # type: ignore[arg-type]
