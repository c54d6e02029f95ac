"""Random operators: onnx's reference evaluator for seeded ones, distributions and shapes for the others."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from onnx.reference import ReferenceEvaluator

from tests.frontends.onnx.models import F32, floats, imported, interpreted, model, one
from uair import ops
from uair.frontends.onnx.errors import OnnxAttributeError
from uair.ir.dtype import Array
from uair.ops import random
from uair.passes.eliminate_common_subexpressions import EliminateCommonSubexpressions
from uair.passes.fold_constants import FoldConstants
from uair.pipeline import PassManager

MICROSOFT = "com.microsoft"


def results(nodes: Any, feeds: dict[str, Any], outputs: Any = ("y",), **more: Any) -> list[Array]:
    """What the interpreter gives."""
    listed = nodes if isinstance(nodes, list) else [nodes]
    return interpreted(imported(model(listed, feeds, outputs, **more)), feeds)


@pytest.mark.parametrize("opset", [7, 17, 22])
@pytest.mark.parametrize("like", [False, True])
@pytest.mark.parametrize(
    ("name", "attributes"), [("Uniform", {"low": -2.0, "high": 3.0}), ("Normal", {"mean": 1.0, "scale": 0.5})]
)
def test_a_seed_gives_the_numbers_of_the_reference(name: str, attributes: Any, like: bool, opset: int) -> None:
    feeds: dict[str, Any] = {"x": np.zeros((3, 4), np.int32)} if like else {}
    more = {"dtype": TensorProto.DOUBLE, "seed": 7.0, **attributes, **({} if like else {"shape": [3, 4]})}
    node = one(f"Random{name}Like", "x", **more) if like else one(f"Random{name}", **more)
    proto = model([node], feeds, opset=opset, ir_version=10)
    proto.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("y", TensorProto.DOUBLE, [3, 4]))
    evaluator: Any = ReferenceEvaluator(proto)
    (want,) = evaluator.run(None, feeds)
    np.testing.assert_allclose(results(node, feeds, opset=opset)[0], want, rtol=1e-14)


def test_types_of_the_like_forms() -> None:
    x = floats(2, 3).astype(np.float16)
    assert results(one("RandomNormalLike", "x"), {"x": x})[0].dtype == np.float16
    node = one("RandomUniformLike", "x", dtype=TensorProto.FLOAT)
    assert results(node, {"x": np.zeros((2, 3), np.int64)})[0].dtype == np.float32
    with pytest.raises(Exception, match="floating-point"):
        results(one("RandomUniformLike", "x"), {"x": np.zeros((2, 3), np.int64)})


def test_symbolic_shapes() -> None:
    module = imported(model([one("RandomNormalLike", "x", seed=3.0)], {"x": (F32, ["n", 2])}))
    for count in (1, 5):
        (y,) = interpreted(module, {"x": np.zeros((count, 2), np.float32)})
        np.testing.assert_array_equal(y, np.random.RandomState(3).standard_normal((count, 2)).astype(np.float32))


def test_without_a_seed_one_generator_goes_on() -> None:
    node = ops.RandomUniform(shape=(4,))
    random.reseed(5)
    first, second = node.evaluate(), node.evaluate()
    assert not np.array_equal(first, second)
    random.reseed(5)
    np.testing.assert_array_equal(node.evaluate(), first)


def test_random_nodes_are_neither_folded_nor_merged() -> None:
    nodes = [one("RandomUniform", outputs=[name], shape=[2], seed=1.0) for name in ("a", "b")]
    module = imported(model([*nodes, one("Add", "a", "b")], {}))
    PassManager([FoldConstants(), EliminateCommonSubexpressions()]).run(module)
    assert [n.op_type for n in module.main] == ["RandomUniform", "RandomUniform", "Add"]


@pytest.mark.parametrize("opset", [15, 22])
def test_bernoulli(opset: int) -> None:
    p = np.linspace(0, 1, 5).repeat(4000).astype(np.float32)
    (y,) = results(one("Bernoulli", "x", seed=1.0, dtype=TensorProto.INT8), {"x": p}, opset=opset, ir_version=10)
    assert y.dtype == np.int8
    shares = y.reshape(5, -1).mean(1)
    assert (shares[0], shares[-1]) == (0, 1)
    np.testing.assert_allclose(shares, np.linspace(0, 1, 5), atol=0.03)
    (flags,) = results(one("Bernoulli", "x", dtype=TensorProto.BOOL), {"x": p}, opset=opset, ir_version=10)
    assert flags.dtype == np.bool_


@pytest.mark.parametrize("opset", [7, 22])
def test_multinomial(opset: int) -> None:
    chances = np.array([[0.1, 0.2, 0.7], [0.5, 0.5, 0.0]])
    with np.errstate(divide="ignore"):
        x = np.log(chances * 3).astype(np.float32)
    (y,) = results(one("Multinomial", "x", sample_size=20000, seed=2.0), {"x": x}, opset=opset, ir_version=10)
    assert (y.dtype, y.shape) == (np.dtype(np.int32), (2, 20000))
    shares = np.stack([(y == c).mean(1) for c in range(3)], 1)
    np.testing.assert_allclose(shares, chances, atol=0.02)
    node = one("Multinomial", "x", dtype=TensorProto.INT64)
    assert results(node, {"x": x}, opset=opset, ir_version=10)[0].shape == (2, 1)


def test_wrong_nodes_are_refused() -> None:
    with pytest.raises(OnnxAttributeError, match="'shape' is missing"):
        results(one("RandomNormal"), {})
    with pytest.raises(OnnxAttributeError, match="sample_size"):
        results(one("Multinomial", "x", sample_size=0), {"x": floats(2, 3)})
    with pytest.raises(OnnxAttributeError, match="seed"):
        results(one("RandomNormal", shape=[2], seed=float("inf")), {})


# -------------------------------------------------------------------------- dropout
def dropped(x: Array, ratio: float, seed: int) -> tuple[Array, Array]:
    """What onnx's reference evaluator does."""
    mask = np.random.RandomState(seed).uniform(0, 1, x.shape) >= ratio
    return mask * x / (1 - ratio), mask


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("opset", [12, 13, 22])
def test_dropout_trains_when_told_to(opset: int, known: bool) -> None:
    x = floats(20, 30)
    operands = {"r": np.array(0.3, np.float32), "t": np.array(True)}
    node = one("Dropout", "x", "r", "t", outputs=["y", "m"], seed=3)
    feeds, constants = ({"x": x}, operands) if known else ({"x": x, **operands}, {})
    proto = model([node], feeds, ["y", "m"], constants=constants, opset=opset, ir_version=10)
    module = imported(proto)
    y, mask = interpreted(module, feeds)
    want, kept = dropped(x, np.float64(np.float32(0.3)), 3)
    np.testing.assert_array_equal(mask, kept)
    np.testing.assert_allclose(y, want, rtol=1e-6)
    if not known:
        y, mask = interpreted(module, {**feeds, "t": np.array(False)})
        np.testing.assert_array_equal(y, x)
        assert mask.all()


def test_dropout_1_and_6_train_unless_told_not_to() -> None:
    x = floats(50, 40)
    for opset in (5, 6):
        extra = {"consumed_inputs": [0]} if opset < 6 else {}
        node = one("Dropout", "x", outputs=["y", "m"], ratio=0.25, **extra)
        y, mask = results(node, {"x": x}, ["y", "m"], opset=opset)
        assert mask.dtype == np.float32
        assert abs(mask.mean() - 0.75) < 0.05
        np.testing.assert_allclose(y, x * mask / 0.75, rtol=1e-6)
        node = one("Dropout", "x", is_test=1, **extra)
        np.testing.assert_array_equal(results(node, {"x": x}, opset=opset)[0], x)


@pytest.mark.parametrize("name", ["BiasDropout", "BitmaskBiasDropout", "BitmaskDropout"])
def test_dropouts_of_onnxruntime(name: str) -> None:
    x, bias, residual = floats(4, 5), floats(5, seed=1), floats(4, 5, seed=2)
    operands = {"r": np.array(0.5, np.float32), "t": np.array(True)}
    names = ["x", "b", "s", "r", "t"] if "Bias" in name else ["x", "r", "t"]
    feeds = {"x": x, "b": bias, "s": residual} if "Bias" in name else {"x": x}
    total = x + bias if "Bias" in name else x
    added = residual if "Bias" in name else 0
    (y,) = results(one(name, *names, domain=MICROSOFT, seed=4), feeds, constants=operands)
    np.testing.assert_allclose(y, dropped(total, 0.5, 4)[0] + added, rtol=1e-6)
    (y,) = results(one(name, *names[:-2], domain=MICROSOFT), feeds)
    np.testing.assert_allclose(y, total + added, rtol=1e-6)
