"""Operators of com.microsoft against onnxruntime, which defines them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.frontends.onnx.models import check, floats, imported, interpreted, model, one, op_types

DOMAIN = "com.microsoft"
X = floats(2, 3, 8)


def run(node: Any, feeds: dict[str, Any], outputs: Any = ("y",), **constants: Any) -> Any:
    return check(model([node], feeds, outputs, constants=constants), feeds, rtol=1e-4, atol=1e-5)


def contrib(name: str, *inputs: str, **attributes: Any) -> Any:
    return one(name, *inputs, domain=DOMAIN, **attributes)


def test_gelu_in_all_forms() -> None:
    b = floats(8, seed=1)
    assert op_types(run(contrib("Gelu", "x"), {"x": X})) == ["Gelu"]
    run(contrib("FastGelu", "x"), {"x": X})
    run(contrib("FastGelu", "x", "b"), {"x": X}, b=b)
    run(contrib("BiasGelu", "x", "b"), {"x": X}, b=b)
    assert op_types(run(contrib("QuickGelu", "x"), {"x": X})) == ["Gelu"]
    assert op_types(run(contrib("QuickGelu", "x", alpha=2.0), {"x": X})) == ["Swish"]


def test_skip_layer_normalization() -> None:
    parameters = {"g": floats(8, seed=1), "b": floats(8, seed=2), "c": floats(8, seed=3)}
    feeds = {"x": X, "s": floats(2, 3, 8, seed=4)}
    run(contrib("SkipLayerNormalization", "x", "s", "g", "b", "c"), feeds, **parameters)
    run(contrib("SkipLayerNormalization", "x", "s", "g"), feeds, g=parameters["g"])
    node = contrib("SkipLayerNormalization", "x", "s", "g", "b", outputs=["y", "", "", "t"])
    run(node, feeds, ("y", "t"), **{k: parameters[k] for k in "gb"})


def test_statistics_of_normalizations() -> None:
    feeds = {"x": X, "s": floats(2, 3, 8, seed=4)}
    gamma = floats(8, seed=1)
    node = contrib("SkipLayerNormalization", "x", "s", "g", outputs=["y", "m", "d", "t"])
    run(node, feeds, ("y", "m", "d", "t"), g=gamma)
    node = contrib("SkipSimplifiedLayerNormalization", "x", "s", "g", outputs=["y", "", "d", "t"])
    run(node, feeds, ("y", "d", "t"), g=gamma)
    run(one("SimplifiedLayerNormalization", "x", "g", outputs=["y", "d"]), {"x": X}, ("y", "d"), g=gamma)


def test_simplified_layer_normalization() -> None:
    """Onnxruntime has it in the default domain."""
    feeds = {"x": X, "s": floats(2, 3, 8, seed=4)}
    run(one("SimplifiedLayerNormalization", "x", "g", axis=-1), {"x": X}, g=floats(8, seed=1))
    run(contrib("SkipSimplifiedLayerNormalization", "x", "s", "g"), feeds, g=floats(8, seed=1))


@pytest.mark.parametrize("trans", [(0, 0), (1, 0), (0, 1), (1, 1)])
def test_fused_matmul(trans: tuple[int, int]) -> None:
    a, b = floats(*((2, 4, 3) if trans[0] else (2, 3, 4))), floats(*((2, 5, 4) if trans[1] else (2, 4, 5)), seed=1)
    run(contrib("FusedMatMul", "a", "b", transA=trans[0], transB=trans[1], alpha=0.25), {"a": a, "b": b})


@pytest.mark.parametrize(
    "activation", [("Relu", []), ("Sigmoid", []), ("Tanh", []), ("LeakyRelu", [0.2]), ("Clip", [-0.5, 0.5]),
                   ("HardSigmoid", [0.3, 0.4])]
)  # fmt: skip
def test_fused_convolution(activation: tuple[str, list[float]]) -> None:
    name, parameters = activation
    more = {"activation_params": parameters} if parameters else {}
    node = contrib("FusedConv", "x", "w", "b", activation=name, pads=[1, 1, 1, 1], **more)
    run(node, {"x": floats(1, 2, 5, 5)}, w=floats(3, 2, 3, 3), b=floats(3))


def test_fused_convolution_with_a_sum() -> None:
    node = contrib("FusedConv", "x", "w", "b", "z", activation="Relu", auto_pad="SAME_UPPER")
    run(node, {"x": floats(1, 2, 5, 5), "z": floats(1, 3, 5, 5)}, w=floats(3, 2, 3, 3), b=floats(3))


def test_fused_gemm() -> None:
    """The CPU provider has no kernel for it, so the formula is written out."""
    a, b, c = floats(3, 4), floats(4, 5), floats(5)
    node = contrib("FusedGemm", "a", "b", "c", activation="LeakyRelu", activation_alpha=0.5, alpha=2.0)
    module = imported(model([node], {"a": a}, constants={"b": b, "c": c}))
    linear = 2 * (a @ b) + c
    want = np.where(linear > 0, linear, 0.5 * linear)
    np.testing.assert_allclose(interpreted(module, {"a": a})[0], want, rtol=1e-4, atol=1e-5)
