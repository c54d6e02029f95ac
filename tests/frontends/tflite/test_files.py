"""Small .tflite files, read without TensorFlow or LiteRT; the expected numbers in the .npz files are LiteRT's."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import uair
from uair.errors import UairError
from uair.frontends.tflite.errors import TfliteSignatureError
from uair.ir.compare import difference
from uair.ir.data import ComputedData, MappedData
from uair.ir.dtype import DType
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops.custom import Opaque
from uair.text import parse_module, print_module, weights_of

FILES = Path(__file__).parent / "files"


def load(name: str, **options: Any) -> Module:
    module = uair.load(FILES / f"{name}.tflite", **options)
    verify(module)
    assert not difference(module, parse_module(print_module(module), weights=weights_of(module)))
    return module


def kinds(module: Module) -> Counter[str]:
    return Counter(node.op_type for node in module.main)


@pytest.mark.parametrize("name", ["float", "half", "int8", "variables"])
def test_numbers(name: str) -> None:
    """LiteRT's results: floats within 1e-5, integers within one step."""
    module = load(name)
    with np.load(FILES / f"{name}.npz") as stored:
        inputs = [stored[f"input_{i}"] for i in range(sum(k.startswith("input") for k in stored.files))]
        expected = [stored[f"output_{i}"] for i in range(len(stored.files) - len(inputs))]
    for each in (module, uair.optimize(module.clone())):
        states = [np.zeros((1, 5), np.float32)] if name == "variables" else []
        outputs = uair.run(each, dict(zip(each.main.input_names, [*inputs, *states], strict=True)))
        for ours, theirs in zip(outputs.values(), expected, strict=False):
            assert ours.dtype == theirs.dtype and ours.shape == theirs.shape
            tolerance = 1.0 if theirs.dtype.kind == "i" else 1e-5
            assert np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max() <= tolerance


def test_float_net() -> None:
    """Channels first inside; SAME in numbers; activations on their own; weights view the file, permuted when read."""
    module = load("float")
    assert module.metadata["transposes"] == "1"  # the image; the pooled result has no height and width left
    found = kinds(module)
    assert (found["Conv2D"], found["Clip"], found["Relu"], found["Linear"], found["Softmax"]) == (2, 1, 1, 1, 1)
    first, second = (node for node in module.main if node.op_type == "Conv2D")
    assert first.attributes["pads"] == (1, 0, 1, 1) and first.attributes["strides"] == (2, 2)
    assert second.attributes["groups"] == 4 and second.inputs[1] is not None
    assert second.inputs[1].type.shape == (4, 1, 3, 3)
    data = second.inputs[1].data
    assert isinstance(data, ComputedData) and isinstance(data.inputs[0], MappedData)
    assert module.origin.format == "tflite" and module.origin.file == "float.tflite"
    assert dict(module.origin.versions)["schema"] == "3" and len(module.origin.sha256) == 64
    (source,) = first.loc.sources
    assert source.kind == "CONV_2D" and source.name


def test_half_weights() -> None:
    """16-bit weights are constants in float32; the graph is that of the float net."""
    assert kinds(load("half")) == kinds(load("float"))


def test_int8_net() -> None:
    """Quantize and Dequantize with the file's parameters; weights per channel."""
    module = load("int8")
    assert {t.type.dtype for t in (*module.main.inputs, *module.main.outputs)} == {DType.I8}
    found = kinds(module)
    assert found["Quantize"] >= 4 and found["Dequantize"] >= found["Quantize"]
    axes = [node.attributes["axis"] for node in module.main if node.op_type == "Dequantize"]
    assert 0 in axes and None in axes


def test_variables_and_signatures() -> None:
    """The file's first signature has a variable; the second a loop."""
    module = load("variables")
    assert module.metadata["signatures"] == "add, loop"
    (state,) = json.loads(module.metadata["states"])
    assert state["initial"] == 0 and module.main.output_names == ["sum", state["output"]]
    second = load("variables", signature="loop")
    assert "states" not in second.metadata and kinds(second)["Loop"] == 1
    m = np.array([[0.5, 1.0], [-1.0, 0.25]], np.float32)
    assert np.allclose(uair.run(second, m)["power"], np.linalg.matrix_power(m, 4), atol=1e-6)
    with pytest.raises(TfliteSignatureError, match="no signature 'x'"):
        load("variables", signature="x")


def test_custom_operator() -> None:
    (node,) = load("custom").main
    assert isinstance(node.op, Opaque) and node.op.kind == "Landmarks" and node.op.payload == "AQI="


def test_real_interface() -> None:
    """Quantized inputs and outputs as real numbers: the same results, scaled."""
    stored, real = load("int8"), load("int8", numbers="real")
    assert {t.type.dtype for t in (*real.main.inputs, *real.main.outputs)} == {DType.F32}
    quantize = next(node for node in real.main if node.op_type == "Quantize")
    (last,) = [node for node in real.main if node.outputs[0] is real.main.outputs[0]]
    x = np.random.default_rng(2).uniform(-1, 1, (1, 9, 8, 3)).astype(np.float32)
    q = quantize.op.evaluate(x, *(t.numpy() for t in quantize.inputs[1:] if t is not None))
    (integers,), (numbers,) = uair.run(stored, q).values(), uair.run(real, x).values()
    assert np.array_equal(last.op.evaluate(integers, *(t.numpy() for t in last.inputs[1:] if t is not None)), numbers)


@pytest.mark.parametrize("target", ["cpu", "ascend310", "rk3588"])
def test_compiles(target: str) -> None:
    """A quantized net with real inputs compiles, and its artifact gives what the module gives."""
    module = load("int8", numbers="real")
    x = np.random.default_rng(2).uniform(-1, 1, (1, 9, 8, 3)).astype(np.float32)
    artifact = uair.compile(module, target)
    (ours,) = uair.run(module, x).values()
    (theirs,) = uair.run(artifact, x).values()
    assert np.abs(ours - theirs).max() <= 2 / 256


def test_integer_interface_is_refused_in_words() -> None:
    """Where a toolchain takes no integers in or out, or no zero points, the message says so."""
    with pytest.raises(UairError, match="TensorRT does not take"):
        uair.compile(load("int8"), "jetson_orin")


@pytest.mark.parametrize("target", ["cpu", "ascend310"])
def test_integer_interface_compiles(target: str) -> None:
    module = load("int8")
    x = np.random.default_rng(3).integers(-128, 128, (1, 9, 8, 3)).astype(np.int8)
    (ours,) = uair.run(module, x).values()
    (theirs,) = uair.run(uair.compile(module, target), x).values()
    assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1


def test_channels_first() -> None:
    module = load("float", channels="first")
    assert module.main.inputs[0].type.shape == (1, 3, 9, 8) and module.metadata["transposes"] == "0"
