"""The ONNX file for rknn-toolkit2: the real models, and what the toolkit was measured to need."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, defs, helper, numpy_helper

import uair
from tests import zoo
from tests.codegen.onnx.running import run as run_onnx
from tests.golden import Golden
from uair.artifact import file_sha256
from uair.codegen.onnx.rules import ModelRules
from uair.codegen.rockchip import build_script
from uair.codegen.rockchip.target import NAMES
from uair.ir import DType
from uair.preprocess import Preprocess
from uair.text import parse_module

MODELS = zoo.models()
HUGE = frozenset({"light_vgg19", "light_bvlc_alexnet", "light_zfnet512"})
"""Their weights, one repeated value each in the source, are hundreds of MiB when written."""
REFUSED = frozenset(
    {"Dropout", "Identity", "If", "Mish", "Gelu", "NonZero", "NonMaxSuppression", "Size", "QLinearConv"}
)
"""Operators that the toolkit refuses, or takes better decomposed (Mish)."""
RULES = ModelRules(
    reader="rknn-toolkit2",
    opset=17,
    operators=frozenset({schema.name for schema in defs.get_all_schemas()} - REFUSED),
    names=NAMES,
    inputs=frozenset({DType.F32, DType.I32, DType.I64}),
)


def emitted(artifact: uair.Artifact) -> ModelProto:
    """The model of an artifact, after onnx's own check."""
    proto = onnx.load(str(artifact.file("model.onnx")))
    onnx.checker.check_model(proto, full_check=True)
    return proto


def run_emitted(artifact: uair.Artifact, feeds: dict[str, Any]) -> dict[str, Any]:
    """Outputs of the emitted file in onnxruntime, by the model's own names."""
    entry = artifact.manifest["rockchip"]
    inputs = {port["source"]: port["name"] for port in entry["inputs"]}
    outputs = {port["name"]: port["source"] for port in entry["outputs"]}
    got = run_onnx(str(artifact.file("model.onnx")), {inputs[k]: v for k, v in feeds.items() if k in inputs})
    return {outputs[name]: value for name, value in got.items()}


def missing_defaults(proto: ModelProto) -> Iterator[str]:
    """Attributes with a default that a node leaves out."""
    for node in proto.graph.node:
        schema = defs.get_schema(node.op_type, 17)
        given = {attribute.name for attribute in node.attribute}
        for name, attribute in schema.attributes.items():
            if name not in given and attribute.default_value.type:
                yield f"{node.op_type}.{name}"


def sliced_concatenations(proto: ModelProto) -> list[str]:
    """Slices of a Concat along its axis; the toolkit's rule remove_concat_slice fails on chains of them."""
    constants = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    axes = {n.output[0]: n.attribute[0].i for n in proto.graph.node if n.op_type == "Concat"}
    slices = [n for n in proto.graph.node if n.op_type == "Slice" and n.input[0] in axes]
    return [n.name for n in slices if axes[n.input[0]] in constants[n.input[3]].tolist()]


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.slow] if n in HUGE else []) for n in MODELS])
def test_real_models(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    made = uair.compile(model.path, "rk3588", output=tmp_path / "out", shapes=dict(model.shapes), golden=False)
    proto = emitted(made)
    assert list(RULES.problems(proto)) == []
    assert list(missing_defaults(proto)) == []
    assert proto.ir_version == 8
    feeds = dict(model.feeds())
    got, want = run_emitted(made, feeds), run_onnx(str(model.path), feeds)
    assert set(got) == set(want)
    for key, expected in want.items():
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-6)
        assert float(np.abs(got[key].astype(np.float64) - expected).max(initial=0.0)) <= 1e-4 * scale, key


@pytest.mark.parametrize("name", ["ppocr_cls", "ppocr_rec", "basic_pitch", "magika"])
def test_quantized_models(name: str, tmp_path: Path) -> None:
    model = MODELS[name]
    made = uair.compile(
        model.path,
        "rk3588",
        output=tmp_path / "out",
        shapes=dict(model.shapes),
        quantize=uair.Int8(model.calibration(2)),
    )
    proto = emitted(made)
    assert list(RULES.problems(proto)) == []
    constants = {t.name: t for t in proto.graph.initializer}
    pairs = [n for n in proto.graph.node if n.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert pairs
    assert all(len(node.input) == 3 for node in pairs)  # else: IndexError in the toolkit's fold_constant
    for node in pairs:
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            data, scale, zero = (numpy_helper.to_array(constants[name]) for name in node.input)
            assert data.dtype in (np.int8, np.int32) and zero.dtype == data.dtype and zero.shape == scale.shape
            if scale.ndim or data.dtype == np.int32:  # a weight or bias
                assert not zero.any()
    for node in pairs:
        if node.op_type == "QuantizeLinear":
            assert numpy_helper.to_array(constants[node.input[2]]).dtype == np.int8
    golden_in, golden_out = made.arrays("golden/inputs.npz"), made.arrays("golden/outputs.npz")
    for key, got in run_emitted(made, golden_in).items():
        a, b = got.astype(np.float64).ravel(), golden_out[key].astype(np.float64).ravel()
        assert float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b))) > 0.9


def test_between_quantized_operators_everything_is_integers(tmp_path: Path) -> None:
    """A result of Conv without Q/DQ in front of an activation is float16 to the toolkit; only Relu may follow bare."""
    model = MODELS["ppocr_cls"]
    made = uair.compile(
        model.path,
        "rk3588",
        output=tmp_path / "out",
        shapes=dict(model.shapes),
        quantize=uair.Int8(model.calibration(2)),
    )
    proto = emitted(made)
    users: dict[str, list[str]] = {}
    for node in proto.graph.node:
        for operand in node.input:
            users.setdefault(operand, []).append(node.op_type)
    kinds = {n.op_type for n in proto.graph.node}
    assert {"Clip", "HardSwish"} <= kinds
    assert "HardSigmoid" not in kinds
    for node in proto.graph.node:
        if node.op_type == "Conv":
            assert users[node.output[0]] in (["QuantizeLinear"], ["Relu"])


def test_what_the_toolkit_takes_decomposed_only(tmp_path: Path) -> None:
    text = "%x: f32[1,8,4,4]  %a = Mish(%x)  %b = Gelu(%a)  %c = HardSwish(%b)  %y = Swish(%c)"
    made = uair.compile(parse_module(text), "rk3588", output=tmp_path / "out")
    kinds = {node.op_type for node in emitted(made).graph.node}
    assert {"Softplus", "Tanh", "Erf", "HardSwish", "Sigmoid"} <= kinds
    assert not kinds & {"Mish", "Gelu", "Swish"}
    (erf,) = (node for node in emitted(made).graph.node if node.op_type == "Erf")
    makers = {name: node.op_type for node in emitted(made).graph.node for name in node.output}
    assert makers[erf.input[0]] == "Div", "the toolkit sees no Gelu in a product, and runs Erf on the CPU in INT8"


@pytest.mark.parametrize("quantized", [False, True])
def test_no_two_operators_share_a_weight(quantized: bool, tmp_path: Path) -> None:
    text = """constant @w = splat<0.5> : f32[4,4,1,1]  constant @b = [1.0,2.0,3.0,4.0] : f32[4]  %x: f32[1,4,2,2]
        %a = Conv2D(%x, @w, @b)  %s = Sigmoid(%a)  %y = Conv2D(%s, @w, @b)"""
    samples = [{"x": np.full((1, 4, 2, 2), k, np.float32)} for k in (-1, 1)]
    made = uair.compile(
        parse_module(text), "rk3588", output=tmp_path / "out", quantize=uair.Int8(samples) if quantized else None
    )
    proto = emitted(made)
    constants = {t.name: t for t in proto.graph.initializer}
    kinds = ("DequantizeLinear",) if quantized else ("Conv",)
    weights = [n.input[0 if quantized else 1] for n in proto.graph.node if n.op_type in kinds]
    weights = [name for name in weights if name in constants]
    assert len(weights) == len(set(weights)) == (4 if quantized else 2)


def test_an_unused_input_is_dropped_and_reported(tmp_path: Path) -> None:
    made = uair.compile(parse_module("%x: f32[2]  %n: i32[]  %y = Relu(%x)"), "rk3588", output=tmp_path / "out")
    assert [i.name for i in emitted(made).graph.input] == ["x"]
    assert made.manifest["rockchip"]["unused_inputs"] == ["n"]
    assert [entry["name"] for entry in made.manifest["inputs"]] == ["x", "n"]


def test_names_with_colons_are_replaced_and_listed(tmp_path: Path) -> None:
    text = '"in:0" = %x: f32[2]  "in;0" = %z: f32[2]  %"a/b:0" = Add(%x, %z)  %y = Relu(%"a/b:0")  return "1st" = %y'
    made = uair.compile(parse_module(text), "rk3588", output=tmp_path / "out")
    entry = made.manifest["rockchip"]
    assert [(p["source"], p["name"]) for p in entry["inputs"]] == [("in:0", "in_0"), ("in;0", "in_0_1")]
    assert [(p["source"], p["name"]) for p in entry["outputs"]] == [("1st", "value_1st")]
    assert list(RULES.problems(emitted(made))) == []
    feeds = {"in:0": np.ones(2, np.float32), "in;0": np.array([-3, 3], np.float32)}
    assert run_emitted(made, feeds)["1st"].tolist() == [0.0, 4.0]


def test_long_convolutions_are_folded(tmp_path: Path) -> None:
    """basic-pitch: 26 convolutions with 256 taps; none is left with more than the NPU does in one step."""
    model = MODELS["basic_pitch"]
    made = uair.compile(model.path, "rk3588", output=tmp_path / "out", shapes=dict(model.shapes), golden=False)
    proto = emitted(made)
    kernels = [
        helper.get_attribute_value(attribute)
        for node in proto.graph.node
        if node.op_type == "Conv"
        for attribute in node.attribute
        if attribute.name == "kernel_shape"
    ]
    assert len(kernels) == 32
    long = [kernel for kernel in kernels if max(kernel) > 31]
    assert long == [[3, 39]]  # over two axes: the toolkit splits it, which it can
    assert sliced_concatenations(proto) == []


def test_infinite_masks_are_finite(tmp_path: Path) -> None:
    text = "constant @m = [0.0,-inf] : f32[2]  %x: f32[3,2]  %a = Add(%x, @m)  %y = Softmax(%a)"
    made = uair.compile(parse_module(text), "rk3588", output=tmp_path / "out")
    (mask,) = emitted(made).graph.initializer
    assert numpy_helper.to_array(mask).tolist() == [0.0, -10000.0]


CONVOLUTION = """constant @w = [0.5,-1.0,2.0] : f32[1,3,1,1]  constant @b = [1.0] : f32[1]
    "image:0" = %x: f32[1,3,2,2]  %s: f32[1]  %c = Conv2D(%x, @w, @b)  %a = Mul(%c, %s)  %y = Relu(%a)
    return "y:0" = %y"""


def test_settings_and_scripts(golden: Golden, tmp_path: Path) -> None:
    made = uair.compile(parse_module(CONVOLUTION), "rk3588", output=tmp_path / "out")
    for name in ("build.json", "build.sh"):
        golden.check(name, made.file(name).read_text())
    assert made.file("build.py").read_text() == Path(build_script.__file__).read_text()
    assert made.file("build.sh").stat().st_mode & 0o111


def test_settings_of_a_quantized_model(golden: Golden, tmp_path: Path) -> None:
    samples = [{"image:0": np.full((1, 3, 2, 2), k, np.float32), "s": np.ones(1, np.float32)} for k in (-1, 1)]
    made = uair.compile(parse_module(CONVOLUTION), "rk3588", output=tmp_path / "out", quantize=uair.Int8(samples))
    golden.check("build_int8.json", made.file("build.json").read_text())


def test_normalization_is_done_by_the_compiled_model(tmp_path: Path) -> None:
    preprocess = Preprocess(mean=(10.0, 20.0, 30.0), std=(2.0,), color="bgr")
    made = uair.compile(
        parse_module(CONVOLUTION), "rk3588", output=tmp_path / "out", preprocess={"image:0": preprocess}
    )
    content = json.loads(made.file("build.json").read_text())
    assert content["config"]["mean_values"] == [[10.0, 20.0, 30.0], []]
    assert content["config"]["std_values"] == [[2.0, 2.0, 2.0], []]
    image, scale = made.manifest["rockchip"]["inputs"]
    assert image["normalization"] == {"mean": [10.0, 20.0, 30.0], "std": [2.0, 2.0, 2.0]}
    assert scale["normalization"] is None
    fed, tensors = made.arrays(content["golden"]["inputs"]), made.arrays("golden/inputs.npz")
    mean = np.array([10, 20, 30], np.float32).reshape(1, 3, 1, 1)
    np.testing.assert_allclose((fed["image:0"] - mean) / 2, tensors["image:0"], rtol=1e-5, atol=1e-5)
    assert np.array_equal(fed["s"], tensors["s"])


def test_normalization_of_channels_last_is_left_to_the_host(tmp_path: Path) -> None:
    text = "%x: f32[1,2,2,3]  %y = Relu(%x)"
    preprocess = Preprocess(mean=(10.0,), std=(2.0,), layout="NHWC")
    made = uair.compile(parse_module(text), "rk3588", output=tmp_path / "out", preprocess={"x": preprocess})
    content = json.loads(made.file("build.json").read_text())
    assert "mean_values" not in content["config"]
    assert content["golden"]["inputs"] == "golden/inputs.npz"
    assert made.manifest["inputs"][0]["preprocess"]["mean"] == [10.0]


def test_without_golden_data_nothing_is_compared(tmp_path: Path) -> None:
    made = uair.compile(parse_module(CONVOLUTION), "rk3588", output=tmp_path / "out", golden=False)
    assert "golden" not in json.loads(made.file("build.json").read_text())


@pytest.mark.parametrize("quantized", [False, True])
def test_the_same_input_gives_the_same_bytes(quantized: bool, tmp_path: Path) -> None:
    model = MODELS["ppocr_cls"]
    hashes: list[dict[str, str]] = []
    for i in range(2):
        made = uair.compile(
            model.path,
            "rk3588",
            output=tmp_path / str(i),
            shapes=dict(model.shapes),
            quantize=uair.Int8(model.calibration(2)) if quantized else None,
        )
        files = sorted(p for p in made.root.rglob("*") if p.is_file())
        hashes.append({p.relative_to(made.root).as_posix(): file_sha256(p) for p in files})
    assert hashes[0] == hashes[1]
