"""One name for axes of different lengths, as some exporters write it: to onnxruntime it says that a size is open."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# onnx.helper leaves type arguments open.

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import uair
from tests.frontends.onnx.models import F32, I64, floats, model, one, onnxruntime_outputs
from uair.errors import ModelWarning, ShapeBindingError
from uair.ir.dtype import Array

FEEDS: dict[str, Array] = {"a": floats(2, 5), "b": floats(2, 7, seed=1), "c": floats(2, 5, seed=2)}
SHAPES = {name: array.shape for name, array in FEEDS.items()}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Every extent is called N; what is computed takes the sizes of one input for another's shape."""
    nodes = [
        one("Concat", "a", "b", outputs=["joined"], axis=1),
        one("Shape", "joined", outputs=["shape"]),
        one("Reshape", "joined", "flat", outputs=["line"]),
        one("Reshape", "line", "shape", outputs=["again"]),
        one("Add", "a", "c", outputs=["sum"]),
        one("Shape", "b", outputs=["size"]),
        one("Gather", "size", "one", outputs=["length"], axis=0),
        one("Range", "zero", "length", "unit", outputs=["places"]),
    ]
    constants = {"flat": np.array([-1]), "one": np.array(1), "zero": np.array(0), "unit": np.array(1)}
    inputs = {name: (F32, [2, "N"]) for name in FEEDS}
    made = model(nodes, inputs, ["again", "sum", "places"], constants=constants)
    for output, kind, shape in zip(made.graph.output, (F32, F32, I64), (["N", "N"], ["N", "N"], ["N"]), strict=True):
        output.CopyFrom(helper.make_tensor_value_info(output.name, kind, shape))
    file = tmp_path / "model.onnx"
    onnx.save(made, file)
    return file


def expected(path: Path) -> list[Array]:
    return onnxruntime_outputs(onnx.load(path), FEEDS)


def require_equal(path: Path, results: Mapping[str, Array]) -> None:
    for got, want in zip(results.values(), expected(path), strict=True):
        np.testing.assert_array_equal(got, want)


def test_sizes_are_told_apart_by_the_shapes(path: Path) -> None:
    with pytest.warns(ModelWarning) as caught:
        module = uair.load(path, shapes=SHAPES)
    (warning,) = caught
    assert str(warning.message) == (
        "the model calls different sizes 'N' (5 of 'a', 'c'; 7 of 'b'): they are told apart"
    )
    first, second, third = (str(tensor.type) for tensor in module.main.inputs)
    assert first == third == "f32[2,N]" and second == "f32[2,N_2]"
    require_equal(path, uair.run(module, FEEDS))


@pytest.mark.filterwarnings("ignore::uair.errors.ModelWarning")
def test_an_input_without_a_shape_keeps_a_size_of_its_own(path: Path) -> None:
    module = uair.load(path, shapes={"a": (2, 5), "b": (2, 7)})
    assert len({str(tensor.type) for tensor in module.main.inputs}) == 3
    with pytest.raises(ShapeBindingError, match="input 'c' has the open shape"):
        uair.compile(path, "rk3588", shapes={"a": (2, 5), "b": (2, 7)})


@pytest.mark.filterwarnings("ignore::uair.errors.ModelWarning")
def test_a_model_is_compiled_and_run(path: Path) -> None:
    artifact = uair.compile(path, "cpu", shapes=SHAPES)
    assert [tuple(entry["shape"]) for entry in artifact.manifest["inputs"]] == list(SHAPES.values())
    require_equal(path, uair.run(artifact, FEEDS))
    require_equal(path, uair.run(path, FEEDS))


def test_shapes_that_agree_say_nothing(path: Path) -> None:
    shapes = {"a": (2, 5), "b": (2, 5), "c": (5,)}  # what does not fit at all is refused when it is bound
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        module = uair.load(path, shapes=shapes)
        assert {str(tensor.type) for tensor in module.main.inputs} == {"f32[2,N]"}
        assert uair.compile(path, "cpu", shapes={"a": (2, 5)}).manifest["inputs"][1]["shape"] == [2, 5]
    with pytest.raises(ShapeBindingError, match="'c' has 2 axes"):
        uair.compile(path, "cpu", shapes=shapes)


def test_a_module_that_was_read_without_shapes_says_how(path: Path) -> None:
    with pytest.raises(ShapeBindingError, match="size 'N' would be both 5 and 7") as caught:
        uair.compile(uair.load(path), "cpu", shapes=SHAPES)
    assert "uair.load(path, shapes={...})" in caught.value.hint


def test_one_input_may_hold_both_sizes(tmp_path: Path) -> None:
    mask = np.arange(35, dtype=np.float32).reshape(5, 7)
    onnx.save(model([one("Transpose", "x", perm=[1, 0])], {"x": (TensorProto.FLOAT, ["N", "N"])}), tmp_path / "m.onnx")
    with pytest.warns(ModelWarning, match=r"'N' \(5 of 'x'; 7 of 'x'\)"):
        artifact = uair.compile(tmp_path / "m.onnx", "cpu", shapes={"x": (5, 7)})
    np.testing.assert_array_equal(uair.run(artifact, mask)["y"], mask.T)


BUCKETS = [{"a": (2, 5), "b": (2, 7), "c": (2, 5)}, {"a": (2, 4), "b": (2, 4), "c": (2, 6)}]
"""The first one does not tell a's size from c's, the second one not from b's."""


def test_all_buckets_together_tell_sizes_apart(tmp_path: Path) -> None:
    nodes = [one("Relu", name, outputs=[name.upper()]) for name in "abc"]
    made = model(nodes, {name: (F32, [2, "N"]) for name in "abc"}, ["A", "B", "C"])
    file = tmp_path / "model.onnx"
    onnx.save(made, file)
    with pytest.warns(ModelWarning, match=r"'N' \(5/4 of 'a'; 7/4 of 'b'; 5/6 of 'c'\): they are told apart"):
        module = uair.load(file, shapes=BUCKETS)
    assert len({str(tensor.type) for tensor in module.main.inputs}) == 3
    with pytest.warns(ModelWarning, match="told apart"):
        artifact = uair.compile(file, "jetson_orin", buckets=BUCKETS)
    assert [b["c"] for b in artifact.manifest["buckets"]] == [[2, 5], [2, 6]]


def test_an_input_that_a_bucket_leaves_out_says_nothing_there(tmp_path: Path) -> None:
    made = model([one("Add", "a", "b")], {"a": (F32, [2, "N"]), "b": (F32, [2, "N"])})
    onnx.save(made, tmp_path / "m.onnx")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        uair.load(tmp_path / "m.onnx", shapes=[{"a": (2, 5), "b": (2, 5)}, {"a": (2, 6)}])
