"""Quantized operators of com.microsoft against onnxruntime, which defines them: integers within one unit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np
import onnx
import pytest

from tests.frontends.onnx.models import imported, interpreted, model, one, onnxruntime_outputs
from uair.ir import Array, DType, Module, Tensor

DOMAIN = "com.microsoft"


def scale(value: float) -> Array:
    return np.array(value, np.float32)


def integers(dtype: Any, *shape: int, seed: int = 0) -> Array:
    """All values of an 8-bit type, equally likely."""
    info = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(info.min, info.max + 1, shape).astype(dtype)


def weights(*shape: int) -> Array:
    """i8 numbers of 7 bits: with more, onnxruntime's u8 by i8 products saturate on processors without VNNI."""
    return (integers(np.int8, *shape, seed=1) // 2).astype(np.int8)


def run(
    node: onnx.NodeProto,
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
    *,
    outputs: Sequence[str] = ("y",),
    units: int = 1,
) -> Module:
    """The imported module, whose results are onnxruntime's: integers within `units`, floats within 1e-5."""
    proto = model([node], feeds, outputs, constants=constants)
    module = imported(proto)
    for got, want in zip(interpreted(module, feeds), onnxruntime_outputs(proto, feeds), strict=True):
        assert got.dtype == want.dtype
        assert got.shape == want.shape
        if want.dtype.kind == "f":
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-4)
        else:
            difference = np.abs(got.astype(int) - want.astype(int))
            assert difference.max(initial=0) <= units, f"{difference.max()} units"
            assert np.mean(difference != 0) <= 0.02 or difference.size < 100
    return module


def contrib(name: str, *inputs: str, **attributes: Any) -> onnx.NodeProto:
    return cast(onnx.NodeProto, one(name, *inputs, domain=DOMAIN, **attributes))


BYTES = pytest.mark.parametrize("dtype", [np.uint8, np.int8])


@BYTES
@pytest.mark.parametrize("name", ["QLinearAdd", "QLinearMul"])
def test_binary(name: str, dtype: Any) -> None:
    a, b = integers(dtype, 2, 3, 200), integers(dtype, 3, 1, seed=1)
    points = {"za": dtype(3), "zb": dtype(100), "zc": dtype(7)}
    scales = {"sa": scale(0.0213), "sb": scale(0.0517), "sc": scale(0.0977)}  # no halves between two units
    node = contrib(name, "a", "sa", "za", "b", "sb", "zb", "sc", "zc")
    run(node, {"a": a, "b": b}, {**scales, **{k: np.asarray(v) for k, v in points.items()}})


@BYTES
def test_activations(dtype: Any) -> None:
    x = integers(dtype, 300)
    constants = {"sx": scale(0.05), "zx": np.asarray(dtype(9)), "sy": scale(1 / 256), "zy": np.asarray(dtype(0))}
    run(contrib("QLinearSigmoid", "x", "sx", "zx", "sy", "zy"), {"x": x}, constants)
    constants["sy"] = scale(0.06)
    run(contrib("QLinearLeakyRelu", "x", "sx", "zx", "sy", "zy", alpha=0.2), {"x": x}, constants)
    run(contrib("QLinearLeakyRelu", "x", "sx", "zx", "sy", "zy"), {"x": x}, constants)


@BYTES
def test_softmax(dtype: Any) -> None:
    x = integers(dtype, 4, 3, 25)
    constants = {"sx": scale(0.05), "zx": np.asarray(dtype(9)), "sy": scale(1 / 256), "zy": np.asarray(dtype(0))}
    for attributes in ({"opset": 13, "axis": -1}, {"opset": 13, "axis": 1}, {"opset": 11, "axis": 1}):
        run(contrib("QLinearSoftmax", "x", "sx", "zx", "sy", "zy", **attributes), {"x": x}, constants)


@BYTES
def test_concatenation_and_choice(dtype: Any) -> None:
    a, b = integers(dtype, 2, 30, 4), integers(dtype, 2, 20, 4, seed=1)
    constants = {"sa": scale(0.02), "za": np.asarray(dtype(3)), "sb": scale(0.05), "zb": np.asarray(dtype(100)),
                 "sy": scale(0.05), "zy": np.asarray(dtype(7))}  # fmt: skip
    run(contrib("QLinearConcat", "sy", "zy", "a", "sa", "za", "b", "sb", "zb", axis=1), {"a": a, "b": b}, constants)
    feeds = {"c": np.arange(120).reshape(1, 30, 4) % 3 == 0, "a": a, "b": integers(dtype, 30, 1, seed=1)}
    run(contrib("QLinearWhere", "c", "a", "sa", "za", "b", "sb", "zb", "sy", "zy"), feeds, constants)


@BYTES
@pytest.mark.parametrize("channels_last", [0, 1])
def test_pooling(dtype: Any, channels_last: int) -> None:
    x = integers(dtype, 2, 9, 8, 7)
    constants = {"sx": scale(0.05), "zx": np.asarray(dtype(9)), "sy": scale(0.04), "zy": np.asarray(dtype(12))}
    operands = ("x", "sx", "zx", "sy", "zy")
    run(contrib("QLinearGlobalAveragePool", *operands, channels_last=channels_last), {"x": x}, constants)
    for more in ({}, {"pads": [1, 1, 0, 1], "strides": [2, 1]}, {"pads": [1, 1, 1, 1], "count_include_pad": 1},
                 {"strides": [2, 2], "ceil_mode": 1}):  # fmt: skip
        node = contrib("QLinearAveragePool", *operands, kernel_shape=[3, 2], channels_last=channels_last, **more)
        run(node, {"x": x}, constants)


@BYTES
@pytest.mark.parametrize("channels_last", [0, 1])
def test_convolution(dtype: Any, channels_last: int) -> None:
    x, w = integers(dtype, 1, 6, 6, 6), weights(4, 6, 3, 3)
    constants = {
        "sx": scale(0.05), "zx": np.asarray(dtype(9)), "sy": scale(0.3), "zy": np.asarray(dtype(12)), "w": w,
        "sw": np.array([0.01, 0.02, 0.005, 0.03], np.float32), "zw": np.zeros(4, np.int8),
        "b": np.array([1000, -500, 3, 0], np.int32),
    }  # fmt: skip
    node = contrib("QLinearConv", "x", "sx", "zx", "w", "sw", "zw", "sy", "zy", "b", channels_last=channels_last)
    run(node, {"x": x}, constants)


@BYTES
def test_gemm(dtype: Any) -> None:
    a, b = integers(dtype, 20, 16), weights(12, 16)
    columns = np.linspace(0.01, 0.03, 12).astype(np.float32)
    constants = {
        "sa": scale(0.02), "za": np.asarray(dtype(3)), "b": b, "sb": columns, "zb": np.zeros(12, np.int8),
        "c": np.arange(-600, 600, 100, dtype=np.int32), "sy": scale(0.3), "zy": np.asarray(dtype(7)),
    }  # fmt: skip
    operands = ("a", "sa", "za", "b", "sb", "zb")
    run(contrib("QGemm", *operands, "c", "sy", "zy", transB=1, alpha=0.5), {"a": a}, constants)
    run(contrib("QGemm", *operands, "c", transB=1), {"a": a}, constants)
    single = {**constants, "sb": scale(0.02), "zb": np.array(5, np.int8), "b": np.ascontiguousarray(b.T)}
    run(contrib("QGemm", *operands, "", "sy", "zy"), {"a": a}, single)
    run(contrib("QGemm", *operands, "c"), {"a": a}, single)


@BYTES
def test_integer_products_to_float(dtype: Any) -> None:
    a, b = integers(dtype, 2, 5, 16), weights(16, 12)
    columns = np.linspace(0.01, 0.03, 12).astype(np.float32)
    constants = {
        "b": b, "sa": scale(0.02), "sb": columns, "za": np.asarray(dtype(3)), "zb": np.arange(12, dtype=np.int8),
        "bias": np.arange(12, dtype=np.float32),
    }  # fmt: skip
    run(contrib("MatMulIntegerToFloat", "a", "b", "sa", "sb", "za", "zb", "bias"), {"a": a}, constants)
    run(contrib("MatMulIntegerToFloat", "a", "b", "sa", "sb"), {"a": a}, {**constants, "sb": scale(0.02)})


def test_dynamic_quantization() -> None:
    x = np.random.default_rng(0).normal(0, 2, (2, 5, 16)).astype(np.float32)
    constants = {"b": weights(16, 12), "sb": scale(0.02), "zb": np.array(4, np.int8),
                 "bias": np.arange(12, dtype=np.float32)}  # fmt: skip
    run(contrib("DynamicQuantizeMatMul", "x", "b", "sb", "zb", "bias"), {"x": x}, constants)
    run(contrib("DynamicQuantizeMatMul", "x", "b", "sb"), {"x": x}, constants)
    columns = {**constants, "sb": np.linspace(0.01, 0.03, 12).astype(np.float32), "zb": np.full(12, 4, np.int8)}
    module = run(contrib("DynamicQuantizeMatMul", "x", "b", "sb", "zb", "bias"), {"x": x}, columns)
    assert "IntegerMatMul" in {node.op_type for node in module.main}, "equal zero points of columns are one number"
    for values in (x, np.zeros(4, np.float32), np.array([1, 2, 3], np.float32), np.array([-1, -2.5], np.float32)):
        run(
            one("DynamicQuantizeLinear", "x", outputs=["y", "s", "z"]),
            {"x": values},
            {},
            outputs=["y", "s", "z"],
            units=0,
        )


def test_attention() -> None:
    """With masks, a past, and one scale per column; onnxruntime has a kernel for u8."""
    x, rng = integers(np.uint8, 2, 5, 12), np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": (weights(12, 24) // 2).astype(np.int8), "b": rng.normal(size=24).astype(np.float32), "sx": scale(0.02),
        "sw": scale(0.01), "zx": np.array(3, np.uint8), "zw": np.array(2, np.int8),
    }  # fmt: skip
    operands = ("x", "w", "b", "sx", "sw")
    run(contrib("QAttention", *operands, "", "zx", "zw", num_heads=2), {"x": x}, constants)
    run(contrib("QAttention", *operands, "", "zx", "zw", num_heads=2, unidirectional=1), {"x": x}, constants)
    ends = {**constants, "m": np.array([3, 5], np.int32)}
    run(contrib("QAttention", *operands, "m", "zx", "zw", num_heads=2), {"x": x}, ends)
    columns = {**constants, "sw": np.linspace(0.01, 0.02, 24).astype(np.float32), "zw": np.zeros(24, np.int8)}
    run(contrib("QAttention", *operands, "", "zx", "zw", num_heads=2), {"x": x}, columns)
    feeds = {"x": x, "p": rng.normal(size=(2, 2, 2, 3, 4)).astype(np.float32)}
    node = contrib(
        "QAttention", *operands, "", "zx", "zw", "p", num_heads=2, unidirectional=1, outputs=["y", "present"]
    )
    run(node, feeds, constants, outputs=["y", "present"])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_linear_quantization(dtype: Any) -> None:
    x = np.random.default_rng(0).normal(0, 3, (3, 50)).astype(np.float32)
    constants = {"s": np.array([0.1, 0.05, 0.02], np.float32), "z": np.array([0, 1, 2], dtype)}
    run(contrib("QuantizeLinear", "x", "s", "z", axis=0), {"x": x}, constants, units=0)
    run(contrib("QuantizeLinear", "x", "s", "z"), {"x": x}, {"s": scale(0.1), "z": np.array(3, dtype)}, units=0)
    q = integers(dtype, 3, 50)
    run(contrib("DequantizeLinear", "x", "s", "z", axis=0), {"x": q}, constants)
    run(contrib("DequantizeLinear", "x", "s"), {"x": q}, {"s": scale(0.1)})


# ------------------------------------------------------------------------ weights in blocks
def packed(values: Array, bits: int) -> Array:
    """Numbers of the last axis that share bytes, the first in the lowest bits."""
    per_byte = 8 // bits
    missing = np.zeros((*values.shape[:-1], -values.shape[-1] % per_byte), values.dtype)
    apart = np.concatenate([values, missing], axis=-1).astype(np.uint8).reshape(*values.shape[:-1], -1, per_byte)
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    joined: Array = np.bitwise_or.reduce(apart << shifts, axis=-1)
    return joined.astype(np.uint8)


@pytest.mark.parametrize(
    ("bits", "zero_points"),
    [*((bits, kind) for bits in (2, 4, 8) for kind in ("none", "packed")), (2, "float"), (4, "float")],
)  # onnxruntime takes no fractional zero points with 8 bits
@pytest.mark.parametrize("depth", [48, 40])
def test_matmul_nbits(bits: int, zero_points: str, depth: int) -> None:
    rng = np.random.default_rng(0)
    size, rows = 16, 6
    blocks = -(-depth // size)
    codes = rng.integers(0, 1 << bits, (rows, blocks, size))
    constants = {
        "w": packed(codes, bits),
        "s": rng.uniform(0.01, 0.1, (rows, blocks)).astype(np.float32),
        "b": rng.normal(size=rows).astype(np.float32),
    }
    if zero_points == "packed":
        constants["z"] = packed(rng.integers(0, 1 << bits, (rows, blocks)), bits)
    elif zero_points == "float":
        constants["z"] = rng.uniform(0, 1 << bits, (rows, blocks)).astype(np.float32)
    x = rng.normal(size=(2, 3, depth)).astype(np.float32)
    attributes = {"K": depth, "N": rows, "bits": bits, "block_size": size}
    z = "z" if "z" in constants else ""
    module = run(contrib("MatMulNBits", "x", "w", "s", z, "", "b", **attributes), {"x": x}, constants)
    weight = next(t for t in constants_of(module) if t.type.shape == (rows, depth))
    assert weight.type.dtype is {2: DType.U2, 4: DType.U4, 8: DType.U8}[bits]
    feeds = {"x": x, "w": constants.pop("w")}
    run(contrib("MatMulNBits", "x", "w", "s", z, "", "b", **attributes), feeds, constants)


def test_matmul_nbits_in_groups_and_without_a_weight() -> None:
    rng = np.random.default_rng(0)
    constants = {
        "w": packed(rng.integers(0, 16, (6, 3, 16)), 4),
        "s": rng.uniform(0.01, 0.1, (6, 3)).astype(np.float32),
        "g": rng.integers(0, 3, 48).astype(np.int32),
    }
    x = rng.normal(size=(3, 48)).astype(np.float32)
    run(contrib("MatMulNBits", "x", "w", "s", "", "g", K=48, N=6, bits=4, block_size=16), {"x": x}, constants)
    constants = {"w": np.zeros((6, 0, 8), np.uint8), "s": constants["s"], "b": np.arange(6, dtype=np.float32)}
    run(contrib("MatMulNBits", "x", "w", "s", "", "", "b", K=48, N=6, bits=4, block_size=16), {"x": x}, constants)


@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("given", [False, True])
def test_gather_of_bytes(bits: int, given: bool) -> None:
    rng = np.random.default_rng(0)
    constants = {
        "t": packed(rng.integers(0, 1 << bits, (7, 32)), bits),
        "s": rng.uniform(0.01, 0.1, (7, 2)).astype(np.float32),
    }
    if given:
        constants["z"] = packed(rng.integers(0, 1 << bits, (7, 2)), bits)
    feeds = {"i": np.array([[0, 6, -1], [3, 3, 2]])}
    operands = ("t", "i", "s", *(["z"] if given else []))
    node = contrib("GatherBlockQuantized", *operands, bits=bits, block_size=16, gather_axis=0, quantize_axis=1)
    run(node, feeds, constants)


@pytest.mark.parametrize("axes", [(0, 1), (1, 0), (1, 1), (2, 1)])
def test_gather_of_narrow_integers(axes: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    blocked = [5, 32, 6] if axes[1] == 1 else [32, 5, 6]
    scales = [5, 2, 6] if axes[1] == 1 else [2, 5, 6]
    constants: dict[str, Array] = {
        "t": rng.integers(-8, 8, blocked).astype(DType.I4.numpy),
        "s": rng.uniform(0.01, 0.1, scales).astype(np.float32),
        "z": rng.integers(-8, 8, scales).astype(DType.I4.numpy),
    }
    feeds = {"i": np.array([[0, 2, -1], [3, 3, 2]])}
    node = contrib(
        "GatherBlockQuantized", "t", "i", "s", "z", block_size=16, gather_axis=axes[0], quantize_axis=axes[1]
    )
    run(node, feeds, constants)


@pytest.mark.parametrize("quant_type", [0, 1])
def test_matmul_bnb4(quant_type: int) -> None:
    rng = np.random.default_rng(0)
    rows, depth = 6, 32
    constants: dict[str, Array] = {
        "w": rng.integers(0, 256, rows * depth // 2).astype(np.uint8),
        "s": rng.uniform(0.1, 1, rows * depth // 16).astype(np.float32),
    }
    x = rng.normal(size=(3, depth)).astype(np.float32)
    node = contrib("MatMulBnb4", "x", "w", "s", K=depth, N=rows, block_size=16, quant_type=quant_type)
    run(node, {"x": x}, constants)


def constants_of(module: Module) -> Iterator[Tensor]:
    """The constant operands of the main graph's nodes."""
    return (t for node in module.main for t in node.inputs if t is not None and t.is_constant)


@BYTES
@pytest.mark.parametrize("segmented", [False, True])
@pytest.mark.parametrize("masked", [False, True])
def test_embeddings(dtype: Any, segmented: bool, masked: bool) -> None:
    tables = {"w": integers(dtype, 30, 8), "t": integers(dtype, 9, 8, seed=1), "u": integers(dtype, 2, 8, seed=2),
              "g": integers(dtype, 8, seed=3), "b": integers(dtype, 8, seed=4)}  # fmt: skip
    scales = {f"s{name}": scale(0.01 + 0.002 * i) for i, name in enumerate(tables)}
    points = {f"z{name}": np.asarray(dtype(7 + i)) for i, name in enumerate(tables)}
    draw = np.random.default_rng(0)
    feeds = {"i": draw.integers(0, 30, (2, 5)).astype(np.int32)}
    if segmented:
        feeds["s"] = draw.integers(0, 2, (2, 5)).astype(np.int32)
    if masked:
        feeds["m"] = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    names = [*"iswtugbm", *scales, *points]
    given = {*feeds, *scales, *points, *tables} - (set() if segmented else {"u", "su", "zu"})
    node = contrib("QEmbedLayerNormalization", *(name if name in given else "" for name in names), epsilon=1e-6)
    node.output.append("n")
    constants = {k: v for k, v in {**tables, **scales, **points}.items() if k in given}
    run(node, feeds, constants, outputs=("y", "n"))
