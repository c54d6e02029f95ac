"""`uair run`."""

from __future__ import annotations

from pathlib import Path

import ml_dtypes
import numpy as np
import onnxruntime
import pytest

from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, EXAMPLE_STEPS, IMAGES, Shell, run_uair
from uair.api import compile as compile_model
from uair.api import run
from uair.artifact import build_artifact
from uair.cli.run import summary


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    path = tmp_path / "x.npy"
    np.save(path, np.random.default_rng(1).normal(size=(1, 3, 8, 8)).astype(np.float32))
    return path


def expected(model: Path, sample: Path) -> np.ndarray:
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": np.load(sample)})[0])


def test_a_model(uair: Shell, tiny: Path, sample: Path) -> None:
    result = uair("run", tiny, "--input", f"x={sample}", "--json").require()
    entry = result.json["outputs"]["y"]
    assert entry["shape"] == [1, 5] and entry["dtype"] == "float32" and entry["truncated"] is False
    np.testing.assert_allclose(entry["values"], expected(tiny, sample)[0], rtol=1e-5)
    assert "error" not in entry


def test_the_name_may_be_left_out(uair: Shell, tiny: Path, sample: Path, tmp_path: Path) -> None:
    named = uair("run", tiny, "-i", f"x={sample}").require()
    np.savez(tmp_path / "all.npz", x=np.load(sample))
    for given in (str(sample), "all.npz", "x=all.npz"):
        assert uair("run", tiny, "-i", given).require().out == named.out
    assert named.out.startswith("y: float32[1,5]  ")


@pytest.mark.parametrize("target", ["cpu", "reference"])
@pytest.mark.parametrize("out", ["art", "art.zip"])
def test_an_artifact(uair: Shell, tiny: Path, sample: Path, target: str, out: str) -> None:
    uair("compile", tiny, "-t", target, "--shape", "x=1,3,8,8", "-o", out).require()
    entry = uair("run", out, "-i", sample, "--json").require().json["outputs"]["y"]
    np.testing.assert_allclose(entry["values"], expected(tiny, sample)[0], rtol=1e-4)


def test_the_golden_input_is_compared(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "-o", "art").require()
    result = uair("run", "art", "--tolerance", "1e-5").require()
    assert "against the golden output: cosine 1.000000" in result.out
    assert uair("run", "art", "--json").require().json["outputs"]["y"]["error"]["relative"] < 1e-5


def test_a_result_outside_of_the_tolerance_has_status_4(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    """The artifact is made by hand: its golden output is that of another input."""
    made = compile_model(tiny, "reference", shapes={"x": (1, 3, 8, 8)})
    inputs, outputs = made.arrays("golden/inputs.npz"), made.arrays("golden/outputs.npz")
    with build_artifact(tmp_path / "art") as builder:
        builder.manifest |= {k: v for k, v in made.manifest.items() if k not in ("files", "schema", "uair")}
        for name in made.manifest["files"]:
            builder.path_for(name).write_bytes(made.file(name).read_bytes())
        builder.add_arrays("golden/inputs.npz", inputs)
        builder.add_arrays("golden/outputs.npz", {"y": outputs["y"] + 1})
    assert uair("run", "art", "--tolerance", "1e-3").status == 4
    assert uair("run", "art", "--tolerance", "100").status == 0
    assert uair("run", "art").status == 0


def test_tolerance_without_a_golden_input_is_refused(uair: Shell, tiny: Path, sample: Path) -> None:
    assert "golden" in uair("run", tiny, "-i", sample, "--tolerance", "1").require(2).err


def test_an_image(uair: Shell) -> None:
    line = IMAGES / "text_line.png"
    result = uair("run", EXAMPLE, "--shape", EXAMPLE_SHAPE, "--preprocess", EXAMPLE_STEPS, "-i", line, "--json")
    (entry,) = result.require().json["outputs"].values()
    assert entry["values"][0] > 0.99
    refused = uair("run", EXAMPLE, "--preprocess", EXAMPLE_STEPS, "-i", line).require(1)
    assert "UAIR-E0901" in refused.err and "--shape x=1,3,224,224" in refused.err


def test_outputs_are_written(uair: Shell, tiny: Path, sample: Path, tmp_path: Path) -> None:
    uair("run", tiny, "-i", sample, "-o", "out.npz").require()
    with np.load("out.npz") as archive:
        np.testing.assert_array_equal(archive["y"], run(tiny, np.load(sample))["y"])


@pytest.mark.parametrize(
    ("given", "code", "words"),
    [
        ([], "UAIR-E0901", "--input x=FILE"),
        (["-i", "missing.npy"], "UAIR-E0901", "missing.npy"),
        (["-i", "z=x.npy"], "UAIR-E0901", "the inputs are x"),
        (["-i", "text.npy"], "UAIR-E0901", "numpy.save"),
        (["-i", "pickled.npy"], "UAIR-E0901", "cannot be read as an array"),
        (["-i", "text.npz"], "UAIR-E0901", "numpy.savez"),
        (["-i", "x=other.npz"], "UAIR-E0901", "holds z, not 'x'"),
        (["-i", "other.npz"], "UAIR-E0334", "no input 'z'"),
        (["-i", "flat.npy"], "UAIR-E0336", "axes"),
        (["-i", "double.npy"], "UAIR-E0335", "float64"),
        (["-i", "broken.png", "--shape", "x=1,3,8,8"], "UAIR-E0702", "cannot be read as an image"),
        (["-i", "x.npy", "--shape", "x=2,3,8,8"], "UAIR-E0336", "2"),
    ],
)
@pytest.mark.parametrize("target", ["", "cpu"])
def test_wrong_inputs(
    uair: Shell, tiny: Path, sample: Path, given: list[str], code: str, words: str, target: str
) -> None:
    Path("text.npy").write_text("not an array")
    Path("text.npz").write_text("not an archive")
    Path("broken.png").write_bytes((IMAGES / "text_line.png").read_bytes()[:200])
    np.save("pickled.npy", np.array([{}], object), allow_pickle=True)
    np.save("flat.npy", np.zeros(192, np.float32))
    np.save("double.npy", np.load(sample).astype(np.float64))
    np.savez("other.npz", z=np.load(sample), x=np.load(sample)) if "other.npz" in given else None
    np.savez("other.npz", z=np.load(sample)) if "x=other.npz" in given else None
    subject: str | Path = tiny
    if target:
        at = given.index("--shape") if "--shape" in given else len(given)
        given, shape = given[:at], given[at:]
        uair("compile", tiny, "-t", target, *(shape or ["--shape", "x=1,3,8,8"]), "-o", "art", "--no-golden").require()
        subject = "art"
    result = uair("run", subject, *given).require(1)
    assert result.err.startswith(code)
    assert words in result.err
    assert result.out == ""


def test_two_inputs_must_be_named(uair: Shell, sample: Path) -> None:
    Path("two.uair").write_text("%a: f32[2]\n%b: f32[2]\n%c = Add(%a, %b)\n")
    assert "--input a=" in uair("run", "two.uair", "-i", sample).require(1).err
    np.save("two.npy", np.ones(2, np.float32))
    assert "--input b=FILE" in uair("run", "two.uair", "-i", "a=two.npy").require(1).err
    done = uair("run", "two.uair", "-i", "a=two.npy", "-i", "b=two.npy").require()
    assert done.out.endswith("2, 2\n")


def test_in_a_process_of_its_own(tiny: Path, sample: Path, tmp_path: Path) -> None:
    result = run_uair("run", tiny, "-i", sample, cwd=tmp_path).require()
    assert result.err == ""
    assert "\x1b" not in result.out and all(len(line) <= 80 for line in result.out.splitlines())


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([1.0, 2.5], np.float32), "1, 2.5"),
        (np.array([1, 2]), "1, 2"),
        (np.array([True]), "True"),
        (np.array([1.5], ml_dtypes.bfloat16), "1.5"),
        (np.array([3 + 4j]), "5"),
        (np.array(["a", "b"], object), "'a', 'b'"),
        (np.arange(10, dtype=np.float32), "greatest: [9] 9, [8] 8, [7] 7, [6] 6, [5] 5"),
        (np.arange(27, dtype=np.float32).reshape(3, 3, 3), "min 0, mean 13, max 26"),
        (np.zeros((0, 3), np.float32), ""),
    ],
)
def test_values_in_a_line(array: np.ndarray, text: str) -> None:
    assert summary(array) == text
