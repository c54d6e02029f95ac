"""Models that are wrong: one clear error each, with code, place and next step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.frontends.onnx.models import F32, I64, floats, imported, interpreted, model, one, onnxruntime_outputs
from uair.errors import ModelWarning, TypeInferenceError, UairError
from uair.frontends.onnx import errors, load, load_bytes

X = {"x": floats(2, 3)}


def error_of(proto: onnx.ModelProto, kind: type[UairError] = UairError) -> UairError:
    with pytest.raises(kind) as caught:
        load_bytes(proto.SerializeToString(), name="bad.onnx")
    assert "bad.onnx" in caught.value.place
    return caught.value


# ------------------------------------------------------------------------------- files
@pytest.mark.parametrize(
    "content",
    [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 64, b"PK\x03\x04" + b"\0" * 64, b"{}", b"\n" * 100, b"\x08\x08"],
    ids=["empty", "png", "zip", "json", "text", "no graph"],
)
def test_what_is_no_model(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    with pytest.raises(errors.OnnxModelError) as caught:
        load(path)
    assert caught.value.place
    assert caught.value.hint


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(errors.OnnxModelError) as caught:
            load(path)
        assert caught.value.code == "UAIR-E0101"


def test_versions() -> None:
    proto = model([one("Relu", "x")], X)
    proto.opset_import[0].version = 999
    assert "knows 1 to" in error_of(proto, errors.OnnxVersionError).message
    proto = model([one("Relu", "x")], X, ir_version=99)
    assert "IR version 99" in error_of(proto, errors.OnnxVersionError).message
    proto = model([one("Relu", "x")], X)
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 11))
    assert "two versions" in error_of(proto, errors.OnnxVersionError).message
    del proto.opset_import[:]
    assert "does not say" in error_of(proto, errors.OnnxVersionError).message
    proto = model([one("Relu", "x")], X)
    proto.opset_import[0].domain = "other"
    assert "operator set" in error_of(proto, errors.OnnxVersionError).message


# ------------------------------------------------------------------------------- graph
def test_a_cycle_names_its_nodes() -> None:
    nodes = [
        one("Relu", "x", outputs=["a"], name="first"),
        one("Add", "a", "d", outputs=["b"], name="p"),
        one("Relu", "b", outputs=["c"], name="q"),
        one("Relu", "c", outputs=["d"], name="r"),
        one("Relu", "d"),
    ]
    error = error_of(model(nodes, X), errors.OnnxCycleError)
    for name in ("'p'", "'q'", "'r'"):
        assert name in error.message
    assert "'first'" not in error.message


def test_a_node_that_needs_itself() -> None:
    assert "'s' -> 's'" in error_of(model([one("Add", "x", "y", name="s")], X), errors.OnnxCycleError).message


def test_a_long_cycle_is_shortened() -> None:
    nodes = [one("Relu", f"t{(i + 1) % 50}", outputs=[f"t{i}"], name=f"n{i}") for i in range(50)]
    assert "50 nodes" in error_of(model(nodes, X, ["t0"]), errors.OnnxCycleError).message


def test_undefined_values() -> None:
    assert "'z'" in error_of(model([one("Add", "x", "z")], X), errors.OnnxMissingValueError).message
    assert "'y'" in error_of(model([one("Relu", "x", outputs=["t"])], X), errors.OnnxMissingValueError).message
    error = error_of(model([one("Add", "x", name="a")], X), errors.OnnxMissingValueError)
    assert "input 1" in error.message
    assert "ONNX node 'a' (Add, opset 17)" in error.place


def test_duplicates() -> None:
    relu = one("Relu", "x")
    assert "'y'" in error_of(model([relu, relu], X), errors.OnnxDuplicateError).message
    assert "'x'" in error_of(model([one("Relu", "x", outputs=["x"])], X), errors.OnnxDuplicateError).message
    proto = model([relu], X)
    proto.graph.input.append(proto.graph.input[0])
    assert "twice" in error_of(proto, errors.OnnxDuplicateError).message
    proto = model([relu], X)
    proto.graph.output.append(proto.graph.output[0])
    assert "twice" in error_of(proto, errors.OnnxDuplicateError).message
    proto = model([one("Add", "x", "w")], X, constants={"w": floats(3)})
    proto.graph.initializer.append(proto.graph.initializer[0])
    assert "'w'" in error_of(proto, errors.OnnxDuplicateError).message


def test_declared_types_that_contradict_the_operators() -> None:
    def declared(kind: int, shape: list[Any]) -> onnx.ModelProto:
        nodes = [one("Transpose", "x", outputs=["t"], name="tr"), one("Relu", "t")]
        info = helper.make_tensor_value_info("t", kind, shape)
        return model(nodes, X, value_info=[info])

    error = error_of(declared(I64, [3, 2]), errors.OnnxShapeError)
    assert "'t'" in error.message
    assert "'tr'" in error.place
    for wrong in (declared(F32, [2, 3]), declared(F32, [3, 2, 1])):
        with pytest.warns(ModelWarning, match=r"declares 't' as f32\[.*, but it is f32\[3,2\]: what the operators"):
            module = imported(wrong)
        assert module.main.outputs[0].type.shape == (3, 2)
    for right in (declared(F32, [3, 2]), declared(F32, ["n", 2]), declared(F32, [])):
        imported(right)


def test_declared_shapes_that_are_wrong_are_counted_and_the_model_computes_what_onnxruntime_does() -> None:
    proto = model([one("Transpose", "x", outputs=["t"]), one("Relu", "t", outputs=["r"]), one("Neg", "r")], X)
    proto.graph.value_info.extend(helper.make_tensor_value_info(name, F32, [7]) for name in "tr")
    with pytest.warns(ModelWarning, match=r"'t' as f32\[7\].* \(and so are 1 other shapes\)"):
        module = imported(proto)
    x = np.arange(-3, 3, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(interpreted(module, {"x": x})[0], onnxruntime_outputs(proto, {"x": x})[0])


def test_types_that_are_no_tensors() -> None:
    proto = model([one("Relu", "x")], X)
    proto.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, [1])))
    assert "must be a tensor, it is seq<f32[1]>" in error_of(proto, TypeInferenceError).message
    proto = model([one("Relu", "x")], X)
    proto.graph.input[0].type.CopyFrom(helper.make_sparse_tensor_type_proto(F32, [1]))
    assert "is a sparse tensor" in error_of(proto, errors.OnnxTypeError).message
    proto = model([one("Relu", "x")], X)
    proto.graph.input[0].type.tensor_type.elem_type = 77
    assert "77" in error_of(proto, errors.OnnxTypeError).message
    proto = model([one("Relu", "x")], X)
    proto.graph.input[0].ClearField("type")
    assert "has no type" in error_of(proto, errors.OnnxModelError).message


@pytest.mark.parametrize("name", [b"@input@", b"@node@", b"@graph@", b"@dim@", b"@key@", b"@maker@", b"@weight@"])
def test_names_must_be_text(name: bytes) -> None:
    nodes = [one("Add", "@input@", "@weight@", name="@node@")]
    proto = model(nodes, {"@input@": (F32, ["@dim@"])}, constants={"@weight@": floats(1)})
    proto.graph.name, proto.producer_name = "@graph@", "@maker@"
    entry = proto.metadata_props.add()
    entry.key = "@key@"
    imported(proto)
    damaged = proto.SerializeToString().replace(name, b"\xff" * len(name))
    with pytest.raises(errors.OnnxModelError, match="UTF-8"):
        load_bytes(damaged)


# -------------------------------------------------------------------------- attributes
@pytest.mark.parametrize(
    ("node", "words"),
    [
        (one("Transpose", "x", perm=[0, 0]), "permutation"),
        (one("Transpose", "x", perm=1), "is INT, expected INTS"),
        (one("LeakyRelu", "x", alpha=1), "is INT, expected FLOAT"),
        (one("Concat", "x", axis=1.5), "is FLOAT, expected INT"),
        (one("Concat", "x"), "'axis' is missing"),
        (one("Concat", "x", axis=7), "axis 7"),
        (one("Softmax", "x", axis=-3), "axis -3"),
        (one("Relu", "x", color="red"), "no attribute 'color'"),
        (one("Cast", "x"), "'to' is missing"),
        (one("Cast", "x", to=77), "77"),
        (one("MaxPool", "x"), "'kernel_shape' is missing"),
        (one("Flatten", "x", axis=9), "axis 9"),
        (one("DepthToSpace", "x"), "'blocksize' is missing"),
        (one("BitShift", "x", "x", direction="UP"), "'UP'"),
        (one("Einsum", "x", equation=b"\xff"), "UTF-8"),
        (one("Constant", value_int=1, value_float=1.0), "exactly one"),
        (one("Unsqueeze", "x"), "input 1"),
        (one("Gelu", "x", approximate="fast"), "'fast'"),
    ],
)
def test_attributes(node: Any, words: str) -> None:
    proto = model([node], X, opset=20)
    node.name = "here"
    proto.graph.node[0].name = "here"
    error = error_of(proto)
    assert words in error.message
    assert "'here'" in error.place


def test_an_attribute_given_twice() -> None:
    node = one("LeakyRelu", "x", alpha=0.1)
    node.attribute.append(node.attribute[0])
    assert "twice" in error_of(model([node], X), errors.OnnxAttributeError).message


def test_an_attribute_without_a_type_is_read_by_its_field() -> None:
    """As writers before IR version 3 did."""
    node = one("LeakyRelu", "x", alpha=0.5)
    node.attribute[0].ClearField("type")
    (result,) = imported(model([node], X)).main
    assert result.attributes["alpha"] == 0.5


# --------------------------------------------------------------------------- operators
def test_inference_failures_name_the_onnx_node() -> None:
    proto = model([one("Conv", "x", "w", name="c1")], {"x": floats(1, 4, 8, 8)}, constants={"w": floats(2, 3, 3, 3)})
    error = error_of(proto)
    assert error.code == "UAIR-E0301"
    assert "ONNX node 'c1' (Conv, opset 17)" in error.place


def test_unknown_operators() -> None:
    error = error_of(model([one("Frobnicate", "x", name="f")], X), errors.OnnxOperatorError)
    assert "ai.onnx.Frobnicate" in error.message
    assert "(Frobnicate, opset 17)" in error.place
    assert error.hint
    error = error_of(model([one("Frobnicate", "x", domain="acme")], X), errors.OnnxOperatorError)
    assert "acme.Frobnicate" in error.message


def test_constants_without_measure_are_refused() -> None:
    for shape in ([2**31, 2**31], [2**62], [-1]):
        proto = model([one("ConstantOfShape", "s")], {}, constants={"s": np.array(shape)})
        assert "shape" in error_of(proto, errors.OnnxAttributeError).message
    proto = model([one("EyeLike", "x")], {"x": (F32, [2**20, 2**20])})
    assert "too large" in error_of(proto).message


def test_sparse_tensors() -> None:
    def sparse(indices: list[Any], dims: list[int]) -> onnx.ModelProto:
        values = numpy_helper.from_array(np.array([1, 2], np.float32), "w")
        stored = helper.make_sparse_tensor(values, numpy_helper.from_array(np.array(indices)), dims)
        return model([one("Add", "x", "w")], {"x": floats(3, 4)}, sparse_initializer=[stored])

    for indices in ([1, 5], [[0, 1], [1, 1]]):
        (constant,) = imported(sparse(indices, [3, 4])).main.constants()
        want = np.zeros((3, 4), np.float32)
        want[0, 1], want[1, 1] = 1, 2
        np.testing.assert_array_equal(constant.numpy(), want)
    for indices, dims in (([1, 12], [3, 4]), ([-1, 1], [3, 4]), ([[0, 1], [3, 0]], [3, 4]), ([0, 1], [2**40])):
        assert "sparse" in error_of(sparse(indices, dims), errors.OnnxTensorError).message


def test_strings() -> None:
    tensor = TensorProto(name="w", data_type=TensorProto.STRING, dims=[1], string_data=[b"\xff"])
    proto = model([one("Identity", "w")], {})
    proto.graph.initializer.append(tensor)
    assert "UTF-8" in error_of(proto, errors.OnnxTensorError).message
    proto.graph.initializer[0].string_data[:] = [b"a", b"b"]
    assert "2 numbers" in error_of(proto, errors.OnnxTensorError).message
