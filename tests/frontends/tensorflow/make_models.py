"""Makes the models in `models/`: python make_models.py, with TensorFlow 2.21 and Keras 3.15.

Each has its inputs and the outputs that TensorFlow computes beside it, in `NAME.npz`.
"""

# pyright: basic, reportMissingImports=false, reportMissingModuleSource=false, reportArgumentType=false, reportAttributeAccessIssue=false
# TensorFlow is not installed where the checkers run.

import shutil
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from keras import layers as L
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

HERE = Path(__file__).parent / "models"


class Plain(tf.Module):
    """A convolution with its variables, a function called twice, and a branch."""

    def __init__(self) -> None:
        """Random weights."""
        super().__init__()
        rng = np.random.default_rng(0)
        self.kernel = tf.Variable(rng.normal(size=(3, 3, 2, 4)).astype(np.float32), name="kernel")
        self.bias = tf.Variable(rng.normal(size=4).astype(np.float32), name="bias")

    @tf.function
    def halve(self, x: tf.Tensor) -> tf.Tensor:
        """A function of its own."""
        return tf.nn.max_pool2d(x, 2, 2, "SAME")

    @tf.function(
        input_signature=[tf.TensorSpec([None, 9, 8, 2], name="image"), tf.TensorSpec([], tf.bool, name="sign")]
    )
    def serve(self, image: tf.Tensor, sign: tf.Tensor) -> dict[str, tf.Tensor]:
        """The signature."""
        y = tf.nn.relu(tf.nn.conv2d(image, self.kernel, 2, "SAME") + self.bias)
        y = self.halve(self.halve(y))
        return {"features": tf.cond(sign, lambda: -y, lambda: 2 * y), "mean": tf.reduce_mean(y, [1, 2])}


class Unsigned(tf.Module):
    """A function that says nothing about its inputs."""

    @tf.function
    def halve(self, x: tf.Tensor) -> tf.Tensor:
        """Half."""
        return x / 2


def main() -> None:
    """Write the models."""
    rng = np.random.default_rng(1)
    model = Plain()
    folder = HERE / "plain"
    tf.saved_model.save(model, folder, signatures=model.serve)
    unsigned = Unsigned()
    unsigned.halve(tf.zeros([2]))
    tf.saved_model.save(unsigned, HERE / "unsigned")
    for unused in ("assets", "fingerprint.pb"):
        for name in ("plain", "unsigned"):
            path = HERE / name / unused
            shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.rmtree(HERE / "unsigned" / "variables")
    image = rng.normal(size=(2, 9, 8, 2)).astype(np.float32)
    results = {k: v.numpy() for k, v in model.serve(image, True).items()}
    np.savez(HERE / "plain.npz", image=image, sign=np.array(True), **{f"y_{k}": v for k, v in results.items()})

    keras.utils.set_random_seed(0)
    given = L.Input((6, 3))
    layers = keras.Model(given, L.GRU(2)(L.LSTM(4, return_sequences=True)(given)))
    for w in layers.weights:
        w.assign(rng.normal(size=w.shape).astype(np.float32))
    concrete = tf.function(layers.call).get_concrete_function(tf.TensorSpec([2, 6, 3]))
    frozen = convert_variables_to_constants_v2(concrete, lower_control_flow=False)
    (HERE / "recurrent.pb").write_bytes(frozen.graph.as_graph_def().SerializeToString())
    lowered = convert_variables_to_constants_v2(concrete, lower_control_flow=True)
    (HERE / "lowered.pb").write_bytes(lowered.graph.as_graph_def().SerializeToString())
    x = rng.normal(size=(2, 6, 3)).astype(np.float32)
    np.savez(HERE / "recurrent.npz", x=x, y_Identity=concrete(tf.constant(x)).numpy())

    kernel = tf.constant(rng.normal(size=(3, 3, 2, 4)).astype(np.float32))
    unranked = tf.function(lambda image, gain: tf.nn.conv2d(image, kernel, 1, "SAME") * gain)
    concrete = unranked.get_concrete_function(tf.TensorSpec(None, name="image"), tf.TensorSpec([None], name="gain"))
    (HERE / "unranked.pb").write_bytes(concrete.graph.as_graph_def().SerializeToString())
    gain = np.array([1, -2, 3, 0.5], np.float32)
    y = concrete(tf.constant(image), tf.constant(gain)).numpy()
    np.savez(HERE / "unranked.npz", image=image, gain=gain, y_Identity=y)


if __name__ == "__main__":
    main()
