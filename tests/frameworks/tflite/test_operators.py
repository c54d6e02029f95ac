"""Every operator that TensorFlow's converter writes, against LiteRT: one function of TensorFlow for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.compiler.tf2xla.ops.gen_xla_ops import xla_dynamic_update_slice as dynamic_update_slice

from tests.frameworks.tflite.harness import check, convert, spec

RNG = np.random.default_rng(1)


def f32(*shape: int, low: float = -2.0, high: float = 2.0) -> np.ndarray[Any, Any]:
    return RNG.uniform(low, high, shape).astype(np.float32)


def i32(*shape: int, low: int = -9, high: int = 10) -> np.ndarray[Any, Any]:
    return RNG.integers(low, high, shape).astype(np.int32)


def flags(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.integers(0, 2, shape).astype(np.bool_)


X = f32(2, 5, 6, 4)
A, B = f32(3, 4), f32(3, 4)
POSITIVE = f32(3, 4, low=0.1, high=3.0)
INT, J = i32(3, 4), i32(3, 4, low=1)
W = tf.constant(f32(3, 2, 4, 6))
DEPTH = tf.constant(f32(3, 3, 4, 2))
V = f32(2, 3, 4, 5, 3)
W3 = tf.constant(f32(2, 2, 2, 3, 5))
W3T = tf.constant(f32(2, 3, 2, 4, 3))
RAW = tf.raw_ops
PRELU = tf.keras.layers.PReLU(shared_axes=[1, 2], alpha_initializer="random_normal")
PRELU_ELEMENTS = tf.keras.layers.PReLU(alpha_initializer="random_normal")
DENSE = tf.keras.layers.Dense(5, activation="relu")
for layer, shape in ((PRELU, X.shape), (PRELU_ELEMENTS, X.shape), (DENSE, (2, 3, 4))):
    layer.build(shape)

Case = tuple[Callable[..., Any], tuple[np.ndarray[Any, Any], ...]]

ELEMENTWISE: dict[str, Case] = {
    "add": (lambda a, b: a + b, (A, B)),
    "add broadcast": (lambda a, b: a + b, (X, f32(4))),
    "add int": (lambda a, b: a + b, (INT, J)),
    "add relu": (lambda a, b: tf.nn.relu(a + b), (A, B)),
    "sub relu6": (lambda a, b: tf.nn.relu6(a - b), (A * 5, B)),
    "mul": (lambda a, b: a * b, (A, B)),
    "mul relu n1": (lambda a, b: tf.clip_by_value(a * b, -1.0, 1.0), (A, B)),
    "div": (lambda a, b: a / b, (A, POSITIVE)),
    "div int": (lambda a, b: RAW.Div(x=a, y=b), (INT, J)),
    "floor div": (lambda a, b: a // b, (A, POSITIVE)),
    "floor div int": (lambda a, b: a // b, (INT, J)),
    "floor mod": (lambda a, b: a % b, (A, POSITIVE)),
    "floor mod int": (lambda a, b: a % b, (INT, J)),
    "pow": (tf.pow, (POSITIVE, A)),
    "maximum": (tf.maximum, (A, B)),
    "minimum": (tf.minimum, (A, B)),
    "minimum int": (tf.minimum, (INT, J)),
    "squared difference": (tf.math.squared_difference, (A, B)),
    "abs": (tf.abs, (A,)),
    "neg": (tf.negative, (A,)),
    "sqrt": (tf.sqrt, (POSITIVE,)),
    "rsqrt": (tf.math.rsqrt, (POSITIVE,)),
    "exp": (tf.exp, (A,)),
    "log": (tf.math.log, (POSITIVE,)),
    "sin": (tf.sin, (A,)),
    "cos": (tf.cos, (A,)),
    "atan2": (tf.atan2, (A, B)),
    "floor": (tf.floor, (A,)),
    "ceil": (tf.math.ceil, (A,)),
    "round": (tf.round, (np.array([0.5, 1.5, 2.5, -0.5, 1.2], np.float32),)),
    "square": (tf.square, (A,)),
    "sign": (tf.sign, (A,)),
    "add n": (lambda a, b, c: tf.add_n([a, b, c]), (A, B, POSITIVE)),
    "xor": (tf.bitwise.bitwise_xor, (INT, J)),
    "right shift": (tf.bitwise.right_shift, (INT, i32(3, 4, low=0, high=5))),
    "cast": (lambda x: tf.cast(x * 3, tf.int32), (A,)),
    "cast bool": (lambda x: tf.cast(x, tf.float32), (flags(4),)),
    "bitcast": (lambda x: tf.bitcast(x, tf.int32), (A,)),
}
LOGIC: dict[str, Case] = {
    "equal": (tf.equal, (INT, i32(3, 4, low=-2, high=2))),
    "not equal": (tf.not_equal, (INT, J)),
    "less": (tf.less, (A, B)),
    "less equal": (tf.less_equal, (INT, J)),
    "greater": (tf.greater, (A, B)),
    "greater equal": (tf.greater_equal, (A, B)),
    "and": (tf.logical_and, (flags(5), flags(5))),
    "or": (tf.logical_or, (flags(5), flags(5))),
    "not": (tf.logical_not, (flags(5),)),
    "where": (tf.where, (flags(3, 1), A, B)),
    "select rows": (lambda c, a, b: RAW.Select(condition=c, x=a, y=b), (flags(3), A, B)),
    "select": (lambda c, a, b: RAW.Select(condition=c, x=a, y=b), (flags(3, 4), A, B)),
    "coordinates": (tf.where, (flags(3, 4),)),
}
ACTIVATIONS: dict[str, Case] = {
    "relu": (tf.nn.relu, (A,)),
    "relu6": (tf.nn.relu6, (A * 5,)),
    "relu 0 to 1": (lambda x: tf.clip_by_value(x, 0.0, 1.0), (A,)),
    "sigmoid": (tf.sigmoid, (A,)),
    "tanh": (tf.tanh, (A,)),
    "elu": (tf.nn.elu, (A,)),
    "leaky relu": (lambda x: tf.nn.leaky_relu(x, 0.3), (A,)),
    "hard swish": (lambda x: x * tf.nn.relu6(x + 3) / 6, (A * 3,)),
    "gelu": (lambda x: tf.nn.gelu(x, approximate=False), (A,)),
    "gelu tanh": (lambda x: tf.nn.gelu(x, approximate=True), (A,)),
    "softmax": (tf.nn.softmax, (A,)),
    "log softmax": (tf.nn.log_softmax, (A,)),
    "prelu": (PRELU, (X,)),
    "prelu elements": (PRELU_ELEMENTS, (X,)),
}
IMAGES: dict[str, Case] = {
    "conv same": (lambda x: tf.nn.conv2d(x, W, 2, "SAME"), (X,)),
    "conv valid": (lambda x: tf.nn.relu(tf.nn.conv2d(x, W, [1, 2], "VALID") + 1.0), (X,)),
    "conv dilated": (lambda x: tf.nn.conv2d(x, W, 1, "SAME", dilations=[2, 3]), (X,)),
    "conv grouped": (lambda x: tf.nn.conv2d(x, tf.constant(f32(3, 3, 2, 6)), 1, "SAME"), (X,)),
    "depthwise": (lambda x: tf.nn.depthwise_conv2d(x, DEPTH, [1, 2, 2, 1], "SAME"), (X,)),
    "depthwise dilated": (lambda x: tf.nn.depthwise_conv2d(x, DEPTH, [1] * 4, "VALID", dilations=[2, 1]), (X,)),
    "conv in batches": (
        lambda x: tf.batch_to_space(
            tf.nn.conv2d(tf.space_to_batch(x, [2, 2], [[2, 3], [1, 1]]), W, 1, "VALID"), [2, 2], [[0, 1], [0, 0]]
        ),
        (X,),
    ),
    "transposed same": (
        lambda x: tf.nn.conv2d_transpose(x, tf.constant(f32(3, 4, 5, 4)), [2, 10, 12, 5], 2, "SAME"),
        (X,),
    ),
    "transposed odd": (
        lambda x: tf.nn.conv2d_transpose(x, tf.constant(f32(3, 3, 5, 4)), [2, 9, 11, 5], 2, "SAME"),
        (X,),
    ),
    "transposed valid": (
        lambda x: tf.nn.conv2d_transpose(x, tf.constant(f32(3, 3, 5, 4)), [2, 11, 13, 5], 2, "VALID"),
        (X,),
    ),
    "transposed wide": (
        lambda x: tf.nn.conv2d_transpose(x, tf.constant(f32(1, 2, 5, 4)), [2, 14, 17, 5], 3, "VALID"),
        (X,),
    ),
    "conv 3d": (lambda x: tf.nn.conv3d(x, W3, [1, 1, 2, 1, 1], "SAME"), (V,)),
    "transposed 3d": (lambda x: tf.nn.conv3d_transpose(x, W3T, [2, 6, 8, 10, 4], 2, "SAME"), (V,)),
    "max pool": (lambda x: tf.nn.max_pool2d(x, [3, 2], [2, 1], "SAME"), (X,)),
    "avg pool": (lambda x: tf.nn.avg_pool2d(x, 3, 2, "SAME"), (X,)),
    "avg pool valid": (lambda x: tf.nn.avg_pool2d(x, [2, 3], 1, "VALID"), (X,)),
    "bilinear": (lambda x: tf.compat.v1.image.resize_bilinear(x, [7, 9]), (X,)),
    "bilinear corners": (lambda x: tf.compat.v1.image.resize_bilinear(x, [7, 9], align_corners=True), (X,)),
    "bilinear centres": (lambda x: tf.image.resize(x, [8, 3]), (X,)),
    "nearest": (lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [7, 9]), (X,)),
    "nearest corners": (lambda x: tf.compat.v1.image.resize_nearest_neighbor(x, [7, 9], align_corners=True), (X,)),
    "nearest centres": (lambda x: tf.image.resize(x, [8, 3], "nearest"), (X,)),
    "depth to space": (lambda x: tf.nn.depth_to_space(x, 2), (X,)),
    "space to depth": (lambda x: tf.nn.space_to_depth(x, 2), (f32(1, 4, 6, 3),)),
    "space to batch": (lambda x: tf.space_to_batch(x, [2, 3], [[1, 0], [2, 1]]), (X,)),
    "batch to space": (lambda x: tf.batch_to_space(x, [2, 2], [[0, 1], [1, 0]]), (f32(8, 3, 4, 2),)),
    "space to batch 1d": (lambda x: tf.space_to_batch(x, [2], [[1, 1]]), (f32(2, 4, 3),)),
    "local response": (lambda x: tf.nn.local_response_normalization(x, 1, 0.7, 0.3, 0.6), (X,)),
    "l2 normalize": (lambda x: tf.nn.l2_normalize(x, -1), (A,)),
}
LINEAR: dict[str, Case] = {
    "dense": (lambda x: tf.matmul(x, tf.constant(f32(4, 5))) + tf.constant(f32(5)), (A,)),
    "dense 3d": (DENSE, (f32(2, 3, 4),)),
    "matmul": (tf.matmul, (f32(2, 3, 4), f32(2, 4, 5))),
    "matmul adjoint": (lambda a, b: tf.matmul(a, b, transpose_b=True), (f32(2, 3, 4), f32(2, 5, 4))),
    "einsum": (lambda a, b: tf.einsum("abc,acd->abd", a, b), (f32(2, 3, 4), f32(2, 4, 5))),
}
REDUCTIONS: dict[str, Case] = {
    "mean": (lambda x: tf.reduce_mean(x, [1, 2]), (X,)),
    "mean kept": (lambda x: tf.reduce_mean(x, [1, 2], keepdims=True), (X,)),
    "sum": (lambda x: tf.reduce_sum(x, -1), (X,)),
    "prod": (lambda x: tf.reduce_prod(x, 1), (A,)),
    "max": (lambda x: tf.reduce_max(x, [0, 1]), (A,)),
    "min": (lambda x: tf.reduce_min(x, 1), (A,)),
    "any": (lambda x: tf.reduce_any(x, 1), (flags(3, 4),)),
    "all": (lambda x: tf.reduce_all(x, 1), (flags(3, 4),)),
    "arg max": (lambda x: tf.argmax(x, 1, output_type=tf.int32), (A,)),
    "arg max i64": (lambda x: tf.argmax(x, -1), (A,)),
    "arg min": (lambda x: tf.argmin(x, 0, output_type=tf.int32), (A,)),
    "cumsum": (lambda x: tf.cumsum(x, 1, exclusive=True, reverse=True), (A,)),
}
SHAPES: dict[str, Case] = {
    "reshape": (lambda x: tf.reshape(x, [4, -1]), (A,)),
    "transpose": (lambda x: tf.transpose(x, [2, 0, 3, 1]), (X,)),
    "squeeze": (lambda x: tf.squeeze(x, [1]), (f32(3, 1, 4),)),
    "expand dims": (lambda x: tf.expand_dims(x, -2), (A,)),
    "concat": (lambda a, b: tf.concat([a, b], -1), (A, B)),
    "stack": (lambda a, b: tf.stack([a, b], 1), (A, B)),
    "unstack": (lambda x: tf.unstack(x, axis=1), (A,)),
    "split": (lambda x: tf.split(x, 3, 0), (A,)),
    "split sizes": (lambda x: tf.split(x, [1, -1, 1], 1), (A,)),
    "slice": (lambda x: tf.slice(x, [1, 0, 2, 1], [1, 3, -1, 2]), (X,)),
    "strided": (lambda x: x[:, 1:-1:2, ::-1, 1], (X,)),
    "strided new": (lambda x: x[0, ..., tf.newaxis, 1:], (X,)),
    "strided last": (lambda x: x[-1, :, -1], (X,)),
    "strided back": (lambda x: x[:, 3:0:-2], (X,)),
    "pad": (lambda x: tf.pad(x, [[1, 0], [0, 2]]), (A,)),
    "pad value": (lambda x: tf.pad(x, [[1, 0], [0, 2]], constant_values=3.5), (A,)),
    "pad reflect": (lambda x: tf.pad(x, [[1, 0], [0, 2]], "REFLECT"), (A,)),
    "pad symmetric": (lambda x: tf.pad(x, [[1, 0], [0, 2]], "SYMMETRIC"), (A,)),
    "tile": (lambda x: tf.tile(x, [2, 3]), (A,)),
    "broadcast": (lambda x: tf.broadcast_to(x, [2, 3, 4]), (A,)),
    "reverse": (lambda x: tf.reverse(x, [1]), (X,)),
    "fill": (lambda x: tf.fill([2, 3], x), (np.float32(4.5),)),
    "zeros like": (tf.zeros_like, (A,)),
    "range": (lambda x: tf.range(0, x, 2), (np.int32(7),)),
    "rank and shape": (lambda x: (tf.rank(x), tf.shape(x)), (A,)),
}
INDEXING: dict[str, Case] = {
    "gather": (lambda x, i: tf.gather(x, i, axis=1), (A, i32(2, 3, low=0, high=4))),
    "gather batch": (lambda x, i: tf.gather(x, i, batch_dims=1, axis=2), (f32(2, 3, 4, 5), i32(2, 2, low=0, high=4))),
    "gather nd": (tf.gather_nd, (A, np.array([[0, 1], [2, 3]], np.int32))),
    "scatter nd": (lambda i, u: tf.scatter_nd(i, u, [5, 2]), (np.array([[1], [3], [1]], np.int32), f32(3, 2))),
    "top k": (lambda x: tf.math.top_k(x, 2), (A,)),
    "one hot": (lambda i: tf.one_hot(i, 4, 2.0, -1.0), (np.array([0, 3, -1, 7], np.int32),)),
    "one hot axis": (lambda i: tf.one_hot(i, 4, axis=0), (np.array([0, 3, 1], np.int32),)),
    "unique": (tf.unique, (np.array([3, 1, 3, 7, 1], np.int32),)),
    "reverse sequence": (
        lambda x: tf.reverse_sequence(x, tf.constant([1, 4, 3]), seq_axis=1, batch_axis=0),
        (A,),
    ),
    "sparse to dense": (
        lambda v: RAW.SparseToDense(
            sparse_indices=tf.constant([[0, 1], [2, 0]]), output_shape=[3, 2], sparse_values=v, default_value=-1.0
        ),
        (f32(2),),
    ),
    "segment sum": (lambda x: tf.math.segment_sum(x, tf.constant([0, 0, 1])), (A,)),
    "unsorted sum": (lambda x: tf.math.unsorted_segment_sum(x, tf.constant([2, 0, 2]), 4), (A,)),
    "unsorted prod": (lambda x: tf.math.unsorted_segment_prod(x, tf.constant([2, 0, 2]), 4), (A,)),
    "unsorted max": (lambda x: tf.math.unsorted_segment_max(x, tf.constant([2, 0, 2]), 3), (A,)),
    "unsorted min": (lambda x: tf.math.unsorted_segment_min(x, tf.constant([2, 0, 2]), 3), (A,)),
    "bucketize": (lambda x: RAW.Bucketize(input=x, boundaries=[-1.0, 0.0, 0.5]), (A,)),
    "diagonal": (lambda x: RAW.MatrixDiag(diagonal=x), (A,)),
    "set diagonal": (lambda x, d: RAW.MatrixSetDiag(input=x, diagonal=d), (f32(2, 3, 4), f32(2, 3))),
    "suppression": (
        lambda b, s: tf.image.non_max_suppression_padded(b, s, 4, 0.5, 0.1, pad_to_max_output_size=True),
        (np.array([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3]], np.float32), np.array([0.3, 0.9, 0.5], np.float32)),
    ),
    "suppression scores": (
        lambda b, s: tf.image.non_max_suppression_with_scores(b, s, 4, 0.5, 0.1)[0],
        (np.array([[0, 0, 1, 1], [0, 0.1, 1, 1.1], [0, 2, 1, 3]], np.float32), np.array([0.3, 0.9, 0.5], np.float32)),
    ),
    "fourier": (lambda x: tf.abs(tf.signal.rfft2d(x, [4, 8])), (f32(2, 4, 8),)),
    "fourier parts": (
        lambda x: [f(tf.signal.rfft2d(x, [4, 8])) for f in (tf.math.real, tf.math.imag)],
        (f32(2, 4, 8),),
    ),
    "fourier real part": (lambda x: tf.cast(tf.signal.rfft2d(x, [4, 8]), tf.float32), (f32(2, 4, 8),)),
    "spectrogram": (lambda x: tf.abs(tf.signal.stft(x, 16, 8)), (f32(2, 50),)),
    "spectrum in another shape": (
        lambda x: tf.math.real(tf.expand_dims(tf.reshape(tf.signal.rfft(x), [3, 2, 9]), 1)),
        (f32(2, 3, 16),),
    ),
    "embedding": (lambda i: tf.nn.embedding_lookup(tf.constant(f32(9, 3)), i), (i32(4, low=0, high=9),)),
    "update slice": (
        lambda x, u: dynamic_update_slice(x, u, tf.constant([1, 2])),
        (A, f32(1, 2)),
    ),
}

FAMILIES = {
    "elementwise": ELEMENTWISE,
    "logic": LOGIC,
    "activations": ACTIVATIONS,
    "images": IMAGES,
    "linear": LINEAR,
    "reductions": REDUCTIONS,
    "shapes": SHAPES,
    "indexing": INDEXING,
}
ALL = {f"{family}: {name}": case for family, cases in FAMILIES.items() for name, case in cases.items()}


@pytest.mark.parametrize("name", ALL)
def test_operator(name: str, tmp_path: Path) -> None:
    """The same numbers as LiteRT's, before and after optimization."""
    function, inputs = ALL[name]
    content = convert(function, *(spec(x.shape, x.dtype.name) for x in map(np.asarray, inputs)))
    check(tmp_path, content, [np.asarray(x) for x in inputs])
