"""The Python API, beside what the command line's tests already run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests.cli.helpers import listing, tiny_model, write_tiny
from uair.api import DoesNotFit, UnknownFormatError, compare, describe_interface, is_artifact
from uair.builtin import TARGETS
from uair.errors import ShapeBindingError, UairError, UnknownNameError
from uair.ir.compare import difference
from uair.preprocess import PreprocessError
from uair.text import parse_module

SAVED_MODEL = Path(__file__).parent / "frontends" / "tensorflow" / "models" / "plain"
X = np.random.default_rng(0).normal(size=(1, 3, 8, 8)).astype(np.float32)


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    return write_tiny(tmp_path)


# ------------------------------------------------------------------------------------------------------- load, optimise
def test_load(tiny: Path, tmp_path: Path) -> None:
    module = uair.load(tiny)
    assert uair.load(module) is module
    assert difference(uair.load(str(tiny)), module) == ""
    tiny.rename(tmp_path / "model.mlmodel")
    with pytest.raises(UnknownFormatError, match="no known format"):
        uair.load(tmp_path / "model.mlmodel")
    assert difference(uair.load(tmp_path / "model.mlmodel", format="onnx"), module) != ""  # its name is in the origin
    with pytest.raises(UnknownFormatError, match="is a folder"):
        uair.load(tmp_path)
    with pytest.raises(UnknownNameError):
        uair.load(tmp_path / "model.mlmodel", format="caffe")


def test_what_is_given_in_place_of_a_model(tiny: Path, tmp_path: Path) -> None:
    with pytest.raises(UnknownFormatError, match="is not there"):
        uair.load(tmp_path / "nowhere")
    uair.compile(tiny, target="cpu", shapes={"x": (1, 3, 8, 8)}, output=tmp_path / "made")
    with pytest.raises(UnknownFormatError, match="is an artifact") as caught:
        uair.load(tmp_path / "made")
    assert len(uair.load(caught.value.hint.rpartition(" ")[2]).main)


def test_optimize_is_in_place_and_keeps_the_numbers(tiny: Path) -> None:
    module = uair.load(tiny)
    before = uair.run(module, X)["y"]
    assert uair.optimize(module) is module
    assert len(module.main) < 6
    np.testing.assert_allclose(uair.run(module, X)["y"], before, rtol=1e-4)


def test_export_leaves_the_module_alone(tiny: Path, tmp_path: Path) -> None:
    module = uair.load(tiny)
    copy = module.clone()
    for opset in (None, 11, 17):
        uair.export_onnx(module, tmp_path / "out.onnx", opset=opset)
        onnx.checker.check_model(tmp_path / "out.onnx")
        np.testing.assert_allclose(uair.run(tmp_path / "out.onnx", X)["y"], uair.run(module, X)["y"], rtol=1e-5)
    assert difference(module, copy) == ""


# -------------------------------------------------------------------------------------------------------------- compile
def test_compile_leaves_the_module_alone(tiny: Path) -> None:
    module = uair.load(tiny)
    copy = module.clone()
    uair.compile(module, "cpu", shapes={"x": (1, 3, 8, 8)})
    assert difference(module, copy) == ""


def test_an_artifact_without_a_place_lives_as_long_as_the_object(tiny: Path) -> None:
    artifact = uair.compile(tiny, "cpu", shapes={"x": (1, 3, 8, 8)})
    root = artifact.root
    np.testing.assert_allclose(uair.run(artifact, X)["y"], uair.run(tiny, X)["y"], rtol=1e-4)
    assert root.exists()
    del artifact
    assert not root.exists()


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_every_target_computes_the_same(tiny: Path, tmp_path: Path, target: str) -> None:
    """On the device where there is one, else in the reference interpreter: half precision at worst."""
    artifact = uair.compile(tiny, target, output=tmp_path / "out.zip", shapes={"x": (1, 3, 8, 8)})
    assert artifact.target == target
    for given in (artifact, tmp_path / "out.zip", str(tmp_path / "out.zip")):
        np.testing.assert_allclose(uair.run(given, {"x": X})["y"], uair.run(tiny, X)["y"], rtol=1e-2, atol=1e-3)
    error = artifact.manifest["golden"]["compiled_against_reference"]["y"]
    assert error["relative"] < 1e-2 and error["cosine"] > 0.9999


def test_int8_with_samples_from_memory(tiny: Path) -> None:
    samples = [np.random.default_rng(i).normal(size=(1, 3, 8, 8)).astype(np.float32) for i in range(16)]
    artifact = uair.compile(tiny, "cpu", shapes={"x": (1, 3, 8, 8)}, quantize=uair.Int8(samples))
    assert artifact.manifest["quantization"]["quantized"] == 2
    assert (compare(uair.run(tiny, X)["y"], uair.run(artifact, X)["y"])["cosine"] or 0) > 0.99


def test_the_golden_input_may_be_given(tiny: Path) -> None:
    x = np.full((1, 3, 8, 8), 0.5, np.float32)
    artifact = uair.compile(tiny, "cpu", shapes={"x": (1, 3, 8, 8)}, golden={"x": x})
    np.testing.assert_array_equal(artifact.arrays("golden/inputs.npz")["x"], x)
    with pytest.raises(uair.UairError, match="no input 'z'"):
        uair.compile(tiny, "cpu", shapes={"x": (1, 3, 8, 8)}, golden={"z": x})


def test_the_golden_input_is_the_first_sample(tiny: Path) -> None:
    samples = [np.full((1, 3, 8, 8), i / 16, np.float32) for i in range(1, 17)]
    artifact = uair.compile(tiny, "cpu", shapes={"x": (1, 3, 8, 8)}, quantize=uair.Int8(samples))
    np.testing.assert_array_equal(artifact.arrays("golden/inputs.npz")["x"], samples[0])


def test_what_a_target_does_not_take_is_listed(tmp_path: Path) -> None:
    module = parse_module("%x: f32[4]  %y = NonZero(%x)")
    with pytest.raises(DoesNotFit) as caught:
        uair.compile(module, "ascend310", output=tmp_path / "out")
    assert "1 of 1 nodes do not fit ascend310" in caught.value.message
    assert "NonZero: " in caught.value.window
    assert "uair check" in caught.value.hint
    assert listing(tmp_path) == []


@pytest.mark.parametrize(
    ("arguments", "error", "words"),
    [
        ({"target": "rk3589"}, UnknownNameError, "rk3589"),
        ({"shapes": {"z": (1,)}}, ShapeBindingError, "'z'"),
        ({"shapes": {"x": (1, 4, 8, 8)}}, ShapeBindingError, "axis 1"),
        ({"target": "ascend310"}, ShapeBindingError, "open"),
        ({"preprocess": {"z": uair.Preprocess()}}, PreprocessError, "'z'"),
        ({"preprocess": {"x": uair.Preprocess(color="gray")}}, PreprocessError, "3 channels"),
        ({"quantize": uair.Int8("no/such/folder")}, UairError, "no/such/folder"),
        ({"quantize": uair.Int8([])}, UairError, "no samples"),
    ],
)
def test_refusals_leave_nothing(tiny: Path, tmp_path: Path, arguments: dict[str, Any], error: type, words: str) -> None:
    given: dict[str, Any] = {"target": "cpu", "output": tmp_path / "out"} | arguments
    with pytest.raises(error, match=words):
        uair.compile(tiny, **given)
    assert listing(tmp_path) == ["tiny.onnx"]


# ------------------------------------------------------------------------------------------------------------------ run
def test_inputs_by_name_or_alone(tiny: Path) -> None:
    alone = uair.run(tiny, X)["y"]
    np.testing.assert_array_equal(uair.run(tiny, {"x": X})["y"], alone)
    np.testing.assert_array_equal(uair.run(uair.load(tiny), X)["y"], alone)
    two = parse_module("%a: f32[1]  %b: f32[1]  %c = Sub(%a, %b)")
    with pytest.raises(UairError, match=r"2 inputs \(a, b\)"):
        uair.run(two, np.ones(1, np.float32))


@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize(
    ("feeds", "words"),
    [
        ({}, "input 'x'"),
        ({"z": X}, "no input 'z'"),
        ({"x": X.astype(np.float64)}, "float64"),
        ({"x": X[0]}, "axes"),
        ({"x": np.zeros((2, 3, 8, 8), np.float32)}, "2"),
    ],
)
def test_an_artifact_refuses_what_is_no_input(tiny: Path, target: str, feeds: dict[str, Any], words: str) -> None:
    """In the same words whatever runs it."""
    artifact = uair.compile(tiny, target, shapes={"x": (1, 3, 8, 8)}, golden=False)
    with pytest.raises(UairError, match=words) as caught:
        uair.run(artifact, feeds)
    with pytest.raises(UairError) as other:
        uair.run(uair.load(artifact.file("model.uair")), feeds)
    assert caught.value.message == other.value.message


def test_open_sizes_of_an_artifact_may_be_any(tiny: Path) -> None:
    artifact = uair.compile(tiny, "cpu")
    assert "golden" not in artifact.manifest
    for n in (1, 3):
        x = np.zeros((n, 3, 8, 8), np.float32)
        assert uair.run(artifact, x)["y"].shape == (n, 5)


def test_what_is_an_artifact(tiny: Path, tmp_path: Path) -> None:
    uair.compile(tiny, "reference", output=tmp_path / "a.bin")
    uair.compile(tiny, "reference", output=tmp_path / "a")
    assert is_artifact(tmp_path / "a.bin") and is_artifact(tmp_path / "a")
    assert not is_artifact(tiny) and not is_artifact(tmp_path / "missing")
    assert not is_artifact(tmp_path) and not is_artifact(SAVED_MODEL)


def test_a_saved_model_is_run_by_its_path() -> None:
    recorded = np.load(SAVED_MODEL.with_suffix(".npz"))
    results = uair.run(SAVED_MODEL, {name: recorded[name] for name in ("image", "sign")})
    np.testing.assert_allclose(results["mean"], recorded["y_mean"], rtol=1e-4, atol=1e-6)


# ---------------------------------------------------------------------------------------------------------------- check
def test_check_leaves_the_module_alone(tiny: Path) -> None:
    module = uair.load(tiny)
    copy = module.clone()
    reports = uair.check(module, shapes={"x": (1, 3, 8, 8)})
    assert [r.target for r in reports] == sorted(TARGETS)
    # A partial answer; no public list of operators; rows of a list that say nothing.
    open_questions = {"rk3588", "br100", "br104", "hanguang800", "horizon_x3"}
    assert [r.target for r in reports if not r.fits and r.target not in open_questions] == []
    assert [r.target for r in uair.check(tiny, "cpu")] == ["cpu"]
    assert [r.target for r in uair.check(tiny, ["rk3588", "cpu"])] == ["rk3588", "cpu"]
    assert difference(module, copy) == ""


# -------------------------------------------------------------------------------------------------------------- compare
def test_compare() -> None:
    a = np.array([1.0, -2.0, 4.0])
    assert compare(a, a) == {"max_abs": 0.0, "relative": 0.0, "cosine": pytest.approx(1)}
    assert compare(a, a + 1)["max_abs"] == 1 and compare(a, a + 1)["relative"] == 0.25
    assert compare(a, -a)["cosine"] == pytest.approx(-1)
    nan = np.array([np.nan, 1.0])
    assert compare(nan, nan)["relative"] == 0
    assert compare(nan, np.array([0.0, 1.0]))["relative"] is None
    assert compare(np.zeros(0), np.zeros(0))["cosine"] == 1
    assert compare(np.zeros(3), np.zeros(3))["cosine"] == 1 and compare(np.zeros(3), np.ones(3))["cosine"] == 0
    assert compare(np.array([True]), np.array([True]))["relative"] == 0
    assert compare(np.array([True]), np.array([False]))["relative"] is None


def test_the_interface_as_plain_data() -> None:
    module = parse_module("%a: f32[n,2*n,3]  %b: i64[*]  %c = Identity(%a)  %d = Identity(%b)")
    graph = module.main
    assert describe_interface(graph.input_names, graph.inputs, {"a": uair.Preprocess(mean=1)}) == [
        {"name": "a", "dtype": "f32", "shape": ["n", "2*n", 3], "preprocess": uair.Preprocess(mean=1).to_json()},
        {"name": "b", "dtype": "i64", "shape": None},
    ]


def test_tiny_model_is_valid() -> None:
    onnx.checker.check_model(tiny_model(), full_check=True)
