"""config.yaml: read back as YAML, its keys and values those that the manual lists; byte for byte in golden files."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import models
from tests.golden import Golden
from uair.artifact import Artifact
from uair.codegen.horizon.errors import HorizonInputError
from uair.codegen.horizon.inputs import CONVERSIONS
from uair.codegen.horizon.options import CHIPS
from uair.context import Context
from uair.ir.dtype import DType
from uair.ir.graph import Graph, constant
from uair.ir.module import Module
from uair.preprocess import Preprocess
from uair.quant.errors import SchemeError
from uair.request import Int8
from uair.targets.errors import OptionError

YAML: Any = importlib.import_module("yaml")  # has no types of its own
IMAGE = Preprocess(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375))
TARGETS = ("horizon_j5", "horizon_x5", "horizon_x3", "horizon_j6e", "horizon_j6m")
TEXT = frozenset({"*"})
KEYS: dict[str, dict[str, frozenset[Any]]] = {
    "model_parameters": {
        "onnx_model": TEXT, "march": frozenset(CHIPS), "output_model_file_prefix": TEXT, "working_dir": TEXT,
        "layer_out_dump": frozenset({True, False}), "remove_node_type": TEXT, "node_info": TEXT,
    },
    "input_parameters": {
        "input_name": TEXT, "input_type_train": frozenset({"rgb", "bgr", "yuv444", "gray", "featuremap"}),
        "input_layout_train": frozenset({"NCHW", "NHWC"}), "input_layout_rt": frozenset({"NCHW", "NHWC"}),
        "input_type_rt": frozenset({"rgb", "bgr", "yuv444", "nv12", "gray", "featuremap"}),
        "input_space_and_range": frozenset({"regular", "bt601_video"}), "input_shape": TEXT,
        "input_batch": frozenset(range(1, 129)),
        "norm_type": frozenset({"no_preprocess", "data_mean", "data_scale", "data_mean_and_scale"}),
        "mean_value": TEXT, "scale_value": TEXT,
    },
    "calibration_parameters": {
        "cal_data_dir": TEXT, "cal_data_type": frozenset({"float32", "uint8"}),
        "preprocess_on": frozenset({True, False}),
        "calibration_type": frozenset({"default", "mix", "kl", "max", "load", "skip"}), "max_percentile": TEXT,
        "per_channel": frozenset({True, False}), "optimization": TEXT, "run_on_bpu": TEXT, "quant_config": TEXT,
    },
    "compiler_parameters": {
        "compile_mode": frozenset({"latency", "bandwidth", "balance"}), "debug": frozenset({True, False}),
        "core_num": frozenset({1, 2}), "optimize_level": frozenset({"O0", "O1", "O2", "O3"}),
        "balance_factor": frozenset(range(101)), "max_time_per_fc": TEXT, "jobs": TEXT, "input_source": TEXT,
    },
}  # fmt: skip
"""The keys of the manual, with their legal values; "*" stands for any."""
REQUIRED = {
    "model_parameters": {"onnx_model", "march", "output_model_file_prefix"},
    "input_parameters": {"input_name", "input_type_train", "input_layout_train", "input_type_rt", "norm_type"},
    "calibration_parameters": {"calibration_type"},
    "compiler_parameters": {"compile_mode", "optimize_level"},
}
PER_INPUT = {"input_type_train", "input_layout_train", "input_type_rt", "input_layout_rt", "norm_type", "cal_data_type",
             "input_space_and_range"}  # fmt: skip


def conforms(artifact: Artifact) -> dict[str, dict[str, Any]]:
    """The configuration, checked against the manual and the files that it names."""
    config: dict[str, dict[str, Any]] = YAML.safe_load(artifact.file("config.yaml").read_text())
    assert list(config) == list(KEYS)
    count = len(config["input_parameters"]["input_name"].split(";"))
    for group, keys in config.items():
        assert REQUIRED[group] <= set(keys)
        for key, value in keys.items():
            legal = KEYS[group][key]
            values = value.split(";") if key in PER_INPUT else [value]
            assert len(values) == (count if key in PER_INPUT else 1), key
            assert legal is TEXT or legal.issuperset(values), (key, value)
    inputs, calibration = config["input_parameters"], config["calibration_parameters"]
    pairs = zip(inputs["input_type_train"].split(";"), inputs["input_type_rt"].split(";"), strict=True)
    assert all(rt in CONVERSIONS[train] for train, rt in pairs)
    assert artifact.file(config["model_parameters"]["onnx_model"]).is_file()
    assert ("cal_data_dir" in calibration) == (calibration["calibration_type"] != "skip")
    for key, word in (("mean_value", "mean"), ("scale_value", "scale")):
        assert (key in inputs) == any(word in kind for kind in inputs["norm_type"].split(";"))
    return config


def build(target: str, folder: Path, **options: Any) -> Artifact:
    module = models.cnn()
    samples = Int8(calibration=models.samples(module, 4))
    return uair.compile(
        module, target, output=folder / target, quantize=samples, preprocess={"image": IMAGE}, options=options
    )


@pytest.mark.parametrize("target", TARGETS)
def test_a_small_network(target: str, tmp_path: Path, golden: Golden) -> None:
    artifact = build(target, tmp_path, input_type_rt="nv12", int16_below=0.99996)
    config = conforms(artifact)
    golden.check(f"{target}/config.yaml", artifact.file("config.yaml").read_text())
    golden.check(f"{target}/build.sh", artifact.file("build.sh").read_text())
    assert config["model_parameters"]["march"] == Context.default().target(target).description.toolchain.soc_version
    assert "input_layout_rt" not in config["input_parameters"], "nv12 has a layout of its own"
    own = artifact.manifest["horizon"]
    assert own["calibration_samples"] == 4 and not own["speed_only"]
    assert bool(own["int16"]) == (target != "horizon_x3"), "bernoulli2 knows no node_info"
    if own["int16"]:
        names = {n.name for n in onnx.load(artifact.file("model.onnx")).graph.node}
        assert set(config["model_parameters"]["node_info"]) == set(own["int16"]) <= names
        assert "flat" not in own["int16"], "a Reshape only moves numbers"


def test_mean_and_scale_are_those_of_pixels(tmp_path: Path) -> None:
    inputs = conforms(build("horizon_j5", tmp_path))["input_parameters"]
    assert inputs["mean_value"] == "123.675 116.28 103.53"
    scales = [float(s) for s in inputs["scale_value"].split()]
    assert scales == pytest.approx([1 / 58.395, 1 / 57.12, 1 / 57.375], rel=1e-6)
    assert inputs["input_type_rt"] == "rgb" and inputs["input_layout_rt"] == "NCHW"


def test_calibration_data_are_pixels_for_hb_mapper_and_normalised_for_hb_compile(tmp_path: Path) -> None:
    module = models.cnn()
    first = next(iter(models.samples(module, 4)))["image"]
    raw = np.fromfile(build("horizon_j5", tmp_path).file("calibration/image/0000.bin"), np.float32)
    mean, std = np.reshape(IMAGE.mean, (1, 3, 1, 1)), np.reshape(IMAGE.std, (1, 3, 1, 1))
    np.testing.assert_allclose(raw.reshape(first.shape), first * std + mean, rtol=1e-5, atol=1e-4)
    normal = np.load(build("horizon_j6e", tmp_path).file("calibration/image/0000.npy"))
    np.testing.assert_array_equal(normal, first)
    assert normal.dtype == np.float32


def test_float_models_are_for_measuring_speed(tmp_path: Path) -> None:
    artifact = uair.compile(models.cnn(), "horizon_j5", output=tmp_path / "a")
    config = conforms(artifact)
    assert config["calibration_parameters"] == {"calibration_type": "skip"}
    assert config["input_parameters"]["input_type_rt"] == "featuremap"
    assert artifact.manifest["horizon"]["speed_only"] and not (artifact.root / "calibration").exists()


def test_options_become_keys(tmp_path: Path) -> None:
    config = conforms(
        build(
            "horizon_j5",
            tmp_path,
            input_type_rt="nv12",
            input_space_and_range="bt601_video",
            input_batch=8,
            calibration_type="max",
            max_percentile=0.9999,
            per_channel=True,
            optimization="set_Softmax_input_int8",
            compile_mode="balance",
            balance_factor=30,
            optimize_level="O2",
            core_num=2,
            debug=True,
            max_time_per_fc=1000,
            jobs=4,
            input_source={"image": "pyramid"},
            remove_node_type="Quantize,Dequantize",
            int16="none",
        )  # fmt: skip
    )
    assert config["calibration_parameters"] == {
        "calibration_type": "max", "cal_data_dir": "calibration/image", "cal_data_type": "float32",
        "preprocess_on": False, "max_percentile": 0.9999, "per_channel": True, "optimization": "set_Softmax_input_int8",
    }  # fmt: skip
    assert config["compiler_parameters"] == {
        "compile_mode": "balance", "debug": True, "core_num": 2, "optimize_level": "O2", "balance_factor": 30,
        "max_time_per_fc": 1000, "jobs": 4, "input_source": {"image": "pyramid"},
    }  # fmt: skip
    assert config["input_parameters"]["input_batch"] == 8
    assert config["input_parameters"]["input_space_and_range"] == "bt601_video"
    assert config["model_parameters"]["remove_node_type"] == "Quantize;Dequantize"
    assert "node_info" not in config["model_parameters"]
    j6 = conforms(build("horizon_j6e", tmp_path, all_node_type="int16"))
    assert j6["calibration_parameters"]["quant_config"] == {"model_config": {"all_node_type": "int16"}}


@pytest.mark.parametrize(
    ("target", "options", "words"),
    [
        ("horizon_x5", {"core_num": 2}, "core_num=2"),
        ("horizon_x3", {"compile_mode": "balance", "balance_factor": 3}, "compile_mode=balance"),
        ("horizon_j6e", {"optimize_level": "O3"}, "optimize_level=O3"),
        ("horizon_j5", {"all_node_type": "int16"}, "all_node_type"),
        ("horizon_j5", {"input_batch": 129}, "input_batch cannot be 129"),
        ("horizon_j5", {"max_time_per_fc": 10}, "max_time_per_fc cannot be 10"),
        ("horizon_j5", {"max_percentile": 0.9}, "max_percentile belongs to"),
        ("horizon_j5", {"per_channel": True}, "per_channel does not go with"),
        ("horizon_j5", {"balance_factor": 3}, "go together"),
        ("horizon_j5", {"input_space_and_range": "bt601_video"}, "bt601_video"),
        ("horizon_j5", {"calibration_type": "load"}, "calibration_type"),
        ("horizon_j5", {"input_source": {"image": "camera"}}, "input_source"),
    ],
)
def test_options_that_do_not_fit(target: str, options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match=words):
        build(target, tmp_path, **options)
    assert not (tmp_path / target).exists()


def one_input(shape: str) -> uair.Module:
    from uair.ops import Relu
    from uair.text import parse_type

    graph = Graph("main")
    graph.add_output("y", graph.append(Relu().node(graph.add_input("x", parse_type(shape)))).output)
    return Module("m", {"main": graph})


@pytest.mark.parametrize(
    ("target", "shape", "preprocess", "options", "words"),
    [
        ("horizon_j5", "f32[1,3,9,8]", "color=rgb", {"input_type_rt": "nv12"}, "even width"),
        ("horizon_j5", "f32[1,1,8,8]", "color=gray", {"input_type_rt": "nv12"}, "cannot arrive as nv12"),
        ("horizon_j5", "f32[1,3,8,8]", "color=rgb", {"input_type_rt": "gray"}, "cannot arrive as gray"),
        ("horizon_x3", "f32[1,3,8,8]", "color=rgb", {"input_type_rt": "yuv444", "input_layout_rt": "NCHW"},
         "NHWC only"),
        ("horizon_j5", "f32[1,3,8,8]", "color=rgb", {"input_source": {"x": "pyramid"}}, "comes from the pyramid"),
        ("horizon_j5", "f32[1,3,144,128]", "color=rgb", {"input_type_rt": "nv12", "input_source": {"x": "resizer"}},
         "fewer than 18432"),
        ("horizon_j5", "f32[1,3,8,8]", "color=rgb", {"input_source": {"z": "ddr"}}, "input_source names"),
    ],
)  # fmt: skip
def test_inputs_that_do_not_fit(
    target: str, shape: str, preprocess: str, options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(HorizonInputError, match=words):
        uair.compile(
            one_input(shape), target, output=tmp_path / "a", preprocess={"x": Preprocess.parse(preprocess)},
            options=options,
        )  # fmt: skip
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize("target", ["horizon_j5", "horizon_x3", "horizon_j6e"])
@pytest.mark.parametrize("name", ["light_squeezenet", "light_resnet50"])
def test_models_of_the_zoo(target: str, name: str, tmp_path: Path) -> None:
    entry = zoo.models()[name]
    artifact = uair.compile(entry.path, target, output=tmp_path / "a", shapes=entry.shapes, golden=False)
    conforms(artifact)


def round_weights(module: Module) -> None:
    """Make every weight of a module one that 8 bits hold, with one scale for all of it."""
    for node in module.main:
        weight = node.inputs[1] if len(node.inputs) > 1 else None
        if weight is not None and weight.is_constant and weight.type.dtype is DType.F32:
            values = weight.numpy()
            step = np.float32(2.0 ** np.ceil(np.log2(np.abs(values).max() / 127)))
            rounded = np.round(values / step) * step
            for channel in rounded:
                channel.flat[0] = 127 * step
            node.set_input(1, constant(rounded, weight.name))


@pytest.mark.parametrize("target", ["horizon_j5", "horizon_j6e"])
def test_outputs_that_must_be_close_get_nodes_of_16_bits(target: str, tmp_path: Path) -> None:
    """INT8 gives less than that: the nodes that lose most are told to hb_mapper, none is left in float."""
    module = models.cnn()
    round_weights(module)  # all that is lost is lost by activations, where 16 bits help
    found: dict[float, list[str]] = {}
    for least in (0.0, 0.99999):
        samples = Int8(calibration=models.samples(module, 4), least_cosine=least)
        artifact = uair.compile(
            module,
            target,
            output=tmp_path / str(least),
            quantize=samples,
            preprocess={"image": IMAGE},
            options={"int16_below": 0.0},
        )
        own = artifact.manifest["horizon"]["int16"]
        found[least] = own
        config = conforms(artifact)
        assert set(config["model_parameters"].get("node_info", {})) == set(own)
        names = {n.name for n in onnx.load(artifact.file("model.onnx")).graph.node}
        assert set(own) <= names
    assert not found[0.0]
    assert found[0.99999]


def test_settings_for_what_the_tool_decides_are_refused(tmp_path: Path) -> None:
    module = models.cnn()
    feeds = models.samples(module, 4)
    for request, needle in (
        (Int8(calibration=feeds, most_float=0.1), "most_float"),
        (Int8(calibration=feeds, effort="high"), "effort"),
    ):
        with pytest.raises(SchemeError, match=f"{needle} is given"):
            uair.compile(module, "horizon_j5", output=tmp_path / needle, quantize=request)
    request = Int8(calibration=feeds, least_cosine=0.9)
    with pytest.raises(SchemeError, match="least_cosine is given"):
        uair.compile(module, "horizon_x3", output=tmp_path / "x3", quantize=request)
