"""The CPU targets: the opset that is chosen, run.py, bf16, and the CPUs of Hygon, Phytium and Loongson."""

from __future__ import annotations

import importlib.util
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
from tests.quant.networks import samples, saturating, small_cnn
from uair.artifact import Artifact
from uair.codegen.cpu import CpuTarget, InterpretedCpuTarget
from uair.codegen.cpu.target import RuntimeFailed
from uair.codegen.onnx import unsupported_reason
from uair.codegen.onnx.opsets import LegaliseLowest
from uair.codegen.reference import run as interpret
from uair.codegen.standalone import standalone
from uair.codegen.standalone.parts import lacks_vnni
from uair.context import Context
from uair.errors import UairError
from uair.ir.dtype import DType
from uair.ir.graph import Graph, Node, constant
from uair.ir.module import Module
from uair.ops import Cast, Conv2D, Gelu, Relu
from uair.pipeline import PassContext
from uair.request import Int8
from uair.targets import load_description
from uair.text import parse_type

CPUS = ["cpu", "hygon", "phytium", "loongson"]


def opset(artifact: Artifact) -> int:
    (imported,) = onnx.load(artifact.file("model.onnx")).opset_import
    assert imported.version == artifact.manifest["cpu"]["opset"]
    return int(imported.version)


def cast_net(dtype: str) -> Module:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[2,4]"))
    narrow = graph.append(Cast(to=DType(dtype)).node(x)).output
    graph.add_output("y", graph.append(Cast(to=DType.F32).node(narrow)).output)
    return Module("casts", {"main": graph})


def test_the_lowest_opset_is_written(tmp_path: Path) -> None:
    assert opset(uair.compile(small_cnn(), "cpu", output=tmp_path / "a")) == 17
    graph = Graph()
    gelu = graph.append(Gelu().node(graph.add_input("x", parse_type("f32[4]")))).output
    graph.add_output("y", gelu)
    lowered = uair.compile(Module("gelu", {"main": graph}), "cpu", output=tmp_path / "b")
    assert opset(lowered) == 17, "a decomposition keeps old releases"


def test_nodes_of_one_form_are_asked_about_once() -> None:
    """An attempt at the lowest opset, on a copy, and the pass itself ask the same."""
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[4]"))
    for _ in range(3):
        x = graph.append(Relu().node(graph.append(Gelu().node(x)).output)).output
    graph.add_output("y", x)
    asked: list[tuple[str, int]] = []

    def reason(node: Node, opset: int) -> str:
        asked.append((node.op_type, opset))
        return unsupported_reason(node, opset)

    assert LegaliseLowest(unsupported=reason).run(Module("gelu", {"main": graph}), PassContext())
    assert not any(node.op_type == "Gelu" for node in graph)
    assert asked.count(("Gelu", 17)) == asked.count(("Relu", 17)) == 1


@pytest.mark.parametrize(("dtype", "wanted"), [("f8e4m3", 19), ("f8e5m2", 19), ("i4", 21), ("u4", 21)])
def test_newer_types_need_newer_opsets(dtype: str, wanted: int, tmp_path: Path) -> None:
    module = cast_net(dtype)
    artifact = uair.compile(module, "cpu", output=tmp_path / "a")
    assert opset(artifact) == wanted
    feeds = {"x": np.array([[0.0, 1.0, 2.0, 3.0], [4.0, 5.0, 6.0, 7.0]], np.float32)}
    np.testing.assert_array_equal(uair.run(artifact, feeds)["y"], interpret(module, feeds)["y"])


def test_bf16_runs_where_the_runtime_has_no_kernels(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[1,3,6,6]"))
    weight = constant(np.random.default_rng(1).normal(size=(4, 3, 3, 3)).astype(DType.BF16.numpy), "w")
    narrow = graph.append(Cast(to=DType.BF16).node(x)).output
    relu = graph.append(Relu().node(graph.append(Conv2D().node(narrow, weight)).output)).output
    graph.add_output("y", graph.append(Cast(to=DType.F32).node(relu)).output)
    module = Module("bf16", {"main": graph})
    artifact = uair.compile(module, "cpu", output=tmp_path / "a")
    feeds = samples(1, (1, 3, 6, 6))[0]
    got, want = uair.run(artifact, feeds)["y"], interpret(module, feeds)["y"]
    np.testing.assert_allclose(got, want, rtol=2**-7, atol=2**-7)


def test_weights_stored_in_bf16(tmp_path: Path) -> None:
    model = zoo.models()["squeezenet_real"]
    plain = uair.compile(model.path, "cpu", output=tmp_path / "f32")
    half = uair.compile(model.path, "cpu", output=tmp_path / "bf16", options={"weights": "bf16"})
    sizes = [a.file("model.onnx").stat().st_size for a in (plain, half)]
    assert sizes[1] < 0.52 * sizes[0]
    done = run_py(half)
    assert done.returncode == 0, done.stdout + done.stderr


# ---------------------------------------------------------------------------------------------------------- run.py
def run_py(artifact: Artifact, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(artifact.file("run.py")), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.parametrize("target", CPUS)
def test_every_cpu_has_a_model_that_checks_itself(target: str, tmp_path: Path) -> None:
    for name, quantize in (("float", None), ("int8", Int8(calibration=samples()))):
        artifact = uair.compile(small_cnn(), target, output=tmp_path / name, quantize=quantize)
        done = run_py(artifact)
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.count("cosine 0.99") + done.stdout.count("cosine 1.0") == 2


def test_int8_sums_are_exact_on_every_x86(tmp_path: Path) -> None:
    """uair.run and run.py give what the interpreter gives, with the kernels of onnxruntime that it has for 8 bits."""
    feeds = {"x": np.random.default_rng(5).uniform(2, 2.55, (1, 16, 8, 8)).astype(np.float32)}
    artifact = uair.compile(saturating(), "cpu", output=tmp_path / "a", golden=feeds)
    assert artifact.manifest["cpu"]["int8"] == "any"
    (got,), (want,) = uair.run(artifact, feeds).values(), interpret(saturating(), feeds).values()
    np.testing.assert_allclose(got, want, atol=1e-6 * np.abs(want).max())
    done = run_py(artifact)
    assert done.returncode == 0 and "cosine 1.0" in done.stdout, done.stdout + done.stderr


def stored(artifact: Artifact) -> set[int]:
    """The types of the weights of 8 bits in an artifact's model."""
    model = onnx.load(artifact.file("model.onnx"))
    return {t.data_type for t in model.graph.initializer} & {onnx.TensorProto.INT8, onnx.TensorProto.UINT8}


def test_which_processors_int8_is_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Signed weights on ARM, and on x86 when asked for: refused where they are summed wrongly."""
    assert stored(uair.compile(saturating(), "cpu", output=tmp_path / "any")) == {onnx.TensorProto.UINT8}
    assert stored(uair.compile(saturating(), "phytium", output=tmp_path / "arm")) == {onnx.TensorProto.INT8}
    vnni = uair.compile(saturating(), "cpu", output=tmp_path / "vnni", options={"int8": "vnni"})
    assert stored(vnni) == {onnx.TensorProto.INT8}
    feeds = {"x": np.zeros((1, 16, 8, 8), np.float32)}
    monkeypatch.setattr("uair.codegen.cpu.target.lacks_vnni", lambda: "no VNNI")
    with pytest.raises(RuntimeFailed, match="no VNNI"):
        uair.run(vnni, feeds)
    monkeypatch.setattr("uair.codegen.cpu.target.lacks_vnni", lambda: "")
    assert len(uair.run(vnni, feeds)) == 1
    done = run_py(vnni)
    assert (done.returncode == 0) == (lacks_vnni() == "") or "saturate" in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("flags", "lacks"),
    [
        ("flags : avx2", True),
        ("flags : avx2 avx_vnni", False),
        ("flags : avx512_vnni", False),
        ("Features : fp", False),
    ],
)
def test_processors_without_vnni_are_known(flags: str, lacks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_text", lambda *_args, **_options: f"processor : 0\n{flags}\n")
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert bool(lacks_vnni()) is lacks


def test_inputs_of_ones_own(tmp_path: Path) -> None:
    artifact = uair.compile(small_cnn(), "cpu", output=tmp_path / "a")
    feeds = samples(1)[0]
    np.save(tmp_path / "x.npy", feeds["x"])
    done = run_py(artifact, "--input", f"x={tmp_path / 'x.npy'}", "--output", str(tmp_path / "out"), "--repeat", "2")
    assert done.returncode == 0, done.stderr
    assert "2 runs: median" in done.stdout
    wanted = list(interpret(small_cnn(), feeds).values())
    for i, want in enumerate(wanted):
        np.testing.assert_allclose(np.load(tmp_path / "out" / f"{i}.npy"), want, rtol=1e-4, atol=1e-5)


def test_what_goes_wrong_is_said(tmp_path: Path) -> None:
    artifact = uair.compile(small_cnn(), "cpu", output=tmp_path / "a")
    np.save(tmp_path / "x.npy", samples(1)[0]["x"])
    for arguments, words in (
        (("--input", "x"), "not of the form"),
        (("--input", "x=nothing.npy"), "cannot be read"),
        (("--input", f"z={tmp_path / 'x.npy'}"), "z does not fit"),
    ):
        done = run_py(artifact, *arguments)
        assert (done.returncode, words in done.stderr) == (2, True), done.stderr
    arrays: dict[str, Any] = {name: -array for name, array in artifact.arrays("golden/outputs.npz").items()}
    np.savez(artifact.file("golden/outputs.npz"), **arrays)
    assert run_py(artifact).returncode == 3
    artifact.file("model.onnx").write_bytes(b"broken")
    done = run_py(artifact)
    assert (done.returncode, "does not load model.onnx" in done.stderr) == (1, True)
    assert run_py(uair.compile(small_cnn(), "cpu", output=tmp_path / "b", golden=False)).returncode == 2


def test_run_py_uses_two_packages_only(golden: Golden) -> None:
    text = standalone(Path(uair.__file__).parent / "codegen" / "cpu" / "run_script.py")
    imported = sorted({line.split()[1] for line in text.splitlines() if line.startswith(("import ", "from "))})
    golden.check("imports.txt", "\n".join(imported) + "\n")


# ---------------------------------------------------------------------------------------------------- the CPUs by name
CPUINFO = {
    "hygon": "processor\t: 0\nvendor_id\t: HygonGenuine\nmodel name\t: Hygon C86 7285 32-core Processor\n",
    "phytium": "processor\t: 0\nCPU implementer\t: 0x70\nCPU part\t: 0x663\n",
    "loongson": "Model Name\t\t: Loongson-3A5000\nCPU Family\t\t: Loongson-64bit\n",
    "other": "processor\t: 0\nvendor_id\t: GenuineIntel\nCPU implementer\t: 0x41\n",
}


@pytest.mark.parametrize("target", CPUS[1:])
def test_cpus_are_recognised(target: str) -> None:
    detection = load_description(target).detection
    assert [name for name, text in CPUINFO.items() if detection.in_cpuinfo(text)] == [target]
    assert not detection.in_cpuinfo("") and not detection.in_cpuinfo("no colon here")


def test_loongson_falls_back_to_the_interpreter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = Context.default().target("loongson")
    assert isinstance(target, InterpretedCpuTarget)
    artifact = uair.compile(small_cnn(), "loongson", output=tmp_path / "a")
    feeds = samples(1)[0]
    assert target.run(artifact, feeds) is not None
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else find(name))
    assert target.run(artifact, feeds) is None
    got = uair.run(artifact, feeds)
    for name, want in interpret(small_cnn(), feeds).items():
        np.testing.assert_allclose(got[name], want, rtol=1e-5, atol=1e-6)
    assert artifact.manifest["toolchain"]["confidence"] == "uncertain"


def test_what_no_opset_expresses() -> None:
    graph = Graph()
    x = graph.add_input("x", parse_type("f32[4]"))
    module = Module("ok", {"main": graph})
    graph.add_output("y", graph.append(Relu().node(x)).output)
    assert isinstance(Context.default().target("cpu"), CpuTarget)
    with pytest.raises(UairError):
        uair.compile(cast_net("f4e2m1"), "cpu")
    assert uair.compile(module, "cpu").target == "cpu"


def conforms(artifact: Artifact) -> None:
    model: Any = onnx.load(artifact.file("model.onnx"))
    onnx.checker.check_model(model, full_check=True)
    assert 17 <= opset(artifact) <= 23


@pytest.mark.parametrize("target", CPUS)
@pytest.mark.parametrize("name", ["ppocr_cls", "magika"])
def test_models_of_the_zoo_conform(target: str, name: str, tmp_path: Path) -> None:
    model = zoo.models()[name]
    artifact = uair.compile(model.path, target, shapes=model.shapes, output=tmp_path / "a")
    conforms(artifact)
    assert run_py(artifact).returncode == 0
