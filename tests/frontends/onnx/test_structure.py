"""What the importer makes of a graph: order, names, symbols, declared types, opaque nodes, origin."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import F32, I64, check, floats, imported, interpreted, model, one, op_types
from uair.frontends.onnx import load, load_bytes
from uair.frontends.onnx.errors import OnnxOperatorError
from uair.ir.data import MappedData
from uair.ir.dtype import DType
from uair.text import parse_type

X = {"x": floats(2, 3)}


def shape_of(module: Any, i: int = 0) -> list[str]:
    return [str(d) for d in module.main.outputs[i].type.dims]


# ------------------------------------------------------------------------ order, names
def test_nodes_out_of_order_are_sorted() -> None:
    nodes = [
        one("Add", "b", "c"),
        one("Relu", "x", outputs=["a"]),
        one("Neg", "b", outputs=["c"]),
        one("Exp", "a", outputs=["b"]),
    ]
    module = imported(model(nodes, X))
    assert op_types(module) == ["Relu", "Exp", "Neg", "Add"]


def test_an_order_that_is_right_is_kept() -> None:
    nodes = [one(t, "x", outputs=[t]) for t in ("Tanh", "Abs", "Relu", "Exp")]
    module = imported(model(nodes, X, ["Exp", "Abs", "Relu", "Tanh"]))
    assert op_types(module) == ["Tanh", "Abs", "Relu", "Exp"]


def test_names_and_locations() -> None:
    nodes = [one("Relu", "x", outputs=["a"], name="first"), one("Gemm", "a", "w", alpha=2.0)]
    module = imported(model(nodes, {"x": floats(2, 3), "w": floats(3, 4)}))
    relu, linear, mul = module.main
    assert (relu.name, relu.outputs[0].name, str(relu.loc)) == ("first", "a", "Relu 'first'")
    assert [str(n.loc) for n in (linear, mul)] == ["Gemm 'y'", "Gemm 'y'"]
    assert (linear.outputs[0].name, mul.outputs[0].name) == ("", "y")
    assert (module.main.input_names, module.main.output_names) == (["x", "w"], ["y"])


def test_origin_and_metadata(tmp_path: Path) -> None:
    proto = model([one("Relu", "x")], X)
    proto.producer_name, proto.producer_version = "maker", "1.2"
    entry = proto.metadata_props.add()
    entry.key, entry.value = "labels", "a,b"
    (tmp_path / "m.onnx").write_bytes(proto.SerializeToString())
    module = load(tmp_path / "m.onnx")
    assert (module.origin.format, module.origin.file, module.origin.producer) == ("onnx", "m.onnx", "maker 1.2")
    assert dict(module.origin.versions) == {"ir": "8", "ai.onnx": "17"}
    import hashlib

    assert module.origin.sha256 == hashlib.sha256((tmp_path / "m.onnx").read_bytes()).hexdigest()
    assert module.metadata == {"labels": "a,b"}


def test_initializers_that_are_inputs_become_constants() -> None:
    proto = model([one("Add", "x", "w")], {**X, "w": floats(3)}, constants={"w": floats(3, seed=1)})
    module = imported(proto)
    assert module.main.input_names == ["x"]
    np.testing.assert_array_equal(module.main.constants()[0].numpy(), floats(3, seed=1))


def test_inputs_and_constants_may_be_outputs() -> None:
    module = imported(model([], X, ["x", "w"], constants={"w": floats(3)}))
    assert interpreted(module, X)[1].tolist() == floats(3).tolist()


def test_two_loads_are_alike() -> None:
    from uair.ir.compare import difference

    nodes = [one("NonZero", "x", outputs=["n"]), one("Transpose", "n", outputs=["t"]), one("Shape", "t")]
    raw = model(nodes, {"x": (F32, ["u1", "", 3])}).SerializeToString()
    assert difference(load_bytes(raw), load_bytes(raw)) == ""


# ---------------------------------------------------------------------- symbolic sizes
def test_symbols() -> None:
    proto = model([one("Relu", "x")], {"x": (F32, ["batch", 3, "h*2 - 1", "-1", "?", ""])})
    shape = shape_of(imported(proto))
    assert shape == ["batch", "3", "h_2_1", "x.3", "x.4", "x.5"]


def test_names_that_differ_stay_different() -> None:
    proto = model([one("Relu", "x")], {"x": (F32, ["a b", "a_b", "a-b", "a b", "7", "u3"])})
    shape = shape_of(imported(proto))
    assert shape == ["a_b", "a_b_2", "a_b_3", "a_b", "_7", "u3_"]


def test_negative_extents_are_unknown() -> None:
    proto = model([one("Relu", "x")], X)
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_value = -1
    assert shape_of(imported(proto)) == ["x.0", "3"]


def test_shape_arithmetic_becomes_attributes() -> None:
    """What exporters write for x.flatten(1).view(b, -1): Shape, Gather, Unsqueeze, Concat, Reshape."""
    nodes = [
        one("Shape", "x", outputs=["s"]),
        one("Gather", "s", "zero", outputs=["b"]),
        one("Gather", "s", "one", outputs=["c"]),
        one("Mul", "b", "c", outputs=["bc"]),
        one("Unsqueeze", "bc", "axes", outputs=["u"]),
        one("Concat", "u", "minus", outputs=["t"], axis=0),
        one("Reshape", "x", "t"),
    ]
    constants = {"zero": np.array(0), "one": np.array(1), "axes": np.array([0]), "minus": np.array([-1])}
    proto = model(nodes, {"x": (F32, ["n", 4, "m"])}, constants=constants)
    module = imported(proto)
    assert shape_of(module) == ["4*n", "m"]
    check(proto, {"x": floats(2, 4, 5)})


def test_known_floats_become_attributes_through_casts() -> None:
    nodes = [one("Cast", "h", outputs=["f"], to=F32), one("Clip", "x", "", "f")]
    assert op_types(imported(model(nodes, X, constants={"h": np.array(6, np.float64)})))[-1] == "Clip"


def test_an_output_declares_an_extent_that_data_decide() -> None:
    proto = model([one("NonZero", "x")], X)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", I64, [2, "found"]))
    assert shape_of(imported(proto)) == ["2", "found"]
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", I64, [2, 5]))
    assert shape_of(imported(proto)) == ["2", "5"]


def test_a_declared_name_does_not_replace_what_is_inferred() -> None:
    proto = model([one("Concat", "x", "x", axis=0)], {"x": (F32, ["n", 3])})
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", F32, ["other", 3]))
    assert shape_of(imported(proto)) == ["2*n", "3"]


def test_unknown_ranks() -> None:
    proto = model([one("Relu", "x", outputs=["r"]), one("Concat", "r", "r", axis=0)], X)
    proto.graph.input[0].type.tensor_type.ClearField("shape")
    module = imported(proto)
    assert module.main.outputs[0].type.shape is None
    for x in (floats(2), floats(2, 3)):
        check(proto, {"x": x})


# --------------------------------------------------------------------------- subgraphs
def test_subgraphs_see_outer_names_and_their_own() -> None:
    inner = helper.make_graph(
        [one("Add", "x", "k", outputs=["t"])], "inner", [], [helper.make_empty_tensor_value_info("t")],
        [numpy_helper.from_array(np.array(2, np.float32), "k")],
    )  # fmt: skip
    outer = helper.make_graph(
        [one("If", "c", outputs=["t"], then_branch=inner, else_branch=inner)], "outer", [],
        [helper.make_empty_tensor_value_info("t")],
    )  # fmt: skip
    nodes = [one("If", "c", then_branch=outer, else_branch=outer)]
    module = imported(model(nodes, X, constants={"c": np.array(True)}))
    np.testing.assert_array_equal(interpreted(module, X)[0], X["x"] + 2)


def test_a_capture_counts_as_a_use_when_nodes_are_sorted() -> None:
    body = helper.make_graph([one("Neg", "late", outputs=["t"])], "b", [], [helper.make_empty_tensor_value_info("t")])
    nodes = [one("If", "c", then_branch=body, else_branch=body), one("Relu", "x", outputs=["late"])]
    assert op_types(imported(model(nodes, X, constants={"c": np.array(True)}))) == ["Relu", "Neg"]


# ------------------------------------------------------------------------------ opaque
def declared(proto: onnx.ModelProto, shape: list[Any]) -> onnx.ModelProto:
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", F32, shape))
    return proto


def test_a_custom_operator_is_kept_with_its_bytes() -> None:
    weights = numpy_helper.from_array(floats(2000), "t")
    node = one("Magic", "x", "", "x", domain="acme", name="m", strength=3, table=weights)
    proto = declared(model([node], X), ["n", 7])
    module = imported(proto)
    (opaque,) = module.main
    assert opaque.op_type == "Opaque"
    assert (opaque.attributes["domain"], opaque.attributes["kind"]) == ("acme", "Magic")
    assert opaque.attributes["result_types"] == (parse_type("f32[n,7]"),)
    payload = onnx.NodeProto.FromString(base64.b64decode(opaque.attributes["payload"]))
    assert payload == node
    assert len(opaque.inputs) == 2


def test_an_unknown_operator_of_the_default_domain_is_kept_when_its_type_is_declared() -> None:
    module = imported(declared(model([one("Trace", "x")], {"x": floats(4, 3, 3)}), [4]))
    assert op_types(module) == ["Opaque"]
    with pytest.raises(OnnxOperatorError, match="Trace"):
        imported(model([one("Trace", "x")], {"x": floats(4, 3, 3)}))


def test_an_opaque_node_holds_what_its_subgraphs_capture() -> None:
    body = helper.make_graph(
        [one("Neg", "a", outputs=["t"])], "b", [], [helper.make_tensor_value_info("t", F32, [2, 3])]
    )
    nodes = [one("Relu", "x", outputs=["a"]), one("Unless", "c", domain="acme", branch=body)]
    proto = declared(model(nodes, {**X, "c": (TensorProto.BOOL, [])}), [2, 3])
    relu, opaque = imported(proto).main
    assert opaque.inputs[1] is relu.outputs[0]
    assert opaque.attributes["kind"] == "Unless"


def test_an_unknown_operator_in_a_branch_that_is_chosen_at_import() -> None:
    branches = {
        name: helper.make_graph([node], name, [], [helper.make_tensor_value_info("t", F32, [2, 3])])
        for name, node in (
            ("then_branch", one("Magic", "x", domain="acme", outputs=["t"])),
            ("else_branch", one("Neg", "x", outputs=["t"])),
        )
    }
    proto = model([one("If", "c", **branches)], X, constants={"c": np.array(True)})
    proto.opset_import.append(helper.make_opsetid("acme", 1))
    (opaque,) = imported(proto).main
    assert opaque.attributes["kind"] == "Magic"
    assert opaque.output.type == parse_type("f32[2,3]")


def test_integers_and_strings_as_constants() -> None:
    module = imported(model([one("Identity", "w")], {}, constants={"w": np.array([["a", "b"]], object)}))
    assert module.main.constants()[0].type.dtype is DType.STRING


def test_a_large_chain_is_no_problem() -> None:
    nodes = [one("Relu", f"t{i}" if i else "x", outputs=[f"t{i + 1}" if i < 4999 else "y"]) for i in range(5000)]
    assert len(imported(model(nodes[::-1], X)).main) == 5000


def test_constants_of_attributes_are_mapped_too(tmp_path: Path) -> None:
    node = one("Constant", outputs=["c"], value=numpy_helper.from_array(floats(5000)))
    path = tmp_path / "m.onnx"
    path.write_bytes(model([node, one("Add", "x", "c")], {"x": floats(1)}).SerializeToString())
    (constant,) = load(path).main.constants()
    assert isinstance(constant.data, MappedData)
    np.testing.assert_array_equal(constant.numpy(), floats(5000))
