"""Whole models against Keras: architectures of keras.applications at small sizes, and wrong or hostile files."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path
from typing import Any

import keras
import pytest
from keras import layers as L

import uair
from tests.frameworks.keras.applications import application, images, names
from tests.frameworks.keras.test_layers import check, outputs_of, pytestmark, randomised
from uair.errors import UairError
from uair.frontends.common.errors import SourceFileError, UnmappedOperatorError, UnsafeModelError
from uair.frontends.keras.errors import KerasMaskError, KerasModelError, KerasWeightsError
from uair.ir.compare import graph_difference

__all__ = ["pytestmark"]

MODELS: dict[str, tuple[int, int]] = {  # one of each family: side of the input, transposes left
    "ConvNeXtTiny": (64, 41),  # around its LayerNorms, over the channels of images
    "DenseNet121": (32, 1),
    "EfficientNetB0": (32, 1),
    "EfficientNetV2B0": (32, 1),
    "InceptionV3": (75, 1),
    "MobileNet": (32, 1),
    "MobileNetV2": (32, 1),
    "MobileNetV3Small": (32, 1),
    "NASNetMobile": (32, 1),
    "ResNet50": (32, 1),
    "ResNet50V2": (32, 1),
    "VGG16": (32, 1),
    "Xception": (71, 1),
}


@pytest.mark.parametrize("name", MODELS)
def test_application(name: str) -> None:
    side, transposes = MODELS[name]
    model = application(name, side, classes=10)
    feed = images(side)
    module = uair.load(model)
    bound = 1e-3  # EfficientNetV2B0: 6e-4, in onnxruntime, too
    check(uair.optimize(module), [feed], outputs_of(model(feed, training=False)), bound)
    assert sum(node.op_type == "Transpose" for node in module.main) == transposes


def test_every_constructor_is_of_a_known_family() -> None:
    """What the families above stand for; bench/keras_import.py goes through all of them."""
    family = re.compile(
        r"(ConvNeXt(Tiny|Small|Base|Large|XLarge)|DenseNet\d+|EfficientNet(B\d|V2(B\d|S|M|L))|Inception(V3|ResNetV2)"
        r"|MobileNet(V2|V3(Small|Large))?|NASNet(Mobile|Large)|ResNet\d+(V2)?|VGG1[69]|Xception)"
    )
    assert [name for name in names() if not family.fullmatch(name)] == []


def small() -> Any:
    x = keras.Input((8, 8, 3), name="x")
    y = L.Conv2D(4, 3, padding="same", name="conv")(x)
    y = keras.ops.relu(L.BatchNormalization(name="norm")(y))
    inner = keras.Sequential([keras.Input((8, 8, 4)), L.Conv2D(4, 1), L.ReLU()], name="inner")
    return randomised(keras.Model(x, L.Dense(3, name="head")(L.Flatten()(inner(y))), name="small"))


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "m.keras"
    small().save(path)
    return path


def rewritten(path: Path, change: Any) -> Path:
    """The archive with a changed configuration."""
    result = path.with_name("changed.keras")
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(result, "w") as out:
        for name in source.namelist():
            data = source.read(name)
            if name == "config.json":
                config = json.loads(data)
                change(config)
                data = json.dumps(config).encode()
            out.writestr(name, data)
    return result


def named(config: Any, name: str) -> Any:
    return next(layer for layer in config["config"]["layers"] if layer["name"] == name)


def test_the_three_sources_agree(tmp_path: Path) -> None:
    model = small()
    model.save(tmp_path / "m.keras")
    model.save(tmp_path / "m.h5")
    live, archive, legacy = (uair.load(s) for s in (model, tmp_path / "m.keras", tmp_path / "m.h5"))
    assert not graph_difference(live.main, archive.main)
    assert not graph_difference(archive.main, legacy.main)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
def test_a_file_cut_anywhere_is_refused(tmp_path: Path, suffix: str) -> None:
    small().save(tmp_path / f"m.{suffix}")
    data = (tmp_path / f"m.{suffix}").read_bytes()
    for part in range(1, 40):
        cut = tmp_path / f"cut.{suffix}"
        cut.write_bytes(data[: len(data) * part // 40])
        with pytest.raises(UairError):
            uair.load(cut)


def test_weights_of_another_shape_name_the_layer(saved: Path) -> None:
    def change(config: Any) -> None:
        named(config, "head")["config"]["units"] = 5

    with pytest.raises(KerasWeightsError, match=r"head"):
        uair.load(rewritten(saved, change))


def test_a_missing_variable_names_the_layer(saved: Path) -> None:
    def change(config: Any) -> None:
        named(config, "conv")["config"]["use_bias"] = False

    with pytest.raises(KerasWeightsError, match=r"conv"):
        uair.load(rewritten(saved, change))


def test_an_unknown_layer_is_named(saved: Path) -> None:
    def change(config: Any) -> None:
        named(config, "norm").update(module="mine", class_name="Mystery", registered_name="mine>Mystery")

    with pytest.raises(UnmappedOperatorError, match=r"mine\.Mystery \('norm'\)"):
        uair.load(rewritten(saved, change))


def test_a_graph_with_a_cycle_is_refused(saved: Path) -> None:
    def change(config: Any) -> None:
        call = named(config, "conv")["inbound_nodes"][0]
        call["args"][0]["config"]["keras_history"] = ["head", 0, 0]

    with pytest.raises(SourceFileError, match="depends on itself"):
        uair.load(rewritten(saved, change))


def test_a_configuration_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.keras"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("config.json", b" " * (300 << 20))
    with pytest.raises(SourceFileError, match="claims"):
        uair.load(path)


def test_a_lambda_is_not_run(tmp_path: Path) -> None:
    x = keras.Input((3,))
    keras.Model(x, L.Lambda(lambda v: v * 2, output_shape=(3,), name="code")(x)).save(tmp_path / "m.keras")
    with pytest.raises(UnsafeModelError) as caught:
        uair.load(tmp_path / "m.keras")
    assert "code" in caught.value.place


def test_a_subclassed_model_says_what_to_do() -> None:
    class Own(keras.Model):
        def call(self, x: Any) -> Any:
            return x

    with pytest.raises(UairError, match="export"):
        uair.load(Own())


def test_a_sequential_that_was_never_built() -> None:
    with pytest.raises(KerasModelError, match="never built"):
        uair.load(keras.Sequential([L.Dense(2)]))


def test_a_mask_that_a_recurrent_layer_cannot_obey_is_refused() -> None:
    x = keras.Input((None,), dtype="int32")
    model = keras.Model(x, L.LSTM(3, name="reader")(L.Embedding(9, 4, mask_zero=True)(x)))
    with pytest.raises(UairError, match="known number of steps") as caught:
        uair.load(model)
    assert "reader" in caught.value.place
    x = keras.Input((4, 5, 5, 2))
    layer = L.ConvLSTM2D(3, 2, name="film")
    model = keras.Model(x, layer(x, mask=keras.ops.sum(x, axis=(2, 3, 4)) > 0))
    with pytest.raises(KerasMaskError) as caught:
        uair.load(model)
    assert "film" in caught.value.place
