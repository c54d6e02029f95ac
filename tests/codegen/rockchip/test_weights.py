"""Weights in the file become the module's integers when rknn-toolkit2 quantizes them again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import uair
from uair.codegen.rockchip.weights import GREATEST, LEAST, restated, weights
from uair.ir import DType, Module
from uair.ir.dtype import Array
from uair.ops import Dequantize
from uair.targets import load_description
from uair.text import parse_module


def quantized_again(integers: Array, scale: Array) -> tuple[Array, Array]:
    """What the toolkit makes of a weight in a file: measured, see uair.codegen.rockchip.weights."""
    shaped = scale.reshape(-1, *[1] * (integers.ndim - 1)) if scale.ndim else scale
    own = shaped.astype(np.float64) * 128 / 127
    return np.rint(integers * shaped.astype(np.float64) / own), own


@pytest.mark.parametrize("axis", [None, 0, 1, -1])
def test_every_integer_survives(axis: int | None) -> None:
    q = np.arange(LEAST, GREATEST + 1, dtype=np.int8).reshape(2, 127)
    shape = () if axis is None else (q.shape[axis],)
    scale = np.random.default_rng(0).uniform(1e-4, 1, shape).astype(np.float32)
    stated, narrower = restated(q, scale, axis)
    turned = (stated, narrower) if axis in (None, 0) else (stated.T, narrower)
    again, own = quantized_again(*turned)
    np.testing.assert_array_equal(again if axis in (None, 0) else again.T, q)
    np.testing.assert_allclose(np.ravel(own), np.ravel(scale), rtol=1e-6)


def test_channels_that_use_the_outermost_integers_stay() -> None:
    q = np.array([[127, 3, -5], [-128, 3, -5], [126, -127, 64]], np.int8)
    scale = np.array([0.1, 0.2, 0.3], np.float32)
    stated, narrower = restated(q, scale, 0)
    np.testing.assert_array_equal(stated, [[127, 3, -5], [-128, 3, -5], [127, -128, 65]])
    np.testing.assert_allclose(narrower, [0.1, 0.2, 0.3 * 127 / 128], rtol=1e-6)


def test_weights_leave_out_the_outermost_integers() -> None:
    described = load_description("rk3588").quantization
    assert described is not None
    assert described.scheme.weight_limit == min(-LEAST, GREATEST)


def network() -> Module:
    """Convolutions of random weights, the second depthwise; the result of the last one stays float."""
    rng = np.random.default_rng(3)
    values = {"w": (16, 3, 3, 3), "v": (16, 1, 3, 3), "b": (16,), "u": (4, 16, 1, 1)}
    text = "".join(
        f"constant @{name} = {rng.normal(size=np.prod(shape)).round(4).tolist()} : f32[{','.join(map(str, shape))}]  "
        for name, shape in values.items()
    )
    return parse_module(
        f"{text} %x: f32[1,3,8,8]  %c = Conv2D(%x, @w, @b) {{pads = [1,1,1,1]}}  %r = Relu(%c)  "
        "%d = Conv2D(%r, @v) {pads = [1,1,1,1], groups = 16}  %s = Relu(%d)  %y = Conv2D(%s, @u)"
    )


def test_an_artifact_states_the_integers_of_its_module(tmp_path: Path) -> None:
    module = network()
    samples = [{"x": np.random.default_rng(i).normal(size=(1, 3, 8, 8)).astype(np.float32)} for i in range(4)]
    quantize = uair.Int8(samples, least_cosine=0.0)
    artifact = uair.compile(module, "rk3588", output=tmp_path / "out", quantize=quantize)
    held = uair.load(artifact.file("model.uair"))
    wanted = {
        node.inputs[0].numpy().shape: node.inputs[0].numpy()
        for node in held.main
        if isinstance(node.op, Dequantize) and node.inputs[0] is not None and node.inputs[0].is_constant
        and node.inputs[0].type.dtype is DType.I8
    }  # fmt: skip
    assert len(wanted) == 3
    proto = onnx.load(str(artifact.file("model.onnx")))
    stored = {each.name: numpy_helper.to_array(each) for each in proto.graph.initializer}
    found = 0
    for node in proto.graph.node:
        array = stored.get(node.input[0]) if node.op_type == "DequantizeLinear" else None
        if array is None or array.dtype != np.int8 or array.ndim != 4:
            continue
        again, _ = quantized_again(array, stored[node.input[1]])
        if array.shape == (4, 16, 1, 1):
            np.testing.assert_array_equal(array, wanted[array.shape])  # computed in float16, as it stands
            continue
        np.testing.assert_array_equal(again, wanted[array.shape])
        assert np.abs(wanted[array.shape]).max() == 126
        assert np.abs(array.astype(np.int32)).max() > 126
        found += 1
    assert found == 2


def test_weights_are_those_of_nodes_on_integers() -> None:
    text = (
        "constant @q = [1, 2, 3, 4] : i8[2,2]  constant @s = 0.5 : f32[]  constant @z = 0 : i8[]  %x: f32[1,2]  "
        "%w = Dequantize(@q, @s)  %a = Linear(%x, %w)  %r = Relu(%a)  "
        "%i = Quantize(%r, @s, @z)  %b = Dequantize(%i, @s, @z)  "
        "%u = Dequantize(@q, @s)  %c = Linear(%b, %u)  "  # its result is float, so it is computed in float16
        "%v = Dequantize(@q, @s)  %y = Add(%c, %v)"
    )
    assert [node.output.name for node in weights(parse_module(text).main)] == ["w"]
