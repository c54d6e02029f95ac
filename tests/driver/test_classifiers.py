"""Classifiers: whole where a target has them, their parts where it has only those."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import uair
from tests.zoo_onnx import session
from uair.text import parse_module

MODEL = """
constant @w = [0.5,-1.0,2.0,0.25,-1.0,1.0] : f32[3,2]
constant @b = [0.25,-0.5,1.0] : f32[3]
constant @l = [{labels}] : i64[3]
%x: f32[5,2]
%y, %p = LinearClassifier(%x, @w, @l, @b) {{transform = "{transform}"}}
return %y, %p
"""
SKLEARN = Path(__file__).parents[1] / "frontends" / "onnx" / "sklearn"
SAMPLES = [{"x": np.random.default_rng(i).standard_normal((5, 2)).astype(np.float32)} for i in range(3)]


@pytest.mark.parametrize("labels", ["0,1,2", "7,-3,5"])
@pytest.mark.parametrize("transform", ["none", "logistic", "softmax"])
def test_onnxruntime_gets_it_whole(transform: str, labels: str, tmp_path: Path) -> None:
    module, path = parse_module(MODEL.format(transform=transform, labels=labels)), tmp_path / "m.onnx"
    uair.export_onnx(uair.optimize(module), path)
    assert [node.op_type for node in onnx.load(path).graph.node] == ["LinearClassifier"]
    wants = uair.run(module, SAMPLES[0])
    for want, got in zip(wants.values(), session(path).run(None, SAMPLES[0]), strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("target", "quantize"),
    [("rk3588", False), ("rk3588", True), ("ascend310p", False), ("ascend310p", True), ("c920", False)],
)
def test_devices_get_its_parts(target: str, quantize: bool) -> None:
    module = parse_module(MODEL.format(transform="softmax", labels="7,-3,5"))
    artifact = uair.compile(module, target, quantize=uair.Int8(SAMPLES) if quantize else None)
    text = artifact.file("model.uair").read_text("utf-8")
    assert "LinearClassifier(" not in text and "Softmax(" in text
    assert ("Quant" in text) == quantize


@pytest.mark.parametrize("name", ["forest", "forest_of_two", "boosting_of_two"])
def test_trees_that_classify_are_one_node(name: str, tmp_path: Path) -> None:
    source, written = SKLEARN / f"{name}.onnx", tmp_path / "m.onnx"
    module = uair.optimize(uair.load(source))
    assert [node.op_type for node in module.main] == ["TreeClassifier"]
    uair.export_onnx(module, written)
    assert [node.op_type for node in onnx.load(written).graph.node] == ["TreeEnsembleClassifier"]
    feeds = {"x": np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)}
    wants, (label, scores) = session(source).run(None, feeds), session(written).run(None, feeds)
    assert np.asarray(label).tolist() == np.asarray(wants[0]).tolist()
    np.testing.assert_allclose(np.asarray(scores), np.asarray(wants[1]), rtol=1e-6, atol=1e-6)


def test_devices_get_trees_and_labels_apart() -> None:
    artifact = uair.compile(SKLEARN / "forest.onnx", "rk3588", shapes={"x": (1, 4)})
    text = artifact.file("model.uair").read_text("utf-8")
    assert "TreeClassifier(" not in text and "TreeEnsemble(" in text and "ArgMax(" in text
