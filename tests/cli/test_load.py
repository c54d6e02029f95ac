"""`--load`: what the reader of a format is told, by every command that reads a model."""

from __future__ import annotations

import inspect
import shutil
from pathlib import Path

import click
import numpy as np
import onnx
import pytest

import uair as library
from tests.cli.helpers import Shell
from tests.frontends.onnx.models import F32, model, one
from uair.builtin import FRONTENDS
from uair.driver.loading import Loader, LoadOptionError, read_model

FIXTURES = Path(__file__).parents[1] / "frontends"
SAVED_MODEL = FIXTURES / "tensorflow" / "models" / "plain"
UNRANKED = FIXTURES / "tensorflow" / "models" / "unranked.pb"
TFLITE = FIXTURES / "tflite" / "files" / "int8.tflite"
SHAPES = ("--shape", "image=2,9,8,2", "--shape", "gain=4")


def first_input(inspected: object) -> str:
    """The type of the first input, as `uair inspect --json` tells it."""
    entry = inspected["inputs"][0]  # type: ignore[index]
    return f"{entry['dtype']}{entry['shape']}"


@pytest.mark.parametrize("command", ["compile", "check", "dump", "opt", "run", "inspect"])
def test_every_command_that_reads_a_model_takes_it(uair: Shell, command: str) -> None:
    extra = ["-t", "cpu"] if command == "compile" else []
    result = uair(command, TFLITE, *extra, "--load", "numbrs=real").require(1)
    assert "UAIR-E0126" in result.err and "did you mean numbers?" in result.err


def test_what_a_reader_is_told_counts(uair: Shell) -> None:
    assert first_input(uair("inspect", TFLITE, "--json").require().json) == "i8[1, 9, 8, 3]"
    assert first_input(uair("inspect", TFLITE, "--load", "channels=first", "--json").require().json) == "i8[1, 3, 9, 8]"
    named = uair("dump", SAVED_MODEL, "--load", "signature=serving_default", "--load", "tags=serve").require().out
    assert named == uair("dump", SAVED_MODEL).require().out
    assert "no signature 'encode'" in uair("dump", SAVED_MODEL, "--load", "signature=encode").require(1).err


def test_an_artifact_of_what_was_read(uair: Shell, tmp_path: Path) -> None:
    uair("compile", TFLITE, "-t", "reference", "--load", "channels=first", "-o", "made/").require()
    assert first_input(uair("inspect", "made", "--json").require().json) == "i8[1, 3, 9, 8]"
    assert "--load is for models" in uair("run", "made", "--load", "channels=first").require(2).err


@pytest.mark.parametrize(
    ("told", "words"),
    [
        ("channels=middle", "cannot be 'middle' hint: it takes one of first, last"),
        ("shapes=image:1", "takes no text hint: in Python: uair.load(..., shapes=...)"),
        ("channels", "'channels' is not of the form name=value"),
        ("zzz=1", "its options are signature, tags, inputs, outputs, shapes, unranked, channels"),
    ],
)
def test_what_does_not_fit(uair: Shell, told: str, words: str) -> None:
    assert words in " ".join(uair("inspect", SAVED_MODEL, "--load", told).require(1).err.split())


def test_told_twice(uair: Shell) -> None:
    result = uair("inspect", TFLITE, "--load", "channels=first", "--load", "channels=last").require(1)
    assert "channels is given twice" in result.err


def test_options_for_other_models(uair: Shell, tiny: Path) -> None:
    assert "--load is for model files" in uair("inspect", "package.module:make", "--load", "name=x").require(2).err
    assert "for .onnx models" in uair("inspect", TFLITE, "--external-data-root", ".").require(2).err
    assert first_input(uair("inspect", tiny, "--load", "external-data-root=.", "--json").require().json).startswith(
        "f32"
    )


# ---------------------------------------------------------------------------------------------- shapes needed to read
def test_inputs_of_unknown_rank_need_a_shape(uair: Shell) -> None:
    result = uair("inspect", UNRANKED).require(1)
    assert "UAIR-E0125" in result.err and "--shape" in result.err


@pytest.mark.parametrize(("channels", "layout"), [("last", (0, 1, 2, 3)), ("first", (0, 3, 1, 2))])
def test_a_shape_reaches_the_reader(uair: Shell, tmp_path: Path, channels: str, layout: tuple[int, ...]) -> None:
    recorded = np.load(UNRANKED.with_suffix(".npz"))
    np.savez(tmp_path / "in.npz", image=recorded["image"].transpose(layout), gain=recorded["gain"])
    uair("run", UNRANKED, *SHAPES, "--load", f"channels={channels}", "-i", "in.npz", "-o", "out.npz").require()
    result = np.load(tmp_path / "out.npz")["Identity"]
    np.testing.assert_allclose(result, recorded["y_Identity"].transpose(layout), rtol=1e-4, atol=1e-5)


def test_a_shape_that_names_no_input(uair: Shell) -> None:
    result = uair("inspect", UNRANKED, *SHAPES, "--shape", "gian=4").require(1)
    assert "did you mean 'gain'?" in result.err


def test_compile_and_check_hand_shapes_to_the_reader(tmp_path: Path) -> None:
    shapes = {"image": (2, 9, 8, 2), "gain": (4,)}
    artifact = library.compile(UNRANKED, "reference", shapes=shapes)
    assert [entry["shape"] for entry in artifact.manifest["inputs"]] == [[2, 9, 8, 2], [4]]
    (report,) = library.check(UNRANKED, "cpu", shapes=shapes)
    assert report.fits
    assert library.load(UNRANKED, unranked=shapes).main.inputs[0].type.dims == (2, 9, 8, 2)


def test_shapes_that_the_model_says_are_bound_afterwards(uair: Shell) -> None:
    """With the channels first, as the model that was read has them."""
    given = ("--load", "channels=first", "--shape", "image=3,2,9,8", "--value", "sign=1", "--json")
    assert first_input(uair("inspect", SAVED_MODEL, *given).require().json) == "f32[3, 2, 9, 8]"


# ------------------------------------------------------------------------------------------------------------ in Python
def test_options_in_python() -> None:
    with pytest.raises(LoadOptionError, match="without an option 'chanels'") as caught:
        library.load(TFLITE, chanels="first")
    assert caught.value.hint == "did you mean channels?"
    with pytest.raises(LoadOptionError, match="declare their inputs"):
        library.load(TFLITE, np.zeros(3))


def test_a_module_is_what_it_is() -> None:
    module = library.load(TFLITE)
    assert read_model(module, {"x": (1,)}) == (module, {"x": (1,)})


@pytest.mark.parametrize("format", sorted(FRONTENDS))
def test_options_of_every_reader_are_documented(format: str) -> None:
    loader = Loader.of("", format)
    described = inspect.getdoc(loader.function) or ""
    assert loader.annotations()
    assert all(f"\n    {name}: " in described for name in loader.named())


def test_a_reader_of_a_plug_in_may_take_anything() -> None:
    def read(path: Path, **rest: object) -> None:
        raise click.ClickException(f"{path.name} {rest}")

    with pytest.raises(click.ClickException, match="x {'a': 1}"):
        Loader("own", read).read(Path("x"), (), {"a": 1})


def test_a_saved_model_that_is_named_like_a_file(uair: Shell, tmp_path: Path) -> None:
    shutil.copytree(SAVED_MODEL, tmp_path / "model.v1")
    assert uair("inspect", "model.v1", "--json").require().json["source"]["format"] == "tensorflow"


def test_each_input_gets_its_own_shape_although_the_model_says_one_name(uair: Shell, tmp_path: Path) -> None:
    arrays = {"a": np.ones(5, np.float32), "b": np.zeros(7, np.float32)}
    inputs = {name: (F32, ["N"]) for name in arrays}
    onnx.save(model([one("Concat", "a", "b", axis=0)], inputs), tmp_path / "model.onnx")
    np.savez(tmp_path / "in.npz", a=arrays["a"], b=arrays["b"])
    shapes = ("--shape", "a=5", "--shape", "b=7")
    result = uair("run", "model.onnx", *shapes, "-i", "in.npz", "-o", "out.npz").require()
    assert "warning: the model calls different sizes 'N' (5 of 'a'; 7 of 'b')" in result.err
    np.testing.assert_array_equal(np.load(tmp_path / "out.npz")["y"], np.concatenate(list(arrays.values())))
    uair("compile", "model.onnx", "-t", "rk3588", *shapes).require()
