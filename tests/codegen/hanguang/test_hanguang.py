"""Hanguang 800: an experimental artifact, and the plan of its 192 MB."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

import uair
from tests import zoo
from tests.quant.networks import Builder, samples, small_cnn
from uair.codegen.hanguang.memory import memory_plan
from uair.ir.module import Module
from uair.ops import Linear, Relu
from uair.request import Int8
from uair.targets import load_description

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
    plan = json.loads(artifact.file("memory_plan.json").read_text())
    assert (plan["bytes"], plan["chips"], plan["fits_one_chip"], plan["confidence"]) == (CHIP, 1, True, "uncertain")
    weights = sum(len(t.raw_data) for t in model.graph.initializer)
    assert plan["weights_bytes"] <= weights, "floats are held in 16 bits"
    assert artifact.manifest["verdicts"]["experimental"] is True
    assert artifact.manifest["hanguang"]["experimental"] is True and artifact.manifest["hanguang"]["uncertain"]


def test_a_model_of_the_zoo(tmp_path: Path) -> None:
    model = zoo.models()["ppocr_cls"]
    artifact = uair.compile(model.path, "hanguang800", shapes=model.shapes, output=tmp_path / "a")
    onnx.checker.check_model(onnx.load(artifact.file("model.onnx")), full_check=True)
    assert artifact.manifest["hanguang"]["chips"] == 1


def test_a_large_model_becomes_a_pipeline() -> None:
    width = 4096  # 32 MiB a layer in 16 bits: five layers on a chip
    plan = memory_plan(chain(12, width).main, load_description("hanguang800"))
    assert (plan["chips"], plan["fits_one_chip"]) == (3, False)
    stages = plan["stages"]
    assert [stage["fits"] for stage in stages] == [True] * 3
    assert all(stage["bytes"] <= CHIP for stage in stages)
    assert [a["last"] + 1 for a in stages[:-1]] == [b["first"] for b in stages[1:]]
    assert stages[0]["sent"] == width * 2 and stages[-1]["sent"] == 0
    assert plan["weights_bytes"] == 12 * width * width * 2


def test_a_layer_that_no_chip_holds() -> None:
    plan = memory_plan(chain(1, 12000).main, load_description("hanguang800"))
    assert (plan["fits_one_chip"], plan["stages"][0]["fits"]) == (False, False)
