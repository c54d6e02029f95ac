"""Targets that do not exist, or are asked for what they cannot do: one clear error each, and nothing half-written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.cli.helpers import Shell, listing, write_tiny
from tests.driver.helpers import toy_target
from uair.targets.description import load_description
from uair.targets.errors import DescriptionError

FIXED = "x=1,3,8,8"


@pytest.fixture
def uair(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("UAIR_DEBUG", raising=False)
    return Shell(capsys)


def refused(uair: Shell, code: str, *arguments: str | Path) -> str:
    """The error of a command that must leave nothing behind, in one line."""
    before = listing(Path.cwd())
    result = uair(*arguments)
    assert result.status == 1 and result.out == "", result
    assert result.err.startswith(f"{code} ") and result.err.count("UAIR-E") == 1 and "Traceback" not in result.err
    assert "hint: " in result.err
    assert listing(Path.cwd()) == before
    return " ".join(result.err.split())


def double_model(folder: Path, *, whole: bool) -> Path:
    """A product in float64; unless it is the whole model, behind one in float32."""
    rng = np.random.default_rng(0)
    w = numpy_helper.from_array(rng.normal(size=(8, 4)), "w")
    nodes = [helper.make_node("MatMul", ["d", "w"], ["y"], name="double")]
    initializers = [w]
    if whole:
        inputs = [helper.make_tensor_value_info("d", TensorProto.DOUBLE, [2, 8])]
    else:
        inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 16])]
        initializers.append(numpy_helper.from_array(rng.normal(size=(16, 8)).astype(np.float32), "v"))
        nodes.insert(0, helper.make_node("MatMul", ["x", "v"], ["p"], name="single"))
        nodes.insert(1, helper.make_node("Cast", ["p"], ["d"], name="widen", to=TensorProto.DOUBLE))
    outputs = [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [2, 4])]
    graph = helper.make_graph(nodes, "double", inputs, outputs, initializers)
    path = folder / "double.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.parametrize(
    ("given", "near"), [("asend310", "ascend310"), ("rk3589", "rk3588"), ("jetson_orn", "jetson_orin")]
)
@pytest.mark.parametrize("command", ["compile", "check"])
def test_an_unknown_target_suggests_the_nearest(
    uair: Shell, tmp_path: Path, given: str, near: str, command: str
) -> None:
    error = refused(uair, "UAIR-E0003", command, write_tiny(tmp_path), "--target", given, "--shape", FIXED)
    assert f"there is no target called {given!r}" in error and near in error


@pytest.mark.parametrize("target", ["ascend310", "rk3588"])
def test_open_sizes_on_a_static_target(uair: Shell, tmp_path: Path, target: str) -> None:
    error = refused(uair, "UAIR-E0320", "compile", write_tiny(tmp_path), "-t", target)
    assert "'x'" in error and "--shape x=" in error


def test_float64_on_an_npu(uair: Shell, tmp_path: Path) -> None:
    error = refused(uair, "UAIR-E0520", "compile", double_model(tmp_path, whole=True), "-t", "hanguang800")
    assert "element type f64 is not accepted" in error and "convert the model to f32" in error and "double" in error


def test_float64_behind_what_fits_runs_on_the_cpu(uair: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    model = double_model(tmp_path, whole=False)
    shown = uair("compile", model, "-t", target.name, "-o", "out").require().out
    assert "element type f64 is not accepted" in " ".join(shown.split())
    assert uair("run", "out", "--tolerance", "1e-5").require().status == 0
    refused(uair, "UAIR-E0520", "compile", model, "-t", target.name, "-o", "whole", "--no-fallback")


def test_int8_where_there_is_none(uair: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = toy_target(tmp_path, monkeypatch)
    text = (tmp_path / f"{target.name}.toml").read_text()
    start, end = text.index("[quantization]"), text.index("[[memory]]")
    (tmp_path / f"{target.name}.toml").write_text(text[:start] + text[end:])
    np.save(tmp_path / "calib.npy", np.zeros((4, 3, 8, 8), np.float32))
    model = write_tiny(tmp_path)
    options = ("--shape", FIXED, "--quantize", "int8", "--calib", "calib.npy")
    error = refused(uair, "UAIR-E0707", "compile", model, "-t", target.name, *options)
    assert "does not run quantized models" in error


def test_a_pin_to_nowhere(uair: Shell, tmp_path: Path) -> None:
    model = write_tiny(tmp_path)
    error = refused(uair, "UAIR-E0003", "compile", model, "-t", "rk3588", "--shape", FIXED, "--pin", "con1=cpu")
    assert "no node is called 'con1'" in error and "conv1" in error
    error = refused(uair, "UAIR-E0535", "compile", model, "-t", "rk3588", "--shape", FIXED, "--pin", "conv1=gpu")
    assert "pin it to cpu or to rk3588" in error


@pytest.mark.parametrize(
    ("wrong", "right", "words"),
    [
        ("opset = 13", "opsett = 13", "unknown key 'opsett'"),
        ('names = ["Conv2D"', 'names = ["Conv2d"', "no operator called 'Conv2d'"),
        ('form = "qdq"', 'form = "qqd"', "form"),
        ("cores = 1", 'cores = "one"', "an integer"),
        ('source = "manual"', 'source = "manuel"', "'manuel'"),
    ],
)
def test_a_device_file_with_a_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, right: str, words: str
) -> None:
    toy_target(tmp_path, monkeypatch)
    file = tmp_path / "toynpu.toml"
    file.write_text(file.read_text().replace(wrong, right, 1))
    with pytest.raises(DescriptionError) as caught:
        load_description(file)
    assert words in f"{caught.value.message} {caught.value.hint}" and "toynpu.toml" in caught.value.place
