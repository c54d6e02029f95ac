"""Biren: what is written for suInfer, against a stand-in for pysuinfer."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

import uair
from tests import zoo
from tests.golden import Golden
from tests.quant.networks import samples, small_cnn
from uair.artifact import Artifact
from uair.codegen.onnx.written import symmetric_qdq_problems
from uair.codegen.reference import run as interpret
from uair.request import Int8

NAMES = ["br100", "br104"]
PYSUINFER = """
import json, os
import numpy as np

def note(*call):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps(call) + "\\n")

class suResult:
    SUI_STATUS_SUCCESS = 0

class Information:
    def __init__(self, name): self.dims = name

class pysuInferSession:
    def __init__(self, device_index, log): note("session", device_index); self.outputs = {}

    def Build(self, model, shapes, engine, policy):
        note("Build", os.path.basename(model), shapes, policy)
        if os.environ.get("WRITE") != "none":
            open(engine, "w").write("engine")
        return int(os.environ.get("BUILD", "0"))

    def Init(self, engine): note("Init", os.path.basename(engine)); return int(os.environ.get("INIT", "0"))
    def GetInputInformation(self, name): return Information(name)
    GetOutputInformation = GetInputInformation

    def SetInputInformation(self, name, data, information):
        assert data.dtype == np.int8 and data.ndim == 1
        note("input", name, data.size)

    def SetOutputInformation(self, name, data, information):
        assert data.dtype == np.int8
        self.outputs[name] = data

    def Run(self):
        with np.load("golden/outputs.npz") as archive:
            for name, data in self.outputs.items():
                array = archive[name] * (-1 if os.environ.get("WRONG") else 1)
                data[:] = np.ascontiguousarray(array).reshape(-1).view(np.int8)
"""


def build(folder: Path, name: str = "br104", *, quantize: bool = True) -> Artifact:
    return uair.compile(small_cnn(), name, output=folder, quantize=Int8(calibration=samples()) if quantize else None)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("biren") / "a")


@pytest.mark.parametrize("name", ["build.sh", "build.json"])
def test_golden(golden: Golden, artifact: Artifact, name: str) -> None:
    golden.check(name, artifact.file(name).read_text())


def conforms(artifact: Artifact) -> None:
    model = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert list(symmetric_qdq_problems(model)) == []
    assert len(artifact.manifest["biren"]["uncertain"]) == 4


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls"])
def test_models_of_the_zoo_conform(target: str, name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    quantize = Int8(calibration=model.calibration(2))
    conforms(uair.compile(model.path, target, shapes=model.shapes, quantize=quantize, output=tmp_path / "a"))


def test_the_file_computes_what_uair_computes(artifact: Artifact) -> None:
    conforms(artifact)
    feeds = artifact.arrays("golden/inputs.npz")
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        str(artifact.file("model.onnx")), options, providers=["CPUExecutionProvider"]
    )
    wanted = interpret(uair.load(artifact.file("model.uair")), feeds)
    for got, want in zip(session.run(None, feeds), wanted.values(), strict=True):
        np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-5)


def run(artifact: Artifact, work: Path, *arguments: str, **environment: str) -> tuple[int, dict[str, Any], list[Any]]:
    folder = work / "copy"
    shutil.copytree(artifact.root, folder, dirs_exist_ok=True)
    (work / "lib").mkdir(exist_ok=True)
    (work / "lib" / "pysuinfer.py").write_text(PYSUINFER)
    calls = work / "calls"
    calls.write_text("")
    variables = {**os.environ, "PYTHONPATH": str(work / "lib"), "CALLS": str(calls), "PYTHON": sys.executable}
    done = subprocess.run(
        ["sh", "build.sh", *arguments],
        cwd=folder,
        env={**variables, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    result = json.loads((folder / "result.json").read_text())
    return done.returncode, result, [json.loads(line) for line in calls.read_text().splitlines()]


def test_build_and_run(artifact: Artifact, tmp_path: Path) -> None:
    status, result, calls = run(artifact, tmp_path, "--device", "3")
    assert (status, result["status"], result["stage"]) == (0, "ok", "done")
    assert calls[:2] == [["session", 3], ["Build", "model.onnx", {"x": [1, 3, 8, 8]}, []]]
    assert ["Init", "model.bin"] in calls and ["input", "x", 3 * 64 * 4] in calls
    assert [row["cosine"] for row in result["outputs"]] == [pytest.approx(1), pytest.approx(1)]
    status, _, calls = run(artifact, tmp_path, "--run-only")
    assert (status, [c[0] for c in calls if c[0] == "Build"]) == (0, [])


@pytest.mark.parametrize(
    ("environment", "status", "stage", "words"),
    [
        ({"BUILD": "7"}, 1, "build", "Build returned 7"),
        ({"WRITE": "none"}, 1, "build", "wrote no model.bin"),
        ({"INIT": "2"}, 1, "load", "Init returned 2"),
        ({"WRONG": "1"}, 3, "done", ""),
    ],
)
def test_what_goes_wrong_is_said(
    artifact: Artifact, tmp_path: Path, environment: dict[str, str], status: int, stage: str, words: str
) -> None:
    found, result, _ = run(artifact, tmp_path, **environment)
    assert (found, result["stage"]) == (status, stage)
    assert words in result.get("reason", "")


def test_without_the_toolkit(artifact: Artifact, tmp_path: Path) -> None:
    shutil.copytree(artifact.root, tmp_path / "copy")
    done = subprocess.run(
        [sys.executable, "build_pysuinfer.py"], cwd=tmp_path / "copy", capture_output=True, text=True, check=False
    )
    assert (done.returncode, "No module named 'pysuinfer'" in done.stderr) == (1, True)
