"""The ONNX file for ATC: the real models, all of which the target takes, and one violation for each rule."""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import attrs
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import uair
from tests import zoo
from tests.codegen.ascend import models
from tests.codegen.onnx.running import run as run_onnx
from uair.codegen.ascend import AscendTarget
from uair.codegen.ascend.check import atc_rules
from uair.codegen.onnx.rules import RuleViolation
from uair.context import Context
from uair.ir import DType, Graph, Module, Node, TensorType
from uair.ops import Relu

TARGET = Context.default().target("ascend310")
HUGE = frozenset({"light_vgg19", "light_bvlc_alexnet", "light_zfnet512"})
"""Their weights, one repeated value each in the source, are hundreds of MiB when written."""


def cases() -> list[object]:
    return [pytest.param(name, marks=[pytest.mark.slow] if name in HUGE else []) for name in zoo.models()]


@pytest.mark.parametrize("name", cases())
def test_real_models(name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    made = uair.compile(model.path, "ascend310", output=tmp_path / "out", shapes=dict(model.shapes))
    proto = onnx.load(made.file("model.onnx"))
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 11)]
    assert proto.ir_version == 6
    assert not {n.op_type for n in proto.graph.node} & {"QuantizeLinear", "DequantizeLinear"}
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        assert all(d.HasField("dim_value") and d.dim_value > 0 for d in value.type.tensor_type.shape.dim)
    node_names = [node.name for node in proto.graph.node]
    assert len(set(node_names)) == len(node_names)
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]+", name) for name in node_names)
    onnx.checker.check_model(proto, full_check=True)
    _compare(made, model.path, dict(model.feeds()))


def _compare(made: uair.Artifact, path: Path, feeds: dict[str, uair.Array]) -> None:
    """The emitted file against the original one, both in onnxruntime."""
    inputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["inputs"]}
    outputs = {e["source"]: e["name"] for e in made.manifest["ascend"]["outputs"]}
    got = run_onnx(str(made.file("model.onnx")), {inputs[k]: v for k, v in feeds.items()})
    want = run_onnx(str(path), feeds)
    assert {outputs[name] for name in want} == set(got)
    for name, expected in want.items():
        scale = max(float(np.abs(expected).max(initial=0.0)), 1e-6)
        assert float(np.abs(got[outputs[name]].astype(np.float64) - expected).max(initial=0.0)) <= 1e-4 * scale


def test_the_command_names_the_models_inputs(tmp_path: Path) -> None:
    model = zoo.models()["basic_pitch"]
    made = uair.compile(model.path, "ascend310", output=tmp_path / "out", shapes=dict(model.shapes), golden=False)
    (entry,) = made.manifest["ascend"]["inputs"]
    assert entry["source"] == "serving_default_input_2:0"  # a colon would end the name on the command line
    assert entry["name"] == "serving_default_input_2_0"
    script = made.file("build.sh").read_text()
    assert '--input_shape="serving_default_input_2_0:1,43844,1"' in script
    assert "--input_format=ND" in script
    assert [i.name for i in onnx.load(made.file("model.onnx")).graph.input] == [entry["name"]]


def test_indices_of_top_k_are_widened(tmp_path: Path) -> None:
    made = uair.compile(models.top_k(), "ascend310", output=tmp_path / "out")
    proto = onnx.load(made.file("model.onnx"))
    assert [n.op_type for n in proto.graph.node] == ["TopK", "Cast"]
    assert proto.graph.node[1].attribute[0].i == TensorProto.INT64
    assert proto.graph.node[1].input[0] == proto.graph.node[0].output[1]
    onnx.checker.check_model(proto, full_check=True)


def test_nodes_share_no_name_with_inputs_and_constants(tmp_path: Path) -> None:
    b = models.Builder()
    x = b.input("same", 1, 4)
    from uair.ops import Add

    t = b.add("same", Relu(), x)
    t = b.add("weight", Add(), t, b.weight("weight", 4))
    t = b.add("const_0", Relu(), t)
    made = uair.compile(b.module("m", y=t), "ascend310", output=tmp_path / "out")
    graph = onnx.load(made.file("model.onnx")).graph
    names = [n.name for n in graph.node] + [i.name for i in graph.input] + [t.name for t in graph.initializer]
    assert len(names) == len(set(names))


def test_the_layout_plan_is_written_and_leaves_no_node(tmp_path: Path) -> None:
    made = uair.compile(models.concat_net(), "ascend310", output=tmp_path / "out")
    plan = json.loads(made.file("layout.json").read_text())
    assert plan["alignment"] == 32 and plan["stored_bytes"] - plan["bytes"] == plan["wasted_bytes"]
    report = json.loads(made.file("report.json").read_text())
    assert [row["padded"] for row in report["layout"]["padded_channels"]] == [[32, 32]]
    assert {row["node"]: row["padded"] for row in plan["lanes"]} == {"left": 16, "right": 16, "read": 64}
    module = uair.load(made.file("model.uair"))
    assert {"Pack", "Unpack"} <= {n.op_type for n in module.main}
    kinds = [n.op_type for n in onnx.load(made.file("model.onnx")).graph.node]
    assert sorted(kinds) == ["Concat", "Conv", "Conv", "Conv", "Relu"]
    assert made.manifest["golden"]["compiled_against_reference"]["y"]["relative"] < 1e-6


def test_every_operator_that_is_allowed_is_in_the_list_of_the_release() -> None:
    allowed = TARGET.description.onnx_operators
    assert allowed is not None and {"AscendQuant", "AscendDequant", "AscendAntiQuant", "Conv"} <= set(allowed)
    assert not {"QuantizeLinear", "DequantizeLinear", "LayerNormalization", "Loop", "QLinearConv"} & set(allowed)


def test_the_target_is_found_by_its_name() -> None:
    assert isinstance(TARGET, AscendTarget) and TARGET.name == "ascend310"


def test_symbolic_shapes_are_refused(tmp_path: Path) -> None:
    model = zoo.models()["ppocr_cls"]
    with pytest.raises(uair.UairError, match="x"):
        uair.compile(model.path, "ascend310", output=tmp_path / "out")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("dtype", [DType.U8, DType.BOOL, DType.I16])
def test_inputs_of_other_types_are_cast_from_floats(dtype: DType, tmp_path: Path) -> None:
    """ATC takes no mask of bool, and no small integers but pixels: the file has a Cast behind such an input."""
    from uair.ops import Cast

    graph = Graph()
    x = graph.add_input("x", TensorType(dtype, (1, 4)))
    graph.add_output("y", graph.append(Node(Cast(to=DType.F32), [x])).output)
    module = Module("m", {"main": graph})
    made = uair.compile(module, "ascend310", output=tmp_path / "out")
    (entry,) = made.manifest["ascend"]["inputs"]
    assert entry["dtype"] == "f32"
    value = np.array([[0, 1, 1, 0]])
    got = run_onnx(str(made.file("model.onnx")), {"x": value.astype(np.float32)})
    assert got["y"].tolist() == value.tolist()
    (report,) = uair.check(module, ["ascend310"])
    assert [row.verdict.through for row in report.interface] == [("cast the input from f32",)]


def test_inputs_of_types_that_no_cast_helps_are_refused(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", TensorType(DType.F64, (1, 4)))
    graph.add_output("y", graph.append(Node(Relu(), [x])).output)
    with pytest.raises(uair.UairError, match="f64"):
        uair.compile(Module("m", {"main": graph}), "ascend310", output=tmp_path / "out")
    assert not list(tmp_path.iterdir())


# ---------------------------------------------------------------------------------------------------- rules, one by one
def valid() -> onnx.ModelProto:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4]) for name in ("x", "y"))
    zero = helper.make_tensor("c", TensorProto.FLOAT, [4], [0.0] * 4)
    nodes = [
        helper.make_node("Relu", ["x"], ["t"], name="relu"),
        helper.make_node("Add", ["t", "c"], ["y"], name="add"),
    ]
    graph = helper.make_graph(nodes, "g", [x], [y], [zero])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 11)])


def two_sets(m: onnx.ModelProto) -> None:
    m.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def other_opset(m: onnx.ModelProto) -> None:
    m.opset_import[0].version = 13


def no_output(m: onnx.ModelProto) -> None:
    del m.graph.output[:]


def unknown_operator(m: onnx.ModelProto) -> None:
    m.graph.node[0].op_type = "QuantizeLinear"


def other_domain(m: onnx.ModelProto) -> None:
    m.graph.node[0].domain = "com.microsoft"


def same_names(m: onnx.ModelProto) -> None:
    m.graph.node[1].name = "relu"


def name_of_an_input(m: onnx.ModelProto) -> None:
    m.graph.node[1].name = "x"


def name_of_a_constant(m: onnx.ModelProto) -> None:
    m.graph.node[1].name = "c"


def blank(m: onnx.ModelProto) -> None:
    m.graph.node[1].name = "my add"


def no_name(m: onnx.ModelProto) -> None:
    m.graph.node[1].name = ""


def open_extent(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "N"


def empty(m: onnx.ModelProto) -> None:
    m.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 0


def no_shape(m: onnx.ModelProto) -> None:
    m.graph.output[0].type.tensor_type.ClearField("shape")


def double(m: onnx.ModelProto) -> None:
    m.graph.input[0].type.tensor_type.elem_type = TensorProto.DOUBLE


VIOLATIONS: dict[Callable[[onnx.ModelProto], None], str] = {
    two_sets: "only opset 11 of the default domain",
    other_opset: "only opset 11",
    no_output: "an input and an output",
    unknown_operator: "is QuantizeLinear, which ATC does not know",
    other_domain: "is of domain 'com.microsoft'",
    same_names: "node 'relu' shares its name",
    name_of_an_input: "input 'x' shares its name",
    name_of_a_constant: "constant 'c' shares its name",
    blank: "'my add' of a node is not legal",
    no_name: "'' of a node is not legal",
    open_extent: "value 'x' has no number for axis 0",
    empty: "value 'y' has extent 0 along axis 1",
    no_shape: "value 'y' has no shape",
    double: "input 'x' is f64, inputs may be",
}


def test_a_valid_model_breaks_no_rule() -> None:
    assert list(atc_rules(TARGET.description).problems(valid())) == []


@pytest.mark.parametrize("breaking", VIOLATIONS, ids=lambda f: f.__name__)
def test_each_rule(breaking: Callable[[onnx.ModelProto], None], tmp_path: Path) -> None:
    model = valid()
    breaking(model)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    with pytest.raises(RuleViolation, match=re.escape(VIOLATIONS[breaking])):
        atc_rules(TARGET.description).check(path)


def test_open_sizes_are_taken_where_they_may_stand(tmp_path: Path) -> None:
    rules = attrs.evolve(atc_rules(TARGET.description), open_sizes=True)
    model = valid()
    open_extent(model)
    assert list(rules.problems(model)) == []
    empty(model)
    assert [p for p in rules.problems(model) if "extent 0" in p]


def test_rules_are_those_of_the_description() -> None:
    rules = atc_rules(TARGET.description)
    assert attrs.evolve(rules, opset=13) != rules
    assert rules.opset == 11
