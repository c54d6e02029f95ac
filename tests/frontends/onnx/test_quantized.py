"""Quantized operators of ONNX against onnxruntime or, where it has no kernel, onnx's evaluator; then exported again."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from tests.frontends.onnx.models import imported, interpreted, model, one, onnxruntime_outputs
from tests.frontends.onnx.test_contrib_quantized import integers, scale, weights
from uair.codegen.onnx import model_bytes
from uair.codegen.onnx.schema import ONNX_TYPE
from uair.ir import Array, DType, Module
from uair.passes.legalise_onnx import LegaliseOnnx
from uair.pipeline import PassManager


def units(got: Array, want: Array) -> int:
    """The greatest distance, in integers."""
    assert got.dtype == want.dtype
    assert got.shape == want.shape
    return int(np.abs(got.astype(np.int64) - want.astype(np.int64)).max(initial=0))


def check(
    node: onnx.NodeProto,
    feeds: Mapping[str, Array],
    constants: Mapping[str, Array],
    *,
    opset: int = 21,
    within: int = 0,
) -> Module:
    """The imported module, whose results are onnxruntime's, as are those of what is exported from it."""
    proto = model([node], feeds, constants=constants, opset=opset, ir_version=10)
    module = imported(proto)
    (want,) = onnxruntime_outputs(proto, feeds)
    (got,) = interpreted(module, feeds)
    assert units(got, want) <= within
    for target in (11, 13, 21):
        again = imported(proto)
        PassManager([LegaliseOnnx(opset=target)]).run(again)
        (exported,) = onnxruntime_outputs(onnx.load_from_string(model_bytes(again, opset=target)), feeds)
        assert units(exported, got) <= within, f"exported at opset {target}"
    return module


def evaluated(proto: onnx.ModelProto, feeds: Mapping[str, Array]) -> Array:
    """The output by onnx's evaluator."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        results: Any = ReferenceEvaluator(proto).run(None, dict(feeds))
    return np.asarray(results[0])


BYTES = pytest.mark.parametrize("dtype", [np.uint8, np.int8])


@BYTES
@pytest.mark.parametrize("zero", ["none", "scalar", "one", "lines"])
def test_integer_product(dtype: Any, zero: str) -> None:
    a, b = integers(dtype, 2, 5, 16), weights(16, 7)
    shape: dict[str, Any] = {"none": None, "scalar": (), "one": (1,), "lines": (7,)}
    operands, constants = ["a", "b"], {"b": b}
    if shape[zero] is not None:
        operands += ["za", "zb"]
        constants["za"] = np.asarray(dtype(9)) if zero == "lines" else np.full(shape[zero], 9, dtype)
        constants["zb"] = np.arange(7, dtype=np.int8) if zero == "lines" else np.full(shape[zero], 3, np.int8)
    check(one("MatMulInteger", *operands), {"a": a}, constants)


@BYTES
def test_integer_product_per_row(dtype: Any) -> None:
    """Only onnx's evaluator takes zero points per row."""
    feeds = {"a": integers(dtype, 5, 16), "b": integers(dtype, 16, 7, seed=1)}
    constants = {"za": np.arange(5).reshape(5, 1).astype(dtype), "zb": np.arange(7).astype(dtype)}
    proto = model([one("MatMulInteger", "a", "b", "za", "zb")], feeds, constants=constants)
    np.testing.assert_array_equal(interpreted(imported(proto), feeds)[0], evaluated(proto, feeds))


@BYTES
@pytest.mark.parametrize(
    ("x", "w", "attributes"),
    [
        ((1, 2, 9), (3, 2, 3), {}),
        ((1, 4, 7, 6), (6, 2, 3, 2), {"group": 2, "strides": [2, 1], "pads": [1, 0, 0, 1]}),
        ((2, 3, 7, 6), (4, 3, 3, 3), {"auto_pad": "SAME_UPPER", "strides": [2, 1]}),
        ((1, 2, 5, 4, 6), (3, 2, 2, 3, 3), {"pads": [1, 1, 1, 1, 1, 1]}),
    ],
)
def test_integer_convolution(dtype: Any, x: tuple[int, ...], w: tuple[int, ...], attributes: dict[str, Any]) -> None:
    feeds, constants = (
        {"x": integers(dtype, *x)},
        {"w": weights(*w), "zx": np.asarray(dtype(9)), "zw": np.array(0, np.int8)},
    )
    check(one("ConvInteger", "x", "w", "zx", "zw", **attributes), feeds, constants)
    check(one("ConvInteger", "x", "w", **attributes), feeds, {"w": constants["w"]})


@BYTES
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("per_channel", [True, False])
def test_quantized_convolution(dtype: Any, per_channel: bool, bias: bool) -> None:
    constants: dict[str, Array] = {
        "sx": scale(0.0517), "zx": np.asarray(dtype(9)), "w": weights(4, 3, 3, 3), "sy": scale(0.313),
        "sw": np.array([0.01, 0.02, 0.005, 0.03], np.float32) if per_channel else scale(0.0173),
        "zw": np.zeros(4, np.int8) if per_channel else np.array(2, np.int8), "zy": np.asarray(dtype(12)),
        "b": np.array([1000, -500, 3, 0], np.int32),
    }  # fmt: skip
    operands = ["x", "sx", "zx", "w", "sw", "zw", "sy", "zy", *(["b"] if bias else [])]
    check(one("QLinearConv", *operands, pads=[1, 1, 1, 1]), {"x": integers(dtype, 1, 3, 6, 6)}, constants, within=1)


@BYTES
@pytest.mark.parametrize("per_column", [True, False])
def test_quantized_product(dtype: Any, per_column: bool) -> None:
    constants: dict[str, Array] = {
        "sa": scale(0.0517), "za": np.asarray(dtype(9)), "b": weights(16, 7), "sy": scale(0.313),
        "sb": np.linspace(0.01, 0.03, 7).astype(np.float32) if per_column else scale(0.0173),
        "zb": np.arange(7, dtype=np.int8) if per_column else np.array(2, np.int8), "zy": np.asarray(dtype(12)),
    }  # fmt: skip
    node = one("QLinearMatMul", "a", "sa", "za", "b", "sb", "zb", "sy", "zy")
    check(node, {"a": integers(dtype, 2, 5, 16)}, constants, within=1)


@pytest.mark.parametrize("kind", [np.float16, np.float32, DType.BF16.numpy])
def test_quantized_product_per_line_of_a_stack(kind: Any) -> None:
    """Scales [..., M, 1] and [..., 1, N], in the types of version 21; by the formula in f64."""
    rng = np.random.default_rng(0)
    a, b = integers(np.int8, 2, 5, 16), integers(np.uint8, 2, 16, 7, seed=1)
    constants = {
        "sa": rng.uniform(0.01, 0.03, (2, 5, 1)).astype(kind), "za": rng.integers(-9, 9, (2, 5, 1)).astype(np.int8),
        "sb": rng.uniform(0.01, 0.03, (2, 1, 7)).astype(kind), "zb": rng.integers(0, 9, (2, 1, 7)).astype(np.uint8),
        "sy": rng.uniform(0.2, 0.4, (2, 5, 1)).astype(kind), "zy": rng.integers(-9, 9, (2, 5, 1)).astype(np.int8),
    }  # fmt: skip
    node = one("QLinearMatMul", "a", "sa", "za", "b", "sb", "zb", "sy", "zy")
    feeds = {"a": a, "b": b}
    (got,) = interpreted(imported(model([node], feeds, constants=constants, opset=21, ir_version=10)), feeds)
    wide = {name: value.astype(np.float64) for name, value in {**constants, **feeds}.items()}
    product = ((wide["a"] - wide["za"]) * wide["sa"]) @ ((wide["b"] - wide["zb"]) * wide["sb"])
    want = np.clip(np.rint(product / wide["sy"]) + wide["zy"], -128, 127).astype(np.int8)
    assert units(got, want) <= 1
    assert np.mean(got != want) < 0.02


@pytest.mark.parametrize("dtype", [d for d in DType if d.is_float and d.bits == 8 and d is not DType.F8E8M0], ids=str)
def test_quantized_product_of_float8(dtype: DType) -> None:
    rng = np.random.default_rng(0)
    feeds = {n: rng.normal(0, 2, s).astype(dtype.numpy) for n, s in (("a", (5, 16)), ("b", (16, 7)))}
    constants = {**{n: np.array(v, np.float16) for n, v in (("sa", 0.5), ("sb", 0.25), ("sy", 1.5))},
                 **{n: np.zeros((), dtype.numpy) for n in ("za", "zb", "zy")}}  # fmt: skip
    node = one("QLinearMatMul", "a", "sa", "za", "b", "sb", "zb", "sy", "zy")
    (got,) = interpreted(imported(model([node], feeds, constants=constants, opset=21, ir_version=10)), feeds)
    product = (feeds["a"].astype(np.float64) * 0.5) @ (feeds["b"].astype(np.float64) * 0.25) / 1.5
    assert got.dtype == dtype.numpy
    limit = float(np.abs(got.astype(np.float64)).max())
    np.testing.assert_allclose(got.astype(np.float64), np.clip(product, -limit, limit), rtol=0.13, atol=0.05)


# ------------------------------------------------------------------------ QuantizeLinear
QUANTIZED = [d for d in DType if d.is_quantizable and d not in (DType.I32, DType.U32, DType.F8E8M0)]
FIRST = {2: 25, 4: 21, 6: 28, 8: 19, 16: 21}


def version(dtype: DType) -> int:
    """The first version of QuantizeLinear with a type."""
    return 23 if dtype is DType.F4E2M1 else 10 if dtype in (DType.I8, DType.U8) else FIRST[dtype.bits]


def quantize_model(dtype: DType, opset: int, x: Array, s: Array, z: Array | None, **attributes: Any) -> onnx.ModelProto:
    """QuantizeLinear with constant parameters; the result's type is that of the zero point or the attribute."""
    stored = [numpy_helper.from_array(s, "s")]
    if z is None:
        attributes["output_dtype"] = ONNX_TYPE[dtype]
    else:
        stored.append(numpy_helper.from_array(z, "z"))
    node = helper.make_node("QuantizeLinear", ["x", "s", *([] if z is None else ["z"])], ["y"], **attributes)
    ends = [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape),
            helper.make_tensor_value_info("y", ONNX_TYPE[dtype], x.shape)]  # fmt: skip
    graph = helper.make_graph([node], "g", ends[:1], ends[1:], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])


@pytest.mark.parametrize("form", ["tensor", "axis", "blocks"])
@pytest.mark.parametrize("dtype", QUANTIZED, ids=str)
def test_quantize_and_dequantize_every_type(dtype: DType, form: str) -> None:
    """Bit by bit as onnx's evaluator, at all opsets whose schema has the type and the form."""
    rng = np.random.default_rng(0)
    shape: dict[str, tuple[int, ...]] = {"tensor": (), "axis": (3,), "blocks": (4, 2)}
    x = rng.normal(0, 3, (4, 3)).astype(np.float32)
    s = rng.uniform(0.1, 1, shape[form]).astype(np.float32)
    whole = np.zeros(shape[form]) if dtype.is_float else rng.integers(0, 2, shape[form])
    z = whole.astype(np.int8).astype(dtype.numpy) if dtype.is_integer else whole.astype(dtype.numpy)
    attributes: dict[str, int] = {"blocks": {"axis": 1, "block_size": 2}, "axis": {"axis": 1}}.get(form, {})
    least = max(version(dtype), {"tensor": 10, "axis": 13, "blocks": 21}[form])
    got = np.zeros(0, dtype.numpy)
    for opset in (v for v in (10, 13, 19, 21, 23, 24, 25, 28) if v >= least):
        given = [z, None] if opset >= 21 else [z]
        for zero_point in given:
            proto = quantize_model(dtype, opset, x, s, zero_point, **attributes)
            (got,) = interpreted(imported(proto), {"x": x})
            want = evaluated(proto, {"x": x})
            assert got.dtype == want.dtype == dtype.numpy
            assert got.tobytes() == want.tobytes()
    inverse = model(
        [one("DequantizeLinear", "q", "s", "z", **attributes)],
        {"q": (ONNX_TYPE[dtype], x.shape)}, constants={"s": s, "z": z}, opset=28, ir_version=14,
    )  # fmt: skip
    np.testing.assert_array_equal(interpreted(imported(inverse), {"q": got})[0], evaluated(inverse, {"q": got}))


@pytest.mark.parametrize("opset", [21, 23])
def test_precision_of_the_division(opset: int) -> None:
    """In f32 up to version 21, from 23 on in the type of the scale or `precision`: by onnxruntime."""
    x = np.random.default_rng(0).normal(0, 10, 5000).astype(np.float16)
    s, z = np.array(0.0373, np.float16), np.array(3, np.int8)
    proto = quantize_model(DType.I8, opset, x, s, z)
    (got,) = interpreted(imported(proto), {"x": x})
    np.testing.assert_array_equal(got, onnxruntime_outputs(proto, {"x": x})[0])
    in_f32 = np.rint(x.astype(np.float32) / s.astype(np.float32)) + 3
    assert (got == np.clip(in_f32, -128, 127)).all() == (opset == 21)
    if opset == 23:
        wider = quantize_model(DType.I8, opset, x, s, z, precision=TensorProto.FLOAT)
        np.testing.assert_array_equal(interpreted(imported(wider), {"x": x})[0], np.clip(in_f32, -128, 127))


@pytest.mark.parametrize("saturate", [0, 1])
@pytest.mark.parametrize("dtype", [d for d in QUANTIZED if d.is_float and d.bits == 8], ids=str)
def test_saturation(dtype: DType, saturate: int) -> None:
    x = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 449, 70000, -0.0], np.float32)
    proto = quantize_model(dtype, 19, x, scale(1), np.zeros((), dtype.numpy), saturate=saturate)
    (got,) = interpreted(imported(proto), {"x": x})
    np.testing.assert_array_equal(got.astype(np.float32), evaluated(proto, {"x": x}).astype(np.float32))


@pytest.mark.parametrize("to", [DType.F16, DType.BF16, DType.F32], ids=str)
def test_output_type_of_dequantization(to: DType) -> None:
    q = np.arange(-128, 128).astype(np.int8)
    for s in (scale(0.0373), np.array(0.0373, np.float16)):
        node = one("DequantizeLinear", "q", "s", output_dtype=ONNX_TYPE[to])
        proto = model([node], {"q": q}, constants={"s": s}, opset=23, ir_version=11)
        (got,) = interpreted(imported(proto), {"q": q})
        assert got.dtype == to.numpy
        np.testing.assert_array_equal(got, (q.astype(np.float32) * s.astype(np.float32)).astype(to.numpy))


@pytest.mark.parametrize("opset", [11, 13, 17, 21])
def test_weights_of_few_bits_at_every_opset(opset: int) -> None:
    """Constants of types that an opset lacks are stored in wider ones; blocks before 21 are spelled out."""
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {
        "w": rng.integers(0, 256, (6, 3, 8)).astype(np.uint8),
        "s": rng.uniform(0.01, 0.1, (6, 3)).astype(np.float32),
        "z": rng.integers(0, 256, (6, 2)).astype(np.uint8),
    }
    x = rng.normal(size=(2, 48)).astype(np.float32)
    node = one("MatMulNBits", "x", "w", "s", "z", domain="com.microsoft", K=48, N=6, bits=4, block_size=16)
    proto = model([node], {"x": x}, constants=constants)
    module = imported(proto)
    PassManager([LegaliseOnnx(opset=opset)]).run(module)
    written = onnx.load_from_string(model_bytes(module, opset=opset))
    stored = {t.data_type for t in written.graph.initializer}
    assert (TensorProto.UINT4 if opset >= 21 else TensorProto.UINT8) in stored
    (want,), (got,) = onnxruntime_outputs(proto, {"x": x}), onnxruntime_outputs(written, {"x": x})
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [DType.I4, DType.U2, DType.F8E4M3, DType.F4E2M1], ids=str)
def test_narrow_constants_in_wider_storage(dtype: DType) -> None:
    """Below the opset that has a type, its constants can still be dequantized."""
    codes = np.array([0, 1, 1, 0], np.int8).astype(dtype.numpy)
    constants: dict[str, Array] = {"q": codes, "s": scale(0.5)}
    proto = model(
        [one("DequantizeLinear", "q", "s", outputs=["w"]), one("Mul", "x", "w")], {"x": np.ones(4, np.float32)},
        constants=constants, opset=25, ir_version=13,
    )  # fmt: skip
    module = imported(proto)
    PassManager([LegaliseOnnx(opset=17)]).run(module)
    feeds = {"x": np.array([1, 2, 3, 4], np.float32)}
    (got,) = onnxruntime_outputs(onnx.load_from_string(model_bytes(module, opset=17)), feeds)
    np.testing.assert_array_equal(got, interpreted(imported(proto), feeds)[0])
