"""Scripts, calibration cache, placement: byte for byte, by the versions' own flags, and run against stand-ins."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx
import pytest

import uair
from tests.golden import Golden
from tests.quant.networks import Builder, samples, small_cnn
from tests.targets.helpers import make
from uair.artifact import Artifact
from uair.codegen.standalone.parts import BuildFailed
from uair.codegen.tensorrt import build_script
from uair.codegen.tensorrt.calibration import VERSIONS, CacheError, cache_text, read_cache, scale_hex
from uair.codegen.tensorrt.dla import dla
from uair.codegen.tensorrt.flags import (
    ADDED_IN_10,
    ADDED_IN_11,
    MAJORS,
    REMOVED_IN_10,
    REMOVED_IN_11,
    STABLE,
    Command,
    Major,
    flags_of,
    is_known,
)
from uair.codegen.tensorrt.scripts import CHOOSER, profile_of, shapes_text
from uair.errors import InternalError
from uair.ir import Graph, Module
from uair.ir.graph import Node
from uair.ops import (
    Add,
    AvgPool2D,
    Concat,
    Conv2D,
    ConvTranspose2D,
    Gather,
    GlobalAvgPool,
    LayerNorm,
    Linear,
    MatMul,
    MaxPool2D,
    Pow,
    Relu,
    Resize,
    Softmax,
)
from uair.passes.prune_two_four import PruneTwoFour
from uair.pipeline import PassContext
from uair.request import Int8
from uair.targets import Confidence, Support
from uair.targets.errors import BucketError, OptionError
from uair.text import parse_type

X = "f32[1,4,16,16]"


def build(folder: Path, *, quantize: bool = True, **options: Any) -> Artifact:
    return uair.compile(
        small_cnn(),
        "jetson_orin",
        output=folder,
        quantize=Int8(calibration=samples()) if quantize else None,
        options=options,
    )


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("trt") / "plain")


@pytest.fixture(scope="module")
def on_dla(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    return build(tmp_path_factory.mktemp("trt") / "dla", dla="0", triton="tensorrt,onnx,python")


# ----------------------------------------------------------------------------------------------------------- the flags
def test_the_table_of_flags_is_consistent() -> None:
    assert not STABLE & (REMOVED_IN_10 | REMOVED_IN_11 | ADDED_IN_10 | ADDED_IN_11)
    assert "--buildOnly" in flags_of(8) and "--buildOnly" not in flags_of(10)
    assert "--stronglyTyped" not in flags_of(8) and "--stronglyTyped" in flags_of(10) & flags_of(11)
    assert {"--int8", "--fp16", "--calib"} <= flags_of(8) & flags_of(10)
    assert not {"--int8", "--fp16", "--calib", "--bf16"} & flags_of(11)
    assert "--adjustForDLA" in flags_of(11) - flags_of(10)
    assert is_known("--minShapesCalib=x:1", 10) and not is_known("--minShapesCalib=x:1", 11)


def test_a_flag_of_another_version_is_refused() -> None:
    with pytest.raises(InternalError, match="TensorRT 11 does not know --fp16"):
        Command(11, ("--onnx=model.onnx", "--fp16"))


def calls(script: str) -> list[list[str]]:
    """The arguments of every call of trtexec in a script."""
    joined = script.replace("\\\n", " ")
    found = [line for line in joined.splitlines() if line.startswith("trtexec ")]
    return [[a for a in shlex.split(line.partition(" 2>&1")[0])[1:] if a.startswith("--")] for line in found]


@pytest.mark.parametrize("major", MAJORS)
@pytest.mark.parametrize("which", ["plain", "on_dla"])
def test_every_flag_is_known_to_the_version(which: str, major: Major, request: pytest.FixtureRequest) -> None:
    artifact: Artifact = request.getfixturevalue(which)
    script = artifact.file(f"build_trt{major}.sh").read_text()
    found = calls(script)
    assert len(found) == 2, "one call builds, one loads"
    assert all(is_known(flag, major) for call in found for flag in call)
    assert "--calib=" not in script or major != 11
    model = next(flag.partition("=")[2] for flag in found[0] if flag.startswith("--onnx="))
    assert artifact.file(model).is_file()


@pytest.mark.parametrize("name", ["build_trt8.sh", "build_trt10.sh", "build_trt11.sh", "build.json"])
@pytest.mark.parametrize("which", ["plain", "on_dla"])
def test_golden(golden: Golden, which: str, name: str, request: pytest.FixtureRequest) -> None:
    artifact: Artifact = request.getfixturevalue(which)
    golden.check(f"{which}/{name}", artifact.file(name).read_text())


def test_golden_placement_and_manifest(golden: Golden, on_dla: Artifact) -> None:
    golden.check("dla.json", on_dla.file("dla.json").read_text())
    golden.check("manifest.json", json.dumps(on_dla.manifest["tensorrt"], indent=2) + "\n")


# --------------------------------------------------------------------------------------------------- scripts, executed
TRTEXEC = """#!/bin/sh
echo "$@" >> "$CALLS"
for a in "$@"; do case "$a" in --saveEngine=*) [ "$PLAN" = none ] || echo plan > "${a#--saveEngine=}";; esac; done
exit "${STATUS:-0}"
"""


def run_script(artifact: Artifact, work: Path, name: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A script in a copy of the artifact, with a trtexec that writes down how it is called."""
    folder, tools = work / "copy", work / "bin"
    shutil.copytree(artifact.root, folder, dirs_exist_ok=True)
    tools.mkdir(exist_ok=True)
    if not environment.pop("WITHOUT_TRTEXEC", ""):
        (tools / "trtexec").write_text(TRTEXEC)
        (tools / "trtexec").chmod(0o755)
    variables = {"PATH": f"{tools}:/usr/bin:/bin", "CALLS": str(work / "calls"), "PLAN": "", **environment}
    return subprocess.run(
        ["sh", name], cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False
    )


def test_scripts_are_valid_and_executable(plain: Artifact) -> None:
    for name in ("build.sh", *(f"build_trt{major}.sh" for major in MAJORS)):
        subprocess.run(["bash", "-n", plain.file(name)], check=True)
        assert plain.file(name).stat().st_mode & stat.S_IXUSR


def test_the_script_of_the_installed_version_is_chosen(plain: Artifact, tmp_path: Path) -> None:
    done = run_script(plain, tmp_path, "build.sh", TENSORRT_VERSION="10.3.0.30-1+cuda12.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "model.plan is ready"
    built, loaded = (tmp_path / "calls").read_text().splitlines()
    assert "--skipInference" in built and "--int8 --fp16" in built
    assert "--loadEngine=model.plan" in loaded
    assert (tmp_path / "copy" / "triton" / "tensorrt" / "net" / "1" / "model.plan").read_text() == "plan\n"


@pytest.mark.parametrize(
    ("environment", "words"),
    [
        ({"TENSORRT_VERSION": "7.1"}, "there is no script for TensorRT 7.1"),
        ({"TENSORRT_VERSION": "10.3", "WITHOUT_TRTEXEC": "1"}, "trtexec was not found"),
        ({"TENSORRT_VERSION": "10.3", "PLAN": "none"}, "trtexec wrote no model.plan"),
    ],
)
def test_what_goes_wrong_is_said(plain: Artifact, tmp_path: Path, environment: dict[str, str], words: str) -> None:
    done = run_script(plain, tmp_path, "build.sh", **environment)
    assert done.returncode == 1
    assert words in done.stderr


def test_a_failing_trtexec_fails_the_script(plain: Artifact, tmp_path: Path) -> None:
    assert run_script(plain, tmp_path, "build_trt11.sh", TENSORRT_VERSION="11.4", STATUS="3").returncode == 3


def test_another_version_is_refused(plain: Artifact, tmp_path: Path) -> None:
    done = run_script(plain, tmp_path, "build_trt8.sh", TENSORRT_VERSION="10.3.0")
    assert (done.returncode, "this is TensorRT 10.3.0, the script is for 8" in done.stderr) == (1, True)


@pytest.mark.parametrize(("version", "cache"), [("8.5.2-1", "8502"), ("8.6.2.3-1", "8602")])
def test_the_cache_of_the_version_is_taken(on_dla: Artifact, tmp_path: Path, version: str, cache: str) -> None:
    assert run_script(on_dla, tmp_path, "build_trt8.sh", TENSORRT_VERSION=version).returncode == 0
    built = (tmp_path / "calls").read_text().splitlines()[0]
    assert f"--calib=implicit/calibration_{cache}.cache" in built
    assert "--useDLACore=0 --allowGPUFallback" in built


def test_operators_that_an_old_parser_lacks(tmp_path: Path) -> None:
    b = Builder(1, 4, 8)
    module = b.done(b.add(LayerNorm(), b.x, b.weight(8), b.weight(8), name="norm"))
    artifact = uair.compile(module, "jetson_orin", output=tmp_path / "a")
    assert artifact.manifest["tensorrt"]["missing_operators"] == {"8.5": ["LayerNormalization"]}
    done = run_script(artifact, tmp_path, "build_trt8.sh", TENSORRT_VERSION="8.5.2")
    assert "the ONNX parser of TensorRT 8.5 does not know LayerNormalization" in done.stderr
    assert run_script(artifact, tmp_path, "build_trt8.sh", TENSORRT_VERSION="8.6.2").returncode == 0


# --------------------------------------------------------------------------------------------------- shapes and options
def open_batch() -> Module:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[n,3,8,8]"))
    graph.add_output("y", graph.append(Relu().node(x)).output)
    return Module("net", {"main": graph})


def test_buckets_become_a_profile(tmp_path: Path) -> None:
    buckets = [{"x": (1, 3, 8, 8)}, {"x": (4, 3, 8, 8)}, {"x": (16, 3, 8, 8)}]
    artifact = uair.compile(open_batch(), "jetson_orin", output=tmp_path / "a", buckets=buckets, options={"bucket": 2})
    script = artifact.file("build_trt10.sh").read_text()
    for text in ("--minShapes=x:1x3x8x8", "--optShapes=x:4x3x8x8", "--maxShapes=x:16x3x8x8", "--shapes=x:4x3x8x8"):
        assert text in script
    assert artifact.manifest["tensorrt"]["profile"] == {
        "x": {"min": [1, 3, 8, 8], "opt": [4, 3, 8, 8], "max": [16, 3, 8, 8]}
    }
    config = artifact.file("triton/tensorrt/net/config.pbtxt").read_text()
    assert "dims: [ -1, 3, 8, 8 ]" in config
    model = onnx.load(artifact.file("model.onnx"))
    assert model.graph.input[0].type.tensor_type.shape.dim[0].WhichOneof("value") == "dim_param"


def test_profile_of_several_inputs() -> None:
    profile = profile_of([{"a": (1, 9), "b": (4,)}, {"a": (3, 2), "b": (1,)}], 0)
    assert (profile.least, profile.most) == ({"a": (1, 2), "b": (1,)}, {"a": (3, 9), "b": (4,)})
    assert shapes_text(profile.best) == "a:1x9,b:4"
    assert profile_of([{"a": (1, 9)}], 0).flags() == []


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"effort": "6"}, "effort 6"),
        ({"workspace": "0"}, "workspace of 0"),
        ({"bucket": "0"}, "no bucket 0"),
        ({"bucket": "2"}, "no bucket 2"),
        ({"dla": "2"}, "dla of target jetson_orin cannot be '2'"),
        ({"triton": "vllm"}, "triton of target jetson_orin cannot be 'vllm'"),
    ],
)
def test_options_that_make_no_sense(tmp_path: Path, options: dict[str, str], words: str) -> None:
    with pytest.raises(OptionError, match=words):
        uair.compile(small_cnn(), "jetson_orin", output=tmp_path / "a", options=options)


def test_the_accelerator_takes_one_shape(tmp_path: Path) -> None:
    buckets = [{"x": (1, 3, 8, 8)}, {"x": (4, 3, 8, 8)}]
    with pytest.raises((OptionError, BucketError), match="one shape"):
        uair.compile(open_batch(), "jetson_orin", output=tmp_path / "a", buckets=buckets, options={"dla": "1"})


def test_f32_is_said_in_every_version(tmp_path: Path) -> None:
    artifact = build(tmp_path / "a", quantize=False, precision="f32")
    assert "--fp16" not in artifact.file("build_trt10.sh").read_text()
    assert "--onnx=model.onnx" in artifact.file("build_trt11.sh").read_text()
    assert "model_f16.onnx" not in artifact.manifest["files"]


# ------------------------------------------------------------------------------------------------- calibration caches
def test_the_known_lines_of_a_cache() -> None:
    assert scale_hex(struct.unpack(">f", bytes.fromhex("3f9db09c"))[0]) == "3f9db09c"
    assert scale_hex(255 / 127) == "40008102"
    assert scale_hex(1e-40).startswith("0001"), "leading zeros stay"
    text = cache_text({"/conv1/Conv_output_0": 0.5, "x": 1.0}, "8502")
    assert text == "TRT-8502-EntropyCalibration2\n/conv1/Conv_output_0: 3f000000\nx: 3f800000\n"
    assert read_cache(text) == ("8502", {"/conv1/Conv_output_0": 0.5, "x": 1.0})


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf"), 1e39])
def test_what_is_no_scale(scale: float) -> None:
    with pytest.raises(CacheError, match="no scale"):
        scale_hex(scale)


@pytest.mark.parametrize(
    "text",
    ["", "TRT-85-EntropyCalibration2\n", "TRT-8502-Entropy\n", "TRT-8502-EntropyCalibration2\nx 3f800000\n",
     "TRT-8502-EntropyCalibration2\nx: 3F800000\n", "TRT-8502-EntropyCalibration2\nx: 3f800000\nx: 3f800000\n"],
)  # fmt: skip
def test_what_is_no_cache(text: str) -> None:
    with pytest.raises(CacheError):
        read_cache(text)


def test_names_that_break_a_line() -> None:
    with pytest.raises(CacheError, match="does not fit a line"):
        cache_text({"a: b": 1.0}, "8502")


def test_caches_hold_uairs_scales_of_tensors_in_the_float_model(on_dla: Artifact) -> None:
    model = onnx.load(on_dla.file("implicit/model.onnx"))
    values = {o for n in model.graph.node for o in n.output} | {i.name for i in model.graph.input}
    explicit = onnx.load(on_dla.file("model.onnx"))
    scales = {t.name: onnx.numpy_helper.to_array(t) for t in explicit.graph.initializer}
    constants = set(scales)
    wanted = {
        round(float(scales[n.input[1]]), 9)
        for n in explicit.graph.node
        if n.op_type == "QuantizeLinear" and n.input[0] not in constants
    }
    for version in VERSIONS:
        header, found = read_cache(on_dla.file(f"implicit/calibration_{version}.cache").read_text())
        assert header == version
        assert found.keys() <= values
        assert {round(scale, 9) for scale in found.values()} == wanted
    named = re.search(r"--layerPrecisions=(\S+)", on_dla.file("build_trt10.sh").read_text())
    assert named is not None
    layers = {pair.rpartition(":")[0] for pair in named[1].split(",")}
    assert layers <= {n.name for n in model.graph.node}
    assert {n.op_type for n in model.graph.node if n.name in layers} <= {"Conv", "Gemm", "MatMul", "ConvTranspose"}
    assert "100300" in " ".join(on_dla.manifest["tensorrt"]["uncertain"])


# ---------------------------------------------------------------------------------------------------- the accelerator
DLA_NEGATIVE: list[tuple[Node, Support, str]] = [
    (make(Conv2D(), "f32[1,4,64,64]", "=f32[8,4,33,33]"), Support.UNSUPPORTED, "all(1 <= kernel <= 32)"),
    (make(Conv2D(pads=(32, 0, 0, 0)), X, "=f32[8,4,3,3]"), Support.UNSUPPORTED, "all(0 <= pads <= 31)"),
    (make(Conv2D(strides=(9, 1)), X, "=f32[8,4,3,3]"), Support.UNSUPPORTED, "all(1 <= strides <= 8)"),
    (make(Conv2D(dilations=(33, 1)), "f32[1,4,99,99]", "=f32[8,4,3,3]"), Support.UNSUPPORTED,
     "all(1 <= dilations <= 32)"),
    (make(Conv2D(), X, "=f32[8193,4,1,1]"), Support.UNSUPPORTED, "out_channels <= 8192"),
    (make(ConvTranspose2D(), X, "=f32[4,8,33,3]"), Support.UNSUPPORTED, "all(1 <= kernel <= 32)"),
    (make(ConvTranspose2D(strides=(33, 1)), X, "=f32[4,8,3,3]"), Support.UNSUPPORTED, "all(1 <= strides <= 32)"),
    (make(ConvTranspose2D(pads=(1, 1, 1, 1)), X, "=f32[4,8,3,3]"), Support.UNSUPPORTED, "all(pads == 0)"),
    (make(ConvTranspose2D(groups=2), X, "=f32[4,8,3,3]"), Support.UNSUPPORTED, "groups == 1"),
    (make(ConvTranspose2D(dilations=(2, 2)), X, "=f32[4,8,3,3]"), Support.UNSUPPORTED, "all(dilations == 1)"),
    (make(MaxPool2D(kernel=(9, 1)), X), Support.UNSUPPORTED, "all(1 <= kernel <= 8)"),
    (make(AvgPool2D(kernel=(2, 2), strides=(17, 1)), "f32[1,4,64,64]"), Support.UNSUPPORTED, "all(1 <= strides <= 16)"),
    (make(MaxPool2D(kernel=(3, 3), dilations=(2, 2)), X), Support.UNSUPPORTED, "all(dilations == 1)"),
    (make(Linear(), "f32[1,4]", "f32[8,4]"), Support.UNSUPPORTED, "w.is_constant"),
    (make(MatMul(), "f32[4,4]", "f32[4,4]"), Support.UNSUPPORTED, "b.is_constant"),
    (make(Concat(axis=2), X, X), Support.UNSUPPORTED, "axis == 1 or axis == 1 - inputs[0].rank"),
    (make(Softmax(axis=-1), X), Support.UNSUPPORTED, "axis == 1 or axis == 1 - x.rank"),
    (make(Softmax(axis=1), "f32[1,4,40,40]"), Support.UNSUPPORTED, "<= 1024"),
    (make(Resize(sizes=(1, 4, 16 * 33, 16)), X), Support.UNSUPPORTED, 'mode != "nearest"'),
    (make(Resize(sizes=(1, 4, 80, 16), mode="linear"), X), Support.UNSUPPORTED, 'mode != "linear"'),
    (make(Resize(sizes=(1, 4, 32, 32), mode="cubic"), X), Support.UNSUPPORTED, 'mode != "cubic"'),
]  # fmt: skip


@pytest.mark.parametrize(
    ("node", "support", "clause"), DLA_NEGATIVE, ids=[f"{n.op_type}-{c}" for n, _, c in DLA_NEGATIVE]
)
def test_limits_of_the_accelerator(node: Node, support: Support, clause: str) -> None:
    verdict = dla().direct_verdict(node)
    assert verdict.support is support
    assert clause in verdict.clause
    numbers = not clause.endswith("is_constant")
    assert verdict.confidence is (Confidence.UNCERTAIN if numbers else Confidence.DOCUMENTED)


def test_every_limit_has_a_case() -> None:
    for entry in dla().description.operator:
        for constraint in entry.constraints:
            assert any(
                c.entry.require == constraint.require and c.constraint.evaluate(node).truth is False
                for node, _, _ in DLA_NEGATIVE
                if node.op_type in entry.names
                for c in dla().description.operators[node.op_type].constraints
            ), f"{entry.names}: {constraint.require}"


@pytest.mark.parametrize(
    ("node", "words"),
    [
        (make(Relu(), "f32[5000,4]"), "at most 4096 in a batch"),
        (make(Relu(), "f32[1,9000]"), "8192 along other axes"),
        (make(Relu(), "f32[n,4]"), "fixed sizes only"),
        (make(GlobalAvgPool(), X), "not offered to TensorRT"),
        (make(Gather(), "f32[9,4]", "i32[3]"), "not accepted"),
        (make(Pow(), X, 2.0), "does not say for sure"),
    ],
)
def test_other_answers_about_the_accelerator(node: Node, words: str) -> None:
    verdict = dla().verdict(node)
    assert verdict.support is not Support.SUPPORTED
    assert words in verdict.reason


def test_plain_layers_go_to_the_accelerator() -> None:
    for node in (make(Conv2D(), X, "=f32[8,4,3,3]"), make(Relu(), X), make(Add(), X, X), make(Softmax(axis=1), X)):
        assert dla().verdict(node).support is Support.SUPPORTED


# ---------------------------------------------------------------------------------- build.py against a stand-in toolkit
TENSORRT = """
import json, os
__version__ = os.environ["VERSION"]
calls = []

def note(*call):
    with open(os.environ["CALLS"], "a") as file:
        file.write(json.dumps(call) + "\\n")

class _Any:
    def __getattr__(self, name):
        return name

BuilderFlag = MemoryPoolType = DeviceType = _Any()

class NetworkDefinitionCreationFlag:
    EXPLICIT_BATCH, STRONGLY_TYPED = 0, 1

class Logger:
    INFO = 1
    def __init__(self, level): pass

class IInt8EntropyCalibrator2:
    def __init__(self): pass

class Config:
    def set_memory_pool_limit(self, pool, size): note("pool", pool, size)
    def set_flag(self, flag): note("flag", flag)
    def add_optimization_profile(self, profile): note("profile", profile.shapes)
    def __setattr__(self, name, value):
        if name == "int8_calibrator":
            value = value.read_calibration_cache().decode().splitlines()[0]
        note("set", name, value)

class Profile:
    def __init__(self): self.shapes = {}
    def set_shape(self, name, *shapes): self.shapes[name] = shapes

class Builder:
    def __init__(self, logger): pass
    def create_network(self, flags): note("network", flags); return object()
    def create_builder_config(self): return Config()
    def create_optimization_profile(self): return Profile()
    def build_serialized_network(self, network, config):
        return None if os.environ.get("BUILD") == "none" else b"plan"

class OnnxParser:
    num_errors = 1
    def __init__(self, network, logger): pass
    def parse_from_file(self, path): note("parse", os.path.relpath(path)); return os.environ.get("PARSE") != "no"
    def get_error(self, i): return "In node 3: UNSUPPORTED_NODE"

class Engine:
    names = os.environ.get("TENSORS", "x,y,y1").split(",")
    num_io_tensors = len(names)
    def get_tensor_name(self, i): return self.names[i]

class Runtime:
    def __init__(self, logger): pass
    def deserialize_cuda_engine(self, data): return None if os.environ.get("LOAD") == "no" else Engine()
"""


def run_build(artifact: Artifact, work: Path, **environment: str) -> tuple[int, dict[str, Any], list[Any]]:
    folder = work / "copy"
    shutil.copytree(artifact.root, folder, dirs_exist_ok=True)
    (work / "lib").mkdir(exist_ok=True)
    (work / "lib" / "tensorrt.py").write_text(TENSORRT)
    variables = {**os.environ, "PYTHONPATH": str(work / "lib"), "CALLS": str(work / "calls"), **environment}
    done = subprocess.run(
        [sys.executable, "build.py"], cwd=folder, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    calls_file = work / "calls"
    seen = [json.loads(line) for line in calls_file.read_text().splitlines()] if calls_file.exists() else []
    return done.returncode, json.loads((folder / "result.json").read_text()), seen


def test_build_py_of_a_quantized_model(plain: Artifact, tmp_path: Path) -> None:
    status, result, seen = run_build(plain, tmp_path, VERSION="10.3.0")
    assert (status, result["status"], result["tensors"]) == (0, "ok", ["x", "y", "y1"])
    assert ["parse", "model.onnx"] in seen and ["network", 0] in seen
    assert ["flag", "FP16"] in seen and ["flag", "INT8"] in seen
    assert ["pool", "WORKSPACE", 4096 << 20] in seen
    assert (tmp_path / "copy" / "model.plan").read_bytes() == b"plan"


def test_build_py_knows_the_generations(on_dla: Artifact, tmp_path: Path) -> None:
    status, _, seen = run_build(on_dla, tmp_path, VERSION="8.6.2.3")
    assert status == 0
    assert ["network", 1] in seen and ["parse", "implicit/model.onnx"] in seen
    assert ["set", "int8_calibrator", "TRT-8602-EntropyCalibration2"] in seen
    assert ["set", "default_device_type", "DLA"] in seen and ["flag", "GPU_FALLBACK"] in seen
    (tmp_path / "calls").unlink()
    status, _, seen = run_build(on_dla, tmp_path, VERSION="11.4.1")
    assert ["parse", "model_f16.onnx"] in seen
    assert not [call for call in seen if call[0] == "flag" and call[1] in ("FP16", "INT8")]


@pytest.mark.parametrize(
    ("environment", "stage", "words"),
    [
        ({"PARSE": "no"}, "parse", "In node 3: UNSUPPORTED_NODE"),
        ({"BUILD": "none"}, "build", "no engine came out"),
        ({"LOAD": "no"}, "load", "cannot be loaded again"),
        ({"TENSORS": "x,z"}, "load", "the engine has no 'y'"),
        ({"VERSION": "7.2.1"}, "parse", "no model for TensorRT 7"),
    ],
)
def test_build_py_says_what_failed(
    plain: Artifact, tmp_path: Path, environment: dict[str, str], stage: str, words: str
) -> None:
    status, result, _ = run_build(plain, tmp_path, **{"VERSION": "10.3.0", **environment})
    assert (status, result["status"], result["stage"]) == (1, "failed", stage)
    assert words in result["reason"]


def test_build_py_with_a_profile(tmp_path: Path) -> None:
    buckets = [{"x": (1, 3, 8, 8)}, {"x": (4, 3, 8, 8)}]
    artifact = uair.compile(open_batch(), "jetson_orin", output=tmp_path / "a", buckets=buckets)
    status, _, seen = run_build(artifact, tmp_path, VERSION="10.3.0", TENSORS="x,y")
    assert status == 0
    assert ["profile", {"x": [[1, 3, 8, 8], [1, 3, 8, 8], [4, 3, 8, 8]]}] in seen


def test_cache_of_an_unknown_release() -> None:
    assert build_script.cache_of({"8502": "a", "8602": "b"}, "8.6.2") == "b"
    assert build_script.cache_of({"8502": "a", "8602": "b"}, "8.4.0") == "b"
    with pytest.raises(BuildFailed, match="no calibration cache"):
        build_script.cache_of({"8502": "a"}, "10.3")


def test_the_chooser_names_every_script() -> None:
    assert "8 10 11" in CHOOSER


# ------------------------------------------------------------------------------------------------------------ sparsity
@pytest.mark.parametrize("quantize", [False, True])
def test_sparse_weights_are_told_to_the_builder(tmp_path: Path, *, quantize: bool) -> None:
    module = small_cnn()
    assert PruneTwoFour().run(module, PassContext())
    calibration = Int8(calibration=samples()) if quantize else None
    artifact = uair.compile(module, "jetson_orin", output=tmp_path / "sparse", quantize=calibration)
    assert artifact.manifest["tensorrt"]["sparse_weights"]
    for script in ("build_trt8.sh", "build_trt10.sh", "build_trt11.sh"):
        assert "--sparsity=enable" in calls(artifact.file(script).read_text())[0]
    assert ["flag", "SPARSE_WEIGHTS"] in run_build(artifact, tmp_path, VERSION="10.3.0")[2]


def test_dense_weights_are_not(plain: Artifact, tmp_path: Path) -> None:
    assert not plain.manifest["tensorrt"]["sparse_weights"]
    assert "--sparsity" not in plain.file("build_trt10.sh").read_text()
    assert ["flag", "SPARSE_WEIGHTS"] not in run_build(plain, tmp_path, VERSION="10.3.0")[2]
