"""w4a16: what rknn-toolkit2 is told, and what is refused because it cannot be told, or has no such weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.quant.networks import Builder
from uair.errors import UairError
from uair.ops import Linear
from uair.quant.errors import CalibrationSourceError, SchemeError
from uair.targets.errors import OptionError


def layer() -> uair.Module:
    b = Builder(4, 128)
    return b.done(b.add(Linear(), b.x, b.weight(64, 128, scale=0.1), b.weight(64), name="fc"))


SAMPLES = [np.random.default_rng(i).normal(size=(4, 128)).astype(np.float32) for i in range(3)]


@pytest.mark.parametrize(("group", "method"), [(None, "group128"), (32, "group32"), (0, "channel")])
def test_the_toolkit_rounds_with_the_samples(group: int | None, method: str, tmp_path: Path) -> None:
    quantize = uair.W4A16(SAMPLES, group=group)
    artifact = uair.compile(layer(), "rk3576", output=tmp_path / "artifact", quantize=quantize, golden=False)
    content = json.loads(artifact.file("build.json").read_text("utf-8"))
    assert content["quantization"] == "toolkit"
    config = content["config"]
    assert (config["quantized_dtype"], config["quantized_algorithm"]) == ("w4a16", "normal")
    assert config["quantized_method"] == method
    listed = artifact.file(content["dataset"]).read_text("utf-8").split()
    assert len(listed) == 3
    written = onnx.load(artifact.file("model.onnx"))
    assert not {node.op_type for node in written.graph.node} & {"QuantizeLinear", "DequantizeLinear"}


@pytest.mark.parametrize(
    ("quantize", "options", "error", "words"),
    [
        (uair.W4A16(), {}, CalibrationSourceError, "rknn-toolkit2 wants samples for w4a16"),
        (uair.W4A16(SAMPLES, method="gptq"), {}, SchemeError, "method gptq is given, but rknn-toolkit2 rounds"),
        (uair.W4A16(SAMPLES, skip=("fc",)), {}, SchemeError, "skip is given, but rknn-toolkit2 rounds"),
        (uair.W4A16(SAMPLES, group=16), {}, SchemeError, "groups of 16 are not taken"),
        (uair.W4A16(SAMPLES, symmetric=False), {}, SchemeError, "zero points are not taken"),
        (uair.W4A16(SAMPLES), {"quantizer": "mmse"}, OptionError, "quantizer=mmse is for INT8"),
        (uair.W8A16(SAMPLES), {}, SchemeError, "w8a16 for none of RK3588, RK3576 and RK3566"),
    ],
)
def test_what_the_toolkit_cannot_be_told_is_refused(
    quantize: Any, options: dict[str, Any], error: type[UairError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=words):
        uair.compile(layer(), "rk3576", output=tmp_path / "artifact", quantize=quantize, options=options, golden=False)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("target", ["rk3588", "rk3566"])
@pytest.mark.parametrize("bits", [uair.W4A16, uair.W8A16])
def test_chips_without_such_weights_say_what_the_toolkit_has(target: str, bits: Any) -> None:
    with pytest.raises(SchemeError, match="w4a16 for RK3576 alone") as caught:
        uair.compile(layer(), target, quantize=bits(SAMPLES), golden=False)
    assert "int8" in caught.value.hint
