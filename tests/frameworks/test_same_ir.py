"""A layer is the same IR, whichever framework it comes from: operators, attributes, dataflow, types and constants."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import torch

import uair
from tests.frameworks.layers import PAIRS, Call, Pair, Stage
from uair.codegen.onnx import NEWEST_OPSET
from uair.ir.compare import structural_difference
from uair.ir.dims import static
from uair.ir.module import Module
from uair.passes.canonicalise import Canonicalise
from uair.pipeline import PassManager, Verify
from uair.text import print_graph

BATCH = 2
TOLERANCE = 1e-4

OTHER_IN_ONNX = {
    "AdaptiveAveragePooling2D": "ONNX has the product with a matrix that is not transposed",
    "Dense-of-series": "ONNX has the product with a matrix [in, out], which stays in the file",
    "HardSigmoid": "ONNX keeps 1/6 as f32",
    "GroupNormalization-plain": "ONNX asks for a scale and a bias",
    "LayerNormalization-plain": "ONNX asks for a scale",
    "MultiHeadAttention": "as Dense-of-series",
    "MultiHeadAttention-packed": "as Dense-of-series",
}
"""Layers that are written otherwise in ONNX, and why."""

_WITHOUT_IMAGES = "no operator of the graph is about images, so that its interface stays as it is"
_ONE_AXIS = "TensorFlow computes over one axis by operators over two"
_SPELLED_OUT = "TensorFlow has no such operator"
OTHER_IN_TENSORFLOW = {
    **dict.fromkeys(("BatchNormalization", "BatchNormalization-plain", "GroupNormalization"), _WITHOUT_IMAGES),
    **dict.fromkeys(("GroupNormalization-plain", "InstanceNorm", "GlobalAveragePooling2D"), _WITHOUT_IMAGES),
    **dict.fromkeys(("GlobalMaxPooling2D", "ZeroPadding2D", "Cropping2D", "UpSampling2D"), _WITHOUT_IMAGES),
    **dict.fromkeys(("Conv1D", "Conv1DTranspose", "SeparableConv1D", "UpSampling1D"), _ONE_AXIS),
    **dict.fromkeys(("MaxPooling1D", "AveragePooling1D"), _ONE_AXIS),
    **dict.fromkeys(("BatchNormalization-of-rows", "CELU", "ELU", "PReLU"), _SPELLED_OUT),
    "Attention": _SPELLED_OUT,
    **dict.fromkeys(("MultiHeadAttention", "MultiHeadAttention-packed"), "Einsum takes matrices [in, out]"),
    **dict.fromkeys(("AdaptiveAveragePooling2D", "AdaptiveMaxPooling2D"), "Keras joins two poolings"),
    "Dense-without-bias": "MatMul, which Linear without a bias is",
    "Embedding": "Keras counts negative places from the end",
    "GRU": "what Keras reads of both biases is added up",
    "GRU-last": "as GRU",
    "Bidirectional-GRU": "as GRU",
    "LSTM": "the axis of the directions goes by Reshape",
    "SimpleRNN": "as LSTM",
    "RepeatVector": "the new axis comes by Reshape",
    "UpSampling2D-bilinear": "TensorFlow knows the size alone, not the scale",
}
"""Layers that are other operators in the graphs that TensorFlow traces, and why."""

SAME_IN_TFLITE = (
    "Dense", "Dense-of-series", "Dense-relu", "Conv2D", "Conv2D-same", "Conv2D-dilated-groups", "Conv3D",
    "Conv2DTranspose", "Conv2DTranspose-same", "Conv3DTranspose", "DepthwiseConv2D", "LayerNormalization",
    "RMSNormalization", "MaxPooling2D", "AveragePooling2D", "AveragePooling2D-same", "ReLU", "ReLU6", "LeakyReLU",
    "PReLU", "GELU", "GELU-tanh", "SiLU", "Sigmoid", "HardSigmoid", "HardSwish", "Tanh", "HardTanh", "Softmax",
    "Softmax-of-image", "LogSoftmax", "Softsign", "GLU", "Flatten", "Reshape", "Permute", "Resizing", "Concatenate",
)  # fmt: skip
"""Layers that TensorFlow's converter to TFLite keeps whole."""

pytestmark = [
    # Keras 3.15 asks TensorFlow's variables for an array without a copy, which TensorFlow 2.21 does not know yet.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"),
    # torch's own pytree tests for a class that it has deprecated, when it copies the structure of the inputs.
    pytest.mark.filterwarnings("ignore:`isinstance.treespec, LeafSpec.`:FutureWarning"),
    # torch's recurrent layers flatten their weights when they are traced, which torch itself warns of.
    pytest.mark.filterwarnings("ignore:The tensor attributes self.rnn._flat_weights:UserWarning"),
]


def in_keras(pair: Pair) -> keras.Model:
    """The layer in Keras, with random variables."""
    dtype = "int32" if pair.integers else "float32"
    inputs = [keras.Input(shape, batch_size=BATCH, dtype=dtype) for shape in pair.shapes]
    model = keras.Model(inputs if len(inputs) > 1 else inputs[0], pair.keras(*inputs))
    rng = np.random.default_rng(0)
    for variable in model.weights:
        values = rng.normal(size=variable.shape) * 0.4
        variable.assign((np.abs(values) + 0.5 if "variance" in variable.name else values).astype(np.float32))
    return model


def in_torch(pair: Pair, model: keras.Model) -> torch.nn.Module:
    """The layer in PyTorch, with Keras's variables; each of its weights must be given."""
    state = pair.torch.state_dict()
    given = {n: torch.from_numpy(np.array(v)) for n, v in pair.weights([np.asarray(v) for v in model.weights]).items()}
    assert {name for name in state if "num_batches_tracked" not in name} == set(given)
    pair.torch.load_state_dict({**state, **given})
    return pair.torch.eval()


def examples(pair: Pair, module: Module) -> list[Any]:
    """Operands of the shapes that a module takes."""
    rng = np.random.default_rng(1)
    shapes = [static(t.type.dims) for t in module.main.inputs]
    if pair.integers:
        return [rng.integers(0, 9, shape).astype(np.int32) for shape in shapes]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def brought_to(module: Module, stage: Stage) -> Module:
    """A copy of a module at a stage."""
    module = module.clone()
    if stage == "fused":
        return uair.optimize(module)
    return PassManager([Canonicalise()] if stage == "canonical" else [], [Verify()]).run(module)


def require_same(one: Module, other: Module, stage: Stage) -> None:
    """Both modules have the same structure at a stage; only names and locations may differ."""
    a, b = (brought_to(module, stage).main for module in (one, other))
    found = structural_difference(a, b)
    assert not found, f"{found}\n{print_graph(a)}\n{print_graph(b)}"


def require_near(module: Module, operands: Sequence[Any], expected: Any) -> None:
    """The module computes what the framework does."""
    (ours,) = uair.run(module, dict(zip(module.main.input_names, operands, strict=True))).values()
    assert ours.shape == expected.shape
    assert np.ptp(expected) > 0, "the output does not vary"
    assert np.abs(ours - expected).max() <= TOLERANCE * np.abs(expected).max()


def channels_last(array: Any) -> Any:
    return np.moveaxis(array, 1, -1)


@functools.cache
def read(name: str) -> tuple[Module, Module, keras.Model, torch.nn.Module, list[Any]]:
    """A layer read from both frameworks, the layers, and operands."""
    pair = PAIRS[name]
    model = in_keras(pair)
    layer = in_torch(pair, model)
    ours = uair.load(model, channels=pair.channels)
    operands = examples(pair, ours)
    return uair.load(layer, *map(torch.from_numpy, operands)), ours, model, layer, operands


@pytest.mark.parametrize("name", PAIRS)
def test_pytorch_and_keras_give_the_same(name: str) -> None:
    pair = PAIRS[name]
    from_torch, from_keras, model, layer, operands = read(name)
    require_same(from_torch, from_keras, pair.stage)
    with torch.no_grad():
        require_near(from_torch, operands, layer(*map(torch.from_numpy, operands)).numpy())
    own = [tuple(t.shape) for t in model.inputs]
    turned = [x if x.shape == shape else channels_last(x) for x, shape in zip(operands, own, strict=True)]
    expected = np.asarray(model(turned if len(turned) > 1 else turned[0], training=False))
    is_turned = any(x.shape != shape for x, shape in zip(operands, own, strict=True)) and expected.ndim > 2
    require_near(from_keras, operands, np.moveaxis(expected, -1, 1) if is_turned else expected)


def difference(one: Module, other: Module) -> str:
    """How two modules differ when they are optimised."""
    return structural_difference(brought_to(one, "fused").main, brought_to(other, "fused").main)


@pytest.mark.parametrize("name", PAIRS)
def test_by_way_of_onnx(name: str, tmp_path: Path) -> None:
    from_torch, *_ = read(name)
    uair.export_onnx(from_torch, tmp_path / "layer.onnx", opset=NEWEST_OPSET)  # whose operators are the most
    found = difference(from_torch, uair.load(tmp_path / "layer.onnx"))
    assert bool(found) is (name in OTHER_IN_ONNX), found


@pytest.mark.parametrize("name", PAIRS)
def test_the_graph_that_tensorflow_traces(name: str) -> None:
    from_torch, _, model, *_ = read(name)

    @tf.function
    def traced(*x: Any) -> Any:
        given = list(x)
        return model(given if len(given) > 1 else given[0], training=False)

    graph = traced.get_concrete_function(*(tf.TensorSpec(t.shape, t.dtype) for t in model.inputs))
    found = difference(from_torch, uair.load(graph, channels=PAIRS[name].channels))
    assert bool(found) is (name in OTHER_IN_TENSORFLOW), found


# The converter saves the model with the frameworks' own deprecated calls.
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("name", SAME_IN_TFLITE)
def test_a_tflite_file(name: str, tmp_path: Path) -> None:
    from_torch, _, model, *_ = read(name)
    path = tmp_path / "layer.tflite"
    path.write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    found = difference(from_torch, uair.load(path, channels=PAIRS[name].channels))
    assert not found


def test_differences_are_found() -> None:
    """What makes the comparison worth something: a weight, an attribute and the order of operands count."""
    from_torch, from_keras, _, layer, operands = read.__wrapped__("Conv2D")
    with torch.no_grad():
        layer.bias.add_(1e-6)
    other = uair.load(layer, *map(torch.from_numpy, operands))
    assert "their values differ" in structural_difference(other.main, from_keras.main)
    wider, _, *_ = read("Conv2D-same")
    assert "attribute pads" in structural_difference(wider.main, from_torch.main)
    x, y = torch.ones(2), torch.ones(2)
    there, back = (uair.load(Call(f), x, y).main for f in (torch.sub, lambda a, b: torch.sub(b, a)))
    assert "operand 0" in structural_difference(there, back)
