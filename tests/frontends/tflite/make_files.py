"""Makes the fixture files beside this script; run it with a Python that has TensorFlow (tools/vendor/frameworks.sh).

    python tests/frontends/tflite/make_files.py

The expected results in files/*.npz are LiteRT's.
"""

# pyright: reportAttributeAccessIssue=false, reportFunctionMemberAccess=false, reportMissingImports=false
# pyright: reportUntypedFunctionDecorator=false
# TensorFlow is not installed where the checkers run.

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

from tests.frameworks.tflite.build import Value, built  # noqa: E402  the checkout is no package of this Python
from tests.frameworks.tflite.harness import LiteRT, convert, spec  # noqa: E402

FILES = Path(__file__).parent / "files"
RNG = np.random.default_rng(11)


def f32(*shape: int) -> np.ndarray[Any, Any]:
    """Random numbers between -1 and 1."""
    return RNG.uniform(-1, 1, shape).astype(np.float32)


class Net(tf.Module):  # TensorFlow has no annotations
    """A small convolutional net with a variable and two signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.total = tf.Variable(tf.zeros([1, 5]), name="total")

    @tf.function(input_signature=[tf.TensorSpec([1, 5], tf.float32, name="x")])
    def add(self, x: Any) -> Any:
        """Adds to the variable."""
        self.total.assign_add(x)
        return {"sum": self.total.read_value()}

    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, name="m")])
    def loop(self, m: Any) -> Any:
        """A loop."""
        return {"power": tf.while_loop(lambda i, v: i < 3, lambda i, v: (i + 1, tf.matmul(v, m)), [0, m])[1]}


W, DEPTH, DENSE = (tf.constant(f32(*shape)) for shape in ((3, 3, 3, 4), (3, 3, 4, 1), (4, 5)))


def net(x: Any) -> Any:
    """Convolution, depthwise convolution with the activation fused, pooling, a fully connected layer."""
    y = tf.nn.relu6(tf.nn.conv2d(x, W, 2, "SAME") + 0.1)
    y = tf.nn.relu(tf.nn.depthwise_conv2d(y, DEPTH, [1, 1, 1, 1], "VALID"))
    return tf.nn.softmax(tf.matmul(tf.reduce_mean(y, [1, 2]), DENSE))


def main() -> None:
    """Write every file, with inputs and LiteRT's results for it."""
    image = spec([1, 9, 8, 3])
    half = tf.lite.TargetSpec()
    half.supported_types = [tf.float16]
    optimized = [tf.lite.Optimize.DEFAULT]
    model = Net()
    variables = tf.lite.TFLiteConverter.from_concrete_functions(
        [model.add.get_concrete_function(), model.loop.get_concrete_function()], model
    )
    variables.experimental_enable_resource_variables = True
    contents = {
        "float": convert(net, image),
        "half": convert(net, image, optimizations=optimized, target_spec=half),
        "int8": convert(net, image, samples=[[f32(1, 9, 8, 3)] for _ in range(8)]),
        "variables": variables.convert(),
    }
    for name, content in contents.items():
        (FILES / f"{name}.tflite").write_bytes(content)
        judge = LiteRT(content)
        inputs: list[np.ndarray[Any, Any]] = []
        for details in judge.inputs:
            x = f32(*details["shape"])
            inputs.append(x if details["dtype"] == np.float32 else np.round(x * 127).astype(details["dtype"]))
        outputs = judge(inputs)
        named = {f"input_{i}": x for i, x in enumerate(inputs)} | {f"output_{i}": y for i, y in enumerate(outputs)}
        np.savez(FILES / f"{name}.npz", **named)  # type: ignore[arg-type]  # numpy types **kwargs as one union
    custom = built("CUSTOM", [Value((2, 3))], [Value((4,), "int32")], custom="Landmarks", payload=b"\x01\x02")
    (FILES / "custom.tflite").write_bytes(custom)


if __name__ == "__main__":
    main()
