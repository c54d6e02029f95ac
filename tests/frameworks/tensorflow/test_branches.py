"""Branches in the form of TensorFlow 1, Switch and Merge, against TensorFlow's own session."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import graph_pb2, node_def_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

import uair
from uair.frontends.tensorflow.errors import LoweredControlFlowError
from uair.ir.verify import verify

v1 = tf.compat.v1


@pytest.fixture(autouse=True)
def first_form() -> Iterator[None]:
    v1.disable_control_flow_v2()
    yield
    v1.enable_control_flow_v2()


def positive(x: Any) -> Any:
    return tf.reduce_mean(x) > 0


def nested(x: Any) -> Any:
    def inner() -> Any:
        return v1.cond(tf.reduce_max(x) > 1, lambda: x * 2, lambda: x * 3)

    return v1.cond(positive(x), inner, lambda: v1.cond(tf.reduce_min(x) < -1, lambda: x * 5, lambda: tf.zeros_like(x)))


def several(x: Any) -> Any:
    a, b, c = v1.cond(
        positive(x),
        lambda: (x, tf.reduce_sum(x), tf.constant(3.0)),
        lambda: (x * 2, tf.reduce_max(x), tf.constant(4.0)),
    )
    return a + b * c


def one_after_the_other(x: Any) -> Any:
    """More of them than may be nested, over one condition."""
    condition = positive(x)
    for _ in range(60):
        x = v1.cond(condition, lambda x=x: x * 1.01, lambda x=x: x + 0.1)
    return x


def training(x: Any) -> Any:
    """A switch of many frozen models: the default decides."""
    phase = v1.placeholder_with_default(False, [], name="phase")
    mean, variance = v1.cond(phase, lambda: tf.nn.moments(x, [0]), lambda: (tf.ones(4), tf.ones(4) * 4))
    return tf.nn.batch_normalization(x, mean, variance, None, None, 1e-3)


CASES: dict[str, Callable[[Any], Any]] = {
    "one": lambda x: v1.cond(positive(x), lambda: tf.nn.relu(x) * 2, lambda: tf.nn.elu(x) - 1),
    "the value itself": lambda x: v1.cond(positive(x), lambda: x, lambda: x[:1]),
    "constants": lambda x: v1.cond(positive(x), lambda: tf.constant(1.0), lambda: tf.constant(2.0)) + x,
    "known": lambda x: v1.cond(tf.constant(True), lambda: x * 2, lambda: x[:1]),
    "nested": nested,
    "several": several,
    "one after the other": one_after_the_other,
    "training": training,
}


def frozen(function: Callable[[Any], Any], folder: Path) -> tuple[Path, Callable[[Any], Any]]:
    graph = tf.Graph()
    with graph.as_default():
        x = v1.placeholder(tf.float32, [3, 4], name="x")
        y = tf.identity(function(x), name="y")
    path = folder / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())

    def run(value: Any) -> Any:
        with v1.Session(graph=graph) as session:
            return session.run(y, {x: value})

    return path, run


INPUTS = [
    np.random.default_rng(seed).normal(shift, 1, (3, 4)).astype(np.float32) for seed, shift in enumerate((1, -1, 0))
]


@pytest.mark.parametrize("name", CASES)
def test_branches(name: str, tmp_path: Path) -> None:
    path, run = frozen(CASES[name], tmp_path)
    module = uair.load(path)
    verify(module)
    assert module.main.input_names == ["x"] and module.main.output_names == ["y"]
    for each in (module, uair.optimize(module.clone())):
        for x in INPUTS:
            np.testing.assert_allclose(uair.run(each, x)["y"], run(x), rtol=1e-5, atol=1e-6)


def test_a_branch_is_one_if(tmp_path: Path) -> None:
    path, _ = frozen(several, tmp_path)
    assert [node.op_type for node in uair.load(path).main].count("If") == 1
    path, _ = frozen(training, tmp_path)
    assert "If" not in [node.op_type for node in uair.load(path).main]


def test_branches_that_freezing_lowered(tmp_path: Path) -> None:
    v1.enable_control_flow_v2()

    @tf.function(input_signature=[tf.TensorSpec([3, 4])])
    def function(x: Any) -> Any:
        y, z = tf.cond(positive(x), lambda: (x * 2, x[0]), lambda: (tf.nn.relu(x), x[1]))
        return tf.cond(positive(x), lambda: y + z, lambda: y - z)

    graph = convert_variables_to_constants_v2(function.get_concrete_function(), lower_control_flow=True).graph
    assert "Merge" in [node.op for node in graph.as_graph_def().node]
    path = tmp_path / "model.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    module = uair.load(path)
    for x in INPUTS:
        (y,) = uair.run(module, x).values()
        np.testing.assert_allclose(y, function(x), rtol=1e-5, atol=1e-6)


def damaged(folder: Path, *rows: tuple[str, str, tuple[str, ...]]) -> Path:
    graph = graph_pb2.GraphDef()
    for op, name, inputs in (("Placeholder", "x", ()), ("Placeholder", "c", ()), *rows):
        node = node_def_pb2.NodeDef(op=op, name=name, input=inputs)
        node.attr["dtype"].type = 10 if name == "c" else 1
        node.attr["T"].type = 1
        graph.node.append(node)
    path = folder / "damaged.pb"
    path.write_bytes(graph.SerializeToString())
    return path


SWITCH = ("Switch", "s", ("x", "c"))


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([SWITCH, ("Relu", "y", ("s",))], "used outside of it"),
        ([("Relu", "a", ("x",)), ("Merge", "y", ("x", "a"))], "no condition decides"),
        ([SWITCH, ("Merge", "y", ("s", "s:1", "x"))], "merges 3 values"),
        ([SWITCH, ("Relu", "a", ("y",)), ("Merge", "y", ("s", "a"))], "depends on itself"),
        ([("Switch", "s", ("x", "i")), ("Identity", "i", ("i",)), ("Merge", "y", ("s", "s:1"))], "depends on itself"),
        ([("Switch", "s", ("x",)), ("Merge", "y", ("s", "s:1"))], "no condition decides"),
    ],
)
def test_torn_branches(rows: list[tuple[str, str, tuple[str, ...]]], why: str, tmp_path: Path) -> None:
    with pytest.raises(uair.UairError, match=why):
        uair.load(damaged(tmp_path, *rows), outputs=["y"])


def test_loops_are_refused(tmp_path: Path) -> None:
    def looped(x: Any) -> Any:
        return v1.while_loop(lambda i, y: i < 5, lambda i, y: (i + 1, y * 2), [tf.constant(0), x])[1]

    path, _ = frozen(looped, tmp_path)
    with pytest.raises(LoweredControlFlowError, match="loops in the form of TensorFlow 1"):
        uair.load(path)
