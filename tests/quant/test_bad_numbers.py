"""Models and samples with numbers that integers cannot hold: an error or a model that is right, no silent bad one.

Each is quantized, and computed on integers exactly (`lower_to_integer`) and by onnxruntime.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import uair
from tests.quant.networks import Builder
from uair.ir.dtype import Array
from uair.ir.graph import constant
from uair.ir.module import Module
from uair.ops import Conv2D, Linear, Mul, Relu, Sqrt
from uair.quant.errors import EmptyCalibrationError, QuantizationError
from uair.quant.integer import lower_to_integer

SHAPE = (1, 4, 6, 6)
TARGETS = ("cpu", "rk3588", "jetson_orin", "ascend310")


def samples(n: int = 16, scale: float = 1.0) -> Array:
    return (np.random.default_rng(0).normal(size=(n, *SHAPE[1:])) * scale).astype(np.float32)


def convolution(w: Array, bias: Array | None = None) -> Module:
    """Convolution, Relu, and a convolution of fixed good weights."""
    b = Builder(*SHAPE)
    operands = [constant(w, "w")] + ([] if bias is None else [constant(bias, "bias")])
    y = b.add(Relu(), b.add(Conv2D(), b.x, *operands, name="first"), name="relu")
    last = np.random.default_rng(5).normal(size=(4, w.shape[0], 1, 1)).astype(np.float32)
    return b.done(b.add(Conv2D(), y, constant(last, "last_w"), name="last"))


def weights(seed: int = 1) -> Array:
    return np.random.default_rng(seed).normal(size=(6, 4, 3, 3)).astype(np.float32)


def outputs(module: Module, quantized: Any, tmp_path: Path, x: Array) -> list[Array]:
    """Of the float model, the quantized one, the one on integers, and onnxruntime's."""
    quantized.save(tmp_path / "q.onnx")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(tmp_path / "q.onnx", options, providers=["CPUExecutionProvider"])
    integers = lower_to_integer(quantized.module)
    return [
        uair.run(module, x)["y"],
        uair.run(quantized.module, x)["y"],
        uair.run(integers, x)["y"],
        np.asarray(session.run(None, {"x": x})[0]),
    ]


def require_close(module: Module, quantized: Any, tmp_path: Path, scale: float = 1.0, error: float = 0.03) -> None:
    """Every way to run the quantized model gives what the float model gives."""
    expected, *found = outputs(module, quantized, tmp_path, samples(1, scale))
    limit = error * float(np.abs(expected).max())
    for actual in found:
        assert np.isfinite(actual).all()
        assert float(np.abs(actual - expected).max()) <= limit


# -------------------------------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_stay_float(value: float) -> None:
    w = weights()
    w[2, 1, 0, 0] = value
    b = Builder(*SHAPE)
    bad = b.add(Conv2D(), b.x, constant(w, "bad"), name="bad")
    module = b.done(b.add(Conv2D(), b.x, b.weight(4, 4, 1, 1), name="good"), bad)
    for target in TARGETS:
        report = uair.quantize(module, uair.Int8(samples()), target).report
        reasons = {entry["name"]: entry["reason"] for entry in report["skipped"]}
        assert "'bad' has values that are not finite" in reasons["bad"]
        assert [entry["name"] for entry in report["nodes"]] == ["good"]


@pytest.mark.parametrize("target", TARGETS)
def test_a_value_that_is_not_finite_inside_the_model_is_an_error(target: str) -> None:
    w = weights()
    w[0, 0, 0, 0] = np.inf
    with pytest.raises(QuantizationError, match=r"takes the value (inf|nan) on the calibration data") as caught:
        uair.quantize(convolution(w), uair.Int8(samples()), target)
    assert caught.value.place == "sample 0 of the array"


@pytest.mark.parametrize("target", TARGETS)
def test_channels_of_zeros_in_weights_and_activations(target: str, tmp_path: Path) -> None:
    w = weights()
    w[1] = 0  # a result that is always 0
    w[3] = 0
    bias = np.zeros(6, np.float32)
    bias[3] = 2.5  # a result that is always the bias
    module = convolution(w, bias)
    quantized = uair.quantize(module, uair.Int8(samples()), target)
    assert quantized.report["summary"]["quantized"] >= 2
    require_close(module, quantized, tmp_path)


@pytest.mark.parametrize("target", TARGETS)
def test_a_result_that_is_always_zero(target: str, tmp_path: Path) -> None:
    module = convolution(weights(), np.full(6, -1e4, np.float32))  # ReLU leaves nothing
    quantized = uair.quantize(module, uair.Int8(samples()), target)
    for found in outputs(module, quantized, tmp_path, samples(1)):
        assert not found.any()


@pytest.mark.parametrize("target", TARGETS)
def test_channels_of_very_small_weights(target: str, tmp_path: Path) -> None:
    w = weights()
    w[2] *= 1e-6
    w[4] *= 1e-12
    module = convolution(w)
    require_close(module, uair.quantize(module, uair.Int8(samples(), range="minmax"), target), tmp_path)


@pytest.mark.parametrize("target", ["cpu", "jetson_orin"])
def test_weights_that_the_least_scale_makes_zero_stay_float(target: str, tmp_path: Path) -> None:
    module = convolution(weights() * np.float32(1e-9))
    quantized = uair.quantize(module, uair.Int8(samples()), target)
    reasons = " ".join(entry["reason"] for entry in quantized.report["skipped"])
    assert "rounds to 0" in reasons
    require_close(module, quantized, tmp_path)


@pytest.mark.parametrize("target", ["cpu", "jetson_orin"])
@pytest.mark.parametrize("factor", [1e-9, 1e-30, 1e-39])  # the last: numbers that f32 holds with fewer bits
def test_activations_that_the_least_scale_makes_zero_stay_float(target: str, factor: float, tmp_path: Path) -> None:
    b = Builder(*SHAPE)
    small = b.add(Mul(), b.x, constant(np.float32(factor), "factor"), name="small")
    module = b.done(b.add(Conv2D(), small, b.weight(4, 4, 1, 1), name="reads_small"))
    quantized = uair.quantize(module, uair.Int8(samples()), target)
    reasons = " ".join(entry["reason"] for entry in quantized.report["skipped"])
    assert "too small for the least scale" in reasons
    require_close(module, quantized, tmp_path, error=1e-3)


# --------------------------------------------------------------------------------------------------------------- biases
@pytest.mark.parametrize("target", TARGETS)
def test_biases_that_would_overflow_32_bits(target: str, tmp_path: Path) -> None:
    w = weights() * np.float32(1e-4)
    bias = np.zeros(6, np.float32)
    bias[0] = 3e3
    module = convolution(w, bias)
    quantized = uair.quantize(module, uair.Int8(samples(scale=1e-2)), target)
    first = next((entry for entry in quantized.report["nodes"] if entry["name"] == "first"), None)
    assert first is not None
    if first["bias"] == "i32":
        assert first["scales_widened_for_bias"] >= 1
    require_close(module, quantized, tmp_path, scale=1e-2)


def test_sums_that_may_overflow_32_bits_stay_float() -> None:
    b = Builder(1, 200_000)
    module = b.done(b.add(Linear(), b.x, b.weight(2, 200_000), name="deep"))
    x = np.random.default_rng(0).normal(size=(8, 200_000)).astype(np.float32)
    report = uair.quantize(module, uair.Int8(x)).report
    assert "32 bits" in report["skipped"][0]["reason"]


# -------------------------------------------------------------------------------------------------------------- samples
@pytest.mark.parametrize("target", TARGETS)
def test_a_single_sample(target: str, tmp_path: Path) -> None:
    module = convolution(weights())
    for effort in ("default", "high"):
        quantized = uair.quantize(module, uair.Int8(samples(1), effort=effort), target)
        assert any("only 1 calibration sample:" in note for note in quantized.notes)
        require_close(module, quantized, tmp_path)
    assert any("effort=high needs 8 samples" in note for note in quantized.notes)


def test_no_sample_at_all() -> None:
    with pytest.raises(EmptyCalibrationError):
        uair.quantize(convolution(weights()), uair.Int8(samples(0)))
    with pytest.raises(EmptyCalibrationError):
        uair.quantize(convolution(weights()), uair.Int8([]))


@pytest.mark.parametrize("target", TARGETS)
def test_samples_of_zeros(target: str) -> None:
    module = convolution(weights())
    quantized = uair.quantize(module, uair.Int8(np.zeros((9, *SHAPE[1:]), np.float32)), target)
    assert any("is 0 in all samples" in note for note in quantized.notes)
    assert any("repeat others" in note for note in quantized.notes)
    assert np.isfinite(uair.run(quantized.module, samples(1))["y"]).all()


def test_a_nan_inside_of_the_model_names_the_file_of_the_sample(tmp_path: Path) -> None:
    b = Builder(1, 4)
    module = b.done(b.add(Linear(), b.add(Sqrt(), b.x, name="root"), b.weight(2, 4)))
    for name, low in (("a", 1), ("b", -2)):
        np.savez(tmp_path / f"{name}.npz", x=np.full((1, 4), low, np.float32))
    with pytest.raises(QuantizationError, match="takes the value nan") as caught:
        uair.quantize(module, uair.Int8(tmp_path), "cpu")
    assert caught.value.place == "b.npz"
