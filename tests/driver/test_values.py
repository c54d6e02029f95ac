"""Inputs that become constants: through the API, on the command line, and in what is recorded."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import uair
from uair.api import run_pipeline
from uair.cli import main
from uair.errors import InputValueError, ShapeBindingError
from uair.text import parse_module

MODEL = """uair 1
module @m {
  constant @limit = 16000 : i64[]
  graph @main(%x: f32[2,N], %rate: i64[], %gain: f32[N]) -> (%y: f32[2,N]) {
    %c = Equal(%rate, @limit) : bool[]
    %b = If(%c) (
      then_branch = @then() -> (%t: f32[2,N]) {
        %t = Relu(%x) : f32[2,N]
      },
      else_branch = @els() -> (%e: f32[2,N]) {
        %e = Neg(%x) : f32[2,N]
      }
    ) : f32[2,N]
    %y = Mul(%b, %gain) : f32[2,N]
  }
}
"""
X = np.array([[1, -2, 3], [-4, 5, -6]], np.float32)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "m.uair"
    path.write_text(MODEL)
    return path


@pytest.mark.parametrize(
    ("shapes", "gain"),
    [({}, [2.0, 2.0, 2.0]), ({"x": (2, 3)}, 2), ({"gain": (3,)}, np.float32(2)), ({"x": (2, 3)}, "2")],
)
def test_compiled_model_lacks_the_inputs(shapes: dict[str, tuple[int, ...]], gain: object) -> None:
    artifact = uair.compile(parse_module(MODEL), "cpu", shapes=shapes, values={"rate": 8000, "gain": gain})
    assert [entry["name"] for entry in artifact.manifest["inputs"]] == ["x"]
    np.testing.assert_array_equal(uair.run(artifact, X)["y"], -2 * X)
    assert artifact.manifest["golden"]["compiled_against_reference"]["y"]["max_abs"] == 0


def test_pipeline_of_the_manifest_can_be_run_again() -> None:
    artifact = uair.compile(parse_module(MODEL), "cpu", values={"rate": 16000, "gain": np.arange(3, dtype=np.float32)})
    step = next(s for s in artifact.manifest["pipeline"] if s.startswith("bind-inputs"))
    assert step == "bind-inputs{values=[rate:16000,gain:[0.0,1.0,2.0]]}"
    again = run_pipeline(parse_module(MODEL), step)
    np.testing.assert_array_equal(uair.run(again, X)["y"], np.maximum(X, 0) * [0, 1, 2])


def test_long_value_is_told_by_its_digest() -> None:
    values = {"rate": 1, "gain": np.zeros(100, np.float32)}
    artifact = uair.compile(parse_module(MODEL), "cpu", values=values, golden=False)
    step = next(s for s in artifact.manifest["pipeline"] if s.startswith("bind-inputs"))
    assert "float32[100] sha256:" in step and len(step) < 200


def test_value_decides_a_branch_before_the_sizes_do() -> None:
    """The branch that is not taken does not accept the sizes: it is gone by then, and nothing is noted about it."""
    text = MODEL.replace("%e = Neg(%x) : f32[2,N]", "%e = Reshape(%x) {shape = [2,5]} : f32[2,5]")
    text = text.replace("els() -> (%e: f32[2,N])", "els() -> (%e: f32[2,5])")
    text = text.replace(") : f32[2,N]\n    %y", ") : f32[2,?]\n    %y")
    values = {"rate": 16000, "gain": [1, 1, 1]}
    artifact = uair.compile(parse_module(text), "cpu", shapes={"x": (2, 3)}, values=values)
    report = json.loads(artifact.file("report.json").read_text("utf-8"))
    assert "branches" not in report
    np.testing.assert_array_equal(uair.run(artifact, X)["y"], np.maximum(X, 0))


def test_calibration_is_for_the_inputs_that_are_left() -> None:
    text = """uair 1
module @m {
  constant @w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0] : f32[3,2]
  graph @main(%x: f32[2,3], %gain: f32[3]) -> (%y: f32[2,2]) {
    %s = Mul(%x, %gain) : f32[2,3]
    %y = MatMul(%s, @w) : f32[2,2]
  }
}
"""
    artifact = uair.compile(parse_module(text), "cpu", values={"gain": 2}, quantize=uair.Int8([{"x": X}]))
    assert artifact.manifest["quantization"]["calibration"]["samples"] == 1
    assert artifact.manifest["quantization"]["quantized"] == 1


def test_check_knows_the_value() -> None:
    """Horizon's tools take no If: with the value there is none."""
    shapes = {"x": (2, 3)}
    (without,) = uair.check(parse_module(MODEL), "horizon_j5", shapes=shapes)
    (with_,) = uair.check(parse_module(MODEL), "horizon_j5", shapes=shapes, values={"rate": 8000, "gain": 1})
    assert "If" in {row.op_type for row in without.rows} and "If" not in {row.op_type for row in with_.rows}


@pytest.mark.parametrize(
    ("values", "words", "hint"),
    [
        ({"rat": 1}, "'rat', which is no input", "did you mean 'rate'? the inputs are x: f32[2,N], rate: i64[]"),
        ({"rate": 0.5}, "'rate' is i64[], which cannot hold the value given: 0.5", "whole numbers from -9223"),
        ({"rate": "fast"}, "cannot hold the value given: 'fast'", "whole numbers"),
        ({"rate": None}, "cannot hold the value given: None", "whole numbers"),
        ({"rate": [1, 2]}, "'rate' is i64[], the value given has shape [2]", "give one number"),
        ({"gain": 1}, "'gain' is f32[N]: a value needs known sizes", "--shape gain="),
        ({"gain": [[1.0]]}, "'gain' is f32[N]: a value needs known sizes", "--shape gain="),
        ({"gain": [1e39]}, "'gain' is f32[1], which cannot hold", "takes numbers"),
        ({"gain": [[1], [2, 3]]}, "'gain' is f32[N], which cannot hold", "takes numbers"),
    ],
)
def test_refusals(values: dict[str, object], words: str, hint: str) -> None:
    for act in (uair.compile, uair.check):
        with pytest.raises(InputValueError) as caught:
            act(parse_module(MODEL), "cpu", values=values)
        assert words in caught.value.message and hint in caught.value.hint


def test_shape_and_value_that_contradict() -> None:
    with pytest.raises(ShapeBindingError, match=r"shape \[2\]|is 3 in the model"):
        uair.compile(parse_module(MODEL), "cpu", shapes={"gain": (3,)}, values={"gain": [1, 2]})


def test_command_line(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.save(tmp_path / "gain.npy", np.full(3, 2, np.float32))
    np.save(tmp_path / "x.npy", X)
    values = ["--value", "rate=8000", "--value", f"gain={tmp_path / 'gain.npy'}"]
    out = tmp_path / "out"
    arguments = ["compile", str(model), "-t", "cpu", "-o", str(out), *values, "--golden", str(tmp_path / "x.npy")]
    assert main(arguments) == 0
    golden = uair.Artifact.open(out).arrays("golden/outputs.npz")
    np.testing.assert_array_equal(golden["y"], -2 * X)
    capsys.readouterr()
    assert main(["inspect", str(model), "--value", "rate=8000", "--value", "gain=1,2,3", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert [entry["shape"] for entry in facts["inputs"]] == [[2, 3]]
    assert main(["run", str(model), *values, "-i", str(tmp_path / "x.npy"), "-o", str(tmp_path / "y.npz")]) == 0
    np.testing.assert_array_equal(np.load(tmp_path / "y.npz")["y"], -2 * X)
    capsys.readouterr()
    assert main(["dump", str(model), *values]) == 0
    assert "If" not in capsys.readouterr().out
    assert main(["opt", str(model), *values, "-p", "fuse"]) == 0
    assert "If" not in capsys.readouterr().out
    assert main(["check", str(model), *values, "-t", "cpu"]) == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--value", "rate"], "not of the form rate=16000"),
        (["--value", "rate="], "not of the form rate=16000"),
        (["--value", "rate=1", "--value", "rate=2"], "--value gives 'rate' twice"),
        (["--value", "rate=missing.npy"], "missing.npy cannot be read"),
        (["--value", "rates=1"], "did you mean 'rate'?"),
        (["--shape", "gian=3"], "did you mean 'gain'?"),
    ],
)
def test_command_line_refusals(
    model: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", str(model), "-t", "cpu", *arguments]) != 0
    assert words in " ".join(capsys.readouterr().err.split())


def test_artifacts_are_bound_already(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    uair.compile(model, "cpu", output=tmp_path / "out", values={"rate": 1}, golden=False)
    for command in ("run", "inspect"):
        for option in (["--value", "gain=1"], ["--shape", "x=2,3"]):
            assert main([command, str(tmp_path / "out"), *option]) == 2
            assert f"{option[0]} is for models" in capsys.readouterr().err
