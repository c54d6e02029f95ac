"""Makes the files of Keras 2 beside this script; run it with a Python that has tensorflow and tf_keras 2.21.

    python tests/frameworks/keras/keras2/make_files.py

Each model is written as `.h5`, and the small ones as the `.keras` that Keras 2 had, too; inputs and what Keras 2 gives
for them are in NAME.npz, `x`, `y0`, `y1`, ...
"""

# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportArgumentType=false
# TensorFlow is not installed where the checkers run.

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras
from tf_keras import layers as L

HERE = Path(__file__).parent


def convolutional(x: Any) -> Any:
    """Layers on images, a nested model used twice, slopes and names of Keras 2."""
    y = L.Conv2D(4, 3, padding="same", activation="relu", name="stem")(x)
    z = L.BatchNormalization()(L.DepthwiseConv2D(3, padding="same", use_bias=False)(y))
    y = L.Concatenate()([L.Add()([y, L.ReLU(6.0)(z)]), L.SeparableConv2D(2, 3, padding="same")(y)])
    inner = keras.Sequential([L.Conv2D(6, 1), L.LeakyReLU(alpha=0.2)], name="inner")
    y = L.Conv2DTranspose(3, 3, strides=2, padding="same")(L.ZeroPadding2D(((0, 1), (1, 0)))(inner(inner(y))))
    return L.Dense(4, activation="softmax")(L.GlobalAveragePooling2D()(y))


def text(x: Any) -> Any:
    """Embedding and recurrent layers."""
    y = L.Bidirectional(L.LSTM(3, return_sequences=True))(L.Embedding(9, 4)(x))
    y, state = L.GRU(4, return_sequences=True, return_state=True)(y)
    return [L.Dense(3)(L.GRU(4, reset_after=False)(y, initial_state=state)), state]


def hard_sigmoid(x: Any) -> Any:
    """The activation that Keras 3 gave another slope, as ConvLSTM2D has it by default."""
    y = L.ConvLSTM2D(2, 2, padding="same")(x)
    series = L.Reshape((6, 10))(y)
    return [
        y,
        L.LSTM(3, recurrent_activation="hard_sigmoid")(series),
        L.Bidirectional(L.GRU(2, recurrent_activation="hard_sigmoid"))(series),
        L.Dense(2, activation="hard_sigmoid")(L.Activation("hard_sigmoid")(series)),
    ]


def transformer(x: Any) -> Any:
    """Attention and normalization over features."""
    y = L.LayerNormalization()(L.Add()([x, L.MultiHeadAttention(2, 3)(x, x)]))
    y = L.Add()([y, L.Dense(8)(L.Dense(9, activation="gelu")(y))])
    return [L.Attention(use_scale=True)([y, x]), L.AdditiveAttention()([x, y]), L.GlobalMaxPooling1D()(y)]


def functions(x: Any) -> Any:
    """Functions of TensorFlow on symbolic tensors: TFOpLambda and SlicingOpLambda."""
    y = tf.concat([2.0 - x * 2.0, x], -1)
    first, second = tf.split(x, 2, axis=-1)
    one, two = tf.split(x, [3, 5], axis=-1)
    return [
        y[:, :, 1:3, tf.newaxis][:, 0],
        tf.linalg.matmul(first, second, transpose_b=True),
        tf.image.resize(L.Reshape((7, 5, 1))(two), (5, 6)),
        tf.pad(one, [[0, 0], [1, 2], [0, 0]]),
        tf.nn.gelu(x) / 3.0,
    ]


def more_functions(x: Any) -> Any:
    """More of them."""
    places = tf.math.argmax(x, -1)
    return [
        tf.nn.softmax(tf.reshape(x, (-1, 56))),
        tf.cast(tf.math.greater(x, 0), tf.float32) + tf.clip_by_value(x, -0.5, 0.5),
        x @ tf.transpose(x, [0, 2, 1]),
        tf.squeeze(tf.expand_dims(x**2, 1), 1),
        tf.reduce_max(tf.stack([x, -x], 1), -1, keepdims=True),
        tf.one_hot(places, 8),
        tf.gather(x, [1, 0], axis=1),
        tf.where(x > 0, x, x * 0.1),
        tf.reverse(tf.tile(x, [1, 2, 1]), [1]),
        tf.maximum(tf.nn.leaky_relu(x), tf.abs(x) * 0.3),
        tf.math.reduce_std(x, 1) + tf.reduce_mean(tf.nn.relu6(x), axis=[1]),
    ]


MODELS: dict[str, tuple[tuple[int, ...], Callable[[Any], Any]]] = {
    "convolutional": ((8, 8, 3), convolutional),
    "text": ((7,), text),
    "hard_sigmoid": ((3, 6, 5, 2), hard_sigmoid),
    "transformer": ((7, 8), transformer),
    "functions": ((7, 8), functions),
    "more_functions": ((7, 8), more_functions),
}


def main() -> None:
    """Write them."""
    for name, (shape, build) in MODELS.items():
        keras.backend.clear_session()
        rng = np.random.default_rng(5)
        words = name == "text"
        x = keras.Input(shape, name="x", dtype="int32" if words else "float32")
        model = keras.Model(x, build(x), name=name)
        for v in model.weights:
            values = rng.normal(size=v.shape) * 0.4
            v.assign(np.abs(values) + 0.5 if "variance" in v.name else values)
        feed = rng.integers(0, 9, (2, *shape)) if words else rng.normal(size=(2, *shape))
        feed = feed.astype(x.dtype.name)
        found = model(feed, training=False)
        arrays: dict[str, Any] = {
            f"y{i}": np.asarray(y) for i, y in enumerate(found if isinstance(found, list) else [found])
        }
        np.savez(HERE / f"{name}.npz", x=feed, **arrays)
        model.save(HERE / f"{name}.h5")
        if not name.endswith("functions"):  # written out at length
            model.save(HERE / f"{name}.keras")


if __name__ == "__main__":
    main()
