"""build.py against a stand-in for the toolkit that goes wrong on purpose; tests/vendor runs it with the real one."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uair.codegen.rockchip import build_script
from uair.vendor import Limits, ToolResult, run_tool

TOOLKIT = '''
import ctypes, json, os, signal, sys
import numpy as np

class RKNN:
    """Doubles its input; `plan` says where it goes wrong."""
    plan = json.loads(os.environ["PLAN"])

    def __init__(self, verbose):
        assert verbose
        self.calls = []

    def act(self, name, **arguments):
        with open(os.environ["CALLS"], "a") as file:
            file.write(json.dumps([name, arguments]) + "\\n")
        ctypes.CDLL(None).printf(b"the compiler prints: %s\\n", name.encode())
        action = self.plan.get(name, 0)
        if action == "raise":
            raise KeyError("Traceback (most recent call last):\\n  in rules\\nIndexError: list index out of range")
        if action == "exit":
            sys.exit(0)
        if action == "crash":
            import resource
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            os.kill(os.getpid(), signal.SIGSEGV)
        return action

    def config(self, **arguments):
        return self.act("config", **arguments)

    def load_onnx(self, model):
        open("check0_base_optimize.onnx", "w").write("left behind")
        return self.act("load_onnx", model=model)

    def build(self, do_quantization, dataset=None):
        lines = open(dataset).read().splitlines() if dataset else None
        return self.act("build", do_quantization=do_quantization, dataset=lines)

    def export_rknn(self, path):
        content = self.plan.get("file", "RKNN and more")
        if content is not None:
            open(path, "w").write(content)
        return self.act("export_rknn")

    def init_runtime(self):
        return self.act("init_runtime")

    def inference(self, inputs, data_format):
        self.act("inference", shapes=[list(x.shape) for x in inputs], data_format=data_format)
        how = self.plan.get("outputs", "right")
        if how == "none":
            return None
        right = [x.astype(np.float32) * 2 for x in inputs]
        return {
            "right": right,
            "few": right[:-1],
            "wrong": [-right[0], *right[1:]],
            "nan": [right[0] * np.nan, *right[1:]],
            "short": [right[0][:, :1], *right[1:]],
            "zero": [right[0] * 0, *right[1:]],
        }[how]
'''


class Artifact:
    """A folder with build.py, and a stand-in for the toolkit beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = root / "artifact"
        (self.folder / "golden").mkdir(parents=True)
        (root / "lib" / "rknn").mkdir(parents=True)
        (root / "lib" / "rknn" / "__init__.py").write_text("")
        (root / "lib" / "rknn" / "api.py").write_text(TOOLKIT)
        shutil.copy(build_script.__file__, self.folder / "build.py")
        (self.folder / "model.onnx").write_bytes(b"model")
        a, b = np.linspace(-1, 1, 12, dtype=np.float32).reshape(1, 3, 2, 2), np.arange(4, dtype=np.int32).reshape(1, 4)
        inputs: dict[str, Any] = {"x:0": a, "n": b}
        outputs: dict[str, Any] = {"y:0": a * 2, "m": b * 2.0}
        np.savez(self.folder / "golden" / "inputs.npz", **inputs)
        np.savez(self.folder / "golden" / "outputs.npz", **outputs)
        self.settings: dict[str, Any] = {
            "schema": 1,
            "model": "model.onnx",
            "output": "model.rknn",
            "config": {"target_platform": "rk3588", "optimization_level": 3},
            "quantization": "none",
            "inputs": [{"name": "x_0", "source": "x:0"}, {"name": "n", "source": "n"}],
            "outputs": [{"name": "y_0", "source": "y:0"}, {"name": "m", "source": "m"}],
            "golden": {"inputs": "golden/inputs.npz", "outputs": "golden/outputs.npz"},
            "cosine": 0.999,
        }

    def run(self, *arguments: str, **plan: Any) -> ToolResult:
        (self.folder / "build.json").write_text(json.dumps(self.settings))
        environment = {
            "PYTHONPATH": os.fspath(self.root / "lib"),
            "PLAN": json.dumps(plan),
            "CALLS": os.fspath(self.root / "calls"),
        }
        command = [sys.executable, os.fspath(self.folder / "build.py"), *arguments]
        return run_tool(command, log=self.root / "log", limits=Limits(seconds=60), environment=environment)

    def result(self, folder: Path | None = None) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(((folder or self.folder) / "result.json").read_text())
        return content

    def calls(self) -> list[Any]:
        return [json.loads(line) for line in (self.root / "calls").read_text().splitlines()]


@pytest.fixture
def artifact(tmp_path: Path) -> Artifact:
    return Artifact(tmp_path)


def test_success(artifact: Artifact) -> None:
    done = artifact.run()
    assert done.ok, done.tail
    assert "cosine 1.000000" in done.tail
    assert "the compiler prints" not in done.tail
    data = (artifact.folder / "model.rknn").read_bytes()
    result = artifact.result()
    assert (result["status"], result["stage"]) == ("ok", "done")
    assert result["file"] == {
        "name": "model.rknn",
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert [row["name"] for row in result["outputs"]] == ["y:0", "m"]
    assert all(row["cosine"] == pytest.approx(1) and row["max_abs"] == 0 and row["finite"] for row in result["outputs"])
    assert set(result["seconds"]) == {
        "settings",
        "import",
        "config",
        "load",
        "build",
        "export",
        "simulate",
        "compare",
    }
    assert artifact.calls() == [
        ["config", {"target_platform": "rk3588", "optimization_level": 3}],
        ["load_onnx", {"model": os.fspath(artifact.folder / "model.onnx")}],
        ["build", {"do_quantization": False, "dataset": None}],
        ["export_rknn", {}],
        ["init_runtime", {}],
        ["inference", {"shapes": [[1, 3, 2, 2], [1, 4]], "data_format": ["nchw", "nchw"]}],
    ]


def test_the_compilers_own_output_is_in_the_log(artifact: Artifact) -> None:
    assert artifact.run().ok
    lines = (artifact.folder / "build.log").read_text().splitlines()
    assert lines[0] == "the compiler prints: config"
    assert lines[-1] == "the compiler prints: inference"


def test_nothing_else_is_left_in_the_artifact(artifact: Artifact) -> None:
    before = {p.name for p in artifact.folder.iterdir()} | {"build.json"}
    assert artifact.run().ok
    assert {p.name for p in artifact.folder.iterdir()} - before == {"model.rknn", "build.log", "result.json"}


def test_results_go_where_they_are_wanted(artifact: Artifact, tmp_path: Path) -> None:
    wanted = tmp_path / "results" / "here"
    assert artifact.run("--output", os.fspath(wanted)).ok
    assert {p.name for p in wanted.iterdir()} == {"model.rknn", "build.log", "result.json"}
    assert not (artifact.folder / "model.rknn").exists()
    assert artifact.result(wanted)["status"] == "ok"


def test_without_simulation(artifact: Artifact) -> None:
    assert artifact.run("--no-simulation").ok
    assert [call[0] for call in artifact.calls()] == ["config", "load_onnx", "build", "export_rknn"]
    assert "outputs" not in artifact.result()


def test_without_golden(artifact: Artifact) -> None:
    del artifact.settings["golden"], artifact.settings["cosine"]
    assert artifact.run().ok
    assert "init_runtime" not in [call[0] for call in artifact.calls()]


@pytest.mark.parametrize(
    ("call", "stage"),
    [
        ("config", "config"),
        ("load_onnx", "load"),
        ("build", "build"),
        ("export_rknn", "export"),
        ("init_runtime", "simulate"),
    ],
)
@pytest.mark.parametrize(
    ("action", "reason"),
    [(-1, "returned -1"), ("raise", "IndexError: list index out of range"), ("exit", "SystemExit")],
)
def test_a_step_of_the_toolkit_fails(artifact: Artifact, call: str, stage: str, action: object, reason: str) -> None:
    done = artifact.run(**{call: action})
    assert done.status == 1
    result = artifact.result()
    assert (result["status"], result["stage"]) == ("failed", stage)
    assert reason in result["reason"]
    assert result["reason"] in done.tail


def test_a_crash_is_placed(artifact: Artifact) -> None:
    done = artifact.run(build="crash")
    assert done.signal == "SIGSEGV"
    assert (artifact.result()["status"], artifact.result()["stage"]) == ("unfinished", "build")
    assert not (artifact.folder / "model.rknn").exists()


@pytest.mark.parametrize(
    ("content", "reason"), [(None, "wrote no model.rknn"), ("", "is no RKNN file"), ("PK", "no RKNN")]
)
def test_success_without_a_usable_file(artifact: Artifact, content: str | None, reason: str) -> None:
    (artifact.folder / "model.rknn").write_text("RKNN of an earlier run")
    done = artifact.run(file=content)
    assert done.status == 1
    assert reason in artifact.result()["reason"]
    assert not (artifact.folder / "model.rknn").exists()


@pytest.mark.parametrize(
    ("outputs", "status", "reason"),
    [
        ("none", 1, "gave none outputs, 2 were expected"),
        ("few", 1, "gave 1 outputs"),
        ("short", 1, "has shape (1, 1, 2, 2) in the simulation"),
        ("wrong", 3, "output y:0 has cosine -1.000000"),
        ("zero", 3, "cosine 0.000000"),
        ("nan", 3, "output y:0 is not finite"),
    ],
)
def test_the_simulation_differs(artifact: Artifact, outputs: str, status: int, reason: str) -> None:
    done = artifact.run(outputs=outputs)
    assert done.status == status
    assert artifact.result()["status"] == "failed"
    assert reason in artifact.result()["reason"]


def test_the_toolkit_is_missing(artifact: Artifact) -> None:
    shutil.rmtree(artifact.root / "lib")
    done = artifact.run()
    assert done.status == 1
    assert "ModuleNotFoundError: No module named 'rknn'" in artifact.result()["reason"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, "has schema 2"),
        ({"model": "other.onnx"}, "other.onnx, named by build.json, is missing"),
        ({"model": 3}, "has no usable 'model': 3"),
        ({"model": "../log"}, "outside of the folder"),
        ({"output": "../model.rknn"}, "no plain file name"),
        ({"config": []}, "has no usable 'config'"),
        ({"quantization": "int4"}, "none of none, model, toolkit"),
        ({"quantization": "toolkit"}, "has no usable 'dataset'"),
        ({"quantization": "toolkit", "dataset": "dataset.txt"}, "dataset.txt, named by build.json, is missing"),
        ({"cosine": "high"}, "has no usable 'cosine'"),
        ({"golden": {"inputs": "golden/none.npz", "outputs": "golden/outputs.npz"}}, "golden/none.npz, named by"),
        ({"golden": {"inputs": "model.onnx", "outputs": "golden/outputs.npz"}}, "model.onnx cannot be read"),
        ({"inputs": [{"name": "x", "source": "x"}]}, "golden/inputs.npz lacks x"),
        ({"outputs": [{"name": "y", "source": "y"}, {"name": "m", "source": "m"}]}, "golden/outputs.npz lacks y"),
    ],
)
def test_wrong_settings(artifact: Artifact, change: dict[str, Any], reason: str) -> None:
    artifact.settings.update(change)
    done = artifact.run()
    assert done.status == 2
    assert reason in artifact.result()["reason"]


@pytest.mark.parametrize("text", ["", "[]", "{", "nonsense"])
def test_settings_that_are_none(artifact: Artifact, text: str) -> None:
    (artifact.folder / "build.json").write_text(text)
    with pytest.raises(build_script.BuildError, match=r"build\.json") as caught:
        build_script.read_settings(artifact.folder)
    assert caught.value.status == 2


def test_no_settings(tmp_path: Path) -> None:
    with pytest.raises(build_script.BuildError, match="cannot be read"):
        build_script.read_settings(tmp_path)


def test_calibration_by_the_toolkit(artifact: Artifact) -> None:
    for name in ("a.npy", "b.npy"):
        np.save(artifact.folder / name, np.zeros(3, np.float32))
    (artifact.folder / "dataset.txt").write_text("a.npy b.npy\n\nb.npy a.npy\n")
    artifact.settings.update(quantization="toolkit", dataset="dataset.txt")
    assert artifact.run().ok
    a, b = (os.fspath(artifact.folder / name) for name in ("a.npy", "b.npy"))
    assert ["build", {"do_quantization": True, "dataset": [f"{a} {b}", f"{b} {a}"]}] in artifact.calls()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("\n", "lists no samples"),
        ("c.npy", "c.npy, named by dataset.txt, is missing"),
        ("../log", "outside of the folder"),
    ],
)
def test_wrong_datasets(artifact: Artifact, text: str, reason: str) -> None:
    (artifact.folder / "dataset.txt").write_text(text)
    artifact.settings.update(quantization="toolkit", dataset="dataset.txt")
    assert artifact.run().status == 2
    assert reason in artifact.result()["reason"]


def test_zeros_agree_with_zeros() -> None:
    zero = np.zeros(4)
    assert build_script.compare("y", zero, zero)["cosine"] == 1.0
    assert build_script.compare("y", zero, zero + 1)["cosine"] == 0.0


def test_quantized_models_are_built_as_they_are(artifact: Artifact) -> None:
    artifact.settings["quantization"] = "model"
    assert artifact.run().ok
    assert ["build", {"do_quantization": False, "dataset": None}] in artifact.calls()
