"""Kunlunxin: what is written for x2paddle and Paddle Inference; tests/vendor/test_paddle.py runs the real ones."""

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
import pytest

import uair
from tests import zoo
from tests.golden import Golden
from tests.quant.networks import Builder, samples, small_cnn
from uair.artifact import Artifact
from uair.codegen.reference import run as interpret
from uair.ops import Add, MaxPool2D, Relu
from uair.request import Int8
from uair.targets import load_description
from uair.targets.errors import OptionError

NAMES = ["kunlun_k200", "kunlun_r200"]
PADDLE = """
import json, os
import numpy as np

def note(*call):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps(call) + "\\n")

class Handle:
    def __init__(self, owner, name): self.owner, self.name = owner, name
    def reshape(self, shape): note("reshape", self.name, shape)
    def copy_from_cpu(self, array): self.owner.fed.append(array)
    def copy_to_cpu(self):
        with np.load("golden/outputs.npz") as archive:
            array = archive[archive.files[int(self.name[-1])]]
        return -array if os.environ.get("WRONG") else array

class Predictor:
    def __init__(self): self.fed = []
    def get_input_names(self): return ["x2paddle_x"]
    def get_output_names(self): return ["fetch_name_0", "fetch_name_1"]
    def get_input_handle(self, name): return Handle(self, name)
    def get_output_handle(self, name): return Handle(self, name)
    def run(self):
        if os.environ.get("RUN") == "fails":
            raise RuntimeError("(Unimplemented) no kernel")

class XpuConfig:
    device_id = l3_size = l3_autotune_size = 0
    quant_post_dynamic_weight_precision = 1

if os.environ.get("XPU") == "none":
    del XpuConfig

class Config:
    def __init__(self, program, parameters): note("config", os.path.basename(program))
    def disable_glog_info(self): pass
    def disable_gpu(self): note("cpu")
    def disable_mkldnn(self): pass
    def enable_xpu(self, **arguments): note("enable_xpu", arguments)
    def set_xpu_config(self, chosen): note("xpu_config", vars(chosen))

def create_predictor(config): return Predictor()
"""


def build(folder: Path, name: str = "kunlun_k200", **options: Any) -> Artifact:
    return uair.compile(small_cnn(), name, output=folder, options=options)


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("kunlun") / "a")


@pytest.mark.parametrize("name", ["build.sh", "build_lite.sh", "run.json"])
def test_golden(golden: Golden, artifact: Artifact, name: str) -> None:
    golden.check(name, artifact.file(name).read_text())


def test_scripts_are_valid(artifact: Artifact) -> None:
    for name in ("build.sh", "build_lite.sh"):
        subprocess.run(["bash", "-n", artifact.file(name)], check=True)


def conforms(artifact: Artifact) -> None:
    onnx_table = load_description(artifact.target).onnx
    assert onnx_table is not None and onnx_table.operators is not None
    model = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 13)]
    assert {n.op_type for n in model.graph.node} <= set(onnx_table.operators)
    names = [v.name for v in (*model.graph.input, *model.graph.output)] + [
        o for n in model.graph.node for o in n.output
    ]
    assert all(name.isidentifier() for name in names), "x2paddle makes variables of them"
    pools = [n for n in model.graph.node if n.op_type == "MaxPool"]
    assert all(a.name != "dilations" for n in pools for a in n.attribute)
    shapes = [v.type.tensor_type.shape.dim for v in (*model.graph.input, *model.graph.value_info)]
    assert all(d.WhichOneof("value") == "dim_value" for shape in shapes for d in shape)


@pytest.mark.parametrize("target", NAMES)
@pytest.mark.parametrize("name", ["squeezenet_real", "ppocr_cls", "magika"])
def test_models_of_the_zoo_conform(target: str, name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    conforms(uair.compile(model.path, target, shapes=model.shapes, output=tmp_path / "a"))


def test_the_l3_of_each_generation(tmp_path: Path) -> None:
    sizes = {name: build(tmp_path / name, name).manifest["kunlun"]["xpu"]["enable"]["l3_size"] for name in NAMES}
    assert sizes == {"kunlun_k200": 16773120, "kunlun_r200": 67104768}
    assert build(tmp_path / "own", l3="1024").manifest["kunlun"]["xpu"]["config"]["l3_size"] == 1024
    with pytest.raises(OptionError, match="l3 is 16773121 bytes"):
        build(tmp_path / "more", l3=16773121)


def test_quantized_models_are_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="reads no quantized ONNX"):
        uair.compile(small_cnn(), "kunlun_k200", quantize=Int8(calibration=samples()), output=tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_what_is_uncertain_is_in_the_manifest(tmp_path: Path, artifact: Artifact) -> None:
    assert len(artifact.manifest["kunlun"]["uncertain"]) == 1
    assert "quant_post" in build(tmp_path / "a", weights="int8").manifest["kunlun"]["uncertain"][1]


def test_unused_inputs_go(tmp_path: Path) -> None:
    b = Builder(1, 4)
    b.graph.add_input("unused", b.x.type)
    module = b.done(b.add(Relu(), b.x))
    artifact = uair.compile(module, "kunlun_k200", output=tmp_path / "a")
    assert artifact.manifest["kunlun"]["unused_inputs"] == ["unused"]
    assert len(onnx.load(artifact.file("model.onnx")).graph.input) == 1


def test_a_dilated_pool_has_no_form(tmp_path: Path) -> None:
    b = Builder(1, 4, 9, 9)
    module = b.done(b.add(Add(), b.add(MaxPool2D(kernel=(2, 2), dilations=(2, 2)), b.x), b.weight(1)))
    with pytest.raises(uair.errors.UairError, match="MaxPool2D"):
        uair.compile(module, "kunlun_k200", output=tmp_path / "a", fallback=False)


# --------------------------------------------------------------------------------- run_paddle_xpu.py against a stand-in
def run(artifact: Artifact, work: Path, *arguments: str, **environment: str) -> tuple[int, str, list[Any]]:
    folder = work / "copy"
    shutil.copytree(artifact.root, folder, dirs_exist_ok=True)
    if not environment.pop("UNBUILT", ""):
        (folder / "paddle" / "inference_model").mkdir(parents=True, exist_ok=True)
        for name in ("model.json", "model.pdiparams"):
            (folder / "paddle" / "inference_model" / name).write_text("made")
    library = work / "lib" / "paddle"
    library.mkdir(parents=True, exist_ok=True)
    (library / "__init__.py").write_text("")
    (library / "inference.py").write_text(PADDLE)
    calls = work / "calls"
    calls.write_text("")
    done = subprocess.run(
        [sys.executable, "run_paddle_xpu.py", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(work / "lib"), "CALLS": str(calls), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr, [json.loads(line) for line in calls.read_text().splitlines()]


def test_the_xpu_is_set_up(artifact: Artifact, tmp_path: Path) -> None:
    status, text, calls = run(artifact, tmp_path)
    assert status == 0, text
    assert text.count("cosine 1.000000") == 2
    enabled = next(call[1] for call in calls if call[0] == "enable_xpu")
    assert enabled["l3_size"] == 16773120 and enabled["transformer_encoder_precision"] == "int16"
    assert ["xpu_config", {"device_id": 0, "l3_size": 16773120, "l3_autotune_size": 0}] in calls


def test_the_precision_of_weights(tmp_path: Path) -> None:
    _, _, calls = run(build(tmp_path / "a", weights="int8"), tmp_path)
    assert next(c[1] for c in calls if c[0] == "xpu_config")["quant_post_dynamic_weight_precision"] == 0
    status, text, _ = run(build(tmp_path / "b", weights="int8"), tmp_path, XPU="none")
    assert (status, "compile with weights=default" in text) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "environment", "status", "words"),
    [
        ((), {"UNBUILT": "1"}, 1, "run build.sh first"),
        ((), {"RUN": "fails"}, 1, "no kernel"),
        ((), {"WRONG": "1"}, 3, "cosine -1.0"),
        (("--input", "x"), {}, 2, "not of the form"),
        (("--input", "z=golden/none.npy"), {}, 2, "cannot be read"),
    ],
)
def test_what_goes_wrong_is_said(
    artifact: Artifact, tmp_path: Path, arguments: tuple[str, ...], environment: dict[str, str], status: int, words: str
) -> None:
    found, text, _ = run(artifact, tmp_path, *arguments, **environment)
    assert (found, words in text) == (status, True), text


def test_inputs_of_ones_own(artifact: Artifact, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", samples(1)[0]["x"])
    status, text, calls = run(artifact, tmp_path, "--input", f"x={tmp_path / 'x.npy'}", "--output", "results")
    assert status == 0, text
    assert ["reshape", "x2paddle_x", [1, 3, 8, 8]] in calls
    assert np.load(tmp_path / "copy" / "results" / "1.npy").shape == (1, 5)
    wanted = interpret(small_cnn(), artifact.arrays("golden/inputs.npz"))
    assert [v.shape for v in wanted.values()] == [(1, 5), (1, 5)]
