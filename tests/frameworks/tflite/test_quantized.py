"""Quantized files of TensorFlow's converter, against LiteRT: within one step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.frameworks.tflite.harness import QUANTIZED, check, convert, drawn, kinds, load, spec
from uair.ir.dtype import DType
from uair.ops import Dequantize, Quantize

pytestmark = QUANTIZED

RNG = np.random.default_rng(3)


def f32(*shape: int, low: float = -1.0, high: float = 1.0) -> np.ndarray[Any, Any]:
    return RNG.uniform(low, high, shape).astype(np.float32)


W = tf.constant(f32(3, 3, 4, 6))
DEPTH = tf.constant(f32(3, 3, 4, 2))
UP = tf.constant(f32(3, 3, 5, 4))
DENSE = tf.constant(f32(4, 7))
SLOPE = tf.keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")
SLOPE.build((1, 6, 8, 4))

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "conv": lambda x: tf.nn.relu(tf.nn.conv2d(x, W, 1, "SAME") + tf.constant(f32(6))),
    "conv relu6": lambda x: tf.nn.relu6(tf.nn.conv2d(x, W, 2, "VALID")),
    "depthwise": lambda x: tf.nn.depthwise_conv2d(x, DEPTH, [1, 1, 1, 1], "SAME"),
    "transposed": lambda x: tf.nn.conv2d_transpose(x, UP, [1, 12, 16, 5], 2, "SAME"),
    "dense": lambda x: tf.matmul(tf.reshape(x, [-1, 4]), DENSE) + tf.constant(f32(7)),
    "add": lambda x: x + x[:, ::-1],
    "add constant": lambda x: x + tf.constant(f32(4)),
    "mul": lambda x: x * x[:, ::-1],
    "sub": lambda x: x - x[:, ::-1],
    "average": lambda x: tf.nn.avg_pool2d(x, 2, 2, "SAME"),
    "max": lambda x: tf.nn.max_pool2d(x, 3, 1, "SAME"),
    "mean": lambda x: tf.reduce_mean(x, [1, 2]),
    "sum": lambda x: tf.reduce_sum(x, -1),
    "softmax": lambda x: tf.nn.softmax(x * 3),
    "log softmax": lambda x: tf.nn.log_softmax(x * 3),
    "sigmoid": lambda x: tf.sigmoid(x * 4),
    "tanh": lambda x: tf.tanh(x * 2),
    "leaky": lambda x: tf.nn.leaky_relu(x, 0.2),
    "prelu": SLOPE,
    "hard swish": lambda x: x * tf.nn.relu6(x + 3) / 6,
    "concat": lambda x: tf.concat([x, tf.tanh(x)], -1),
    "pad": lambda x: tf.pad(x, [[0, 0], [1, 2], [2, 1], [0, 0]]),
    "resize": lambda x: tf.image.resize(x, [9, 12]),
    "transpose": lambda x: tf.transpose(x, [0, 3, 1, 2]),
    "slice": lambda x: x[:, 1:4, ::2],
    "split": lambda x: tf.split(x, 2, -1),
    "gather": lambda x: tf.gather(x, tf.constant([2, 0, 1]), axis=2),
    "arg max": lambda x: tf.argmax(x, -1, output_type=tf.int32),
    "compare": lambda x: tf.cast(x > x[:, ::-1], tf.int8),
    "minimum": lambda x: tf.minimum(x, x[:, ::-1]),
    "l2": lambda x: tf.nn.l2_normalize(x, -1),
    "squared": lambda x: tf.math.squared_difference(x, x[:, ::-1]),
    "rsqrt": lambda x: tf.math.rsqrt(tf.nn.relu(x) + 0.5),
    "batch matmul": lambda x: tf.matmul(x, tf.transpose(x, [0, 1, 3, 2])),
}


def samples(count: int = 8) -> Sequence[Sequence[np.ndarray[Any, Any]]]:
    return [[f32(1, 6, 8, 4)] for _ in range(count)]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_int8(name: str, tmp_path: Path) -> None:
    """Every integer result is within one step of LiteRT's."""
    content = convert(FUNCTIONS[name], spec([1, 6, 8, 4]), samples=samples())
    module = check(tmp_path, content)
    assert module.main.inputs[0].type.dtype is DType.I8


def test_sixteen_bits(tmp_path: Path) -> None:
    """16-bit activations with 8-bit weights and 64-bit biases."""

    def function(x: Any) -> Any:
        y = tf.nn.relu(tf.nn.conv2d(x, W, 1, "SAME") + tf.constant(f32(6)))
        return tf.matmul(tf.reshape(y, [-1, 6]), tf.constant(f32(6, 3)))

    content = convert(function, spec([1, 6, 8, 4]), samples=samples(), sixteen=True)
    module = check(tmp_path, content, steps=2)
    assert {n.op.dtype for n in module.main if isinstance(n.op, Quantize)} == {DType.I16}


def test_half_weights(tmp_path: Path) -> None:
    """Weights in float16 behind DEQUANTIZE are constants in float32, and no node."""
    content = convert(
        lambda x: tf.nn.conv2d(x, W, 1, "SAME"),
        spec([1, 6, 8, 4]),
        optimizations=[tf.lite.Optimize.DEFAULT],
        **{"target_spec": _half()},
    )
    module = check(tmp_path, content)
    assert "Cast" not in kinds(module) and "Dequantize" not in kinds(module)


def _half() -> Any:
    target = tf.lite.TargetSpec()
    target.supported_types = [tf.float16]
    return target


def test_weights_alone(tmp_path: Path) -> None:
    """Dynamic-range quantization: the weights are dequantized; LiteRT rounds the activations as well.

    What LiteRT's kernel adds is the rounding of every row of the input to 8 bits: at most half of one of 127 steps of
    its greatest element, times the sum of a column's magnitudes.
    """
    w = tf.constant(f32(64, 48))
    content = convert(lambda x: tf.matmul(x, w), spec([3, 64]), optimizations=[tf.lite.Optimize.DEFAULT])
    module = load(tmp_path, content)
    (weights,) = (n for n in module.main if isinstance(n.op, Dequantize))
    assert weights.inputs[0] is not None and weights.inputs[0].type.dtype is DType.I8
    assert "Quantize" not in kinds(module)
    check(tmp_path, content, tolerance=1.0 / 254 * float(np.abs(w.numpy()).sum(0).max()))


FIXED_POINT = {
    "average": FUNCTIONS["average"],
    "average relu6": lambda x: tf.nn.relu6(tf.nn.avg_pool2d(x, 2, 1, "VALID")),
    "add": FUNCTIONS["add"],
    "add scales": lambda x: x + tf.nn.relu(x[:, ::-1] * 7),
    "add relu": lambda x: tf.nn.relu(x + tf.constant(f32(4))),
    "add rows": lambda x: x + tf.constant(f32(8, 1)),
    "sub": FUNCTIONS["sub"],
}


@pytest.mark.parametrize("name", FIXED_POINT)
def test_integers_of_litert(name: str, tmp_path: Path) -> None:
    """With LiteRT's arithmetic averages, sums and differences are equal, not within a step."""
    content = convert(FIXED_POINT[name], spec([1, 6, 8, 4]), samples=samples())
    check(tmp_path, content, steps=0, arithmetic="litert")
    for seed in range(1, 9):
        inputs = drawn(load(tmp_path, content), seed)
        check(tmp_path, content, inputs, steps=0, optimize=False, arithmetic="litert")


WIDE = tf.constant(f32(3, 3, 32, 32))
POINT = tf.constant(f32(1, 1, 32, 64))
WIDE_DEPTH = tf.constant(f32(3, 3, 128, 1))
HYBRID: dict[str, tuple[Callable[..., Any], list[int]]] = {
    "conv": (lambda x: tf.nn.relu(tf.nn.conv2d(x, WIDE, 1, "SAME") + tf.constant(f32(32))), [1, 6, 5, 32]),
    "conv batch": (lambda x: tf.nn.conv2d(x, WIDE, 2, "VALID"), [3, 6, 5, 32]),
    "point": (lambda x: tf.nn.conv2d(x, POINT, 1, "SAME"), [2, 6, 5, 32]),
    "point strided": (lambda x: tf.nn.conv2d(x, POINT, 2, "SAME"), [2, 6, 5, 32]),
    "depthwise": (lambda x: tf.nn.depthwise_conv2d(x, WIDE_DEPTH, [1, 1, 1, 1], "SAME"), [2, 6, 5, 128]),
    "dense": (lambda x: tf.matmul(x, tf.constant(f32(64, 48))) + tf.constant(f32(48)), [3, 64]),
}


@pytest.mark.parametrize("name", HYBRID)
def test_float_operands_in_8_bits(name: str, tmp_path: Path) -> None:
    """With LiteRT's arithmetic, operators with 8-bit weights round their operands as its kernels do."""
    function, shape = HYBRID[name]
    content = convert(function, spec(shape), optimizations=[tf.lite.Optimize.DEFAULT])
    x = [f32(*shape) * np.linspace(0.1, 1, shape[-1], dtype=np.float32)]
    module = check(tmp_path, content, x, tolerance=2e-6, arithmetic="litert")
    assert "Round" in kinds(module) and "Round" not in kinds(load(tmp_path, content))
    with pytest.raises(AssertionError, match="relative error"):
        check(tmp_path, content, x, tolerance=1e-4)


def test_parameters_are_kept(tmp_path: Path) -> None:
    """A convolution's weights have a scale for every channel of the result, which comes first after the permutation."""
    module = load(tmp_path, convert(FUNCTIONS["conv"], spec([1, 6, 8, 4]), samples=samples()))
    convolution = next(n for n in module.main if n.op_type == "Conv2D")
    _, weights, bias = (None if t is None else t.producer for t in convolution.inputs)
    assert weights is not None and isinstance(weights.op, Dequantize) and weights.op.axis == 0
    assert weights.inputs[0] is not None and weights.inputs[0].type.shape == (6, 4, 3, 3)
    assert weights.inputs[1] is not None and weights.inputs[1].type.shape == (6,)
    assert bias is not None and bias.inputs[0] is not None and bias.inputs[0].type.dtype is DType.I32
