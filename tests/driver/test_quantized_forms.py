"""What a target is given of a quantized model, by the form in which its vendor states quantization."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.cli.helpers import write_tiny
from tests.driver.helpers import Emitted, toy_target
from uair.ir.dtype import DType
from uair.passes.quantization.choose import FEW_MARGIN
from uair.quant.tensor_range import TensorRange
from uair.request import Int8

SHAPES = {"x": (1, 3, 8, 8)}


def samples(count: int = 10) -> Iterator[dict[str, Any]]:
    """Random inputs, as an iterator that can be read once."""
    for i in range(count):
        yield {"x": np.random.default_rng(i).normal(size=SHAPES["x"]).astype(np.float32)}


def compiled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> tuple[Emitted, uair.Artifact]:
    """What `emit` was called with, and the artifact."""
    target = toy_target(tmp_path, monkeypatch, form=form)
    artifact = uair.compile(write_tiny(tmp_path), target.name, shapes=SHAPES, quantize=Int8(samples()))
    (call,) = target.calls
    return call, artifact


def operators(module: uair.Module) -> set[str]:
    return {node.op_type for node in module.main}


@pytest.mark.parametrize("form", ["ranges", "calibration"])
def test_a_float_module_is_emitted_and_the_quantized_one_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    call, artifact = compiled(tmp_path, monkeypatch, form)
    assert "Quantize" not in operators(call.module)
    assert "Quantize" in operators(uair.load(artifact.file("model.uair")))
    assert artifact.manifest["quantization"]["quantized"] == 2
    written = onnx.load(artifact.file("model.onnx"))
    assert "QuantizeLinear" not in {node.op_type for node in written.graph.node}
    values = {v for node in written.graph.node for v in (*node.input, *node.output)}
    assert set(call.request.ranges) and set(call.request.ranges) <= values


def test_a_quantized_module_is_emitted_with_its_ranges(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, _ = compiled(tmp_path, monkeypatch, "qdq")
    assert "Quantize" in operators(call.module)
    quantized = {node.inputs[0].name for node in call.module.main if node.op_type == "Quantize" and node.inputs[0]}
    assert set(call.request.ranges) == quantized


@pytest.mark.parametrize("form", ["qdq", "ranges"])
def test_names_are_unique_and_ranges_hold_what_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    call, _ = compiled(tmp_path, monkeypatch, form)
    graph = call.module.main
    tensors = [*graph.inputs, *graph.constants(), *(t for node in graph for t in node.outputs)]
    assert len({t.name for t in tensors}) == len(tensors) and all(t.name for t in tensors)
    found = call.request.ranges["x"]
    seen = max(float(np.abs(feeds["x"]).max()) for feeds in samples())
    assert found.dtype is DType.I8 and found.zero_point == 0
    assert found.max == pytest.approx(127 * found.scale) and found.min == -found.max
    assert 0.5 * seen < found.max <= seen * FEW_MARGIN * 1.001


def test_samples_can_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    call, _ = compiled(tmp_path, monkeypatch, "calibration")
    assert call.request.samples is not None
    for _ in range(2):
        for got, want in zip(call.request.samples, samples(), strict=True):
            np.testing.assert_array_equal(got["x"], want["x"])


def test_a_float_compilation_has_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch, form="ranges")
    uair.compile(write_tiny(tmp_path), target.name, shapes=SHAPES)
    assert target.calls[0].request.samples is None and target.calls[0].request.ranges == {}


def test_ranges_of_types() -> None:
    assert TensorRange.of(0.5, 0, DType.I8) == TensorRange(0.5, 0, DType.I8, -63.5, 63.5)
    assert TensorRange.of(0.5, 3, DType.I8) == TensorRange(0.5, 3, DType.I8, -65.5, 62.0)
    assert TensorRange.of(0.5, 128, DType.U8) == TensorRange(0.5, 128, DType.U8, -64.0, 63.5)
