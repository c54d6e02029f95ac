"""The quantized view, and the exact integer arithmetic."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import pytest

from tests.quant.networks import Builder, all_products, branches, samples, small_cnn
from uair.codegen.reference import Interpreter, run
from uair.ir.dtype import Array, DType
from uair.ir.graph import Graph, Tensor, constant
from uair.ir.module import Module
from uair.ir.types import TensorType
from uair.ir.verify import verify
from uair.ops import (
    Conv2D,
    Dequantize,
    IntegerConv2D,
    IntegerConvTranspose2D,
    IntegerLinear,
    IntegerMatMul,
    Quantize,
    Relu,
)
from uair.passes.quantize_int8 import QuantizeInt8
from uair.pipeline import PassManager
from uair.quant.errors import SchemeError
from uair.quant.integer import lower_to_integer
from uair.quant.parameters import sqnr
from uair.quant.scheme import Scheme
from uair.quant.view import quantized_nodes, quantized_view


def quantized(module: Module, **options: Any) -> Module:
    shape = tuple(d for d in module.main.inputs[0].type.dims if isinstance(d, int))
    return PassManager([QuantizeInt8(samples=samples(8, shape), range="minmax", **options)]).run(module)


def convolve_int64(x: Array, w: Array, pads: int, stride: int, groups: int) -> Array:
    """Plain loops over 64-bit integers."""
    x = np.pad(x.astype(np.int64), ((0, 0), (0, 0), (pads, pads), (pads, pads)))
    m, per_group, kh, kw = w.shape
    oh, ow = (x.shape[2] - kh) // stride + 1, (x.shape[3] - kw) // stride + 1
    y = np.zeros((len(x), m, oh, ow), np.int64)
    for o in range(m):
        first = o // (m // groups) * per_group
        for i in range(oh):
            for j in range(ow):
                window = x[:, first : first + per_group, i * stride : i * stride + kh, j * stride : j * stride + kw]
                y[:, o, i, j] = (window * w[o].astype(np.int64)).sum(axis=(1, 2, 3))
    return y


@pytest.mark.parametrize(("pads", "stride", "groups"), [(0, 1, 1), (1, 2, 2), (2, 1, 6)])
def test_integer_convolution_is_exact(pads: int, stride: int, groups: int) -> None:
    rng = np.random.default_rng(0)
    x = rng.integers(0, 256, (2, 6, 7, 7)).astype(np.uint8)
    w = rng.integers(-127, 128, (6, 6 // groups, 3, 3)).astype(np.int8)
    bias = rng.integers(-(2**30), 2**30, 6).astype(np.int32)
    op = IntegerConv2D(pads=(pads,) * 4, strides=(stride, stride), groups=groups)
    got = op.evaluate(x, w, np.array(131, np.uint8), None, bias)
    want = convolve_int64(x.astype(np.int64) - 131, w, pads, stride, groups) + bias.reshape(1, -1, 1, 1)
    assert got.dtype == np.int32
    assert np.array_equal(got, want)


def test_long_sums_are_exact() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(-128, 128, (3, 20000)).astype(np.int8)
    w = rng.integers(100, 128, (4, 20000)).astype(np.int8)
    want = (x.astype(np.int64) + 128) @ w.T.astype(np.int64)
    assert np.array_equal(IntegerLinear().evaluate(x, w, np.array(-128, np.int8)), want)
    product = IntegerMatMul(trans_b=True).evaluate(x, w, np.array(-128, np.int8))
    assert np.array_equal(product, want)
    assert np.abs(want).max() > 2**24  # f32 would not do


def test_sums_wrap_around() -> None:
    x = np.full((1, 3), 127, np.int8)
    bias = np.array([2**31 - 1], np.int32)
    got = IntegerLinear().evaluate(x, np.ones((1, 3), np.int8), None, None, bias)
    assert got.tolist() == [[2**31 - 1 + 3 * 127 - 2**32]]


def test_transposed_convolution_is_exact() -> None:
    rng = np.random.default_rng(2)
    x = rng.integers(-128, 128, (1, 2, 3, 3)).astype(np.int8)
    w = rng.integers(-127, 128, (2, 3, 2, 2)).astype(np.int8)
    want = np.zeros((1, 3, 6, 6), np.int64)
    for i in range(3):
        for j in range(3):
            value = x[:, :, i, j].astype(np.int64) - 5
            want[:, :, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2] += np.einsum("nc,cmpq->nmpq", value, w.astype(np.int64))
    got = IntegerConvTranspose2D(strides=(2, 2)).evaluate(x, w, np.array(5, np.int8))
    assert np.array_equal(got, want)


@pytest.mark.parametrize("network", [small_cnn, all_products, branches])
@pytest.mark.parametrize("target", ["cpu", "ascend310", "rk3588"])
def test_lowering_agrees_with_the_float_simulation(network: Any, target: str) -> None:
    module = quantized(network(), target=target)
    views = quantized_nodes(module.main)
    lowered = lower_to_integer(module)
    verify(lowered)
    assert len([n for n in lowered.main if n.op_type.startswith("Integer")]) == len(views) > 0
    assert not quantized_nodes(lowered.main)
    assert len(quantized_nodes(module.main)) == len(views)  # the module itself is as it was
    shape = tuple(d for d in module.main.inputs[0].type.dims if isinstance(d, int))
    for feeds in samples(4, shape, seed=11):
        want, got = run(module, feeds), run(lowered, feeds)
        for name, array in want.items():
            assert sqnr(array, got[name]) > 40


@pytest.mark.parametrize("bias", [DType.I32, None])
def test_one_layer_is_the_documented_arithmetic(bias: DType | None) -> None:
    module = quantized(one_convolution(), scheme=Scheme(bias=bias))
    (view,) = quantized_nodes(module.main)
    lowered = lower_to_integer(module)
    for feeds in samples(4, (1, 3, 8, 8), seed=3):
        x = feeds["x"]
        q = np.clip(np.rint(x / view.x.scale) + view.x.zero_point, -128, 127).astype(np.int64)
        acc = convolve_int64(q - int(view.x.zero_point), view.w.integers.numpy(), 1, 1, 1)
        integer_bias = view.integer_bias()
        if integer_bias is not None:
            acc += integer_bias.numpy().reshape(1, -1, 1, 1)
        scale = (view.x.scale * view.w.scale).astype(np.float32).reshape(1, -1, 1, 1)
        want = acc.astype(np.float32) * scale
        if view.float_bias is not None:
            want = want + view.float_bias.numpy().reshape(1, -1, 1, 1)
        assert (integer_bias is None) == (bias is None)
        assert np.array_equal(run(lowered, feeds)["y"], want)
        simulated = run(module, feeds)["y"]
        assert np.abs(simulated - want).max() <= 1e-5 * np.abs(want).max()


def one_convolution() -> Module:
    b = Builder(1, 3, 8, 8)
    return b.done(b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(4, 3, 3, 3), b.weight(4), name="conv"))


def test_the_view_of_a_node() -> None:
    module = quantized(small_cnn(), target="horizon_j5")
    nodes = {node.name: node for node in module.main}
    stem = quantized_view(nodes["stem"])
    assert stem is not None
    assert stem.x.source is module.main.inputs[0]
    assert stem.x.axis is None
    assert stem.w.axis == 0
    assert stem.w.dtype is DType.I8
    assert stem.w.is_symmetric
    assert stem.bias is not None
    assert stem.float_bias is None
    assert stem.output is None  # Relu follows
    assert stem.accumulator_scale().shape == (8,)
    depthwise = quantized_view(nodes["depthwise"])
    assert depthwise is not None
    assert depthwise.output is not None
    assert depthwise.output.source is nodes["depthwise"].output
    assert quantized_view(nodes["relu1"]) is None
    assert quantized_view(next(iter(small_cnn().main))) is None


# ------------------------------------------------------------------------------------ graphs that others have quantized
def foreign(
    x_scale: Array, w_axis: int | None, w_zero: Array | None, bias_scale: float | None
) -> tuple[Module, Array, Array]:
    """A quantized convolution as other tools write it."""
    rng = np.random.default_rng(4)
    module = Module("foreign", {"main": Graph()})
    graph = module.main
    x = graph.add_input("x", TensorType(DType.F32, (1, 2, 4, 4)))
    s = constant(x_scale)
    zero = constant(np.uint8(120))
    w = rng.integers(0, 255, (2, 2, 1, 1)).astype(np.uint8)
    scales = np.array([0.01, 0.02], np.float32) if w_axis is not None else np.array(0.01, np.float32)
    q = graph.append(Quantize(dtype=DType.U8).node(x, s, zero)).output
    operands: list[Tensor | None] = [graph.append(Dequantize().node(q, s, zero)).output]
    extra = () if w_zero is None else (constant(w_zero),)
    operands.append(graph.append(Dequantize(axis=w_axis).node(constant(w), constant(scales), *extra)).output)
    if bias_scale is not None:
        integers = constant(np.array([100, -50], np.int32))
        operands.append(graph.append(Dequantize().node(integers, constant(np.float32(bias_scale)))).output)
    y = graph.append(Conv2D().node(*operands)).output
    graph.add_output("y", graph.append(Relu().node(y)).output)
    return module, w, scales


@pytest.mark.parametrize("bias_scale", [None, 0.5 * 0.01, 0.25])
def test_weights_with_zero_points_and_foreign_biases(bias_scale: float | None) -> None:
    module, _, _ = foreign(np.array(0.5, np.float32), 0, np.array([128, 100], np.uint8), bias_scale)
    (view,) = quantized_nodes(module.main)
    assert not view.w.is_symmetric
    lowered = lower_to_integer(module)
    verify(lowered)
    assert [n.op_type for n in lowered.main if n.op_type == "Add"] == (["Add"] if bias_scale else [])
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32) * 20}
    np.testing.assert_allclose(run(lowered, feeds)["y"], run(module, feeds)["y"], rtol=1e-5, atol=1e-4)


def test_a_bias_of_the_sums_scale_is_added_to_the_sums() -> None:
    scale = float(np.float32(0.5) * np.float32(0.01))
    module, _, _ = foreign(np.array(0.5, np.float32), None, np.array(7, np.uint8), scale)
    (view,) = quantized_nodes(module.main)
    assert view.integer_bias() is not None
    lowered = lower_to_integer(module)
    assert "Add" not in [n.op_type for n in lowered.main]
    feeds = {"x": np.random.default_rng(0).normal(size=(1, 2, 4, 4)).astype(np.float32) * 20}
    np.testing.assert_allclose(run(lowered, feeds)["y"], run(module, feeds)["y"], rtol=1e-5, atol=1e-4)


def test_scales_along_other_axes_are_not_computed_on_integers() -> None:
    module, _, _ = foreign(np.array(0.5, np.float32), 1, None, None)
    assert quantized_nodes(module.main) == []
    assert [n.op_type for n in lower_to_integer(module).main] == [n.op_type for n in module.main]


def test_the_interpreter_runs_lowered_modules_repeatedly() -> None:
    lowered = lower_to_integer(quantized(small_cnn()))
    interpreter = Interpreter(lowered)
    feeds = samples(1)[0]
    assert np.array_equal(interpreter.run(feeds)["y"], interpreter.run(feeds)["y"])


@pytest.mark.parametrize("placement", ["compute", "all"])
def test_activations_of_16_bits_are_exact_in_64_bits(placement: Any) -> None:
    """Against plain loops over 64-bit integers for one convolution, and against the float module for the whole."""
    float_module = small_cnn()
    shape = tuple(d for d in float_module.main.inputs[0].type.dims if isinstance(d, int))
    scheme = attrs.evolve(Scheme(placement=placement).wide, operators=(*Scheme().operators, "Add", "Relu", "MaxPool2D"))
    module = quantized(float_module.clone(), scheme=scheme, weight_rounding=False)
    views = quantized_nodes(module.main)
    assert views
    assert {view.x.dtype for view in views} == {DType.I16}
    assert {view.w.dtype for view in views} == {DType.I8}
    lowered = lower_to_integer(module)
    verify(lowered)
    accumulators = [n.output for n in lowered.main if isinstance(n.op, (IntegerConv2D, IntegerLinear))]
    assert {t.type.dtype for t in accumulators} == {DType.I64}
    feeds = samples(1, shape)[0]
    expected, rounded, exact = (run(m, feeds)["y"] for m in (float_module, module, lowered))
    np.testing.assert_allclose(exact, rounded, rtol=1e-4, atol=1e-5 * float(np.abs(rounded).max()))
    assert sqnr(expected, rounded) > 35  # the weights' 8 bits
    narrow = quantized(float_module.clone(), scheme=attrs.evolve(scheme, activation=DType.I8), weight_rounding=False)
    assert sqnr(expected, rounded) > sqnr(expected, run(narrow, feeds)["y"])


def test_16_bit_sums_beyond_32_bits() -> None:
    rng = np.random.default_rng(1)
    x = rng.integers(20000, 32768, (3, 5000)).astype(np.int16)
    w = rng.integers(100, 128, (4, 5000)).astype(np.int8)
    bias = np.array([2**31 - 1, -(2**31), 0, 1], np.int32)
    want = x.astype(np.int64) @ w.T.astype(np.int64) + bias
    assert np.abs(want).max() > 2**33
    got = IntegerLinear().evaluate(x, w, None, None, bias)
    assert got.dtype == np.int64
    assert np.array_equal(got, want)
    assert np.array_equal(IntegerMatMul(trans_b=True).evaluate(x, w), want - bias)
    image = rng.integers(-32768, 32768, (2, 6, 7, 7)).astype(np.int16)
    kernel = rng.integers(-127, 128, (6, 3, 3, 3)).astype(np.int8)
    op = IntegerConv2D(pads=(1,) * 4, strides=(2, 2), groups=2)
    assert np.array_equal(op.evaluate(image, kernel), convolve_int64(image, kernel, 1, 2, 2))


def test_a_scheme_of_16_bits_is_symmetric() -> None:
    assert Scheme().wide.activation is DType.I16
    assert Scheme().wide.zero_point == 0
    with pytest.raises(SchemeError, match="i16 are symmetric"):
        Scheme(activation=DType.I16)
    assert Scheme.from_mapping(Scheme().wide.to_mapping()) == Scheme().wide
