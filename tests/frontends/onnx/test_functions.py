"""Local functions, and onnx's own definitions of operators."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import AttributeProto, helper

from tests.frontends.onnx.models import F32, check, floats, imported, interpreted, model, one, op_types
from uair.frontends.onnx.errors import (
    OnnxAttributeError,
    OnnxDuplicateError,
    OnnxFunctionError,
    OnnxMissingValueError,
)
from uair.ir.graph import Node
from uair.text import parse_type

DOMAIN = "my.ops"


def function(name: str, inputs: list[str], outputs: list[str], nodes: list[Any], **more: Any) -> onnx.FunctionProto:
    opsets = more.pop("opsets", [helper.make_opsetid("", 17), helper.make_opsetid(DOMAIN, 1)])
    return helper.make_function(DOMAIN, name, inputs, outputs, nodes, opsets, **more)


def call(function_name: str, *inputs: str, outputs: Any = ("y",), **attributes: Any) -> Any:
    return one(function_name, *inputs, outputs=outputs, domain=DOMAIN, **attributes)


def reference(name: str, to: str, kind: Any) -> AttributeProto:
    return AttributeProto(name=name, type=kind, ref_attr_name=to)


def leaky(outer: str = "slope") -> onnx.FunctionProto:
    node = one("LeakyRelu", "a", outputs=["b"])
    node.attribute.append(reference("alpha", outer, AttributeProto.FLOAT))
    return function("Leaky", ["a"], ["b"], [node], attributes=[outer])


def test_a_call_is_inlined_and_named_after_the_call() -> None:
    body = [one("Add", "a", "b", outputs=["t"]), one("Relu", "t", outputs=["r"], name="act")]
    node = call("F", "x", "x", name="block")
    proto = model([node], {"x": floats(3)}, functions=[function("F", ["a", "b"], ["r"], body)])
    module = check(proto, {"x": floats(3, seed=1)})
    add, relu = module.main
    assert (add.op_type, relu.op_type) == ("Add", "Relu")
    assert add.outputs[0].name == "block/t"
    assert relu.loc.sources[0].name == "block/act"


def test_attributes_are_substituted_through_two_levels() -> None:
    inner = call("Leaky", "a", outputs=("b",))
    inner.attribute.append(reference("slope", "outer", AttributeProto.FLOAT))
    outer = function("Outer", ["a"], ["b"], [inner], attributes=["outer"])
    proto = model([call("Outer", "x", outer=0.3)], {"x": floats(5)}, functions=[leaky(), outer])
    module = check(proto, {"x": floats(5, seed=2)})
    (node,) = module.main
    assert node.attributes["alpha"] == pytest.approx(0.3)


def test_an_attribute_that_the_call_leaves_out_has_the_operators_default() -> None:
    (node,) = imported(model([call("Leaky", "x")], {"x": floats(5)}, functions=[leaky()])).main
    assert node.attributes["alpha"] == 0.01


def test_defaults_of_a_function() -> None:
    plain = leaky()
    del plain.attribute[:]
    plain.attribute_proto.append(helper.make_attribute("slope", 0.7))
    for given, want in (({}, 0.7), ({"slope": 0.2}, 0.2)):
        (node,) = imported(model([call("Leaky", "x", **given)], {"x": floats(5)}, functions=[plain])).main
        assert node.attributes["alpha"] == pytest.approx(want)


def test_a_function_has_its_own_operator_sets() -> None:
    """Softmax of opset 11 in a model of opset 17: the same name, another meaning."""
    body = [one("Softmax", "a", outputs=["b"])]
    old = function("S", ["a"], ["b"], body, opsets=[helper.make_opsetid("", 11)])
    x = floats(2, 3, 4)
    module = imported(model([call("S", "x")], {"x": x}, functions=[old]))
    flat = np.exp(x.reshape(2, -1))
    want = (flat / flat.sum(1, keepdims=True)).reshape(x.shape)
    np.testing.assert_allclose(interpreted(module, {"x": x})[0], want, rtol=1e-5)


def test_optional_inputs_and_unused_outputs() -> None:
    body = [one("Clip", "a", "lo", "hi", outputs=["r"])]
    clip = function("C", ["a", "lo", "hi"], ["r", "never"], body)
    proto = model(
        [call("C", "x", "", "hi")], {"x": floats(4)}, functions=[clip], constants={"hi": np.array(0.5, np.float32)}
    )
    (node,) = imported(proto).main
    assert (node.attributes["min"], node.attributes["max"]) == (None, 0.5)
    with pytest.raises(OnnxMissingValueError, match="never"):
        imported(model([call("C", "x", outputs=("y", "z"))], {"x": floats(4)}, functions=[clip]))


def kept(*nodes: onnx.NodeProto, declares: Sequence[str] = (), **attributes: float) -> list[Node]:
    """The nodes of a call of a function whose body has an unknown operator; y, its result, is declared."""
    body = function("F", ["a"], ["b"], list(nodes), attributes=list(attributes))
    body.value_info.extend(helper.make_tensor_value_info(name, F32, [3]) for name in declares)
    proto = model([call("F", "x", **attributes)], {"x": floats(3)}, functions=[body])
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", F32, [3]))
    return list(imported(proto).main)


def payload(node: Node) -> onnx.NodeProto:
    assert node.op_type == "Opaque"
    message: onnx.NodeProto = onnx.NodeProto.FromString(base64.b64decode(node.attributes["payload"]))
    return message


def test_unknown_operators_in_a_function_have_the_types_that_it_or_the_caller_declares() -> None:
    magic = one("Magic", "a", outputs=["t"], domain=DOMAIN)
    first, second = kept(magic, one("Neg", "t", outputs=["b"]), declares=["t"])
    assert (first.op_type, second.op_type) == ("Opaque", "Neg")
    magic.output[0] = "b"
    (only,) = kept(magic)
    assert only.output.type == parse_type("f32[3]")


def test_an_unknown_operator_gets_the_calls_attributes_also_in_its_subgraphs() -> None:
    elu = one("Elu", "q", outputs=["r"])
    elu.attribute.append(reference("alpha", "slope", AttributeProto.FLOAT))
    inner = helper.make_graph([elu], "inner", [], [helper.make_tensor_value_info("r", F32, [3])])
    choice = one("Choose", "q", outputs=["s"], domain=DOMAIN, inner=inner)
    values = [helper.make_tensor_value_info(name, F32, [3]) for name in ("q", "s")]
    magic = one(
        "Magic", "a", outputs=["b"], domain=DOMAIN, body=helper.make_graph([choice], "g", values[:1], values[1:])
    )
    magic.attribute.append(reference("level", "slope", AttributeProto.FLOAT))
    (node,) = kept(magic, slope=0.25)
    stored = {a.name: a for a in payload(node).attribute}
    assert stored["level"].f == 0.25
    (kept_elu,) = stored["body"].g.node[0].attribute[0].g.node
    assert [(a.name, a.f, a.ref_attr_name) for a in kept_elu.attribute] == [("alpha", 0.25, "")]


def test_recursion_is_refused() -> None:
    a = function("A", ["x"], ["y"], [call("B", "x")])
    b = function("B", ["x"], ["y"], [call("A", "x")])
    with pytest.raises(OnnxFunctionError, match="'A' -> 'B' -> 'A'"):
        imported(model([call("A", "x")], {"x": floats(1)}, functions=[a, b]))


def test_calls_that_multiply_are_refused() -> None:
    """Each function calls the next one twice: 2^40 nodes."""
    found = [function("F0", ["x"], ["y"], [one("Relu", "x")])]
    for i in range(1, 40):
        calls = [call(f"F{i - 1}", "x", outputs=("t",)), call(f"F{i - 1}", "t")]
        found.append(function(f"F{i}", ["x"], ["y"], calls))
    with pytest.raises(OnnxFunctionError, match="multiply|nested"):
        imported_with_budget(model([call("F39", "x")], {"x": floats(1)}, functions=found))


def imported_with_budget(proto: onnx.ModelProto) -> None:
    from uair.frontends.onnx import functions

    usual = functions.MAX_EXPANDED_NODES
    functions.MAX_EXPANDED_NODES = 5000  # the real limit takes seconds to reach
    try:
        imported(proto)
    finally:
        functions.MAX_EXPANDED_NODES = usual


def test_deep_calls_are_refused() -> None:
    found = [function("F0", ["x"], ["y"], [one("Relu", "x")])]
    found += [function(f"F{i}", ["x"], ["y"], [call(f"F{i - 1}", "x")]) for i in range(1, 80)]
    with pytest.raises(OnnxFunctionError, match="more than 64 deep"):
        imported(model([call("F79", "x")], {"x": floats(1)}, functions=found))


def test_wrong_calls() -> None:
    with pytest.raises(OnnxFunctionError, match="takes 1 inputs"):
        imported(model([call("Leaky", "x", "x")], {"x": floats(1)}, functions=[leaky()]))
    with pytest.raises(OnnxAttributeError, match="no attribute 'other'"):
        imported(model([call("Leaky", "x", other=1.0)], {"x": floats(1)}, functions=[leaky()]))
    with pytest.raises(OnnxAttributeError, match="is INT, expected FLOAT"):
        imported(model([call("Leaky", "x", slope=1)], {"x": floats(1)}, functions=[leaky()]))
    with pytest.raises(OnnxDuplicateError, match="defined twice"):
        imported(model([call("Leaky", "x")], {"x": floats(1)}, functions=[leaky(), leaky()]))


def test_a_reference_outside_a_function_is_refused() -> None:
    node = one("LeakyRelu", "x")
    node.attribute.append(reference("alpha", "slope", AttributeProto.FLOAT))
    with pytest.raises(OnnxAttributeError, match="in none"):
        imported(model([node], {"x": floats(1)}))


def test_operators_that_onnx_defines_by_others() -> None:
    """MeanVarianceNormalization and HannWindow have no handler: their definitions are inlined, defaults included."""
    module = check(model([one("MeanVarianceNormalization", "x")], {"x": floats(2, 3, 4, 4)}),
                   {"x": floats(2, 3, 4, 4, seed=3)}, rtol=1e-4, atol=1e-5)  # fmt: skip
    assert "Opaque" not in op_types(module)
    check(model([one("HannWindow", "n")], {}, constants={"n": np.array(7)}), {}, atol=1e-6)
