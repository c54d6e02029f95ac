"""Bad data and bad weights on the command line of `uair quantize`: a clear error, or a model that is right and told.

What the functions underneath do is in tests/quant (test_bad_numbers, test_calibration, test_sources).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper
from PIL import Image

from tests.cli.helpers import Result, Shell, tiny_model
from uair.ir.dtype import Array

TARGETS = ("cpu", "rk3588", "jetson_orin")
Change = Callable[[Array], Array]


def samples(count: int = 16, seed: int = 0) -> Array:
    return np.random.default_rng(seed).normal(size=(count, 3, 8, 8)).astype(np.float32)


def model(**changes: Change) -> None:
    """tiny.onnx with some of its constants changed."""
    made = tiny_model()
    for tensor in made.graph.initializer:
        if tensor.name in changes:
            values = changes[tensor.name](numpy_helper.to_array(tensor).copy())
            tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(made, "tiny.onnx")


def first(value: float) -> Change:
    """Another value for the first number."""

    def change(values: Array) -> Array:
        values.reshape(-1)[0] = value
        return values

    return change


def quantize(uair: Shell, data: Any, target: str = "cpu", *more: str) -> Result:
    """Quantize tiny.onnx to q.onnx with these samples, an array or a path."""
    if isinstance(data, np.ndarray):
        np.save("calib.npy", data)
        data = "calib.npy"
    arguments = ("--calib", data, "-t", target, "--shape", "x=1,3,8,8", "-o", "q.onnx", "--report", "r.json", *more)
    return uair("quantize", "tiny.onnx", *arguments)


def refused(result: Result, code: str, *words: str) -> None:
    """An error of that code that names what is wrong, and nothing was written."""
    assert result.status == 1
    told = " ".join(result.err.split())
    assert told.startswith(code) and all(each in told for each in words), told
    assert not Path("q.onnx").exists() and not Path("r.json").exists()


def warnings(result: Result) -> str:
    return " ".join(result.require().err.split())


def report() -> Any:
    return json.loads(Path("r.json").read_text("utf-8"))


def ran(path: str, x: Array) -> Array:
    """In onnxruntime as it is written: kernels for i8 weights saturate on x86 processors without VNNI."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    return np.asarray(onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"]).run(None, {"x": x})[0])


def require_close(error: float = 0.05) -> None:
    """What onnxruntime computes with q.onnx is what it computes with tiny.onnx."""
    for x in samples(4, seed=3)[:, None]:
        wanted, found = ran("tiny.onnx", x), ran("q.onnx", x)
        assert np.isfinite(found).all()
        assert np.abs(wanted - found).max() <= error * max(float(np.abs(wanted).max()), 1e-30)


# ----------------------------------------------------------------------------------------------------------------- data
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_data_that_are_no_numbers(uair: Shell, tiny: Path, target: str, value: float) -> None:
    data = samples()
    data[3, 1, 2, 5] = value
    refused(quantize(uair, data, target), "UAIR-E0704", f"{value} at [0, 1, 2, 5]", "at sample 3 of calib.npy")


def test_no_samples(uair: Shell, tiny: Path) -> None:
    refused(quantize(uair, samples(0)), "UAIR-E0705", "calib.npy has no samples")


@pytest.mark.parametrize("target", TARGETS)
def test_a_single_sample_does_and_is_warned_about(uair: Shell, tiny: Path, target: str) -> None:
    assert "only 1 calibration sample: 32 or more give steadier ranges" in warnings(quantize(uair, samples(1), target))
    require_close(0.3)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (samples().transpose(0, 2, 3, 1), "the data has its channels last, the model takes them first"),
        (samples()[:, :2], "its calibration data has shape [16, 2, 8, 8]"),
        (samples()[:, 0], "its calibration data has shape [16, 8, 8]"),
        (samples().astype(np.complex64), "expects f32, its calibration data is c64"),
    ],
    ids=["channels last", "channels", "rank", "type"],
)
def test_data_that_do_not_fit(uair: Shell, tiny: Path, data: Array, words: str) -> None:
    refused(quantize(uair, data), "UAIR-E0704", words)


def test_data_of_another_input(uair: Shell, tiny: Path) -> None:
    np.savez("calib.npz", image=samples())
    refused(quantize(uair, "calib.npz"), "UAIR-E0704", "image", "x")


def test_pixels_that_nobody_scales(uair: Shell, tiny: Path) -> None:
    pixels = np.rint(samples() * 40 + 128).clip(0, 255).astype(np.uint8)
    assert "gets whole numbers from 0 to 2" in warnings(quantize(uair, pixels))


@pytest.mark.parametrize(("color", "is_right"), [("rgb", True), ("bgr", False)])
def test_colours_in_the_other_order(uair: Shell, tiny: Path, color: str, *, is_right: bool) -> None:
    """Pictures with the means of photographs, which the preprocessing subtracts in the order red, green, blue."""
    rng = np.random.default_rng(0)
    Path("images").mkdir()
    for i in range(16):
        pixels = rng.normal((123.7, 116.3, 103.5), 30, (8, 8, 3)) + rng.normal(0, 8)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(f"images/{i:02}.png")
    steps = f"color={color},mean=123.675/116.28/103.53,std=58.395/57.12/57.375"
    told = warnings(quantize(uair, "images", "cpu", "--preprocess", steps))
    assert ("is one of them in the other colour order?" in told) is not is_right


# -------------------------------------------------------------------------------------------------------------- weights
@pytest.mark.parametrize("target", TARGETS)
def test_weights_that_are_no_numbers_are_named(uair: Shell, target: str) -> None:
    """Behind the first layer they are in all values; of the last one the outputs are what the float model has."""
    model(w=first(np.nan))
    named = "constant 'w' of Conv2D 'conv1' holds nan at [0, 0, 0, 0], 1 of 108 values are no numbers"
    refused(quantize(uair, samples(), target), "UAIR-E0706", named, "mend the model")
    model(fc=first(np.inf))
    assert "constant 'fc' of Linear 'head' holds inf at [0, 0]" in warnings(quantize(uair, samples(), target))
    (skipped,) = (row for row in report()["skipped"] if row["name"] == "head")
    assert skipped["reason"] == "weight 'fc' has values that are not finite"
    x = samples(1, seed=3)
    np.testing.assert_array_equal(np.isfinite(ran("q.onnx", x)), np.isfinite(ran("tiny.onnx", x)))


@pytest.mark.parametrize("target", TARGETS)
def test_weights_that_are_no_numbers_are_named_without_quantization_too(uair: Shell, target: str) -> None:
    model(w=first(np.nan), fc=first(np.inf))
    told = warnings(uair("compile", "tiny.onnx", "-t", target, "--shape", "x=1,3,8,8", "-o", "art"))
    named = "constant 'w' of Conv2D 'conv1' holds nan at [0, 0, 0, 0], 1 of 108 values are no numbers"
    assert f"{named} (and so in 1 more constants, `weights` in report.json): mend the model" in told
    assert len(json.loads(Path("art/report.json").read_text("utf-8"))["weights"]) == 2
    model()
    assert "no numbers" not in warnings(
        uair("compile", "tiny.onnx", "-t", target, "--shape", "x=1,3,8,8", "-o", "art", "--overwrite")
    )


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("channels", [slice(1, 2), slice(None)], ids=["one", "all"])
def test_channels_of_zeros(uair: Shell, target: str, channels: slice) -> None:
    def zeros(values: Array) -> Array:
        values[channels] = 0
        return values

    model(w=zeros)
    assert warnings(quantize(uair, samples(), target)) == ""
    assert report()["summary"]["quantized"] >= 2
    require_close()


@pytest.mark.parametrize("target", ["cpu", "jetson_orin"])
def test_a_bias_beyond_32_bits(uair: Shell, target: str) -> None:
    """In steps of the product of both scales it would not fit: those of its channel grow, and the report says so."""
    model(fc_bias=first(1e9), fc=lambda values: values * 1e-3)
    quantize(uair, samples(), target).require()
    (head,) = (row for row in report()["nodes"] if row["name"] == "head")
    assert head["bias"] == {"cpu": "i32", "jetson_orin": "float"}[target]
    assert head.get("scales_widened_for_bias", 0) == (1 if target == "cpu" else 0)
    x = samples(1, seed=3)
    wanted, found = ran("tiny.onnx", x), ran("q.onnx", x)
    np.testing.assert_allclose(found[0, 0], wanted[0, 0], rtol=1e-6)
    np.testing.assert_allclose(found[0, 1:], wanted[0, 1:], atol=0.02 * np.abs(wanted[0, 1:]).max())


def test_what_f16_does_not_hold_is_warned_about(uair: Shell) -> None:
    model(fc_bias=first(1e9))
    assert "values that are no numbers in the device's floats, not 0.995" in warnings(
        quantize(uair, samples(), "rk3588")
    )


@pytest.mark.parametrize("target", TARGETS)
def test_scales_that_vanish(uair: Shell, target: str) -> None:
    model(fc=lambda values: values * 1e-42)
    quantize(uair, samples(), target).require()
    (row,) = (row for row in report()["skipped"] if row["name"] == "head")
    assert "which the least scale that the target allows" in row["reason"] and "rounds to 0" in row["reason"]
    require_close()
    model()
    quantize(uair, samples() * 1e-40, target, "--overwrite").require()
    (row,) = (row for row in report()["skipped"] if row["name"] == "conv1")
    assert "too small for the least scale that the target allows" in row["reason"]
