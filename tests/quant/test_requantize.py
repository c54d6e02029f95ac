"""From sums to the integers of the next tensor: each arithmetic against an outside judge or plain integers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx and onnxruntime leave type arguments open.

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.quant.networks import all_products, branches, samples, small_cnn
from tests.quant.test_integer import quantized
from uair.codegen.reference import run
from uair.errors import UairError
from uair.ir.dtype import Array
from uair.ir.module import Module
from uair.ir.verify import verify
from uair.ops import IntegerConv2D, Requantize
from uair.ops.requantization import Arithmetic
from uair.passes.lower_to_integer import LowerToInteger
from uair.pipeline import PassManager
from uair.quant.integer import lower_to_integer
from uair.quant.scheme import Scheme
from uair.targets import load_description


def sums(rng: np.random.Generator, count: int = 4000) -> Array:
    """i32 of all magnitudes."""
    size = 2.0 ** rng.uniform(0, 30, count)
    return np.asarray(np.rint(size * rng.choice((-1, 1), count)), np.int32)


def high_product(a: int, b: int) -> int:
    """gemmlowp: the high half of 2ab, rounded; C's division goes towards zero."""
    product = a * b
    nudge = 1 << 30 if product >= 0 else 1 - (1 << 30)
    total = product + nudge
    return total >> 31 if total >= 0 else -(-total >> 31)


def divide_by_power(x: int, exponent: int) -> int:
    """gemmlowp: RoundingDivideByPOT."""
    mask = (1 << exponent) - 1
    threshold = (mask >> 1) + (x < 0)
    return (x >> exponent) + ((x & mask) > threshold)


@pytest.mark.parametrize("scale", [0.0003, 0.0117, 0.4999999, 0.5, 0.75, 1.3, 2.0**-20])
def test_fixed_point_is_gemmlowps(scale: float) -> None:
    x = sums(np.random.default_rng(3))
    x = x[np.abs(x.astype(np.int64)) < 2**29]  # a shift to the left must not leave 32 bits
    fraction, exponent = np.frexp(scale)
    multiplier = int(np.floor(fraction * 2**31 + 0.5))
    want = [
        divide_by_power(high_product(int(v) << max(int(exponent), 0), multiplier), max(-int(exponent), 0)) for v in x
    ]
    got = Requantize(arithmetic="fixed_point").evaluate(x, np.array(scale))
    assert np.array_equal(got, np.clip(want, -128, 127))
    assert np.unique(got).size > 100


@pytest.mark.parametrize("bits", [-2, 0, 1, 7])
def test_shift_is_half_up(bits: int) -> None:
    x = np.arange(-40000, 40000, 7, dtype=np.int32)
    want = [int(v) << -bits if bits <= 0 else (int(v) + (1 << (bits - 1))) >> bits for v in x]
    got = Requantize(arithmetic="shift").evaluate(x, np.array(2.0**-bits, np.float32))
    assert np.array_equal(got, np.clip(want, -128, 127))


@pytest.mark.parametrize(("signed_input", "relu"), [(True, False), (False, False), (False, True)])
def test_float_arithmetic_is_that_of_onnxruntimes_qlinearconv(signed_input: bool, relu: bool) -> None:
    """Bit for bit, with a scale for each channel; a ReLU is a lower bound of the integers."""
    rng = np.random.default_rng(int(signed_input))
    dtype: Any = np.int8 if signed_input else np.uint8
    info = np.iinfo(dtype)
    x = rng.integers(info.min, info.max + 1, (2, 8, 11, 9)).astype(dtype)
    w = rng.integers(-63, 64, (16, 8, 3, 3)).astype(np.int8)  # u8 by 8 bits saturates on processors without VNNI
    bias = rng.integers(-4000, 4000, 16).astype(np.int32)
    x_scale, y_scale = np.float32(0.0173), np.float32(0.0914)
    w_scale = rng.uniform(1e-3, 2e-2, 16).astype(np.float32)
    x_zero, y_zero = dtype(7), dtype(info.min if relu else 3)
    constants = {
        "xs": x_scale, "xz": x_zero, "w": w, "ws": w_scale, "wz": np.zeros(16, np.int8), "ys": y_scale, "yz": y_zero,
        "b": bias,
    }  # fmt: skip
    names = ["x", "xs", "xz", "w", "ws", "wz", "ys", "yz", "b"]
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    graph = helper.make_graph(
        [helper.make_node("QLinearConv", names, ["y"], pads=[1, 1, 1, 1])],
        "conv",
        [helper.make_tensor_value_info("x", kind, x.shape)],
        [helper.make_tensor_value_info("y", kind, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    assert kind in (TensorProto.INT8, TensorProto.UINT8)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (want,) = session.run(None, {"x": x})
    acc = IntegerConv2D(pads=(1, 1, 1, 1)).evaluate(x, w, np.array(x_zero), None, bias)
    op = Requantize(axis=1, dtype=_dtype(dtype), low=int(y_zero) if relu else None)
    got = op.evaluate(acc, x_scale * w_scale / y_scale, np.array(y_zero))
    assert np.array_equal(got, np.asarray(want))
    assert np.unique(got).size > 100


def feeds_of(module: Module) -> Any:
    """A sample."""
    return samples(1, tuple(d for d in module.main.inputs[0].type.dims if isinstance(d, int)))[0]


def _dtype(numpy: Any) -> Any:
    from uair.ir.dtype import DType

    return DType.from_numpy(np.dtype(numpy))


@pytest.mark.parametrize("network", [small_cnn, all_products, branches])
@pytest.mark.parametrize("requantization", ["float", "fixed_point", "litert"])
def test_lowered_layers_stay_on_integers(network: Any, requantization: Any) -> None:
    module = quantized(network(), target="rk3588")
    through_reals = lower_to_integer(module)
    lowered = lower_to_integer(module, requantization)
    verify(lowered)
    feeds = feeds_of(module)
    want, got = run(through_reals, feeds), run(lowered, feeds)
    count = sum(isinstance(node.op, Requantize) for node in lowered.main)
    assert count >= 2
    assert _integers(through_reals) - _integers(lowered) == count, "each stands for a Dequantize and a Quantize"
    for a, b in zip(want.values(), got.values(), strict=True):  # sums that lie between two integers may go either way
        assert np.abs(a - b).max() <= 0.02 * np.abs(a).max()


def _integers(module: Module) -> int:
    return sum(node.op_type == "Quantize" for node in module.main)


@pytest.mark.parametrize("symmetric", [False, True])
def test_scales_that_are_powers_of_two_are_shifts(symmetric: bool) -> None:
    described = load_description("rk3588").quantization
    assert described is not None
    scheme = attrs.evolve(described.scheme, power_of_two=True, symmetric=symmetric)
    module = quantized(all_products(), scheme=scheme)
    scales = [node.inputs[1] for node in module.main if node.op_type in ("Quantize", "Dequantize")]
    values = np.concatenate([s.numpy().reshape(-1) for s in scales if s is not None])
    assert len(values) > 10
    assert np.array_equal(np.log2(values), np.rint(np.log2(values)))
    lowered = lower_to_integer(module, "shift")
    ops: list[Arithmetic] = [node.op.arithmetic for node in lowered.main if isinstance(node.op, Requantize)]
    assert len(ops) >= 2
    assert set(ops) == {"shift"}
    feeds = feeds_of(module)
    for a, b in zip(run(module, feeds).values(), run(lowered, feeds).values(), strict=True):
        assert np.abs(a - b).max() <= 0.05 * np.abs(a).max()


def test_ranges_under_powers_of_two_hold_what_they_must() -> None:
    """With the greatest range nothing is cut off, and no scale is twice what is needed."""
    module = quantized(small_cnn(), scheme=Scheme(power_of_two=True))
    plain = quantized(small_cnn(), scheme=Scheme())
    ratios = [
        float(a.inputs[1].numpy() / b.inputs[1].numpy())  # type: ignore[union-attr]
        for a, b in zip(module.main, plain.main, strict=True)
        if a.op_type == "Quantize"
    ]
    assert ratios
    assert all(1 - 1e-6 <= ratio < 2 for ratio in ratios)


def test_the_pass_takes_the_targets_arithmetic() -> None:
    module = quantized(small_cnn(), target="rk3588")
    fixed = PassManager([LowerToInteger(target="th1520")]).run(module.clone())
    assert {n.op.arithmetic for n in fixed.main if isinstance(n.op, Requantize)} == {"fixed_point"}
    with pytest.raises(UairError, match="AscendDequant"):
        PassManager([LowerToInteger(target="ascend310")]).run(module.clone())
    with pytest.raises(UairError, match="does not run quantized models"):
        PassManager([LowerToInteger(target="c920")]).run(module.clone())
    assert PassManager([LowerToInteger(requantization="none")]).run(module.clone()).main
