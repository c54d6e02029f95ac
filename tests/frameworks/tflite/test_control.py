"""Control flow, variables, signatures, custom operators and open shapes, against LiteRT."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import uair
from tests.frameworks.tflite.build import Value, built, of
from tests.frameworks.tflite.harness import check, close, convert, kinds, load, spec
from uair.frontends.tflite.errors import TfliteSignatureError
from uair.ops.custom import Opaque

A = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.mark.parametrize("flag", [True, False])
def test_if(tmp_path: Path, flag: bool) -> None:
    content = convert(lambda c, x: tf.cond(c, lambda: x * 2, lambda: x - 1), spec([], "bool"), spec([2, 3]))
    module = check(tmp_path, content, [np.asarray(flag), A])
    assert "If" in kinds(module)


@pytest.mark.parametrize("count", [0, 1, 5])
def test_while(tmp_path: Path, count: int) -> None:
    """What the body only reads is no state of the loop."""

    def function(n: Any, x: Any, y: Any) -> Any:
        return tf.while_loop(lambda i, v: i < n, lambda i, v: (i + 1, v * y + 1), [0, x])[1]

    content = convert(function, spec([], "int32"), spec([2, 3]), spec([3]))
    module = check(tmp_path, content, [np.asarray(count, np.int32), A, A[1] / 5])
    (loop,) = (node for node in module.main if node.op_type == "Loop")
    assert len(loop.outputs) == 2


def test_growing_state(tmp_path: Path) -> None:
    """A state whose extent changes from run to run has an open one."""

    def function(x: Any) -> Any:
        return tf.while_loop(
            lambda v: tf.shape(v)[0] < 7,
            lambda v: [tf.concat([v, v[:1] * 2], 0)],
            [x],
            shape_invariants=[tf.TensorShape([None, 3])],
        )[0]

    check(tmp_path, convert(function, spec([2, 3])), [A])


class Counter(tf.Module):  # TensorFlow has no annotations
    """Adds what it is given to what it has."""

    def __init__(self) -> None:
        super().__init__()
        self.total = tf.Variable(tf.constant([1.0, 2.0, 3.0]), name="total")
        self.factor = tf.Variable(3.0, name="factor")

    @tf.function(input_signature=[tf.TensorSpec([3], tf.float32, name="x")])
    def add(self, x: Any) -> Any:
        self.total.assign_add(x * self.factor)
        return {"total": self.total.read_value() * 2}

    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, name="m")])
    def square(self, m: Any) -> Any:
        return {"squared": tf.matmul(m, m)}


@pytest.fixture(scope="module")
def counter() -> bytes:
    model = Counter()
    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [model.add.get_concrete_function(), model.square.get_concrete_function()], model
    )
    converter.experimental_enable_resource_variables = True
    content: bytes = converter.convert()
    return content


def test_variables(counter: bytes, tmp_path: Path) -> None:
    """A variable that is written is an input and an output; one that is only read is a constant."""
    module = check(tmp_path, counter, [np.array([1.0, 0.5, -1.0], np.float32)], runs=3)
    (state,) = json.loads(module.metadata["states"])
    assert state["initial"] == [1.0, 2.0, 3.0]
    assert state["input"] in module.main.input_names and state["output"] in module.main.output_names


def test_signatures(counter: bytes, tmp_path: Path) -> None:
    """Inputs and outputs have the names of the signature, which can be chosen."""
    first = load(tmp_path, counter)
    assert first.main.input_names[0] == "x" and first.main.output_names[0] == "total"
    assert first.metadata["signatures"] == "add, square"
    second = load(tmp_path, counter, signature="square")
    assert (second.main.input_names, second.main.output_names) == (["m"], ["squared"])
    judge = Interpreter(model_content=counter).get_signature_runner("square")
    m = np.array([[1, 2], [3, 4]], np.float32)
    assert not close(uair.run(second, m)["squared"], judge(m=m)["squared"], 1e-6, 0)
    with pytest.raises(TfliteSignatureError, match="nothing") as caught:
        load(tmp_path, counter, signature="nothing")
    assert "'square'" in caught.value.hint


def test_custom_operator(tmp_path: Path) -> None:
    """A custom operator is kept: its name, its options, its operands, and the types of its results."""
    content = built("CUSTOM", [Value((2, 3)), of(A)], [Value((4,), "int32")], custom="Landmarks", payload=b"\x01\x02")
    module = load(tmp_path, content)
    (node,) = module.main
    assert isinstance(node.op, Opaque)
    assert (node.op.domain, node.op.kind) == ("tflite", "Landmarks")
    assert base64.b64decode(node.op.payload) == b"\x01\x02"
    assert str(node.outputs[0].type) == "i32[4]" and len(node.inputs) == 2
    assert node.loc.sources[0].kind == "Landmarks"


def test_open_batch(tmp_path: Path) -> None:
    """An extent that the file leaves open is a symbol, and the model runs with any number there."""
    w = tf.constant(np.random.default_rng(0).uniform(-1, 1, (3, 3, 2, 4)).astype(np.float32))

    def function(x: Any) -> Any:
        y = tf.nn.relu(tf.nn.conv2d(x, w, 2, "SAME"))
        return tf.matmul(tf.reshape(y, [-1, 3 * 4 * 4]), tf.ones([48, 2]))

    content = convert(function, spec([None, 5, 8, 2]))
    for batch in (1, 4):
        module = check(
            tmp_path, content, [np.random.default_rng(1).uniform(-1, 1, (batch, 5, 8, 2)).astype(np.float32)]
        )
    assert not module.main.inputs[0].type.is_static


def test_channels_first(tmp_path: Path) -> None:
    """The interface can have the channels first, and then nothing is left to transpose."""
    w = tf.constant(np.ones((3, 3, 2, 4), np.float32))
    content = convert(lambda x: tf.nn.relu(tf.nn.conv2d(x, w, 1, "SAME")), spec([1, 5, 8, 2]))
    last, first = load(tmp_path, content), load(tmp_path, content, channels="first")
    assert last.main.inputs[0].type.shape == (1, 5, 8, 2) and last.metadata["transposes"] == "2"
    assert first.main.inputs[0].type.shape == (1, 2, 5, 8) and first.metadata["transposes"] == "0"
