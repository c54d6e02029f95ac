"""Targets that compute with channels first: what a model with channels last keeps of its transposes when compiled."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import pytest

import uair
from tests.passes.test_propagate_layout import IMAGE, Model, convnext
from uair.frontends.common.layout import settle


@pytest.mark.parametrize("target", ["ascend310", "ascend910b", "horizon_x3", "horizon_j6e"])
def test_convnext_keeps_one_transpose(target: str, tmp_path: Path) -> None:
    model = Model(*IMAGE)
    convnext(model)
    x = np.random.default_rng(1).standard_normal(IMAGE).astype(np.float32)
    (expected,) = model.run(x)
    assert settle(model.module) == 7
    artifact = uair.compile(model.module, target, output=tmp_path / "artifact")
    written = onnx.load(artifact.file("model.onnx"))
    kinds = Counter(node.op_type for node in written.graph.node)
    assert kinds["Transpose"] <= 1 and not kinds["MatMul"] and not kinds["Gemm"]
    assert kinds["Conv"] == 8  # four convolutions, and four Linear
    (got,) = uair.run(uair.load(artifact.file("model.uair")), {"x": x}).values()
    np.testing.assert_allclose(got, expected, rtol=1e-3, atol=1e-4)
