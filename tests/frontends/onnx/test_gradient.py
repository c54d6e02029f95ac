"""Gradient of ai.onnx.preview.training: every rule against differences of the interpreter's own results, in f64."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from tests.frontends.onnx.models import imported, interpreted, model, one, op_types, rng
from uair.frontends.onnx.errors import OnnxAttributeError, OnnxOperatorError
from uair.ir.dtype import Array

TRAINING = "ai.onnx.preview.training"
STEP = 1e-6


def doubles(*shape: int, seed: int = 0) -> Array:
    """Numbers of both signs, not near 0 or each other's multiples, so that no difference crosses a corner."""
    values = rng(seed).permutation(int(np.prod(shape))) + 0.7
    return (values / values.size * 1.7 - 0.9).reshape(shape)


def positive(*shape: int, seed: int = 0) -> Array:
    """Positive numbers."""
    return np.abs(doubles(*shape, seed=seed)) + 0.3


def weighted(node: Any, feeds: dict[str, Array], xs: list[str], **more: Any) -> onnx.ModelProto:
    """A model of a node whose results are weighted differently, and the gradients of the weighted result by xs."""
    names = [f"d{x}" for x in xs]
    zs = [name for name in feeds if name not in xs]
    gradient = one("Gradient", *xs, *zs, outputs=names, domain=TRAINING, xs=xs, y="l", **({"zs": zs} if zs else {}))
    curved = [one("Sin", "y", outputs=["l"])]
    return model([node, *curved, gradient], feeds, ["l", *names], **more)


def check(node: Any, feeds: dict[str, Array], xs: str | None = None, **more: Any) -> Any:
    """Compare the gradients with differences."""
    chosen = list(feeds) if xs is None else xs.split()
    module = imported(weighted(node, feeds, chosen, **more))
    found = interpreted(module, feeds)[1:]
    for name, got in zip(chosen, found, strict=True):
        want = np.zeros_like(feeds[name])
        for place in np.ndindex(*want.shape):
            ends = []
            for sign in (1, -1):
                moved = feeds[name].copy()
                moved[place] += sign * STEP
                ends.append(interpreted(module, {**feeds, name: moved})[0].sum())
            want[place] = (ends[0] - ends[1]) / (2 * STEP)
        assert got.dtype == feeds[name].dtype
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6, err_msg=name)
    return module


UNARY = (
    "Abs Acos Asin Asinh Atan Atanh Cos Cosh Erf Exp Neg Relu Sigmoid Sin Sinh Softplus Softsign Tan Tanh "
    "Elu Selu Celu LeakyRelu HardSigmoid HardSwish Mish ThresholdedRelu Gelu Identity Floor Ceil Round Sign "
    "LogSoftmax Softmax GlobalAveragePool Flatten Swish"
).split()


@pytest.mark.parametrize("name", UNARY)
def test_unary(name: str) -> None:
    attributes = {"alpha": 0.3} if name in ("Elu", "LeakyRelu", "ThresholdedRelu", "Swish") else {}
    check(one(name, "x", **attributes), {"x": doubles(2, 3, 4) * 0.9}, opset=24, ir_version=10)


@pytest.mark.parametrize("name", ["Log", "Sqrt", "Acosh", "Reciprocal"])
def test_unary_of_positive(name: str) -> None:
    check(one(name, "x"), {"x": positive(2, 3) + (1 if name == "Acosh" else 0)})


@pytest.mark.parametrize("name", ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "PRelu"])
@pytest.mark.parametrize("shapes", [((2, 3), (2, 3)), ((2, 3), (3,)), ((2, 3), (2, 1)), ((3, 1, 2), (4, 1))], ids=str)
def test_binary_broadcasts(name: str, shapes: Any) -> None:
    if name == "PRelu" and shapes[0] == (3, 1, 2):
        shapes = ((3, 4, 2), (4, 1))
    make = positive if name == "Pow" else doubles
    check(one(name, "a", "b"), {"a": make(*shapes[0]), "b": make(*shapes[1], seed=1) + 0.05})


def test_mod() -> None:
    check(one("Mod", "a", "b", fmod=1), {"a": doubles(2, 3) * 3, "b": doubles(3, seed=1) + 0.05})


def test_where_clip_and_cast() -> None:
    chosen = {"c": np.array([[True, False, True], [False, False, True]])}
    check(one("Where", "c", "a", "b"), {"a": doubles(2, 3), "b": doubles(3, seed=1)}, constants=chosen)
    limits = {"lo": np.array(-0.31), "hi": np.array(0.42)}
    check(one("Clip", "a", "lo", "hi"), {"a": doubles(2, 3)}, constants=limits)
    check(one("Clip", "a", "", "hi"), {"a": doubles(2, 3)}, constants=limits)
    check(one("Cast", "a", to=onnx.TensorProto.DOUBLE), {"a": doubles(2, 3)})


@pytest.mark.parametrize(
    "shapes",
    [((2, 3), (3, 4)), ((2, 3, 4), (4, 2)), ((3,), (3, 2)), ((2, 3), (3,)), ((3,), (3,)), ((5, 1, 2, 3), (4, 3, 2))],
    ids=str,
)
def test_matmul(shapes: Any) -> None:
    check(one("MatMul", "a", "b"), {"a": doubles(*shapes[0]), "b": doubles(*shapes[1], seed=1)})


@pytest.mark.parametrize("turned", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_gemm_and_fused_matmul(turned: tuple[int, int]) -> None:
    a, b = doubles(2, 3), doubles(3, 4, seed=1)
    feeds = {"a": a.T.copy() if turned[0] else a, "b": b.T.copy() if turned[1] else b, "c": doubles(4, seed=2)}
    check(one("Gemm", "a", "b", "c", transA=turned[0], transB=turned[1], alpha=0.5, beta=2.0), feeds)
    del feeds["c"]
    check(one("FusedMatMul", "a", "b", domain="com.microsoft", transA=turned[0], transB=turned[1]), feeds)


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "name",
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSumExp ReduceSumSquare".split(),
)
def test_reductions(name: str, keepdims: int) -> None:
    for axes in ([1], [0, 2], []):
        check(
            one(name, "x", "a", keepdims=keepdims), {"x": doubles(2, 3, 2)},
            constants={"a": np.array(axes, np.int64)}, opset=18,
        )  # fmt: skip


def test_product_with_zeros() -> None:
    x = np.array([[0.0, 2.0, 3.0], [0.0, 0.0, 4.0]])
    module = imported(weighted(one("ReduceProd", "x", "a"), {"x": x}, ["x"], constants={"a": np.array([1])}, opset=18))
    np.testing.assert_array_equal(interpreted(module, {"x": x})[1], [[6, 0, 0], [0, 0, 0]])


def test_equal_extremes_share() -> None:
    x = np.array([1.0, 2.0, 2.0])
    module = imported(weighted(one("ReduceMax", "x", keepdims=0), {"x": x}, ["x"], opset=18))
    np.testing.assert_allclose(interpreted(module, {"x": x})[1], np.array([0, 0.5, 0.5]) * np.cos(2))


MOVES: list[tuple[Any, dict[str, Any]]] = [
    (one("Reshape", "x", "c"), {"c": np.array([3, -1])}),
    (one("Transpose", "x", perm=[2, 0, 1]), {}),
    (one("Squeeze", "x", "c"), {"c": np.array([-1])}),
    (one("Unsqueeze", "x", "c"), {"c": np.array([0, 2])}),
    (one("Expand", "x", "c"), {"c": np.array([3, 1, 1, 2])}),
    (one("Tile", "x", "c"), {"c": np.array([2, 1, 3])}),
    (one("Slice", "x", "s", "e", "a"), {"s": np.array([1, -3]), "e": np.array([9, -1]), "a": np.array([0, 1])}),
    (one("Slice", "x", *"seat"), {k: np.array([v]) for k, v in zip("seat", (-1, 0, 1, -2), strict=True)}),
    (one("Pad", "x", "c"), {"c": np.array([0, 1, 2, 1, 0, 0])}),
    (one("Gather", "x", "c", axis=1), {"c": np.array([[0, -1], [0, 2]])}),
    (one("GatherElements", "x", "c", axis=1), {"c": np.array([[[1], [1]], [[0], [2]]])}),
    (one("GatherND", "x", "c"), {"c": np.array([[0, 1], [1, 2], [0, 1]])}),
    (one("Trilu", "x"), {}),
    (one("CumSum", "x", "c", exclusive=1), {"c": np.array(1)}),
    (one("TopK", "x", "c", outputs=["y", "i"], axis=1), {"c": np.array([2])}),
    (one("ScatterElements", "x", "i", "u", axis=1), {"i": np.array([[[1], [0]], [[0], [2]]]), "u": np.ones((2, 2, 1))}),
    (one("ReverseSequence", "x", "c", batch_axis=0, time_axis=1), {"c": np.array([2, 3])}),
    (one("LayerNormalization", "x", "c", axis=1), {"c": np.ones((3, 1))}),
    (one("LpNormalization", "x", axis=1), {}),
    (one("Einsum", "x", equation="abc->ca"), {}),
]  # fmt: skip


@pytest.mark.parametrize(("node", "constants"), MOVES, ids=[node.op_type for node, _ in MOVES])
def test_moves_and_decompositions(node: Any, constants: dict[str, Any]) -> None:
    check(node, {"x": doubles(2, 3, 1)}, constants=constants)


def test_joining_and_parting() -> None:
    check(one("Concat", "a", "b", axis=1), {"a": doubles(2, 3), "b": doubles(2, 1, seed=1)})
    check(one("Split", "x", "c", outputs=["u", "y"], axis=1), {"x": doubles(2, 5)}, constants={"c": np.array([2, 3])})
    check(
        one("ScatterND", "x", "i", "u", reduction="add"),
        {"x": doubles(4), "u": doubles(3, seed=1)},
        constants={"i": np.array([[0], [2], [0]])},
    )
    check(
        one("ScatterND", "x", "i", "u"),
        {"x": doubles(4), "u": doubles(2, seed=1)},
        constants={"i": np.array([[0], [2]])},
    )


def test_matrices() -> None:
    x = np.array([[[2.0, 1, 0], [1, 3, 1], [0, 1, 4]], [[1.0, 0.5, 0], [0, 2, 1], [1, 0, 1]]])
    check(one("Det", "x"), {"x": x})
    check(one("Inverse", "x", domain="com.microsoft"), {"x": x})


CONVOLUTIONS: list[tuple[dict[str, Any], tuple[int, ...], tuple[int, ...]]] = [
    ({}, (2, 3, 7), (4, 3, 3)),
    ({"strides": [2, 1], "pads": [0, 1, 2, 0], "dilations": [1, 2]}, (1, 2, 6, 6), (3, 2, 3, 2)),
    ({"group": 2, "strides": [2, 2], "pads": [1, 1, 1, 1]}, (2, 4, 4, 5), (2, 2, 3, 3)),
    ({"group": 3, "auto_pad": "SAME_UPPER", "strides": [2]}, (1, 3, 6), (3, 1, 3)),
    ({}, (1, 1, 3, 3, 2), (2, 1, 2, 2, 1)),
]


@pytest.mark.parametrize(("attributes", "x", "w"), CONVOLUTIONS, ids=str)
def test_convolution(attributes: Any, x: tuple[int, ...], w: tuple[int, ...]) -> None:
    feeds = {"x": doubles(*x), "w": doubles(*w, seed=1), "b": doubles(w[0], seed=2)}
    check(one("Conv", "x", "w", "b", **attributes), feeds)


@pytest.mark.parametrize(
    ("attributes", "x", "w"),
    [
        ({"strides": [2], "pads": [1, 0], "output_padding": [1]}, (2, 3, 4), (3, 2, 3)),
        ({"group": 2, "dilations": [1, 2]}, (1, 4, 3, 2), (4, 1, 2, 2)),
    ],
    ids=str,
)
def test_transposed_convolution(attributes: Any, x: tuple[int, ...], w: tuple[int, ...]) -> None:
    feeds = {"x": doubles(*x), "w": doubles(*w, seed=1), "b": doubles(w[1] * attributes.get("group", 1), seed=2)}
    check(one("ConvTranspose", "x", "w", "b", **attributes), feeds)


def test_batch_normalization_in_training_mode() -> None:
    feeds = {"x": doubles(3, 2, 4), "s": positive(2), "b": doubles(2, seed=1)}
    running = {"m": np.zeros(2), "v": np.ones(2)}
    check(one("BatchNormalization", "x", *"sbmv", training_mode=1), feeds, constants=running, opset=15)


def test_a_tensor_used_twice_sums_up() -> None:
    x = doubles(3)
    nodes = [one("Exp", "x", outputs=["e"]), one("Mul", "e", "x", outputs=["y"])]
    nodes.append(one("Gradient", "x", outputs=["d"], domain=TRAINING, xs=["x"], y="y"))
    module = imported(model(nodes, {"x": x}, ["d"]))
    np.testing.assert_allclose(interpreted(module, {"x": x})[0], np.exp(x) * (x + 1), rtol=1e-12)


def test_an_intermediate_tensor_is_independent() -> None:
    x, w = doubles(3), doubles(3, seed=1)
    nodes = [one("Mul", "x", "w", outputs=["h"]), one("Mul", "h", "x", outputs=["y"])]
    nodes.append(one("Gradient", "h", "x", outputs=["dh", "dx"], domain=TRAINING, xs=["h", "x"], y="y"))
    module = imported(model(nodes, {"x": x, "w": w}, ["dh", "dx"]))
    dh, dx = interpreted(module, {"x": x, "w": w})
    np.testing.assert_array_equal(dh, x)
    np.testing.assert_array_equal(dx, x * w)


def test_other_values_in_place_of_the_independent_tensors() -> None:
    """The graph is followed at the values that the node is given, here with x and w exchanged."""
    x, w, z = doubles(3), doubles(3, seed=1), doubles(3, seed=2)
    nodes = [one("Mul", "x", "x", outputs=["s"]), one("Mul", "s", "w", outputs=["y"])]
    nodes.append(one("Gradient", "w", "z", outputs=["dx"], domain=TRAINING, xs=["x"], zs=["w"], y="y"))
    module = imported(model(nodes, {"x": x, "w": w, "z": z}, ["y", "dx"]))
    y, dx = interpreted(module, {"x": x, "w": w, "z": z})
    np.testing.assert_allclose(y, x * x * w)
    np.testing.assert_allclose(dx, 2 * w * z)


def test_second_order() -> None:
    x = doubles(4)
    nodes = [one("Sin", "x", outputs=["y"])]
    nodes.append(one("Gradient", "x", outputs=["d"], domain=TRAINING, xs=["x"], y="y"))
    nodes.append(one("Gradient", "x", outputs=["dd"], domain=TRAINING, xs=["x"], y="d"))
    np.testing.assert_allclose(interpreted(imported(model(nodes, {"x": x}, ["dd"])), {"x": x})[0], -np.sin(x))


def test_what_does_not_matter_has_gradient_zero_and_may_be_left_out() -> None:
    x, w = doubles(3), doubles(2)
    nodes = [one("Exp", "x", outputs=["y"])]
    nodes.append(one("Gradient", "x", "w", outputs=["", "dw"], domain=TRAINING, xs=["x", "w"], y="y"))
    module = imported(model(nodes, {"x": x, "w": w}, ["dw"]))
    np.testing.assert_array_equal(interpreted(module, {"x": x, "w": w})[0], [0, 0])
    assert "Exp" not in op_types(module)[1:]


def test_symbolic_extents() -> None:
    values = {"x": (onnx.TensorProto.DOUBLE, ["n", 3]), "w": (onnx.TensorProto.DOUBLE, [3, 2])}
    nodes = [one("MatMul", "x", "w", outputs=["h"]), one("ReduceMean", "h", outputs=["y"], keepdims=0)]
    nodes.append(one("Gradient", "x", "w", outputs=["dx", "dw"], domain=TRAINING, xs=["x", "w"], y="y"))
    module = imported(model(nodes, values, ["dx", "dw"]))
    x, w = doubles(5, 3), doubles(3, 2, seed=1)
    dx, dw = interpreted(module, {"x": x, "w": w})
    np.testing.assert_allclose(dx, np.tile(w.sum(1) / 10, (5, 1)))
    np.testing.assert_allclose(dw, np.tile(x.sum(0)[:, None] / 10, (1, 2)))


def test_what_cannot_be_differentiated_is_named() -> None:
    nodes = [one("Resize", "x", "", "s", outputs=["y"], mode="nearest")]
    nodes.append(one("Gradient", "x", outputs=["d"], domain=TRAINING, xs=["x"], y="y"))
    scales = {"s": np.array([1, 1, 2], np.float32)}
    with pytest.raises(OnnxOperatorError, match="cannot differentiate Resize"):
        imported(model(nodes, {"x": doubles(1, 2, 4)}, ["d"], constants=scales, opset=18))


def test_wrong_nodes_are_refused() -> None:
    def gradient(**attributes: Any) -> onnx.ModelProto:
        nodes = [one("Exp", "x", outputs=["y"])]
        nodes.append(one("Gradient", "x", outputs=["d"], domain=TRAINING, **attributes))
        return model(nodes, {"x": doubles(3), "i": np.arange(3)}, ["d"])

    with pytest.raises(OnnxAttributeError, match="'xs' is missing"):
        imported(gradient(y="y"))
    with pytest.raises(OnnxAttributeError, match="name 2 tensors, 1 operands"):
        imported(gradient(xs=["x"], zs=["i"], y="y"))
    with pytest.raises(OnnxAttributeError, match="floating-point"):
        imported(gradient(xs=["i"], y="y"))
