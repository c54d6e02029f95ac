"""TensorFlow objects in memory, and SavedModels in all the ways that they are saved, against TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import uair
from uair.errors import UairError
from uair.frontends.common.errors import UnmappedOperatorError
from uair.frontends.tensorflow.errors import GraphInterfaceError, SignatureError
from uair.ir.verify import verify
from uair.text import parse_module, print_module, weights_of

RNG = np.random.default_rng(8)


def f(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


class Net(tf.Module):
    """Two functions over shared variables, one of them calling the other."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = tf.Variable(f(4, 3), name="kernel")
        self.bias = tf.Variable(f(3), name="bias")

    @tf.function
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        return tf.nn.relu(tf.matmul(x, self.kernel) + self.bias)

    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32), tf.TensorSpec([], tf.float32, name="power")])
    def scores(self, x: tf.Tensor, power: tf.Tensor) -> dict[str, tf.Tensor]:
        y = self(x)
        return {"scores": tf.nn.softmax(y * power), "best": tf.argmax(y, 1)}


def held(module: uair.Module, given: dict[str, np.ndarray[Any, Any]], wanted: dict[str, Any]) -> None:
    """The module's outputs are TensorFlow's, by name."""
    verify(module)
    for each in (module, uair.optimize(module.clone())):
        results = uair.run(each, given)
        assert set(results) == set(wanted)
        for name, value in wanted.items():
            reference = np.asarray(value)
            assert results[name].dtype == reference.dtype
            np.testing.assert_allclose(results[name], reference, rtol=1e-4, atol=1e-5)


# -------------------------------------------------------------------------------------------------------------- objects
def test_module_is_its_call() -> None:
    net, x = Net(), f(5, 4)
    module = uair.load(net, tf.TensorSpec([None, 4]))
    held(module, {"x": x}, {"output": net(x)})
    assert {t.name for t in module.main.constants() if t.data is not None and t.data.size > 1} == {"kernel", "bias"}


def test_function_with_its_own_signature() -> None:
    """Needs no examples; outputs are named by the keys of its result."""
    net, x = Net(), f(5, 4)
    module = uair.load(net.scores)
    assert module.main.input_names == ["x", "power"]
    held(module, {"x": x, "power": np.float32(2)}, net.scores(x, 2.0))


def test_concrete_function() -> None:
    net, x = Net(), f(5, 4)
    held(uair.load(net.scores.get_concrete_function()), {"x": x, "power": np.float32(2)}, net.scores(x, 2.0))


def test_examples_are_tensors_or_arrays() -> None:
    x = f(5, 4)
    for example in (x, tf.constant(x)):
        net = Net()
        module = uair.load(net, example)
        assert module.main.inputs[0].type.shape == (5, 4)
        held(module, {"x": x}, {"output": net(x)})


def test_plain_function_and_nested_results() -> None:
    """Not a tf.function at all; inputs in a dictionary, results in a tuple."""

    def net(given: dict[str, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        return given["a"] + given["b"], given["a"] * 2.0

    traced = tf.function(net).get_concrete_function({k: tf.TensorSpec([None, 3]) for k in ("a", "b")})
    a, b = f(2, 3), f(2, 3)
    module = uair.load(traced)
    results = uair.run(module, dict(zip(module.main.input_names, (a, b), strict=True)))
    for got, wanted in zip(results.values(), net({"a": a, "b": b}), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)


def test_captured_tensors_are_constants() -> None:
    table = tf.constant(f(6, 2))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.int32)])
    def look(k: tf.Tensor) -> tf.Tensor:
        return tf.gather(table, k)

    k = np.array([1, 5, 0], np.int32)
    held(uair.load(look), {"k": k}, {"output": look(k)})


def test_keras_layer_is_traced_like_a_module() -> None:
    layer = tf.keras.layers.Dense(3)
    layer.build((None, 4))
    traced = tf.function(layer.call).get_concrete_function(tf.TensorSpec([None, 4]))
    x = f(2, 4)
    (got,) = uair.run(uair.load(traced), x).values()
    np.testing.assert_allclose(got, layer(x), rtol=1e-5, atol=1e-6)


def wrong(x: tf.Tensor) -> tf.Tensor:
    return x.nothing_like_this


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (tf.Module, "nothing to trace"),
        (lambda: tf.function(wrong), "cannot be traced"),
        (lambda: tf.function(tf.add), "cannot be traced"),
    ],
)
def test_objects_that_cannot_be_traced(make: Callable[[], Any], reason: str) -> None:
    with pytest.raises(GraphInterfaceError, match=reason):
        uair.load(make(), tf.TensorSpec([None, 4]))


# ---------------------------------------------------------------------------------------------------------- SavedModels
def saved(net: tf.Module, path: Path, signatures: Any) -> Path:
    tf.saved_model.save(net, str(path), signatures=signatures)
    return path


def test_several_signatures(tmp_path: Path) -> None:
    """One by name; without a name the message lists them."""
    net, x = Net(), f(5, 4)
    spec = tf.TensorSpec([None, 4], name="x")
    path = saved(net, tmp_path, {"plain": net.__call__.get_concrete_function(spec), "rank": net.scores})
    held(uair.load(path, signature="rank"), {"x": x, "power": np.float32(2)}, net.scores(x, 2.0))
    held(uair.load(path, signature="plain"), {"x": x}, {"output_0": net(x)})
    with pytest.raises(SignatureError, match="2 signatures") as caught:
        uair.load(path)
    assert "plain, rank" in caught.value.hint
    with pytest.raises(SignatureError, match="no signature 'other'"):
        uair.load(path, signature="other")


def test_no_signature(tmp_path: Path) -> None:
    """The message names the functions that could be one."""
    net = Net()
    net(f(2, 4))
    path = saved(net, tmp_path, {})
    with pytest.raises(SignatureError, match="no signatures") as caught:
        uair.load(path)
    assert "signatures=" in caught.value.hint


def test_unknown_rank_needs_shapes(tmp_path: Path) -> None:
    """An error says which input; `shapes` tells the size."""

    class Any_(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec(None, tf.float32, name="x")])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.avg_pool2d(x, 2, 2, "VALID")

    net, x = Any_(), f(1, 4, 6, 3)
    path = saved(net, tmp_path, net.__call__)
    with pytest.raises(UairError, match="rank") as caught:
        uair.load(path)
    assert "x" in str(caught.value) and "shape" in caught.value.hint
    held(uair.load(path, shapes={"x": (1, 4, 6, 3)}), {"x": x}, {"output_0": net(x)})
    open_batch = uair.load(path, shapes={"x": (None, 4, 6, 3)})
    assert [str(d) for d in open_batch.main.inputs[0].type.dims] == ["batch", "4", "6", "3"]


class Deep(tf.Module):
    """Functions that call functions, each with variables of its own."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.inner = Deep(depth - 1) if depth else None
        self.scale = tf.Variable(1.0 + depth / 10)

    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
    def __call__(self, x: tf.Tensor) -> tf.Tensor:
        y = tf.sin(x) * self.scale
        return y if self.inner is None else self.inner(y) + tf.reduce_sum(x, 1, keepdims=True)


def test_nested_calls(tmp_path: Path) -> None:
    """Names are those of the nodes, without the calls around them."""
    net, x = Deep(6), f(2, 3)
    module = uair.load(saved(net, tmp_path, net.__call__))
    held(module, {"x": x}, {"output_0": net(x)})
    assert not any("PartitionedCall" in node.name for node in module.main)


class Words(tf.Module):
    """A lookup table behind a string operator, in front of what could be imported."""

    def __init__(self) -> None:
        super().__init__()
        keys = tf.lookup.KeyValueTensorInitializer(tf.constant(["a", "b"]), tf.constant([0, 1], tf.int64))
        self.table = tf.lookup.StaticHashTable(keys, -1)
        self.weights = tf.Variable(f(2, 3))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def __call__(self, words: tf.Tensor) -> tf.Tensor:
        places = self.table.lookup(tf.strings.lower(words))
        return tf.gather(self.weights, tf.maximum(places, 0))


def test_tables_and_strings_are_named_at_once(tmp_path: Path) -> None:
    net = Words()
    with pytest.raises(UnmappedOperatorError) as caught:
        uair.load(saved(net, tmp_path, net.__call__))
    error = caught.value
    assert "StringLower" in str(error) and "LookupTableFindV2" in str(error)
    assert "look" in error.hint and "TensorFlow node" in error.place and "before the model runs" in error.hint


def test_state_is_refused(tmp_path: Path) -> None:
    class Counter(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.total = tf.Variable(0.0)

        @tf.function(input_signature=[tf.TensorSpec([], tf.float32)])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return self.total.assign_add(x)

    net = Counter()
    with pytest.raises(UairError, match="changes a variable"):
        uair.load(saved(net, tmp_path, net.__call__))
    with pytest.raises(UairError, match="changes a variable"):
        uair.load(net)


def test_custom_operator_is_kept(tmp_path: Path) -> None:
    """A SavedModel holds its definition and shape; without them the operator is named."""

    class Wave(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])
        def __call__(self, x: tf.Tensor) -> tf.Tensor:
            return tf.nn.softsign(x * 2.0) + 1.0

    net = Wave()
    path = saved(net, tmp_path, net.__call__) / "saved_model.pb"
    content = saved_model_pb2.SavedModel.FromString(path.read_bytes())
    (meta,) = content.meta_graphs
    nodes = [n for function in meta.graph_def.library.function for n in function.node_def if n.op == "Softsign"]
    definitions = [d for d in meta.meta_info_def.stripped_op_list.op if d.name == "Softsign"]
    for node in nodes:
        node.op = "Mine>Wave"
    definitions[0].name = "Mine>Wave"
    path.write_bytes(content.SerializeToString())
    module = uair.load(tmp_path)
    verify(module)
    (kept,) = [n for n in module.main if n.op_type == "Opaque"]
    assert kept.attributes["domain"] == "Mine" and kept.attributes["kind"] == "Wave"
    assert kept.output.type.dtype.name == "F32" and kept.output.type.dims[1] == 3
    assert parse_module(print_module(module), weights=weights_of(module)).main.output_names == ["output_0"]
    definitions[0].name = "Softsign"
    path.write_bytes(content.SerializeToString())
    with pytest.raises(UnmappedOperatorError, match="Mine>Wave"):
        uair.load(tmp_path)
