"""model.onnx and the scripts of the Horizon targets: what hb_mapper demands of a file, and what the scripts believe."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import uair
from tests import zoo
from tests.codegen.ascend import models
from uair.artifact import Artifact
from uair.codegen.horizon.errors import HorizonInterfaceError
from uair.ir.graph import Graph
from uair.ir.module import Module
from uair.ops import Cast, Gather, Relu, Softmax
from uair.text import parse_type


def conforms(artifact: Artifact) -> onnx.ModelProto:
    """The model, checked against the rules of hb_mapper."""
    model = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model)
    assert model.ir_version <= 7
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 11)]
    assert len(model.graph.output) <= 32
    for value in model.graph.input:
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        assert len(shape) == 4 and shape[0] == 1 and min(shape) > 0
        assert value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    kinds = {node.op_type for node in model.graph.node}
    assert not kinds & {"QuantizeLinear", "DequantizeLinear", "BatchNormalization", "NonMaxSuppression"}
    assert all(";" not in node.name and " " not in node.name for node in model.graph.node)
    return model


@pytest.mark.parametrize("name", ["light_squeezenet", "light_inception_v1", "light_shufflenet", "ppocr_cls"])
@pytest.mark.parametrize("target", ["horizon_j5", "horizon_x3"])
def test_models_of_the_zoo(name: str, target: str, tmp_path: Path) -> None:
    entry = zoo.models()[name]
    artifact = uair.compile(entry.path, target, output=tmp_path / "a", shapes=entry.shapes, golden=False)
    model = conforms(artifact)
    placement = json.loads(artifact.file("placement.json").read_text())
    names = {node.name for node in model.graph.node}
    assert {row["on"] for row in placement["nodes"]} <= {"BPU", "CPU", "unknown"}
    assert sum(row["node"] in names for row in placement["nodes"]) > 0.5 * len(names)
    assert 0 <= placement["flops_on_bpu"] <= 1
    if target == "horizon_j5":
        assert placement["flops_on_bpu"] > 0.9


def tokens() -> Module:
    """Integer indices of two axes, and floats of five."""
    graph = Graph("main")
    ids = graph.add_input("ids", parse_type("i64[2,4]"))
    x = graph.add_input("x", parse_type("f32[1,2,3,4,5]"))
    from uair.ir.graph import constant

    table = constant(np.arange(50, dtype=np.float32).reshape(10, 5), "table")
    graph.add_output("row", graph.append(Gather(axis=0).node(table, ids)).output)
    graph.add_output("y", graph.append(Relu().node(x)).output)
    return Module("tokens", {"main": graph})


def test_other_inputs_are_reshaped_and_cast_in_front_of_the_model(tmp_path: Path) -> None:
    import onnxruntime

    artifact = uair.compile(tokens(), "horizon_j5", output=tmp_path / "a")
    conforms(artifact)
    shapes = {each["source"]: (each["dtype"], each["shape"]) for each in artifact.manifest["horizon"]["inputs"]}
    assert shapes == {"ids": ("f32", [1, 1, 2, 4]), "x": ("f32", [1, 6, 4, 5])}
    session = onnxruntime.InferenceSession(str(artifact.file("model.onnx")))
    ids, x = np.array([[1, 2, 3, 9], [0, 0, 4, 5]]), np.random.default_rng(0).normal(size=(1, 2, 3, 4, 5))
    row, y = session.run(
        ["row", "y"], {"ids": ids.astype(np.float32).reshape(1, 1, 2, 4), "x": x.astype(np.float32).reshape(1, 6, 4, 5)}
    )
    np.testing.assert_array_equal(row, np.arange(50).reshape(10, 5)[ids])
    np.testing.assert_array_equal(y, np.maximum(x, 0).astype(np.float32))


def test_too_many_outputs(tmp_path: Path) -> None:
    graph = Graph("main")
    x = graph.add_input("x", parse_type("f32[1,3,8,8]"))
    for i in range(33):
        graph.add_output(f"y{i}", graph.append(Cast(to=x.type.dtype).node(graph.append(Relu().node(x)).output)).output)
    module = Module("many", {"main": graph})
    with pytest.raises(HorizonInterfaceError, match="33 outputs"):
        uair.compile(module, "horizon_j5", output=tmp_path / "a")
    (report,) = uair.check(module, ["horizon_j5"])
    assert report.interface[0].verdict.reason.startswith("33 outputs are more than the 32")


@pytest.mark.parametrize(
    ("target", "shape", "axis", "told"),
    [
        ("horizon_j5", "f32[1,3,8,8]", 3, True),
        ("horizon_j5", "f32[1,3,8,8]", 1, True),
        ("horizon_j5", "f32[1,9]", 1, False),
        ("horizon_x3", "f32[1,9]", 1, True),
        ("horizon_x3", "f32[1,3,8,8]", 1, False),  # between two Transposes: not at the end of the model
        ("horizon_x3", "f32[1,3,8,8]", 3, False),
    ],
)
def test_softmax_on_the_bpu(target: str, shape: str, axis: int, told: bool, tmp_path: Path) -> None:
    graph = Graph("main")
    x = graph.append(Relu().node(graph.add_input("x", parse_type(shape)))).output
    graph.add_output("y", graph.append(Softmax(axis=axis).node(x)).output)
    artifact = uair.compile(Module("m", {"main": graph}), target, output=tmp_path / "a", options={"softmax": "bpu"})
    names = [n.name for n in conforms(artifact).graph.node if n.op_type == "Softmax"]
    text = artifact.file("config.yaml").read_text()
    assert ("node_info" in text or "run_on_bpu" in text) == told
    if told:
        wanted = f'node_info: {{"{names[0]}": {{"ON": "BPU"}}}}'
        assert (wanted if target == "horizon_j5" else f"run_on_bpu: '{names[0]}'") in text


SUCCESS = "echo 'Convert to runtime bin file successfully!'"
TOOLS = {
    "works": (
        f"mkdir -p model_output; echo bin > model_output/model.bin; {SUCCESS}",
        0,
        "model_output/model.bin is ready",
    ),
    "fails": ("echo ERROR; exit 3", 1, "hb_mapper failed with status 3"),
    "says nothing": ("mkdir -p model_output; echo bin > model_output/model.bin", 1, "did not report success"),
    "writes nothing": (SUCCESS, 1, "wrote no model_output/model.bin"),
}


def run_script(script: Path, tools: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PATH": f"{tools}:/usr/bin:/bin"}
    return subprocess.run(["sh", str(script)], cwd="/", env=environment, capture_output=True, text=True, check=False)


def add_tool(folder: Path, name: str, action: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >> calls.txt\n{action}\n')
    (folder / name).chmod(0o755)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return uair.compile(models.cnn(), "horizon_j5", output=tmp_path_factory.mktemp("horizon") / "out")


def copied(artifact: Artifact, folder: Path, name: str) -> Path:
    folder.mkdir()
    (folder / name).write_bytes(artifact.file(name).read_bytes())
    return folder / name


@pytest.mark.parametrize("kind", TOOLS)
def test_the_build_script_believes_only_a_result(kind: str, tmp_path: Path, artifact: Artifact) -> None:
    action, status, message = TOOLS[kind]
    script = copied(artifact, tmp_path / "with blank", "build.sh")
    (script.parent / "model_output").mkdir()
    (script.parent / "model_output" / "model.bin").write_text("of an earlier run")
    add_tool(tmp_path / "tools", "hb_mapper", f'[ "$1" = checker ] && exit 0\n{action}')
    add_tool(tmp_path / "tools", "hb_perf", "exit 0")
    done = run_script(script, tmp_path / "tools")
    assert (done.returncode, message in done.stdout + done.stderr) == (status, True), done
    calls = (script.parent / "calls.txt").read_text().splitlines()
    assert calls[0] == (
        "hb_mapper checker --model-type onnx --march bayes --model model.onnx --input-shape image 1x3x12x10"
    )
    assert calls[1] == "hb_mapper makertbin --config config.yaml --model-type onnx"
    assert calls[2:] == (["hb_perf model_output/model.bin"] if status == 0 else [])


def test_the_scripts_say_what_is_missing(tmp_path: Path, artifact: Artifact) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    build = run_script(copied(artifact, tmp_path / "a", "build.sh"), tools)
    assert build.returncode == 1 and "hb_mapper was not found" in build.stderr
    script = copied(artifact, tmp_path / "b", "deploy.sh")
    assert "there is no model.bin" in run_script(script, tools).stderr
    (script.parent / "model.bin").write_text("bin")
    assert "hrt_model_exec was not found" in run_script(script, tools).stderr
    add_tool(tools, "hrt_model_exec", "exit 0")
    assert run_script(script, tools).returncode == 0
    assert (script.parent / "calls.txt").read_text().splitlines()[1].startswith("hrt_model_exec perf --model_file")


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    def files(folder: Path) -> Any:
        return uair.compile(models.cnn(), "horizon_x5", output=folder).manifest["files"]

    assert files(tmp_path / "a") == files(tmp_path / "b")
