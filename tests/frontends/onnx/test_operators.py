"""Operators of the default domain against onnxruntime, family by family."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.frontends.onnx.models import F32, I64, check, floats, imported, interpreted, model, one, op_types, rng

X = floats(2, 3, 4)
IMAGE = floats(1, 4, 9, 7)


def run(
    node: Any, feeds: dict[str, Any], *, opset: int = 17, constants: dict[str, Any] | None = None, **more: Any
) -> Any:
    """Import a model of one node and compare it with onnxruntime."""
    proto = model([node], feeds, list(node.output), constants=constants, opset=opset)
    return check(proto, feeds, **more)


# ------------------------------------------------------------------------- elementwise
@pytest.mark.parametrize(
    "name",
    ["Abs", "Acos", "Asin", "Asinh", "Atan", "Atanh", "Ceil", "Celu", "Cos", "Cosh", "Elu", "Erf", "Exp", "Floor",
     "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Shrink",
     "Sigmoid", "Sign", "Sin", "Sinh", "Softplus", "Softsign", "Tan", "Tanh", "ThresholdedRelu"],
)  # fmt: skip
def test_unary(name: str) -> None:
    x = np.tanh(floats(3, 5, seed=4)) * np.float32(0.9)
    run(one(name, "x"), {"x": x})


@pytest.mark.parametrize("name", ["Acosh", "Log", "Sqrt"])
def test_unary_of_large_numbers(name: str) -> None:
    run(one(name, "x"), {"x": np.abs(floats(3, 5)) + 1.5})


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div", "Pow", "PRelu"])
def test_binary(name: str) -> None:
    a, b = np.abs(floats(2, 3, 4)) + 0.5, np.abs(floats(3, 1, seed=1)) + 0.5
    run(one(name, "a", "b"), {"a": a, "b": b})


def test_integer_division_truncates() -> None:
    a, b = np.array([-7, 7, -7, 7], np.int32), np.array([2, 2, -2, -2], np.int32)
    assert op_types(run(one("Div", "a", "b"), {"a": a, "b": b})) == ["IntDiv"]


@pytest.mark.parametrize("fmod", [0, 1])
def test_mod(fmod: int) -> None:
    a, b = np.array([-7, 7, -7, 7], np.int32), np.array([3, 3, -3, -3], np.int32)
    run(one("Mod", "a", "b", fmod=fmod), {"a": a, "b": b})


def test_power_of_another_type() -> None:
    run(one("Pow", "a", "b"), {"a": np.abs(X), "b": np.array([2, 3, 1, 0], np.int64)})


@pytest.mark.parametrize("name", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_variadic(name: str, count: int) -> None:
    feeds = {f"x{i}": floats(2, 3, seed=i) for i in range(count)}
    run(one(name, *feeds), feeds)


@pytest.mark.parametrize("name", ["Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"])
def test_comparison(name: str) -> None:
    a = rng().integers(0, 3, (4, 5)).astype(np.float32)
    run(one(name, "a", "b"), {"a": a, "b": a[::-1].copy()})


@pytest.mark.parametrize("name", ["And", "Or", "Xor"])
def test_logic(name: str) -> None:
    a = np.array([True, True, False, False])
    run(one(name, "a", "b"), {"a": a, "b": np.array([True, False, True, False])})
    run(one("Not", "a"), {"a": a})


def test_bits() -> None:
    a, b = np.array([5, 200, 3], np.uint8), np.array([1, 2, 3], np.uint8)
    for name in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
        run(one(name, "a", "b"), {"a": a, "b": b}, opset=18)
    run(one("BitwiseNot", "a"), {"a": a}, opset=18)
    for direction in ("LEFT", "RIGHT"):
        run(one("BitShift", "a", "b", direction=direction), {"a": a, "b": b})


def test_tests_of_numbers() -> None:
    x = np.array([1, np.nan, np.inf, -np.inf], np.float32)
    run(one("IsNaN", "x"), {"x": x})
    run(one("IsInf", "x"), {"x": x})
    run(one("IsInf", "x", detect_negative=0), {"x": x})
    run(one("Where", "c", "x", "o"), {"c": np.isfinite(x), "x": x, "o": np.zeros(1, np.float32)}, rtol=0)


@pytest.mark.parametrize("to", [TensorProto.INT32, TensorProto.BOOL, TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_cast(to: int) -> None:
    run(one("Cast", "x", to=to), {"x": X * 100})


@pytest.mark.parametrize("bounds", [("lo", "hi"), ("", "hi"), ("lo",), ()])
def test_clip_by_constants_and_by_operands(bounds: tuple[str, ...]) -> None:
    values = {"lo": np.array(-0.5, np.float32), "hi": np.array(0.25, np.float32)}
    used = {k: np.asarray(v) for k, v in values.items() if k in bounds}
    module = run(one("Clip", "x", *bounds), {"x": X}, constants=used)
    assert op_types(module) == ["Clip"]
    module = run(one("Clip", "x", *bounds), {"x": X, **used})
    assert "Clip" not in op_types(module) or not used


def test_clip_of_large_integers_stays_exact() -> None:
    big = np.array([2**60 + 1], np.int64)
    feeds = {"x": np.array([2**62, 2**60, 5], np.int64)}
    run(one("Clip", "x", "", "hi"), feeds, constants={"hi": big.reshape(())}, rtol=0)


# -------------------------------------------------------------------------- activation
@pytest.mark.parametrize("name", ["Softmax", "LogSoftmax", "Hardmax"])
@pytest.mark.parametrize("axis", [0, 1, -1])
def test_along_an_axis(name: str, axis: int) -> None:
    run(one(name, "x", axis=axis), {"x": X})


@pytest.mark.parametrize("approximate", ["none", "tanh"])
def test_gelu(approximate: str) -> None:
    run(one("Gelu", "x", approximate=approximate), {"x": X}, opset=20, rtol=1e-4)


def test_mish() -> None:
    run(one("Mish", "x"), {"x": X}, opset=18)


# -------------------------------------------------------------------------- reductions
REDUCTIONS = ["ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin",
              "ReduceProd", "ReduceSumSquare"]  # fmt: skip


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("keepdims", [0, 1])
def test_reductions(name: str, keepdims: int) -> None:
    x = np.abs(X) + 0.1
    run(one(name, "x", axes=[0, -1], keepdims=keepdims), {"x": x}, rtol=1e-4)
    run(one(name, "x", keepdims=keepdims), {"x": x}, rtol=1e-4)
    constants = {"a": np.array([1, -1])}
    run(one(name, "x", "a", keepdims=keepdims), {"x": x}, opset=18, constants=constants, rtol=1e-4)


def test_reduction_without_axes() -> None:
    run(one("ReduceSum", "x"), {"x": X}, rtol=1e-4)
    run(one("ReduceSum", "x", noop_with_empty_axes=1), {"x": X})
    run(one("ReduceSum", "x", "a", noop_with_empty_axes=1), {"x": X}, constants={"a": np.zeros(0, np.int64)})


@pytest.mark.parametrize("name", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
def test_positions(name: str, last: int) -> None:
    x = rng().integers(0, 3, (3, 6)).astype(np.float32)
    run(one(name, "x", axis=-1, keepdims=last, select_last_index=last), {"x": x})


@pytest.mark.parametrize("flags", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_cumsum(flags: dict[str, int]) -> None:
    run(one("CumSum", "x", "a", **flags), {"x": X}, constants={"a": np.array(-2)})


# ------------------------------------------------------------------ convolution, pooling
@pytest.mark.parametrize("shape", [(1, 4, 9), (1, 4, 9, 7), (1, 4, 6, 5, 4)])
@pytest.mark.parametrize("group", [1, 2])
def test_conv(shape: tuple[int, ...], group: int) -> None:
    n = len(shape) - 2
    constants = {"w": floats(6, 4 // group, *(3,) * n, seed=1), "b": floats(6, seed=2)}
    node = one("Conv", "x", "w", "b", pads=[1] * n + [0] * n, strides=[2] * n, group=group)
    run(node, {"x": floats(*shape)}, constants=constants, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("name", ["Conv", "MaxPool", "AveragePool"])
def test_auto_pad_becomes_numbers(name: str, auto_pad: str) -> None:
    common = {"auto_pad": auto_pad, "strides": [2, 3]}
    if name == "Conv":
        node = one("Conv", "x", "w", **common)
        module = run(node, {"x": IMAGE}, constants={"w": floats(2, 4, 4, 3)}, rtol=1e-4, atol=1e-5)
    else:
        module = run(one(name, "x", kernel_shape=[4, 3], **common), {"x": IMAGE})
    assert module.main.outputs[0].producer.attributes["auto_pad"] == "notset"


def test_auto_pad_waits_for_the_extent() -> None:
    node = one("Conv", "x", "w", auto_pad="SAME_UPPER", strides=[2, 2])
    module = imported(model([node], {"x": (F32, [1, 4, "h", "w"])}, constants={"w": floats(2, 4, 3, 3)}))
    (conv,) = module.main
    assert conv.attributes["auto_pad"] == "same_upper"


@pytest.mark.parametrize(
    "attributes",
    [{}, {"strides": [2, 2], "pads": [1, 1, 0, 1], "output_padding": [1, 0]},
     {"strides": [3, 2], "output_shape": [27, 14]}, {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
     {"strides": [2, 2], "auto_pad": "SAME_UPPER", "output_shape": [17, 14]}, {"dilations": [2, 1], "group": 2}],
)  # fmt: skip
def test_conv_transpose(attributes: dict[str, Any]) -> None:
    constants = {"w": floats(4, 3, 3, 3), "b": floats(3 * attributes.get("group", 1))}
    node = one("ConvTranspose", "x", "w", "b", **attributes)
    run(node, {"x": IMAGE}, constants=constants, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 0, 1, 1]])
def test_pooling(ceil_mode: int, pads: list[int]) -> None:
    common = {"kernel_shape": [3, 2], "strides": [2, 2], "pads": pads, "ceil_mode": ceil_mode}
    run(one("MaxPool", "x", **common), {"x": IMAGE})
    for include in (0, 1):
        run(one("AveragePool", "x", count_include_pad=include, **common), {"x": IMAGE})


def test_dilated_and_global_pooling() -> None:
    run(one("MaxPool", "x", kernel_shape=[2, 2], dilations=[2, 3]), {"x": IMAGE})
    run(one("AveragePool", "x", kernel_shape=[2, 2], dilations=[2, 3]), {"x": IMAGE}, opset=19)
    run(one("GlobalAveragePool", "x"), {"x": IMAGE})
    run(one("GlobalMaxPool", "x"), {"x": IMAGE})


@pytest.mark.parametrize("p", [1, 2, 3])
def test_lp_pooling(p: int) -> None:
    run(one("LpPool", "x", kernel_shape=[3, 2], pads=[1, 0, 1, 1], p=p), {"x": IMAGE}, rtol=1e-4)
    run(one("GlobalLpPool", "x", p=p), {"x": IMAGE}, rtol=1e-4)


# ----------------------------------------------------------------------- normalization
def parameters(n: int, channels: int) -> dict[str, Any]:
    return {"sbmv"[i]: np.abs(floats(channels, seed=i)) + 0.5 for i in range(n)}


def test_normalizations() -> None:
    run(one("BatchNormalization", "x", *"sbmv", epsilon=1e-3), {"x": IMAGE}, constants=parameters(4, 4), rtol=1e-4)
    run(one("InstanceNormalization", "x", *"sb"), {"x": IMAGE}, constants=parameters(2, 4), rtol=1e-4, atol=1e-5)
    run(one("LayerNormalization", "x", *"sb", axis=-1), {"x": X}, constants=parameters(2, 4), rtol=1e-4, atol=1e-5)
    run(one("LayerNormalization", "x", "s", axis=-1), {"x": X}, constants=parameters(1, 4), rtol=1e-4, atol=1e-5)
    run(one("LRN", "x", size=3, alpha=0.1), {"x": IMAGE}, rtol=1e-4)
    for p in (1, 2):
        run(one("LpNormalization", "x", axis=1, p=p), {"x": X}, rtol=1e-4)


def test_rms_normalization() -> None:
    run(one("RMSNormalization", "x", "s"), {"x": X}, opset=23, constants=parameters(1, 4), rtol=1e-4)


# ------------------------------------------------------------------------------ linear
@pytest.mark.parametrize("trans", [(0, 0), (1, 0), (0, 1), (1, 1)])
@pytest.mark.parametrize("c", [None, (5,), (1, 5), (3, 5), (3, 1), (1,), ()])
@pytest.mark.parametrize("factors", [{}, {"alpha": 0.5, "beta": 2.0}, {"beta": 0.0}])
def test_gemm(trans: tuple[int, int], c: tuple[int, ...] | None, factors: dict[str, float]) -> None:
    a, b = floats(*((4, 3) if trans[0] else (3, 4))), floats(*((5, 4) if trans[1] else (4, 5)), seed=1)
    others = {"b": b} | ({} if c is None else {"c": floats(*c, seed=2)})
    node = one("Gemm", "a", *others, transA=trans[0], transB=trans[1], **factors)
    module = run(node, {"a": a}, constants=others, rtol=1e-4, atol=1e-5)
    assert "Mul" not in op_types(module)
    run(node, {"a": a, **others}, rtol=1e-4, atol=1e-5)


def test_gemm_with_a_constant_row_is_one_linear() -> None:
    for shape in ((5,), (1, 5)):
        constants = {"b": floats(4, 5), "c": floats(*shape)}
        module = run(one("Gemm", "a", "b", "c", beta=0.5), {"a": floats(3, 4)}, constants=constants, rtol=1e-4)
        assert op_types(module) == ["Linear"]


@pytest.mark.parametrize("shapes", [((3, 4), (4, 5)), ((2, 3, 4), (4, 5)), ((4,), (4, 5)), ((2, 3, 4), (4,))])
def test_matmul(shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    run(one("MatMul", "a", "b"), {"a": floats(*shapes[0]), "b": floats(*shapes[1], seed=1)}, rtol=1e-4, atol=1e-5)


def test_other_products() -> None:
    run(one("Einsum", "a", "b", equation="bij, bjk -> bik"), {"a": floats(2, 3, 4), "b": floats(2, 4, 5)}, rtol=1e-4)
    for upper in (0, 1):
        run(one("Trilu", "x", "k", upper=upper), {"x": X}, constants={"k": np.array(1)})


# ------------------------------------------------------------------------------- shape
@pytest.mark.parametrize("shape", [[6, 4], [0, -1], [2, 0, 2, -1], [-1]])
def test_reshape(shape: list[int]) -> None:
    module = run(one("Reshape", "x", "s"), {"x": X}, constants={"s": np.array(shape)})
    assert -1 not in module.main.outputs[0].producer.attributes["shape"]
    run(one("Reshape", "x", "s"), {"x": X, "s": np.array(shape)})


def test_reshape_to_zero() -> None:
    x = np.zeros((0, 3), np.float32)
    run(one("Reshape", "x", "s", allowzero=1), {"x": x}, constants={"s": np.array([3, 0])})


def test_moving_elements() -> None:
    run(one("Flatten", "x", axis=2), {"x": X})
    run(one("Flatten", "x", axis=-1), {"x": X})
    run(one("Transpose", "x"), {"x": X})
    run(one("Transpose", "x", perm=[1, 2, 0]), {"x": X})
    run(one("Concat", "x", "x", axis=-2), {"x": X})
    run(one("Expand", "x", "s"), {"x": floats(3, 1)}, constants={"s": np.array([2, 1, 4])})
    run(one("Expand", "x", "s"), {"x": floats(3, 1), "s": np.array([2, 1, 4])})
    run(one("Tile", "x", "r"), {"x": X}, constants={"r": np.array([1, 2, 3])})
    run(one("Tile", "x", "r"), {"x": X, "r": np.array([1, 2, 3])})
    run(one("Shape", "x", start=-2), {"x": X})
    run(one("Size", "x"), {"x": X})


@pytest.mark.parametrize(
    "bounds", [([1], [3], [2], [1]), ([0, -1], [2**63 - 1, -5], [0, 2], [1, -1]), ([-2, 1], [9, 2], [-1, 0], [1, 1])]
)
def test_slice(bounds: tuple[list[int], ...]) -> None:
    names = ("s", "e", "a", "t")
    values = {n: np.array(v) for n, v in zip(names, bounds, strict=True)}
    run(one("Slice", "x", *names), {"x": X}, constants=values)
    fixed = {k: v for k, v in values.items() if k in "at"}
    run(one("Slice", "x", *names), {"x": X, "s": values["s"], "e": values["e"]}, constants=fixed)


@pytest.mark.parametrize("mode", ["constant", "reflect", "edge", "wrap"])
def test_pad(mode: str) -> None:
    pads = np.array([0, 1, 2, 1, 0, 1])
    run(one("Pad", "x", "p", mode=mode), {"x": X}, opset=19, constants={"p": pads})
    run(one("Pad", "x", "p", mode=mode), {"x": X, "p": pads}, opset=19)


def test_pad_with_a_value_over_axes() -> None:
    constants = {"p": np.array([1, 2]), "v": np.array(7, np.float32), "a": np.array([-1])}
    run(one("Pad", "x", "p", "v", "a"), {"x": X}, opset=18, constants=constants)


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
def test_depth_and_space(mode: str) -> None:
    run(one("DepthToSpace", "x", blocksize=2, mode=mode), {"x": floats(1, 8, 2, 3)})
    run(one("SpaceToDepth", "x", blocksize=2), {"x": floats(1, 3, 4, 6)})


# ---------------------------------------------------------------------------- indexing
def test_gathering() -> None:
    run(one("Gather", "x", "i", axis=1), {"x": X, "i": np.array([[0, -1], [2, 1]])})
    run(one("GatherElements", "x", "i", axis=-1), {"x": X, "i": rng().integers(-4, 4, (2, 3, 2))})
    run(one("GatherND", "x", "i", batch_dims=1), {"x": X, "i": np.array([[[0, 1]], [[2, 3]]])})
    run(one("Compress", "x", "c", axis=1), {"x": X, "c": np.array([True, False, True])})
    run(one("Compress", "x", "c"), {"x": X, "c": np.array([True, False, True, True])})
    run(one("NonZero", "x"), {"x": np.array([[1, 0], [0, 2]], np.float32)})


@pytest.mark.parametrize("reduction", ["none", "add", "mul", "max", "min"])
def test_scattering(reduction: str) -> None:
    feeds = {"x": floats(4, 5), "i": np.array([[1], [3]]), "u": floats(2, 5, seed=1)}
    run(one("ScatterND", "x", "i", "u", reduction=reduction), feeds, opset=18)
    feeds = {"x": floats(4, 5), "i": np.array([[1, 0, 2]]), "u": floats(1, 3, seed=1)}
    run(one("ScatterElements", "x", "i", "u", axis=1, reduction=reduction), feeds, opset=18)


@pytest.mark.parametrize("largest", [0, 1])
def test_top_k(largest: int) -> None:
    x = rng().integers(0, 4, (3, 8)).astype(np.float32)
    node = one("TopK", "x", "k", outputs=["y", "i"], largest=largest)
    run(node, {"x": x}, constants={"k": np.array([3])})
    run(node, {"x": x, "k": np.array([3])})


def test_one_hot() -> None:
    constants = {"d": np.array(4), "v": np.array([2, 5], np.float32)}
    run(one("OneHot", "i", "d", "v", axis=1), {"i": np.array([[0, -1], [3, 2]])}, constants=constants)
    constants["d"] = np.array(4, np.float32)
    run(one("OneHot", "i", "d", "v"), {"i": np.array([1, 2], np.float32)}, constants=constants)


# ---------------------------------------------------------------------------- creation
def test_creation() -> None:
    run(one("Range", "a", "b", "c"), {}, constants={"a": np.array(2), "b": np.array(11), "c": np.array(3)})
    run(one("EyeLike", "x", k=1), {"x": floats(3, 4)})
    run(one("EyeLike", "x", dtype=I64), {"x": floats(3, 4)})
    node = one("Constant", value_floats=[1.5, 2.0])
    assert imported(model([node], {})).main.outputs[0].numpy().tolist() == [1.5, 2.0]
    for name, value, want in (
        ("value_int", 3, np.int64),
        ("value_ints", [3], np.int64),
        ("value_float", 3.0, np.float32),
    ):
        tensor = imported(model([one("Constant", **{name: value})], {})).main.outputs[0]
        assert tensor.numpy().dtype == want
        assert tensor.numpy().reshape(-1).tolist() == [3]
    node = one("Constant", value_strings=["a", "b"])
    assert imported(model([node], {})).main.outputs[0].numpy().tolist() == ["a", "b"]


def test_constant_of_shape_is_a_constant_or_an_expand() -> None:
    node = one("ConstantOfShape", "s")
    module = imported(model([node], {}, constants={"s": np.array([2**20, 1024])}))
    assert op_types(module) == []
    assert module.main.outputs[0].data is not None
    module = run(node, {"s": np.array([2, 3])})
    assert op_types(module) == ["Expand"]


# ------------------------------------------------------------------------- quantization
SCALE, ZERO = np.array(0.05, np.float32), np.array(3, np.uint8)


def test_quantize_and_dequantize() -> None:
    constants = {"s": SCALE, "z": ZERO}
    run(one("QuantizeLinear", "x", "s", "z"), {"x": X}, constants=constants)
    run(one("QuantizeLinear", "x", "s"), {"x": X}, constants={"s": SCALE})
    run(one("QuantizeLinear", "x", "s", "z"), {"x": X}, constants={"s": np.atleast_1d(SCALE), "z": ZERO.reshape(1)})
    per_axis = {"s": np.array([0.1, 0.2, 0.3], np.float32), "z": np.array([1, 0, -1], np.int8)}
    run(one("QuantizeLinear", "x", "s", "z", axis=1), {"x": X}, constants=per_axis)
    q = rng().integers(-128, 127, (2, 3, 4)).astype(np.int8)
    run(one("DequantizeLinear", "x", "s", "z", axis=-2), {"x": q}, constants=per_axis)


def test_integer_products() -> None:
    a, b = rng().integers(0, 255, (3, 4)).astype(np.uint8), rng(1).integers(-64, 64, (4, 5)).astype(np.int8)
    # with 8 bits, onnxruntime's u8 by i8 products saturate on processors without VNNI
    constants = {"b": b, "az": ZERO, "bz": np.array(-2, np.int8)}
    run(one("MatMulInteger", "a", "b", "az", "bz"), {"a": a}, constants=constants, rtol=0)
    per_column = constants | {"bz": np.arange(5).astype(np.int8)}
    run(one("MatMulInteger", "a", "b", "az", "bz"), {"a": a}, constants=per_column, rtol=0)
    x = rng().integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)
    w = rng(1).integers(0, 255, (3, 2, 3, 3)).astype(np.uint8)
    run(one("ConvInteger", "x", "w", "z", pads=[1, 1, 1, 1]), {"x": x}, constants={"w": w, "z": ZERO}, rtol=0)


def test_qlinear() -> None:
    a, b = rng().integers(0, 255, (3, 4)).astype(np.uint8), rng(1).integers(0, 255, (4, 5)).astype(np.uint8)
    scales = {name: np.array(value, np.float32) for name, value in (("as", 0.02), ("bs", 0.03), ("ys", 0.4))}
    constants = {"b": b, "z": ZERO, **scales}
    node = one("QLinearMatMul", "a", "as", "z", "b", "bs", "z", "ys", "z")
    run(node, {"a": a}, constants=constants, atol=1)
    x = rng().integers(0, 255, (1, 2, 5, 5)).astype(np.uint8)
    w = rng(1).integers(-64, 64, (3, 2, 3, 3)).astype(np.int8)
    constants = {"w": w, "z": ZERO, "wz": np.zeros(3, np.int8), "bias": np.array([100, -50, 7], np.int32), **scales}
    constants["bs"] = np.array([0.03, 0.01, 0.02], np.float32)
    node = one("QLinearConv", "x", "as", "z", "w", "bs", "wz", "ys", "z", "bias")
    run(node, {"x": x}, constants=constants, atol=1)


# ----------------------------------------------------------------------------- control
def branches(then: str, otherwise: str) -> dict[str, Any]:
    from onnx import helper

    def body(op_type: str) -> Any:
        return helper.make_graph(
            [one(op_type, "x", outputs=["t"])], op_type, [], [helper.make_empty_tensor_value_info("t")]
        )

    return {"then_branch": body(then), "else_branch": body(otherwise)}


@pytest.mark.parametrize("condition", [True, False])
def test_a_known_condition_selects_a_branch(condition: bool) -> None:
    proto = model([one("If", "c", **branches("Relu", "Neg"))], {"x": X}, constants={"c": np.array(condition)})
    module = imported(proto)
    assert op_types(module) == ["Relu" if condition else "Neg"]
    want = np.maximum(X, 0) if condition else -X
    np.testing.assert_array_equal(interpreted(module, {"x": X})[0], want)


def test_a_condition_on_a_shape_is_known() -> None:
    nodes = [
        one("Shape", "x", outputs=["s"]),
        one("Size", "s", outputs=["r"]),
        one("Equal", "r", "three", outputs=["c"]),
        one("If", "c", **branches("Relu", "Neg")),
    ]
    module = imported(model(nodes, {"x": (F32, ["a", "b", "c"])}, constants={"three": np.array(3)}))
    assert "Relu" in op_types(module)
