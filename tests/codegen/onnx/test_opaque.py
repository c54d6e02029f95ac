"""Operators that UAIR does not know go through import and export unchanged."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from uair.codegen.onnx import NotExpressible, export, model_bytes, unsupported_reason
from uair.frontends.onnx import load
from uair.ir import Graph, Module, Node
from uair.ops.custom import Opaque
from uair.text import parse_type


def info(name: str, shape: list[int], kind: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def saved(graph: onnx.GraphProto, path: Path, domains: dict[str, int]) -> Path:
    opsets = [helper.make_opsetid(domain, version) for domain, version in domains.items()]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)
    return path


def test_a_custom_operator_keeps_its_attributes_and_omitted_operands(tmp_path: Path) -> None:
    custom = helper.make_node("Fancy", ["a", "", "b"], ["c", "", "d"], name="fancy", domain="com.example", level=3)
    nodes = [helper.make_node("Relu", ["x"], ["a"]), helper.make_node("Neg", ["x"], ["b"]), custom]
    nodes.append(helper.make_node("Add", ["c", "d"], ["y"]))
    values = [info("c", [2]), info("d", [2])]
    graph = helper.make_graph(nodes, "g", [info("x", [2])], [info("y", [2])], value_info=values)
    module = load(saved(graph, tmp_path / "in.onnx", {"": 17, "com.example": 4}))
    export(module, tmp_path / "out.onnx", opset=17)
    written = onnx.load(tmp_path / "out.onnx")
    assert {o.domain: o.version for o in written.opset_import} == {"": 17, "com.example": 4}
    (node,) = (n for n in written.graph.node if n.op_type == "Fancy")
    assert (node.domain, list(node.input), list(node.output)) == ("com.example", ["a", "", "b"], ["c", "", "d"])
    assert [(a.name, a.i) for a in node.attribute] == [("level", 3)]


def test_a_kept_subgraph_reads_the_renamed_values_around_it(tmp_path: Path) -> None:
    """A custom loop whose body takes `step` from outside, in a model where that value gets another name."""
    body = helper.make_graph(
        [
            helper.make_node("Add", ["total", "step"], ["next"]),
            helper.make_node("Identity", ["go"], ["go_on"]),
        ],
        "body",
        [info("i", [], TensorProto.INT64), info("go", [], TensorProto.BOOL), info("total", [2])],
        [info("go_on", [], TensorProto.BOOL), info("next", [2])],
    )
    nodes = [
        helper.make_node("Neg", ["x"], ["step"]),
        helper.make_node("Repeat", ["count", "", "x"], ["y"], name="loop", domain="com.example", body=body),
    ]
    inputs = [info("x", [2]), info("count", [], TensorProto.INT64)]
    graph = helper.make_graph(nodes, "g", inputs, [info("y", [2])])
    module = load(saved(graph, tmp_path / "in.onnx", {"": 17, "com.example": 1}))
    (loop,) = (n for n in module.main if isinstance(n.op, Opaque))
    for node in module.main:
        for tensor in node.outputs:
            tensor.name = "total"  # as inside of the loop
    negated, repeated = onnx.load_from_string(model_bytes(module, opset=17)).graph.node
    inner = repeated.attribute[0].g
    own = inner.input[2].name
    assert list(inner.node[0].input) == [own, negated.output[0]]
    assert inner.output[1].name == inner.node[0].output[0]
    assert own not in (*negated.output, *repeated.input, *repeated.output)
    assert "was kept as in opset 17 and has another form at opset 11" in _refusal(module)
    assert loop.name == "loop"


def _refusal(module: Module) -> str:
    with pytest.raises(NotExpressible) as caught:
        model_bytes(module, opset=11)
    return caught.value.message


def test_a_payload_of_another_source_is_refused() -> None:
    graph = Graph()
    node = graph.append(Node(Opaque(domain="torch", kind="aten::foo", result_types=(parse_type("f32[2]"),)), []))
    assert "does not come from an ONNX model" in unsupported_reason(node, 17)
