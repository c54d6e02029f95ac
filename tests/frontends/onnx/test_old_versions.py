"""Operators of operator sets 1 to 6, which no runtime has any more, against NumPy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.models import floats, imported, interpreted, model, one
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array

X = floats(2, 3, 4, 5)
IR = 3


def run(node: Any, feeds: dict[str, Any], opset: int, **constants: Any) -> Array:
    """The first result."""
    proto = model([node], feeds, node.output, constants=constants, opset=opset, ir_version=IR)
    return interpreted(imported(proto), feeds)[0]


BINARY: dict[str, tuple[Any, tuple[int, ...]]] = {
    "Add": (np.add, (1, 6)),
    "Sub": (np.subtract, (1, 6)),
    "Mul": (np.multiply, (1, 6)),
    "Div": (np.divide, (1, 6)),
    "Pow": (np.power, (1, 6)),
    "Less": (np.less, (1, 6)),
    "Greater": (np.greater, (1, 6)),
}


@pytest.mark.parametrize("name", BINARY)
@pytest.mark.parametrize(("axis", "shape"), [(None, (4, 5)), (1, (3, 4)), (0, (2,)), (-2, (4, 1)), (3, (5,))])
def test_binary_operators_broadcast_at_an_axis(name: str, axis: int | None, shape: tuple[int, ...]) -> None:
    function, opsets = BINARY[name]
    x, b = np.abs(X) + 0.5, np.abs(floats(*shape, seed=1)) + 0.5
    first = 4 - len(shape) if axis is None else axis % 4
    want = function(x, b.reshape(*shape, *(1,) * (4 - first - len(shape))))
    for opset in opsets:
        attributes = {"broadcast": 1} | ({} if axis is None else {"axis": axis})
        if opset == 1 and name in ("Add", "Sub", "Mul", "Div"):
            attributes["consumed_inputs"] = [0, 0]  # type: ignore[assignment]
        np.testing.assert_allclose(run(one(name, "x", "b", **attributes), {"x": x, "b": b}, opset), want, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"), [("And", np.logical_and), ("Or", np.logical_or), ("Xor", np.logical_xor)]
)
def test_logic_broadcasts_at_an_axis(name: str, function: Any) -> None:
    a, b = floats(2, 3, 4) > 0, floats(3, seed=1) > 0
    got = run(one(name, "a", "b", broadcast=1, axis=1), {"a": a, "b": b}, 1)
    np.testing.assert_array_equal(got, function(a, b[:, None]))


def test_equal_of_integers_broadcasts_at_an_axis() -> None:
    a, b = np.arange(12).reshape(3, 4) % 3, np.arange(3)
    np.testing.assert_array_equal(
        run(one("Equal", "a", "b", broadcast=1, axis=0), {"a": a, "b": b}, 1), a == b[:, None]
    )


def test_without_the_flag_shapes_must_agree_or_broadcast_at_the_end() -> None:
    got = run(one("Add", "x", "x"), {"x": X}, 6)
    np.testing.assert_array_equal(got, X + X)


@pytest.mark.parametrize("opset", [1, 6])
def test_operators_of_any_number_of_operands(opset: int) -> None:
    feeds = {"a": floats(3, 4), "b": floats(3, 4, seed=1), "c": floats(3, 4, seed=2)}
    stack = np.stack(list(feeds.values()))
    wanted = {"Sum": stack.sum(0), "Max": stack.max(0), "Min": stack.min(0), "Mean": stack.mean(0)}
    for name, want in wanted.items():
        attributes = {"consumed_inputs": [0, 0, 0]} if opset == 1 else {}
        np.testing.assert_allclose(run(one(name, *"abc", **attributes), feeds, opset), want, rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("Abs", np.abs),
        ("Ceil", np.ceil),
        ("Exp", np.exp),
        ("Floor", np.floor),
        ("Neg", np.negative),
        ("Reciprocal", np.reciprocal),
        ("Relu", lambda x: np.maximum(x, 0)),
        ("Sigmoid", lambda x: 1 / (1 + np.exp(-x))),
        ("Tanh", np.tanh),
        ("Elu", lambda x: np.where(x > 0, x, np.expm1(x))),
        ("LeakyRelu", lambda x: np.where(x > 0, x, x * np.float32(0.01))),
        ("Selu", lambda x: 1.0507 * np.where(x > 0, x, 1.6732 * np.expm1(x))),
        ("HardSigmoid", lambda x: np.clip(0.2 * x + 0.5, 0, 1)),
    ],
)
def test_unary_operators_that_named_what_they_overwrote(name: str, function: Any) -> None:
    for opset, attributes in ((1, {"consumed_inputs": [0]}), (1, {}), (6, {})):
        want = function(X.astype(np.float64))
        np.testing.assert_allclose(run(one(name, "x", **attributes), {"x": X}, opset), want, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 6])
def test_clip_and_cast_by_attributes(opset: int) -> None:
    np.testing.assert_array_equal(run(one("Clip", "x", min=-0.5, max=0.25), {"x": X}, opset), X.clip(-0.5, 0.25))
    np.testing.assert_array_equal(run(one("Clip", "x", max=0.25), {"x": X}, opset), X.clip(None, 0.25))
    to = "INT64" if opset == 1 else 7
    np.testing.assert_array_equal(run(one("Cast", "x", to=to), {"x": X * 10}, opset), (X * 10).astype(np.int64))


@pytest.mark.parametrize("opset", [1, 6])
def test_gemm(opset: int) -> None:
    a, b, c = floats(2, 3), floats(4, 3, seed=1), floats(4, seed=2)
    node = one("Gemm", "a", "b", "c", broadcast=1, transB=1, alpha=0.5, beta=2.0)
    np.testing.assert_allclose(run(node, {"a": a, "b": b, "c": c}, opset), 0.5 * a @ b.T + 2 * c, rtol=1e-5, atol=1e-6)


def test_shapes_by_attributes() -> None:
    np.testing.assert_array_equal(run(one("Reshape", "x", shape=[0, -1]), {"x": X}, 1), X.reshape(2, -1))
    node = one("Slice", "x", axes=[1, 3], starts=[-2, 1], ends=[100, -1])
    np.testing.assert_array_equal(run(node, {"x": X}, 1), X[:, -2:, :, 1:-1])
    for opset, name in ((1, "paddings"), (2, "pads")):
        node = one("Pad", "x", mode="reflect", **{name: [0, 0, 1, 2, 0, 0, 2, 1]})
        want = np.pad(X, ((0, 0), (0, 0), (1, 2), (2, 1)), mode="reflect")
        np.testing.assert_array_equal(run(node, {"x": X}, opset), want)
    np.testing.assert_array_equal(run(one("Transpose", "x"), {"x": X}, 1), X.T)


def test_split_1_and_2() -> None:
    parts = ["y", "z"]
    np.testing.assert_array_equal(run(one("Split", "x", outputs=parts, axis=3, split=[2, 3]), {"x": X}, 2), X[..., :2])
    np.testing.assert_array_equal(run(one("Split", "x", outputs=parts, axis=2), {"x": X}, 2), X[:, :, :2])
    np.testing.assert_array_equal(run(one("Split", "x", outputs=parts, axis=3, split=[2, 3]), {"x": X}, 1), X[..., :2])
    node = one("Split", "x", "s", outputs=parts, axis=1)
    np.testing.assert_array_equal(run(node, {"x": X}, 1, s=np.array([1, 2], np.float32)), X[:, :1])


def test_tile_and_top_k_1() -> None:
    counts = {"n": np.array([3], np.float32), "a": np.array([2], np.float32)}
    np.testing.assert_array_equal(run(one("Tile", "x", "n", "a"), {"x": X}, 1, **counts), np.tile(X, (1, 1, 3, 1)))
    got = run(one("Tile", "x", "n", "a"), {"x": X, "n": counts["n"]}, 1, a=counts["a"])
    np.testing.assert_array_equal(got, np.tile(X, (1, 1, 3, 1)))
    got = run(one("TopK", "x", outputs=["y", "i"], k=2, axis=1), {"x": X}, 1)
    np.testing.assert_array_equal(got, -np.sort(-X, axis=1)[:, :2])
    with pytest.raises(OnnxAttributeError, match="'k' is missing"):
        run(one("TopK", "x", outputs=["y", "i"]), {"x": X}, 1)


@pytest.mark.parametrize("name", ["ReduceSum", "ReduceMean", "ReduceMax", "ArgMax", "Softmax", "LogSoftmax", "Hardmax"])
def test_what_reduces(name: str) -> None:
    got = run(one(name, "x", **({"axis": 1} if not name.startswith("Reduce") else {"axes": [1]})), {"x": X}, 1)
    flat = X.reshape(2, -1).astype(np.float64)
    soft = np.exp(flat) / np.exp(flat).sum(1, keepdims=True)
    wanted = {
        "ReduceSum": X.sum(1, keepdims=True),
        "ReduceMean": X.mean(1, keepdims=True),
        "ReduceMax": X.max(1, keepdims=True),
        "ArgMax": X.argmax(1, keepdims=True),
        "Softmax": soft.reshape(X.shape),
        "LogSoftmax": np.log(soft).reshape(X.shape),
        "Hardmax": (flat == flat.max(1, keepdims=True)).reshape(X.shape),
    }
    np.testing.assert_allclose(got, wanted[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("opset", [1, 6])
def test_slope_of_prelu_and_instance_normalization(opset: int) -> None:
    slope, scale, bias = floats(3, seed=1), floats(3, seed=2), floats(3, seed=3)
    extra = {"consumed_inputs": [0, 0]} if opset == 1 else {}
    got = run(one("PRelu", "x", "s", **extra), {"x": X, "s": slope}, opset)
    np.testing.assert_allclose(got, np.where(X > 0, X, X * slope[:, None, None]), rtol=1e-6)
    extra = {"consumed_inputs": [0, 0, 0]} if opset == 1 else {}
    got = run(one("InstanceNormalization", "x", "s", "b", **extra), {"x": X, "s": scale, "b": bias}, opset)
    centred = X - X.mean((2, 3), keepdims=True)
    want = centred / np.sqrt(X.var((2, 3), keepdims=True) + 1e-5) * scale[:, None, None] + bias[:, None, None]
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
