"""Makes the models in `files/`: python make_files.py, with TensorFlow 2.21 and Keras 3.15.

Each is saved as `.keras` and as `.h5`, with inputs and what Keras computes of them beside it, in `NAME.npz`.
"""

# pyright: basic, reportMissingImports=false, reportArgumentType=false, reportAttributeAccessIssue=false
# TensorFlow is not installed where the checkers run.

from pathlib import Path

import keras
import numpy as np
from keras import layers as L

HERE = Path(__file__).parent / "files"


def images() -> keras.Model:
    """Convolutions with a skip, normalizations, pooling, a nested model."""
    x = inputs = keras.Input((9, 8, 3), name="image")
    x = L.BatchNormalization(name="norm")(L.Conv2D(4, 3, 2, padding="same", name="conv")(x))
    inner = keras.Sequential([keras.Input((5, 4, 4)), L.DepthwiseConv2D(3, padding="same"), L.ReLU()], name="inner")
    x = L.Add(name="skip")([x, inner(x)])
    x = L.GroupNormalization(2, name="groups")(x)
    return keras.Model(inputs, L.Dense(5, "softmax", name="head")(L.GlobalAveragePooling2D()(x)), name="images")


def words() -> keras.Model:
    """A table, both directions of an LSTM, attention, a normalization, a GRU."""
    x = inputs = keras.Input((6,), dtype="int32", name="words")
    x = L.Bidirectional(L.LSTM(3, return_sequences=True), name="both")(L.Embedding(11, 4, name="table")(x))
    x = L.LayerNormalization(name="norm")(x + L.MultiHeadAttention(2, 3, name="attention")(x, x))
    return keras.Model(inputs, L.Dense(2, "gelu", name="head")(L.GRU(4, name="reader")(x)), name="words")


def main() -> None:
    """Write the models."""
    HERE.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    feeds = {
        "images": rng.normal(size=(2, 9, 8, 3)).astype(np.float32),
        "words": rng.integers(0, 11, (2, 6)).astype(np.int32),
    }
    for build in (images, words):
        model = build()
        for variable in model.weights:
            values = rng.normal(size=variable.shape)
            variable.assign((np.abs(values) + 0.5 if "variance" in variable.name else values).astype(np.float32))
        name = model.name
        model.save(HERE / f"{name}.keras")
        model.save(HERE / f"{name}.h5")
        np.savez(HERE / f"{name}.npz", x=feeds[name], y=np.asarray(model(feeds[name], training=False)))


if __name__ == "__main__":
    main()
