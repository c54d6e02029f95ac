"""`uair compile`."""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.cli.helpers import EXAMPLE, EXAMPLE_SHAPE, EXAMPLE_STEPS, IMAGES, Shell, listing, tiny_model
from uair.artifact import Artifact
from uair.cli import output
from uair.preprocess import Preprocess

ALWAYS = {"model.uair", "report.json", "golden/inputs.npz", "golden/outputs.npz"}


def test_a_folder(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    result = uair("compile", tiny, "--target", "cpu", "--shape", "x=1,3,8,8").require()
    assert listing(tmp_path)[-1] == "tiny.onnx"
    artifact = Artifact.open(tmp_path / "tiny-cpu")
    assert set(artifact.manifest["files"]) >= ALWAYS | {"model.onnx"}
    assert artifact.manifest["inputs"] == [{"name": "x", "dtype": "f32", "shape": [1, 3, 8, 8]}]
    onnx.checker.check_model(artifact.file("model.onnx"))
    for name in (*artifact.manifest["files"], "manifest.json"):
        assert name in result.out
    assert "y: cosine 1.000000" in result.out
    assert "Next: uair run tiny-cpu" in result.out
    assert result.err == ""


def test_one_file(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "-o", "model.bin").require()
    assert listing(tmp_path) == ["model.bin", "tiny.onnx"]
    with zipfile.ZipFile("model.bin") as archive:
        assert set(archive.namelist()) >= ALWAYS | {"model.onnx", "manifest.json"}
    uair("run", "model.bin", "--tolerance", "1e-5").require()


@pytest.mark.parametrize("name", ["tiny-v1.0", "tiny.v2", "tiny.bin/"])
def test_these_names_are_folders(uair: Shell, tiny: Path, tmp_path: Path, name: str) -> None:
    uair("compile", tiny, "-t", "reference", "--no-golden", "-o", name).require()
    assert (tmp_path / name / "manifest.json").is_file()


def test_the_default_is_a_folder_whatever_the_model_is_called(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    tiny.rename(tmp_path / "net.bin.onnx")
    uair("compile", "net.bin.onnx", "-t", "reference", "--no-golden").require()
    assert (tmp_path / "net.bin-reference" / "manifest.json").is_file()


def test_overwriting_has_to_be_asked_for(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    command = ("compile", tiny, "-t", "reference", "--shape", "x=1,3,8,8")
    for out in ("art", "art.zip"):
        uair(*command, "-o", out).require()
        before = Artifact.open(out).manifest
        refused = uair(*command, "-o", out).require(1)
        assert "UAIR-E0601" in refused.err and "--overwrite" in refused.err
        uair(*command, "-o", out, "--overwrite").require()
        assert Artifact.open(out).manifest == before
    assert [n for n in listing(tmp_path) if n.startswith(".")] == []


def test_only_artifacts_are_overwritten(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / "letter.txt").write_text("dear")
    for out in (home, tiny):
        refused = uair("compile", tiny, "-t", "reference", "-o", out, "--overwrite").require(1)
        assert "no artifact" in refused.err
    assert (home / "letter.txt").read_text() == "dear"
    onnx.checker.check_model(tiny)


def test_json(uair: Shell, tiny: Path) -> None:
    manifest = uair("compile", tiny, "-t", "cpu", "--shape", "x=2,3,8,8", "--json").require().json
    assert manifest["artifact"] == "tiny-cpu"
    assert manifest["outputs"] == [{"name": "y", "dtype": "f32", "shape": [2, 5]}]
    assert manifest["golden"]["compiled_against_reference"]["y"]["relative"] < 1e-5
    assert manifest["warnings"] == []


def test_preprocessing_is_recorded_and_used(uair: Shell, tmp_path: Path) -> None:
    out = tmp_path / "classifier"
    uair("compile", EXAMPLE, "-t", "cpu", "--shape", EXAMPLE_SHAPE, "--preprocess", EXAMPLE_STEPS, "-o", out).require()
    recorded = json.loads((out / "manifest.json").read_text())["inputs"][0]["preprocess"]
    assert recorded["color"] == "bgr" and recorded["mean"] == [127.5]
    for image, label in (("text_line.png", 0), ("text_line_rotated.png", 1)):
        run = uair("run", out, "--input", IMAGES / image, "--json").require()
        (entry,) = run.json["outputs"].values()
        assert int(np.argmax(entry["values"])) == label


@pytest.mark.parametrize(
    ("target", "files"),
    [
        ("ascend310", {"model.onnx", "build.sh", "aipp.cfg", "record.txt", "layout.json"}),
        ("rk3588", {"model.onnx", "build.sh", "build.py", "build.json"}),
    ],
)
def test_int8_for_a_device_in_one_file(uair: Shell, target: str, files: set[str]) -> None:
    result = uair(
        "compile", EXAMPLE, "--target", target, "--shape", EXAMPLE_SHAPE, "--quantize", "int8",
        "--calib", IMAGES / "calibration", "--calib-samples", "8", "--preprocess", EXAMPLE_STEPS, "-o", "model.bin",
    ).require()  # fmt: skip
    assert f"model.bin for {target}" in result.out
    artifact = Artifact.open("model.bin")
    assert set(artifact.manifest["files"]) >= files | ALWAYS
    assert artifact.manifest["quantization"]["quantized"] > 40
    (entry,) = uair("run", "model.bin", "--json").require().json["outputs"].values()
    assert entry["error"]["cosine"] > 0.999
    assert os.access(artifact.root / "build.sh", os.X_OK)


@pytest.mark.parametrize("target", ["ascend310", "rk3588"])
def test_a_folder_for_a_device_says_how_to_build(uair: Shell, tiny: Path, target: str) -> None:
    out = uair("compile", tiny, "-t", target, "--shape", "x=1,3,8,8", "-o", "art").require().out
    assert "Next: sh art/build.sh" in out
    named = uair("compile", tiny, "-t", target, "--shape", "x=1,3,8,8", "-o", "my art").require().out
    assert "Next: sh 'my art/build.sh'" in named


def test_the_golden_input_may_be_given(uair: Shell, tmp_path: Path) -> None:
    options = [
        "--shape",
        EXAMPLE_SHAPE,
        "--preprocess",
        EXAMPLE_STEPS,
        "--golden",
        str(IMAGES / "text_line_rotated.png"),
    ]
    uair("compile", EXAMPLE, "-t", "cpu", "-o", "art", *options).require()
    artifact = Artifact.open("art")
    expected = Preprocess.parse(EXAMPLE_STEPS).load(IMAGES / "text_line_rotated.png", (1, 3, 48, 192))
    np.testing.assert_array_equal(artifact.arrays("golden/inputs.npz")["x"], expected)
    (probabilities,) = artifact.arrays("golden/outputs.npz").values()
    assert probabilities[0, 1] > 0.99
    assert "exclude" in uair("compile", EXAMPLE, "-t", "cpu", "--no-golden", *options).require(2).err


def test_int8(uair: Shell, tmp_path: Path) -> None:
    result = uair(
        "compile", EXAMPLE, "-t", "cpu", "--shape", EXAMPLE_SHAPE, "--quantize", "int8",
        "--calib", IMAGES / "calibration", "--calib-samples", "8", "--preprocess", EXAMPLE_STEPS,
        "-o", "q.zip", "--json",
    ).require()  # fmt: skip
    summary = result.json["quantization"]
    assert summary["quantized"] > 40
    assert summary["calibration"]["samples"] == 8
    (entry,) = uair("run", "q.zip", "-i", IMAGES / "text_line_rotated.png", "--json").require().json["outputs"].values()
    assert int(np.argmax(entry["values"])) == 1
    assert "nodes to INT8 with 8 samples" in " ".join(uair("inspect", "q.zip").require().out.split())


def test_dump_dir_holds_the_ir_after_each_pass(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    uair("compile", tiny, "-t", "cpu", "--shape", "x=1,3,8,8", "--dump-dir", "dumps").require()
    names = listing(tmp_path / "dumps")
    assert names[0] == "00-input.uair"
    assert any(name.endswith("-fuse.uair") for name in names)
    assert "BatchNorm" in (tmp_path / "dumps" / names[0]).read_text()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--quantize", "int8"], "--calib"),
        (["--calib", "images"], "--quantize int8"),
        (["--skip", "conv1"], "--quantize int8"),
        (["--shape", "x"], "x=1,3,224,224"),
        (["--shape", "x=1,three"], "x=1,3,224,224"),
        (["--shape", "x=-1,3,8,8"], "negative"),
        (["--shape", "x=1,3,8,8", "--shape", "x=2,3,8,8"], "twice"),
    ],
)
def test_a_wrong_command_line(uair: Shell, tiny: Path, tmp_path: Path, options: list[str], words: str) -> None:
    result = uair("compile", tiny, "-t", "cpu", *options).require(2)
    assert words in result.err
    assert listing(tmp_path) == ["tiny.onnx"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--shape", "x=0,3,8,8"], "input empty"),
        (["--preprocess", "mean=0.485/0.456/0.406,std=0.229/0.224/0.225"], "--preprocess mean=123.67/116.28/103.53"),
        ([], "open sizes"),
    ],
)
def test_warnings(uair: Shell, tiny: Path, options: list[str], words: str) -> None:
    result = uair("compile", tiny, "-t", "cpu", "--no-golden", "--json", *options).require()
    assert words in " ".join(result.err.split())
    assert any(words in warning for warning in result.json["warnings"])


def test_channels_last_sizes_are_noticed(uair: Shell, tmp_path: Path) -> None:
    from uair.api import load
    from uair.cli.advice import before

    model = tiny_model()
    for dim in model.graph.input[0].type.tensor_type.shape.dim:
        dim.dim_param = "?"
    onnx.save(model, "m.onnx")
    graph = load("m.onnx").main
    assert before(graph, {"x": (1, 224, 200, 3)}, {}, quantize=False) == [
        "--shape x=1,224,200,3 has its channels last, the model takes them first: --shape x=1,3,224,200?"
    ]
    assert before(graph, {"x": (1, 3, 224, 200)}, {}, quantize=False) == []


def test_a_quantized_model_is_noticed(uair: Shell, tmp_path: Path) -> None:
    model = tiny_model()
    model.graph.initializer.append(helper.make_tensor("s", onnx.TensorProto.FLOAT, [], [0.1]))
    model.graph.initializer.append(helper.make_tensor("z", onnx.TensorProto.INT8, [], [0]))
    model.graph.node.insert(0, helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]))
    model.graph.node.insert(1, helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]))
    model.graph.node[2].input[0] = "xd"
    onnx.save(model, "m.onnx")
    np.save("calib.npy", np.random.default_rng(0).normal(size=(4, 3, 8, 8)).astype(np.float32))
    result = uair(
        "compile", "m.onnx", "-t", "cpu", "--shape", "x=1,3,8,8", "--quantize", "int8", "--calib", "calib.npy"
    ).require()
    assert "quantized nodes already" in result.err
    assert "only 4 calibration samples" in result.err


def test_progress_is_for_terminals(
    uair: Shell, tiny: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert uair("compile", tiny, "-t", "reference", "--no-golden", "-o", "a", "--shape", "x=1,3,8,8").err == ""
    shown: list[str] = []
    from uair.api import load, run_pipeline

    with output.progress("reading") as watchers:
        assert watchers == []
    from uair.cli.progress import PassProgress

    run_pipeline(load(tiny), "canonicalise,fuse", instruments=[PassProgress(shown.append)])
    assert [text.split()[0] for text in shown] == ["canonicalise", "fuse", "writing"]


# ------------------------------------------------------------------------------------------------------------ partition
def test_parts_are_shown_and_pins_followed(uair: Shell, tiny: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shown = uair("compile", tiny, "-t", "rk3588", "--shape", "x=1,3,8,8", "--pin", "relu1=cpu", "-o", out).require().out
    text = " ".join(shown.split())
    assert "parts/00-rk3588" in text and "operations run on rk3588" in text
    assert "1 x Relu" in text and "pinned by 'relu1' nodes relu1" in text
    assert f"sh {out}/parts/00-rk3588/build.sh".replace(" ", "") in shown.replace("\n", "").replace(" ", "")
    assert uair("run", out, "--tolerance", "1e-3").require().status == 0
    assert uair("run", out, "--arithmetic", "device", "--tolerance", "1e-2").require().status == 0
    assert "--arithmetic is for artifacts" in uair("run", tiny, "--arithmetic", "device").require(2).err
    assert "NAME=DEVICE" in uair("compile", tiny, "-t", "rk3588", "--pin", "relu1").require(2).err
