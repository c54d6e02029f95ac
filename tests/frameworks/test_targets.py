"""Models of every framework compiled for three targets: the artifacts against the framework, and in rknn-toolkit2."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import keras
import numpy as np
import pytest
import torch
from ai_edge_litert.interpreter import Interpreter

import uair
from tests.frameworks.torch.models import UNet, randomized, torchvision_model
from tests.vendor import rknn
from tests.zoo_tflite import TFLITE_FILES

LEAST_COSINE = 0.999
"""Of outputs whose weights stay floats."""

Feeds: TypeAlias = Mapping[str, "np.ndarray[Any, Any]"]
Case: TypeAlias = "tuple[uair.Module, Feeds, list[np.ndarray[Any, Any]]]"
"""A module, inputs for it, and what the framework gives for them."""


def _torch(model: torch.nn.Module, *shape: int) -> Case:
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(shape).astype(np.float32))
    module = uair.load(model, x)
    with torch.no_grad():
        expected = model(x)
    return module, {module.main.input_names[0]: x.numpy()}, [expected.numpy()]


def _tflite(name: str) -> Case:
    path = TFLITE_FILES[name].fetch()
    module = uair.load(path)
    interpreter = Interpreter(model_path=str(path))
    interpreter.allocate_tensors()
    details = interpreter.get_input_details()[0]
    shape = tuple(int(d) for d in details["shape"])
    x = np.random.default_rng(0).uniform(-1, 1, shape).astype(np.float32)
    interpreter.set_tensor(details["index"], x)
    interpreter.invoke()
    expected = [interpreter.get_tensor(d["index"]) for d in interpreter.get_output_details()]
    return module, {module.main.input_names[0]: x}, expected


def _classifier() -> keras.Model:
    """Depthwise blocks with a squeeze-and-excite branch, as MobileNetV3's."""
    x = inputs = keras.Input((32, 32, 3), batch_size=1)
    x = keras.layers.Conv2D(16, 3, 2, padding="same", use_bias=False)(x)
    x = keras.layers.Activation("hard_silu")(keras.layers.BatchNormalization()(x))
    x = keras.layers.DepthwiseConv2D(3, padding="same")(x)
    s = keras.layers.GlobalAveragePooling2D(keepdims=True)(x)
    s = keras.layers.Conv2D(16, 1, activation="hard_sigmoid")(keras.layers.Conv2D(4, 1, activation="relu")(s))
    x = keras.layers.Conv2D(32, 1)(keras.layers.Multiply()([x, s]))
    return keras.Model(inputs, keras.layers.Dense(10, activation="softmax")(keras.layers.GlobalMaxPooling2D()(x)))


def _segmenter() -> keras.Model:
    """Down and up again, with a skip."""
    x = inputs = keras.Input((32, 32, 3), batch_size=1)
    skip = keras.layers.Conv2D(8, 3, padding="same", activation="relu")(x)
    x = keras.layers.Conv2D(16, 3, padding="same", activation="gelu")(keras.layers.MaxPooling2D()(skip))
    x = keras.layers.Concatenate()([keras.layers.UpSampling2D(interpolation="bilinear")(x), skip])
    return keras.Model(inputs, keras.layers.Conv2DTranspose(4, 2, 2)(x))


def _saved_model(build: Callable[[], keras.Model], folder: Path) -> Case:
    keras.utils.set_random_seed(0)
    model = build()
    model.export(folder / "saved", verbose=False)
    x = np.random.default_rng(0).standard_normal((1, 32, 32, 3)).astype(np.float32)
    module = uair.load(folder / "saved")
    return module, {module.main.input_names[0]: x}, [np.asarray(model(x))]


CASES: dict[str, Callable[[Path], Case]] = {
    "torch-resnet18": lambda _: _torch(torchvision_model("resnet18"), 1, 3, 64, 64),
    "torch-unet": lambda _: _torch(randomized(UNet()), 1, 3, 32, 32),
    "tensorflow-classifier": lambda folder: _saved_model(_classifier, folder),
    "tensorflow-segmenter": lambda folder: _saved_model(_segmenter, folder),
    "tflite-face_detection_front": lambda _: _tflite("face_detection_front"),
    "tflite-mltk_image_example1": lambda _: _tflite("mltk_image_example1"),
}


def _cosine(ours: Any, theirs: Any) -> float:
    a, b = (np.asarray(t, np.float64).reshape(-1) for t in (ours, theirs))
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


@pytest.mark.parametrize("target", ["ascend310", "cpu", "rk3588"])
@pytest.mark.parametrize("name", CASES)
def test_compiles_and_agrees_with_the_framework(name: str, target: str, tmp_path: Path) -> None:
    module, feeds, expected = CASES[name](tmp_path)
    assert all(np.ptp(t) > 0 for t in expected)
    shapes = {name: x.shape for name, x in feeds.items()}
    artifact = uair.compile(module, target, output=tmp_path / "artifact", shapes=shapes, golden=feeds)
    outputs = list(uair.run(artifact, feeds).values())
    for ours, theirs in zip(outputs, expected, strict=True):
        assert ours.shape == theirs.shape and _cosine(ours, theirs) >= LEAST_COSINE
    if target == "rk3588":
        built = rknn.build(artifact, tmp_path / "build")
        assert built.cosine is not None and built.cosine >= LEAST_COSINE, built.describe()


def test_states_of_a_quantized_stream_on_rk3588(tmp_path: Path) -> None:
    """An int8 net with states, also where the integers saturate: every output within three steps of the module's."""
    path = TFLITE_FILES["okay_nabu"].fetch()
    module = uair.load(path, numbers="real")
    artifact = uair.compile(module, "rk3588", output=tmp_path / "artifact")
    built = rknn.build(artifact, tmp_path / "build")
    rows = {row["name"]: row for row in built.result["outputs"]}
    states = [row["max_abs"] for name, row in rows.items() if name.startswith("stream_")]
    assert len(states) == 6 and max(states) <= 3 and rows["dense_1"]["max_abs"] <= 2 / 256, built.describe()


@pytest.mark.parametrize("name", ["mltk_image_classification", "mltk_keyword_spotting_mobilenetv2", "hey_jarvis"])
def test_int8_on_cpu_is_within_a_step(name: str, tmp_path: Path) -> None:
    """What onnxruntime gives for files that its kernels for i8 weights get wrong by 11 to 53 steps."""
    module = uair.load(TFLITE_FILES[name].fetch())
    rng = np.random.default_rng(0)
    feeds: dict[str, np.ndarray[Any, Any]] = {}
    for key, tensor in zip(module.main.input_names, module.main.inputs, strict=True):
        shape = [d if isinstance(d, int) else 1 for d in tensor.type.dims]
        low, high = tensor.type.dtype.range
        feeds[key] = rng.integers(low, high + 1, shape).astype(tensor.type.dtype.numpy)
    shapes = {key: x.shape for key, x in feeds.items()}
    artifact = uair.compile(module, "cpu", output=tmp_path / "artifact", shapes=shapes, golden=False)
    for ours, theirs in zip(uair.run(artifact, feeds).values(), uair.run(module, feeds).values(), strict=True):
        assert np.abs(ours.astype(int) - theirs.astype(int)).max() <= 1
