"""Unique, ReverseSequence, CumProd, EyeLike, Det and their relatives of com.microsoft against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.models import F32, check, floats, imported, interpreted, model, one, op_types, rng
from uair.errors import EvaluationError

MICROSOFT = "com.microsoft"


def run(node: Any, feeds: dict[str, Any], opset: int = 17, **more: Any) -> Any:
    proto = model([node], feeds, [name for name in node.output if name], opset=opset, ir_version=10, **more)
    return check(proto, feeds, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axis", [None, 0, -1])
@pytest.mark.parametrize("in_order", [0, 1])
@pytest.mark.parametrize("dtype", ["float32", "int64", "int8", "float64"])
def test_unique(axis: int | None, in_order: int, dtype: str) -> None:
    x = rng(1).integers(0, 3, (6, 2)).astype(dtype)
    attributes = {} if axis is None else {"axis": axis}
    names = ["y", "first", "inverse", "counts"]
    run(one("Unique", "x", outputs=names, sorted=in_order, **attributes), {"x": x}, 11)
    run(one("Unique", "x", outputs=["y", "", "", "counts"], sorted=in_order, **attributes), {"x": x}, 11)


def test_unique_of_strings() -> None:
    x = np.array([["b", "a", "b"], ["b", "a", "b"]], object)
    for attributes in ({}, {"sorted": 0}, {"axis": 0}, {"axis": 1, "sorted": 0}):
        node = one("Unique", "x", outputs=["y", "i"], **attributes)
        y, first = interpreted(imported(model([node], {"x": (8, [2, 3])}, ["y", "i"])), {"x": x})
        np.testing.assert_array_equal(
            y, np.take(x if "axis" in attributes else x.ravel(), first, attributes.get("axis", 0))
        )


def test_unique_of_onnxruntime() -> None:
    node = one("Unique", "x", outputs=["y", "i", "c"], domain=MICROSOFT)
    run(node, {"x": np.array([2, 1, 1, 3, 4, 3], np.float32)})


@pytest.mark.parametrize("axes", [(0, 1), (1, 0)])
def test_reverse_sequence(axes: tuple[int, int]) -> None:
    batch, time = axes
    x, lengths = floats(4, 4, 2), np.array([1, 2, 3, 4])
    module = run(one("ReverseSequence", "x", "n", batch_axis=batch, time_axis=time), {"x": x, "n": lengths}, 10)
    with pytest.raises(EvaluationError, match="do not fit"):
        interpreted(module, {"x": x, "n": lengths + 1})


@pytest.mark.parametrize("attributes", [{}, {"exclusive": 1}, {"reverse": 1}, {"exclusive": 1, "reverse": 1}])
def test_running_products(attributes: Any) -> None:
    """Onnxruntime has no kernel; the products along an axis by hand."""
    x = floats(3, 4)
    turned = x[:, ::-1] if "reverse" in attributes else x
    want = np.cumprod(turned, 1)
    if "exclusive" in attributes:
        want = np.concatenate([np.ones((3, 1)), want[:, :-1]], 1)
    want = want[:, ::-1] if "reverse" in attributes else want
    node = one("CumProd", "x", "a", **attributes)
    for constants, feeds in (({"a": np.array(-1)}, {"x": x}), ({}, {"x": x, "a": np.array(1)})):
        (y,) = interpreted(imported(model([node], feeds, constants=constants, opset=26, ir_version=13)), feeds)
        np.testing.assert_allclose(y, want, rtol=1e-5)


@pytest.mark.parametrize("opset", [9, 22])
@pytest.mark.parametrize("k", [-4, -1, 0, 2, 5])
def test_eye_like(opset: int, k: int) -> None:
    x = floats(3, 4)
    for dtype in ({}, {"dtype": 6}):
        assert op_types(run(one("EyeLike", "x", k=k, **dtype), {"x": x}, opset)) == []
        proto = model([one("EyeLike", "x", k=k, **dtype)], {"x": (F32, ["n", 4])}, opset=opset, ir_version=10)
        check(proto, {"x": x})


def test_determinants_and_inverses() -> None:
    x = floats(2, 3, 4, 4) + 2 * np.eye(4, dtype=np.float32)
    run(one("Det", "x"), {"x": x}, 11)
    check(model([one("Inverse", "x", domain=MICROSOFT)], {"x": x}), {"x": x}, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("metric", ["euclidean", "sqeuclidean"])
def test_distances(metric: str) -> None:
    run(one("CDist", "a", "b", metric=metric, domain=MICROSOFT), {"a": floats(5, 3), "b": floats(4, 3, seed=1)})


def test_shapes_of_onnxruntime() -> None:
    x = floats(3, 4)
    run(one("Trilu", "x", "k", domain=MICROSOFT), {"x": x}, constants={"k": np.array(1)})
    run(one("Pad", "x", "p", "v", domain=MICROSOFT), {"x": x}, constants={
        "p": np.array([1, 0, 0, 2]), "v": np.array([1.5], np.float32)
    })  # fmt: skip
    one_to = {"a": np.array(1, np.float32), "b": np.array(9, np.float32)}
    run(one("Range", "a", "b", domain=MICROSOFT), {}, constants=one_to)
    run(one("Range", "a", "b", "c", domain=MICROSOFT), {}, constants=one_to | {"c": np.array(2, np.float32)})


@pytest.mark.parametrize("opset", [17, 21])
def test_statistics_of_layer_normalization(opset: int) -> None:
    x = floats(2, 3, 4)
    for axis in (-1, 1):
        names = ["y", "mean", "inverse"]
        constants = {"s": np.ones(x.shape[axis:], np.float32)}
        run(one("LayerNormalization", "x", "s", outputs=names, axis=axis), {"x": x}, opset, constants=constants)


@pytest.mark.parametrize("opset", [12, 13, 22])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("name", ["NegativeLogLikelihoodLoss", "SoftmaxCrossEntropyLoss"])
def test_losses(name: str, reduction: str, opset: int) -> None:
    feeds = {"x": floats(3, 5, 2), "t": np.array([[0, 2], [1, 4], [3, 0]])}
    weights = {"w": np.abs(floats(5, seed=1))}
    run(one(name, "x", "t", reduction=reduction), feeds, opset)
    run(one(name, "x", "t", "w", reduction=reduction, ignore_index=2), feeds, opset, constants=weights)
    if name.startswith("Softmax"):
        run(one(name, "x", "t", outputs=["y", "p"], reduction=reduction), feeds, opset)


@pytest.mark.parametrize("opset", [9, 13])
def test_mean_variance_normalization(opset: int) -> None:
    run(one("MeanVarianceNormalization", "x"), {"x": floats(2, 3, 4, 5)}, opset)
    run(one("MeanVarianceNormalization", "x", axes=[1, 2]), {"x": floats(2, 3, 4)}, opset)
