"""The ONNX files for TensorRT: every rule of its parser on what is written, and the numbers in onnxruntime."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

import uair
from tests import zoo
from tests.quant.networks import Builder, all_products, branches, samples, small_cnn
from uair.api import DoesNotFit
from uair.artifact import Artifact
from uair.codegen.onnx.rules import RuleViolation
from uair.codegen.onnx.written import check_symmetric_qdq, symmetric_qdq_problems
from uair.codegen.reference import run as interpret
from uair.ir.module import Module
from uair.ops import Add, AvgPool1D, Conv1D, Conv2D, MaxPool1D, Relu
from uair.request import Int8
from uair.targets import load_description
from uair.text import parse_module

ZOO = ["squeezenet_real", "ppocr_cls", "magika", "basic_pitch"]
NETWORKS: dict[str, tuple[Callable[[], Module], tuple[int, ...]]] = {
    "cnn": (small_cnn, (1, 3, 8, 8)),
    "products": (all_products, (1, 4, 6, 6)),
    "branches": (branches, (1, 3, 6, 6)),
}


def residual_net() -> Module:
    """A block whose skip is the input of its branch, and one whose skip has a convolution of its own."""
    b = Builder(1, 4, 8, 8)
    stem = b.add(Relu(), b.add(Conv2D(), b.x, b.weight(4, 4, 1, 1), b.weight(4), name="stem"), name="stem_relu")
    branch = b.add(Conv2D(pads=(1, 1, 1, 1)), stem, b.weight(4, 4, 3, 3), b.weight(4), name="branch")
    one = b.add(Relu(), b.add(Add(), branch, stem, name="add_one"), name="relu_one")
    side = b.add(Conv2D(), one, b.weight(4, 4, 1, 1), b.weight(4), name="side")
    inner = b.add(Relu(), b.add(Conv2D(), one, b.weight(4, 4, 1, 1), name="inner"), name="inner_relu")
    end = b.add(Conv2D(), inner, b.weight(4, 4, 1, 1), b.weight(4), name="end")
    two = b.add(Relu(), b.add(Add(), side, end, name="add_two"), name="relu_two")
    gate = b.add(Add(), b.add(Relu(), two, name="left"), b.add(Relu(), one, name="right"), name="no_branch")
    return b.done(b.add(Conv2D(), gate, b.weight(2, 4, 1, 1), name="last"))


def compiled(module: Module, feeds: Any, folder: Path, **options: Any) -> Artifact:
    return uair.compile(module, "jetson_orin", output=folder, quantize=Int8(calibration=feeds), options=options)


def outputs(path: Path, feeds: Mapping[str, Any]) -> list[Any]:
    """What the graph means: onnxruntime without its fusions (those of 1.23.2 get some symmetric models wrong)."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(zip([i.name for i in session.get_inputs()], feeds.values(), strict=True))))


def cosine(a: Any, b: Any) -> float:
    x, y = a.astype(np.float64).ravel(), b.astype(np.float64).ravel()
    return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))


def conforms(artifact: Artifact) -> None:
    """Every rule that the documents state, on the files as they are."""
    description = load_description("jetson_orin")
    assert description.onnx_operators is not None
    versions = {"model.onnx": 17, "model_f16.onnx": 19}
    if "implicit/model.onnx" in artifact.manifest["files"]:
        versions["implicit/model.onnx"] = 17
    for name, opset in versions.items():
        model = onnx.load(artifact.file(name))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", opset)]
        assert {n.op_type for n in model.graph.node} <= description.onnx_operators
        assert list(symmetric_qdq_problems(model)) == []
        quantizers = {n.op_type for n in model.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
        assert bool(quantizers) == (not name.startswith("implicit"))
        types = {t.data_type for t in model.graph.initializer}
        assert TensorProto.DOUBLE not in types
        int8 = [t for t in model.graph.initializer if t.data_type == TensorProto.INT8]
        assert all(not numpy_helper.to_array(t).any() for t in int8), "int8 constants are zero points, never weights"


@pytest.mark.parametrize("name", NETWORKS)
def test_networks_conform_and_agree(name: str, tmp_path: Path) -> None:
    make, shape = NETWORKS[name]
    artifact = compiled(make(), samples(shape=shape), tmp_path / "a", dla="0")
    conforms(artifact)
    feeds = samples(1, shape, seed=9)[0]
    wanted = list(interpret(uair.load(artifact.file("model.uair")), feeds).values())
    for got, want in zip(outputs(artifact.file("model.onnx"), feeds), wanted, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    for got, want in zip(outputs(artifact.file("model_f16.onnx"), feeds), wanted, strict=True):
        assert got.dtype == want.dtype and cosine(got, want) > 0.999
    floats = list(interpret(make(), feeds).values())
    for got, want in zip(outputs(artifact.file("implicit/model.onnx"), feeds), floats, strict=True):
        assert cosine(got, want) > 0.999, "only the weights are rounded"


@pytest.mark.parametrize("name", ZOO)
def test_models_of_the_zoo_conform_and_agree(name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    artifact = uair.compile(
        model.path, "jetson_orin", shapes=model.shapes, quantize=Int8(calibration=model.calibration(3)),
        output=tmp_path / "a",
    )  # fmt: skip
    conforms(artifact)
    feeds = artifact.arrays("golden/inputs.npz")
    wanted = list(interpret(uair.load(artifact.file("model.uair")), feeds).values())
    for got, want in zip(outputs(artifact.file("model.onnx"), feeds), wanted, strict=True):
        assert cosine(got, want) > 0.9999
    for got, want in zip(outputs(artifact.file("model_f16.onnx"), feeds), wanted, strict=True):
        assert cosine(got, want) > 0.97


def test_only_the_skipping_operand_of_a_residual_sum_is_quantized(tmp_path: Path) -> None:
    artifact = compiled(residual_net(), samples(shape=(1, 4, 8, 8)), tmp_path / "a")
    model = onnx.load(artifact.file("model.onnx"))
    producer = {o: n for n in model.graph.node for o in n.output}
    by_name = {n.name: n for n in model.graph.node}

    def operands(name: str) -> list[str]:
        return [producer[i].op_type for i in by_name[name].input]

    assert operands("add_one") == ["Conv", "DequantizeLinear"]
    assert operands("add_two") == ["DequantizeLinear", "Conv"], "of two convolutions the later one ends the branch"
    assert operands("no_branch") == ["Relu", "Relu"], "a sum that ends no branch is not touched"
    assert producer[by_name["stem_relu"].input[0]].op_type == "Conv", "nothing stands between Conv and Relu"


def test_one_axis_is_pooled_as_an_image(tmp_path: Path) -> None:
    b = Builder(1, 4, 16)
    c = b.add(Conv1D(pads=(1, 1)), b.x, b.weight(4, 4, 3), name="c")
    p = b.add(MaxPool1D(kernel=(3,), strides=(2,), pads=(1, 0)), c, name="p")
    module = b.done(b.add(AvgPool1D(kernel=(2,), strides=(2,), pads=(0, 1), count_include_pad=True), p, name="q"))
    artifact = uair.compile(module, "jetson_orin", output=tmp_path / "a")
    model = onnx.load(artifact.file("model.onnx"))
    pools = [n for n in model.graph.node if n.op_type in ("MaxPool", "AveragePool")]
    assert [len(next(a.ints for a in n.attribute if a.name == "kernel_shape")) for n in pools] == [2, 2]
    feeds = samples(1, (1, 4, 16))[0]
    (got,), (want,) = outputs(artifact.file("model.onnx"), feeds), interpret(module, feeds).values()
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_names_stand_in_lists_of_flags(tmp_path: Path) -> None:
    b = Builder(1, 3, 8, 8)
    module = b.done(b.add(Conv2D(), b.x, b.weight(2, 3, 1, 1), name="a,b:c d"))
    module.main.input_names[0] = "in:0"
    module.main.output_names[0] = "out:0"
    artifact = uair.compile(module, "jetson_orin", output=tmp_path / "a")
    model = onnx.load(artifact.file("model.onnx"))
    assert [i.name for i in model.graph.input] == ["in_0"] and [o.name for o in model.graph.output] == ["out_0"]
    assert all(set(n.name).isdisjoint(",: ") for n in model.graph.node)
    assert artifact.manifest["tensorrt"]["inputs"][0]["source"] == "in:0"


# ------------------------------------------------------------------------------------------------- the rules themselves
def quantized_model() -> ModelProto:
    """Conv with a residual Add, quantized by the rules."""
    artifact = uair.compile(residual_net(), "jetson_orin", quantize=Int8(calibration=samples(shape=(1, 4, 8, 8))))
    return onnx.load(artifact.file("model.onnx"))


def node_of(model: ModelProto, op_type: str) -> NodeProto:
    found: NodeProto = next(n for n in model.graph.node if n.op_type == op_type)
    return found


def replace_constant(model: ModelProto, name: str, array: Any) -> None:
    (old,) = (t for t in model.graph.initializer if t.name == name)
    old.CopyFrom(numpy_helper.from_array(array, name))


def zero_point(m: ModelProto) -> None:
    replace_constant(m, node_of(m, "QuantizeLinear").input[2], np.array(3, np.int8))


def unsigned(m: ModelProto) -> None:
    replace_constant(m, node_of(m, "QuantizeLinear").input[2], np.array(0, np.uint8))


def negative_scale(m: ModelProto) -> None:
    replace_constant(m, node_of(m, "QuantizeLinear").input[1], np.array(-0.1, np.float32))


def several_scales(m: ModelProto) -> None:
    first = node_of(m, "QuantizeLinear")
    replace_constant(m, first.input[1], np.full(4, 0.1, np.float32))
    replace_constant(m, first.input[2], np.zeros(4, np.int8))


def computed_scale(m: ModelProto) -> None:
    node_of(m, "QuantizeLinear").input[1] = "x"


def no_zero_point(m: ModelProto) -> None:
    del node_of(m, "QuantizeLinear").input[2:]


def integers(m: ModelProto) -> None:
    node = node_of(m, "DequantizeLinear")
    m.graph.initializer.append(numpy_helper.from_array(np.zeros((1, 4, 8, 8), np.int8), "ints"))
    node.input[0] = "ints"


def other_scale(m: ModelProto) -> None:
    m.graph.initializer.append(numpy_helper.from_array(np.array(0.7, np.float32), "other"))
    node_of(m, "DequantizeLinear").input[1] = "other"


def bias(m: ModelProto) -> None:
    conv = next(n for n in m.graph.node if n.op_type == "Conv" and len(n.input) > 2)
    conv.input[2] = "x"


def axis(m: ModelProto) -> None:
    conv = node_of(m, "Conv")
    weight = next(n for n in m.graph.node if n.output[0] == conv.input[1])
    next(a for a in weight.attribute if a.name == "axis").i = 1


def between(m: ModelProto) -> None:
    relu = node_of(m, "Relu")
    scale, zero = node_of(m, "QuantizeLinear").input[1:3]
    at = list(m.graph.node).index(relu)
    made = [
        helper.make_node("QuantizeLinear", [relu.input[0], scale, zero], ["q_"], "q_", axis=1),
        helper.make_node("DequantizeLinear", ["q_", scale, zero], ["dq_"], "dq_", axis=1),
    ]
    relu.input[0] = "dq_"
    for i, node in enumerate(made):
        m.graph.node.insert(at + i, node)


BREAKAGES: dict[str, Callable[[ModelProto], None]] = {
    "is not 0": zero_point,
    "is not int8": unsigned,
    "not positive floats": negative_scale,
    "more than one scale": several_scales,
    "is no constant": computed_scale,
    "has no zero point": no_zero_point,
    "no QuantizeLinear gives": integers,
    "another scale": other_scale,
    "no float initializer": bias,
    "along axis 1, not 0": axis,
    "stands between Conv and Relu": between,
}


@pytest.fixture(scope="module")
def right() -> ModelProto:
    return quantized_model()


@pytest.mark.parametrize("words", BREAKAGES)
def test_a_broken_rule_is_named(right: ModelProto, words: str) -> None:
    model = copy.deepcopy(right)
    assert list(symmetric_qdq_problems(model)) == []
    BREAKAGES[words](model)
    assert any(words in problem for problem in symmetric_qdq_problems(model))


def test_a_broken_file_is_refused(right: ModelProto, tmp_path: Path) -> None:
    model = copy.deepcopy(right)
    replace_constant(model, node_of(model, "QuantizeLinear").input[2], np.array(3, np.int8))
    onnx.save(model, tmp_path / "m.onnx")
    with pytest.raises(RuleViolation, match="TensorRT does not take the model that was written"):
        check_symmetric_qdq(tmp_path / "m.onnx", "TensorRT")


def test_an_asymmetric_model_does_not_fit(tmp_path: Path) -> None:
    signed = {"int8": "vnni"}
    cpu = uair.compile(
        small_cnn(), "cpu", quantize=Int8(calibration=samples()), output=tmp_path / "cpu", options=signed
    )
    with pytest.raises(DoesNotFit, match="symmetric"):
        uair.compile(cpu.file("model.onnx"), "jetson_orin", output=tmp_path / "orin", fallback=False)
    assert not (tmp_path / "orin").exists()


@pytest.mark.parametrize("target", ["jetson_orin", "br104"])
def test_an_asymmetric_constant_is_written_as_floats(target: str, tmp_path: Path) -> None:
    """As tools for dynamic quantization store tables that are added: the model runs whole, in other numbers or none."""
    text = """
constant @table = [0,100,200,255] : u8[4]
constant @scale = 0.25 : f32[]
constant @zero = 100 : u8[]
%x: f32[2,4]
%bias = Dequantize(@table, @scale, @zero) : f32[4]
%y = Add(%x, %bias) : f32[2,4]
"""
    module = parse_module(text)
    artifact = uair.compile(module, target, output=tmp_path / "out")
    assert [part["folder"] for part in artifact.manifest["partitions"]] == [""]
    proto = onnx.load(artifact.file("model.onnx"))
    assert [node.op_type for node in proto.graph.node] == ["Add"]
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    session = onnxruntime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    (got,) = session.run(None, {session.get_inputs()[0].name: x})
    np.testing.assert_array_equal(got, interpret(module, {"x": x})["y"])
