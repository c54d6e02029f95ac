"""Hanguang 800: an experimental artifact, and the plan of its 192 MB."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest

import uair
from tests import zoo
from tests.quant.networks import Builder, samples, small_cnn
from uair.ir.module import Module
from uair.ops import Linear, Relu
from uair.request import Int8

CHIP = 192 << 20


def chain(layers: int, width: int) -> Module:
    b = Builder(1, width)
    x = b.x
    for i in range(layers):
        x = b.add(Relu(), b.add(Linear(), x, b.weight(width, width), name=f"fc{i}"), name=f"relu{i}")
    return b.done(x)


@pytest.mark.parametrize("quantize", [False, True])
def test_a_small_model_fits(quantize: bool, tmp_path: Path) -> None:
    artifact = uair.compile(
        small_cnn(),
        "hanguang800",
        output=tmp_path / "a",
        quantize=Int8(calibration=samples()) if quantize else None,
    )
    model = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert model.opset_import[0].version == 13
    fit = json.loads(artifact.file(artifact.manifest["hanguang"]["memory_plan"]).read_text())["residency"]
    assert (fit["capacity_bytes"], fit["fits"], len(fit["stages"])) == (CHIP, True, 1)
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    assert fit["weight_bytes"] <= weights, "floats are held in 16 bits"
    assert artifact.manifest["verdicts"]["experimental"] is True
    assert artifact.manifest["hanguang"]["experimental"] is True and artifact.manifest["hanguang"]["uncertain"]


def test_a_model_of_the_zoo(tmp_path: Path) -> None:
    model = zoo.models()["ppocr_cls"]
    artifact = uair.compile(model.path, "hanguang800", shapes=model.shapes, output=tmp_path / "a")
    onnx.checker.check_model(onnx.load(artifact.file("model.onnx")), full_check=True)
    assert artifact.manifest["hanguang"]["chips"] == 1


def compiled(module: Module, folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The fit, and what the manifest says of it."""
    artifact = uair.compile(module, "hanguang800", output=folder, golden=False)
    return json.loads(artifact.file("plan.json").read_text())["residency"], artifact.manifest["hanguang"]


def test_a_large_model_becomes_a_pipeline(tmp_path: Path) -> None:
    width = 4096  # 32 MiB a layer in 16 bits: five layers on a chip
    fit, told = compiled(chain(12, width), tmp_path / "a")
    assert (told["chips"], told["fits_one_chip"], fit["fits"]) == (3, False, False)
    stages = fit["stages"]
    assert len(stages) == 3 and all(stage["weights"] + stage["activations"] <= CHIP for stage in stages)
    assert (stages[0]["first"], stages[-1]["last"]) == ("fc0", "relu11")
    assert stages[0]["given"] == width * 2 and stages[-1]["given"] == 0
    assert fit["weight_bytes"] == 12 * width * width * 2 == sum(stage["weights"] for stage in stages)


def test_a_layer_that_no_chip_holds(tmp_path: Path) -> None:
    fit, told = compiled(chain(1, 12000), tmp_path / "a")
    assert (told["chips"], told["fits_one_chip"]) == (None, False)
    assert fit["too_large"] and "alone is too large" in fit["note"]
