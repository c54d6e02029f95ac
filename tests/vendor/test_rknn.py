"""The real models through rknn-toolkit2 and its simulator, in float16 and in INT8."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import uair
from tests import zoo
from tests.quant.networks import Builder
from tests.vendor import rknn
from uair.ops import Linear, Tanh

pytestmark = pytest.mark.vendor
MODELS = zoo.models()
FLOAT16 = 0.999
"""Lowest cosine similarity of an output in float16 with the reference."""
INT8 = {
    "ppocr_det": 0.98,
    "ppocr_rec": 0.99,
    "ppocr_cls": 0.99,
    "magika": 0.98,
    "basic_pitch": 0.98,
    "yolo": 0.98,
    "densenet121_real": 0.99,
    "inception_v1_real": 0.99,
    "inception_v2_real": 0.99,
    "resnet50_real": 0.99,
    "shufflenet_real": 0.98,
    "squeezenet_real": 0.99,
}
"""The same in INT8. Models named light_* are not compared: their weights of one repeated
value leave the range of float16, and their results do not depend on the input."""
SAMPLES = {"shufflenet_real": 8}
"""Samples that INT8 is calibrated with where four show too little: its golden input gives greater maps."""
NAMES = [name for name in MODELS if name != "bert"]


@pytest.mark.parametrize("quantizer", ["normal", "mmse"])
def test_the_toolkit_quantizes_with_the_samples_of_the_artifact(quantizer: str, tmp_path: Path) -> None:
    model = MODELS["ppocr_cls"]
    artifact = uair.compile(
        model.path,
        "rk3588",
        output=tmp_path / "artifact",
        shapes=dict(model.shapes),
        quantize=uair.Int8(model.calibration(4)),
        options={"quantizer": quantizer},
        golden=model.feeds(0),
    )
    done = rknn.build(artifact, tmp_path / "build")
    assert done.cosine is not None and done.cosine >= INT8["ppocr_cls"]
    assert "int8" in {row[1].lower() for row in done.layers["rows"]}


def test_weights_of_4_bits_on_the_chip_that_has_them(tmp_path: Path) -> None:
    """The file is less than half of float16's, and results are those of weights of 4 bits, not of float16."""
    b = Builder(4, 512)
    hidden = b.add(Tanh(), b.add(Linear(), b.x, b.weight(512, 512, scale=0.05), b.weight(512), name="fc1"))
    module = b.done(b.add(Linear(), hidden, b.weight(512, 512, scale=0.05), b.weight(512), name="fc2"))
    samples = [np.random.default_rng(i).normal(size=(4, 512)).astype(np.float32) for i in range(5)]
    sizes: list[int] = []
    for few in (None, uair.W4A16(samples[1:], group=32)):
        name, golden = "w4a16" if few else "float16", {"x": samples[0]}
        artifact = uair.compile(module.clone(), "rk3576", output=tmp_path / name, quantize=few, golden=golden)
        done = rknn.build(artifact, tmp_path / f"{name}-build")
        assert done.cosine is not None
        assert 0.97 < done.cosine < 0.999 if few else done.cosine > 0.9999
        sizes.append(done.result["file"]["bytes"])
    assert sizes[1] < 0.5 * sizes[0]


@pytest.mark.parametrize("mode", ["float16", "int8"])
@pytest.mark.parametrize("name", NAMES)
def test_builds_and_simulates(name: str, mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = MODELS[name]
    samples = model.calibration(1 if "light" in model.tags else SAMPLES.get(name, 4))
    artifact = uair.compile(
        model.path,
        "rk3588",
        output=tmp_path / "artifact",
        shapes=dict(model.shapes),
        quantize=uair.Int8(samples) if mode == "int8" else None,
        golden=model.feeds(0),
    )
    done = rknn.build(artifact, tmp_path / "build")
    shutil.rmtree(artifact.root)  # up to 550 MiB
    with capsys.disabled():
        sys.stdout.write(f"\n{name:20} {mode:8} {done.describe()}\n")
    if "light" in model.tags:
        return
    lowest = FLOAT16 if mode == "float16" else INT8[name]
    assert done.cosine is not None and done.cosine >= lowest
