"""Weights of 4 bits for TensorRT 10 and later: the documented rules on the files, and the numbers in onnxruntime."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

import uair
from tests.codegen.tensorrt.test_files import calls, run_build, run_script
from tests.codegen.tensorrt.test_model import outputs
from tests.quant.networks import Builder
from uair.artifact import Artifact
from uair.codegen.onnx.written import symmetric_qdq_problems
from uair.codegen.reference import run as interpret
from uair.context import Context
from uair.ir.data import PackedData
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, constant
from uair.ir.module import Module
from uair.ops import Conv2D, Dequantize, Gelu, LayerNorm, Linear, MatMul, Relu, Reshape
from uair.quant.errors import SchemeError
from uair.quant.parameters import sqnr
from uair.targets import Support
from uair.targets.errors import OptionError

WIDTHS = ("fc1", "fc2", "one_block")
"""Layers of `products` whose weights have 4 bits."""


def products() -> Module:
    """Products over several blocks, over exactly one, over a part of one, with an odd result; a convolution."""
    b = Builder(1, 4, 8, 16)
    h = b.add(Conv2D(pads=(1, 1, 1, 1)), b.x, b.weight(16, 4, 3, 3), b.weight(16), name="conv")
    h = b.add(Reshape(shape=(8, 256)), h)
    h = b.add(Gelu(), b.add(Linear(), h, b.weight(192, 256), b.weight(192), name="fc1"))
    h = b.add(MatMul(), h, b.weight(192, 64), name="fc2")
    h = b.add(LayerNorm(), h, name="norm")
    h = b.add(Relu(), b.add(Linear(), h, b.weight(96, 64), b.weight(96), name="one_block"))
    h = b.add(Linear(), h, b.weight(64, 96), b.weight(64), name="part")
    return b.done(b.add(Linear(), h, b.weight(31, 64), b.weight(31), name="odd"))


def feeds() -> dict[str, Any]:
    return {"x": np.random.default_rng(3).normal(size=(1, 4, 8, 16)).astype(np.float32)}


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return uair.compile(
        products(), "jetson_orin", output=tmp_path_factory.mktemp("trt4") / "a", quantize=uair.W4A16(group=64)
    )


def test_the_files_keep_the_rules_and_onnxruntime_computes_them(artifact: Artifact) -> None:
    expected = interpret(uair.load(artifact.file("model.uair")), feeds())["y"]
    exact = interpret(products(), feeds())["y"]
    assert 12 < sqnr(exact, expected) < 30, "it is 4 bits that are computed with"
    for name, scale, least in (("model.onnx", TensorProto.FLOAT, 100), ("model_f16.onnx", TensorProto.FLOAT16, 50)):
        model = onnx.load(artifact.file(name))
        onnx.checker.check_model(model, full_check=True)
        assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)]
        constants = {t.name: t for t in model.graph.initializer}
        found = [n for n in model.graph.node if n.op_type == "DequantizeLinear"]
        assert len(found) == len(WIDTHS)
        for node in found:
            assert constants[node.input[0]].data_type == TensorProto.INT4
            assert constants[node.input[1]].data_type == scale
            assert len(node.input) == 2, "no zero point"
            assert {a.name: a.i for a in node.attribute} == {"axis": 0, "block_size": 64}
        assert list(symmetric_qdq_problems(model)) == []
        (actual,) = outputs(artifact.file(name), feeds())
        assert sqnr(expected, actual) > least


def test_what_keeps_its_weight_says_why(artifact: Artifact) -> None:
    report = json.loads(artifact.file("report.json").read_text())["quantization"]
    assert [entry["name"] for entry in report["nodes"]] == list(WIDTHS)
    reasons = {entry["name"]: entry["reason"] for entry in report["skipped"]}
    assert "takes no Conv2D with a weight of few bits" in reasons["conv"]
    assert "its 96 inputs are no multiple of 64, and of no other group that is taken" in reasons["part"]
    assert "its outputs are 31, and must be even" in reasons["odd"]
    wide = uair.quantize(products(), uair.W4A16(), target="jetson_orin")  # groups of 128
    assert {entry["name"]: entry["reason"] for entry in wide.report["skipped"]}["fc2"] == (
        "its 192 inputs are no multiple of 128 (a group of 64 would do)"
    )


def test_the_scripts_of_each_version(artifact: Artifact, tmp_path: Path) -> None:
    assert artifact.manifest["tensorrt"]["models"] == {"10": "model_f16.onnx", "11": "model_f16.onnx"}
    assert artifact.manifest["tensorrt"]["quantization"] == "weights"
    (built, _) = calls(artifact.file("build_trt10.sh").read_text())
    assert "--stronglyTyped" in built and not {"--fp16", "--int8"} & set(built)
    (built, _) = calls(artifact.file("build_trt11.sh").read_text())
    assert "--onnx=model_f16.onnx" in built and "--stronglyTyped" not in built
    done = run_script(artifact, tmp_path, "build.sh", TENSORRT_VERSION="8.5.2")
    assert done.returncode == 1
    assert "TensorRT 8 reads no weights of 4 bits, 10 and 11 do" in done.stderr


def test_build_py_keeps_to_the_models_types(artifact: Artifact, tmp_path: Path) -> None:
    status, _, seen = run_build(artifact, tmp_path, VERSION="10.3.0", TENSORS="x,y")
    assert status == 0
    assert ["network", 2] in seen and ["parse", "model_f16.onnx"] in seen
    assert not [call for call in seen if call[0] == "flag"]
    status, result, _ = run_build(artifact, tmp_path, VERSION="8.6.2", TENSORS="x,y")
    assert (status, result["reason"]) == (1, "BuildFailed: there is no model for TensorRT 8, only for 10, 11")


def test_calibration_data_make_it_better(tmp_path: Path) -> None:
    samples = [{"x": s} for s in np.random.default_rng(8).normal(size=(12, 1, 4, 8, 16)).astype(np.float32)]
    exact = interpret(products(), feeds())["y"]
    found = [
        sqnr(exact, interpret(uair.quantize(products(), each, target="jetson_orin").module, feeds())["y"])
        for each in (uair.W4A16(group=64), uair.W4A16(samples, group=64))
    ]
    assert found[1] > found[0]


def test_what_the_target_does_not_take() -> None:
    with pytest.raises(SchemeError, match="with weights of 8 bits") as caught:
        uair.compile(products(), "jetson_orin", quantize=uair.W8A16(), golden=False)
    assert "what it takes (4 bits, groups of 64, 128) or int8, or a target that does: cpu, hygon" in str(caught.value)
    with pytest.raises(SchemeError, match="groups of 32 are not taken"):
        uair.compile(products(), "jetson_orin", quantize=uair.W4A16(group=32), golden=False)
    with pytest.raises(SchemeError, match="zero points are not taken"):
        uair.compile(products(), "jetson_orin", quantize=uair.W4A16(symmetric=False), golden=False)
    with pytest.raises(OptionError, match="the DLA computes with no weights of few bits"):
        uair.compile(products(), "jetson_orin", quantize=uair.W4A16(), options={"dla": "0"}, golden=False)


@pytest.mark.parametrize(("block", "stays"), [(64, True), (128, True), (32, False)])
def test_verdicts_on_weights_of_4_bits(block: int, *, stays: bool) -> None:
    integers = PackedData(np.zeros((128, 4), np.int8).astype(DType.I4.numpy), DType.I4)
    scale = constant(np.ones((128 // block, 4), np.float32))
    graph = Graph()
    node = Node(Dequantize(axis=0, block_size=block), [constant(integers), scale])
    graph.append(node)
    verdict = Context.default().target("jetson_orin").direct_verdict(node)
    assert (verdict.support is not Support.UNSUPPORTED) is stays
    assert stays or "blocks of 64 or 128" in verdict.reason


# ------------------------------------------------------------------------------------------------------- broken files
def dequantizer(m: ModelProto) -> Any:
    return next(n for n in m.graph.node if n.op_type == "DequantizeLinear")


def initializer(m: ModelProto, name: str) -> TensorProto:
    found: TensorProto = next(t for t in m.graph.initializer if t.name == name)
    return found


def other_blocks(m: ModelProto) -> None:
    next(a for a in dequantizer(m).attribute if a.name == "block_size").i = 32


def unsigned(m: ModelProto) -> None:
    initializer(m, dequantizer(m).input[0]).data_type = TensorProto.UINT4


def negative(m: ModelProto) -> None:
    held = initializer(m, dequantizer(m).input[1])
    held.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(held), held.name))


def odd(m: ModelProto) -> None:
    initializer(m, dequantizer(m).input[0]).dims[1] += 1


def fewer_scales(m: ModelProto) -> None:
    held = initializer(m, dequantizer(m).input[1])
    held.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(held)[:1], held.name))


def other_reader(m: ModelProto) -> None:
    m.graph.node.append(helper.make_node("Relu", [dequantizer(m).output[0]], ["more"], "more"))


BREAKAGES: dict[str, Callable[[ModelProto], None]] = {
    "have 32 weights, not 64 or 128": other_blocks,
    "is not int4 without zero point": unsigned,
    "no positive float constants": negative,
    "no matrix of whole blocks with an even last axis": odd,
    "has scales [1, 192] for a weight [256, 192]": fewer_scales,
    "is read by Relu": other_reader,
}


@pytest.mark.parametrize("words", BREAKAGES)
def test_a_broken_rule_is_named(artifact: Artifact, words: str) -> None:
    model = copy.deepcopy(onnx.load(artifact.file("model.onnx")))
    BREAKAGES[words](model)
    assert any(words in problem for problem in symmetric_qdq_problems(model))
