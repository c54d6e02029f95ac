"""What a user may tell the Rockchip targets ends in build.json, under the toolkit's names."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.quant.networks import small_cnn
from uair.codegen.rockchip.options import RockchipOptions
from uair.context import Context
from uair.errors import UairError
from uair.targets.errors import OptionError
from uair.targets.verdict import Confidence
from uair.text import parse_module


def settings(folder: Path, shape: str = "1,2,8,8", target: str = "rk3588", **options: Any) -> dict[str, Any]:
    module = parse_module(f"%x: f32[{shape}]  %y = Relu(%x)")
    artifact = uair.compile(module, target, output=folder / "artifact", golden=False, **options)
    loaded: dict[str, Any] = json.loads(artifact.file("build.json").read_text("utf-8"))
    return loaded


def test_defaults(tmp_path: Path) -> None:
    config = settings(tmp_path)["config"]
    assert config["optimization_level"] == 3 and config["target_platform"] == "rk3588"
    assert config["custom_string"] == "uair rk3588"
    assert set(config) == {"optimization_level", "target_platform", "custom_string"}


def test_the_models_hash_is_in_the_file(tmp_path: Path) -> None:
    path = next(path for path in (Path(__file__).parents[3] / "examples" / "models").glob("*.onnx"))
    made = uair.compile(path, "rk3588", output=tmp_path / "out", shapes={"x": (1, 3, 48, 192)}, golden=False)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    config = json.loads(made.file("build.json").read_text("utf-8"))["config"]
    assert config["custom_string"] == f"uair rk3588 sha256:{digest}"


def test_everything(tmp_path: Path) -> None:
    given = {
        "optimization_level": "2",
        "op_target": "MaxPool:cpu,y:npu",
        "custom_string": "version 7",
        "rknn_batch_size": 3,
        "single_core_mode": True,
        "compress_weight": "yes",
        "remove_weight": True,
        "remove_reshape": True,
        "memory_plan_strategy": "GreedyBySize",
        "compute_order": "DepthFirst",
    }
    content = settings(tmp_path, options=given)
    assert content["batch"] == 3
    assert content["config"] == {
        "target_platform": "rk3588",
        "custom_string": "version 7",
        "optimization_level": 2,
        "op_target": {"MaxPool": "cpu", "y": "npu"},
        **dict.fromkeys(("single_core_mode", "compress_weight", "remove_weight", "remove_reshape"), True),
        "memory_plan_strategy": "GreedyBySize",
        "compute_order": "DepthFirst",
    }


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"optimization_level": 4}, "optimization_level is 0 to 3"),
        ({"rknn_batch_size": 0}, "at least 1"),
        ({"op_target": "MaxPool:dsp"}, "'dsp', which is no unit"),
        ({"compute_order": "Sideways"}, "compute_order"),
        ({"sparse_infer": True}, "no option 'sparse_infer'"),
    ],
)
def test_refusals(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        settings(tmp_path, options=options)
    assert not (tmp_path / "artifact").exists()


def test_the_toolkits_own_quantization_gets_the_samples(tmp_path: Path) -> None:
    """A float model, the samples as files in the order of the inputs, and which algorithm."""
    rng = np.random.default_rng(0)
    module = small_cnn()
    shape = tuple(d for d in module.main.inputs[0].type.dims if isinstance(d, int))
    samples = [rng.normal(0, 1, shape).astype(np.float32) for _ in range(3)]
    artifact = uair.compile(
        module,
        "rk3588",
        output=tmp_path / "artifact",
        quantize=uair.Int8(samples),
        options={"quantizer": "mmse"},
        golden=False,
    )
    content = json.loads(artifact.file("build.json").read_text("utf-8"))
    assert content["quantization"] == "toolkit"
    assert content["config"]["quantized_algorithm"] == "mmse"
    listed = artifact.file(content["dataset"]).read_text("utf-8").split()
    folder = artifact.file(content["dataset"]).parent
    for name, sample in zip(listed, samples, strict=True):
        assert np.array_equal(np.load(folder / name), sample)
    kinds = {node.op_type for node in onnx.load(artifact.file("model.onnx")).graph.node}
    assert "Conv" in kinds
    assert not kinds & {"QuantizeLinear", "DequantizeLinear"}


def test_the_toolkits_own_quantization_needs_samples(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="quantizer=normal is for INT8"):
        settings(tmp_path, options={"quantizer": "normal"})
    with pytest.raises(UairError, match="least_cosine is given"):
        settings(tmp_path, options={"quantizer": "normal"}, quantize=uair.Int8([], least_cosine=0.9))


def test_several_shapes(tmp_path: Path) -> None:
    shapes: Sequence[dict[str, Any]] = [{"x": (1, 2, 8, 8)}, {"x": (1, 2, 16, 24)}]
    content = settings(tmp_path, "1,2,h,w", buckets=shapes)
    assert content["config"]["dynamic_input"] == [[[1, 2, 8, 8]], [[1, 2, 16, 24]]]


@pytest.mark.parametrize("target", ["rk3566", "rk3576"])
def test_other_chips(target: str, tmp_path: Path) -> None:
    chip = Context.default().target(target)
    assert settings(tmp_path, target=target)["config"]["target_platform"] == target
    relu = next(iter(parse_module("%x: f32[1,2,8,8]  %y = Relu(%x)").main))
    assert chip.verdict(relu).confidence is Confidence.UNCERTAIN
    assert not chip.description.compute.peak and not chip.description.memory
    assert chip.options is RockchipOptions
